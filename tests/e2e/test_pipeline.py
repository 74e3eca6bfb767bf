"""The whole pipeline on the tiny city, on Ray and without it; one Ray for the module."""

import json
import shutil
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
import ray
import tinyrun

from actors.ledger import Ledger, Limits
from cluster.session import connect
from raygen import manifest, pipeline
from raygen.config import ComputeConfig
from raygen.errors import ClusterError, DataError, StageError
from raygen.evaluation import population_days
from raygen.manifest import Receipt
from raygen.pipeline import crew_size, generate
from raygen.storage import Store
from raygen.validation import validate

# Workers cannot import this module by name.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster():
    with connect("local", workers=2):
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The run's configuration, and what it gives without Ray."""
    directory = tmp_path_factory.mktemp("run")
    cache, pipeline.CACHE = pipeline.CACHE, directory / "cache"
    config = tinyrun.configure(directory)
    tinyrun.generate_plainly(config)
    yield config
    pipeline.CACHE = cache


@pytest.fixture(scope="module")
def two_workers(base, cluster, tmp_path_factory):
    """The same run on two crews, with what the watcher was told."""
    told = []
    output = tmp_path_factory.mktemp("two") / "population"
    generate(tinyrun.variant(base, output, workers=2), watch=told.append)
    return output, told


def table(population, name):
    return ds.dataset(f"{population}/{name}", format="parquet").to_table()


def test_every_invariant_holds(base):
    broken = [check for check in validate(base.output) if check.violations]
    assert broken == []


def test_the_population_has_the_size_that_was_asked(base):
    rows = manifest.load(Store(base.output)).rows
    assert tinyrun.AGENTS <= rows["persons"] < tinyrun.AGENTS + 8
    assert rows["activities"] > 2 * rows["persons"]  # two days
    assert rows["trips"] > 2 * rows["persons"]


def test_the_days_can_be_evaluated(base):
    days = population_days(Path(base.output))
    persons = manifest.load(Store(base.output)).rows["persons"]
    assert days.chains.shape == (2 * persons, 96)
    assert days.weekend.sum() == 0
    left = table(base.output, "trips").group_by(["person_id", "day"]).aggregate([]).num_rows
    # An activity of less than a slot may be covered by the next one.
    assert 0.95 * left <= (days.chains != 0).any(axis=1).sum() <= left


def test_tables_open_as_data_sets_without_the_receipts(base):
    assert (
        table(base.output, "persons").num_rows == manifest.load(Store(base.output)).rows["persons"]
    )
    days = pc.unique(table(base.output, "activities")["day"]).to_pylist()
    assert days == [0, 1]


def test_two_crews_give_the_bytes_of_no_ray_at_all(base, two_workers):
    want, found = tinyrun.digests(base.output), tinyrun.digests(two_workers[0])
    assert {name for name in want if found.get(name) != want[name]} == set()
    assert set(found) == set(want)
    assert len(want) == 5 * 6 + 1


def test_the_watcher_is_told_of_every_shard(two_workers):
    told = two_workers[1]
    assert [progress.shards_done for progress in told] == list(range(7))
    assert told[-1].persons_done == told[-1].persons >= tinyrun.AGENTS


def test_the_receipts_tell_what_each_stage_took(two_workers):
    receipts = manifest.receipts_of(Store(str(two_workers[0])))
    stages = [cost.stage for cost in receipts[0].costs]
    assert stages == ["populate", "plan", "denoise", "decode", "assign", "trace", "write"]
    assert all(cost.peak_bytes > 2**20 for receipt in receipts for cost in receipt.costs)
    record = json.loads((two_workers[0] / "run.json").read_text())
    assert list(record["stages"]) == stages
    assert record["counters"]["asked"] == 0
    assert record["counters"]["trajectory_points"] > 20 * 20
    assert record["counters"]["arrivals"] == record["counters"]["trips"] > 2 * tinyrun.AGENTS
    met = [set(manifest.unpack(receipt.plan_states).tolist()) for receipt in receipts]
    assert record["counters"]["plan_states"] == len(set.union(*met)) < sum(map(len, met))
    assert record["config"]["compute"]["workers"] == 2


def test_a_resumed_run_does_what_is_missing_and_no_more(base, two_workers, tmp_path):
    output = tmp_path / "population"
    shutil.copytree(two_workers[0], output)
    (output / "manifest.json").unlink()
    (output / "_receipts/part-00002.json").unlink()
    (output / "trips/part-00004.parquet").write_bytes(b"cut")
    (output / "trips/.part-00005.parquet.0.tmp").write_bytes(b"half")
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    told = []
    generate(tinyrun.variant(base, output), resume=True, watch=told.append)
    assert tinyrun.digests(output) == tinyrun.digests(base.output)
    fresh = {path.stem for path in before if path.stat().st_mtime_ns != before[path]}
    assert fresh == {"part-00002", "part-00004"}
    assert [progress.shards_done for progress in told] == [4, 5, 6]
    assert json.loads((output / "run.json").read_text())["shards_resumed"] == 4


def test_resuming_a_complete_run_changes_nothing(base, two_workers):
    before = {path: path.stat().st_mtime_ns for path in two_workers[0].rglob("*")}
    generate(tinyrun.variant(base, two_workers[0]), resume=True)
    assert {path: path.stat().st_mtime_ns for path in two_workers[0].rglob("*")} == before


def test_a_person_is_the_same_in_a_run_of_other_shards(base, tmp_path):
    one_shard = tinyrun.variant(base, tmp_path / "population", shard_persons=10_000)
    tinyrun.generate_plainly(one_shard)
    for name in ("households", "persons", "activities", "trips"):
        want, found = table(base.output, name), table(one_shard.output, name)
        different = [c for c in want.column_names if not want[c].equals(found[c])]
        assert different == [], name


@ray.remote
class Stage:
    """A crew's only actor, which does to a shard what the shard's number says."""

    def work(self, shard, fault, marks):
        import os
        import time
        from pathlib import Path

        tries = len(list(Path(marks).glob(f"{shard}-*")))
        (Path(marks) / f"{shard}-{tries}").touch()
        if fault == "die" or (fault == "die once" and tries == 0):
            os._exit(1)
        if fault == "hang once" and tries == 0:
            time.sleep(60)
        if fault == "raise" or (fault == "raise once" and tries == 0):
            msg = "boom"
            raise ValueError(msg)
        if fault == "data":
            msg = "persons.age: 3 rows are null"
            raise DataError(msg)
        return Receipt(shard=shard, run="", files={}, costs=(), counters={}, plan_states="")


class FakeCrew:
    def __init__(self, faults, marks):
        self.faults, self.marks = faults, marks
        self.replaced = 0
        self.stage = Stage.options(num_cpus=0.1).remote()

    def submit(self, shard):
        return self.stage.work.remote(shard, self.faults.get(shard), str(self.marks))

    def replace(self):
        ray.kill(self.stage)
        self.replaced += 1
        self.stage = Stage.options(num_cpus=0.1).remote()


def run_ledger(tmp_path, faults, crews=2, attempts=3, shard_s=60.0):
    """Do eight shards; return which were done, in order, and the crews."""
    every = [FakeCrew(faults, tmp_path) for _ in range(crews)]
    done = []
    try:
        Ledger(every, Limits(2, attempts, shard_s)).run(range(8), lambda r: done.append(r.shard))
    finally:
        for crew in every:
            ray.kill(crew.stage)
    return done, every


def attempts_at(tmp_path, shard):
    return len(list(tmp_path.glob(f"{shard}-*")))


def test_every_shard_is_done_once(cluster, tmp_path):
    done, crews = run_ledger(tmp_path, {})
    assert sorted(done) == list(range(8))
    assert sum(crew.replaced for crew in crews) == 0
    assert all(attempts_at(tmp_path, shard) == 1 for shard in range(8))


@pytest.mark.parametrize("fault", ["die once", "raise once"])
def test_a_shard_that_fails_once_is_done_again(cluster, tmp_path, fault):
    done, crews = run_ledger(tmp_path, {3: fault})
    assert sorted(done) == list(range(8))
    assert attempts_at(tmp_path, 3) == 2
    assert sum(crew.replaced for crew in crews) == (fault == "die once")


def test_a_hanging_shard_is_done_again_elsewhere(cluster, tmp_path):
    # On a busy machine an actor may take longer to start, hence the attempts.
    done, crews = run_ledger(tmp_path, {3: "hang once"}, attempts=20, shard_s=15.0)
    assert sorted(done) == list(range(8))
    assert sum(crew.replaced for crew in crews) >= 1


@pytest.mark.parametrize(
    ("fault", "reason"), [("die", "Stage: ActorDiedError"), ("raise", "Stage: ValueError: boom")]
)
def test_a_poisoned_shard_ends_the_run_and_is_named(cluster, tmp_path, fault, reason):
    with pytest.raises(StageError, match=f"shard 5: 2 attempts failed; last: {reason}"):
        run_ledger(tmp_path, {5: fault}, attempts=2)
    assert attempts_at(tmp_path, 5) == 2


def test_an_error_of_ours_is_fatal_at_once(cluster, tmp_path):
    with pytest.raises(DataError, match=r"^persons\.age: 3 rows are null$"):
        run_ledger(tmp_path, {2: "data"})
    assert attempts_at(tmp_path, 2) == 1


GIB = 2.0**30


@pytest.mark.parametrize(
    ("compute", "shards", "resources", "crews"),
    [
        ({}, 100, {"CPU": 8, "memory": 100 * GIB}, 8),
        ({}, 3, {"CPU": 8, "memory": 100 * GIB}, 3),
        ({}, 100, {"CPU": 8, "memory": 10 * GIB}, 3),
        ({}, 100, {"CPU": 1, "memory": 1 * GIB}, 1),
        ({"threads": 4}, 100, {"CPU": 8, "memory": 100 * GIB}, 2),
        ({"workers": 5}, 100, {"CPU": 4, "memory": 10 * GIB}, 5),
    ],
)
def test_crews_fit_cpus_memory_and_shards(compute, shards, resources, crews):
    count, share = crew_size(ComputeConfig.model_validate(compute), shards, resources)
    assert count == crews
    assert 7 * count * share.cpus <= resources["CPU"]
    assert share.gpus == 0


def test_crews_share_the_gpus():
    compute = ComputeConfig(device="cuda", workers=4)
    count, share = crew_size(compute, 100, {"CPU": 16, "GPU": 2, "memory": 100 * GIB})
    assert 4 * count * share.gpus <= 2
    assert share.gpus == pytest.approx(2 / 16, abs=1e-3)


def test_too_many_crews_are_refused():
    with pytest.raises(
        ClusterError, match=r"9 crews of 1 threads claim 6\.3 CPUs, it has 4; lower"
    ):
        crew_size(ComputeConfig(workers=9), 100, {"CPU": 4.0, "memory": 100 * GIB})


def test_a_cluster_without_gpu_is_refused():
    with pytest.raises(
        ClusterError, match=r"compute\.device is 'cuda', and the cluster has no GPU"
    ):
        crew_size(ComputeConfig(device="cuda"), 100, {"CPU": 4.0, "memory": 100 * GIB})
