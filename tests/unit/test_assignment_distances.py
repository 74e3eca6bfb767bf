"""Distance distributions by type, sub-region and group; ranks of groups."""

from dataclasses import replace

import numpy as np
import placing
import pytest

from assignment.distances import (
    REACH_POWER,
    REACH_S,
    distance_curves,
    group_ranks,
    subregion_factors,
)
from assignment.reference import load_reference

REFERENCE = load_reference()
GRID = placing.grid_city(6, 4)


def three_zones(minutes: float = 10.0):
    """Return a city of one zone a sub-region; the third is ``minutes`` off, the others at hand."""
    city = placing.grid_city(3, 1)
    free = np.full((3, 3), 60.0, np.float32)
    free[2, :2] = free[:2, 2] = 60.0 * minutes
    return replace(
        city,
        free_time_s=free,
        subregion=np.arange(3, dtype=np.int16),
        subregion_names=("a", "b", "c"),
        population=np.array([100, 300, 200], np.int32),
        attraction=np.ones((15, 3), np.float32),
    )


def test_factor_is_reach_to_the_power_over_its_mean() -> None:
    city = three_zones()
    decay = np.exp(-city.free_time_s / REACH_S)
    power = (decay.sum(axis=1)) ** REACH_POWER
    wanted = power / np.average(power, weights=city.population)
    found = subregion_factors(city)
    assert found.shape == (3, 15)
    np.testing.assert_allclose(found, np.repeat(wanted[:, None], 15, axis=1), rtol=1e-6)
    assert found[2, 0] > 1.0 > found[0, 0]  # who lives apart travels farther


def test_mean_factor_over_people_is_one() -> None:
    halves = np.arange(24, dtype=np.int16) % 6 // 3
    city = replace(GRID, subregion=halves, subregion_names=("west", "east"))
    people = np.bincount(halves, city.population)
    np.testing.assert_allclose(people @ subregion_factors(city) / people.sum(), 1.0, rtol=1e-9)


def test_factors_have_bounds_and_empty_subregions_one() -> None:
    city = three_zones(minutes=3000.0)
    city = replace(city, attraction=np.array([[1e6, 1e6, 1e-6]] * 15, np.float32))
    found = subregion_factors(city)
    assert found.min() >= 0.5
    assert found.max() == 2.0
    empty = replace(city, population=np.array([100, 0, 200], np.int32))
    assert (subregion_factors(empty)[1] == 1.0).all()


def test_reach_of_one_type_is_its_own() -> None:
    city = three_zones()
    attraction = city.attraction.copy()
    attraction[4] = [5.0, 5.0, 500.0]  # shops are where few others are
    found = subregion_factors(replace(city, attraction=attraction))
    assert found[2, 4] < 1.0 < found[2, 5]


def test_curves_are_the_reference_in_network_km() -> None:
    plain = replace(REFERENCE, group_rank=_own_ranks())
    km = distance_curves(GRID, plain, 1.3)
    assert km.shape == (12, *REFERENCE.distance_m.shape)
    np.testing.assert_allclose(km[0], REFERENCE.distance_m * 1.3 / 1000.0, rtol=1e-5)
    np.testing.assert_array_equal(km, np.repeat(km[:1], 12, axis=0))


def _own_ranks() -> np.ndarray:
    """Return ranks under which every group is like all persons."""
    return np.broadcast_to(
        np.linspace(0, 1, REFERENCE.group_rank.shape[2]), REFERENCE.group_rank.shape
    )


def test_a_group_of_low_ranks_has_the_short_distances() -> None:
    rank = _own_ranks().copy()
    rank[3] /= 2  # this group has the nearer half of all distances
    km = distance_curves(GRID, replace(REFERENCE, group_rank=rank), 1.0)
    points = np.linspace(0, 1, km.shape[2])
    for kind in (4, 8):
        wanted = np.interp(points / 2, points, REFERENCE.distance_m[kind] / 1000)
        np.testing.assert_allclose(km[3, kind], wanted, rtol=1e-5)
        assert (km[3, kind] <= km[2, kind] + 1e-6).all()


def test_segments_are_sub_regions_of_groups() -> None:
    """Row 12·s + g holds group g of sub-region s, at the sub-region's factor."""
    city = three_zones()
    km = distance_curves(city, REFERENCE, 1.0)
    factor = subregion_factors(city)
    assert km.shape[0] == 36
    for region, group, kind in ((0, 0, 4), (2, 5, 8), (1, 11, 12)):
        wanted = km[group, kind] * factor[region, kind] / factor[0, kind]
        np.testing.assert_allclose(km[12 * region + group, kind], wanted, rtol=1e-5)
    assert (np.diff(km, axis=2) >= 0).all()


@pytest.mark.parametrize("ranks", [np.array([[0, 0.5, 1.0]] * 2), np.linspace(0, 1, 9)[None]])
def test_a_group_like_all_keeps_its_draws(ranks: np.ndarray) -> None:
    draws = np.array([0.0, 0.2, 0.5, 0.999])
    group = np.zeros(4, int)
    np.testing.assert_allclose(group_ranks(ranks, group, draws), draws)


def test_ranks_of_each_group_are_its_own_quantiles() -> None:
    ranks = np.array([[0.0, 0.2, 1.0], [0.5, 0.9, 1.0]])
    found = group_ranks(ranks, np.array([0, 1, 0, 1]), np.array([0.5, 0.5, 0.25, 0.0]))
    np.testing.assert_allclose(found, [0.2, 0.9, 0.1, 0.5])


def test_ranks_leave_the_draws_and_unknown_groups_alone() -> None:
    draws = np.array([0.3, 0.6])
    found = group_ranks(np.array([[0.0, 0.0, 0.1]]), np.array([0, 5]), draws)
    assert draws.tolist() == [0.3, 0.6]
    assert found[1] == 0.6
    assert found[0] == pytest.approx(0.0)
