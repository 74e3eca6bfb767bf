"""Ray actor that writes the tables of a shard, and then its receipt."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from actors.parcels import Finished, Stopwatch
from raygen import manifest, schema
from raygen.errors import StageError
from raygen.manifest import FileEntry, Receipt
from raygen.storage import Store

_ROW_GROUP = 131_072  # rows; fixed, as it decides the bytes


class Writer:
    """Hold a population's directory; write shards into it."""

    def __init__(self, store: Store, run: str) -> None:
        self._store = store
        self._run = run

    @ray.method
    def write(self, finished: Finished) -> Receipt:
        """Write one file for each table and the shard's receipt.

        Parameters
        ----------
        finished
            The shard's tables, in the schemas of a population.

        Returns
        -------
        receipt
            As written. The Parquet bytes depend on the tables alone.

        Raises
        ------
        DataError
            If a table breaks its schema.
        StageError
            If a file cannot be written: disk full, no permission.
        """
        watch = Stopwatch("write")
        try:
            files = dict(
                self._table(finished.shard, name, finished.tables[name])
                for name in schema.TABLES
                if name in finished.tables
            )
            receipt = Receipt(
                shard=finished.shard,
                run=self._run,
                files=files,
                costs=(*finished.costs, watch.stop()),
                counters=finished.counters,
                plan_states=manifest.pack(finished.states),
            )
            manifest.seal(self._store, receipt)
        except OSError as error:
            where = error.filename or self._store.location
            msg = f"write, shard {finished.shard}: {where}: {error.strerror or error}"
            raise StageError(msg) from None
        return receipt

    def _table(self, shard: int, name: str, table: pa.Table) -> tuple[str, FileEntry]:
        path = f"{name}/{manifest.part(shard)}.parquet"
        content = parquet_bytes(table, name)
        self._store.write(path, content)
        digest = hashlib.sha256(content).hexdigest()
        return path, FileEntry(rows=table.num_rows, bytes=len(content), sha256=digest)


def parquet_bytes(table: pa.Table, name: str) -> bytes:
    """Return a table of a population as Parquet.

    Parameters
    ----------
    table
        In the schema of ``name``; its chunks and metadata do not reach the bytes.
    name
        Key of ``schema.TABLES``.

    Returns
    -------
    content
        zstd-compressed; equal tables give equal bytes with one version of pyarrow.

    Raises
    ------
    DataError
        If the table breaks the schema.
    """
    wanted = schema.TABLES[name]
    schema.check(table, wanted, name)
    whole = table.combine_chunks()
    plain = pa.Table.from_arrays([whole.column(field.name) for field in wanted], schema=wanted)
    sink = pa.BufferOutputStream()
    pq.write_table(plain, sink, compression="zstd", row_group_size=_ROW_GROUP)
    return sink.getvalue().to_pybytes()


WriterActor = ray.remote(Writer)
