"""Shards of car trips in the tiny city for the tracers, and digests of what they make."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from smallpopulation import table

from actors.parcels import Finished


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
