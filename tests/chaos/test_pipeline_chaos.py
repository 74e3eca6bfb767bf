"""Actors and whole runs killed on purpose: no shard lost, none twice, equal bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import tinyrun

from cluster.session import connect
from raygen import pipeline
from raygen.pipeline import generate

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    cache, pipeline.CACHE = pipeline.CACHE, directory / "cache"
    config = tinyrun.configure(directory)
    tinyrun.generate_plainly(config)
    yield config
    pipeline.CACHE = cache


@pytest.fixture(scope="module")
def cluster():
    with connect("local", workers=2):
        yield


@pytest.mark.parametrize(
    "stage", ["Populator", "Planner", "Denoiser", "Decoder", "Assigner", "Writer"]
)
def test_a_killed_actor_changes_no_byte(base, cluster, tmp_path, stage):
    killed = []

    def kill(progress):
        if progress.shards_done == 1 and not killed:
            killed.extend(tinyrun.processes(f"ray::{stage}"))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    output = tmp_path / "population"
    generate(tinyrun.variant(base, output), watch=kill)
    assert len(killed) == 1
    assert tinyrun.digests(output) == tinyrun.digests(base.output)


def start(config, path):
    """Start the command on a run's TOML."""
    path.write_text(tinyrun.toml(config))
    return subprocess.Popen(
        [sys.executable, "-m", "raygen", "generate", str(path), "--resume"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_receipt(run, output):
    until = time.monotonic() + 300
    while not list(output.glob("_receipts/*.json")):
        assert run.poll() is None, run.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_run_killed_and_resumed_gives_equal_bytes(base, tmp_path):
    output = tmp_path / "population"
    config = tinyrun.variant(base, output)
    run = start(config, tmp_path / "run.toml")
    wait_for_receipt(run, output)
    family = psutil.Process(run.pid).children(recursive=True)
    run.kill()  # the driver first, as a machine's out-of-memory killer does
    run.wait()
    _, left = psutil.wait_procs(family, timeout=20)
    for one in left:
        one.kill()
    done = len(list(output.glob("_receipts/*.json")))
    assert not (output / "manifest.json").exists()
    assert 1 <= done < 6
    resumed = start(config, tmp_path / "run.toml")
    assert resumed.wait(timeout=400) == 0, resumed.stderr.read()
    assert tinyrun.digests(output) == tinyrun.digests(base.output)


def test_ctrl_c_keeps_what_is_done_and_exits_with_130(base, tmp_path):
    output = tmp_path / "population"
    run = start(tinyrun.variant(base, output), tmp_path / "run.toml")
    wait_for_receipt(run, output)
    run.send_signal(signal.SIGINT)
    assert run.wait(timeout=120) == 130
    assert "--resume continues" in run.stderr.read()
    assert list(output.glob("_receipts/*.json"))
