"""Work places filled evenly within sub-regions, and refined tables that keep to it."""

from dataclasses import replace

import numpy as np
import placing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assignment.anchors import anchor_tables, persons_by_zone
from assignment.rebalance import even_fill
from assignment.refinement import apply, unrefined

HALVES = np.arange(48, dtype=np.int16) % 8 // 4
CITY = replace(placing.grid_city(8, 6), subregion=HALVES, subregion_names=("west", "east"))
TABLES = anchor_tables(CITY)


def shares_of(cumulated: np.ndarray) -> np.ndarray:
    near = np.diff(cumulated.astype(float), axis=1, prepend=0.0)
    out = np.empty_like(near)
    np.put_along_axis(out, TABLES.order.astype(int), near, axis=1)
    return out


def fill(cumulated: np.ndarray, homes: np.ndarray) -> np.ndarray:
    """Return each zone's workers over its part of the jobs of its sub-region, by hand."""
    workers = persons_by_zone(CITY)["work"] * homes[HALVES]
    at = workers @ shares_of(cumulated)
    jobs = CITY.jobs.sum(axis=1)
    return np.array([
        at[z] / jobs[z] / (at[HALVES == HALVES[z]].sum() / jobs[HALVES == HALVES[z]].sum())
        for z in range(48)
    ])  # fmt: skip


def test_refined_work_places_are_filled_alike() -> None:
    homes = np.array([1.6, 0.4])
    state = replace(unrefined(2), homes=homes, work=np.array([[1.0, 3.0], [0.5, 1.0]]))
    refined = apply(TABLES, state, CITY)
    np.testing.assert_allclose(fill(refined.work, homes), 1.0, atol=0.01)
    assert np.abs(fill(TABLES.work, homes) - 1.0).max() > 0.02  # as it was without
    assert (np.diff(refined.work, axis=1) >= 0).all()
    assert (refined.work[:, -1] == 1.0).all()


def test_flows_between_subregions_are_those_refined() -> None:
    state = replace(unrefined(2), work=np.array([[1.0, 2.0], [0.7, 1.0]]))
    workers = persons_by_zone(CITY)["work"]
    raw = shares_of(TABLES.work) * state.work[HALVES[:, None], HALVES[None]]
    raw /= raw.sum(axis=1, keepdims=True)
    member = np.eye(2)[HALVES]
    flows = [member.T @ (s * workers[:, None]) @ member
             for s in (raw, shares_of(apply(TABLES, state, CITY).work))]  # fmt: skip
    np.testing.assert_allclose(flows[1], flows[0], rtol=0.01)


def test_what_is_not_refined_stays_the_same() -> None:
    assert apply(TABLES, unrefined(2), CITY).work is TABLES.work


def test_commuters_follow_homes_that_move() -> None:
    """Twice the people in a half of the city: its work zones are no fuller than the others."""
    share = np.full((4, 4), 0.25)
    found = even_fill(share, np.array([2.0, 1, 1, 1]), np.array([1.0, 3, 1, 0]), np.zeros(4, int))
    at = np.array([2.0, 1, 1, 1]) @ found
    np.testing.assert_allclose(at, [1.0, 3.0, 1.0, 0.0], rtol=0.006)


@given(st.integers(0, 10_000), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_rows_stay_shares_and_closed_zones_empty(seed: int, regions: int) -> None:
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.ones(9), 9)
    places = rng.gamma(1.0, 1.0, 9) * (np.arange(9) % 4 > 0)
    workers = rng.gamma(1.0, 1.0, 9) * (rng.random(9) < 0.8)
    found = even_fill(share, workers, places, np.arange(9) % regions)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (found >= 0).all()
    assert (found[:, places == 0] == 0).all()


def test_a_place_draws_nobody_at_any_cost() -> None:
    """A zone that nobody would go to stays underfilled: its factor has a bound."""
    share = np.array([[1 - 1e-9, 1e-9], [1 - 1e-9, 1e-9]])
    found = even_fill(share, np.ones(2), np.ones(2), np.zeros(2, int))
    assert found[:, 1].max() < 1e-6
    assert found[0, 0] == pytest.approx(1.0)
