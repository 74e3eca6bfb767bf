"""Routes of many trips as lists of segments.

Trips and routes are Arrow tables, ``TRIPS_BETWEEN_NODES``, ``TRIPS_BETWEEN_SEGMENTS`` and
``ROUTES``. A route is the fastest at the speeds of the period in which it begins, as the trip's
flavour believes them (``taste``); its time is told by the true speeds, which change on the way
(``travel``). It depends on the network, the speeds, the seed and the trip alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen.errors import DataError
from raygen.network.graph import KPH, BoolArray, FloatArray, IntArray, RoadNetwork, RowArray
from raygen.network.hierarchies import Case, Hierarchies
from raygen.network.speeds import SpeedProfile, checked
from raygen.network.taste import Taste, believed, flavour_of
from raygen.network.travel import enter_times

TRIPS_BETWEEN_NODES = pa.schema(
    [
        pa.field("trip_id", pa.int64(), nullable=False),
        pa.field("origin_node", pa.int32(), nullable=False),
        pa.field("destination_node", pa.int32(), nullable=False),
        pa.field("depart_s", pa.float64(), nullable=False),
    ]
)
"""Node rows; seconds after midnight of day 0, >= 0."""

TRIPS_BETWEEN_SEGMENTS = pa.schema(
    [
        pa.field("trip_id", pa.int64(), nullable=False),
        pa.field("origin_segment", pa.int32(), nullable=False),
        pa.field("destination_segment", pa.int32(), nullable=False),
        pa.field("depart_s", pa.float64(), nullable=False),
    ]
)
"""Segment rows; the whole of both is driven, once where they are the same."""

ROUTES = pa.schema(
    [
        pa.field("trip_id", pa.int64(), nullable=False),
        pa.field("flavour", pa.int8(), nullable=False),
        pa.field("segments", pa.list_(pa.int32())),
        pa.field("length_m", pa.float64()),
        pa.field("cost_s", pa.float64()),
        pa.field("time_s", pa.float64()),
    ]
)
"""One row per trip, in the trips' order. ``segments`` and all figures are null where no way leads
to the destination, and the list is empty where it is the origin. ``cost_s`` is the time at the
speeds of the departure, ``time_s`` that at the speeds met on the way."""


@dataclass(frozen=True)
class Ends:
    """Trips as arrays, N rows."""

    trip_id: IntArray
    source: RowArray
    target: RowArray
    """Nodes between which a way is sought."""
    first: RowArray
    last: RowArray
    """Segments before and behind it; -1: none."""
    depart_s: FloatArray


@dataclass(frozen=True)
class Paths:
    """Routes as arrays: N lists in one."""

    route_at: IntArray
    segments: RowArray
    found: BoolArray


class Router:
    """Routes on one network under one profile of speeds; for one process and one thread."""

    def __init__(
        self,
        network: RoadNetwork,
        profile: SpeedProfile,
        taste: Taste,
        seed: int,
        hierarchies_kept: int = 32,
    ) -> None:
        self.network = network
        self.profile = checked(profile, network)
        self.taste = taste
        self.seed = seed
        self._hierarchies = Hierarchies(network, self.cost_s, hierarchies_kept)

    def cost_s(self, case: Case) -> FloatArray:
        """Return the believed seconds on each segment in a state of the speeds, shape (E,)."""
        state, flavour = case
        factor = believed(self.network, self.taste, self.seed, flavour)
        return self._true_s(state) * factor

    def route(self, trips: pa.Table) -> pa.Table:
        """Return the route of each trip, by the flavour that its id draws.

        Parameters
        ----------
        trips
            Has the columns of TRIPS_BETWEEN_NODES or TRIPS_BETWEEN_SEGMENTS.

        Returns
        -------
        routes
            ROUTES.

        Raises
        ------
        DataError
            If a column is missing or of another type, or a node, segment or time does not exist.
        """
        ends = ends_of(trips, self.network)
        flavour = flavour_of(ends.trip_id, self.taste, self.seed)
        return self.told(ends, flavour, self.paths(ends, flavour))

    def paths(self, ends: Ends, flavour: IntArray) -> Paths:
        """Return the routes of trips with a given flavour each."""
        state = self.profile.state[self.profile.period(ends.depart_s.astype(np.int64))]
        order = np.lexsort((flavour, state))
        cases = np.stack([state, flavour], axis=1)[order]
        cuts = np.flatnonzero((cases[1:] != cases[:-1]).any(axis=1)) + 1
        length = np.empty(len(order), dtype=np.int64)
        found = np.ones(len(order), dtype=bool)
        parts: list[RowArray] = []
        for rows in np.split(order, cuts) if len(order) else []:
            case = int(state[rows[0]]), int(flavour[rows[0]])
            flat, length[rows], found[rows] = self._search(case, ends, rows)
            parts.append(flat)
        drawn = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)
        return _in_order(drawn, order, length, found)

    def told(self, ends: Ends, flavour: IntArray, paths: Paths) -> pa.Table:
        """Return routes as a table with their lengths and times."""
        period = self.profile.period(ends.depart_s.astype(np.int64))
        state = np.repeat(self.profile.state[period], np.diff(paths.route_at))
        speed = self.profile.speed_kph[state, paths.segments]
        metres = self.network.length_m[paths.segments].astype(np.float64)
        cost = summed(metres * KPH / speed, paths.route_at)
        _, arrive = enter_times(
            self.network, self.profile, paths.route_at, paths.segments, ends.depart_s
        )
        lost = ~paths.found
        segments = pa.ListArray.from_arrays(
            pa.array(paths.route_at.astype(np.int32)), pa.array(paths.segments), mask=pa.array(lost)
        )
        figures = [
            pa.array(x, mask=lost)
            for x in (summed(metres, paths.route_at), cost, arrive - ends.depart_s)
        ]
        flavours = pa.array(flavour.astype(np.int8))
        columns = [pa.array(ends.trip_id), flavours, segments, *figures]
        return pa.table(columns, schema=ROUTES)

    def _true_s(self, state: int) -> FloatArray:
        return self.network.length_m.astype(np.float64) * KPH / self.profile.speed_kph[state]

    def _search(
        self, case: Case, ends: Ends, rows: IntArray
    ) -> tuple[RowArray, IntArray, BoolArray]:
        """Route some trips on one hierarchy; segments, their numbers, and whether there is a way.

        The loop is the library's interface: it answers one query at a time.
        """
        query = self._hierarchies.of(case).query
        flat: list[int] = []
        count: list[int] = []
        found: list[bool] = []
        columns = (ends.source, ends.target, ends.first, ends.last)
        for source, target, first, last in zip(*(c[rows].tolist() for c in columns), strict=True):
            before = len(flat)
            way: list[int] = []
            reached = source == target or (first >= 0 and first == last)
            if not reached:
                way = query(source, target)[2]
                reached = len(way) > 0
            if reached:
                if first >= 0:
                    flat.append(first)
                flat += way
                if last >= 0 and last != first:
                    flat.append(last)
            count.append(len(flat) - before)
            found.append(reached)
        return np.array(flat, dtype=np.int32), np.array(count), np.array(found)


def summed(values: FloatArray, at: IntArray) -> FloatArray:
    """Return the sum of each run ``values[at[i]:at[i + 1]]``; 0 of an empty one.

    Each run is summed by itself: a running total would round by what came before it.
    """
    total = np.zeros(len(at) - 1)
    some = np.diff(at) > 0
    if some.any():
        total[some] = np.add.reduceat(values, at[:-1][some])
    return total


def ends_of(trips: pa.Table, network: RoadNetwork) -> Ends:
    """Check trips and return them as arrays; raises as ``Router.route`` does."""
    by_segment = "origin_segment" in trips.column_names
    schema = TRIPS_BETWEEN_SEGMENTS if by_segment else TRIPS_BETWEEN_NODES
    columns = [_column(trips, field) for field in schema]
    trip_id, origin, destination, depart = columns
    limit = network.segments if by_segment else network.nodes
    _refuse("trip_id", trip_id < 0, trip_id, "must be >= 0")
    for name, rows in zip(schema.names[1:3], (origin, destination), strict=True):
        _refuse(name, (rows < 0) | (rows >= limit), rows, f"must be 0 to {limit - 1}")
    _refuse("depart_s", ~((depart >= 0) & np.isfinite(depart)), depart, "must be finite and >= 0")
    if by_segment:
        source, target = network.head[origin], network.tail[destination]
        return Ends(trip_id, source, target, origin, destination, depart)
    none = np.full(len(origin), -1, dtype=np.int32)
    return Ends(trip_id, origin, destination, none, none, depart)


def _in_order(drawn: RowArray, order: IntArray, length: IntArray, found: BoolArray) -> Paths:
    """Put routes that were found in some order back into the trips'."""
    begin = np.empty(len(order), dtype=np.int64)
    begin[order] = np.concatenate([[0], np.cumsum(length[order])])[:-1]
    route_at = np.concatenate([[0], np.cumsum(length)])
    source = np.repeat(begin - route_at[:-1], length) + np.arange(route_at[-1])
    return Paths(route_at, drawn[source], found)


def _column(trips: pa.Table, field: pa.Field) -> Any:  # noqa: ANN401  (its type is the field's)
    if field.name not in trips.column_names:
        msg = f"trips: column {field.name}: missing"
        raise DataError(msg)
    column = trips.column(field.name)
    if column.null_count:
        msg = f"trips: column {field.name}: row {column.is_null().to_numpy().argmax()}: null"
        raise DataError(msg)
    try:
        return column.cast(field.type).to_numpy()
    except pa.ArrowInvalid as error:
        msg = f"trips: column {field.name}: must be {field.type}: {error}"
        raise DataError(msg) from None


def _refuse(column: str, bad: BoolArray, values: npt.NDArray[Any], rule: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        msg = f"trips: column {column}: row {row}: {rule}, got {values[row]}"
        raise DataError(msg)
