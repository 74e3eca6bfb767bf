"""Routes as models see them, places along them, and Node2vec."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from gridroads import grid, network
from hypothesis import given, settings
from hypothesis import strategies as st
from trips_on_grid import grid_roads, grid_routes, grid_trips

from raygen.errors import DataError
from raygen.network.node2vec import Node2vecSettings, node2vec, successors
from raygen.trajectories.routes import FEATURES, RouteSet, routes_of


@pytest.fixture(scope="module")
def trips():
    return grid_trips(30, seed=5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_shares_and_places_invert_each_other(seed):
    roads = grid_roads(6)
    routes = grid_routes(roads, 5, seed)
    rng = np.random.default_rng(seed)
    first = np.arange(len(routes) + 1) * 30
    share = np.sort(rng.random((len(routes), 30)), axis=1).ravel()
    segment, percent = routes.places(first, share)
    made = replace(
        grid_trips(1), first=first, segment=segment, percent=percent,
        route_first=routes.first, route=routes.segment,
    )  # fmt: skip
    np.testing.assert_allclose(routes.shares(made), share, atol=1e-5)


def test_a_point_matched_backwards_stays(trips):
    roads = grid_roads()
    routes = routes_of(trips, roads)
    share = routes.shares(trips)
    percent = trips.percent.copy()
    at = int(np.flatnonzero(trips.segment[1:-1] == trips.segment[:-2])[0]) + 1
    percent[at] = 0.0
    back = routes.shares(replace(trips, percent=percent))
    assert back[at] == pytest.approx(back[at - 1])
    assert (np.delete(back, at) == np.delete(share, at)).all()


def test_a_segment_driven_twice_counts_twice():
    roads = grid_roads(4)
    follows, rows = successors(roads.network)
    there = 0
    back = next(int(s) for s in rows[follows[there] : follows[there + 1]]
                if roads.network.head[s] == roads.network.tail[there])  # fmt: skip
    routes = RouteSet(roads, np.array([0, 3]), np.array([there, back, there], dtype=np.int32))
    segment, percent = routes.places(np.array([0, 2]), np.array([0.01, 0.99]))
    assert segment.tolist() == [there, there]
    made = replace(
        grid_trips(1), first=np.array([0, 3]), segment=np.array([there, back, there], dtype=np.int32),
        percent=np.array([0.5, 0.5, 0.5], dtype=np.float32),
        route_first=routes.first, route=routes.segment,
    )  # fmt: skip
    share = routes.shares(made)
    assert (np.diff(share) > 0.3).all()
    assert percent[1] > percent[0]


def test_features(trips):
    routes = routes_of(trips, grid_roads())
    table = dict(zip(FEATURES, routes.features().T, strict=True))
    last = routes.first[1:] - 1
    np.testing.assert_allclose(table["to"][last], 1, atol=1e-5)
    np.testing.assert_allclose(table["time_to"][last], 1, atol=1e-5)
    np.testing.assert_allclose(table["from"][routes.first[:-1]], 0, atol=1e-6)
    assert (np.abs(table["turn_cos"]) > 0.99).mean() > 0.3  # a grid: straight on, or right angles
    assert set(np.unique(routes.kinds())) == {2, 6}


def test_frames_turn_and_move_points_and_back(trips):
    routes = routes_of(trips, grid_roads())
    xy = trips.points(routes.roads)
    local = routes.local(trips.first, xy)
    np.testing.assert_allclose(routes.world(trips.first, local.astype(float)), xy, atol=0.01)
    ends = local[trips.first[1:] - 1]
    assert (ends[:, 0] > 0.1).all()
    assert np.abs(ends[:, 1]).max() < 0.2


def test_successors():
    roads = network([(0, 1), (1, 2), (1, 3), (2, 0), (3, 0)], [100.0] * 5)
    at, rows = successors(roads)
    lists = [rows[a:b].tolist() for a, b in pairwise(at)]
    assert lists == [[1, 2], [3], [4], [0], [0]]


def test_node2vec_knows_neighbours_and_draws_the_same():
    roads = grid(8)
    settings_ = Node2vecSettings(width=16, walks=20, steps=12, rate=0.1)
    vectors = node2vec(roads, settings_, 1)
    assert vectors.shape == (roads.segments, 16)
    assert np.array_equal(vectors, node2vec(roads, settings_, 1))
    assert not np.array_equal(vectors, node2vec(roads, settings_, 2))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    like = unit @ unit.T
    at, rows = successors(roads)
    near = np.mean([like[e, rows[at[e] : at[e + 1]]].mean() for e in range(roads.segments)])
    assert near > like.mean() + 0.2


def test_node2vec_refuses_what_cannot_be_walked():
    with pytest.raises(DataError, match="all settings must be positive"):
        Node2vecSettings(q=0.0)
