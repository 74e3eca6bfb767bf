"""Whatever the roads: routes hang together, cost what Dijkstra says, and keep their stretch."""

import numpy as np
from gridroads import network, trips
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import dijkstra

from raygen.network.connected import strongly_connected
from raygen.network.routing import Router
from raygen.network.speeds import SpeedProfile, free_flow
from raygen.network.taste import Taste
from raygen.network.travel import enter_times

node = st.integers(0, 7)
links = st.lists(st.tuples(node, node).filter(lambda p: p[0] != p[1]), min_size=2, max_size=30)


def roads_of(ends, draw_seed):
    rng = np.random.default_rng(draw_seed)
    return network(
        ends, rng.uniform(1, 500, len(ends)).tolist(), rng.uniform(5, 90, len(ends)).tolist()
    )


@settings(max_examples=60, deadline=None)
@given(links, st.integers(0, 1000), st.sampled_from([1, 4]))
def test_routes_are_connected_valid_and_within_the_stretch(ends, seed, flavours):
    roads = roads_of(ends, seed)
    origin, destination = (x.ravel() for x in np.mgrid[: roads.nodes, : roads.nodes])
    taste = Taste(flavours=flavours, by_segment=0.8, stretch=1.3)
    told = Router(roads, free_flow(roads), taste, seed).route(trips(origin, destination))
    low = dijkstra(roads.graph().adjacency(roads.free_s))[origin, destination]
    for i, (way, cost) in enumerate(
        zip(told.column("segments").to_pylist(), told.column("cost_s").to_pylist(), strict=True)
    ):
        assert (way is None) == np.isinf(low[i])
        if not way:
            continue
        assert roads.tail[way[0]] == origin[i]
        assert roads.head[way[-1]] == destination[i]
        assert (roads.head[way[:-1]] == roads.tail[way[1:]]).all()
        assert len(set(way)) == len(way)
        stretch = 1.0 if flavours == 1 else 1.3
        assert low[i] - 1e-6 <= cost <= low[i] * stretch + 0.001 * len(roads.tail)


@settings(max_examples=60, deadline=None)
@given(links, st.integers(0, 1000))
def test_the_connected_part_is_connected(ends, seed):
    roads = roads_of(ends, seed)
    if not any(np.isfinite(dijkstra(roads.graph().adjacency(roads.free_s))[b, a]) for a, b in ends):
        return
    kept, dropped = strongly_connected(roads)
    assert np.isfinite(dijkstra(kept.graph().adjacency(kept.free_s))).all()
    assert kept.segments + dropped.segments == roads.segments
    assert kept.nodes + dropped.nodes == roads.nodes


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 200_000), st.floats(0, 3000))
def test_nobody_overtakes_by_leaving_later(seed, depart, wait):
    rng = np.random.default_rng(seed)
    roads = network([(i, i + 1) for i in range(6)], rng.uniform(10, 20_000, 6).tolist())
    speed = rng.uniform(5, 100, (3, 6)).astype(np.float32)
    start = np.array([0, *sorted(rng.choice(np.arange(1, 86_400), 4, replace=False))])
    profile = SpeedProfile(start, rng.integers(0, 3, 5), speed)
    route_at, way = np.array([0, 6, 12]), np.tile(np.arange(6, dtype=np.int32), 2)
    enter, arrive = enter_times(roads, profile, route_at, way, np.array([depart, depart + wait]))
    assert arrive[1] >= arrive[0] - 1e-6
    assert (np.diff(enter[:6]) > 0).all()
    longest = (roads.length_m * 3.6 / speed.min(axis=0)).sum(dtype=np.float64)
    shortest = (roads.length_m * 3.6 / speed.max(axis=0)).sum(dtype=np.float64)
    assert shortest * (1 - 1e-5) <= arrive[0] - depart <= longest * (1 + 1e-5)
