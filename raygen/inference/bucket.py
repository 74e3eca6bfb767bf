"""Activity types and day chains of one bucket of persons, the unit of work of ``raygen stays``.

Each step reads the parts that the step before wrote for the bucket, and writes its own and a
receipt last, as ``raygen.stay_points.shuffle`` does. All stays of a person are in one bucket.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raygen.inference.infer import BASES, infer_activities
from raygen.inference.pois import city_index
from raygen.inference.settings import STEPS, TraceConfig, Until
from raygen.inference.temporal import load_temporal
from raygen.stay_points.shuffle import ROW_GROUP, SCRATCH, TABLES, Job, gathered, part_name
from raygen.storage import Store


@dataclass(frozen=True)
class Follow:
    """What is done with the stays of a job; picklable."""

    job: Job
    config: TraceConfig
    city: Path
    """Directory of the city."""
    crs: str
    """The city's."""


def inferred(bucket: int) -> str:
    """Return the name of the receipt of a bucket's activities."""
    return f"{SCRATCH}/parts/{bucket:06d}-activities.json"


def completed(bucket: int) -> str:
    """Return the name of the receipt of a bucket's day chains."""
    return f"{SCRATCH}/parts/{bucket:06d}-chains.json"


def written(until: Until) -> tuple[list[str], list[Callable[[int], str]]]:
    """Return the tables of a run that goes so far, and the receipts of its steps."""
    more = STEPS.index(until)
    tables = [*TABLES, *("stay_activities", "day_chains")[:more]]
    return tables, [gathered, inferred, completed][: more + 1]


def infer_bucket(follow: Follow, bucket: int) -> dict[str, int]:
    """Write the activities of a bucket's stays; return how many there are by basis."""
    job = follow.job
    store = Store(job.output)
    activities = infer_activities(
        _read(store, "stay_points", bucket),
        job.time_zone,
        city_index(follow.city, follow.crs),
        load_temporal(),
        follow.config.inference,
    )
    _write(store, "stay_activities", bucket, activities)
    basis = activities.column("basis").combine_chunks().indices.to_numpy()
    found = np.bincount(basis, minlength=len(BASES)).tolist()
    counts = {f"by_{name}": count for name, count in zip(BASES, found, strict=True)}
    store.write(inferred(bucket), json.dumps(counts).encode())
    return counts


def complete_bucket(follow: Follow, bucket: int) -> dict[str, int]:
    """Write the day chains of a bucket's person-days; return how many there are by profile."""
    from raygen.checkpoints import folder  # torch, which the steps before do without
    from raygen.inference import completion

    store = Store(follow.job.output)
    chains = completion.complete_chains(
        _read(store, "person_days", bucket),
        _read(store, "stay_activities", bucket),
        follow.job.time_zone,
        (completion.chain_models(folder(follow.config.weights)), load_temporal()),
        follow.config,
    )
    _write(store, "day_chains", bucket, chains)
    profile = chains.column("profile").combine_chunks().indices.to_numpy()
    found = np.bincount(profile, minlength=len(completion.PROFILES)).tolist()
    counts = {f"days_{name}": n for name, n in zip(completion.PROFILES, found, strict=True)}
    store.write(completed(bucket), json.dumps(counts).encode())
    return counts


def _read(store: Store, table: str, bucket: int) -> pa.Table:
    with store.open(part_name(table, bucket)) as source:
        return pq.read_table(source)


def _write(store: Store, table: str, bucket: int, rows: pa.Table) -> None:
    with store.sink(part_name(table, bucket)) as sink:
        pq.write_table(rows, sink, row_group_size=ROW_GROUP)
