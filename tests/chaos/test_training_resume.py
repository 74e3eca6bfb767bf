import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fitting_task
import psutil
import pytest
from fitting_task import LOOP, regression
from ray import cloudpickle

from cluster.session import connect
from raygen.errors import StageError
from training.loop import FitResult, fit

pytestmark = pytest.mark.chaos

cloudpickle.register_pickle_by_value(fitting_task)

TESTS = Path(__file__).parents[1]
CONFIG = LOOP.model_copy(update={"workers": 2})


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    with connect("local", workers=2):
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return fit(regression(dropout=0.25), CONFIG, tmp_path_factory.mktemp("undisturbed"))


def require_equal(found: FitResult, want: FitResult) -> None:
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in found.curve]
    assert timeless == [{k: v for k, v in row.items() if k != "seconds"} for row in want.curve]
    assert found.best_epoch == want.best_epoch
    assert found.tensors.keys() == want.tensors.keys()
    for name, tensor in want.tensors.items():
        assert found.tensors[name].equal(tensor), name


def test_a_killed_worker_resumes_to_the_same_weights(undisturbed, tmp_path):
    # Worker 0 kills itself between two steps of the third epoch; worker 1 then waits for it in a
    # collective.
    mark = tmp_path / "killed"
    found = fit(regression(dropout=0.25, kill=mark), CONFIG, tmp_path / "run")
    assert mark.exists()
    require_equal(found, undisturbed)


def test_more_lost_workers_than_restarts_fail(tmp_path):
    config = CONFIG.model_copy(update={"restarts": 0})
    with pytest.raises(StageError, match=r"^training: "):
        fit(regression(kill=tmp_path / "killed"), config, tmp_path / "run")


DRIVER = """
import sys, pathlib
sys.path.insert(0, sys.argv[2])
import fitting_task
from ray import cloudpickle
from training.loop import fit
cloudpickle.register_pickle_by_value(fitting_task)
config = fitting_task.LOOP.model_copy(update={"workers": 2})
task = fitting_task.regression(dropout=0.25, stall=pathlib.Path(sys.argv[3]))
fit(task, config, pathlib.Path(sys.argv[1]), address="local")
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_resumes_to_the_same_weights(end, undisturbed, tmp_path):
    # The workers of the first run halt in the third epoch, where the driver is ended.
    output, mark = tmp_path / "run", tmp_path / "stalled"
    command = [sys.executable, "-c", DRIVER, str(output), str(TESTS), str(mark)]
    driver = subprocess.Popen(command, cwd=TESTS.parent)
    family: list[psutil.Process] = []
    try:
        until = time.monotonic() + 300
        while not mark.exists() and driver.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
        assert mark.exists(), driver.poll()
        family = psutil.Process(driver.pid).children(recursive=True)
        os.kill(driver.pid, end)
        assert driver.wait(timeout=180) == -end  # Python dies of an interrupt by the signal itself
    finally:
        driver.kill()
        driver.wait()
        _, left = psutil.wait_procs(family, timeout=20)
        for process in left:
            process.kill()
    found = fit(regression(dropout=0.25), CONFIG, output, resume=True)
    require_equal(found, undisturbed)
    assert len(found.curve) == CONFIG.epochs
