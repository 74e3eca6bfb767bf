"""Simulated taxi trips on a road graph, where observed ones are few.

Trips go between segments drawn about a few centres, on the routes of ``raygen.network.Router`` by
the beliefs of their drivers; a trip's motion comes from ``raygen.trajectories.driving``. Speeds
depend on the hour, so the same route gives other points at another hour. All figures in
``TaxiWorld`` are assumed: the set is synthesised, and is to be called so beside observed trips.
Every trip depends on graph, world, seed and its own id alone.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assignment.times import CONGESTION
from raygen.errors import DataError
from raygen.network.graph import KPH, BoolArray, FloatArray, IntArray, RowArray
from raygen.network.routing import Router
from raygen.network.speeds import SpeedProfile, hourly
from raygen.network.taste import Taste
from raygen.network.travel import enter_times
from raygen.seeds import normals, stream, uniforms
from raygen.trajectories.driving import Drives, drive
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces, taken

_MAJOR = ("motorway", "trunk", "primary", "secondary", "tertiary")
_FREE = ("motorway", "trunk", "motorway_link", "trunk_link")
_LIT = 0.6  # share of the junctions of major roads that have signals
_CHOICES = 12  # destinations that a trip chooses among
_ROUTE_ROOM = 4096  # segments of a route; ids of draws are trip_id * room + step

TAXI_HOURS = np.array(
    [3, 2, 2, 2, 2, 2, 3, 5, 6, 6, 5, 5, 5, 5, 5, 5, 5, 6, 6, 5, 4, 4, 4, 3], dtype=np.float64
)
"""Trips beginning in each hour, in per cent or so. Assumed."""


@dataclass(frozen=True)
class TaxiWorld:
    """How simulated taxis drive. Assumed throughout."""

    centres: int = 5
    distance_m: float = 1600.0
    """Trips of d metres by air are wanted in proportion to d exp(-d / distance_m)."""
    slowdown: float = 1.7
    """Time in the peak over time at free flow, of a middling segment."""
    cruise: float = 0.85
    """Speed over the speed at free flow, of a middling driver."""
    red: float = 0.4
    """Chance to find a signal red."""
    wait_s: float = 50.0
    """Longest wait at a signal; waits are even up to it."""
    queue_m: float = 14.0
    """Mean way that a car stands before the line, out of the peak."""
    noise_m: float = 4.0
    """Standard deviation of the GPS' error along each axis."""
    interval_s: float = 15.0
    points: tuple[int, int] = (20, 200)
    """Fewest and most points of a trip that is kept (HTP, A.2)."""


@dataclass(frozen=True)
class SimulatedTrips:
    """N trips that were kept, of the ids asked for."""

    trip_id: IntArray
    truth: RoadTrajectories
    """Where the cars were; offsets are 0."""
    traces: Traces
    """What the GPS said."""
    lost: int
    """Trips left out: too short, too long, or without a way."""


class TaxiCity:
    """A road graph with centres, signals and speeds, drawn once by the seed."""

    def __init__(self, roads: PlaneRoads, world: TaxiWorld, seed: int) -> None:
        self.roads, self.world, self.seed = roads, world, seed
        network = roads.network
        kinds = np.array(network.highway.dictionary.to_pylist(), dtype=str)
        kind = kinds[network.highway.indices.to_numpy()]
        self._major = np.isin(kind, _MAJOR)
        self._free = np.isin(kind, _FREE)
        self._middle = roads.xy[(roads.at[:-1] + roads.at[1:] - 1) // 2]
        near = self._nearness()
        weight = np.where(self._free, 0.0, roads.line_m) * (0.15 + near)
        self._chance = np.cumsum(weight) / weight.sum()
        self.signal, self._bend = self._nodes()
        slow = 1 + (world.slowdown - 1) * (0.6 + 0.4 * self._major + 0.6 * near)
        self.profile: SpeedProfile = hourly(network, CONGESTION.astype(np.float64), slow)
        self.router = Router(network, self.profile, Taste(), seed)

    def _nearness(self) -> FloatArray:
        """Return how near each segment is to the centres, 0 to 1."""
        draw = stream(self.seed, "simulated:centres")
        size = np.ptp(self._middle, axis=0).max()
        at = self._middle[draw.choice(len(self._middle), self.world.centres, replace=False)]
        gap = ((self._middle[:, None] - at[None]) ** 2).sum(axis=2)
        return np.exp(-gap / (0.08 * size) ** 2).max(axis=1)

    def _nodes(self) -> tuple[BoolArray, FloatArray]:
        """Return which nodes have signals, and the direction of both ends of each segment."""
        roads = self.roads
        out = roads.xy[roads.at[:-1] + 1] - roads.xy[roads.at[:-1]]
        into = roads.xy[roads.at[1:] - 1] - roads.xy[roads.at[1:] - 2]
        bend = np.stack([np.arctan2(out[:, 1], out[:, 0]), np.arctan2(into[:, 1], into[:, 0])], 1)
        return self.signals(_LIT), bend

    def signals(self, share: float) -> BoolArray:
        """Return which nodes have signals, if a share of those where major roads meet has."""
        network = self.roads.network
        arms = np.bincount(network.head[self._major], minlength=network.nodes)
        drawn = uniforms(self.seed, "simulated:signals", np.arange(network.nodes), 1)[:, 0]
        return (arms >= 2) & (drawn < share)  # noqa: PLR2004  (two major arms meet)

    def trips(self, trip_id: IntArray) -> tuple[pa.Table, FloatArray]:
        """Return trips between segments, and where on the first and last they begin and end."""
        world, chance = self.world, self._chance
        drawn = uniforms(self.seed, "simulated:ends", trip_id, _CHOICES + 6)
        last = len(chance) - 1
        origin = np.minimum(np.searchsorted(chance, drawn[:, 0]), last)
        others = np.minimum(np.searchsorted(chance, drawn[:, 1 : _CHOICES + 1]), last)
        far = np.linalg.norm(self._middle[others] - self._middle[origin][:, None], axis=2)
        wish = np.cumsum(far / world.distance_m * np.exp(-far / world.distance_m) + 1e-9, axis=1)
        pick = (wish / wish[:, -1:] < drawn[:, _CHOICES + 1][:, None]).sum(axis=1)
        hours = np.cumsum(TAXI_HOURS) / TAXI_HOURS.sum()
        hour = np.searchsorted(hours, drawn[:, _CHOICES + 2], side="right")
        table = pa.table(
            {
                "trip_id": pa.array(trip_id),
                "origin_segment": pa.array(origin.astype(np.int32)),
                "destination_segment": pa.array(
                    others[np.arange(len(origin)), pick].astype(np.int32)
                ),
                "depart_s": pa.array(3600.0 * (hour + drawn[:, _CHOICES + 3])),
            }
        )
        return table, drawn[:, _CHOICES + 4 :]

    def simulate(self, trip_id: IntArray) -> SimulatedTrips:
        """Simulate the trips of some ids.

        Parameters
        ----------
        trip_id
            Ids >= 0, each once.

        Raises
        ------
        DataError
            If an id is negative or no trip is left.
        """
        table, ends = self.trips(trip_id)
        routes = self.router.route(table)
        lists = routes.column("segments").combine_chunks()
        first = lists.offsets.to_numpy().astype(np.int64)
        route = lists.values.to_numpy()
        depart = table.column("depart_s").to_numpy()
        some = np.flatnonzero((np.diff(first) > 1) & (np.diff(first) < _ROUTE_ROOM))
        if len(some) == 0:
            msg = f"simulated trips: none of {len(trip_id)} trips has a way of two segments"
            raise DataError(msg)
        first, rows = taken(first, some)
        return self._driven(trip_id[some], first, route[rows], depart[some], ends[some])

    def drive_route(self, trip_id: IntArray, route: RowArray, depart_s: float) -> SimulatedTrips:
        """Simulate cars that all leave at one time on one route, whatever their ids would choose.

        Raises
        ------
        DataError
            If the route has no two segments, or too many.
        """
        if not 2 <= len(route) < _ROUTE_ROOM:  # noqa: PLR2004
            most = _ROUTE_ROOM - 1
            msg = f"simulated trips: route must have 2 to {most} segments, got {len(route)}"
            raise DataError(msg)
        many = len(trip_id)
        first = len(route) * np.arange(many + 1)
        half = np.full((many, 2), 0.5)
        return self._driven(
            trip_id, first, np.tile(route, many), np.full(many, float(depart_s)), half
        )

    def drive_routes(
        self,
        trip_id: IntArray,
        routes: tuple[IntArray, RowArray],
        depart_s: FloatArray,
        ends: FloatArray,
    ) -> SimulatedTrips:
        """Simulate cars that drive given routes.

        Parameters
        ----------
        trip_id
            Ids of N cars, each once: of their drivers and of what they meet.
        routes
            Offsets (N + 1,) and segments, two or more of each car.
        depart_s
            Seconds since midnight, (N,).
        ends
            Where the first and the last segment are entered and left, 0 to 1, (N, 2).
        """
        return self._driven(trip_id, *routes, depart_s, ends)

    def _driven(
        self,
        trip_id: IntArray,
        first: IntArray,
        route: RowArray,
        depart: FloatArray,
        ends: FloatArray,
    ) -> SimulatedTrips:
        world = self.world
        drives = self._drives(trip_id, first, route, depart, ends)
        most = world.points[1]
        count, step, metres = drive(drives, self.roads.line_m, world.interval_s, most)
        kept = np.flatnonzero((count >= world.points[0]) & (count <= most))
        trip_id, count = trip_id[kept], count[kept]
        inside = np.arange(most + 1) < count[:, None]
        at = np.concatenate([[0], np.cumsum(count)])
        route_first, rows = taken(first, kept)
        own = step[kept][inside] + np.repeat(route_first[:-1], count)
        segment = route[rows][own]
        share = metres[kept][inside] / self.roads.line_m[segment]
        clock = np.repeat(depart[kept], count) + world.interval_s * np.nonzero(inside)[1]
        truth = RoadTrajectories(
            at,
            segment,
            np.clip(share, 0, 1).astype(np.float32),
            np.zeros(len(segment), dtype=np.float32),
            clock,
            route_first,
            route[rows],
        )
        error = world.noise_m * point_noise(self.seed, trip_id, count)
        traces = Traces(at, truth.points(self.roads) + error, clock)
        return SimulatedTrips(trip_id, truth, traces, len(step) - len(kept))

    def _drives(
        self,
        trip_id: IntArray,
        first: IntArray,
        route: RowArray,
        depart: FloatArray,
        ends: FloatArray,
    ) -> Drives:
        """Draw what each car meets on its route."""
        world, network = self.world, self.roads.network
        count = np.diff(first)
        step = np.arange(first[-1]) - np.repeat(first[:-1], count)
        ids = np.repeat(trip_id, count) * _ROUTE_ROOM + step
        drawn = uniforms(self.seed, "simulated:road", ids, 4)
        driver = normals(self.seed, "simulated:driver", trip_id, 2)
        enter, _ = enter_times(network, self.profile, first, route, depart)
        period = self.profile.period(enter.astype(np.int64))
        speed = self.profile.speed_kph[self.profile.state[period], route].astype(np.float64) / KPH
        mood = np.exp(0.1 * np.repeat(driver[:, 0], count) + 0.25 * (drawn[:, 3] - 0.5))
        busy = CONGESTION[(enter.astype(np.int64) % 86400) // 3600]
        wait = self._waits(route, drawn[:, 0], drawn[:, 1], busy)
        brisk = np.exp(0.15 * driver[:, 1])
        return Drives(
            first,
            route,
            np.maximum(speed * world.cruise * mood, 1.0),
            self._corners(route),
            -np.log1p(-drawn[:, 2]) * world.queue_m * (1 + 2 * busy) + 2.0,
            wait,
            0.8 * ends[:, 0],
            0.2 + 0.8 * ends[:, 1],
            1.6 * brisk,
            2.2 * brisk,
        )

    def _waits(
        self, route: RowArray, chance: FloatArray, length: FloatArray, busy: npt.NDArray[np.float32]
    ) -> FloatArray:
        """Return how long each car stands at the end of each segment: red signals, giving way."""
        world, network = self.world, self.roads.network
        head = network.head[route]
        signal = self.signal[head] & ~self._free[route]
        red = np.minimum(world.red * (1 + 0.5 * busy), 0.9)
        arms = np.bincount(network.head[self._major], minlength=network.nodes)[head]
        gives = ~self._major[route] & (arms > 0) & ~signal
        standing = np.where(signal & (chance < red), 3 + world.wait_s * length * (1 + busy), 0.0)
        yielding = np.where(gives & (chance < 0.4), 2 + 10 * length * (1 + busy), 0.0)  # noqa: PLR2004
        return standing + yielding

    def _corners(self, route: RowArray) -> FloatArray:
        """Return the most that a car drives from each segment into the one behind it."""
        turn = np.zeros(len(route))
        turn[:-1] = self._bend[route[1:], 0] - self._bend[route[:-1], 1]
        sharp = np.degrees(np.abs((turn + np.pi) % (2 * np.pi) - np.pi))
        bounds = ((120.0, 2.5), (60.0, 5.0), (30.0, 9.0), (15.0, 14.0))
        return np.select([sharp > angle for angle, _ in bounds], [v for _, v in bounds], 60.0)


def point_noise(seed: int, trip_id: IntArray, count: IntArray) -> FloatArray:
    """Return standard normal errors of the points of trips, shape (sum of count, 2)."""
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    ids = np.repeat(trip_id, count) * _ROUTE_ROOM + step
    return normals(seed, "simulated:gps", ids, 2)
