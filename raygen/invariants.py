"""The invariants of a population, on one shard: which rows break them.

Each check is a function from the shard to the rows of one table that break a rule; ``CHECKS`` lists
them with the rule in words. Definitions: DESIGN section 4, "A population on disk".
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.shards import (
    BoolArray,
    Columns,
    Shard,
    before,
    last,
    rows,
    whole,
)
from raygen.taxonomy import AGE_BANDS, DAY_S, HOME, MODES, SEXES

DRIVING_AGE = 16
"""Youngest age of a car driver, in years."""

_YOUNG, _ELDERLY = 25, 65  # first ages of DataFusion's middle and last band
_OLDEST = 120
_LON, _LAT = 180, 90  # degrees


@dataclass(frozen=True)
class Rule:
    """A rule in words, the table it is about, and the rows that break it."""

    name: str
    table: str
    broken: Callable[[Shard], BoolArray]
    show: tuple[str, ...]
    """Columns of the table that show a broken row."""


def _not_rising(table: Columns, name: str, first: dict[str, int]) -> BoolArray:
    """Return the rows whose id is not above the one before."""
    ids = whole(table[name])
    rises = np.ones(len(ids), dtype=np.bool_)
    rises[1:] = ids[1:] > ids[:-1]
    rises[:1] = ids[:1] >= first.get(name, 0)
    return ~rises


def _not_next(table: Columns, name: str, first: dict[str, int]) -> BoolArray:
    """Return the rows whose id is not one above the one before."""
    ids = whole(table[name])
    start = first.get(name, int(ids[0]) if len(ids) else 0)
    return ids != start + np.arange(len(ids))


def _unknown_zone(shard: Shard, zones: npt.NDArray[np.generic], none: bool = False) -> BoolArray:
    known = np.isin(zones, shard.zone_ids)
    return ~(known | (zones == -1)) if none else ~known


def _not_on_earth(lon: npt.NDArray[np.generic], lat: npt.NDArray[np.generic]) -> BoolArray:
    x, y = lon.astype(np.float64), lat.astype(np.float64)
    return ~((np.abs(x) <= _LON) & (np.abs(y) <= _LAT))  # NaN is not on earth either


def _members(s: Shard) -> BoolArray:
    counted = np.bincount(
        s.household_row[s.household_row >= 0], minlength=len(s.households["size"])
    )
    return (whole(s.households["size"]) != counted) | (counted == 0)


def _household_values(s: Shard) -> BoolArray:
    income = s.households["income"].astype(np.float64)
    negative = whole(s.households["vehicles"]) < 0
    return ~np.isfinite(income) | (income < 0) | negative


def _group(s: Shard) -> BoolArray:
    age, sex = whole(s.persons["age"]), whole(s.persons["sex"])
    band = (age >= _YOUNG).astype(np.int64) + (age >= _ELDERLY)
    idle = (whole(s.persons["employment"]) != 0).astype(np.int64)
    expected = idle * len(AGE_BANDS) * len(SEXES) + band * len(SEXES) + sex
    return whole(s.persons["demographic_group"]) != expected


def _age(s: Shard) -> BoolArray:
    age = whole(s.persons["age"])
    return (age < 0) | (age > _OLDEST)


def _every_day(s: Shard) -> BoolArray:
    """Return the persons who do not have every day of the run exactly once."""
    starts = ~s.same_day & (s.activity_person >= 0)
    day = whole(s.activities["day"])
    starts &= (day >= 0) & (day < s.days)
    counted = np.bincount(s.activity_person[starts], minlength=len(s.persons["person_id"]))
    return counted != s.days


def _sequence(s: Shard) -> BoolArray:
    sequence = whole(s.activities["sequence"])
    return sequence != np.where(s.same_day, before(sequence) + 1, 0)


def _coverage(s: Shard) -> BoolArray:
    """Return activities that leave a person's days uncovered at their beginning or end."""
    starts_late = ~s.same_person & (whole(s.activities["start_s"]) != 0)
    ends_early = last(s.same_person) & (whole(s.activities["end_s"]) < s.days * DAY_S)
    return starts_late | ends_early


def _overlap(s: Shard) -> BoolArray:
    return s.same_person & (whole(s.activities["start_s"]) < before(s.activities["end_s"]))


def _gap(s: Shard) -> BoolArray:
    late = whole(s.activities["start_s"]) > before(s.activities["end_s"])
    return s.same_person & late & ~s.arrived


def _jump(s: Shard) -> BoolArray:
    moved = whole(s.activities["zone_id"]) != before(s.activities["zone_id"])
    return s.same_person & moved & ~s.arrived


def _stay(s: Shard) -> BoolArray:
    return whole(s.activities["end_s"]) <= whole(s.activities["start_s"])


def _home(s: Shard) -> BoolArray:
    at_home = whole(s.activities["type"]) == HOME
    return at_home & (whole(s.activities["zone_id"]) != s.home_zone)


def _day_ends(s: Shard) -> BoolArray:
    """Return the last activities away from home of days that start at home."""
    begins = ~s.same_day
    home = whole(s.activities["type"]) == HOME
    day = np.cumsum(begins) - 1
    starts_home = home[begins][day] if len(day) else home
    return last(s.same_day) & starts_home & ~home


def _trip_target(s: Shard) -> BoolArray:
    return (s.trip_activity < 0) | (whole(s.trips["sequence"]) < 1)


def _trip_ends(s: Shard) -> BoolArray:
    """Return the trips that do not join the zones, times and purpose of their activities."""
    to = np.maximum(s.trip_activity, 0)
    origin = np.maximum(to - 1, 0)
    wrong = np.zeros(len(to), dtype=np.bool_)
    if len(s.activities["zone_id"]) == 0:
        return wrong
    for trip, activity, row in (
        ("origin_zone_id", "zone_id", origin),
        ("destination_zone_id", "zone_id", to),
        ("depart_s", "end_s", origin),
        ("arrive_s", "start_s", to),
        ("purpose", "type", to),
    ):
        wrong |= whole(s.trips[trip]) != whole(s.activities[activity])[row]
    return wrong & (s.trip_activity >= 0)


def _trip_time(s: Shard) -> BoolArray:
    distance = s.trips["distance_m"].astype(np.float64)
    instant = whole(s.trips["arrive_s"]) <= whole(s.trips["depart_s"])
    return instant | ~np.isfinite(distance) | (distance < 0)


def _drivers(s: Shard) -> BoolArray:
    person = rows(s.persons["person_id"], s.trips["person_id"])
    drives = whole(s.trips["mode"]) == MODES.index("car_driver")
    return drives & (person >= 0) & (whole(s.persons["age"])[person] < DRIVING_AGE)


_WHO = ("person_id", "day", "sequence")
_WHEN = (*_WHO, "start_s", "end_s")
_TRIP = ("trip_id", *_WHO, "origin_zone_id", "destination_zone_id", "depart_s", "arrive_s")

CHECKS = (
    Rule(
        "household ids are contiguous over the run",
        "households",
        lambda s: _not_next(s.households, "household_id", s.first),
        ("household_id",),
    ),
    Rule(
        "a household's size is the number of its persons",
        "households",
        _members,
        ("household_id", "size"),
    ),
    Rule(
        "home zones are zones of the city",
        "households",
        lambda s: _unknown_zone(s, s.households["home_zone_id"]),
        ("household_id", "home_zone_id"),
    ),
    Rule(
        "homes have coordinates",
        "households",
        lambda s: _not_on_earth(s.households["home_lon"], s.households["home_lat"]),
        ("household_id", "home_lon", "home_lat"),
    ),
    Rule(
        "incomes and vehicles are 0 or more",
        "households",
        _household_values,
        ("household_id", "income", "vehicles"),
    ),
    Rule(
        "person ids are contiguous over the run",
        "persons",
        lambda s: _not_next(s.persons, "person_id", s.first),
        ("person_id",),
    ),
    Rule(
        "every person's household exists",
        "persons",
        lambda s: s.household_row < 0,
        ("person_id", "household_id"),
    ),
    Rule(f"ages are 0 to {_OLDEST}", "persons", _age, ("person_id", "age")),
    Rule(
        "demographic groups follow from age, sex and employment",
        "persons",
        _group,
        ("person_id", "age", "sex", "employment", "demographic_group"),
    ),
    Rule(
        "work and school zones are zones of the city, or -1",
        "persons",
        lambda s: (
            _unknown_zone(s, s.persons["work_zone_id"], none=True)
            | _unknown_zone(s, s.persons["school_zone_id"], none=True)
        ),
        ("person_id", "work_zone_id", "school_zone_id"),
    ),
    Rule("every person has every day, once", "persons", _every_day, ("person_id",)),
    Rule(
        "every activity's person exists",
        "activities",
        lambda s: s.activity_person < 0,
        _WHO,
    ),
    Rule("activities count 0, 1, 2 … within a person's day", "activities", _sequence, _WHO),
    Rule("every person's days are covered from 0 s to their end", "activities", _coverage, _WHEN),
    Rule("activities end after they start", "activities", _stay, _WHEN),
    Rule("activities do not overlap", "activities", _overlap, _WHEN),
    Rule("time between activities is travelled", "activities", _gap, _WHEN),
    Rule(
        "activities in different zones are joined by a trip",
        "activities",
        _jump,
        (*_WHO, "zone_id"),
    ),
    Rule(
        "activities are in zones of the city",
        "activities",
        lambda s: _unknown_zone(s, s.activities["zone_id"]),
        (*_WHO, "zone_id"),
    ),
    Rule(
        "activities have a region and coordinates",
        "activities",
        lambda s: (
            (s.activities["region_id"].astype(np.uint64) == 0)
            | _not_on_earth(s.activities["lon"], s.activities["lat"])
        ),
        (*_WHO, "region_id", "lon", "lat"),
    ),
    Rule("home activities are in the home zone", "activities", _home, (*_WHO, "zone_id")),
    Rule("a day that starts at home ends at home", "activities", _day_ends, (*_WHO, "type")),
    Rule(
        "trip ids rise over the run",
        "trips",
        lambda s: _not_rising(s.trips, "trip_id", s.first),
        ("trip_id",),
    ),
    Rule(
        "every trip leads to an activity after the first", "trips", _trip_target, ("trip_id", *_WHO)
    ),
    Rule("trips meet the activities at both ends", "trips", _trip_ends, _TRIP),
    Rule("trips take time and have a length", "trips", _trip_time, (*_TRIP, "distance_m")),
    Rule(
        f"car drivers are {DRIVING_AGE} or older",
        "trips",
        _drivers,
        ("trip_id", "person_id", "mode"),
    ),
)
"""Every rule on the rows of a shard, in the order of the report."""
