"""Levenshtein distances between days of at most 64 slots, many against many.

Bit-parallel: Myers, "A fast bit-vector algorithm for approximate string matching based on dynamic
programming", Journal of the ACM 46, 1999, with the horizontal deltas of Hyyrö, "Explaining and
extending the bit-parallel approximate string matching algorithm of Myers", 2001: a column of the
table is one machine word, so that a pair of days costs a few instructions a slot.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from raygen.errors import DataError

Clock = npt.NDArray[np.integer]

_WORD = 64
_ONE = np.uint64(1)
_NONE = np.uint64(0)


def distances(one: Clock, other: Clock) -> npt.NDArray[np.int16]:
    """Return the Levenshtein distance of each day of ``one`` to each of ``other``, shape (N, M).

    Parameters
    ----------
    one, other
        Codes ≥ 0 of each slot, shapes (N, T) and (M, U), T ≤ 64.

    Raises
    ------
    DataError
        If T is 0 or above 64.
    """
    if not 0 < one.shape[1] <= _WORD:
        msg = f"edit distance: days must have 1 to {_WORD} slots, got {one.shape[1]}"
        raise DataError(msg)
    codes = 1 + max(int(days.max(initial=0)) for days in (one, other))
    return _distances(one.astype(np.int64), other.astype(np.int64), codes)


def nearest_similarities(one: Clock, other: Clock, count: int) -> npt.NDArray[np.float32]:
    """Return the similarities of each day of ``one`` to the ``count`` nearest days of ``other``.

    Similarity is 1 − distance / slots; shape (N, count), most similar first. Memory is that of
    256 days of ``one``.

    Raises
    ------
    DataError
        If ``other`` has fewer days than ``count``.
    """
    if len(other) < count:
        msg = f"edit distance: {count} nearest days need as many, got {len(other)}"
        raise DataError(msg)
    found = np.empty((len(one), count), dtype=np.float32)
    for start in range(0, len(one), 256):
        apart = distances(one[start : start + 256], other)
        near = np.sort(np.partition(apart, count - 1, axis=1)[:, :count], axis=1)
        found[start : start + 256] = 1.0 - near / max(one.shape[1], other.shape[1])
    return found


@njit(cache=True, nogil=True)
def _distances(
    one: npt.NDArray[np.int64], other: npt.NDArray[np.int64], codes: int
) -> npt.NDArray[np.int16]:
    length = one.shape[1]
    found = np.empty((len(one), len(other)), dtype=np.int16)
    where = np.zeros(codes, dtype=np.uint64)
    last = _ONE << np.uint64(length - 1)
    for i in range(len(one)):
        for t in range(length):
            where[one[i, t]] |= _ONE << np.uint64(t)
        for j in range(len(other)):
            rises, falls = ~_NONE, _NONE
            score = length
            for u in range(other.shape[1]):
                match = where[other[j, u]]
                diagonal = (((match & rises) + rises) ^ rises) | match | falls
                up = falls | ~(diagonal | rises)
                down = rises & diagonal
                if up & last:
                    score += 1
                if down & last:
                    score -= 1
                up = (up << _ONE) | _ONE
                down = down << _ONE
                rises = down | ~(diagonal | up)
                falls = up & diagonal
            found[i, j] = score
        for t in range(length):
            where[one[i, t]] = _NONE
    return found
