"""Companions named by plans, as rows."""

import numpy as np
import placing
import pytest

from assignment.company import (
    homes_of,
    pupils_key_row,
    read_company,
    same_arrivals,
)
from assignment.itinerary import People
from assignment.times import Plan
from raygen.errors import DataError

AGES, HOUSEHOLD = np.array([40, 7, 9, 30]), np.array([0, 0, 0, 1])


def people() -> People:
    n = len(AGES)
    zero = np.zeros(n)
    return People(
        person_id=10 + np.arange(n), age=AGES, employment=np.zeros(n, int),
        student=np.array([0, 1, 1, 0]), home_zone=np.zeros(n, np.int32), home_lon=zero,
        home_lat=zero, vehicles=np.array([1, 1, 1, 0]), household=HOUSEHOLD,
        keys=np.zeros(n, np.uint64), group=np.zeros(n, int),
    )  # fmt: skip


def company(*changes: tuple[int, int, int]):
    """Read the plans of an escorted child; ``changes`` are (row, column, value)."""
    rows = [
        [10, 0, 0, 0, 0, 30, -1, -1], [10, 0, 1, 14, 30, 31, 11, -1], [10, 0, 2, 0, 31, 96, -1, -1],
        [11, 0, 0, 0, 0, 30, -1, -1], [11, 0, 1, 2, 30, 50, -1, 10], [11, 0, 2, 0, 50, 96, -1, -1],
        [12, 0, 0, 0, 0, 96, -1, -1], [13, 0, 0, 0, 0, 96, -1, -1],
    ]  # fmt: skip
    for row, column, value in changes:
        rows[row][column] = value
    plans = placing.plan_table([tuple(row) for row in rows])
    owner = np.array([0, 0, 0, 1, 1, 1, 2, 3])
    sequence, slot = (plans[name].to_numpy().astype(int) for name in ("sequence", "start_slot"))
    planned = slot * 900 + np.arange(8)
    plan = Plan(np.array([0, 3, 6, 7, 8]), np.zeros(8, int), sequence, sequence, planned)
    return plan, read_company(plans, people(), plan, owner)


def test_companions_are_found_and_arrive_in_one_second() -> None:
    plan, found = company()
    assert found.source.tolist() == [-1, 4, -1, -1, -1, -1, -1, -1]
    assert found.escort.tolist() == [-1, -1, -1, -1, 1, -1, -1, -1]
    assert same_arrivals(plan, found).planned[4] == plan.planned[1] != plan.planned[4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((1, 6, 13), "plans.with_person: a companion must be of the household, 1 rows break it"),
        ((1, 6, 99), "plans.with_person: 1 of 1 rows are unknown ids"),
        ((4, 6, 10), "plans.with_person: its place must be its own, 2 rows break it"),
        (
            (4, 7, 12),
            "plans.escort: must arrive in the same slot, 1 rows break it, the first is row 4",
        ),
        (
            (5, 7, 10),
            "plans.escort: must arrive in the same slot, 1 rows break it, the first is row 5",
        ),
    ],
)
def test_bad_companions_are_named(change: tuple[int, int, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        company(change)


def test_households_are_rows_with_their_cars() -> None:
    homes = homes_of(people(), shared_cars=True)
    assert homes.start.tolist() == [0, 3, 4]
    assert homes.member.tolist() == [0, 1, 2, 3]
    assert homes.cars.tolist() == [1, 0]
    assert homes.child.tolist() == [False, True, True, False]
    assert homes_of(people(), shared_cars=False).cars.tolist() == [3, 0]


def test_young_siblings_go_to_one_school() -> None:
    assert pupils_key_row(people(), 1).tolist() == [0, 1, 1, 3]
