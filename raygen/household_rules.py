"""The invariants of households that hold together, on one shard: which rows break them.

Children are under 12. A carer is a member of 18 or over; in a household without one the oldest
member, if 16 or over; a guard is a member of 16 or over. Households without carers (or guards) have
no rule to break. They hold where the run's configuration says so: ``chains.households`` and
``assignment.cars``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from raygen.invariants import Rule
from raygen.shards import BoolArray, Int64Array, Shard, rows, whole
from raygen.taxonomy import ACTIVITY_TYPES, HOME, MODES

_CHILD, _GUARD, _CARER = 12, 16, 18  # years
_DRIVER, _PASSENGER = MODES.index("car_driver"), MODES.index("car_passenger")
_PICKUP = ACTIVITY_TYPES.index("pickup_drop")
_SPAN = 2**24  # seconds, beyond the longest run


def _oldest(s: Shard) -> Int64Array:
    """Return the greatest age in each person's household, -1 without one."""
    known = s.household_row >= 0
    oldest = np.full(len(s.households["size"]) + 1, -1, dtype=np.int64)
    np.maximum.at(oldest, s.household_row[known], whole(s.persons["age"])[known])
    return oldest[s.household_row]


def _carers(s: Shard) -> BoolArray:
    """Return who escorts children, shape (N,)."""
    age, oldest = whole(s.persons["age"]), _oldest(s)
    return (age >= _CARER) | ((oldest < _CARER) & (age >= _GUARD) & (age == oldest))


def _trip_person(s: Shard) -> Int64Array:
    return rows(s.persons["person_id"], s.trips["person_id"])


def _trip_origin(s: Shard) -> Int64Array:
    """Return the activity that each trip leaves."""
    return np.maximum(s.trip_activity - 1, 0)


def _ways(s: Shard, person: Int64Array) -> Int64Array:
    """Return a number for each trip, equal where household, times, points and mode are.

    Whoever rides with a driver travels by the driver's car.
    """
    mode = whole(s.trips["mode"])
    columns = [
        s.household_row[person],
        whole(s.trips["depart_s"]),
        whole(s.trips["arrive_s"]),
        np.where(mode == _DRIVER, _PASSENGER, mode),
    ]
    for at in (_trip_origin(s), s.trip_activity):
        columns += [s.activities[name].astype(np.float64)[at].view(np.int64) for name in _POINT]
    _, number = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    return number.reshape(-1)


def _escorted(s: Shard) -> tuple[BoolArray, Int64Array, BoolArray]:
    """Return the children's trips that need an escort, each trip's number, and the carers'."""
    person = _trip_person(s)
    whole_trip = (person >= 0) & (s.trip_activity >= 1)
    cared = _oldest(s) >= _GUARD
    child = (whole(s.persons["age"]) < _CHILD)[person] & cared[person] & whole_trip
    return child, _ways(s, person), _carers(s)[person] & whole_trip


def _unescorted(s: Shard) -> BoolArray:
    if len(s.trips["trip_id"]) == 0:
        return np.zeros(0, dtype=np.bool_)
    child, way, carer = _escorted(s)
    return child & ~np.isin(way, way[carer])


def _not_brought(s: Shard) -> BoolArray:
    """Return children's trips with an escort who neither brings, nor fetches, nor stays."""
    if len(s.trips["trip_id"]) == 0:
        return np.zeros(0, dtype=np.bool_)
    child, way, carer = _escorted(s)
    kind = whole(s.activities["type"])
    ends = kind[_trip_origin(s)], kind[s.trip_activity]
    count = len(ACTIVITY_TYPES)

    def code(first: npt.NDArray[Any], last: npt.NDArray[Any]) -> Int64Array:
        return (way * count + first) * count + last

    made = code(*ends)[carer]
    fits = np.zeros(len(way), dtype=np.bool_)
    for first in (ends[0], np.full(len(way), _PICKUP)):
        for last in (ends[1], np.full(len(way), _PICKUP)):
            fits |= np.isin(code(first, last), made)
    return child & np.isin(way, way[carer]) & ~fits


def _alone_at_home(s: Shard) -> BoolArray:
    """Return children's stays at home during some of which no guard is there."""
    person, age = s.activity_person, whole(s.persons["age"])
    home = (whole(s.activities["type"]) == HOME) & (person >= 0)
    household = s.household_row[person]
    start, end = (household * _SPAN + whole(s.activities[name]) for name in ("start_s", "end_s"))
    guards = home & (age[person] >= _GUARD)
    first, last = _union(start[guards], end[guards])
    stays = home & (age[person] < _CHILD) & (_oldest(s)[person] >= _GUARD)
    if len(first) == 0:
        return stays
    at = np.maximum(np.searchsorted(first, start, side="right") - 1, 0)
    return stays & ~((first[at] <= start) & (end <= last[at]))


def _union(start: Int64Array, end: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the union of intervals, sorted; those that touch are one."""
    time = np.concatenate([start, end])
    step = np.repeat([1, -1], len(start))
    order = np.lexsort((-step, time))
    depth = np.cumsum(step[order])
    opens = (step[order] == 1) & (depth == 1)
    return time[order][opens], time[order][depth == 0]


def _too_many_cars(s: Shard) -> BoolArray:
    """Return trips that leave home by a car more than there are."""
    person, trips = _trip_person(s), len(s.trips["trip_id"])
    drives = (whole(s.trips["mode"]) == _DRIVER) & (person >= 0) & (s.trip_activity >= 1)
    kind = whole(s.activities["type"])
    leaves = np.flatnonzero(drives & (kind[_trip_origin(s)] == HOME)) if trips else np.arange(0)
    comes = np.flatnonzero(drives & (whole(s.trips["purpose"]) == HOME))
    household = s.household_row[person]
    time = np.concatenate([whole(s.trips["depart_s"])[leaves], whole(s.trips["arrive_s"])[comes]])
    owner = np.concatenate([household[leaves], household[comes]])
    step = np.repeat([1, -1], [len(leaves), len(comes)])
    order = np.lexsort((step, time, owner))  # a car that comes may leave in the same second
    out = np.cumsum(step[order])
    begins = np.flatnonzero(np.diff(owner[order], prepend=-1) != 0)
    before = np.concatenate([[0], out])[begins]
    out -= np.repeat(before, np.diff(np.append(begins, len(out))))
    broken = np.zeros(trips, dtype=np.bool_)
    over = (out > whole(s.households["vehicles"])[owner[order]]) & (step[order] == 1)
    broken[np.concatenate([leaves, comes])[order][over]] = True
    return broken


def _car_left(s: Shard) -> BoolArray:
    """Return trips between places away from home that take up or leave a car there."""
    drives = whole(s.trips["mode"]) == _DRIVER
    before = np.concatenate([drives[:1], drives[:-1]])
    kind = whole(s.activities["type"])
    if len(drives) == 0:
        return drives
    on_tour = (s.trip_activity >= 1) & (kind[_trip_origin(s)] != HOME)
    return on_tour & (drives != before)


_POINT = ("lon", "lat")
_TRIP = ("trip_id", "person_id", "day", "sequence", "depart_s", "arrive_s", "mode")

COMPANY = (
    Rule("children under 12 make their trips with a carer", "trips", _unescorted, _TRIP),
    Rule("carers bring children, fetch them or stay", "trips", _not_brought, _TRIP),
    Rule(
        "children under 12 are not alone at home",
        "activities",
        _alone_at_home,
        ("person_id", "day", "sequence", "start_s", "end_s"),
    ),
)
"""Rules of a run with ``chains.households``."""

CARS = (
    Rule("no more cars are out than the household has", "trips", _too_many_cars, _TRIP),
    Rule("cars are driven home", "trips", _car_left, _TRIP),
)
"""Rules of a run with ``assignment.cars``."""


def household_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules that a run promised to keep.

    Parameters
    ----------
    config
        The manifest's configuration; runs from before there were such rules promised none.
    """
    company = COMPANY if config["chains"].get("households", False) else ()
    return company + (CARS if config["assignment"].get("cars", False) else ())
