"""Persons spread over buckets, and fixes put in the order of person and time; compiled."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

Int64Array = npt.NDArray[np.int64]

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)


def bucket_of(person_id: pa.ChunkedArray, buckets: int) -> Int64Array:
    """Return the bucket of each row's person.

    Parameters
    ----------
    person_id
        int64 or string, F rows, no nulls.
    buckets
        How many there are.

    Returns
    -------
    bucket
        Shape (F,), 0 … buckets - 1; it depends on the id and on ``buckets`` alone.
    """
    if buckets == 1:
        return np.zeros(len(person_id), np.int64)
    codes, ids = coded(person_id)
    return (hashed(ids) % np.uint64(buckets)).astype(np.int64)[codes]


def hashed(ids: pa.Array) -> npt.NDArray[np.uint64]:
    """Return a well mixed hash of each id, int64 or string without nulls; shape (N,)."""
    if pa.types.is_string(ids.type):
        offsets = np.frombuffer(ids.buffers()[1], np.int32)[ids.offset : ids.offset + len(ids) + 1]
        text = ids.buffers()[2]
        return _hash_text(np.frombuffer(text if text is not None else b"", np.uint8), offsets)
    return mixed(ids.to_numpy().view(np.uint64))


def coded(person_id: pa.ChunkedArray) -> tuple[Int64Array, pa.Array]:
    """Return each row's person as an index into the ids, and the ids in order."""
    encoded = person_id.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    order = pc.call_function("array_sort_indices", [encoded.dictionary]).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order))


def grouped(code: Int64Array, time_ms: Int64Array, groups: int) -> tuple[Int64Array, Int64Array]:
    """Order rows by group and time.

    Parameters
    ----------
    code
        Group of each row, 0 … groups - 1, shape (F,).
    time_ms
        Shape (F,).
    groups
        How many groups there are, N.

    Returns
    -------
    order, start
        Rows in the new order, shape (F,): equal times keep the order that they had; first row of
        each group, shape (N + 1,).
    """
    start = np.zeros(groups + 1, np.int64)
    np.cumsum(np.bincount(code, minlength=groups), out=start[1:])
    order = _by_group(code, start)
    _by_time(order, time_ms, start)
    return order, start


@njit(cache=True, nogil=True)
def _by_group(code: Int64Array, start: Int64Array) -> Int64Array:
    order = np.empty(len(code), np.int64)
    free = start[:-1].copy()
    for row in range(len(code)):
        order[free[code[row]]] = row
        free[code[row]] += 1
    return order


@njit(cache=True, nogil=True)
def _by_time(order: Int64Array, time_ms: Int64Array, start: Int64Array) -> None:
    for group in range(len(start) - 1):
        rows = order[start[group] : start[group + 1]]
        for at in range(1, len(rows)):
            if time_ms[rows[at]] < time_ms[rows[at - 1]]:
                rows[:] = rows[np.argsort(time_ms[rows], kind="mergesort")]
                break


@njit(cache=True, nogil=True)
def _hash_text(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int32]
) -> npt.NDArray[np.uint64]:
    """Return FNV-1a hashes (Fowler, Noll, Vo) of UTF-8 texts, well mixed."""
    out = np.empty(len(offsets) - 1, np.uint64)
    for row in range(len(out)):
        value = _FNV_OFFSET
        for at in range(offsets[row], offsets[row + 1]):
            value = (value ^ np.uint64(text[at])) * _FNV_PRIME
        out[row] = value
    return mixed(out)


@njit(cache=True, nogil=True)
def mixed(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return 64-bit words mixed by SplitMix64's finaliser (Steele, Lea, Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
