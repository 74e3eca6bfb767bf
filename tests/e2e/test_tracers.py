"""Ray actors that trace shards with a language model: one or two of them, the same bytes."""

import pytest
import ray
import tinycity
import tinyspeaker
import tinytrajectories
from tracedshards import digest, shard

from actors.tracer import Tracer, TracerActor
from assignment.times import CONGESTION
from cluster.session import connect
from raygen import checkpoints
from raygen.city import open_city
from raygen.config import RunConfig
from raygen.stages.road_trips import city_roads

SHARDS = 4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Roads, time zone and configuration of a run with a language model."""
    directory = tmp_path_factory.mktemp("run")
    city = open_city(str(tinycity.build(directory / "city")))
    roads = city_roads(city, CONGESTION.astype(float))
    tinytrajectories.build(directory / "weights")
    digest = checkpoints.label(directory / "weights/trajectories/codec")[0]
    folder = tinyspeaker.build(directory / "language", roads.roads, digest)
    language = {"folder": folder, "slots": 3}
    settings = {"share": 1.0, "planner": "language", "language": language}
    config = {"seed": 4, "weights": directory / "weights", "trajectories": settings}
    return roads, city.time_zone, RunConfig.model_validate(config)


def test_one_or_two_crews_give_the_same_bytes(inputs):
    plain = Tracer(*inputs)
    alone = [plain.trace(shard(index)).tables["trajectories"] for index in range(SHARDS)]
    assert [made.num_rows for made in alone] == [4] * SHARDS
    with connect("local", workers=2):
        crew = [TracerActor.options(num_cpus=0.1).remote(*inputs) for _ in range(2)]
        two = ray.get([crew[i % 2].trace.remote(shard(i)) for i in range(SHARDS)])
        one = ray.get([crew[0].trace.remote(shard(i)) for i in reversed(range(SHARDS))])
    assert [digest(each.tables["trajectories"]) for each in two] == [digest(x) for x in alone]
    assert [digest(x.tables["trajectories"]) for x in one[::-1]] == [digest(x) for x in alone]
    assert two[0].counters["language_answer_tokens"] > 0
