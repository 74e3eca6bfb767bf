"""A run whose assignment is refined to the city's flows first."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tinyrun

from actors.calibration import calibrated
from actors.populator import Populator
from assignment.anchors import anchor_tables
from cluster.session import connect
from raygen import pipeline
from raygen.city import open_city
from raygen.errors import ConfigError
from raygen.flow_target import OD_FILE, Counted, FlowTarget, read_target, write_target
from raygen.run_record import Steps
from raygen.storage import Store


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    directory = tmp_path_factory.mktemp("refined")
    cache, pipeline.CACHE = pipeline.CACHE, directory / "cache"
    made = tinyrun.configure(directory)
    settings = made.assignment.refinement.model_copy(update={"persons": 200, "rounds": 3})
    assignment = made.assignment.model_copy(update={"refinement": settings})
    yield made.model_copy(update={"assignment": assignment})
    pipeline.CACHE = cache


def test_a_run_without_flows_is_refused_before_it_starts(config, tmp_path):
    run = tinyrun.variant(config, tmp_path / "none")
    with pytest.raises(ConfigError, match=r"refinement needs flows, there is no .*od\.parquet"):
        pipeline.generate(run)
    assert not (tmp_path / "none").exists()


def flows(config, path: Path, first: float = 1.0) -> FlowTarget:
    """Write and return flows that lead out of each sub-region, ``first`` times out of the first."""
    city = open_city(str(config.city))
    names = np.array(city.subregion_names)
    origin, destination = np.repeat(names, len(names)), np.tile(names, len(names))
    flow = np.where(origin == destination, 1.0, 9.0) * np.where(origin == names[0], first, 1.0)
    write_target(path, (origin, destination), flow, Counted(), "assumed")
    return read_target(path, city)


def test_tables_are_refined_to_the_flows_and_the_same_each_time(config, tmp_path):
    target = flows(config, Path(config.city) / OD_FILE)
    plan = pipeline.prepare(config, Steps())
    tables = anchor_tables(plan.city)
    stores = [Store(str(tmp_path / name)) for name in ("one", "two")]
    (one, none), (two, _) = (
        calibrated(config, plan.city, plan.fit, tables, store) for store in stores
    )
    assert none is None
    assert np.array_equal(one.work, two.work)
    assert np.array_equal(one.pull, two.pull)
    assert not np.array_equal(one.work, tables.work)
    report = json.loads(stores[0].read("refinement.json"))
    assert report["rounds"][report["best_round"]]["cosine"] > report["rounds"][0]["cosine"]
    assert report["target"] == {"sha256": target.digest, "provenance": "assumed"}
    assert report["activity_types"]["all"]["moved"] > 0
    assert {"work", "leisure"} <= set(report["activity_types"])
    assert [m.digest for m in plan.identity.models if m.name == "flows"] == [target.digest]


def test_homes_move_to_the_origins_of_the_flows_where_asked(config, tmp_path):
    flows(config, Path(config.city) / OD_FILE, first=3.0)
    settings = config.assignment.refinement.model_copy(update={"origins": True})
    assignment = config.assignment.model_copy(update={"refinement": settings})
    asked = config.model_copy(update={"assignment": assignment})
    plan = pipeline.prepare(asked, Steps())
    store = Store(str(tmp_path / "one"))
    _, moves = calibrated(asked, plan.city, plan.fit, anchor_tables(plan.city), store)
    factor = json.loads(store.read("refinement.json"))["home_factor"]
    assert factor[0] > 1.05
    assert factor[1] < 0.95
    first, live = plan.city.zone_id[plan.city.subregion == 0], []
    for each in (None, moves):
        populator = Populator(plan.fit, plan.index, plan.city, each, 5)
        tables = [populator.populate(shard).households for shard in range(plan.index.shards)]
        homes = pa.concat_tables(tables)["home_zone_id"].to_numpy()
        live.append(np.isin(homes, first).mean())
    assert live[1] > live[0]


@pytest.mark.slow
def test_a_run_is_refined_whatever_the_workers(config, tmp_path):
    flows(config, Path(config.city) / OD_FILE)
    plain = config.model_copy(update={"assignment": type(config.assignment)()})
    one, two = (tinyrun.variant(config, tmp_path / f"{n}", workers=n) for n in (1, 2))
    other = tinyrun.variant(plain, tmp_path / "plain", workers=2)
    with connect("local", workers=2):
        for run in (one, two, other):
            pipeline.generate(run)
    assert tinyrun.digests(one.output) == tinyrun.digests(two.output)
    names = [name for name in tinyrun.digests(one.output) if name.startswith("activities")]
    changed = [tinyrun.digests(one.output)[n] != tinyrun.digests(other.output)[n] for n in names]
    assert any(changed)
