"""run.json: what may differ between two runs of equal bytes — times, machine, versions, commit."""

import platform
import subprocess
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from raygen import __version__
from raygen.config import RunConfig
from raygen.manifest import Receipt, unpack

_LIBRARIES = ("ray", "torch", "numpy", "numba", "scipy", "pyarrow", "diffusers", "transformers")


def run_record(
    config: RunConfig, receipts: Iterable[Receipt], steps: dict[str, float], resumed: int
) -> dict[str, Any]:
    """Return the record of a run as JSON.

    Parameters
    ----------
    config
        As resolved, in full.
    receipts
        Of all shards, also of those that an earlier run did.
    steps
        Elapsed seconds of each step of the driver.
    resumed
        Shards that an earlier run did.

    Returns
    -------
    record
        Configuration, versions, commit, machine, seconds and peak memory by stage, counters.
    """
    every = list(receipts)
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config.model_dump(mode="json"),
        "raygen": __version__,
        "git": _commit(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "steps_s": {name: round(seconds, 2) for name, seconds in steps.items()},
        "shards_resumed": resumed,
        "stages": _stages(every),
        "counters": _counters(every),
    }


class Steps:
    """Elapsed seconds of the steps of a run.

    Parameters
    ----------
    tell
        Called with the name of each step as it begins.
    """

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._tell = tell

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Time a step."""
        if self._tell is not None:
            self._tell(name)
        since = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - since


def _stages(receipts: list[Receipt]) -> dict[str, dict[str, float]]:
    """Return seconds of all shards and the largest memory by stage, in the order of the data."""
    stages: dict[str, dict[str, float]] = {}
    for cost in (cost for receipt in receipts for cost in receipt.costs):
        row = stages.setdefault(cost.stage, {"wall_s": 0.0, "cpu_s": 0.0, "peak_bytes": 0})
        row["wall_s"] = round(row["wall_s"] + cost.wall_s, 3)
        row["cpu_s"] = round(row["cpu_s"] + cost.cpu_s, 3)
        row["peak_bytes"] = max(row["peak_bytes"], cost.peak_bytes)
    return stages


def _counters(receipts: list[Receipt]) -> dict[str, int]:
    total: dict[str, int] = {}
    for receipt in receipts:
        for name, count in receipt.counters.items():
            total[name] = total.get(name, 0) + count
    met = [unpack(receipt.plan_states) for receipt in receipts]
    return total | {"plan_states": len(np.unique(np.concatenate(met))) if met else 0}


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the checkout that this code is in, None outside of one."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
