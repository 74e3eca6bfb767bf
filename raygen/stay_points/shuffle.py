"""Traces by person, whatever their size: fixes go to buckets of persons by way of the disk.

*Scatter* reads a piece of a trace file and writes each chunk of it as one Arrow file, a record
batch for each bucket. *Gather* reads a bucket's batches of all files in order, finds the stays of
its persons and writes its part. A worker holds a chunk or a bucket at a time, never the traces.
Both write under names that follow from the piece or the bucket, and a receipt last: work done twice
gives the same files, and work with a receipt is done.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raygen.stay_points.buckets import bucket_of
from raygen.stay_points.days import person_days
from raygen.stay_points.extract import Bounds, find_stays
from raygen.stay_points.settings import StayConfig
from raygen.storage import Store
from raygen.traces import Traces, read_piece

SCRATCH = ".stays"
"""Folder of the output that holds what is under way; it is removed in the end."""

TABLES = ("stay_points", "person_days")

ROW_GROUP = 131_072
"""Rows of a row group of what is written; fixed, as it decides the bytes."""


@dataclass(frozen=True)
class Job:
    """What every worker needs to know; picklable."""

    traces: Traces
    config: StayConfig
    bounds: Bounds
    time_zone: str
    output: str
    """Directory or URI."""
    buckets: int


def scattered(piece: int) -> str:
    """Return the name of a scattered piece's receipt."""
    return f"{SCRATCH}/fixes/{piece:06d}.json"


def gathered(bucket: int) -> str:
    """Return the name of a gathered bucket's receipt."""
    return f"{SCRATCH}/parts/{bucket:06d}.json"


def _chunk(piece: int, chunk: int) -> str:
    return f"{SCRATCH}/fixes/{piece:06d}-{chunk:04d}.arrow"


def part_name(table: str, bucket: int) -> str:
    """Return the name of a bucket's part of a table."""
    return f"{SCRATCH}/parts/{bucket:06d}-{table}.parquet"


def scatter(job: Job, piece: int) -> int:
    """Write a piece's fixes by bucket; return how many chunks it has.

    Raises
    ------
    DataError
        If the traces break a rule; see ``raygen.traces``.
    OSError
        If the output cannot be written.
    """
    store = Store(job.output)
    chunks = 0
    for fixes in read_piece(job.traces, job.traces.pieces[piece]):
        bucket = bucket_of(fixes.column("person_id"), job.buckets)
        order = np.argsort(bucket, kind="stable")
        stops = np.searchsorted(bucket[order], np.arange(job.buckets + 1))
        ordered = fixes.take(pa.array(order)) if job.buckets > 1 else fixes
        batch = ordered.combine_chunks().to_batches()[0] if fixes.num_rows else None
        with (
            store.sink(_chunk(piece, chunks)) as sink,
            pa.ipc.new_file(sink, fixes.schema) as writer,
        ):
            for first, stop in zip(stops[:-1].tolist(), stops[1:].tolist(), strict=True):
                writer.write_batch(
                    batch.slice(first, stop - first) if batch is not None else _nothing(fixes)
                )
        chunks += 1
    store.write(scattered(piece), json.dumps(chunks).encode())
    return chunks


def _nothing(fixes: pa.Table) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=fixes.schema)


def gather(job: Job, chunks: Mapping[int, int], bucket: int) -> dict[str, int]:
    """Find the stays and the days of a bucket's persons, write them and return the counts.

    Parameters
    ----------
    job
        What to do.
    chunks
        Chunks of each piece, as ``scatter`` returned them.
    bucket
        Which.
    """
    store = Store(job.output)
    names = [_chunk(piece, at) for piece in sorted(chunks) for at in range(chunks[piece])]
    fixes = pa.Table.from_batches(_batches(store, names, bucket), schema=job.traces.schema)
    found = find_stays(fixes, job.config, job.bounds)
    days, counts = person_days(found.stays, job.config, job.time_zone)
    for name, table in zip(TABLES, (found.stays, days), strict=True):
        with store.sink(part_name(name, bucket)) as sink:
            pq.write_table(table, sink, row_group_size=ROW_GROUP)
    counts = found.counts | counts
    store.write(gathered(bucket), json.dumps(counts).encode())
    return counts


def _batches(store: Store, names: Iterable[str], bucket: int) -> Iterator[pa.RecordBatch]:
    for name in names:
        with store.open(name) as source:
            batch = pa.ipc.open_file(source).get_batch(bucket)
        if batch.num_rows:
            yield batch


def publish(
    job: Job,
    tables: Iterable[str] = TABLES,
    receipts: Iterable[Callable[[int], str]] = (gathered,),
) -> dict[str, int]:
    """Join the parts of all buckets into the output's tables; return the counts.

    Persons are in the order of bucket and id, a person's rows in the order of time.

    Parameters
    ----------
    job
        What was done.
    tables
        Names of the tables whose parts there are.
    receipts
        Of the steps that were done, by bucket.
    """
    store = Store(job.output)
    total: Counter[str] = Counter()
    for receipt in receipts:
        for bucket in range(job.buckets):
            total.update(json.loads(store.read(receipt(bucket))))
    for name in tables:
        with store.sink(f"{name}.parquet") as sink:
            _join(store, name, job.buckets, sink)
    return dict(total)


def _join(store: Store, name: str, buckets: int, sink: pa.NativeFile) -> None:
    """Write the parts one after the other, in row groups that do not depend on the parts."""
    parts = _parts(store, name, buckets)
    rest = next(parts)
    with pq.ParquetWriter(sink, rest.schema, compression="zstd") as writer:
        for fresh in parts:
            rest = pa.concat_tables([rest, fresh])
            while rest.num_rows >= ROW_GROUP:
                writer.write_table(rest.slice(0, ROW_GROUP).combine_chunks())
                rest = rest.slice(ROW_GROUP)
        if rest.num_rows:
            writer.write_table(rest.combine_chunks())


def _parts(store: Store, name: str, buckets: int) -> Iterator[pa.Table]:
    """Read the parts of a table, a row group at a time, after a table without rows."""
    for bucket in range(buckets):
        with store.open(part_name(name, bucket)) as source, pq.ParquetFile(source) as part:
            if bucket == 0:
                yield part.schema_arrow.empty_table()
            for batch in part.iter_batches(ROW_GROUP):
                yield pa.Table.from_batches([batch], schema=part.schema_arrow)
