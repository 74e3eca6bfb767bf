"""The two forms of a set of trajectories: points in the plane, and points along roads.

HTP, Definitions 1 and 3: a GPS trajectory is a list of points of one sampling; a road trajectory
the list of segments that it drives. ``RoadTrajectories`` has both, and the labels of Figure 3: how
far along its segment a point lies, and how far across.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from raygen.errors import DataError
from raygen.network.graph import BoolArray, FloatArray, IntArray, RowArray
from raygen.trajectories.plane import PlaneRoads, place

PercentArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Traces:
    """N GPS traces of P points."""

    first: IntArray
    """Trace i's points are rows ``first[i]:first[i + 1]``; shape (N + 1,)."""
    xy: FloatArray
    """Projected metres of the road graph's plane, shape (P, 2)."""
    time: FloatArray
    """Seconds since local midnight, rising in each trace; may pass 86,400; shape (P,)."""

    def __len__(self) -> int:
        """Return the number of traces, N."""
        return len(self.first) - 1

    @property
    def length(self) -> IntArray:
        """Points of each trace, shape (N,)."""
        return np.diff(self.first)

    def take(self, rows: IntArray) -> "Traces":
        """Return some traces, in the order of ``rows``."""
        first, points = taken(self.first, rows)
        return Traces(first, self.xy[points], self.time[points])


@dataclass(frozen=True)
class RoadTrajectories:
    """N trajectories on a road graph, of P points and Q driven segments."""

    first: IntArray
    """Trajectory i's points are rows ``first[i]:first[i + 1]``; shape (N + 1,)."""
    segment: RowArray
    """Row of the point's segment in the graph, shape (P,)."""
    percent: PercentArray
    """Position along the segment's line, 0 to 1, shape (P,)."""
    offset: PercentArray
    """Metres across, to the left of the direction of travel; right is negative; shape (P,)."""
    time: FloatArray
    """Seconds since local midnight, rising in each trajectory; may pass 86,400; shape (P,)."""
    route_first: IntArray
    """Trajectory i drives ``route[route_first[i]:route_first[i + 1]]``; shape (N + 1,)."""
    route: RowArray
    """Connected segments in the order of driving, shape (Q,)."""

    def __len__(self) -> int:
        """Return the number of trajectories, N."""
        return len(self.first) - 1

    @property
    def length(self) -> IntArray:
        """Points of each trajectory, shape (N,)."""
        return np.diff(self.first)

    def take(self, rows: IntArray) -> "RoadTrajectories":
        """Return some trajectories, in the order of ``rows``."""
        first, points = taken(self.first, rows)
        route_first, driven = taken(self.route_first, rows)
        return RoadTrajectories(
            first,
            self.segment[points],
            self.percent[points],
            self.offset[points],
            self.time[points],
            route_first,
            self.route[driven],
        )

    def points(self, graph: PlaneRoads) -> FloatArray:
        """Return all points rebuilt from their places on segments, in metres, shape (P, 2)."""
        along = self.percent.astype(np.float64) * graph.line_m[self.segment]
        return place(graph, self.segment, along, self.offset.astype(np.float64))

    def traces(self, graph: PlaneRoads) -> Traces:
        """Return the trajectories as points in the plane."""
        return Traces(self.first, self.points(graph), self.time)

    def steps(self) -> RowArray:
        """Return on which segment of its trajectory's route each point lies, from 0; shape (P,).

        -1 where a point's segment does not come in the rest of its route.
        """
        return _steps(self.first, self.segment, self.route_first, self.route)


@njit(cache=True, nogil=True)
def _steps(first: Any, segment: Any, route_first: Any, route: Any) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    out = np.full(len(segment), -1, np.int32)
    for i in range(len(first) - 1):
        begin, at = route_first[i], route_first[i]
        for p in range(first[i], first[i + 1]):
            k = at
            while k < route_first[i + 1] and route[k] != segment[p]:
                k += 1
            if k < route_first[i + 1]:
                at, out[p] = k, k - begin
    return out


def taken(first: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Return the offsets of some lists in a new flat array, and which old entries it holds."""
    count = np.diff(first)[rows]
    new = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    return new, np.repeat(first[:-1][rows] - new[:-1], count) + np.arange(new[-1])


def joined(parts: list[RoadTrajectories]) -> RoadTrajectories:
    """Return sets of trajectories of one graph as one, in their order."""

    def offsets(firsts: list[IntArray]) -> IntArray:
        shift = np.cumsum([0] + [int(first[-1]) for first in firsts])
        moved = [first[:-1] + s for first, s in zip(firsts, shift[:-1], strict=True)]
        return np.concatenate([*moved, shift[-1:]]).astype(np.int64)

    return RoadTrajectories(
        offsets([p.first for p in parts]),
        np.concatenate([p.segment for p in parts]),
        np.concatenate([p.percent for p in parts]),
        np.concatenate([p.offset for p in parts]),
        np.concatenate([p.time for p in parts]),
        offsets([p.route_first for p in parts]),
        np.concatenate([p.route for p in parts]),
    )


def check_traces(traces: Traces, name: str) -> None:
    """Check traces; ``name`` is what a message calls them.

    Raises
    ------
    DataError
        If offsets do not fit the points, a coordinate is not finite, or time falls.
    """
    points = len(traces.xy)
    _check_offsets(name, "first", traces.first, points)
    if traces.xy.shape != (points, 2) or len(traces.time) != points:
        shapes = f"{traces.xy.shape} and {traces.time.shape}"
        msg = f"{name}: xy must be ({points}, 2) and time ({points},), got {shapes}"
        raise DataError(msg)
    finite = np.isfinite(traces.xy[:, 0]) & np.isfinite(traces.xy[:, 1])
    _refuse(name, "xy", ~finite, "must be finite")
    _check_time(name, traces.first, traces.time)


def check(trajectories: RoadTrajectories, graph: PlaneRoads, name: str) -> None:
    """Check road trajectories against their graph; ``name`` is what a message calls them.

    Raises
    ------
    DataError
        If offsets do not fit, a segment is not one of the graph, a position is outside of 0 to 1, a
        figure is not finite, time falls, or a route is not connected.
    """
    made, points = trajectories, len(trajectories.segment)
    _check_offsets(name, "first", made.first, points)
    _check_offsets(name, "route_first", made.route_first, len(made.route))
    if len(made.first) != len(made.route_first):
        msg = f"{name}: {len(made)} lists of points but {len(made.route_first) - 1} routes"
        raise DataError(msg)
    if not len(made.percent) == len(made.offset) == len(made.time) == points:
        msg = f"{name}: segment, percent, offset and time must be equally long"
        raise DataError(msg)
    rule = f"must be 0 to {graph.segments - 1}"
    for column, rows in (("segment", made.segment), ("route", made.route)):
        _refuse(name, column, (rows < 0) | (rows >= graph.segments), rule)
    inside = (made.percent >= 0) & (made.percent <= 1)
    _refuse(name, "percent", ~inside, "must be 0 to 1")
    _refuse(name, "offset", ~np.isfinite(made.offset), "must be finite")
    _check_time(name, made.first, made.time)
    apart = np.zeros(len(made.route), dtype=bool)
    apart[1:] = ~graph.follows(made.route[:-1], made.route[1:])
    apart[made.route_first[:-1][np.diff(made.route_first) > 0]] = False
    _refuse(name, "route", apart, "must begin where the segment before it ends")


def write_trajectories(trajectories: RoadTrajectories, path: Path) -> None:
    """Write trajectories as Parquet, one row each, lists of points and segments in it."""
    made = trajectories
    columns = {
        key: pa.LargeListArray.from_arrays(pa.array(at), pa.array(values))
        for key, at, values in (
            ("segment", made.first, made.segment),
            ("percent", made.first, made.percent),
            ("offset", made.first, made.offset),
            ("time", made.first, made.time),
            ("route", made.route_first, made.route),
        )
    }
    pq.write_table(pa.table(columns), path)


def read_trajectories(path: Path, graph: PlaneRoads) -> RoadTrajectories:
    """Read what ``write_trajectories`` wrote; raises DataError where it is no such file."""
    kinds = {
        "segment": pa.int32(),
        "percent": pa.float32(),
        "offset": pa.float32(),
        "time": pa.float64(),
        "route": pa.int32(),
    }
    schema = pa.schema([(key, pa.large_list(kind)) for key, kind in kinds.items()])
    try:
        table = pq.read_table(path).select(schema.names).cast(schema).combine_chunks()
    except (OSError, KeyError, pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        msg = f"{path}: not a file of road trajectories: {str(error).splitlines()[0]}"
        raise DataError(msg) from None
    flat: dict[str, npt.NDArray[Any]] = {}
    at: dict[str, IntArray] = {}
    for key in schema.names:
        lists = pa.concat_arrays(table.column(key).chunks)
        flat[key] = lists.flatten().to_numpy()
        offsets = lists.offsets.to_numpy().astype(np.int64)
        at[key] = offsets - offsets[0]
    made = RoadTrajectories(
        at["segment"],
        flat["segment"],
        flat["percent"],
        flat["offset"],
        flat["time"],
        at["route"],
        flat["route"],
    )
    check(made, graph, str(path))
    return made


def _check_offsets(name: str, column: str, at: IntArray, entries: int) -> None:
    good = len(at) > 0 and at[0] == 0 and at[-1] == entries and bool((np.diff(at) >= 0).all())
    if not good:
        msg = f"{name}: {column}: must rise from 0 to {entries}, the number of entries"
        raise DataError(msg)


def _check_time(name: str, first: IntArray, time: FloatArray) -> None:
    _refuse(name, "time", ~np.isfinite(time), "must be finite")
    falls = np.zeros(len(time), dtype=bool)
    falls[1:] = np.diff(time) < 0
    falls[first[:-1][np.diff(first) > 0]] = False
    _refuse(name, "time", falls, "must not fall in a trajectory")


def _refuse(name: str, column: str, bad: BoolArray, rule: str) -> None:
    if bad.any():
        msg = f"{name}: {column}: row {int(bad.argmax())}: {rule}"
        raise DataError(msg)
