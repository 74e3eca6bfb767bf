"""The likeliest sequence of places on roads of a trace, by the Viterbi algorithm."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from raygen.matching.candidates import near
from raygen.matching.reach import find

WHOLE, OFF_ROAD, NO_WAY, EMPTY = 0, 1, 2, 3
"""What became of a trace: matched; a point has no road near it; no way leads from the places of a
point to those of the next; it has no points."""


class Weights(NamedTuple):
    """Parameters of the hidden Markov model, see ``raygen.matching.match.Settings``."""

    sigma: float
    beta: float
    radius: float
    backward: float
    turn: float
    fastest: float
    """Metres a second."""


@njit(cache=True, nogil=True)
def match_all(roads: Any, grid: Any, reach: Any, traces: Any, weights: Any, most: int) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    """Match every trace by itself.

    Parameters
    ----------
    roads
        Tail, head, length of lines.
    grid, reach
        ``PieceGrid`` and ``Reach`` of the same roads.
    traces
        Offsets, points, times.
    weights
        ``Weights``.
    most
        Candidates of a point.

    Returns
    -------
    segment, metres, side
        Place of each point, shape (P,); -1 in traces that are not whole.
    step
        Which segment of its trace's route a point is on, shape (P,).
    route_at, route
        Segments driven.
    status, where
        What became of each trace, and at which of its points; shape (N,).
    """
    first, xy, time = traces
    count = len(first) - 1
    points = len(xy)
    segment, step = np.full(points, -1, np.int32), np.full(points, -1, np.int32)
    metres, side = np.zeros(points), np.zeros(points)
    status, where = np.zeros(count, np.int8), np.zeros(count, np.int64)
    route_at = np.zeros(count + 1, np.int64)
    route = np.empty(4 * points + 16, np.int32)
    longest = 1
    for i in range(count):
        longest = max(longest, first[i + 1] - first[i])
    place = np.empty((longest, most, 4))
    many = np.empty(longest, np.int64)
    before = np.empty((longest, most), np.int16)
    for i in range(count):
        a, b = first[i], first[i + 1]
        size = route_at[i]
        if a == b:
            status[i] = EMPTY
        else:
            status[i], where[i], last = _viterbi(
                roads, grid, reach, (xy[a:b], time[a:b]), weights, (place, many, before)
            )
            if status[i] == WHOLE:
                for p in range(b - 1, a - 1, -1):
                    found = place[p - a, last]
                    segment[p], metres[p], side[p] = int(found[0]), found[1], found[2]
                    last = before[p - a, last]
                size, route = _drive(
                    roads,
                    reach,
                    (segment[a:b], metres[a:b]),
                    weights.backward,
                    (route, size, step[a:b]),
                )
        route_at[i + 1] = size
    return segment, metres, side, step, route_at, route[: route_at[count]].copy(), status, where


@njit(cache=True, nogil=True)
def _viterbi(roads: Any, grid: Any, reach: Any, trace: Any, weights: Any, work: Any) -> Any:  # noqa: ANN401
    """Return status, the point where it broke, and the best candidate of the last point."""
    xy, time = trace
    place, many, before = work
    score, ahead = np.empty(place.shape[1]), np.empty(place.shape[1])
    for p in range(len(xy)):
        many[p] = near(grid, xy[p, 0], xy[p, 1], weights.radius, place[p])
        if many[p] == 0:
            return OFF_ROAD, p, 0
        if p == 0:
            ahead[:] = 0.0
        else:
            crow = np.hypot(xy[p, 0] - xy[p - 1, 0], xy[p, 1] - xy[p - 1, 1])
            limit = weights.fastest * (time[p] - time[p - 1]) + 6.0 * weights.sigma
            pair = (place[p - 1, : many[p - 1]], place[p, : many[p]])
            _step(roads, reach, pair, weights, (crow, limit), (score, ahead, before[p]))
        for j in range(many[p]):
            score[j] = ahead[j] - 0.5 * (place[p, j, 3] / weights.sigma) ** 2
        if np.max(score[: many[p]]) == -np.inf:
            return NO_WAY, p, 0
    return WHOLE, 0, int(np.argmax(score[: many[len(xy) - 1]]))


@njit(cache=True, nogil=True)
def _step(roads: Any, reach: Any, pair: Any, weights: Any, move: Any, scores: Any) -> None:  # noqa: ANN401
    """Score the candidates of a point by the best way to each from those of the point before."""
    earlier, later = pair
    crow, limit = move
    score, ahead, before = scores
    for j in range(len(later)):
        ahead[j] = -np.inf
        for i in range(len(earlier)):
            if score[i] <= ahead[j]:
                continue
            way, turns = _way(roads, reach, earlier[i], later[j], weights.backward)
            if way > limit:
                continue
            told = score[i] - abs(way - crow) / weights.beta - turns * weights.turn
            if told > ahead[j]:
                ahead[j], before[j] = told, i


@njit(cache=True, nogil=True)
def _way(roads: Any, reach: Any, a: Any, b: Any, backward: float) -> Any:  # noqa: ANN401
    """Return the metres of road from one place to another, and how often the car turns round."""
    tail, head, length = roads
    s, t = int(a[0]), int(b[0])
    if s == t and b[1] >= a[1] - backward:
        return max(0.0, b[1] - a[1]), 0
    row = find(reach.at, reach.target, head[s], tail[t])
    if row < 0:
        return np.inf, 0
    begun, into = reach.first[row], reach.last[row]
    if begun < 0:
        turns = int(head[t] == tail[s])
    else:
        turns = int(head[begun] == tail[s]) + int(tail[into] == head[t])
    return length[s] - a[1] + reach.metres[row] + b[1], turns


@njit(cache=True, nogil=True)
def _drive(roads: Any, reach: Any, places: Any, backward: float, out: Any) -> Any:  # noqa: ANN401
    """Append the segments of a trace to the route; return its new size and array."""
    tail, head, _ = roads
    segment, metres = places
    route, size, step = out
    begin = size
    for p in range(len(segment)):
        t = segment[p]
        if p > 0 and segment[p - 1] == t and metres[p] >= metres[p - 1] - backward:
            step[p] = size - 1 - begin
            continue
        between = 0
        if p > 0:
            source, node = head[segment[p - 1]], tail[t]
            while node != source:
                node = tail[reach.last[find(reach.at, reach.target, source, node)]]
                between += 1
        while size + between + 1 > len(route):
            grown = np.empty(2 * len(route) + between + 1, np.int32)
            grown[:size] = route[:size]
            route = grown
        if between > 0:
            node = tail[t]
            for k in range(between):
                into = reach.last[find(reach.at, reach.target, head[segment[p - 1]], node)]
                route[size + between - 1 - k] = into
                node = tail[into]
        route[size + between] = t
        size += between + 1
        step[p] = size - 1 - begin
    return size, route
