"""Anchors: places filled, commutes met, zones drawn in order of distance."""

from dataclasses import replace

import numpy as np
import placing
import pytest

from assignment.anchors import (
    anchor_tables,
    commute_minutes,
    draw_zones,
    persons_by_zone,
)
from assignment.balance import Groups, balance
from assignment.surroundings import distance_order
from raygen.errors import DataError

GRID = placing.grid_city(9, 7, seed=3)
# 30 minutes lie beyond a town of 14 by 11 km.
CITY = replace(GRID, commute_target_s=GRID.commute_target_s / np.float32(3.4))
TABLES = anchor_tables(CITY)


def shares(name: str) -> np.ndarray:
    """Return P(zone | home zone), columns in zone rows' order."""
    table = getattr(TABLES, name)
    out = np.empty_like(table)
    np.put_along_axis(out, TABLES.order.astype(int), np.diff(table, axis=1, prepend=0), axis=1)
    return out


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("work", CITY.jobs.sum(axis=1)),
        ("school", CITY.school_places),
        ("college", CITY.college_places),
    ],
)
def test_places_are_filled_in_expectation(name: str, places: np.ndarray) -> None:
    need = persons_by_zone(CITY)[name]
    filled = need @ shares(name)
    expected = places * need.sum() / places.sum()
    np.testing.assert_allclose(filled, expected, rtol=5e-3, atol=1e-3 * expected.max())


def test_mean_commute_meets_the_observed_one_of_each_group() -> None:
    minutes = (shares("work") * commute_minutes(CITY, TABLES.reference)).sum(axis=1)
    need = persons_by_zone(CITY)["work"]
    for target in np.unique(CITY.commute_target_s):
        rows = CITY.commute_target_s == target
        mean = np.average(minutes[rows], weights=need[rows])
        assert mean == pytest.approx(target / 60, rel=0.01)


def test_balance_reads_cost_from_origin_to_destination() -> None:
    cost = np.array([[1, 2, 30], [2, 1, 2], [3, 2, 1]], np.float32)  # 0 → 2 is far, 2 → 0 is not
    origins, places = np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0])
    found = balance(cost, origins, places, Groups(np.array([0, 0, 1]), np.array([2.0, 2.0])))
    # Means weigh rows: group 0 is origin 0 alone, group 1 origin 2 alone; 1 has no people.
    weight = found.pull * np.exp(-found.decay[[0, 0, 1], None] * cost)
    share = weight / weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose((share * cost).sum(axis=1)[[0, 2]], found.mean, rtol=1e-5)


def test_balance_scales_places_to_people() -> None:
    cost = np.full((2, 2), 5.0, np.float32)
    found = balance(
        cost,
        np.array([30.0, 10.0]),
        np.array([1.0, 3.0]),
        Groups(np.array([0, 0]), np.array([5.0])),
    )
    np.testing.assert_allclose(found.pull / found.pull.sum(), [0.25, 0.75])


def test_a_target_out_of_reach_stops_at_the_bound() -> None:
    cost = np.array([[5.0, 6.0], [6.0, 5.0]], np.float32)
    found = balance(cost, np.ones(2), np.ones(2), Groups(np.zeros(2, int), np.array([60.0])))
    assert found.decay[0] == pytest.approx(-0.75 / 60)
    assert found.rounds < 100


def test_zone_of_a_draw_is_argmin_of_its_distance() -> None:
    """Inverse CDF over zones by distance = sample d from P(D | home), then argmin |d(h, z) − d|."""
    uniform = np.random.default_rng(0).random(500)
    home = np.random.default_rng(1).integers(0, 63, 500).astype(np.int32)
    zone = draw_zones(TABLES.work, TABLES.order, home, uniform)
    for h, u, z in zip(home, uniform, zone, strict=True):
        near = TABLES.order[h]
        rank = int((TABLES.work[h] <= np.float32(u)).sum())
        sampled = CITY.distance_m[h, near[rank]]
        assert np.abs(CITY.distance_m[h] - sampled).argmin() == z


def test_shares_of_draws_follow_the_table() -> None:
    n = 40_000
    zone = draw_zones(
        TABLES.work, TABLES.order, np.full(n, 30, np.int32), np.random.default_rng(2).random(n)
    )
    share = shares("work")[30]
    found = np.bincount(zone, minlength=63) / n
    assert (np.abs(found - share) < 4.5 * np.sqrt(share * (1 - share) / n) + 1e-6).all()


def test_draws_next_to_one_never_reach_a_zone_without_places() -> None:
    draws = np.nextafter(np.ones(63), 0.0)
    zone = draw_zones(TABLES.college, TABLES.order, np.arange(63, dtype=np.int32), draws)
    assert (CITY.college_places[zone] > 0).all()


def test_order_is_by_distance_from_the_row_and_ties_by_zone() -> None:
    distance = np.array([[1, 9, 4], [2, 1, 2], [7, 3, 1]], np.float32)
    assert distance_order(distance).tolist() == [[0, 2, 1], [1, 0, 2], [2, 1, 0]]


def test_null_controls_take_the_citys_share() -> None:
    controls = CITY.controls.set_column(
        CITY.controls.column_names.index("labour_force"),
        "labour_force",
        [[None, *CITY.controls["labour_force"].to_pylist()[1:]]],
    )
    need = persons_by_zone(replace(CITY, controls=controls))["work"]
    assert need[0] == pytest.approx(0.5 * CITY.population[0])


def test_a_city_without_jobs_says_so() -> None:
    with pytest.raises(DataError, match="need a place of work, the city has none"):
        anchor_tables(replace(CITY, jobs=np.zeros_like(CITY.jobs)))


def test_unknown_commutes_take_the_mean() -> None:
    target = np.full(63, 1800, np.float32)
    unknown = np.where(np.arange(63) < 5, np.nan, target).astype(np.float32)
    with_gap = anchor_tables(replace(CITY, commute_target_s=unknown))
    whole = anchor_tables(replace(CITY, commute_target_s=target))
    np.testing.assert_array_equal(with_gap.work, whole.work)


def test_the_least_draw_passes_over_near_zones_without_places() -> None:
    zone = draw_zones(TABLES.college, TABLES.order, np.arange(63, dtype=np.int32), np.zeros(63))
    assert (CITY.college_places[zone] > 0).all()
