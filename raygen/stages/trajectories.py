"""GPS points for a sample of a shard's car trips: route, tokens, points. HTP section 4.2 and A.1.

A trip begins and ends on the roads nearest to its activities; its route is the router's, at the
speeds of its hour. The travel patterns are said for as many points as fit between departure and
arrival, and the points are set between the trip's two ends on its route. The sample is drawn by
trip id, so it does not depend on shards.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import shapely

from raygen import schema
from raygen.config import TrajectoryConfig
from raygen.models.trajectory_batches import Float32Array
from raygen.models.trajectory_planner import LEAST_POINTS, MOST_POINTS
from raygen.network.graph import FloatArray, IntArray
from raygen.shards import Columns, columns, key, rows, whole
from raygen.stages.road_trips import RoadTrips, TripEnds
from raygen.stages.trajectory_planners import AskedTrips, TripPlanner
from raygen.taxonomy import MODES
from raygen.trajectories.plane import place
from raygen.trajectories.routes import RouteSet
from raygen.trajectory_rules import sampled

_CAR = MODES.index("car_driver")
FIRST_MONDAY = datetime(2024, 1, 1)
"""Day 0 of a run that begins on a Monday: timestamps need a date, and this one is assumed."""


@dataclass(frozen=True)
class Made:
    """Trajectories of N trips: points in the plane and their times, P of them."""

    first: IntArray
    xy: FloatArray
    time_s: FloatArray
    """Seconds after midnight of day 0, city time."""


def trace(
    trips: pa.Table,
    activities: pa.Table,
    city: RoadTrips,
    planner: TripPlanner,
    config: TrajectoryConfig,
    run: tuple[int, datetime],
) -> tuple[pa.Table, dict[str, int]]:
    """Return the trajectories of a shard's sampled trips.

    Parameters
    ----------
    trips, activities
        Tables of a population.
    city
        The roads with their routes.
    planner
        From routes and conditions to points (``load_trip_planner``).
    config
        Share of the trips, sampling interval.
    run
        The run's seed, and midnight of its day 0 (``midnight``).

    Returns
    -------
    trajectories, counters
        TRAJECTORIES, one row for each sampled trip by car, in the trips' order. Counted are trips
        of the sample, those of them that are not made by car, points, and what the planner counts.
    """
    seed, midnight_ = run
    table = columns(trips)
    drawn = sampled(whole(table["trip_id"]), config.share, seed)
    by_car = whole(table["mode"]) == _CAR
    chosen = np.flatnonzero(drawn & by_car)
    counters = {
        "trips_sampled": int(drawn.sum()),
        "trips_sampled_not_by_car": int((drawn & ~by_car).sum()),
    }
    if len(chosen) == 0:
        return schema.TRAJECTORIES.empty_table(), counters | {"trajectory_points": 0}
    ends = _ends(table, columns(activities), chosen)
    routes, span = city.routes(ends)
    travel = ends.arrive_s - ends.depart_s
    count, _ = points_of(travel, config.interval_s)
    asked = AskedTrips(ends.trip_id, routes, ends.depart_s, travel, count, seed)
    made = _points(asked, span, planner, counters)
    counters["trajectory_points"] = len(made.xy)
    return _table(
        ends.trip_id, (routes, city.segment_id[routes.segment]), made, midnight_
    ), counters


def midnight(day_of_week: int, time_zone: str) -> datetime:
    """Return midnight of day 0 in a city as an instant: of the first such day of 2024."""
    local = FIRST_MONDAY + timedelta(days=day_of_week)
    return local.replace(tzinfo=ZoneInfo(time_zone)).astimezone(UTC)


def _ends(trips: Columns, activities: Columns, chosen: IntArray) -> TripEnds:
    """Return where and when the chosen trips begin and end."""
    to = rows(key(activities), key(trips)[chosen])
    origin = to - 1
    return TripEnds(
        trip_id=whole(trips["trip_id"])[chosen],
        origin=_place(activities, origin),
        destination=_place(activities, to),
        depart_s=trips["depart_s"][chosen].astype(np.float64),
        arrive_s=trips["arrive_s"][chosen].astype(np.float64),
    )


def _place(activities: Columns, row: IntArray) -> FloatArray:
    lon, lat = activities["lon"][row], activities["lat"][row]
    return np.column_stack([lon, lat]).astype(np.float64)


def points_of(travel_s: FloatArray, interval_s: float) -> tuple[IntArray, FloatArray]:
    """Return points and interval of trips: 20 to 200 points, evenly from departure to arrival.

    The interval is as near to the wanted one as a whole number of steps, and the number of points,
    allow.
    """
    count = np.clip(np.rint(travel_s / interval_s).astype(np.int64) + 1, LEAST_POINTS, MOST_POINTS)
    return count, travel_s / (count - 1)


def _points(
    asked: AskedTrips, span: FloatArray, planner: TripPlanner, counters: dict[str, int]
) -> Made:
    """Have patterns said and decoded, and set the points on the routes."""
    count, routes = asked.points, asked.routes
    first = np.concatenate([[0], np.cumsum(count)])
    share, error = np.zeros(first[-1]), np.zeros((first[-1], 2))
    for each in planner.answers(asked, counters):
        part, found = each.rows, each.points
        inside = np.arange(found.share.shape[1]) < count[part][:, None]
        at = first[:-1][part][:, None] + np.arange(found.share.shape[1])
        share[at[inside]] = found.share[inside]
        error[at[inside]] = np.column_stack([found.offset[inside], found.ahead[inside]])
    return Made(
        first,
        on_roads(routes, first, _between(share, first, span), error),
        np.repeat(asked.depart_s, count)
        + np.repeat(asked.interval_s, count)
        * (np.arange(first[-1]) - np.repeat(first[:-1], count)),
    )


def _between(share: FloatArray, first: IntArray, span: FloatArray) -> FloatArray:
    """Stretch places so that the first and the last are the trip's own ends on its route."""
    count = np.diff(first)
    low, high = share[first[:-1]], share[first[1:] - 1]
    begin, end = span.T
    scale = (end - begin) / np.maximum(high - low, 1e-6)
    moved = np.repeat(begin, count) + (share - np.repeat(low, count)) * np.repeat(scale, count)
    return np.clip(moved, 0.0, 1.0)


def on_roads(
    routes: RouteSet, first: IntArray, share: FloatArray, error_m: FloatArray
) -> FloatArray:
    """Return points at shares of routes in metres, (P, 2).

    ``error_m`` (P, 2) are metres to the left and ahead; a point stays on its segment.
    """
    segment, percent = routes.places(first, share)
    length = routes.roads.line_m[segment]
    along = np.clip(percent.astype(np.float64) * length + error_m[:, 1], 0.0, length)
    return place(routes.roads, segment, along, error_m[:, 0])


def _table(
    trip_id: IntArray, driven: tuple[RouteSet, IntArray], made: Made, midnight_: datetime
) -> pa.Table:
    """Return TRAJECTORIES."""
    routes, segment_id = driven
    degrees = np.round(routes.roads.to_degrees(made.xy), 7)
    count = np.diff(made.first)
    lines = shapely.linestrings(degrees, indices=np.repeat(np.arange(len(count)), count))
    stamps = round(midnight_.timestamp() * 1000) + np.rint(made.time_s * 1000).astype(np.int64)
    at = pa.array(made.first.astype(np.int32))
    wanted = schema.TRAJECTORIES
    values: list[pa.Array] = [
        pa.array(trip_id),
        _lists(routes.first, pa.array(segment_id)),
        pa.ListArray.from_arrays(at, pa.array(stamps).cast(pa.timestamp("ms", tz="UTC"))),
        pa.array(made.time_s[made.first[:-1]]),
        pa.ListArray.from_arrays(at, pa.array(off_road_m(routes, made.first, degrees))),
        pa.array(shapely.to_wkb(lines), pa.binary()),
    ]
    return pa.Table.from_arrays(
        [value.cast(field.type) for value, field in zip(values, wanted, strict=True)],
        schema=wanted,
    )


def _lists(first: IntArray, values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(first.astype(np.int32)), values)


def off_road_m(routes: RouteSet, first: IntArray, degrees: FloatArray) -> Float32Array:
    """Return the metres from each written point to the nearest of its route's lines, (P,)."""
    roads, count = routes.roads, np.diff(first)
    route = np.repeat(np.arange(len(routes)), routes.count)
    parts, owner = _route_points(routes, route)
    lines = shapely.linestrings(parts, indices=owner)
    points = shapely.points(roads.to_metres(degrees))
    found = shapely.distance(points, np.repeat(np.asarray(lines), count))
    return np.asarray(found, dtype=np.float32)


def _route_points(routes: RouteSet, route: IntArray) -> tuple[FloatArray, IntArray]:
    """Return the points of all lines of all routes, and the route of each."""
    at = routes.roads.at
    count = np.diff(at)[routes.segment]
    begin = np.cumsum(count) - count
    where = np.repeat(at[routes.segment] - begin, count) + np.arange(count.sum())
    return routes.roads.xy[where], np.repeat(route, count)
