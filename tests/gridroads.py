"""Road networks made in code: a grid of streets, and whatever a test draws by hand."""

import numpy as np
import pyarrow as pa

from raygen.network.draft import Nodes, Segments, blank, network_of
from raygen.network.graph import RoadNetwork
from raygen.trajectories.plane import place
from raygen.trajectories.records import Traces


def network(
    ends: list[tuple[int, int]],
    length_m: list[float],
    speed_kph: list[float] | None = None,
    highway: list[str] | None = None,
) -> RoadNetwork:
    """Nodes 0 … on a circle, segments as given."""
    count = max(max(pair) for pair in ends) + 1
    angle = 2 * np.pi * np.arange(count) / count
    tail, head = np.array(ends).T
    return network_of(
        Nodes(
            "nodes",
            pa.array([str(i) for i in range(count)]),
            -118 + 0.01 * np.cos(angle),
            34 + 0.01 * np.sin(angle),
        ),
        Segments(
            "links",
            pa.array([str(i) for i in range(len(ends))]),
            tail,
            head,
            np.array(length_m, dtype=float),
            np.array(speed_kph or [36.0] * len(ends)),
            np.ones(len(ends), dtype=np.int64),
            pa.array(highway) if highway else blank(len(ends)),
            blank(len(ends)),
        ),
    )


def grid(side: int, seed: int = 0) -> RoadNetwork:
    """A grid of side × side nodes 100 m apart, both ways, with speeds of 20 to 60 km/h."""
    node = np.arange(side * side).reshape(side, side)
    pairs = [(node[:, :-1], node[:, 1:]), (node[:-1], node[1:])]
    tail = np.concatenate([np.r_[a.ravel(), b.ravel()] for a, b in pairs])
    head = np.concatenate([np.r_[b.ravel(), a.ravel()] for a, b in pairs])
    row, column = np.divmod(np.arange(side * side), side)
    count = len(tail)
    rng = np.random.default_rng(seed)
    return network_of(
        Nodes(
            "nodes",
            pa.array(np.arange(side * side).astype(str)),
            -118 + column / 900,
            34 + row / 1100,
        ),
        Segments(
            "links",
            pa.array(np.arange(count).astype(str)),
            tail,
            head,
            rng.uniform(80, 120, count),
            rng.uniform(20, 60, count),
            np.ones(count, dtype=np.int64),
            pa.array(np.where(np.arange(count) % 5, "residential", "primary")),
            blank(count),
        ),
    )


def trips(origin, destination, depart_s=0.0, first_id: int = 0) -> pa.Table:
    """Trips between nodes with ids from ``first_id`` on."""
    count = len(origin)
    return pa.table(
        {
            "trip_id": pa.array(np.arange(first_id, first_id + count)),
            "origin_node": pa.array(np.asarray(origin, dtype=np.int32)),
            "destination_node": pa.array(np.asarray(destination, dtype=np.int32)),
            "depart_s": pa.array(np.broadcast_to(np.asarray(depart_s, dtype=float), count)),
        }
    )


def driven(roads, count=30, noise=5.0, seed=0):
    """Traces along random ways that never turn round, a point every 40 m; segments and routes."""
    rng = np.random.default_rng(seed)
    network = roads.network
    traces, truth, routes, first = [], [], [], [0]
    for _ in range(count):
        route = [int(rng.integers(roads.segments))]
        while len(route) < 12:
            ahead = np.flatnonzero(network.tail == network.head[route[-1]])
            ahead = ahead[network.head[ahead] != network.tail[route[-1]]]
            route.append(int(rng.choice(ahead)))
        ends = np.cumsum(roads.line_m[route])
        at = np.arange(20.0, ends[-1], 40.0)
        step = np.searchsorted(ends, at, side="right")
        on = np.array(route, dtype=np.int32)[step]
        along = at - np.concatenate([[0], ends])[step]
        xy = place(roads, on, along, np.zeros(len(at)))
        traces.append(xy + rng.normal(0, noise, xy.shape))
        truth.append(on)
        routes.append(route)
        first.append(first[-1] + len(at))
    time = np.concatenate([10.0 * np.arange(len(t)) for t in truth])
    return Traces(np.array(first), np.concatenate(traces), time), np.concatenate(truth), routes


def broken(roads):
    """Traces of which one leaves the roads, one is too fast, and one has no points."""
    traces, _, _ = driven(roads, count=4)
    xy, time = traces.xy.copy(), traces.time.copy()
    xy[traces.first[0] + 5] += 5000.0  # off every road
    time[traces.first[1] + 9 : traces.first[2]] -= 9.99  # as good as no time between two points
    xy[traces.first[1] + 9 : traces.first[2]] = xy[traces.first[2] - 1]
    xy[traces.first[1] + 8] = (
        roads.xy.min(axis=0)
        if xy[traces.first[1] + 9, 0] > roads.xy.mean(axis=0)[0]
        else roads.xy.max(axis=0)
    )
    return Traces(np.append(traces.first, traces.first[-1]), xy, time)
