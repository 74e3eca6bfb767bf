"""Households that hold together: the members' day chains are fitted to each other.

The future work of DataFusion (Ma et al., arXiv:2503.15779, 7); the method is ours. Each member's
day is drawn alone (``raygen.stages.chains``); here the days of a household with children under 12
are joined, so that

* each trip of such a child is made with a carer: a member of 18 or over, or else the oldest of 16
  or over. The carer brings it (``pickup_drop``) and goes on, or stays and does the same;
* no such child is at home without a member of 16 or over, day and night. At every border of two
  slots one and the same member is at home on both sides.

A household without a carer has no such rule to keep; its children's days stay as drawn.

The children's days bend before the adults' do: a school day starts when the carer who leaves last
leaves, if that is within an hour, and ends when the first one returns. What children do is known
least (the survey's first age group is under 15, time use starts at 15). Who escorts is drawn with
the odds of ``raygen.households.escorts``. The drawn days' own pickup_drop activities decide it
where they are near and are dropped where they are not: they stand for the escorts of these
households, spread over all persons of a group, as the chain model knows no households. Of the
others, those of households with older children are kept, and a share ``OTHERS`` of those of
households without any.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen import schema, seeds
from raygen.errors import DataError
from raygen.households.kernel import COUNTERS, join
from raygen.households.state import CARER, CHILD, GUARD, OTHER, PICKUP
from raygen.taxonomy import SLOTS

ESCORTED_UNDER = 12
"""First age, in years, at which a child goes out and stays at home alone."""

CARER_AGE, GUARD_AGE = 18, 16
"""Youngest age of who escorts, and of who minds children at home (and of who escorts where nobody
in the household is 18)."""

OTHERS = 0.37
"""Share of persons in households without a child under 18 who keep the pickup_drop that their group
has: adults there spend 2.6 minutes of a weekday on it, all adults 7.1 (American Time Use Survey,
California)."""

Int64Array = npt.NDArray[np.int64]
Int8Array = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Joined:
    """Days of N persons that fit their households."""

    chains: Int8Array
    """Activity types, shape (N, 96), home first and last."""

    with_person: Int64Array
    """Member whose place an activity shares, by slot, -1 for none; shape (N, 96)."""

    escort: Int64Array
    """Member with whom a child makes the trip to the activity that starts in a slot, -1 for none;
    shape (N, 96)."""

    counters: dict[str, int]
    """``raygen.households.kernel.COUNTERS``."""


def join_days(persons: pa.Table, chains: Int8Array, day: int, seed: int) -> Joined:
    """Fit the day chains of the members of each household to each other.

    Parameters
    ----------
    persons
        Columns ``person_id``, ``household_id``, ``age`` of schema PERSONS, N rows, whole
        households; not changed.
    chains
        One day of each, shape (N, 96), home first and last; not changed.
    day
        0 for the run's first day.
    seed
        The run's; draws depend on the seed, the day and the person's id alone.

    Returns
    -------
    joined
        In the order of ``persons``.

    Raises
    ------
    DataError
        If the shape is wrong, or a day does not start and end at home.
    """
    if chains.shape != (persons.num_rows, SLOTS):
        msg = f"chains: shape must be ({persons.num_rows}, {SLOTS}), got {chains.shape}"
        raise DataError(msg)
    if (away := int(((chains[:, 0] != 0) | (chains[:, -1] != 0)).sum())) > 0:
        msg = f"chains: days must start and end at home, {away} of {len(chains)} do not"
        raise DataError(msg)
    ids = persons.column("person_id").to_numpy().astype(np.int64)
    age = persons.column("age").to_numpy().astype(np.int64)
    household = persons.column("household_id").to_numpy().astype(np.int64)
    uniform = seeds.uniforms(seed, f"households:{day}", ids, SLOTS + 1)
    order = np.argsort(household, kind="stable")
    start = np.flatnonzero(np.r_[True, np.diff(household[order]) != 0, True][: len(ids) + 1])
    days = chains[order]
    _thin(days, age[order], start, uniform[order, SLOTS])
    noise = -np.log(-np.log(uniform[order, :SLOTS] + 2.0**-54))
    place, escort, counts = join(start, parts(age[order], start), days, noise)
    back = np.argsort(order, kind="stable")
    own = np.append(ids[order], -1)
    return Joined(
        chains=days[back],
        with_person=own[place[back]],
        escort=own[escort[back]],
        counters=dict(zip(COUNTERS, counts.tolist(), strict=True)),
    )


def parts(age: Int64Array, start: Int64Array) -> Int8Array:
    """Return each person's part in the household, shape (N,), from ages and households' rows."""
    part = np.full(len(age), OTHER, np.int8)
    part[age < ESCORTED_UNDER] = CHILD
    part[age >= GUARD_AGE] = GUARD
    part[age >= CARER_AGE] = CARER
    if len(age) == 0:
        return part
    adults = np.add.reduceat(part == CARER, start[:-1])
    for first, stop in zip(start[:-1][adults == 0], start[1:][adults == 0], strict=True):
        oldest = first + int(age[first:stop].argmax())
        if part[oldest] == GUARD:
            part[oldest] = CARER
    return part


def with_companions(plans: pa.Table, persons: pa.Table, joined: Joined) -> pa.Table:
    """Write who is with whom to the plans of one day.

    Parameters
    ----------
    plans
        Schema PLANS, of ``joined.chains``.
    persons
        As ``join_days`` had them.
    joined
        What ``join_days`` returned.

    Returns
    -------
    plans
        With ``with_person`` and ``escort``.
    """
    ids = persons.column("person_id").to_numpy().astype(np.int64)
    order = np.argsort(ids, kind="stable")
    wanted = plans.column("person_id").to_numpy()
    row = order[np.searchsorted(ids, wanted, sorter=order)] if len(ids) else wanted
    begin = row * SLOTS + plans.column("start_slot").to_numpy().astype(np.int64)
    company = joined.with_person.ravel()
    values = {
        # Equal neighbours are one activity; where one of them has a companion, all of it has.
        "with_person": np.maximum.reduceat(company, begin) if len(begin) else company,
        "escort": joined.escort.ravel()[begin],
    }
    for name, value in values.items():
        at = schema.PLANS.get_field_index(name)
        plans = plans.set_column(at, schema.PLANS.field(name), pa.array(value, pa.int64()))
    return plans


def _thin(
    days: Int8Array, age: Int64Array, start: Int64Array, uniform: npt.NDArray[np.float64]
) -> None:
    """Drop a share of the pickup_drop of households without a child; what was before lasts on."""
    if len(age) == 0:
        return
    child = np.logical_or.reduceat(age < CARER_AGE, start[:-1])
    drops = ~np.repeat(child, np.diff(start)) & (uniform >= OTHERS)
    for slot in range(1, SLOTS):
        gone = drops & (days[:, slot] == PICKUP)
        days[gone, slot] = days[gone, slot - 1]
