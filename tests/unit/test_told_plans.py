import numpy as np
import pytest
import tinycity
import tinyplanner

from raygen.city import open_city
from raygen.mobility_synthesis import assumed_chains
from raygen.models.prompts import CHECK_IN, PERSON, PHONE
from training.mobility_data import synthesised_city
from training.mobility_plans import llm_plans, told_plans
from training.told_plans import CITY, told_semantic, traveller


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    place = open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))
    return synthesised_city(place, assumed_chains(200, 1), 8, 1)


@pytest.fixture(scope="module")
def planner(tmp_path_factory):
    root = tinyplanner.distil(tinyplanner.build(tmp_path_factory.mktemp("weights")))
    return tinyplanner.load(root, llm=False)


def test_a_plan_is_asked_from_the_entry_before(city, planner):
    days = city.train
    told = told_semantic(city.regions, days, planner)
    row = int(np.flatnonzero(days.length >= 3)[0])
    place = planner.places(city.regions.poi)
    for entry in (1, 2):
        slot = np.array([days.clock[row, entry - 1]], dtype=np.int64)
        where = place[days.region[row, entry - 1]][None]
        want = planner.answers(CITY, np.array([PERSON]), slot, where)[1][0]
        np.testing.assert_array_equal(told[row, entry], want)
    np.testing.assert_array_equal(told[row, 0], city.regions.poi[days.region[row, 0]])


def test_told_plans_end_with_the_day(city, planner):
    plans = told_plans(city, planner, 1)
    held = plans.days.region >= 0
    np.testing.assert_allclose(plans.semantic.sum(axis=2), held, atol=2e-3)
    assert (plans.temporal.sum(axis=2) > 0.99).tolist() == held.tolist()


def test_phones_and_check_ins_are_asked_as_such():
    assert [traveller(name) for name in ("beijing", "new_york", "Tiny")] == [
        PHONE, CHECK_IN, PERSON,
    ]  # fmt: skip


def test_days_by_the_language_model_repeat_and_follow_the_seed(city, planner):
    start = city.validation.region[:, 0]
    one, again, other = (llm_plans(city, start, planner, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.days.slot, again.days.slot)
    assert (one.days.slot != other.days.slot).any()
    assert (np.diff(one.days.slot[:, :2], axis=1)[one.days.slot[:, 1] >= 0] > 0).all()
