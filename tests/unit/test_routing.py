"""Routes of trips: valid, the fastest, the same in any batch."""

import numpy as np
import pyarrow as pa
import pytest
from gridroads import grid, network, trips
from scipy.sparse.csgraph import dijkstra

from raygen.errors import DataError
from raygen.network.alternatives import alternatives
from raygen.network.routing import ROUTES, Router
from raygen.network.speeds import SpeedProfile, free_flow, hourly, peak_slowdown
from raygen.network.taste import Taste, believed

ALL_FASTEST = Taste(flavours=1)
PEAK = np.array([0.0] * 7 + [1.0] * 3 + [0.5] * 14)


def fastest(roads, weight):
    return dijkstra(roads.graph().adjacency(weight))


def test_costs_are_those_of_dijkstra_in_each_period():
    roads = grid(8)
    slow = np.random.default_rng(3).uniform(1, 3, roads.segments)
    router = Router(roads, hourly(roads, PEAK, slow), ALL_FASTEST, 0)
    pairs = np.random.default_rng(4).integers(0, roads.nodes, (400, 2))
    for hour, weight in ((3, 0.0), (8, 1.0), (30, 0.0), (12, 0.5)):
        told = router.route(trips(pairs[:, 0], pairs[:, 1], hour * 3600.0))
        # The peak's speeds are stored as float32, hierarchies count milliseconds.
        expected = fastest(roads, roads.free_s * (1 + weight * (slow - 1)))[
            pairs[:, 0], pairs[:, 1]
        ]
        np.testing.assert_allclose(told.column("cost_s").to_numpy(), expected, atol=0.02)


def test_no_way_is_null_and_no_need_is_empty():
    roads = network([(0, 1), (1, 2), (2, 1)], [100.0, 100.0, 100.0])
    told = Router(roads, free_flow(roads), Taste(), 0).route(trips([0, 1, 2, 1], [2, 0, 0, 1]))
    assert told.schema == ROUTES
    assert told.column("segments").to_pylist() == [[0, 1], None, None, []]
    assert told.column("time_s").to_pylist() == [20.0, None, None, 0.0]
    assert told.column("length_m").to_pylist() == [200.0, None, None, 0.0]


def test_one_way_streets_are_kept():
    around = network([(0, 1), (1, 2), (2, 3), (3, 0)], [10.0] * 4)
    told = Router(around, free_flow(around), Taste(), 0).route(trips([1, 0], [0, 3]))
    assert told.column("segments").to_pylist() == [[1, 2, 3], [0, 1, 2]]


def test_of_parallel_segments_the_faster_is_taken():
    roads = network([(0, 1), (0, 1), (1, 0)], [100.0, 100.0, 100.0], [30.0, 60.0, 30.0])
    told = Router(roads, free_flow(roads), ALL_FASTEST, 0).route(trips([0], [1]))
    assert told.column("segments").to_pylist() == [[1]]


def test_between_segments_both_are_driven():
    around = network([(0, 1), (1, 2), (2, 3), (3, 0)], [10.0] * 4)
    ends = [[0, 2], [2, 0], [1, 1], [0, 1]]
    table = pa.table(
        {
            "trip_id": pa.array(range(4)),
            "origin_segment": pa.array([a for a, _ in ends], pa.int32()),
            "destination_segment": pa.array([b for _, b in ends], pa.int32()),
            "depart_s": pa.array([0.0] * 4),
        }
    )
    told = Router(around, free_flow(around), Taste(), 0).route(table)
    assert told.column("segments").to_pylist() == [[0, 1, 2], [2, 3, 0], [1], [0, 1]]


def test_speeds_change_on_the_way():
    roads = network([(0, 1), (1, 0)], [1000.0, 1000.0])
    speed = np.array([[36.0, 36.0], [18.0, 18.0]], dtype=np.float32)
    profile = SpeedProfile(np.array([0, 3600, 7200]), np.array([0, 1, 0]), speed)
    router = Router(roads, profile, ALL_FASTEST, 0)
    told = router.route(trips([0, 0, 0], [1, 1, 1], [3550.0, 7100.0, 86400 + 3600.0]))
    # 50 s at 10 m/s and 500 m at 5; 100 s at 5 and 500 m at 10; 1000 m at 5.
    assert told.column("time_s").to_pylist() == pytest.approx([150.0, 150.0, 200.0])
    assert told.column("cost_s").to_pylist() == pytest.approx([100.0, 200.0, 200.0])


def test_a_route_does_not_depend_on_the_batch():
    roads = grid(7)
    profile = hourly(roads, PEAK, 1.7)
    rng = np.random.default_rng(5)
    whole = trips(
        rng.integers(0, 49, 300), rng.integers(0, 49, 300), rng.uniform(0, 200_000, 300), 10
    )
    told = Router(roads, profile, Taste(), 5).route(whole)
    order = rng.permutation(300)
    again = Router(roads, profile, Taste(), 5, hierarchies_kept=2)
    parts = [again.route(whole.take(pa.array(rows))) for rows in np.array_split(order, 7)]
    assert pa.concat_tables(parts).take(pa.array(np.argsort(order))).equals(told)
    other = Router(roads, profile, Taste(), 6).route(whole)
    assert other.column("segments") != told.column("segments")


def test_trips_between_the_same_places_spread_over_roads():
    roads = grid(10)
    many = trips(np.zeros(400, int), np.full(400, 99))
    told = Router(roads, free_flow(roads), Taste(), 1).route(many)
    ways = {tuple(way) for way in told.column("segments").to_pylist()}
    assert 4 <= len(ways) <= 8
    alone = Router(roads, free_flow(roads), ALL_FASTEST, 1).route(many)
    assert len({tuple(way) for way in alone.column("segments").to_pylist()}) == 1


def test_beliefs_are_bounded_and_true_for_flavour_0():
    roads = grid(5)
    assert (believed(roads, Taste(), 1, 0) == 1).all()
    factor = believed(roads, Taste(by_segment=1.0, stretch=1.44), 1, 3)
    assert factor.min() == pytest.approx(1 / 1.2)
    assert factor.max() == pytest.approx(1.2)
    assert (factor != believed(roads, Taste(by_segment=1.0, stretch=1.44), 1, 4)).any()


def test_alternatives_differ_and_begin_with_the_fastest():
    roads = grid(10)
    router = Router(roads, free_flow(roads), Taste(flavours=12), 2)
    rng = np.random.default_rng(6)
    pairs = rng.integers(0, 100, (40, 2))
    told = alternatives(router, trips(pairs[:, 0], pairs[:, 1]), 3, overlap=0.6)
    best = fastest(roads, roads.free_s)
    metres = roads.length_m.astype(float)
    by_trip: dict[int, list] = {}
    for row in told.to_pylist():
        by_trip.setdefault(row["trip_id"], []).append(row)
    assert sorted(by_trip) == list(range(40))
    assert sum(len(rows) for rows in by_trip.values()) > 60
    for trip, rows in by_trip.items():
        assert [row["rank"] for row in rows] == list(range(len(rows)))
        low = best[pairs[trip, 0], pairs[trip, 1]]
        assert rows[0]["cost_s"] == pytest.approx(low, abs=0.02)
        for i, row in enumerate(rows):
            assert row["cost_s"] <= 1.5 * low + 0.05
            for other in rows[:i]:
                shared = list(set(row["segments"]) & set(other["segments"]))
                assert metres[shared].sum() <= 0.6 * row["length_m"] + 1e-6


def test_alternatives_of_no_way_are_one_null_row():
    roads = network([(0, 1), (1, 2), (2, 1)], [100.0] * 3)
    router = Router(roads, free_flow(roads), Taste(), 0)
    told = alternatives(router, trips([1, 0, 1], [0, 2, 1]), 3)
    assert told.column("segments").to_pylist() == [None, [0, 1], []]
    with pytest.raises(DataError, match="k must be 1 to 8, got 9"):
        alternatives(router, trips([0], [1]), 9)


@pytest.mark.parametrize(
    ("column", "values", "rule"),
    [
        ("origin_node", pa.array([0, 9], pa.int32()), "row 1: must be 0 to 3, got 9"),
        ("destination_node", pa.array([-1, 0], pa.int32()), "row 0: must be 0 to 3, got -1"),
        ("depart_s", pa.array([0.0, float("nan")]), "row 1: must be finite and >= 0"),
        ("trip_id", pa.array([None, 1], pa.int64()), "row 0: null"),
        ("trip_id", pa.array([-1, 1]), "row 0: must be >= 0, got -1"),
        ("origin_node", pa.array(["a", "b"]), "must be int32"),
    ],
)
def test_wrong_trips_are_refused(column, values, rule):
    roads = grid(2)
    table = trips([0, 1], [1, 0])
    table = table.set_column(table.column_names.index(column), column, values)
    with pytest.raises(DataError, match=f"trips: column {column}: {rule}"):
        Router(roads, free_flow(roads), Taste(), 0).route(table)
    with pytest.raises(DataError, match=f"trips: column {column}: missing"):
        Router(roads, free_flow(roads), Taste(), 0).route(table.drop_columns([column]))


def test_no_trips_no_routes():
    roads = grid(2)
    assert Router(roads, free_flow(roads), Taste(), 0).route(trips([], [])).num_rows == 0


def test_wrong_speeds_are_refused():
    roads = grid(2)
    zero = np.zeros(1, dtype=np.int64)
    for profile, rule in (
        (SpeedProfile(zero + 5, zero, roads.speed_kph[None]), "start_s must increase from 0"),
        (SpeedProfile(zero, zero + 1, roads.speed_kph[None]), "state must name a row"),
        (
            SpeedProfile(zero, zero, roads.speed_kph[None, 1:]),
            "speed_kph must have a column for each of 8 segments",
        ),
        (SpeedProfile(zero, zero, 0 * roads.speed_kph[None]), "speed_kph must be > 0"),
    ):
        with pytest.raises(DataError, match=f"speeds: {rule}"):
            Router(roads, profile, Taste(), 0)
    with pytest.raises(DataError, match="24 figures from 0 to 1"):
        hourly(roads, np.full(24, 1.5), 2.0)
    with pytest.raises(DataError, match=r"slowdown must be finite and >= 1, got 0\.5"):
        hourly(roads, PEAK, 0.5)
    with pytest.raises(DataError, match=r"stretch must be 1 to 10, got 0\.9"):
        Taste(stretch=0.9)


def test_slowdown_of_skims():
    free, peak = np.full((3, 3), 100, np.float32), np.full((3, 3), 150, np.float32)
    assert peak_slowdown(free, peak) == pytest.approx(1.5)
    with pytest.raises(DataError, match="time in the peak must be at least"):
        peak_slowdown(peak, free)
