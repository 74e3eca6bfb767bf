"""Shares of visits to places known: what counts as a return, in check-ins and generated days."""

import numpy as np
import pytest

from raygen.foursquare import CheckIns
from raygen.inference.infer import Stays
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S, POI_CATEGORIES
from training.inference_truth import Truth
from training.return_shares import of_check_ins, of_truth, returned, rows_of

DINING, MEALS = POI_CATEGORIES.index("dining"), ACTIVITY_TYPES.index("meals_out")


def check_ins(person: list[int], day: list[int], where: list[float]) -> CheckIns:
    point = np.stack([np.full(len(where), 40.7), np.array(where)], axis=1)
    second = (np.array(day) + 100) * DAY_S + np.arange(len(day))
    return CheckIns(np.array(person), second, point, np.full(len(day), DINING))


def test_only_the_first_visit_of_a_person_is_new() -> None:
    person, place = np.array([0, 0, 0, 1, 1]), np.array([5, 6, 5, 5, 5])
    assert returned(person, place).tolist() == [False, False, True, False, True]


def test_check_ins_are_counted_from_the_persons_first_day_and_once_a_stay() -> None:
    found = check_ins([0, 0, 0, 0, 0, 1], [0, 0, 1, 2, 9, 4], [1, 1, 2, 1, 1, 2])
    day, category, again = of_check_ins(found)
    assert day.tolist() == [0, 1, 2, 0]
    assert again.tolist() == [False, False, True, False]
    assert (category == DINING).all()


def truth() -> Truth:
    xy = np.array([[0.0, 0], [1, 0], [0, 0], [1, 0], [1, 0]])
    start = np.array([0, 10, DAY_S, 0, DAY_S]) + 100 * DAY_S
    stays = Stays(np.array([0, 3, 5]), xy, start, start + 5)
    return Truth(stays, np.full(5, MEALS, np.int8), np.zeros(5, int), np.array([3, 3, 3, 8, 8]))


def test_generated_stays_by_day() -> None:
    day, kind, again = of_truth(truth())
    assert day.tolist() == [0, 0, 1, 0, 1]
    assert (kind == MEALS).all()
    assert again.tolist() == [False, False, True, False, True]


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_rows_stand_beside_what_was_observed() -> None:
    rows = rows_of(truth(), check_ins([0, 0, 0], [0, 1, 2], [1, 2, 1]))
    assert rows[0].value == pytest.approx(2 / 5)
    assert rows[0].baseline == pytest.approx(1 / 3)
    days = [row.value for row in rows if "day 1" in row.case or "day 2" in row.case]
    assert days == [0.0, 1.0]
