"""From the ends of car trips to routes: the nearest roads, either way along them, the best pair."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from raygen.city import City
from raygen.network.city_roads import read_city_roads
from raygen.network.connected import strongly_connected
from raygen.network.graph import BoolArray, FloatArray, IntArray, RoadNetwork, RowArray
from raygen.network.routing import Router
from raygen.network.speeds import SpeedProfile, hourly, peak_slowdown
from raygen.network.taste import Taste
from raygen.trajectories.plane import PlaneRoads, plane_roads
from raygen.trajectories.records import taken
from raygen.trajectories.routes import RouteSet

_NO_ENDS = ("motorway", "trunk", "motorway_link", "trunk_link", "ferry")
_HIERARCHIES = 64  # states of the speeds times beliefs, with room: none is made twice
_PAIRS = ((0, 0), (0, 1), (1, 0), (1, 1))  # begin or end on the nearest segment, or its way back


@dataclass(frozen=True)
class TripEnds:
    """Where and when N trips begin and end."""

    trip_id: IntArray
    origin: FloatArray
    destination: FloatArray
    """Longitude and latitude, (N, 2)."""
    depart_s: FloatArray
    arrive_s: FloatArray
    """Seconds after midnight of day 0."""


@dataclass(frozen=True)
class CityRoads:
    """A city's roads and their speeds by hour; picklable."""

    roads: PlaneRoads
    profile: SpeedProfile

    @property
    def segment_id(self) -> IntArray:
        """Ids of the segments in the city's ``road_edges.parquet``, (E,)."""
        return self.roads.network.source_id.cast(pa.int64()).to_numpy()


def city_roads(city: City, busy: FloatArray) -> CityRoads:
    """Return the roads of a city with speeds by hour.

    Parameters
    ----------
    city
        Its directory holds the roads; its skims tell how much slower the peak is.
    busy
        How much of the peak there is in each hour, 0 to 1, (24,).

    Raises
    ------
    DataError
        If a file of the roads is missing or wrong.
    """
    network = city_network(city)
    slow = peak_slowdown(city.free_time_s, city.peak_time_s)
    return CityRoads(plane_roads(network), hourly(network, busy, slow))


def city_network(city: City) -> RoadNetwork:
    """Return the strongly connected roads of a city; see ``read_city_roads``."""
    return strongly_connected(read_city_roads(Path(city.path)))[0]


class RoadTrips:
    """Routes of trips between points of a city; for one process and one thread."""

    def __init__(self, city: CityRoads, seed: int) -> None:
        self.roads = city.roads
        self.segment_id = city.segment_id
        self._router = Router(city.roads.network, city.profile, Taste(), seed, _HIERARCHIES)

    @cached_property
    def _lines(self) -> Any:  # noqa: ANN401  (an array of Shapely's lines)
        return self.roads.lines()

    @cached_property
    def _doors(self) -> tuple[IntArray, shapely.STRtree]:
        """Segments on which trips may begin, and a tree of their lines."""
        words = self.roads.network.highway
        shut = np.isin(words.dictionary.to_pylist(), _NO_ENDS)[words.indices.to_numpy()]
        some = np.flatnonzero(~shut) if not shut.all() else np.arange(len(shut))
        return some, shapely.STRtree(self._lines[some])

    @cached_property
    def _back(self) -> RowArray:
        """The segment that leads back along each one; itself where there is none."""
        network = self.roads.network
        tail, head = network.tail.astype(np.int64), network.head.astype(np.int64)
        there, back = tail * network.nodes + head, head * network.nodes + tail
        order = np.argsort(there, kind="stable")
        at = np.minimum(np.searchsorted(there[order], back), len(order) - 1)
        found = order[at]
        return np.where(there[found] == back, found, np.arange(len(found))).astype(np.int32)

    def routes(self, ends: TripEnds) -> tuple[RouteSet, FloatArray]:
        """Return the route of each trip, and the shares of it where the trip begins and ends.

        Of four pairs of directions on the nearest segments the one that takes the least time at the
        speeds of the departure is taken.
        """
        first, begin = self._near(ends.origin)
        last, end = self._near(ends.destination)
        count = len(ends.trip_id)
        time = np.full((len(_PAIRS), count), np.inf)
        # All pairs at once: each hierarchy is then looked up once.
        routes = self._route(
            ends,
            np.concatenate([first[one] for one, _ in _PAIRS]),
            np.concatenate([last[other] for _, other in _PAIRS]),
        )
        tables = [routes.slice(pair * count, count) for pair in range(len(_PAIRS))]
        for pair, (one, other) in enumerate(_PAIRS):
            lost = self._lost(first[one], last[other], begin[one], end[other])
            spent = tables[pair].column("cost_s").to_numpy(zero_copy_only=False)
            free = self.roads.network.free_s
            saved = begin[one] * free[first[one]] + (1 - end[other]) * free[last[other]]
            time[pair] = np.where(lost, np.inf, spent - saved)
        return self._chosen(tables, time.argmin(axis=0), (begin, end))

    def _near(self, lon_lat: FloatArray) -> tuple[list[RowArray], list[FloatArray]]:
        """Return the nearest segment and its way back, and where on them the points lie, 0 to 1."""
        doors, tree = self._doors
        points = shapely.points(self.roads.to_metres(lon_lat))
        segment = doors[np.asarray(tree.nearest(points))].astype(np.int32)
        lines = self._lines[segment]
        share = np.asarray(shapely.line_locate_point(lines, points, normalized=True))
        back = self._back[segment]
        # A segment without a way back is its own.
        away = np.where(back == segment, share, 1.0 - share)
        return [segment, back], [share, away]

    def _route(self, ends: TripEnds, first: RowArray, last: RowArray) -> pa.Table:
        """Return the routes of all trips for each pair, one pair after the other."""
        trips = {
            "trip_id": pa.array(np.tile(ends.trip_id, len(_PAIRS))),
            "origin_segment": pa.array(first),
            "destination_segment": pa.array(last),
            "depart_s": pa.array(np.tile(ends.depart_s, len(_PAIRS))),
        }
        return self._router.route(pa.table(trips))

    def _lost(
        self, first: RowArray, last: RowArray, begin: FloatArray, end: FloatArray
    ) -> BoolArray:
        """Return which trips would drive backwards along their only segment."""
        return (first == last) & (begin > end)

    def _chosen(
        self,
        tables: list[pa.Table],
        pair: IntArray,
        where: tuple[list[FloatArray], list[FloatArray]],
    ) -> tuple[RouteSet, FloatArray]:
        count = len(pair)
        one, other = np.array(_PAIRS)[pair].T
        rows = np.arange(count)
        begin, end = np.array(where[0])[one, rows], np.array(where[1])[other, rows]
        lists = pa.concat_arrays(
            [
                table.column("segments").combine_chunks().cast(pa.large_list(pa.int32()))
                for table in tables
            ]
        )
        at = lists.offsets.to_numpy().astype(np.int64)
        first, driven = taken(at, pair * count + rows)
        routes = RouteSet(self.roads, first, lists.values.to_numpy()[driven])
        free = self.roads.network.free_s
        into = begin * free[routes.segment[first[:-1]]]
        out = (1 - end) * free[routes.segment[first[1:] - 1]]
        span = np.column_stack([into, routes.free_s - out]) / routes.free_s[:, None]
        back = span[:, 0] > span[:, 1]
        # A one-way road to a place just behind: the whole of it is driven.
        span[back] = [0.0, 1.0]
        return routes, span
