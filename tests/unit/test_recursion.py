import numpy as np
import pytest
import tinyplanner

from raygen import seeds
from raygen.models import plan_table
from raygen.stages.recursion import plan_recursive

CITY = "Tiny City"


@pytest.fixture(scope="module")
def planner(tmp_path_factory):
    return tinyplanner.load(tinyplanner.build(tmp_path_factory.mktemp("weights"), CITY))


def starts(count, slot=0):
    place = tinyplanner.codebook().codes[np.arange(count) % tinyplanner.CODES]
    return np.arange(count) % 6, np.full(count, slot), place.astype(np.float32)


def steady(root, ahead):
    """A planner whose next arrival is always ``ahead`` slots from now, at code 0."""
    planner = tinyplanner.load(tinyplanner.build(root))
    table = planner.table(CITY)
    slots = np.eye(48, dtype=np.float16)[(np.arange(48) + ahead) % 48]
    place = np.tile(planner.codebook.codes[0].astype(np.float16), (48, 1))
    codes = range(tinyplanner.CODES)
    table.put([(role, code, slots, place) for role in range(6) for code in codes])
    return planner


def test_arrivals_every_three_hours_until_the_horizon(tmp_path):
    plan = plan_recursive(steady(tmp_path, 6), CITY, starts(2, slot=10), horizon=48)
    assert plan.slots[0].tolist() == [16, 22, 28, 34, 40, 46, 52, 58]  # 10 + 48 is still planned
    assert plan.length.tolist() == [8, 8]
    assert plan.temporal[0].argmax(axis=1).tolist() == [16, 22, 28, 34, 40, 46, 4, 10]


def test_the_destination_is_the_next_place(tmp_path):
    planner = steady(tmp_path, 6)
    plan = plan_recursive(planner, CITY, starts(5))
    np.testing.assert_allclose(plan.semantic[3, 1], planner.codebook.codes[0], atol=1e-3)


def test_a_horizon_before_the_first_arrival_plans_nothing(tmp_path):
    plan = plan_recursive(steady(tmp_path, 6), CITY, starts(3), horizon=5)
    assert plan.slots.shape == (3, 0)
    assert plan.length.tolist() == [0, 0, 0]


def test_standing_still_is_not_an_arrival_and_ends_the_day(tmp_path):
    plan = plan_recursive(steady(tmp_path, 0), CITY, starts(1), horizon=47)
    assert plan.length.tolist() == [0]


@pytest.mark.parametrize("sampled", [False, True])
def test_time_goes_on_and_ends(planner, sampled):
    uniforms = seeds.uniforms(0, "recursion-test", np.arange(30), 49) if sampled else None
    plan = plan_recursive(planner, CITY, starts(30), uniforms=uniforms)
    for row, length in zip(plan.slots, plan.length, strict=True):
        assert (row[length:] == -1).all()
        assert (np.diff(row[:length]) > 0).all()
        assert (row[:length] <= 48).all()


def test_draws_are_a_persons_own(planner):
    uniforms = seeds.uniforms(0, "recursion-test", np.arange(30), 49)
    whole = plan_recursive(planner, CITY, starts(30), uniforms=uniforms)
    some = tuple(part[7:9] for part in starts(30))
    part = plan_recursive(planner, CITY, some, uniforms=uniforms[7:9])
    assert part.slots.tolist() == whole.slots[7:9, : part.slots.shape[1]].tolist()


def test_drawn_slots_follow_the_planner(planner):
    """First arrivals of 4,000 equal starts against the table's distribution, within 4 σ."""
    role, slot, place = (np.repeat(part[:1], 4000, axis=0) for part in starts(1))
    uniforms = seeds.uniforms(0, "recursion-test", np.arange(4000), 49)
    plan = plan_recursive(planner, CITY, (role, slot, place), uniforms=uniforms)
    want = plan.temporal[0, 0]
    got = np.bincount(plan.slots[plan.slots[:, 0] < 48, 0], minlength=48) / 4000
    assert (np.abs(got - want)[1:] < 4 * np.sqrt(want * (1 - want) / 4000)[1:] + 1e-9).all()


def test_the_table_holds_float16(planner):
    assert planner.table(CITY).slots.dtype == np.float16
    assert plan_table.file_name("ab" * 32) == "plans-" + "ab" * 12 + ".safetensors"
