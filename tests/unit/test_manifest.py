import errno
import os

import numpy as np
import pyarrow.fs as pafs
import pytest

from raygen import manifest
from raygen.config import ComputeConfig, RunConfig
from raygen.errors import ConfigError, DataError
from raygen.manifest import Cost, FileEntry, Receipt, SourceEntry, identify, pack, unpack
from raygen.run_record import run_record
from raygen.schema import POPULATION
from raygen.storage import Store

CITY = SourceEntry(name="c", digest="aa", provenance={"zones": "observed"})
MODEL = SourceEntry(name="planner", digest="bb", provenance={"pairs": "observed"})


def identity(config=None, city=CITY, models=(MODEL,), shards=2):
    return identify(config or RunConfig(), city, models, (11, 12), shards)


def write_shard(store, shard, run, wall_s=1.0):
    files = {}
    for table in POPULATION:
        name = f"{table}/{manifest.part(shard)}.parquet"
        store.write(name, f"{table} {shard}".encode())
        files[name] = FileEntry(rows=shard + 1, bytes=len(f"{table} {shard}"), sha256="00")
    cost = Cost(stage="plan", wall_s=wall_s, cpu_s=wall_s, peak_bytes=1)
    receipt = Receipt(
        shard=shard,
        run=run,
        files=files,
        costs=(cost,),
        counters={"trips": 3},
        plan_states=pack(np.array([3, 70])),
    )
    manifest.seal(store, receipt)
    return receipt


@pytest.fixture(params=["path", "uri", "remote"])
def store(request, tmp_path, monkeypatch):
    place = tmp_path / "population"
    if request.param == "remote":
        # An object store's way through the code: no local path, no rename.
        remote = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
        monkeypatch.setattr(Store, "_open", lambda self: (remote, "bucket/population"))
        return Store("s3://bucket/population")
    return Store(str(place) if request.param == "path" else place.as_uri())


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"agents": 5},
        {"assignment": {"gamma": 0.25}},
        {"chains": {"days": 2}},
        {"compute": {"shard_persons": 7}},
        {"compute": {"device": "cuda"}},
    ],
)
def test_what_changes_bytes_changes_the_digest(change):
    assert identity(RunConfig.model_validate(change)).digest != identity().digest


@pytest.mark.parametrize(
    "change",
    [
        {"output": "elsewhere"},
        {"weights": "elsewhere"},
        {"city": "moved/city"},
        {"compute": {"workers": 7, "in_flight": 5, "attempts": 9, "shard_timeout_s": 4}},
    ],
)
def test_what_changes_no_byte_keeps_the_digest(change):
    assert identity(RunConfig.model_validate(change)).digest == identity().digest


def test_every_compute_key_is_decided_on():
    """A new key must be named here: does it change bytes?"""
    assert set(ComputeConfig.model_fields) == {
        *("device", "threads", "shard_persons"),
        *("workers", "in_flight", "attempts", "shard_timeout_s"),
    }


def test_another_city_or_model_changes_the_digest():
    other = CITY.model_copy(update={"digest": "ab"})
    assert identity(city=other).digest != identity().digest
    assert identity(models=(MODEL, MODEL)).digest != identity().digest


@pytest.mark.parametrize(
    "states", [[], [0], [7, 8, 18431], list(range(2000)), [3, 2**48 + 5, 1151 * 2**48]]
)
def test_plan_states_are_kept_as_text(states):
    assert unpack(pack(np.array(states, dtype=np.int64))).tolist() == states


def test_states_that_shards_share_count_once_in_a_run(store):
    shards = [write_shard(store, shard, "run") for shard in (0, 1)]
    shards[1] = shards[1].model_copy(update={"plan_states": pack(np.array([70, 71]))})
    record = run_record(RunConfig(), shards, {}, 0)
    assert record["counters"] == {"trips": 6, "plan_states": 3}


def test_a_new_directory_has_nothing_done(store):
    assert manifest.begin(store, identity(), resume=False) == {}


def test_resume_keeps_the_shards_with_receipt_and_files(store):
    run = identity().digest
    receipt = write_shard(store, 1, run)
    write_shard(store, 0, run)
    store.write("trips/part-00000.parquet", b"cut")
    assert manifest.begin(store, identity(), resume=True) == {1: receipt}


def test_a_directory_in_use_needs_resume(store):
    write_shard(store, 0, identity().digest)
    with pytest.raises(ConfigError, match="holds a population already; continue it with --resume"):
        manifest.begin(store, identity(), resume=False)


def test_another_run_is_refused(store):
    write_shard(store, 0, identity(RunConfig(seed=1)).digest)
    with pytest.raises(ConfigError, match=r"part-00000\.json: belongs to a run of another conf"):
        manifest.begin(store, identity(), resume=True)


def test_a_finished_run_of_another_seed_is_refused(store):
    other = identity(RunConfig(seed=1), shards=1)
    manifest.finish(store, other, {0: write_shard(store, 0, other.digest)}, {})
    with pytest.raises(ConfigError, match=r"manifest\.json: belongs to a run of another"):
        manifest.begin(store, identity(shards=1), resume=True)


def test_a_broken_receipt_is_named(store):
    store.write("_receipts/part-00000.json", b'{"shard": 0, "run"')
    with pytest.raises(DataError, match=r"part-00000\.json: not a receipt"):
        manifest.begin(store, identity(), resume=True)


def test_leftovers_of_a_killed_process_are_swept(tmp_path):
    store = Store(str(tmp_path))
    store.write("trips/part-00000.parquet", b"x")
    left = tmp_path / "trips/.part-00001.parquet.abc.tmp"
    left.write_bytes(b"half")
    manifest.begin(store, identity(), resume=True)
    assert not left.exists()
    assert store.names("trips") == ["part-00000.parquet"]


def test_a_finished_population_has_no_leftovers(tmp_path):
    store, run = Store(str(tmp_path)), identity(shards=1)
    receipt = write_shard(store, 0, run.digest)
    (tmp_path / "trips/.part-00000.parquet.abc.tmp").write_bytes(b"half")
    manifest.finish(store, run, {0: receipt}, {})
    assert store.names("trips") == ["part-00000.parquet"]


def test_the_manifest_depends_neither_on_order_nor_on_time(tmp_path):
    one, two = Store(str(tmp_path / "one")), Store(str(tmp_path / "two"))
    run = identity()
    receipts = {shard: write_shard(one, shard, run.digest, 1.0) for shard in (0, 1)}
    manifest.finish(one, run, receipts, {"wall": 1})
    receipts = {shard: write_shard(two, shard, run.digest, 9.0) for shard in (1, 0)}
    manifest.finish(two, run, receipts, {"wall": 9})
    assert one.read("manifest.json") == two.read("manifest.json")
    assert manifest.load(one).rows["trips"] == 3
    assert list(manifest.load(one).files)[:2] == [
        "households/part-00000.parquet",
        "households/part-00001.parquet",
    ]


def test_a_run_is_not_finished_without_every_receipt(store):
    run = identity()
    with pytest.raises(DataError, match="1 of 2 shards have no receipt, first 0"):
        manifest.finish(store, run, {1: write_shard(store, 1, run.digest)}, {})
    assert store.size("manifest.json") is None


def test_a_population_without_manifest_is_not_complete(store):
    with pytest.raises(DataError, match=r"manifest\.json: no such file; the population is not"):
        manifest.load(store)


def test_a_failed_write_keeps_the_old_file_and_names_it(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    store.write("a/b", b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        store.write("a/b", b"new")
    assert caught.value.filename == str(tmp_path / "a/b")
    assert store.read("a/b") == b"old"
    assert os.listdir(tmp_path / "a") == ["b"]


def test_a_store_elsewhere_writes_whole_files_and_knows_no_free_space(store):
    store.probe()
    store.write("trips/part-00000.parquet", b"abc")
    assert store.names() == ["trips"]
    assert store.names("nowhere") == []
    assert (store.size("trips/part-00000.parquet"), store.size("trips/x")) == (3, None)
    assert store.read("trips/part-00000.parquet") == b"abc"
    assert (store.free_bytes() is None) == (store.local is None)


def test_an_unknown_file_system_is_refused():
    with pytest.raises(ConfigError, match="nosuch://bucket: cannot be opened as a file system"):
        Store("nosuch://bucket")
