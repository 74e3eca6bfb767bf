"""Joined days on hand-made households."""

import householdrules
import numpy as np
import pyarrow as pa
import pytest
from householdrules import day

from raygen import schema
from raygen.errors import DataError
from raygen.households.state import OTHER, PICKUP
from raygen.stages.households import Joined, join_days, parts, with_companions
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SCHOOL

CARE = ACTIVITY_TYPES.index("caregiving")
OUT = ACTIVITY_TYPES.index("leisure")
Members = list[tuple[int, str]]


def people(*households: Members) -> pa.Table:
    ages = [age for members in households for age, _ in members]
    owner = [n for n, members in enumerate(households) for _ in members]
    return pa.table(
        {
            "person_id": np.arange(10, 10 + len(ages)),
            "household_id": np.array(owner, np.int64),
            "age": pa.array(ages, pa.int8()),
        }
    )


def joined(*households: Members, seed: int = 0) -> Joined:
    chains = np.array([day(text) for members in households for _, text in members], np.int8)
    return join_days(people(*households), chains, 0, seed)


def check(result: Joined, *households: Members) -> None:
    first = 0
    for members in households:
        rows = range(first, first + len(members))
        first += len(members)
        ages = np.array([age for age, _ in members])
        part = np.concatenate([np.full(rows.start, OTHER), parts(ages, np.array([0, len(ages)]))])
        row = lambda ids: np.where(ids >= 0, ids - 10, -1)  # noqa: E731
        assert not householdrules.faults(
            part, result.chains, row(result.with_person), row(result.escort), rows
        )


PARENT_AT_HOME = [(40, "96h"), (8, "30h 26s 40h")]
BOTH_WORK = [(40, "28h 36w 32h"), (38, "34h 24w 38h"), (8, "31h 26s 39h"), (2, "96h")]


def test_a_parent_at_home_brings_and_fetches() -> None:
    result = joined(PARENT_AT_HOME)
    check(result, PARENT_AT_HOME)
    assert result.chains[1].tolist() == day("30h 26s 40h")
    assert result.chains[0].tolist() == day("30h 1p 24h 1p 40h")
    assert result.with_person[0, [30, 55]].tolist() == [11, 11]
    assert result.escort[1, [30, 56]].tolist() == [10, 10]
    assert (result.with_person[1] == -1).all()  # the child's school is a place of its own


def test_the_last_to_leave_brings_and_the_first_back_fetches() -> None:
    result = joined(BOTH_WORK)
    check(result, BOTH_WORK)
    assert result.chains[2].tolist() == day("33h 26s 37h")
    assert result.chains[3].tolist() == day("33h 26v 37h")
    assert result.chains[0].tolist() == day(BOTH_WORK[0][1])  # the first to leave is not touched
    assert result.chains[1].tolist() == day("33h 1p 24w 1p 37h")
    assert result.escort[3, [33, 59]].tolist() == [11, 11]
    assert set(result.with_person[3, 33:59].tolist()) == {12}  # where the sibling is


def test_a_child_comes_along_where_no_work_is_done() -> None:
    members = [(40, "40h 6g 50h"), (3, "96h")]
    result = joined(members)
    check(result, members)
    np.testing.assert_array_equal(result.chains[1], result.chains[0])
    assert result.chains[0].tolist() == day("40h 6g 50h")
    assert set(result.with_person[1, 40:46].tolist()) == {10}


def test_an_older_sibling_minds_but_does_not_escort() -> None:
    members = [(40, "30h 36w 30h"), (16, "96h"), (4, "96h")]
    result = joined(members)
    check(result, members)
    assert result.chains.tolist() == [day(text) for _, text in members]
    alone = [(40, "30h 36w 30h"), (15, "96h"), (4, "96h")]
    result = joined(alone)
    check(result, alone)
    assert (result.chains[2] == CARE).any()


def test_without_an_adult_the_oldest_from_sixteen_escorts() -> None:
    members = [(17, "96h"), (16, "96h"), (8, "30h 26s 40h")]
    result = joined(members)
    check(result, members)
    assert set(result.escort[2]) == {-1, 10}


def test_without_a_carer_days_stay_as_drawn() -> None:
    members = [(15, "30h 36s 30h"), (8, "31h 26s 39h")]
    result = joined(members)
    assert result.chains.tolist() == [day(text) for _, text in members]
    assert (result.escort == -1).all()


def test_carers_who_relieve_each_other_meet() -> None:
    members = [(40, "40h 30w 26h"), (38, "20h 20w 56h"), (3, "96h")]
    result = joined(members)
    check(result, members)
    assert result.chains[0].tolist() == day("41h 29w 26h")
    assert (result.chains[2] == HOME).all()


def test_drawn_escorts_become_the_childs() -> None:
    members = [(40, "29h 2p 65h"), (40, "96h"), (8, "30h 26s 40h")]
    brings = [joined(members, seed=seed).escort[2] for seed in range(40)]
    assert np.mean([set(e[28:33]) >= {10} for e in brings]) > 0.8
    assert np.mean([(joined(members, seed=s).chains[0] == PICKUP).sum() for s in range(5)]) <= 2


def test_what_a_child_cannot_do_it_does_not() -> None:
    members = [(40, "20h 70w 6h"), (8, "30h 26s 10h 8l 22h")]
    result = joined(members)
    check(result, members)
    assert (result.chains[1] == SCHOOL).sum() > 60  # at school until it is fetched
    assert not (result.chains[1] == OUT).any()


def test_pickup_drop_is_thinned_where_no_child_lives() -> None:
    single = [[(40, "30h 2p 64h")] for _ in range(4000)]
    kept = (joined(*single).chains == PICKUP).any(axis=1)
    assert abs(kept.mean() - 0.37) < 4 * np.sqrt(0.37 * 0.63 / 4000)
    family = [[(40, "30h 2p 64h"), (14, "96h")] for _ in range(5)]
    assert (joined(*family).chains == PICKUP).sum() == 10


def test_a_household_is_joined_the_same_in_any_company() -> None:
    chains = np.array([day(t) for _, t in [*PARENT_AT_HOME, *BOTH_WORK]], np.int8)
    table = people(PARENT_AT_HOME, BOTH_WORK)
    whole = join_days(table, chains, 0, 5)
    part = join_days(table.slice(2), chains[2:], 0, 5)
    np.testing.assert_array_equal(whole.chains[2:], part.chains)
    np.testing.assert_array_equal(whole.escort[2:], part.escort)
    turned = join_days(table.take(np.arange(6)[::-1].copy()), chains[::-1].copy(), 0, 5)
    np.testing.assert_array_equal(turned.with_person[::-1], whole.with_person)


def test_bad_chains_are_refused() -> None:
    with pytest.raises(DataError, match=r"chains: shape must be \(2, 96\), got \(2, 95\)"):
        join_days(people(PARENT_AT_HOME), np.zeros((2, 95), np.int8), 0, 0)
    away = np.zeros((2, 96), np.int8)
    away[1, 95] = OUT
    with pytest.raises(DataError, match="days must start and end at home, 1 of 2 do not"):
        join_days(people(PARENT_AT_HOME), away, 0, 0)


def test_plans_name_companions() -> None:
    result = joined(PARENT_AT_HOME)
    runs = [(0, 0, 30), (14, 30, 31), (0, 31, 55), (14, 55, 56), (0, 56, 96)]
    child = [(0, 0, 30), (2, 30, 56), (0, 56, 96)]
    rows = [(10 + p, k, *run) for p, day in enumerate((runs, child)) for k, run in enumerate(day)]
    plans = pa.table(
        {
            "person_id": [r[0] for r in rows],
            "start_slot": pa.array([r[3] for r in rows], pa.int8()),
        }
    )
    for name in schema.PLANS.names:
        if name not in plans.column_names:
            plans = plans.append_column(name, pa.array([-1] * len(rows)))
    plans = with_companions(plans.select(schema.PLANS.names), people(PARENT_AT_HOME), result)
    assert plans["with_person"].to_pylist() == [-1, 11, -1, 11, -1, -1, -1, -1]
    assert plans["escort"].to_pylist() == [-1, -1, -1, -1, -1, -1, 10, 10]
