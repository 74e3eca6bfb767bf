"""Many draws for each person inside compiled kernels.

A person's 64-bit key comes from ``raygen.seeds`` (Philox, by seed, stage and person id); SplitMix64
expands it: draw c of the key is mix(key + (c + 1) · 0x9E3779B97F4A7C15), so any draw can be had
alone, in any order. Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA
2014. A draw's counter is (day · 128 + sequence) · 16 + use.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from raygen import seeds

KeyArray = npt.NDArray[np.uint64]

USE_JITTER, USE_DISTANCE, USE_ANGLE, USE_ZONE, USE_MODE, USE_POI, USE_AT_HOME, USE_POINT = range(8)
"""What a draw of an activity is for; a point takes three, from USE_POINT on."""

USE_RETURN = USE_POINT + 3
"""Whether an activity's place is one that the person knows, and which."""

_USES = 16
_SEQUENCES = 128


def person_keys(seed: int, stage: str, person_id: npt.NDArray[np.int64]) -> KeyArray:
    """Return one 64-bit key for each person, shape (N,), that depends on its id alone."""
    words = (seeds.uniforms(seed, stage, person_id, 2) * 2.0**53).astype(np.uint64)
    return (words[:, 0] << np.uint64(11)) ^ words[:, 1]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def counter(day: int, sequence: int, use: int) -> int:
    """Return the counter of a draw of an activity."""
    return (day * _SEQUENCES + sequence) * _USES + use


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def unit(key: np.uint64, count: int) -> float:
    """Return draw ``count`` of a key, uniform in [0, 1)."""
    word = key + (np.uint64(count) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word = word ^ (word >> np.uint64(31))
    return float(word >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def units(keys: KeyArray, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return draw ``counts[i]`` of ``keys[i]`` for every i, shape (M,)."""
    out = np.empty(len(keys))
    for i in range(len(keys)):
        out[i] = unit(keys[i], counts[i])
    return out


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def quantile(curve: npt.NDArray[np.float32], draw: float) -> float:
    """Return the value of a quantile curve (evenly spaced in probability) at ``draw``."""
    place = draw * (len(curve) - 1)
    left = min(int(place), len(curve) - 2)
    return curve[left] + (place - left) * (curve[left + 1] - curve[left])
