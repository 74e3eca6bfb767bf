"""Home, work and school: each rule with what it lets through and what it does not."""

import numpy as np
import pytest
from inferring import CHURCH_XY, HOME_XY, SCHOOL_XY, WORK_XY, code, index, stays, week

from raygen.inference.infer import BASES, infer
from raygen.inference.settings import InferenceConfig
from raygen.inference.temporal import load_temporal

POIS = index(
    (*HOME_XY, "home"), (*WORK_XY, "work"), (*SCHOOL_XY, "school"), (*CHURCH_XY, "worship")
)


def bases(*persons, pois=POIS, **config):
    """Return by which rule each stay has its type."""
    found = infer(stays(*persons), pois, load_temporal(), InferenceConfig(**config))
    return [BASES[basis] for basis in found.basis]


def test_a_workers_week():
    assert bases(week((WORK_XY, 8, 17))) == ["home", "work", "home"] * 5


def test_a_pupils_week():
    assert bases(week((SCHOOL_XY, 8, 15))) == ["home", "school", "home"] * 5


def test_home_is_where_most_nights_are():
    nights = [(WORK_XY, 0, 0, 7), (HOME_XY, 1, 0, 7), (HOME_XY, 2, 0, 7)]
    assert bases(nights)[1:] == ["home", "home"]
    assert bases(nights)[0] != "home"


def test_without_nights_there_is_no_home():
    assert "home" not in bases([(HOME_XY, 0, 9, 21), (WORK_XY, 1, 9, 21)])
    assert bases([(HOME_XY, 0, 20, 24)])[0] == "home"  # two hours after 22 h
    assert "home" not in bases([(HOME_XY, 0, 20, 23.9)])


def test_hours_before_and_after_midnight_are_night():
    assert bases([(HOME_XY, 0, 21.5, 24), (WORK_XY, 1, 5.4, 6)]) == ["home", "bayes"]
    assert bases([(HOME_XY, 0, 12, 13), (WORK_XY, 1, 4, 6.5)])[1] == "home"


def test_work_must_recur_or_be_long():
    once = [(HOME_XY, 0, 0, 8), (WORK_XY, 0, 9, 12.5), (HOME_XY, 0, 13, 24)]
    assert bases(once)[1] == "bayes"  # three and a half hours, once
    long = [(HOME_XY, 0, 0, 8), (WORK_XY, 0, 8.5, 13), (HOME_XY, 0, 13.5, 24)]
    assert bases(long)[1] == "work"
    assert bases(long, work_once_h=5.0)[1] == "bayes"
    assert bases(week((WORK_XY, 8, 11.5), range(2)))[1] == "work"  # the same, on two days


def test_a_place_that_recurs_too_seldom_is_as_if_seen_once():
    days = week((WORK_XY, 8, 11.5), range(2)) + week((CHURCH_XY, 9, 10), range(2, 4))
    assert bases(days, recurrence_share=0.5)[1] == "work"
    assert bases(days, recurrence_share=0.6)[1] == "bayes"


def test_weekends_are_no_working_days():
    days = week((WORK_XY, 8, 17), (5, 6))
    assert bases(days)[1] == "bayes"


def test_a_school_needs_an_education_poi():
    away = (900.0, 900.0)
    assert "school" not in bases(week((away, 8, 15)))


def test_a_schools_day_ends():
    assert bases(week((SCHOOL_XY, 7, 18.5)))[1] != "school"
    assert bases(week((SCHOOL_XY, 7, 18.5)), school_longest_h=12.0)[1] == "school"


@pytest.mark.parametrize(("where", "limit"), [(WORK_XY, "work_km"), (SCHOOL_XY, "school_km")])
def test_anchors_are_within_reach_of_home(where, limit):
    days = week((where, 8, 15))
    word = limit.removesuffix("_km")
    assert bases(days, **{limit: 5.1})[1] == word
    assert bases(days, **{limit: 2.9})[1] != word


def test_who_sleeps_there_does_not_work_there():
    nights = [(HOME_XY, d, h, h + 7) for d in range(3) for h in (0,)]
    both = [(WORK_XY, d, 1, 17) for d in range(3, 5)]
    assert bases(nights + both)[3] == "bayes"
    assert bases(nights + both, work_night_share=0.5)[3] == "work"


def test_long_stays_near_an_anchor_are_at_its_site():
    near = (WORK_XY[0] + 250.0, 0.0)
    days = week((WORK_XY, 8, 17), range(4))
    one = [(HOME_XY, 4, 0, 7), (near, 4, 8, 12), (near, 4, 12.2, 12.7), (HOME_XY, 4, 13, 24)]
    assert bases(days + one)[-3:-1] == ["work", "bayes"]
    assert bases(days + one, site_m=200.0)[-3:-1] == ["bayes", "bayes"]


def test_the_rules_type_is_the_likeliest_and_the_rest_goes_by_bayes():
    found = infer(stays(week((WORK_XY, 8, 17))), POIS, load_temporal(), InferenceConfig())
    assert found.probability.sum(1) == pytest.approx(np.ones(15))
    assert (found.probability[1::3, code("work")] >= 0.95).all()
    assert found.top()[0, 0] == code("home")
    assert found.place.tolist() == [0, 1, 0] * 5
