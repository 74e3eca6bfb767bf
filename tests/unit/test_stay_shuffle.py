"""Scatter and gather without Ray: any buckets and pieces give the same stays."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv
from trails import day, table

from raygen.stay_points import shuffle
from raygen.stay_points.extract import find_stays
from raygen.stay_points.settings import StayConfig
from raygen.stay_points.shuffle import Job, gather, publish, scatter
from raygen.traces import open_traces

WORLD = (-180.0, -90.0, 180.0, 90.0)
FIXES = table({f"p{n}": day(n) for n in range(9)})


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    place = tmp_path_factory.mktemp("traces")
    half = FIXES.num_rows // 2
    pq.write_table(FIXES.slice(half), place / "1.parquet", row_group_size=500)
    csv.write_csv(FIXES.slice(0, half), place / "2.csv")
    return str(place)


def run(traces, output, buckets):
    job = Job(open_traces(traces), StayConfig(), WORLD, "America/Los_Angeles", str(output), buckets)
    chunks = {piece: scatter(job, piece) for piece in reversed(range(len(job.traces.pieces)))}
    for bucket in reversed(range(buckets)):
        gather(job, chunks, bucket)
    return publish(job)


def test_one_bucket_gives_the_stays_of_the_table(traces, tmp_path):
    counts = run(traces, tmp_path, 1)
    found = find_stays(FIXES, StayConfig(), WORLD)
    assert pq.read_table(tmp_path / "stay_points.parquet").equals(found.stays)
    assert {name: counts[name] for name in found.counts} == found.counts


@pytest.mark.parametrize("buckets", [2, 7, 40])
def test_more_buckets_give_the_same_rows(traces, tmp_path, buckets):
    run(traces, tmp_path / "one", 1)
    run(traces, tmp_path / "more", buckets)
    for name, order in (("stay_points", "start"), ("person_days", "date")):
        keys = [("person_id", "ascending"), (order, "ascending")]
        one, more = (pq.read_table(tmp_path / n / f"{name}.parquet") for n in ("one", "more"))
        assert one.num_rows >= 9
        assert more.sort_by(keys).equals(one)
    # The rows of a person are together.
    ids = (
        pq.read_table(tmp_path / "more" / "stay_points.parquet")
        .column("person_id")
        .combine_chunks()
    )
    assert len(pa.compute.run_end_encode(ids).values) == 9


def test_row_groups_do_not_depend_on_the_parts(traces, tmp_path, monkeypatch):
    monkeypatch.setattr(shuffle, "ROW_GROUP", 10)
    run(traces, tmp_path, 5)
    found = pq.ParquetFile(tmp_path / "stay_points.parquet").metadata
    sizes = [found.row_group(group).num_rows for group in range(found.num_row_groups)]
    assert sizes[:-1] == [10] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= 10


def test_traces_without_rows_give_tables_without_rows(tmp_path):
    pq.write_table(FIXES.slice(0, 0), tmp_path / "t.parquet")
    counts = run(str(tmp_path / "t.parquet"), tmp_path / "out", 1)
    assert counts["stays"] == 0
    assert pq.read_table(tmp_path / "out" / "person_days.parquet").num_rows == 0
