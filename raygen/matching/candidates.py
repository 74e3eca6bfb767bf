"""Segments near a point, by a grid of the pieces of all lines."""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from raygen.network.graph import FloatArray, IntArray
from raygen.trajectories.plane import PlaneRoads

_CELL_M = 50.0


class PieceGrid(NamedTuple):
    """Straight pieces of all lines by the square cells that they may touch."""

    low: FloatArray
    """Corner of the grid in metres, shape (2,)."""
    columns: int
    rows: int
    at: IntArray
    """Cell c's pieces are ``piece[at[c]:at[c + 1]]``, shape (cells + 1,)."""
    piece: IntArray
    """Rows of the points where the pieces begin."""
    of: IntArray
    """Segment of each point, shape (P,)."""
    xy: FloatArray
    along: FloatArray
    """As in ``PlaneRoads``."""


def piece_grid(roads: PlaneRoads) -> PieceGrid:
    """Return the grid of a road graph."""
    low = roads.xy.min(axis=0) - _CELL_M
    columns, rows = ((roads.xy.max(axis=0) + _CELL_M - low) // _CELL_M).astype(int) + 1
    of = np.repeat(np.arange(roads.segments), np.diff(roads.at))
    begin = np.ones(len(roads.xy), dtype=bool)
    begin[roads.at[1:] - 1] = False  # the last point of a line begins no piece
    pieces = np.flatnonzero(begin)
    at, piece = _cells(low, int(columns), int(rows), roads.xy, pieces)
    return PieceGrid(low, int(columns), int(rows), at, piece, of, roads.xy, roads.along)


@njit(cache=True, nogil=True)
def _cells(low: Any, columns: int, rows: int, xy: Any, pieces: Any) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    count = np.zeros(columns * rows + 1, np.int64)
    at, piece = count, np.empty(0, np.int64)
    for turn in range(2):
        if turn == 1:
            at = np.cumsum(count)
            piece = np.empty(at[-1], np.int64)
            count[:] = 0
        for k in pieces:
            x0, x1 = min(xy[k, 0], xy[k + 1, 0]), max(xy[k, 0], xy[k + 1, 0])
            y0, y1 = min(xy[k, 1], xy[k + 1, 1]), max(xy[k, 1], xy[k + 1, 1])
            for column in range(int((x0 - low[0]) // _CELL_M), int((x1 - low[0]) // _CELL_M) + 1):
                for row in range(int((y0 - low[1]) // _CELL_M), int((y1 - low[1]) // _CELL_M) + 1):
                    if _misses(xy, k, low[0] + column * _CELL_M, low[1] + row * _CELL_M):
                        continue
                    cell = row * columns + column
                    if turn == 1:
                        piece[at[cell] + count[cell + 1]] = k
                    count[cell + 1] += 1
    return at, piece


@njit(cache=True, nogil=True)
def _misses(xy: Any, k: int, x: float, y: float) -> bool:  # noqa: ANN401
    """Return whether all corners of a cell lie on one side of a piece's line."""
    dx, dy = xy[k + 1, 0] - xy[k, 0], xy[k + 1, 1] - xy[k, 1]
    left = right = 0
    for i in range(4):
        cross = dx * (y + _CELL_M * (i & 1) - xy[k, 1]) - dy * (x + _CELL_M * (i >> 1) - xy[k, 0])
        left += cross > 0
        right += cross < 0
    return left == 4 or right == 4  # noqa: PLR2004


@njit(cache=True, nogil=True)
def near(grid: Any, x: float, y: float, radius: float, out: Any) -> int:  # noqa: ANN401
    """Find the segments nearest to a point, at most as many as ``out`` has rows.

    Parameters
    ----------
    grid
        A ``PieceGrid``.
    x, y
        The point in metres.
    radius
        Metres within which segments count.
    out
        Segment, metres along it, signed metres across (left positive) and distance, shape (K, 4);
        filled in order of distance.

    Returns
    -------
    count
        Rows filled.
    """
    count, room = 0, len(out)
    c0 = max(0, int((x - radius - grid.low[0]) // _CELL_M))
    c1 = min(grid.columns - 1, int((x + radius - grid.low[0]) // _CELL_M))
    r0 = max(0, int((y - radius - grid.low[1]) // _CELL_M))
    r1 = min(grid.rows - 1, int((y + radius - grid.low[1]) // _CELL_M))
    for row in range(r0, r1 + 1):
        for column in range(c0, c1 + 1):
            cell = row * grid.columns + column
            for j in range(grid.at[cell], grid.at[cell + 1]):
                k = grid.piece[j]
                ax, ay = grid.xy[k, 0], grid.xy[k, 1]
                dx, dy = grid.xy[k + 1, 0] - ax, grid.xy[k + 1, 1] - ay
                square = dx * dx + dy * dy
                share = ((x - ax) * dx + (y - ay) * dy) / square if square > 0 else 0.0
                share = min(1.0, max(0.0, share))
                ex, ey = x - ax - share * dx, y - ay - share * dy
                far = np.sqrt(ex * ex + ey * ey)
                if far > radius or (count == room and far >= out[count - 1, 3]):
                    continue
                side = far if dx * ey - dy * ex >= 0 else -far
                count = _put(out, count, grid.of[k], grid.along[k] + share * np.sqrt(square), side)
    return count


@njit(cache=True, nogil=True)
def _put(out: Any, count: int, segment: int, metres: float, side: float) -> int:  # noqa: ANN401
    """Insert a place in order of distance; one place a segment, the nearest."""
    far = abs(side)
    for i in range(count):
        if out[i, 0] == segment:
            if out[i, 3] <= far:
                return count
            for j in range(i, count - 1):
                out[j] = out[j + 1]
            count -= 1
            break
    at = min(count, len(out) - 1)
    # Of equal distances the lower segment goes first, whatever the order of the cells.
    while at > 0 and (out[at - 1, 3] > far or (out[at - 1, 3] == far and out[at - 1, 0] > segment)):
        out[at] = out[at - 1]
        at -= 1
    out[at, 0], out[at, 1], out[at, 2], out[at, 3] = segment, metres, side, far
    return min(count + 1, len(out))
