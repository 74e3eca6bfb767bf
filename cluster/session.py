"""The one place that connects to Ray and sets environment variables.

A run is on its own Ray (no address), or on a cluster that is already up (``host:port`` of its head,
or ``auto``). Inside a Ray job the driver follows ``RAY_ADDRESS``, which the job sets.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psutil
import ray

from cluster.check import check_nodes
from raygen.errors import ClusterError

log = logging.getLogger(__name__)

_REACH_S = 4.0  # for the head's port to accept a connection
_ANSWER_S = 10.0  # for what listens there to answer as a Ray head does

# Ray gives its own node a fixed 30 s to come up, too little on a machine that is busy.
_STARTS = 3
_SLOW_START = "timed out during startup"

_EMPTY_SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # length 0, type 4, no flags, stream 0

# Read by Ray in the driver. A shell's own setting wins.
_DRIVER_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # keeps CUDA_VISIBLE_DEVICES of CPU-only workers
    # Every report of a training waits for the controller's next poll, 2 s by default.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # A training worker stays in the run's directory, where its code is.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment variables of every worker process of a run.

    Parameters
    ----------
    threads
        Threads of one worker's kernels.

    Returns
    -------
    environment
        For ``runtime_env={"env_vars": …}``.
    """
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NUMBA_NUM_THREADS": count,
        # OpenMP threads that spin on a busy core made steps 2 to 5 times slower.
        "GOMP_SPINCOUNT": "0",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


@contextmanager
def connect(address: str | None, workers: int | None = None, threads: int = 1) -> Generator[None]:
    """Connect to Ray for the length of a ``with`` block.

    Where Ray is already initialised in this process, that session is used and left as it is. On a
    cluster that was up before, every node must have this code; see ``cluster.check``.

    Parameters
    ----------
    address
        ``host:port`` of the head of a cluster that this machine is part of; ``auto`` for the
        cluster on this machine; ``local`` for a Ray of its own; ``None`` for ``RAY_ADDRESS`` where
        it is set (as in a Ray job) and else for a Ray of its own.
    workers
        Worker processes that the run will hold at once; a Ray of its own gets at least
        ``workers * threads`` CPUs, and at least the machine's.
    threads
        Threads of one worker's kernels.

    Raises
    ------
    ClusterError
        If the address is malformed, nothing answers there within 15 seconds, Ray does not
        start, or a node has other code.
    """
    for name, value in _DRIVER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        yield
        return
    target = address or os.environ.get("RAY_ADDRESS") or "local"
    settings: dict[str, Any] = {}
    if target == "local":
        settings["num_cpus"] = max(_cores(), (workers or 1) * threads)
        settings["include_dashboard"] = False
    elif target != "auto":
        _require_head(target)
    _init(target, threads, settings)
    try:
        if target != "local":
            check_nodes()
        yield
    finally:
        ray.shutdown()


def _init(target: str, threads: int, settings: dict[str, Any]) -> None:
    # Ray 2.60 warns that a token guards the cluster that it starts, which asks nothing of the user.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    for attempt in range(_STARTS):
        before = set(psutil.Process().children())
        try:
            ray.init(
                address=target,
                runtime_env={"env_vars": worker_environment(threads)},
                logging_level=logging.WARNING,
                log_to_driver=False,  # what a worker raises comes with its result
                **settings,
            )
        except Exception as error:  # Ray 2.60 raises Exception itself where a node does not come up
            _end(set(psutil.Process().children()) - before)
            if _SLOW_START in str(error) and attempt + 1 < _STARTS:
                log.warning("Ray did not start in time; trying again")
                continue
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            msg = f"address {target!r}: {line}"
            raise ClusterError(msg) from error
        return


def _end(processes: set[psutil.Process]) -> None:
    """End what a failed start has left behind."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(processes), timeout=_REACH_S)


def _require_head(address: str) -> None:
    """Raise unless a Ray head may be there; ``ray.init`` itself would wait for over two minutes."""
    host, port = _split(address)
    try:
        with socket.create_connection((host, port), timeout=_REACH_S) as connection:
            answers = os.environ.get("RAY_USE_TLS") == "1" or _speaks_http2(connection)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        msg = f"address {address!r}: no Ray head can be reached there: {reason}"
        raise ClusterError(msg) from None
    if not answers:
        msg = f"address {address!r}: the port is open, but no Ray head answers there"
        raise ClusterError(msg)


def _speaks_http2(connection: socket.socket) -> bool:
    """Return whether the other side greets as a gRPC server does, which Ray's head is.

    An HTTP/2 server answers the client's preface with a SETTINGS frame, whose fourth byte is 4
    (RFC 9113, 3.4 and 6.5).
    """
    connection.settimeout(_ANSWER_S)
    try:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _EMPTY_SETTINGS)
        frame = b""
        while len(frame) < len(_EMPTY_SETTINGS):
            part = connection.recv(len(_EMPTY_SETTINGS) - len(frame))
            if not part:
                return False
            frame += part
    except (TimeoutError, ConnectionError):
        return False
    return frame[3] == _EMPTY_SETTINGS[3]


def _split(address: str) -> tuple[str, int]:
    if address.startswith("ray://"):
        msg = f"address {address!r}: must be host:port, on a machine of the cluster; "
        msg += "from outside use `ray job submit`"
        raise ClusterError(msg)
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 2**16:
        msg = f"address {address!r}: must be host:port, 'auto' or 'local'"
        raise ClusterError(msg)
    return host.strip("[]"), int(port)


def _cores() -> int:
    """Return the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
