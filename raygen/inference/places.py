"""Stays of a person in one place, from one day to the next; compiled.

The stays of a person, the longest first, join the nearest of the person's places within
``place_m`` of its mean point, else they are the first of a new place; the point then moves
to the mean. Long stays go first as their position is known best. (H3 cells cut places at their
edges: a stay 10 m from an edge would be two places under 20 m of noise.)
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Q places of N persons, in the order of person and then of their first stay."""

    of_stay: IntArray
    """Place of each stay, shape (S,)."""
    number: IntArray
    """The same counted within the person, from 0, shape (S,)."""
    xy: FloatArray
    """Mean point of the place's stays, metres, shape (Q, 2)."""
    visits: IntArray
    """Stays of each place, shape (Q,)."""
    person_start: IntArray
    """Person n has places person_start[n] … person_start[n + 1] - 1, shape (N + 1,)."""


def find_places(
    xy: FloatArray, duration_s: IntArray, person_start: IntArray, place_m: float
) -> Places:
    """Group the stays of persons into places.

    Parameters
    ----------
    xy
        Stays in metres, shape (S, 2), a person's together.
    duration_s
        Shape (S,).
    person_start
        Person n has stays person_start[n] … person_start[n + 1] - 1, shape (N + 1,).
    place_m
        Farthest that a stay is from its place's mean point when it joins.
    """
    number = np.empty(len(xy), np.int64)
    mean = np.empty((len(xy), 2))
    visits = np.zeros(len(xy), np.int64)
    found = np.zeros(len(person_start), np.int64)
    _cluster(xy, duration_s, (person_start, found), place_m, (number, mean, visits))
    start = np.cumsum(found)
    person = np.repeat(np.arange(len(person_start) - 1), np.diff(person_start))
    kept = np.arange(len(xy)) - person_start[person] < np.diff(start)[person]
    return Places(start[person] + number, number, mean[kept], visits[kept], start)


@njit(cache=True, nogil=True)
def _cluster(
    xy: FloatArray,
    duration_s: IntArray,
    people: tuple[IntArray, IntArray],
    place_m: float,
    out: tuple[IntArray, FloatArray, IntArray],
) -> None:
    """Write each stay's place, and the places' points and visits from the person's first row on."""
    person_start, found = people
    number, mean, visits = out
    for person in range(len(person_start) - 1):
        first, stop = person_start[person], person_start[person + 1]
        order = np.argsort(-duration_s[first:stop], kind="mergesort")
        count = 0
        for at in order:
            stay = first + at
            best, least = count, place_m * place_m
            for place in range(count):
                east = xy[stay, 0] - mean[first + place, 0]
                north = xy[stay, 1] - mean[first + place, 1]
                if east * east + north * north <= least:
                    best, least = place, east * east + north * north
            if best == count:
                mean[first + best] = xy[stay]
                count += 1
            number[stay] = best
            visits[first + best] += 1
            mean[first + best] += (xy[stay] - mean[first + best]) / visits[first + best]
        _in_order(number[first:stop], mean[first:stop], visits[first:stop], count)
        found[person + 1] = count


@njit(cache=True, nogil=True)
def _in_order(number: IntArray, mean: FloatArray, visits: IntArray, count: int) -> None:
    """Renumber a person's places by their first stay, within the arrays."""
    rank = np.full(count, -1, np.int64)
    seen = 0
    for at in range(len(number)):
        if rank[number[at]] < 0:
            rank[number[at]] = seen
            seen += 1
        number[at] = rank[number[at]]
    old_mean, old_visits = mean[:count].copy(), visits[:count].copy()
    for place in range(count):
        mean[rank[place]] = old_mean[place]
        visits[rank[place]] = old_visits[place]
