"""Zones and points of all activities of a shard: chosen, gone back to, and shared with others."""

import numpy as np
import numpy.typing as npt

from assignment.company import MINDED_UNDER, Company
from assignment.cost import Prior, read_only
from assignment.itinerary import People
from assignment.kernel import Setting, Travellers, place_activities
from assignment.points import Points
from assignment.returns import GAMMA, RHO, returns
from assignment.times import Plan

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


def place_together(
    setting: Setting,
    plan: Plan,
    prior: Prior,
    movers: Travellers,
    with_whom: tuple[People, Company],
    zone: Int32Array,
) -> tuple[int, Int64Array]:
    """Write a zone to every activity that has none; those that share a place get it from there.

    The places of children that others share come first, then all others' (kernel
    ``place_activities``), then those shared with adults.

    Parameters
    ----------
    setting, plan, prior
        As read.
    movers
        What the kernel knows of the N persons.
    with_whom
        The persons and their company.
    zone
        Zone row of each activity, shape (A,), -1 where it is to be found; overwritten.

    Returns
    -------
    infeasible
        Activities without a feasible zone.
    again
        Row of the activity to whose place each goes back, -1 for none, shape (A,).
    """
    people, company = with_whom
    again = returns(plan, (zone < 0) & (company.source < 0), movers.keys, RHO, GAMMA)
    shared = np.flatnonzero(company.source >= 0)
    source = company.source[shared]
    owner = np.repeat(np.arange(len(people.age)), np.diff(plan.person_start))
    first = np.unique(owner[source[people.age[owner[source]] < MINDED_UNDER]])
    zone[shared] = people.home_zone[owner[shared]]  # for the time being
    infeasible = 0
    if len(first):
        infeasible += _place_some(setting, plan, prior, (movers, first), (zone, again))
        known = np.isin(owner[source], first)
        zone[shared[known]] = zone[source[known]]
    infeasible += int(place_activities(setting, plan, prior, movers, zone, again))
    zone[shared] = zone[source]
    return infeasible, again


def _place_some(
    setting: Setting,
    plan: Plan,
    prior: Prior,
    who: tuple[Travellers, Int64Array],
    where: tuple[Int32Array, Int64Array],
) -> int:
    """Place the activities of some persons, given by row; ``where`` is zone and again, of all."""
    (movers, first), (zone, again) = who, where
    sizes = np.diff(plan.person_start)[first]
    start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    shift = np.repeat(plan.person_start[first] - start[:-1], sizes)
    rows = shift + np.arange(start[-1])
    days = (plan.day[rows], plan.sequence[rows], plan.type[rows], plan.planned[rows])
    chosen = Prior(
        read_only(prior.zones[rows]),
        read_only(prior.log_probability[rows]),
        read_only(prior.log_floor[rows]),
    )
    some = Travellers(movers.keys[first], movers.pace[first], movers.segment[first])
    zones = zone[rows]
    back = np.where(again[rows] >= 0, again[rows] - shift, -1)
    infeasible = int(place_activities(setting, Plan(start, *days), chosen, some, zones, back))
    zone[rows] = zones
    again[rows] = np.where(back >= 0, back + shift, -1)
    return infeasible


def share_points(points: Points, source: Int64Array) -> None:
    """Write points and regions of rows of ``source``, -1 for none, to the activities there."""
    rows = np.flatnonzero(source >= 0)
    for column in (points.lon, points.lat, points.region_id):
        column[rows] = column[source[rows]]
