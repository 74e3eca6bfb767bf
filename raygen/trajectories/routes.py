"""Routes as a model sees them: features of their segments, and places along the whole of them.

HTP (Zhou et al., KDD 2026), section 4.1 and Figure 3: a point is told by its share of the road
trajectory, 0 at the begin of the first segment and 1 at the end of the last one. Within a segment
shares agree with ``RoadTrajectories.percent``.

The paper's shares are of length. Here they are of the time at free flow, so that even steps are
those of free driving on a motorway and in a street alike, and a pattern (standing, crawling,
driving) is the same on either; at equal speeds the two are one.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from raygen.network.graph import FloatArray, IntArray, RowArray
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories

Float32Array = npt.NDArray[np.float32]

FEATURES = (
    "length",
    "speed",
    "lanes",
    "turn_sin",
    "turn_cos",
    "x",
    "y",
    "from",
    "to",
    "time_from",
    "time_to",
)
"""Columns of ``RouteSet.features``: ln(length / 100 m), speed at free flow / 60 km/h, lanes / 2,
turn from the segment before, mean point of its line, share of the route's length at its begin and
end, and of its time at free flow."""

_KINDS = ("motorway", "trunk", "primary", "secondary", "tertiary", "unclassified", "residential")
CLASSES = len(_KINDS) + 2
"""Classes of roads: OSM's seven, their links, and all others."""


@dataclass(frozen=True)
class RouteSet:
    """N routes of Q segments on one network."""

    roads: PlaneRoads
    first: IntArray
    """Route i is ``segment[first[i]:first[i + 1]]``; shape (N + 1,)."""
    segment: RowArray
    """Connected segments, shape (Q,)."""

    def __len__(self) -> int:
        """Return the number of routes, N."""
        return len(self.first) - 1

    @property
    def count(self) -> IntArray:
        """Segments of each route, shape (N,)."""
        return np.diff(self.first)

    @cached_property
    def begin_m(self) -> FloatArray:
        """Metres from a route's begin to that of each of its segments, shape (Q,)."""
        return _before(self._length, self.first)

    @cached_property
    def begin_s(self) -> FloatArray:
        """Seconds at free flow from a route's begin to that of each of its segments, (Q,)."""
        return _before(self._free, self.first)

    @cached_property
    def length_m(self) -> FloatArray:
        """Length of each route, shape (N,)."""
        return _sums(self._length, self.first)

    @cached_property
    def free_s(self) -> FloatArray:
        """Seconds on each route at free flow, shape (N,)."""
        return _sums(self._free, self.first)

    @property
    def _length(self) -> FloatArray:
        return self.roads.network.length_m[self.segment].astype(np.float64)

    @property
    def _free(self) -> FloatArray:
        return self.roads.network.free_s[self.segment]

    def features(self) -> Float32Array:
        """Return FEATURES of every segment of every route, shape (Q, F).

        The mean point is in units of 5 km, in the route's frame.
        """
        network = self.roads.network
        length, free = self._length, self._free
        origin, turned = self.frame()
        middle = _means(self.roads)[self.segment]
        x, y = _turned(middle - np.repeat(origin, self.count, axis=0), self.count, turned).T
        turn = self._turns()
        total = np.repeat(self.length_m, self.count)
        total_s = np.repeat(self.free_s, self.count)
        columns = [
            np.log(np.maximum(length, 1.0) / 100.0),
            network.speed_kph[self.segment] / 60.0,
            network.lanes[self.segment] / 2.0,
            np.sin(turn),
            np.cos(turn),
            x / 5000.0,
            y / 5000.0,
            self.begin_m / total,
            (self.begin_m + length) / total,
            self.begin_s / total_s,
            (self.begin_s + free) / total_s,
        ]
        return np.column_stack(columns).astype(np.float32)

    def kinds(self) -> npt.NDArray[np.int64]:
        """Return the class of every segment of every route, 0 to CLASSES - 1, shape (Q,)."""
        words = self.roads.network.highway
        codes = np.array([_kind(str(word)) for word in words.dictionary.to_pylist()])
        return codes[words.indices.to_numpy()[self.segment]].astype(np.int64)

    def frame(self) -> tuple[FloatArray, FloatArray]:
        """Return each route's begin in metres and the direction of its end, unit; (N, 2) both."""
        at, xy = self.roads.at, self.roads.xy
        begin = xy[at[self.segment[self.first[:-1]]]]
        end = xy[at[self.segment[self.first[1:] - 1] + 1] - 1]
        way = end - begin
        far = np.hypot(way[:, 0], way[:, 1])[:, None]
        east = np.array([1.0, 0.0])
        return begin, np.where(far > 1.0, way / np.maximum(far, 1.0), east)

    def local(self, first: IntArray, xy: FloatArray) -> Float32Array:
        """Return points of the routes' trajectories in kilometres in their frames, (P, 2)."""
        origin, turned = self.frame()
        count = np.diff(first)
        moved = _turned(xy - np.repeat(origin, count, axis=0), count, turned)
        return (moved / 1000.0).astype(np.float32)

    def world(self, first: IntArray, local: FloatArray) -> FloatArray:
        """Return points from kilometres in the routes' frames to metres, (P, 2)."""
        origin, turned = self.frame()
        count = np.diff(first)
        back = turned * np.array([1.0, -1.0])
        return _turned(local * 1000.0, count, back) + np.repeat(origin, count, axis=0)

    def shares(self, made: RoadTrajectories) -> FloatArray:
        """Return the place of each point as a share of its route, 0 to 1, never falling; (P,)."""
        seconds = _along_routes(
            (self.first, self.segment, self.begin_s),
            (made.first, made.segment, made.percent.astype(np.float64)),
            self.roads.network.free_s,
        )
        return np.clip(seconds / np.repeat(self.free_s, made.length), 0.0, 1.0)

    def places(self, first: IntArray, share: FloatArray) -> tuple[RowArray, Float32Array]:
        """Return segment and percent of points at shares of their routes, both (P,)."""
        return _places(
            (self.first, self.segment, self.begin_s, self.free_s),
            (first, np.ascontiguousarray(share, dtype=np.float64)),
            self.roads.network.free_s,
        )

    def _turns(self) -> FloatArray:
        """Return the change of direction from the segment before, radians; 0 at the begin."""
        into, out = _headings(self.roads)
        turn = np.zeros(len(self.segment))
        turn[1:] = into[self.segment[1:]] - out[self.segment[:-1]]
        turn[self.first[:-1][self.count > 0]] = 0.0
        return turn


def routes_of(made: RoadTrajectories, roads: PlaneRoads) -> RouteSet:
    """Return the routes of road trajectories."""
    return RouteSet(roads, made.route_first, made.route)


def _kind(word: str) -> int:
    if word in _KINDS:
        return _KINDS.index(word)
    if word == "living_street":
        return _KINDS.index("residential")
    return len(_KINDS) if word.endswith("_link") else len(_KINDS) + 1


def _sums(values: FloatArray, first: IntArray) -> FloatArray:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return total[first[1:]] - total[first[:-1]]


def _before(values: FloatArray, first: IntArray) -> FloatArray:
    """Return the sum of the values before each one in its list."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    return total[:-1] - np.repeat(total[first[:-1]], np.diff(first))


def _means(roads: PlaneRoads) -> FloatArray:
    """Return the mean of the points of each line, (E, 2): Eq. 7's mean pooling."""
    return np.add.reduceat(roads.xy, roads.at[:-1], axis=0) / np.diff(roads.at)[:, None]


def _headings(roads: PlaneRoads) -> tuple[FloatArray, FloatArray]:
    """Return the directions in which each line begins and ends, radians, (E,) both."""
    begin, end = roads.at[:-1], roads.at[1:] - 1
    first, last = roads.xy[begin + 1] - roads.xy[begin], roads.xy[end] - roads.xy[end - 1]
    return np.arctan2(first[:, 1], first[:, 0]), np.arctan2(last[:, 1], last[:, 0])


def _turned(vector: FloatArray, count: IntArray, direction: FloatArray) -> FloatArray:
    """Return vectors in axes along and across a direction of each list."""
    cos, sin = np.repeat(direction, count, axis=0).T
    x, y = vector[:, 0], vector[:, 1]
    return np.column_stack([cos * x + sin * y, cos * y - sin * x])


@njit(cache=True, nogil=True)
def _along_routes(routes: Any, points: Any, lasts: Any) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    route_first, route, begin = routes
    first, segment, percent = points
    passed = np.zeros(len(segment))
    for i in range(len(first) - 1):
        at, reached = route_first[i], 0.0
        for j in range(first[i], first[i + 1]):
            ahead = at
            while ahead < route_first[i + 1] and route[ahead] != segment[j]:
                ahead += 1
            if ahead < route_first[i + 1]:
                # A point on a segment that is not ahead was matched backwards: it stays.
                at = ahead
                reached = max(reached, begin[at] + percent[j] * lasts[route[at]])
            passed[j] = reached
    return passed


@njit(cache=True, nogil=True)
def _places(routes: Any, points: Any, lasts: Any) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    route_first, route, begin, total = routes
    first, share = points
    segment = np.zeros(len(share), np.int32)
    percent = np.zeros(len(share), np.float32)
    for i in range(len(first) - 1):
        low, high = route_first[i], route_first[i + 1]
        for j in range(first[i], first[i + 1]):
            passed = share[j] * total[i]
            at = low + max(0, np.searchsorted(begin[low:high], passed, side="right") - 1)
            segment[j] = route[at]
            within = (passed - begin[at]) / lasts[route[at]]
            percent[j] = min(1.0, max(0.0, within))
    return segment, percent
