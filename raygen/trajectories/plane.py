"""A road network in projected metres: what positions along segments are measured on."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from numba import njit
from pyproj import Transformer

from raygen.network.graph import BoolArray, FloatArray, IntArray, RoadNetwork, RowArray

_ZONE_DEGREES = 6.0  # width of a UTM zone


@dataclass(frozen=True)
class PlaneRoads:
    """A road network with its lines in metres of one projection.

    ``along`` and ``line_m`` are lengths of the lines as drawn; ``network.length_m`` may be longer,
    where a network draws a winding road straight.
    """

    network: RoadNetwork
    crs: str
    """``EPSG:326xx``, or 327xx in the south: the UTM zone of the network's middle."""
    xy: FloatArray
    """Points of all lines in metres, shape (P, 2); rows as in ``network.points``."""
    along: FloatArray
    """Metres from the begin of its line to each point, shape (P,)."""

    @property
    def at(self) -> IntArray:
        """Segment e's points are rows ``at[e]:at[e + 1]``; shape (E + 1,)."""
        return self.network.point_at

    @property
    def segments(self) -> int:
        """Number of directed segments, E."""
        return self.network.segments

    @cached_property
    def line_m(self) -> FloatArray:
        """Length of each line in metres, shape (E,)."""
        return self.along[self.at[1:] - 1]

    def follows(self, before: RowArray, after: RowArray) -> BoolArray:
        """Return whether each segment of ``after`` begins where that of ``before`` ends."""
        return self.network.head[before] == self.network.tail[after]

    def line(self, segment: int) -> FloatArray:
        """Return the points of a segment in metres, shape (points, 2)."""
        return self.xy[self.at[segment] : self.at[segment + 1]]

    def lines(self) -> npt.NDArray[np.object_]:
        """Return every segment as a Shapely line string in metres, shape (E,)."""
        of = np.repeat(np.arange(self.segments), np.diff(self.at))
        return np.asarray(shapely.linestrings(self.xy, indices=of))

    def to_degrees(self, xy: FloatArray) -> FloatArray:
        """Return metres as longitude and latitude, shape (P, 2)."""
        back = Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)
        return np.column_stack(back.transform(xy[:, 0], xy[:, 1]))

    def to_metres(self, lon_lat: FloatArray) -> FloatArray:
        """Return longitude and latitude as metres, shape (P, 2)."""
        return _forward(self.crs, lon_lat)


def plane_roads(network: RoadNetwork) -> PlaneRoads:
    """Return a network in the metres of the UTM zone of its middle."""
    lon, lat = float(network.lon.mean()), float(network.lat.mean())
    zone = int((lon + 180) // _ZONE_DEGREES) % 60 + 1
    crs = f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"
    xy = _forward(crs, network.points)
    return PlaneRoads(network, crs, xy, _along(network.point_at, xy))


def place(
    roads: PlaneRoads, segment: RowArray, along_m: FloatArray, offset_m: FloatArray
) -> FloatArray:
    """Return the points at some metres along segments and across them, shape (N, 2).

    Parameters
    ----------
    roads
        The graph.
    segment
        Segment rows, shape (N,).
    along_m
        Metres from the begin of each line; what lies outside of it is moved to its ends.
    offset_m
        Metres to the left of the line's direction there; negative: to the right.
    """
    return _place(roads.at, roads.xy, roads.along, segment, along_m, offset_m)


def _forward(crs: str, lon_lat: FloatArray) -> FloatArray:
    there = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    return np.column_stack(there.transform(lon_lat[:, 0], lon_lat[:, 1]))


def _along(at: IntArray, xy: FloatArray) -> FloatArray:
    step = np.zeros(len(xy))
    step[1:] = np.hypot(*np.diff(xy, axis=0).T)
    step[at[:-1]] = 0.0  # from one line's end to the next one's begin
    total = np.cumsum(step)
    return total - np.repeat(total[at[:-1]], np.diff(at))


@njit(cache=True, nogil=True)
def _place(at: Any, xy: Any, along: Any, segment: Any, metres: Any, offset: Any) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    out = np.empty((len(segment), 2), np.float64)
    for i in range(len(segment)):
        first, last = at[segment[i]], at[segment[i] + 1] - 1
        piece = first + np.searchsorted(along[first:last], metres[i], side="right") - 1
        piece = max(first, piece)
        while piece > first and along[piece + 1] == along[piece]:
            piece -= 1  # a doubled point has no direction
        dx, dy = xy[piece + 1, 0] - xy[piece, 0], xy[piece + 1, 1] - xy[piece, 1]
        length = np.hypot(dx, dy)
        if length > 0.0:
            dx, dy = dx / length, dy / length
        run = min(max(metres[i] - along[piece], 0.0), length)
        out[i, 0] = xy[piece, 0] + run * dx - offset[i] * dy
        out[i, 1] = xy[piece, 1] + run * dy + offset[i] * dx
    return out
