"""Placed days of random households keep the rules on the clock, however late everybody is."""

from itertools import pairwise

import householdrules
import numpy as np
import placing
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assignment.anchors import AnchorTables, anchor_tables
from assignment.place import Placed, place
from raygen import schema
from raygen.city import City
from raygen.config import AssignmentConfig
from raygen.household_rules import CARS, COMPANY
from raygen.invariants import CHECKS
from raygen.shards import Shard, columns
from raygen.stages.households import join_days, with_companions
from raygen.taxonomy import EMPLOYMENT, STUDENT, WORK

World = tuple[City, AnchorTables]
DAYS = 2


@pytest.fixture(scope="module")
def world() -> World:
    city = placing.grid_city(6, 4, side_m=4000.0)
    return city, anchor_tables(city)


def joined_plans(persons: pa.Table, seed: int) -> pa.Table:
    """Return plans of two random days, joined."""
    rng = np.random.default_rng(seed)
    age = persons["age"].to_numpy()
    employed = persons["employment"].combine_chunks().indices.to_numpy() == EMPLOYMENT.index(
        "employed"
    )
    pupil = persons["student"].combine_chunks().indices.to_numpy() == STUDENT.index("school")
    parts = []
    for day in range(DAYS):
        chains = householdrules.random_days(age, rng)
        chains[~employed] = np.where(chains[~employed] == WORK, 8, chains[~employed])
        chains[~pupil] = np.where(chains[~pupil] == 2, 3, chains[~pupil])
        joined = join_days(persons, chains, day, seed)
        rows = []
        for person, chain in zip(persons["person_id"].to_pylist(), joined.chains, strict=True):
            starts = [0, *(np.flatnonzero(np.diff(chain)) + 1).tolist(), 96]
            for k, (a, b) in enumerate(pairwise(starts)):
                rows.append((person, day, k, int(chain[a]), a, b))
        parts.append(with_companions(placing.plan_table(rows), persons, joined))
    keys = [(name, "ascending") for name in ("person_id", "day", "sequence")]
    return pa.concat_tables(parts).sort_by(keys).combine_chunks()


def placed(world: World, shard: placing.Shard, seed: int) -> Placed:
    city, tables = world
    return place(*shard, city, tables, AssignmentConfig(), seed)


def random_shard(world: World, persons: int, seed: int) -> placing.Shard:
    households, people, _, _ = placing.shard(world[0], persons, seed)
    plans = joined_plans(people, seed)
    priors = placing._priors(len(plans), len(world[0].zone_id), np.random.default_rng(seed))
    return households, people, plans, priors


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_rules_hold_on_the_clock(world: World, seed: int) -> None:
    shard = random_shard(world, 250, seed)
    found = placed(world, shard, seed)
    tables = [columns(t) for t in (shard[0], found.persons, found.activities, found.trips)]
    zones = np.sort(world[0].zone_id.astype(np.int64))
    tables.append(columns(schema.TRAJECTORIES.empty_table()))
    checked = Shard(*tables, days=DAYS, zone_ids=zones, first={})
    for rule in (*CHECKS, *COMPANY, *CARS):
        if "demographic" not in rule.name and "contiguous" not in rule.name:
            assert not rule.broken(checked).any(), rule.name


def test_a_household_is_placed_the_same_in_any_shard(world: World) -> None:
    households, people, plans, priors = random_shard(world, 200, 3)
    whole = placed(world, (households, people, plans, priors), 9)
    kept = households["household_id"].to_numpy() >= 30
    persons = people["household_id"].to_numpy() >= 30
    ids = people["person_id"].to_numpy()[persons]
    rows = np.isin(plans["person_id"].to_numpy(), ids)
    part = placed(
        world,
        tuple(
            t.filter(pa.array(m))
            for t, m in ((households, kept), (people, persons), (plans, rows), (priors, rows))
        ),
        9,
    )
    for name in ("activities", "trips"):
        table = getattr(whole, name)
        mine = table.filter(pa.array(np.isin(table["person_id"].to_numpy(), ids)))
        assert mine.combine_chunks().equals(getattr(part, name).combine_chunks())
    assert schema.TRIPS.equals(part.trips.schema)
