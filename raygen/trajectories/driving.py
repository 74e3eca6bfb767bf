"""How a car drives a route: speeds, corners, queues at junctions, second by second.

A kinematic model, not a traffic simulation: each car drives by itself, as fast as its segments,
the corners ahead and its brakes allow (the speed profile under bounded acceleration of any text on
train running times). What is drawn for it is drawn outside of here.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from raygen.network.graph import FloatArray, IntArray, RowArray


class Drives(NamedTuple):
    """N routes of Q segments with what each car meets on them."""

    route_first: IntArray
    """Route i is ``route[route_first[i]:route_first[i + 1]]``; shape (N + 1,)."""
    route: RowArray
    """Segments, shape (Q,)."""
    speed: FloatArray
    """Metres a second that the car would drive on each, shape (Q,)."""
    corner: FloatArray
    """Most metres a second at the end of each, shape (Q,)."""
    halt: FloatArray
    """Metres before the end of each at which the car stops, shape (Q,)."""
    wait: FloatArray
    """Seconds that it stands there; 0: it does not stop; shape (Q,)."""
    begin: FloatArray
    end: FloatArray
    """Share of the first and the last segment where the trip begins and ends, shape (N,)."""
    faster: FloatArray
    slower: FloatArray
    """Acceleration and braking in metres a second squared, shape (N,)."""


@njit(cache=True, nogil=True)
def drive(drives: Any, length: Any, interval: float, most: int) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    """Drive every route and note where the car is every ``interval`` seconds.

    Parameters
    ----------
    drives
        ``Drives``.
    length
        Metres of every segment of the graph, shape (E,).
    interval
        Seconds.
    most
        Points of a trip at most; a longer drive is broken off there.

    Returns
    -------
    count
        Points of each trip, shape (N,); ``most + 1`` where it was broken off.
    step, metres
        Segment of the route, from 0, and metres along it, of each point; shape (N, most + 1).
    """
    trips = len(drives.route_first) - 1
    count = np.zeros(trips, np.int64)
    step = np.zeros((trips, most + 1), np.int32)
    metres = np.zeros((trips, most + 1))
    for i in range(trips):
        a, b = drives.route_first[i], drives.route_first[i + 1]
        marks = _marks(drives, length, i, a, b)
        count[i] = _run(marks, drives.faster[i], drives.slower[i], interval, step[i], metres[i])
    return count, step, metres


@njit(cache=True, nogil=True)
def _marks(drives: Any, length: Any, trip: int, a: int, b: int) -> Any:  # noqa: ANN401
    """Return where speed is bound: segment, place on it, place on the route, speed up to there,
    speed there, wait; two marks a segment, its halt and its end.
    """  # noqa: D205
    marks = np.zeros((2 * (b - a), 6))
    slower = drives.slower[trip]
    total = 0.0
    for k in range(a, b):
        far = length[drives.route[k]]
        low = drives.begin[trip] * far if k == a else 0.0
        high = drives.end[trip] * far if k == b - 1 else far
        high = max(low, high)
        # A queue longer than the segment leaves the car anywhere on it.
        stop = high - (drives.halt[k] % max(high - low, 1.0)) if high - low > 1.0 else high
        row = 2 * (k - a)
        marks[row], marks[row + 1] = 0.0, 0.0
        marks[row : row + 2, 0] = k - a
        marks[row, 1], marks[row + 1, 1] = stop, high
        marks[row, 2], marks[row + 1, 2] = total + stop - low, total + high - low
        marks[row : row + 2, 3] = drives.speed[k]
        marks[row, 4] = 0.0 if drives.wait[k] > 0 else np.inf
        marks[row, 5] = drives.wait[k]
        marks[row + 1, 4] = drives.corner[k] if k < b - 1 else 0.0
        total += high - low
    for row in range(len(marks) - 2, -1, -1):
        gap = marks[row + 1, 2] - marks[row, 2]
        limit = np.sqrt(marks[row + 1, 4] ** 2 + 2.0 * slower * gap)
        marks[row, 4] = min(marks[row, 4], limit, marks[row, 3], marks[row + 1, 3])
    return marks


@njit(cache=True, nogil=True)
def _run(marks: Any, faster: float, slower: float, interval: float, step: Any, metres: Any) -> int:  # noqa: ANN401
    """Integrate in steps of half a second; returns the number of points noted."""
    most, tick = len(step), 0.5
    at, speed, clock, rest, row, noted = 0.0, 0.0, 0.0, 0.0, 0, 0
    while row < len(marks) and noted < most:
        if clock >= noted * interval:
            step[noted] = int(marks[row, 0])
            metres[noted] = marks[row, 1] - (marks[row, 2] - at)
            noted += 1
        clock += tick
        if rest > 0.0:
            rest -= tick
            continue
        gap = marks[row, 2] - at
        bound = np.sqrt(marks[row, 4] ** 2 + 2.0 * slower * max(gap, 0.0))
        speed = min(speed + faster * tick, marks[row, 3], bound)
        at += max(speed, 0.3) * tick  # a crawl takes the last centimetres before a stop
        while row < len(marks) and at >= marks[row, 2]:
            if marks[row, 5] > 0.0:
                at, speed, rest = marks[row, 2], 0.0, marks[row, 5]
                row += 1
                break
            row += 1
    return noted
