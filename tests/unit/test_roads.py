import numpy as np
import pytest

from raygen.cities.traffic import balanced_demand, bpr, loaded_times
from raygen.errors import DataError
from raygen.roads import RoadGraph, cch_matrix, dijkstra_matrix, strong_components


def lattice(side, seed):
    """Return a grid of two-way streets with random one-way weights."""
    rng = np.random.default_rng(seed)
    row = np.arange(side * side).reshape(side, side)
    a = np.concatenate([row[:, :-1].ravel(), row[:-1].ravel()])
    b = np.concatenate([row[:, 1:].ravel(), row[1:].ravel()])
    y, x = np.divmod(np.arange(side * side), side)
    graph = RoadGraph(x * 0.01, 34 + y * 0.01, np.concatenate([a, b]), np.concatenate([b, a]))
    return graph, rng.uniform(10, 100, 2 * len(a))


def test_contraction_and_dijkstra_agree_to_rounding():
    graph, weight = lattice(15, 0)
    sources = np.array([0, 7, 100, 224])
    quick, plain = cch_matrix(graph, weight, sources), dijkstra_matrix(graph, weight, sources)
    assert quick == pytest.approx(plain, abs=0.0005 * 30)
    assert (np.diag(quick) == 0).all()
    assert not np.allclose(quick, quick.T, rtol=1e-3)


def test_the_lightest_of_parallel_segments_counts():
    graph = RoadGraph(np.zeros(2), np.zeros(2), np.array([0, 0, 1]), np.array([1, 1, 0]))
    weight = np.array([5.0, 3.0, 2.0])
    assert dijkstra_matrix(graph, weight, np.array([0, 1]))[0, 1] == 3
    assert cch_matrix(graph, weight, np.array([0, 1]))[0, 1] == 3


@pytest.mark.parametrize("matrix", [cch_matrix, dijkstra_matrix])
def test_no_path_is_an_error(matrix):
    graph = RoadGraph(np.array([0.0, 0.1]), np.zeros(2), np.array([0]), np.array([1]))
    with pytest.raises(DataError, match="1 pairs of nodes have no path"):
        matrix(graph, np.array([5.0]), np.array([0, 1]))


def test_components_follow_one_way_streets():
    # 0 and 1 form a circle; 2 can be reached but not left.
    graph = RoadGraph(np.zeros(3), np.zeros(3), np.array([0, 1, 1]), np.array([1, 0, 2]))
    part = strong_components(graph)
    assert part[0] == part[1] != part[2]


def test_bpr_curve():
    time = bpr(np.array([100.0] * 4), np.array([0, 1000, 2000, 1e6]), np.full(4, 1000.0))
    assert time.tolist() == pytest.approx([100, 115, 250, 250])


def test_demand_meets_both_sides():
    rng = np.random.default_rng(1)
    rows, columns = rng.uniform(0, 10, 20), rng.uniform(0, 10, 20)
    rows[3] = columns[5] = 0
    columns *= rows.sum() / columns.sum()
    trips = balanced_demand(rows, columns, np.exp(-rng.uniform(0, 3, (20, 20))))
    assert trips.sum(axis=1) == pytest.approx(rows, abs=1e-3)
    assert trips.sum(axis=0) == pytest.approx(columns, abs=1e-6)


def test_nearer_places_draw_more():
    cost = np.array([[1.0, 9.0], [9.0, 1.0]])
    trips = balanced_demand(np.ones(2), np.ones(2), np.exp(-cost))
    assert trips[0, 0] > 1000 * trips[0, 1]


def test_flow_is_carried_by_every_segment_of_the_path():
    # A line 0 → 1 → 2 and back; 600 vehicles from 0 to 2, 100 from 1 to 2, 50 from 2 to 0.
    graph = RoadGraph(np.arange(3.0), np.zeros(3), np.array([0, 1, 2, 1]), np.array([1, 2, 1, 0]))
    demand = np.array([[0.0, 0.0, 600.0], [0.0, 0.0, 100.0], [50.0, 0.0, 0.0]])
    free, capacity = np.full(4, 60.0), np.full(4, 500.0)
    time = loaded_times(graph, free, capacity, (np.arange(3), demand), 1, lambda _: None)
    assert time == pytest.approx(bpr(free, np.array([600.0, 700.0, 50.0, 50.0]), capacity))


def test_successive_averages_balance_two_roads():
    # Two equal roads of two segments from 0 to 3: traffic splits, and times come out equal.
    graph = RoadGraph(np.arange(4.0), np.zeros(4), np.array([0, 1, 0, 2]), np.array([1, 3, 2, 3]))
    demand = np.zeros((2, 2))
    demand[0, 1] = 1000
    ends = (np.array([0, 3]), demand)
    time = loaded_times(graph, np.full(4, 60.0), np.full(4, 500.0), ends, 50, lambda _: None)
    assert time == pytest.approx([69.0] * 4, rel=0.02)
