from functools import cache
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from raygen.population import seed, seed_tables
from raygen.population.fit import fit_controls
from raygen.population.sample import sample_index
from raygen.stages.populate import populate

CITY = SimpleNamespace(
    sample_points=lambda zone, uniform: uniform[:, :2] + zone[:, None],
    to_lonlat=lambda xy: (xy[:, 0].copy(), xy[:, 1].copy()),
)


@cache
def sample():
    return seed.draw(seed_tables.load(), 1, 800)


@st.composite
def control_tables(draw):
    zones = draw(st.integers(1, 4))
    homes = np.array(draw(st.lists(st.integers(0, 60), min_size=zones, max_size=zones)))
    homes[draw(st.integers(0, zones - 1))] += 1

    def share(low, high):
        return np.array(draw(st.lists(st.floats(low, high), min_size=zones, max_size=zones)))

    people = np.round(homes * share(1, 8))
    return pa.table(
        {
            "zone_id": np.arange(zones, dtype=np.int32) * 3,
            "households": homes,
            "population": people,
            "age_under_18": people * share(0, 0.5),
            "age_18_24": people * share(0, 0.3),
            "age_65_plus": people * share(0, 0.9),
            "labour_force": people * share(0, 1),
            "income_under_25k": homes * share(0, 1),
            "income_over_200k": homes * share(0, 1),
            "income_below_median": homes * 0.5,
            "no_vehicles": homes * share(0, 1),
            "median_income": share(5e3, 3e5),
        }
    )


def fitted(table, seed_=0):
    return fit_controls(table, table["zone_id"].to_numpy(), sample(), seed_)


def run(fit, index, seed_=0):
    shards = [populate(fit, index, s, CITY, seed_) for s in range(index.shards)]
    return [pa.concat_tables([shard[k] for shard in shards]).combine_chunks() for k in (0, 1)]


@settings(max_examples=25, deadline=None)
@given(control_tables(), st.integers(0, 99))
def test_households_are_exact_and_totals_match_whatever_the_controls(table, seed_):
    fit = fitted(table, seed_)
    assert np.diff(fit.zone_start).tolist() == table["households"].to_pylist()
    households, persons = run(fit, sample_index(fit, 0, seed_, 50), seed_)
    homes = table["households"].to_numpy()
    expected = np.repeat(table["zone_id"].to_numpy(), homes)
    assert np.array_equal(households["home_zone_id"].to_numpy(), expected)
    reported = {
        row["zone_id"]: row["fitted"]
        for row in fit.report.to_pylist()
        if row["control"] == "population"
    }
    assert persons.num_rows == sum(reported.values()) == fit.persons


@settings(max_examples=25, deadline=None)
@given(control_tables(), st.integers(0, 300), st.integers(1, 80), st.integers(1, 80))
def test_the_cut_into_shards_changes_no_byte(table, agents, one, other):
    fit = fitted(table)
    first, second = sample_index(fit, agents, 0, one), sample_index(fit, agents, 0, other)
    for a, b in zip(run(fit, first), run(fit, second), strict=True):
        assert a.equals(b)


@settings(max_examples=25, deadline=None)
@given(control_tables(), st.integers(0, 300), st.integers(1, 80))
def test_ids_count_from_zero_and_households_are_whole(table, agents, shard_persons):
    fit = fitted(table)
    index = sample_index(fit, agents, 0, shard_persons)
    households, persons = run(fit, index)
    assert np.array_equal(households["household_id"].to_numpy(), np.arange(index.households))
    assert np.array_equal(persons["person_id"].to_numpy(), np.arange(index.persons))
    members = np.bincount(persons["household_id"].to_numpy(), minlength=index.households)
    assert np.array_equal(members, households["size"].to_numpy())
    assert (np.diff(index.household_start) > 0).all()
    # a shard passes the multiple by less than its last household
    over = index.person_start[1:-1] % shard_persons
    assert (over < 10).all() or shard_persons < 10


@settings(max_examples=50, deadline=None)
@given(control_tables(), st.integers(1, 400), st.integers(0, 99))
def test_a_sample_is_of_the_size_asked_for_and_repeats_no_household(table, agents, seed_):
    fit = fitted(table)
    index = sample_index(fit, agents, seed_, 100)
    if agents >= fit.persons:
        assert index.households == fit.households
    else:
        assert agents <= index.persons < agents + fit.seeds.size.max()
    assert (np.diff(index.position) > 0).all()
    again = sample_index(fit, agents, seed_, 7)
    assert index.position.tobytes() == again.position.tobytes()


@settings(max_examples=10, deadline=None)
@given(control_tables(), st.integers(0, 2**40))
def test_the_same_seed_gives_the_same_bytes(table, seed_):
    one, other = fitted(table, seed_), fitted(table, seed_)
    assert one.row.tobytes() == other.row.tobytes()
    assert one.report.equals(other.report)
