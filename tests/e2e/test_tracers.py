"""Ray actors that trace shards with a language model: one or two of them, the same bytes."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import tinycity
import tinyspeaker
import tinytrajectories
from smallpopulation import table

from actors.parcels import Finished
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


def shard(index: int) -> Finished:
    """A shard of four persons who drive somewhere and stay."""
    rng = np.random.default_rng(index)
    activities, trips = [], []
    for person in range(4 * index, 4 * index + 4):
        home, out = rng.uniform([-118.23, 33.98], [-118.15, 34.02], (2, 2)).tolist()
        leave = int(rng.integers(20_000, 40_000))
        arrive = leave + int(rng.integers(200, 900))
        activities += [
            (person, 0, 0, "home", 0, leave, 11, 1, *home),
            (person, 0, 1, "work", arrive, 86_400, 12, 1, *out),
        ]
        trips.append(
            (person * 896 + 1, person, 0, 1, 11, 12, leave, arrive, "work", "car_driver", 5000.0)
        )
    tables = {"trips": table("trips", trips), "activities": table("activities", activities)}
    return Finished(index, tables, np.zeros(0, dtype=np.int64), {}, ())


def digest(made: pa.Table) -> str:
    """The SHA-256 of a table as Parquet."""
    sink = pa.BufferOutputStream()
    pq.write_table(made, sink)
    return hashlib.sha256(sink.getvalue()).hexdigest()


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
