"""The one source of randomness: counter-based Philox streams keyed by what they are for.

A draw depends on (seed, stage, person or shard id) alone, never on worker, order or time, so a
retried, moved or resumed shard draws the same numbers. Philox: Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011.
"""

import hashlib

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from raygen.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_WORDS = 4  # a Philox 4x64 counter gives four 64-bit words


def key(seed: int, stage: str, *ids: int) -> IntArray:
    """Return the 128-bit Philox key of a stream, as two uint64 words."""
    text = ":".join([str(seed), stage, *map(str, ids)])
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.frombuffer(digest, dtype=np.uint64)  # pyright: ignore[reportReturnType]


def stream(seed: int, stage: str, *ids: int) -> np.random.Generator:
    """Return the generator of one stage and one id (a shard, a zone, a household …)."""
    return np.random.Generator(np.random.Philox(key=key(seed, stage, *ids)))


def uniforms(seed: int, stage: str, ids: IntArray, draws: int) -> FloatArray:
    """Draw for each id its own uniforms.

    Parameters
    ----------
    seed
        The run's seed.
    stage
        Name of the stream; one name, one use.
    ids
        Person, household or trip ids of shape (N,), >= 0. Contiguous runs are fast.
    draws
        Draws of each id, D.

    Returns
    -------
    uniform
        Shape (N, D), in [0, 1). Row i depends on (seed, stage, ids[i]) and D alone.

    Raises
    ------
    DataError
        If an id is negative.
    """
    if len(ids) == 0:
        return np.empty((0, draws))
    if ids.min() < 0:
        msg = f"seeds: stage {stage!r}: ids must be >= 0, got {ids.min()}"
        raise DataError(msg)
    blocks = -(-draws // _WORDS)
    words = key(seed, stage)
    breaks = np.flatnonzero(np.diff(ids) != 1) + 1
    starts = np.concatenate([[0], breaks])
    stops = np.concatenate([breaks, [len(ids)]])
    raw = np.empty((len(ids), blocks * _WORDS), dtype=np.uint64)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        counter = int(ids[start]) * blocks
        philox = np.random.Philox(key=words, counter=counter)
        raw[start:stop] = philox.random_raw((stop - start) * blocks * _WORDS).reshape(
            stop - start, -1
        )
    return (raw[:, :draws] >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(seed: int, stage: str, ids: IntArray, draws: int) -> FloatArray:
    """Draw for each id its own standard normals, shape (N, D); see ``uniforms``."""
    # u is a multiple of 2^-53 and may be 0; the shift by half a step keeps ndtri finite.
    return ndtri(uniforms(seed, stage, ids, draws) + 2.0**-54)
