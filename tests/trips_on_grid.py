"""Trajectories on a grid of streets, driven with stops, for tests of the trajectory models."""

import numpy as np
from gridroads import grid

from raygen.network.routing import Router
from raygen.network.speeds import free_flow
from raygen.network.taste import Taste
from raygen.trajectories.plane import PlaneRoads, plane_roads
from raygen.trajectories.records import RoadTrajectories
from raygen.trajectories.routes import RouteSet


def grid_roads(side: int = 12) -> PlaneRoads:
    return plane_roads(grid(side, seed=1))


def grid_routes(roads: PlaneRoads, count: int, seed: int = 0) -> RouteSet:
    """Routes of 4 or more segments between random nodes."""
    import gridroads

    rng = np.random.default_rng(seed)
    network = roads.network
    pairs = rng.integers(0, network.nodes, (4 * count, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    router = Router(network, free_flow(network), Taste(flavours=2), seed)
    made = router.route(gridroads.trips(pairs[:, 0], pairs[:, 1]))
    lists = [each for each in made.column("segments").to_pylist() if each and len(each) >= 4][
        :count
    ]
    first = np.concatenate([[0], np.cumsum([len(each) for each in lists])])
    return RouteSet(roads, first.astype(np.int64), np.concatenate(lists).astype(np.int32))


def grid_trips(count: int, seed: int = 0, low: int = 20, high: int = 60) -> RoadTrajectories:
    """Trips at uneven speed: with waits of three points or more."""
    roads = grid_roads()
    return on_routes(grid_routes(roads, count, seed), seed, low, high)


def on_routes(routes: RouteSet, seed: int, low: int, high: int) -> RoadTrajectories:
    rng = np.random.default_rng(seed)
    length = rng.integers(low, high + 1, len(routes))
    first = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    share = np.concatenate([_drive(rng, n) for n in length])
    segment, percent = routes.places(first, share)
    depart = np.repeat(rng.uniform(0, 80_000, len(routes)), length)
    order = np.arange(first[-1]) - np.repeat(first[:-1], length)
    return RoadTrajectories(
        first,
        segment,
        percent,
        rng.normal(0, 4, len(share)).astype(np.float32),
        depart + 15.0 * order,
        routes.first,
        routes.segment,
    )


def _drive(rng: np.random.Generator, points: int) -> np.ndarray:
    waits = rng.random(points) < 0.15
    step = rng.uniform(0.7, 1.3, points) * ~(waits | np.roll(waits, 1) | np.roll(waits, 2))
    step[0] += 0.1
    way = np.cumsum(step)
    return 0.02 + 0.95 * way / way[-1]
