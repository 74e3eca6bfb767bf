import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import tinycity
import tinyweights

from raygen.city import open_city
from raygen.validation import validate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Head:
    """A Ray head whose Python has raygen's dependencies but no raygen."""

    python: Path
    environment: dict[str, str]
    address: str
    dashboard: str

    def submit(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a Ray job in a copy of the checkout, and wait for it."""
        ray = [str(self.python), "-m", "ray.scripts.scripts", "job", "submit"]
        where = ["--address", f"http://{self.dashboard}", "--working-dir", "."]
        return subprocess.run(
            [*ray, *where, "--", *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def bare_python(directory: Path) -> Path:
    """Make an interpreter with this one's packages, without those installed as editable."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    python = directory / "bin/python"
    show = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", show], capture_output=True, text=True, check=True)
    # .pth files in a folder that is itself listed in one are not read.
    (Path(site.stdout.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    seen = subprocess.run([python, "-c", "import ray, raygen"], cwd=directory, capture_output=True)
    if b"No module named 'raygen'" not in seen.stderr:
        pytest.skip("raygen is installed as a copy, not as editable")
    return python


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    directory = tmp_path_factory.mktemp("head")
    python = bare_python(directory / "venv")
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))}
    environment = keep | {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    port, dashboard, *rest = free_ports(4)
    address = f"127.0.0.1:{dashboard}"
    command = [str(python), "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}", "--num-cpus=2"]
    command += [f"--dashboard-agent-listen-port={rest[0]}", f"--ray-client-server-port={rest[1]}"]
    command += ["--node-ip-address=127.0.0.1", "--include-dashboard=true"]
    with (directory / "head.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_for(address, process, directory / "head.log")
        yield Head(python, environment, f"127.0.0.1:{port}", address)
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, left = psutil.wait_procs([process, *family], timeout=20)
        for one in left:
            one.kill()
        process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    host, port = address.split(":")
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"the head did not start:\n{log.read_text()}")


CHECK = (
    "import json; from cluster.session import connect; from cluster.check import check_nodes\n"
    "with connect(None): print('FOLDERS', json.dumps([n.folders for n in check_nodes()]))"
)


def test_a_job_runs_its_own_code_on_every_node(head):
    done = head.submit("python", "-c", CHECK)
    assert done.returncode == 0, done.stdout + done.stderr
    line = next(text for text in done.stdout.splitlines() if text.startswith("FOLDERS"))
    (folders,) = json.loads(line.removeprefix("FOLDERS"))
    assert set(folders) == {"raygen", "training", "actors", "assignment", "cluster"}
    assert all("runtime_resources" in folder for folder in folders.values()), folders


def test_a_job_generates_a_population_that_validates(head, tmp_path):
    city = tinycity.build(tmp_path / "city")
    weights = tinyweights.build(tmp_path / "weights", open_city(str(city)))
    config, output = tmp_path / "run.toml", tmp_path / "population"
    config.write_text(
        f'city = "{city}"\nweights = "{weights}"\noutput = "{output}"\nagents = 300\n'
        "[compute]\nshard_persons = 100\n"
    )
    done = head.submit("python", "-m", "raygen", "generate", str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{output}: " in done.stdout
    checks = validate(str(output))
    assert len(checks) > 5
    assert all(check.violations == 0 for check in checks), checks


def test_a_driver_is_told_that_a_node_has_no_raygen(head, tmp_path):
    code = CHECK.replace("None", repr(head.address))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=head.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    want = r"node [0-9.]+: package 'raygen' does not import there; submit with `ray job submit"
    assert re.search(want, done.stderr), done.stderr
