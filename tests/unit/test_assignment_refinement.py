"""Refinement: what one table moves, and a made-up target that a sample can reach."""

from dataclasses import replace

import numpy as np
import placing
import pytest

from actors.calibration import activity_types, report
from assignment.anchors import anchor_tables
from assignment.frequencies import CLASSES, compare, counted_trips, gap_by_type, measure
from assignment.place import place
from assignment.refinement import Refined, apply, refine, unrefined
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
    return unrefined(2)


def target(matrix: list[list[float]], **counted: str) -> FlowTarget:
    none, flows = np.empty(0, int), np.array(matrix)
    kind = counted.get("purpose")
    by_type = None
    if kind in ACTIVITY_TYPES:
        by_type = np.zeros((15, 2, 2))
        by_type[ACTIVITY_TYPES.index(kind)] = flows
    return FlowTarget(Counted(**counted), "assumed", flows, by_type, none, none, np.empty(0), "")


def typed(flows: dict[str, list[list[float]]]) -> FlowTarget:
    """Flows by activity type."""
    by_type = np.zeros((15, 2, 2))
    for word, matrix in flows.items():
        by_type[ACTIVITY_TYPES.index(word)] = matrix
    counted, none = Counted("by type", types=tuple(flows)), np.empty(0, int)
    return FlowTarget(counted, "assumed", by_type.sum(0), by_type, none, none, np.empty(0), "")


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
    others = [np.where(east, share, 0).sum(axis=1)[~home] for share in (before, moved)]
    np.testing.assert_allclose(others[1], others[0], atol=5e-3)


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


def test_frequencies_are_the_counted_trips_by_home_type_and_ends() -> None:
    counted = Counted()
    wanted = target([[1.0, 1.0], [1.0, 1.0]])
    found = measure(SAMPLE, CITY, TABLES, CONFIG, wanted, 3)
    placed = place(*SAMPLE[0], CITY, TABLES, CONFIG, 3)
    assert found.trips.sum() == placed.trips.num_rows
    purposes = placed.trips["purpose"].combine_chunks().indices.to_numpy()
    by_type = found.by_type()
    np.testing.assert_array_equal(by_type.sum(axis=(1, 2)), np.bincount(purposes, minlength=15))
    home, kind, origin, destination = counted_trips(placed, SAMPLE[0][0], CITY, counted)
    region = CITY.subregion
    cell = (region[home] == 1) & (kind == 8) & (region[origin] == 0) & (region[destination] == 1)
    assert found.trips[1, 8, 0, 1] == cell.sum() > 0
    np.testing.assert_allclose(found.by_type(np.array([2.0, 0.0])), 2 * found.trips[0])
    assert (destination[kind == 0] == home[kind == 0]).all()


def test_commutes_are_trips_to_work() -> None:
    placed = place(*SAMPLE[0], CITY, TABLES, CONFIG, 3)
    home, kind, origin, _ = counted_trips(placed, SAMPLE[0][0], CITY, Counted("commute"))
    assert set(kind.tolist()) == {1}
    np.testing.assert_array_equal(home, origin)
    assert len(home) == (placed.persons["work_zone_id"].to_numpy() >= 0).sum()


def test_the_gap_by_type_leaves_the_number_of_trips_of_a_type_alone() -> None:
    found = np.zeros((15, 2, 2))
    found[4], found[8] = [[4.0, 1.0], [1.0, 4.0]], [[3.0, 3.0], [2.0, 2.0]]
    wanted = found.copy()
    wanted[4] *= 7
    assert gap_by_type(wanted, found) == pytest.approx(0)
    wanted[8] = [[4.0, 2.0], [2.0, 2.0]]
    assert gap_by_type(wanted, found) == pytest.approx(1 / 20)


def test_types_that_the_target_knows_move_and_the_others_stay() -> None:
    wanted = typed({"leisure": [[1.0, 3.0], [3.0, 1.0]], "shop_goods": [[5.0, 1.0], [1.0, 5.0]]})
    settings = RefinementConfig(rounds=4)
    refined = refine(SAMPLE, CITY, TABLES, CONFIG, wanted, settings, 3)
    assert refined.best > 0
    others = [k for k in range(15) if k not in (4, 8)]
    assert not refined.pull[others].any()
    np.testing.assert_array_equal(refined.mass[:, others], 1.0)
    np.testing.assert_array_equal(refined.work, 1.0)
    np.testing.assert_array_equal(refined.homes, 1.0)
    found = activity_types(refined, wanted)
    assert set(found) == {"all", "leisure", "shop_goods"}
    for word in ("leisure", "shop_goods"):
        before, after = (found[word][f"cosine_{when}"] for when in ("before", "after"))
        assert 1 - after < 0.5 * (1 - before)
        assert found[word]["moved"] > 0.02
        np.testing.assert_allclose(found[word]["share_target"], 0.5)


def test_the_report_tells_what_each_type_moved_where_the_target_has_no_types() -> None:
    wanted = target([[4.0, 2.0], [2.0, 4.0]])
    refined = refine(SAMPLE, CITY, TABLES, CONFIG, wanted, RefinementConfig(rounds=2), 3)
    found = report(refined, wanted, CITY)["activity_types"]
    assert {"all", "home", "work", "leisure", "worship"} <= set(found)
    assert "share_target" not in found["leisure"]
    assert found["all"]["share_target"] == [0.5, 0.5]
    assert found["all"]["cosine_after"] == pytest.approx(refined.history[refined.best].cosine)
    for each in found.values():
        assert sum(each["share_before"]) == pytest.approx(1)
        assert sum(each["share_after"]) == pytest.approx(1)
    trips = sum(each["trips_after"] for word, each in found.items() if word != "all")
    assert found["all"]["trips_after"] == trips


def test_tables_without_a_round_have_no_report() -> None:
    with pytest.raises(DataError, match="no round has measured"):
        activity_types(still(), target([[1.0, 1.0], [1.0, 1.0]]))


def test_homes_move_only_where_asked_and_meet_the_origins() -> None:
    wanted = target([[6.0, 2.0], [1.0, 3.0]])  # eight of twelve begin in the west
    plain = refine(SAMPLE, CITY, TABLES, CONFIG, wanted, RefinementConfig(rounds=3), 3)
    moved = refine(
        SAMPLE, CITY, TABLES, CONFIG, wanted, RefinementConfig(rounds=3, origins=True), 3
    )
    np.testing.assert_array_equal(plain.homes, 1.0)
    assert moved.homes[0] > 1.1
    assert moved.homes[1] < 0.9
    assert moved.after is not None
    origins = moved.after.sum(axis=(0, 2)) / moved.after.sum()
    assert origins[0] == pytest.approx(8 / 12, abs=0.02)
    assert moved.history[moved.best].cosine > plain.history[plain.best].cosine
