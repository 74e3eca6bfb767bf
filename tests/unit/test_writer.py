import errno
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from smallpopulation import tables

from actors.parcels import Finished
from actors.writer import Writer, parquet_bytes
from raygen import schema
from raygen.errors import DataError, StageError
from raygen.storage import Store


def test_bytes_do_not_depend_on_chunks_or_metadata():
    trips = tables()["trips"]
    pieces = pa.concat_tables([trips.slice(0, 1), trips.slice(1)])
    marked = pieces.replace_schema_metadata({"made": "today"})
    assert parquet_bytes(marked, "trips") == parquet_bytes(trips, "trips")


def test_a_table_comes_back_as_it_was():
    for name, table in tables().items():
        found = pq.read_table(pa.BufferReader(parquet_bytes(table, name)))
        assert found.equals(table)
        assert found.schema.equals(schema.POPULATION[name])


def test_a_table_of_another_schema_is_refused():
    with pytest.raises(DataError, match="trips: columns differ from the schema: missing"):
        parquet_bytes(tables()["trips"].drop_columns(["mode"]), "trips")


def test_the_receipt_tells_what_was_written(tmp_path):
    store = Store(str(tmp_path))
    receipt = Writer(store, "run").write(Finished(3, tables(), np.array([1, 9]), {"trips": 2}, ()))
    assert {name: entry.rows for name, entry in receipt.files.items()} == {
        "households/part-00003.parquet": 1,
        "persons/part-00003.parquet": 2,
        "activities/part-00003.parquet": 4,
        "trips/part-00003.parquet": 2,
    }
    for name, entry in receipt.files.items():
        assert store.size(name) == entry.bytes
    assert [cost.stage for cost in receipt.costs] == ["write"]
    assert store.names("_receipts") == ["part-00003.json"]


def test_a_full_disk_is_one_line_and_leaves_no_receipt(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    want = r"write, shard 0: .*households/part-00000\.parquet: No space left on device"
    with pytest.raises(StageError, match=want):
        Writer(Store(str(tmp_path)), "run").write(
            Finished(0, tables(), np.array([], np.int64), {}, ())
        )
    assert Store(str(tmp_path)).names("_receipts") == []
