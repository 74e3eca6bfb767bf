"""Trajectories by a language model in a whole run: one crew, two crews, and no Ray at all."""

import pyarrow.dataset as ds
import pytest
import tinyrun
import tinyspeaker

from cluster.session import connect
from raygen import checkpoints, pipeline
from raygen.city import open_city
from raygen.config import SpeakerConfig
from raygen.errors import WeightsError
from raygen.pipeline import generate, prepare
from raygen.run_record import Steps
from raygen.stages.road_trips import city_network
from raygen.trajectories.plane import plane_roads
from raygen.validation import validate


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run of three shards whose trajectories are said by a language model of random weights."""
    directory = tmp_path_factory.mktemp("run")
    cache, pipeline.CACHE = pipeline.CACHE, directory / "cache"
    config = tinyrun.configure(directory)
    roads = plane_roads(city_network(open_city(config.city)))
    digest = checkpoints.label(config.weights / "trajectories" / "codec")[0]
    folder = tinyspeaker.build(directory / "language", roads, digest)
    settings = config.trajectories.model_copy(
        update={
            "planner": "language",
            "share": 0.1,
            "language": SpeakerConfig(folder=folder, slots=4),
        }
    )
    yield config.model_copy(update={"trajectories": settings, "agents": 150})
    pipeline.CACHE = cache


def trajectories(population):
    return {name: digest for name, digest in tinyrun.digests(population).items()
            if name.startswith("trajectories")}  # fmt: skip


@pytest.mark.slow
def test_any_number_of_crews_gives_the_same_bytes(base, tmp_path):
    alone = tinyrun.variant(base, tmp_path / "plain")
    tinyrun.generate_plainly(alone)
    with connect("local", workers=2):
        for workers in (1, 2):
            generate(tinyrun.variant(base, tmp_path / str(workers), workers=workers))
    found = [trajectories(tmp_path / name) for name in ("plain", "1", "2")]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 1
    table = ds.dataset(f"{tmp_path}/2/trajectories", format="parquet").to_table()
    assert table.num_rows > 10
    assert [check for check in validate(str(tmp_path / "2")) if check.violations] == []


def test_faults_are_found_before_any_shard(base, tmp_path):
    settings = base.trajectories
    for folder, message in ((None, "must name the folder"), (tmp_path, "cannot be read")):
        language = settings.language.model_copy(update={"folder": folder})
        wrong = settings.model_copy(update={"language": language})
        with pytest.raises(WeightsError, match=message):
            prepare(base.model_copy(update={"trajectories": wrong}), Steps())
