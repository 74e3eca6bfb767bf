"""Several trajectories of one route, so that a language model reads the route once for all of them.

Simulated: the route of a taxi trip driven at other hours, by other drivers, with another sampling
interval. Observed: stretches of what was driven (``stretches``), each on its own part of the route.
"""

from dataclasses import dataclass, replace

import numpy as np

from raygen import seeds
from raygen.network.graph import IntArray
from raygen.trajectories.plane import plane_roads
from raygen.trajectories.records import RoadTrajectories, joined, taken
from training.codec_data import (
    LEAST,
    NetworkTrips,
    TrajectorySources,
    as_the_gps_says,
    porto_trips,
    read_network,
)
from training.simulated_trips import TAXI_HOURS, TaxiCity, TaxiWorld

_LEAST_ROADS = 4  # segments of a stretch


@dataclass(frozen=True)
class Driven:
    """Trajectories, and which of them are of one route."""

    trips: NetworkTrips
    of: IntArray
    """Route or observed trip that each comes from, (N,), rising."""


def simulated_branches(name: str, sources: TrajectorySources, branches: int, seed: int) -> Driven:
    """Return simulated trips on a network, up to ``branches`` on each route.

    Hours are drawn as taxis begin, intervals from ``sources.intervals``; drives of under 20 points
    or over 200 are left out.
    """
    roads = plane_roads(read_network(name))
    base = TaxiCity(roads, TaxiWorld(), seed)
    table, _ = base.trips(np.arange(sources.simulated // branches))
    lists = base.router.route(table).column("segments").combine_chunks()
    first = lists.offsets.to_numpy().astype(np.int64)
    some = np.repeat(np.flatnonzero(np.diff(first) > 1), branches)
    trip_id = np.arange(len(some))
    drawn = seeds.uniforms(seed, "trajectory-branches", trip_id, 5)
    hours = np.cumsum(TAXI_HOURS) / TAXI_HOURS.sum()
    depart = 3600.0 * (np.searchsorted(hours, drawn[:, 0], side="right") + drawn[:, 1])
    interval = (drawn[:, 2] * len(sources.intervals)).astype(np.int64)
    parts: list[RoadTrajectories] = []
    kept: list[IntArray] = []
    for index, seconds in enumerate(sources.intervals):
        city = TaxiCity(roads, TaxiWorld(interval_s=seconds), seed)
        rows = np.flatnonzero(interval == index)
        own_first, segments = taken(first, some[rows])
        routes = own_first, lists.values.to_numpy()[segments]
        made = city.drive_routes(trip_id[rows], routes, depart[rows], drawn[rows, 3:])
        parts.append(as_the_gps_says(roads, made))
        kept.append(made.trip_id)
    order = np.argsort(np.concatenate(kept), kind="stable")
    every = joined(parts).take(order)
    label = f"synthesised: {len(every)} simulated taxi trips on {len(set(some.tolist()))} routes"
    of = some[np.concatenate(kept)[order]]
    return Driven(NetworkTrips(name, label, roads, every), of)


def observed_stretches(sources: TrajectorySources, count: int, seed: int) -> Driven | None:
    """Return Porto's observed trips of the training part, each with ``count`` of its stretches."""
    if sources.porto is None:
        return None
    trips = porto_trips(sources.porto)
    made, of = stretches(trips.made, count, seed)
    label = f"{trips.label}; with stretches of them {len(made)}"
    return Driven(replace(trips, made=made, label=label), of)


def stretches(made: RoadTrajectories, count: int, seed: int) -> tuple[RoadTrajectories, IntArray]:
    """Return trajectories, each followed by stretches of it, and which each is of.

    A stretch leaves out one point or more at the ends, has 20 points or more, and drives the
    segments of its own points. Its groups of eight points are others than those of the whole.
    """
    step = made.steps()
    parts: list[RoadTrajectories] = []
    of: list[int] = []
    for row, length in enumerate(made.length.tolist()):
        rng = seeds.stream(seed, "trajectory-stretches", row)
        parts.append(made.take(np.array([row])))
        of.append(row)
        for _ in range(count if length > LEAST else 0):
            size = int(rng.integers(LEAST, length))
            begin = int(rng.integers(0, length - size + 1))
            at = int(made.first[row]) + begin
            low, high = int(step[at]), int(step[at + size - 1])
            if low < 0 or high - low + 1 < _LEAST_ROADS:
                continue
            parts.append(_stretch(made, (at, at + size), int(made.route_first[row]), (low, high)))
            of.append(row)
    return joined(parts), np.array(of, dtype=np.int64)


def _stretch(
    made: RoadTrajectories, points: tuple[int, int], route: int, steps: tuple[int, int]
) -> RoadTrajectories:
    """Return some points of a trajectory on the segments of its route that they lie on."""
    here = slice(*points)
    driven = made.route[route + steps[0] : route + steps[1] + 1]
    return RoadTrajectories(
        np.array([0, points[1] - points[0]]),
        made.segment[here],
        made.percent[here],
        made.offset[here],
        made.time[here],
        np.array([0, len(driven)]),
        driven,
    )
