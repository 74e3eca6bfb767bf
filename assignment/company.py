"""Who is with whom in a shard: households as rows, and the rows of plans' companions."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assignment.itinerary import People, integers, lookup
from assignment.times import Plan
from raygen.errors import DataError

Int64Array = npt.NDArray[np.int64]

MINDED_UNDER, MINDS_FROM = 12, 16
"""Ages, in years, under which a child is not alone at home, and from which a member minds it."""

_RADIX = 128


class Homes(NamedTuple):
    """N persons by household; H households."""

    start: Int64Array
    """First of each household in ``member``, shape (H + 1,)."""

    member: Int64Array
    """Person rows by household, shape (N,)."""

    cars: Int64Array
    """Cars of each household, shape (H,)."""

    child: npt.NDArray[np.bool_]
    """Whether a person is minded at home, shape (N,)."""

    minds: npt.NDArray[np.bool_]
    """Whether a person can mind children, shape (N,)."""


class Company(NamedTuple):
    """Companions of A activities as rows; -1 for none."""

    source: Int64Array
    """Activity whose place an activity shares."""

    escort: Int64Array
    """The escort's activity that is reached by the same trip."""


def homes_of(people: People, shared_cars: bool) -> Homes:
    """Return the households of N persons; without ``shared_cars`` each member has one to use."""
    member = np.argsort(people.household, kind="stable")
    owner = people.household[member]
    begins = np.flatnonzero(np.diff(owner, prepend=-1) != 0)
    start = np.append(begins, len(member)).astype(np.int64)
    cars = people.vehicles[member[begins]]
    return Homes(
        start,
        member,
        cars if shared_cars else np.where(cars > 0, np.diff(start), 0),
        people.age < MINDED_UNDER,
        people.age >= MINDS_FROM,
    )


def read_company(plans: pa.Table, people: People, plan: Plan, owner: Int64Array) -> Company:
    """Return the rows of the companions that plans name.

    Parameters
    ----------
    plans
        Schema PLANS, A rows, as ``read_plan`` accepts them.
    people, plan, owner
        The persons, the plans' arrays, and the person row of each activity.

    Raises
    ------
    DataError
        If a companion is not of the household, shares a place that is itself shared, or an escort
        does not arrive in the same slot.
    """
    slot = integers(plans, "start_slot")
    rank = (owner * _RADIX + plan.day) * _RADIX + slot
    rows: dict[str, Int64Array] = {}
    for name in ("with_person", "escort"):
        wanted = integers(plans, name)
        row = np.full(len(wanted), -1, np.int64)
        some = np.flatnonzero(wanted >= 0)
        if len(some):
            person = lookup(people.person_id, wanted[some], f"plans.{name}")
            at = (person * _RADIX + plan.day[some]) * _RADIX + slot[some]
            row[some] = np.searchsorted(rank, at, side="right") - 1
            foreign = people.household[person] != people.household[owner[some]]
            _refuse(foreign, some, f"plans.{name}: a companion must be of the household")
        rows[name] = row
    source, escort = rows["with_person"], rows["escort"]
    some = np.flatnonzero(source >= 0)
    _refuse(source[source[some]] >= 0, some, "plans.with_person: its place must be its own")
    some = np.flatnonzero(escort >= 0)
    apart = (slot[escort[some]] != slot[some]) | (plan.sequence[escort[some]] == 0)
    _refuse(apart, some, "plans.escort: must arrive in the same slot")
    return Company(source, escort)


def same_arrivals(plan: Plan, company: Company) -> Plan:
    """Return the plan with escorted arrivals at their escorts' second of the slot."""
    some = np.flatnonzero(company.escort >= 0)
    planned = plan.planned.copy()
    planned[some] = plan.planned[company.escort[some]]
    return plan._replace(planned=planned)


def pupils_key_row(people: People, school: int) -> Int64Array:
    """Return the person whose draws give each one's school: siblings under 12 go to one."""
    row = np.arange(len(people.age))
    pupils = np.flatnonzero((people.student == school) & (people.age < MINDED_UNDER))
    first = np.full(int(people.household.max(initial=-1)) + 1, len(row), np.int64)
    np.minimum.at(first, people.household[pupils], pupils)
    row[pupils] = first[people.household[pupils]]
    return row


def _refuse(wrong: npt.NDArray[np.bool_], rows: Int64Array, rule: str) -> None:
    if wrong.any():
        msg = f"{rule}, {int(wrong.sum())} rows break it, the first is row {rows[wrong][0]}"
        raise DataError(msg)
