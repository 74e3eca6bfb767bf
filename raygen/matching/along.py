"""Points placed along the route that was driven: a hidden Markov model on one line.

Cells of a few metres are the states, each twice: a car drives through it, or stands in it. What a
cell weighs beforehand is the seconds that a car is there; a car that stands may stay, and one that
drives is further on by a broad density of the way for the time. Forward and backward sums give each
cell's probability for each point (Rabiner, "A tutorial on hidden Markov models", Proceedings of
the IEEE 77, 1989, section III).
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from raygen.network.graph import FloatArray, IntArray, RowArray

_MOST = 3.0  # all drives of more than so many times the pace are equally unlikely
_TABLE = 600
_BIN = _MOST / _TABLE
_IMPOSSIBLE = 1e-9  # never 0: the matcher says that the way was driven
_OUTLIER = 1e-8  # weight of a point that is nowhere near, beside 1 for the nearest cell
_SHORTEST_S = 1.0  # two points of one time are taken to lie so far apart


class Lines(NamedTuple):
    """Lines of the segments, as in ``PlaneRoads``."""

    at: IntArray
    xy: FloatArray
    along: FloatArray


class Steps(NamedTuple):
    """What cars meet on N routes of Q driven segments."""

    first: IntArray
    """Route i is rows ``first[i]:first[i + 1]``; shape (N + 1,)."""
    segment: RowArray
    speed: FloatArray
    """Metres a second at which each car drives when it does, shape (Q,)."""
    corner: FloatArray
    """Most metres a second from each segment into the next, shape (Q,)."""
    stand: FloatArray
    """Mean seconds that a car stands before the end of each, shape (Q,)."""


class Motion(NamedTuple):
    """Parameters, see ``raygen.matching.placing.PlacingSettings``."""

    sigma: float
    cell: float
    window: float
    """Metres before and behind the matched place that are looked at."""
    brake: float
    line: float
    queue: float
    wait: float


class Cells(NamedTuple):
    """C cells of one route, in its order; all of shape (C,) but ``xy``, (C, 2)."""

    step: Any
    """Of the route, from 0."""
    metres: Any
    """Along the segment."""
    route: Any
    """Metres along the route."""
    xy: Any
    clock: Any
    """Seconds from the route's begin, driving all the way without a stop."""
    drives: Any
    stands: Any
    """Seconds that a car drives, or stands, there."""


@njit(cache=True, nogil=True)
def pace_table(spread: float, held: float) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    """Return the density of the way driven over the way at the car's own pace, up to ``_MOST``."""
    table = np.empty(_TABLE + 1)
    for k in range(_TABLE + 1):
        ratio = k * _MOST / _TABLE
        apart = (ratio - 1.0) / spread
        table[k] = (1.0 - held) * np.exp(-0.5 * apart * apart) / (np.sqrt(2.0 * np.pi) * spread)
        table[k] += _IMPOSSIBLE + (held if ratio < 1.0 else 0.0)
    return table


@njit(cache=True, nogil=True)
def place_all(lines: Any, steps: Any, traces: Any, told: Any, motion: Any, table: Any) -> Any:  # noqa: ANN401
    """Place the points of every trace along its route.

    Parameters
    ----------
    lines, steps, motion
        ``Lines``, ``Steps`` and ``Motion``.
    traces
        Offsets (N + 1,), points (P, 2), times (P,), and (P,) how fast each point is expected to be
        come to, over the speeds of ``steps``: 1 where nothing more is known.
    told
        Step of the route and metres along its segment of each point, as matched; shape (P,).
    table
        Of ``pace_table``.

    Returns
    -------
    step, metres
        As placed, shape (P,); neither the step nor the metres on one step ever fall. A trace of no
        probability at all keeps what it was told.
    """
    first, xy, time, pace = traces
    step, metres = told[0].copy(), told[1].copy()
    for i in range(len(first) - 1):
        a, b = first[i], first[i + 1]
        if a == b:
            continue
        cells, begin = _cells(lines, steps, steps.first[i], steps.first[i + 1], motion)
        windows = _windows(cells, begin, told[0][a:b], told[1][a:b], motion.window)
        seen, factor, stay = _evidence(cells, windows, (xy[a:b], time[a:b], pace[a:b]), motion)
        weight, possible = _posterior(cells, windows, (seen, factor, stay), table)
        if possible:
            _decode(cells, windows, weight, step[a:b], metres[a:b])
    return step, metres


@njit(cache=True, nogil=True)
def _cells(lines: Any, steps: Any, a: int, b: int, motion: Any) -> Any:  # noqa: ANN401
    """Return the cells of a route, and where each of its segments begins along it."""
    count = np.empty(b - a, np.int64)
    begin = np.zeros(b - a + 1)
    for k in range(b - a):
        length = lines.along[lines.at[steps.segment[a + k] + 1] - 1]
        count[k] = max(1, int(np.ceil(length / motion.cell)))
        begin[k + 1] = begin[k] + length
    size = count.sum()
    step, metres, route = np.empty(size, np.int64), np.empty(size), np.empty(size)
    xy, drives, stands = np.empty((size, 2)), np.empty(size), np.empty(size)
    row = 0
    for k in range(b - a):
        segment = steps.segment[a + k]
        piece, last = lines.at[segment], lines.at[segment + 1] - 1
        length = lines.along[last]
        wide = length / count[k]
        enter = steps.corner[a + k - 1] if k > 0 else np.inf
        for j in range(count[k]):
            here = (j + 0.5) * wide
            while piece < last - 1 and lines.along[piece + 1] < here:
                piece += 1
            gap = lines.along[piece + 1] - lines.along[piece]
            share = (here - lines.along[piece]) / gap if gap > 0.0 else 0.0
            xy[row] = (1.0 - share) * lines.xy[piece] + share * lines.xy[piece + 1]
            step[row], metres[row], route[row] = k, here, begin[k] + here
            left = length - here
            slow = np.sqrt(enter**2 + 2.0 * motion.brake * here)
            slow = min(slow, np.sqrt(steps.corner[a + k] ** 2 + 2.0 * motion.brake * left))
            drives[row] = wide / min(slow, steps.speed[a + k])
            near = np.exp(-max(left - 0.5 * wide - motion.line, 0.0) / motion.queue)
            far = np.exp(-max(left + 0.5 * wide - motion.line, 0.0) / motion.queue)
            stands[row] = steps.stand[a + k] * (near - far)
            row += 1
    return Cells(step, metres, route, xy, np.cumsum(drives) - 0.5 * drives, drives, stands), begin


@njit(cache=True, nogil=True)
def _windows(cells: Any, begin: Any, step: Any, metres: Any, window: float) -> Any:  # noqa: ANN401
    """Return the cells that each point may be in, ``low[p]:high[p]``.

    Where the matched places go back, the furthest stays within: a car does not drive backwards.
    """
    low, high = np.empty(len(step), np.int64), np.empty(len(step), np.int64)
    furthest, last = 0, len(cells.route) - 1
    for p in range(len(step)):
        here = begin[step[p]] + metres[p]
        furthest = max(furthest, min(np.searchsorted(cells.route, here), last))
        low[p] = min(np.searchsorted(cells.route, here - window), last)
        high[p] = max(np.searchsorted(cells.route, here + window), furthest + 1)
    return low, high


@njit(cache=True, nogil=True)
def _evidence(cells: Any, windows: Any, trace: Any, motion: Any) -> Any:  # noqa: ANN401
    """Return what each point says of its cells, and what lies between it and the point before.

    The evidence is 1 or so for the nearest cell; beside it the factor from the clock's seconds to
    rows of the table, and the chance to stand still.
    """
    low, high = windows
    xy, time, pace = trace
    seen = np.zeros((len(xy), (high - low).max()))
    factor, stay = np.zeros(len(xy)), np.zeros(len(xy))
    for p in range(len(xy)):
        least = np.inf
        for c in range(high[p] - low[p]):
            x = cells.xy[low[p] + c, 0] - xy[p, 0]
            y = cells.xy[low[p] + c, 1] - xy[p, 1]
            seen[p, c] = 0.5 * (x * x + y * y) / motion.sigma**2
            least = min(least, seen[p, c])
        for c in range(high[p] - low[p]):
            seen[p, c] = np.exp(least - seen[p, c]) + _OUTLIER
        if p > 0:
            gap = max(time[p] - time[p - 1], _SHORTEST_S)
            factor[p] = _TABLE / (_MOST * gap * pace[p])
            stay[p] = np.exp(-gap / motion.wait)
    return seen, factor, stay


@njit(cache=True, nogil=True)
def _posterior(cells: Any, windows: Any, evidence: Any, table: Any) -> Any:  # noqa: ANN401
    """Return each cell's weight for each point, and whether there is any."""
    low, high = windows
    seen, factor, stay = evidence
    points, widest = seen.shape
    drive, stand = np.zeros(seen.shape), np.zeros(seen.shape)
    scale, leave, arrive = np.empty(points), np.empty(widest), np.empty(widest)
    for p in range(points):
        a, many = low[p], high[p] - low[p]
        if p == 0:
            arrive[:] = 1.0
        else:
            before = high[p - 1] - low[p - 1]
            for c in range(before):
                leave[c] = drive[p - 1, c] + (1.0 - stay[p]) * stand[p - 1, c]
            _forward(cells.clock[low[p - 1] :], cells.clock[a:], a - low[p - 1], (factor[p], table),
                     leave[:before], arrive[:many])  # fmt: skip
        for c in range(many):
            drive[p, c] = seen[p, c] * arrive[c] * cells.drives[a + c]
            still = arrive[c] * cells.stands[a + c]
            if p > 0 and 0 <= a + c - low[p - 1] < high[p - 1] - low[p - 1]:
                still += stay[p] * stand[p - 1, a + c - low[p - 1]]
            stand[p, c] = seen[p, c] * still
        scale[p] = drive[p, :many].sum() + stand[p, :many].sum()
        if not scale[p] > 0.0:
            return drive, False
        drive[p] /= scale[p]
        stand[p] /= scale[p]
    _backward(cells, windows, evidence, (drive, stand, scale), table)
    return drive, True


@njit(cache=True, nogil=True)
def _forward(earlier: Any, later: Any, shift: int, law: Any, leave: Any, out: Any) -> None:  # noqa: ANN401
    """Sum up what comes to each cell from those behind it and itself; a second's density."""
    factor, table = law
    for c in range(len(out)):
        total = 0.0
        for d in range(max(0, min(len(leave), c + shift + 1))):
            total += leave[d] * table[min(int((later[c] - earlier[d]) * factor), _TABLE)]
        out[c] = total * factor * _BIN


@njit(cache=True, nogil=True)
def _backward(cells: Any, windows: Any, evidence: Any, work: Any, table: Any) -> None:  # noqa: ANN401
    """Turn the forward sums in ``drive`` into each cell's weight, both ways of being there."""
    low, high = windows
    seen, factor, stay = evidence
    drive, stand, scale = work
    widest = drive.shape[1]
    on, still = np.ones(widest), np.ones(widest)
    ahead, stays = np.empty(widest), np.empty(widest)
    for p in range(len(scale) - 1, -1, -1):
        many = high[p] - low[p]
        if p < len(scale) - 1:
            z, after = low[p + 1], high[p + 1] - low[p + 1]
            for d in range(after):
                share = seen[p + 1, d] / scale[p + 1]
                ahead[d] = share * (on[d] * cells.drives[z + d] + still[d] * cells.stands[z + d])
                stays[d] = share * still[d]
            shift = z - low[p]
            for c in range(many):
                total = 0.0
                for d in range(max(0, c - shift), after):
                    far = (cells.clock[z + d] - cells.clock[low[p] + c]) * factor[p + 1]
                    total += ahead[d] * table[min(int(far), _TABLE)]
                on[c] = total * factor[p + 1] * _BIN
                still[c] = (1.0 - stay[p + 1]) * on[c]
                if 0 <= c - shift < after:
                    still[c] += stay[p + 1] * stays[c - shift]
        for c in range(many):
            drive[p, c] = drive[p, c] * on[c] + stand[p, c] * still[c]


@njit(cache=True, nogil=True)
def _decode(cells: Any, windows: Any, weight: Any, step: Any, metres: Any) -> None:  # noqa: ANN401
    """Take the steps, never falling, of which most are right to expect, and the median on each."""
    low, high = windows
    points, first = len(step), cells.step[low.min()]
    many = cells.step[high.max() - 1] - first + 1
    mass, back = np.zeros((points, many)), np.empty((points, many), np.int64)
    best = np.zeros(many)
    for p in range(points):
        for c in range(high[p] - low[p]):
            mass[p, cells.step[low[p] + c] - first] += weight[p, c]
        top, ahead = 0, np.empty(many)
        for k in range(many):
            if best[k] > best[top]:
                top = k
            back[p, k] = top
            ahead[k] = best[top] + mass[p, k]
        best = ahead
    k = int(np.argmax(best))
    for p in range(points - 1, -1, -1):
        step[p] = first + k
        metres[p] = _median(cells, low[p], high[p], weight[p], first + k)
        k = back[p, k]
    for p in range(1, points):
        if step[p] == step[p - 1]:
            metres[p] = max(metres[p], metres[p - 1])


@njit(cache=True, nogil=True)
def _median(cells: Any, low: int, high: int, weight: Any, step: int) -> float:  # noqa: ANN401
    """Return the median place of a point that is on a step, in metres along its segment."""
    total = 0.0
    for c in range(low, high):
        if cells.step[c] == step:
            total += weight[c - low]
    # A step outside of the window has no weight: its end that is nearer to the window it gets.
    place = cells.metres[np.searchsorted(cells.step, step)]
    if step < cells.step[low]:
        place = cells.metres[np.searchsorted(cells.step, step + 1) - 1]
    sofar = 0.0
    for c in range(low, high):
        if cells.step[c] == step:
            place = cells.metres[c]
            sofar += weight[c - low]
            if sofar >= 0.5 * total:
                break
    return place
