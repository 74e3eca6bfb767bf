"""Places that people go back to: which visits, how often, and by whose draws."""

import numpy as np
import placing
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assignment.anchors import anchor_tables
from assignment.cost import Prior
from assignment.kernel import Travellers, place_activities
from assignment.place import run_setting
from assignment.returns import GAMMA, RHO, returns
from assignment.times import Plan
from raygen.config import AssignmentConfig
from raygen.taxonomy import HOME, SCHOOL, WORK

SHOP, SOCIAL = 4, 8
FEW = placing.grid_city(4, 4)


def plan_of(people: list[list[list[int]]]) -> Plan:
    """Return the plan of persons' days' stops, at home before and after, one each two hours."""
    start, rows = [0], []
    for days in people:
        for day, stops in enumerate(days):
            for sequence, kind in enumerate([HOME, *stops, HOME]):
                rows.append((day, sequence, kind, day * 86_400 + sequence * 7200))
        start.append(len(rows))
    day, sequence, kind, planned = np.array(rows).T.copy()
    return Plan(np.array(start), day, sequence, kind, planned)


def own_of(plan: Plan) -> np.ndarray:
    return ~np.isin(plan.type, [HOME, WORK, SCHOOL])


def keys_of(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 2**63, count, dtype=np.uint64)


@given(
    st.lists(
        st.lists(st.lists(st.integers(0, 14), max_size=5), min_size=1, max_size=7),
        min_size=1,
        max_size=4,
    ),
    st.floats(0, 1.5),
)
@settings(max_examples=60, deadline=None)
def test_a_return_is_to_a_first_visit_of_the_same_person_and_type(
    people: list[list[list[int]]], rho: float
) -> None:
    plan = plan_of(people)
    own = own_of(plan)
    again = returns(plan, own, keys_of(len(people)), rho, GAMMA)
    owner = np.repeat(np.arange(len(people)), np.diff(plan.person_start))
    back = np.flatnonzero(again >= 0)
    root = again[back]
    assert own[back].all()
    assert own[root].all()
    assert (root < back).all()
    assert (again[root] == -1).all()
    assert (owner[root] == owner[back]).all()
    assert (plan.type[root] == plan.type[back]).all()
    assert (plan.type[root - 1] == plan.type[back - 1]).all()
    assert np.isin(plan.type[back - 1], [HOME, WORK, SCHOOL]).all()


@given(st.permutations(range(5)))
@settings(max_examples=20, deadline=None)
def test_a_person_is_the_same_among_others(order: list[int]) -> None:
    rng = np.random.default_rng(3)
    people = [[rng.integers(3, 6, 4).tolist() for _ in range(7)] for _ in range(5)]
    keys = keys_of(5)
    alone = [returns(p, own_of(p), keys[[i]], RHO, GAMMA) for i, p in enumerate(map(one, people))]
    plan = plan_of([people[i] for i in order])
    again = returns(plan, own_of(plan), keys[order], RHO, GAMMA)
    for at, i in enumerate(order):
        mine = again[plan.person_start[at] : plan.person_start[at + 1]]
        shifted = np.where(mine >= 0, mine - plan.person_start[at], -1)
        np.testing.assert_array_equal(shifted, alone[i])


def one(days: list[list[int]]) -> Plan:
    return plan_of([days])


@pytest.mark.parametrize("anchors", [[], [WORK], [WORK, SCHOOL]])
def test_new_places_are_as_frequent_as_published(anchors: list[int]) -> None:
    n = 20_000
    plan = plan_of([[[SHOP, *anchors], [SHOP]]] * n)
    again = returns(plan, own_of(plan), keys_of(n), RHO, GAMMA)
    second = plan.person_start[1:] - 2
    share = (again[second] < 0).mean()
    known = 2 + len(anchors)  # home, work, school, the first shop
    wanted = 0.6 * known**-0.21
    assert abs(share - wanted) < 4.5 * np.sqrt(wanted * (1 - wanted) / n)


def test_known_places_are_chosen_in_proportion_to_their_visits() -> None:
    """Whoever has been to A, A and B goes to A two times of three."""
    n = 30_000
    plan = plan_of([[[SHOP], [SHOP], [SHOP], [SHOP]]] * n)
    again = returns(plan, own_of(plan), keys_of(n), RHO, GAMMA)
    rows = plan.person_start[:-1, None] + np.array([1, 4, 7, 10])
    first, second, third, fourth = again[rows].T
    chosen = (second == rows[:, 0]) & (third < 0) & (fourth >= 0)
    assert (first == -1).all()
    share = (fourth[chosen] == rows[chosen, 0]).mean()
    assert abs(share - 2 / 3) < 4.5 * np.sqrt(2 / 9 / chosen.sum())


def test_nobody_goes_back_without_a_known_place_of_the_type() -> None:
    plan = plan_of([[[SHOP, SOCIAL, WORK, SCHOOL], [WORK]]] * 50)
    assert (returns(plan, own_of(plan), keys_of(50), 0.0, GAMMA) == -1).all()
    plan = plan_of([[[SHOP], [SHOP]]] * 50)
    always = returns(plan, own_of(plan), keys_of(50), 0.0, GAMMA)
    assert (always[plan.person_start[1:] - 2] == plan.person_start[:-1] + 1).all()
    assert (returns(plan, np.zeros(len(plan.type), bool), keys_of(50), 0.0, GAMMA) == -1).all()


def test_a_place_near_home_is_not_gone_back_to_from_elsewhere() -> None:
    plan = plan_of([[[SHOP], [WORK, SHOP], [WORK, SHOP], [SOCIAL, SHOP]]])
    again = returns(plan, own_of(plan), keys_of(1), 0.0, GAMMA)
    assert again[[1, 5, 9, 13]].tolist() == [-1, -1, 5, -1]


def test_a_place_out_of_time_is_given_up() -> None:
    """The kernel keeps the zone gone back to, unless it cannot be reached."""
    plan = plan_of([[[SHOP], [SHOP]]])
    setting = run_setting(FEW, anchor_tables(FEW), AssignmentConfig())
    prior = Prior(np.full((6, 32), -1, np.int32), *np.zeros((2, 6, 32), np.float32))
    prior = prior._replace(log_floor=np.zeros(6, np.float32))
    movers = Travellers(keys_of(1), np.ones(1), np.zeros(1, int))
    for gap, kept in ((7200, True), (660, False)):
        plan.planned[4:] = plan.planned[3] + np.array([gap, 2 * gap])
        zone = np.array([0, -1, 0, 0, -1, 0], np.int32)
        again = np.array([-1, -1, -1, -1, 1, -1])
        zone[1] = 15  # the far corner
        place_activities(setting, plan, prior, movers, zone, again)
        assert (again[4] == 1) == kept
        assert (zone[4] == 15) == kept
