"""Refinement: what one table moves, and a made-up target that a sample can reach."""

from dataclasses import replace

import numpy as np
import placing
import pytest

from assignment.anchors import anchor_tables
from assignment.refinement import (
    CLASSES,
    Refined,
    apply,
    compare,
    refine,
)
from raygen.config import AssignmentConfig, RefinementConfig
from raygen.errors import DataError
from raygen.flow_target import Counted, FlowTarget
from raygen.taxonomy import ACTIVITY_TYPES

GRID = placing.grid_city(8, 6, seed=5)
CITY = replace(
    GRID,
    subregion=(np.arange(48) % 8 // 4).astype(np.int16),
    subregion_names=("west", "east"),
)
TABLES = anchor_tables(CITY)
SAMPLE = [placing.shard(CITY, 800, seed=1)]
CONFIG = AssignmentConfig(gamma=0.0)


def still() -> Refined:
    """Tables that move nothing."""
    types = len(ACTIVITY_TYPES)
    ones = np.ones((2, types, CLASSES))
    return Refined(ones, np.zeros((types, 2, 2)), np.ones((2, 2)), (), 0)


def target(matrix: list[list[float]], **counted: str) -> FlowTarget:
    none = np.empty(0, int)
    return FlowTarget(Counted(**counted), "assumed", np.array(matrix), none, none, np.empty(0), "")


def test_tables_that_move_nothing_leave_the_city_as_it_is() -> None:
    same = apply(TABLES, still(), CITY)
    np.testing.assert_allclose(same.distance_km, TABLES.distance_km, rtol=1e-6)
    np.testing.assert_allclose(same.work, TABLES.work, atol=1e-6)
    np.testing.assert_array_equal(same.pull, TABLES.pull)


def test_mass_moves_the_distances_of_its_subregion_and_type_alone() -> None:
    state = still()
    state.mass[1, 8] = np.linspace(2.0, 0.0, CLASSES)  # the near twice, the far never
    moved = apply(TABLES, state, CITY).distance_km
    east = moved[12:, 8].mean() / TABLES.distance_km[12:, 8].mean()
    assert east < 0.75
    np.testing.assert_allclose(moved[:12], TABLES.distance_km[:12], rtol=1e-6)
    np.testing.assert_allclose(moved[12:, 7], TABLES.distance_km[12:, 7], rtol=1e-6)
    assert (np.diff(moved, axis=2) >= 0).all()


def test_work_factors_move_the_shares_of_work() -> None:
    state = still()
    state.work[0, 1] = 3.0
    moved = np.diff(apply(TABLES, state, CITY).work, axis=1, prepend=0)
    before = np.diff(TABLES.work, axis=1, prepend=0)
    east = CITY.subregion[TABLES.order] == 1
    home = CITY.subregion == 0
    was, now = (np.where(east, share, 0).sum(axis=1)[home] for share in (before, moved))
    np.testing.assert_allclose(now, 3 * was / (3 * was + 1 - was), rtol=1e-3)
    np.testing.assert_allclose(moved[~home], before[~home], atol=1e-6)


def test_compare_is_of_shares_and_knows_given_origins() -> None:
    found = np.array([[30.0, 10.0], [30.0, 30.0]])
    same = compare(7 * found, found)
    assert (same.cosine, same.common_part) == (pytest.approx(1), pytest.approx(1))
    assert same.largest_gap == pytest.approx(0)
    other_homes = compare(np.array([[3.0, 1.0], [1.0, 1.0]]), found)
    assert other_homes.given_origins == pytest.approx(1)
    assert other_homes.cosine < 0.99


def test_refinement_comes_nearer_and_is_the_same_again() -> None:
    wanted = target([[4.0, 2.0], [2.0, 4.0]])
    settings = RefinementConfig(rounds=3)
    first = refine(SAMPLE, CITY, TABLES, CONFIG, wanted, settings, 3)
    assert first.history[first.best].largest_gap < first.history[0].largest_gap
    assert first.history[first.best].given_origins > first.history[0].given_origins
    again = refine(SAMPLE, CITY, TABLES, CONFIG, wanted, settings, 3)
    np.testing.assert_array_equal(first.pull, again.pull)
    np.testing.assert_array_equal(first.mass, again.mass)
    assert first.history == again.history


def test_a_target_without_trips_in_the_sample_is_refused() -> None:
    wanted = target([[1.0, 1.0], [1.0, 1.0]], mode="bike", purpose="worship")
    stay = [placing.shard(CITY, 3, seed=1)]
    with pytest.raises(DataError, match="makes no trips that the target counts"):
        refine(stay, CITY, TABLES, CONFIG, wanted, RefinementConfig(rounds=1), 0)
