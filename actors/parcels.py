"""What travels from one stage's actor to the next: Arrow tables, and what they cost so far."""

import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen.manifest import Cost


@dataclass(frozen=True)
class People:
    """A shard's households and persons, without work and school zones."""

    shard: int
    households: pa.Table
    persons: pa.Table
    costs: tuple[Cost, ...]


@dataclass(frozen=True)
class Planned:
    """A shard's activities without places, schema PLANS."""

    plans: pa.Table
    states: npt.NDArray[np.int64]
    """Distinct plan states that the shard met, sorted."""
    counters: dict[str, int]
    costs: tuple[Cost, ...]


@dataclass(frozen=True)
class Denoised:
    """Latents of shape (A, latent), one row for each row of the plans."""

    latents: npt.NDArray[np.float32]
    costs: tuple[Cost, ...]


@dataclass(frozen=True)
class Decoded:
    """Region priors, schema PRIORS, one row for each row of the plans."""

    priors: pa.Table
    costs: tuple[Cost, ...]


@dataclass(frozen=True)
class Finished:
    """A shard's tables, in the schemas of a population."""

    shard: int
    tables: dict[str, pa.Table]
    states: npt.NDArray[np.int64]
    """See ``Planned``."""
    counters: dict[str, int]
    costs: tuple[Cost, ...]


class Stopwatch:
    """Seconds and memory of one stage and one shard."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def stop(self) -> Cost:
        """Return what was spent since the watch was made."""
        return Cost(
            stage=self._stage,
            wall_s=round(time.perf_counter() - self._wall, 4),
            cpu_s=round(time.process_time() - self._cpu, 4),
            peak_bytes=peak_memory(),
        )


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux
