"""Invariants of the assignment for any shard, seed and weights (DESIGN section 4)."""

import numpy as np
import pandas as pd
import placing
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assignment.anchors import anchor_tables
from assignment.place import Placed, place
from raygen.config import AssignmentConfig
from raygen.taxonomy import DAY_S

CITY = placing.grid_city(7, 5, seed=8)
TABLES = anchor_tables(CITY)

weights = st.sampled_from([0.0, 0.4, 1.0])
configs = st.builds(
    AssignmentConfig,
    alpha=weights,
    beta=weights,
    gamma=weights,
    candidates=st.sampled_from([1, 5, 64]),
    min_stay_s=st.sampled_from([1, 300, 1800]),
)
cases = st.tuples(
    st.integers(1, 60), st.integers(0, 2**20), st.integers(1, 3), st.integers(0, 2**40)
)


def run(case: tuple[int, int, int, int], config: AssignmentConfig) -> tuple[placing.Shard, Placed]:
    persons, seed, days, first_id = case
    shard = placing.shard(CITY, persons, seed, days, first_id)
    return shard, place(*shard, CITY, TABLES, config, seed)


@given(cases, configs)
@settings(max_examples=40, deadline=None)
def test_days_are_whole_and_trips_fit(
    case: tuple[int, int, int, int], config: AssignmentConfig
) -> None:
    (households, _, plans, _), placed = run(case, config)
    a, t = placed.activities.to_pandas(), placed.trips.to_pandas()
    days = case[2]
    assert len(a) == plans.num_rows
    by_person = a.groupby("person_id", sort=False)
    assert (by_person["start_s"].first() == 0).all()
    assert (by_person["end_s"].last() >= days * DAY_S).all()
    assert (a["end_s"] - a["start_s"] >= min(config.min_stay_s, 1)).all()
    check_stays(a, config.min_stay_s, days)
    check_joints(a, t)
    ends = a.groupby(["person_id", "day"], sort=False)
    home = a["person_id"].map(home_zones(households, placed.persons))
    assert (a.loc[a["type"] == "home", "zone_id"] == home[a["type"] == "home"]).all()
    assert (ends["type"].first() == "home").all()
    assert (ends["type"].last() == "home").all()
    assert a["zone_id"].isin(CITY.zone_id).all()


def check_stays(a: pd.DataFrame, min_stay_s: int, days: int) -> None:
    """Check that a stay is the least one at least, but for a day's start held up by the night."""
    stay = a["end_s"] - a["start_s"]
    short = stay < min_stay_s
    assert not short.any()
    late = a["start_s"] > a["day"].astype(int) * DAY_S
    assert late[a["sequence"] > 0].all()
    assert a["day"].between(0, days - 1).all()


def check_joints(a: pd.DataFrame, t: pd.DataFrame) -> None:
    """Check that activities and trips of a person meet end to end, with no gap."""
    first = a["sequence"].to_numpy() == 0
    inner = ~first
    before = a.shift(1)
    np.testing.assert_array_equal(t["depart_s"], before.loc[inner, "end_s"])
    np.testing.assert_array_equal(t["arrive_s"], a.loc[inner, "start_s"])
    np.testing.assert_array_equal(t["origin_zone_id"], before.loc[inner, "zone_id"])
    np.testing.assert_array_equal(t["destination_zone_id"], a.loc[inner, "zone_id"])
    np.testing.assert_array_equal(t["purpose"].astype(str), a.loc[inner, "type"].astype(str))
    assert (t["arrive_s"] > t["depart_s"]).all()
    assert (t["distance_m"] > 0).all()
    night = first & (before["person_id"] == a["person_id"])
    np.testing.assert_array_equal(before.loc[night, "end_s"], a.loc[night, "start_s"])
    ids = (t["person_id"] * 7 + t["day"]) * 128 + t["sequence"]
    np.testing.assert_array_equal(t["trip_id"], ids)
    assert t["trip_id"].is_unique


def home_zones(households: pa.Table, persons: pa.Table) -> pd.Series:
    joined = persons.to_pandas().merge(households.to_pandas(), on="household_id")
    return joined.set_index("person_id")["home_zone_id"]


@given(cases, configs)
@settings(max_examples=20, deadline=None)
def test_modes_respect_age_vehicles_and_distance(
    case: tuple[int, int, int, int], config: AssignmentConfig
) -> None:
    (households, persons, _, _), placed = run(case, config)
    t = placed.trips.to_pandas().merge(persons.to_pandas()[["person_id", "household_id", "age"]])
    t = t.merge(households.to_pandas()[["household_id", "vehicles"]])
    driven = t[t["mode"] == "car_driver"]
    assert (driven["age"] >= 16).all()
    assert (driven["vehicles"] > 0).all()
    assert (t.loc[t["mode"] == "walk", "distance_m"] <= 5000).all()
    assert (t.loc[t["mode"] == "bike", "distance_m"] <= 15_000).all()


@given(cases, configs, st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_a_split_shard_gives_the_same_rows(
    case: tuple[int, int, int, int], config: AssignmentConfig, where: int
) -> None:
    shard, whole = run(case, config)
    if len(shard[0]) < 2:
        return
    cut = case[3] + 1 + where % (len(shard[0]) - 1)
    parts = [
        place(*part(shard, keep), CITY, TABLES, config, case[1])
        for keep in (lambda h: pc.less(h, cut), lambda h: pc.greater_equal(h, cut))
    ]
    for name in ("persons", "activities", "trips"):
        joined = pa.concat_tables([getattr(p, name) for p in parts])
        assert joined.combine_chunks().equals(getattr(whole, name).combine_chunks())
    for name, count in whole.counters.items():
        assert count == sum(p.counters[name] for p in parts)


def part(shard: placing.Shard, keep) -> placing.Shard:
    households, persons, plans, priors = shard
    people = persons.filter(keep(persons["household_id"]))
    rows = pc.is_in(plans["person_id"], people["person_id"].combine_chunks())
    chosen = households.filter(keep(households["household_id"]))
    return chosen, people, plans.filter(rows), priors.filter(rows)


@given(cases)
@settings(max_examples=10, deadline=None)
def test_equal_seeds_give_equal_tables_and_others_do_not(case: tuple[int, int, int, int]) -> None:
    shard, first = run(case, AssignmentConfig())
    again = place(*shard, CITY, TABLES, AssignmentConfig(), case[1])
    assert first.activities.equals(again.activities)
    assert first.trips.equals(again.trips)
    other = place(*shard, CITY, TABLES, AssignmentConfig(), case[1] + 1)
    away = pc.sum(pc.not_equal(first.activities["sequence"], 0)).as_py() or 0
    if away > 10:
        assert not first.activities.equals(other.activities)


@pytest.mark.parametrize("days", [1, 7])
def test_stay_at_home_days_have_no_trips(days: int) -> None:
    households, persons, _, _ = placing.shard(CITY, 20)
    rows = [(p, d, 0, 0, 0, 96) for p in persons["person_id"].to_pylist() for d in range(days)]
    plans = placing.plan_table(rows)
    priors = placing.prior_table(
        np.full((len(rows), 32), -1), np.zeros((len(rows), 32)), np.zeros(len(rows))
    )
    placed = place(households, persons, plans, priors, CITY, TABLES, AssignmentConfig(), 0)
    assert placed.trips.num_rows == 0
    activities = placed.activities.to_pandas()
    assert (activities["end_s"] - activities["start_s"] == DAY_S).all()
