"""Homes that move between sub-regions: shares met, few moves, a household's draws its own."""

from dataclasses import replace

import numpy as np
import placing
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from assignment.itinerary import lookup
from raygen import schema
from raygen.errors import DataError
from raygen.stages.homes import home_moves, move_homes

GRID = placing.grid_city(8, 6, seed=5)
CITY = replace(
    GRID,
    subregion=(np.arange(48) % 8 // 3).astype(np.int16),
    subregion_names=("west", "middle", "east"),
)
HOUSEHOLDS = placing.shard(CITY, 5_000, seed=1)[0]


def regions(households: pa.Table) -> np.ndarray:
    zone = lookup(CITY.zone_id.astype(np.int64), households["home_zone_id"].to_numpy(), "home")
    return CITY.subregion[zone]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 50), min_size=3, max_size=3))
def test_moves_multiply_the_people_and_as_few_move_as_can(factor: list[float]) -> None:
    here = np.bincount(CITY.subregion, CITY.households, 3)
    moves = home_moves(CITY, np.array(factor))
    np.testing.assert_allclose(moves.chance.sum(axis=1), 1)
    assert (moves.chance >= -1e-12).all()
    wanted = here * factor * here.sum() / (here * factor).sum()
    np.testing.assert_allclose(here @ moves.chance, wanted, rtol=1e-9)
    assert here @ moves.moved == pytest.approx(np.maximum(here - wanted, 0).sum(), abs=1e-6)


def test_households_move_as_the_chances_say() -> None:
    moves = home_moves(CITY, np.array([0.5, 1.0, 2.0]))
    moved = move_homes(HOUSEHOLDS, CITY, moves, 0)
    assert moved.schema == schema.HOUSEHOLDS
    before, after = regions(HOUSEHOLDS), regions(moved)
    for number in range(3):
        share = np.bincount(after[before == number], minlength=3) / (before == number).sum()
        np.testing.assert_allclose(share, moves.chance[number], atol=0.06)
    same = before == after
    for name in schema.HOUSEHOLDS.names:
        column = moved[name].to_numpy()
        np.testing.assert_array_equal(column[same], HOUSEHOLDS[name].to_numpy()[same])
    for name in ("household_id", "size", "income", "vehicles"):
        np.testing.assert_array_equal(moved[name], HOUSEHOLDS[name])


def test_those_who_moved_live_in_their_zone_in_proportion_to_households() -> None:
    moved = move_homes(HOUSEHOLDS, CITY, home_moves(CITY, np.array([0.0, 0.0, 1.0])), 0)
    assert set(regions(moved).tolist()) == {2}
    zone = lookup(CITY.zone_id.astype(np.int64), moved["home_zone_id"].to_numpy(), "home")
    to_metres = Transformer.from_crs(4326, CITY.crs, always_xy=True)
    xy = to_metres.transform(moved["home_lon"].to_numpy(), moved["home_lat"].to_numpy())
    gap = np.hypot(*(np.stack(xy, 1)[:, None] - CITY.zone_xy[None]).transpose(2, 0, 1))
    assert (
        gap.argmin(axis=1) == zone
    ).mean() > 0.8  # the nearest middle is nearly always the zone's own
    count = np.bincount(zone[regions(HOUSEHOLDS) != 2], minlength=48)[CITY.subregion == 2]
    wanted = CITY.households[CITY.subregion == 2]
    np.testing.assert_allclose(count / count.sum(), wanted / wanted.sum(), atol=0.03)


def test_a_household_moves_alike_alone_and_among_others() -> None:
    moves = home_moves(CITY, np.array([0.2, 3.0, 1.0]))
    whole = move_homes(HOUSEHOLDS, CITY, moves, 4)
    for part in (HOUSEHOLDS[100:101], HOUSEHOLDS[7:400]):
        first = part["household_id"][0].as_py() - HOUSEHOLDS["household_id"][0].as_py()
        assert move_homes(part, CITY, moves, 4).equals(whole[first : first + len(part)])
    assert not move_homes(HOUSEHOLDS, CITY, moves, 5).equals(whole)


def test_factors_of_one_leave_all_where_they_are() -> None:
    assert move_homes(HOUSEHOLDS, CITY, home_moves(CITY, np.ones(3)), 0).equals(HOUSEHOLDS)


@pytest.mark.parametrize("factor", [[0.0, 0.0, 0.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0]])
def test_factors_that_leave_nobody_are_refused(factor: list[float]) -> None:
    with pytest.raises(DataError, match="factors must be finite and >= 0"):
        home_moves(CITY, np.array(factor))
