"""The clock: departures and arrivals that make days whole and keep a household's members together.

A trip lies inside the end of the activity before it: an activity starts at its arrival and ends
when the trip to the next one departs, so end[k−1] = start[k] − travel[k]. Arrivals keep the day
chain's slot, at a second drawn within it. A trip leaves later than planned where

* a stay would fall under the least stay, of any of those who make the trip together;
* its car is not back yet;
* a child under 12 would be alone at home: it leaves when somebody who minds the child has come.

Trips of a household are settled in the order of their planned arrivals, and each waits for earlier
ones only, so there is always a solution and one pass finds the earliest. Why no child is left
alone: a leaving guard waits until another guard is at home whose own next trip comes later in that
order (day chains see to it that there is one), and this one waits in its turn; a child that is
about to go out is minded by its escort, for whose homecoming the guard waits.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.company import Homes
from assignment.times import Plan
from raygen.taxonomy import DAY_S, HOME

Int64Array = npt.NDArray[np.int64]


class Moves(NamedTuple):
    """What the clock needs of A trips besides the plan."""

    travel_s: Int64Array
    """Time of the trip to each activity; 0 for the first of a day."""

    escort: Int64Array
    """Row of the trip that a child goes along on, -1 for none."""

    car: Int64Array
    """Car of the household that leaves home on the trip, -1 for none."""


class Clock(NamedTuple):
    """Start and end of each activity, shape (A,)."""

    start: Int64Array
    end: Int64Array


class Presence(NamedTuple):
    """Where the M members of a household are, in planned order; shape (M,)."""

    row: Int64Array
    """Next activity of each."""

    home: npt.NDArray[np.bool_]
    since: Int64Array
    """Start of the stay at home."""

    left: Int64Array
    """Last departure from home."""

    left_since: Int64Array
    """Start of the stay at home of the escort of that departure."""

    car: Int64Array
    """Car that is out with the member, -1 for none."""

    group: npt.NDArray[np.bool_]
    """Whether the member makes the trip that is being settled."""


@njit(cache=True, nogil=True)
def _next(plan: Plan, members: Int64Array, now: Presence) -> int:
    """Return the member whose next activity is planned first; -1 at the end."""
    best = -1
    for i in range(len(members)):
        if now.row[i] < plan.person_start[members[i] + 1]:
            if best < 0 or plan.planned[now.row[i]] < plan.planned[now.row[best]]:
                best = i
    return best


@njit(cache=True, nogil=True)
def _begin_day(plan: Plan, clock: Clock, person: int, k: int, min_stay_s: int) -> None:
    """Start a person's day: at midnight, or when the one before ended."""
    if k == plan.person_start[person]:
        clock.start[k] = plan.planned[k]
        return
    clock.end[k - 1] = max(plan.planned[k], clock.start[k - 1] + min_stay_s)
    clock.start[k] = clock.end[k - 1]


@njit(cache=True, nogil=True)
def _minded_from(homes: Homes, members: Int64Array, now: Presence) -> int:
    """Return when the first guard who stays at home has come; -1 where there is none."""
    best = -1
    for i in range(len(members)):
        if homes.minds[members[i]] and now.home[i] and not now.group[i]:
            if best < 0 or now.since[i] < best:
                best = now.since[i]
    return best


@njit(cache=True, nogil=True)
def _wait_for_guard(homes: Homes, members: Int64Array, now: Presence, leave: int) -> int:
    """Return the departure from home at which no child is left alone."""
    guards = False
    for i in range(len(members)):
        guards |= now.group[i] and homes.minds[members[i]]
    if not guards:
        return leave
    for i in range(len(members)):
        if homes.child[members[i]] and not now.group[i]:
            if now.home[i]:
                leave = max(leave, _minded_from(homes, members, now))
            elif now.left[i] > leave:
                leave = max(leave, now.left_since[i])
    return leave


@njit(cache=True, nogil=True)
def _departure(
    plan: Plan, moves: Moves, clock: Clock, now: Presence, lead: int, min_stay_s: int
) -> int:
    """Mark who makes a trip together; return when the last of them is ready."""
    leave = plan.planned[lead] - moves.travel_s[lead]
    for i in range(len(now.row)):
        k = now.row[i]
        joins = k < len(plan.type) and (k == lead or moves.escort[k] == lead)
        now.group[i] = joins
        if joins:
            leave = max(leave, clock.start[k - 1] + min_stay_s)
    return leave


@njit(cache=True, nogil=True)
def _arrive(
    plan: Plan, clock: Clock, now: Presence, travel_s: int, leave: int, since: int
) -> tuple[int, int]:
    """Write the trip of the marked members; return how many arrive late, and their delay."""
    shifted, shift_s = 0, 0
    for i in range(len(now.row)):
        if not now.group[i]:
            continue
        k = int(now.row[i])
        clock.end[k - 1], clock.start[k] = leave, leave + travel_s
        if now.home[i]:
            now.left[i], now.left_since[i] = leave, since
        now.home[i] = plan.type[k] == HOME
        if now.home[i]:
            now.since[i] = clock.start[k]
        late = int(clock.start[k] - plan.planned[k])
        shifted += int(late > 0)
        shift_s += max(late, 0)
        now.row[i] += 1
    return shifted, shift_s


@njit(cache=True, nogil=True)
def _settle_household(
    plan: Plan, moves: Moves, homes: Homes, household: int, clock: Clock, min_stay_s: int
) -> tuple[int, int]:
    """Fix the clock of one household; return late arrivals and their delay."""
    members = homes.member[homes.start[household] : homes.start[household + 1]]
    size = len(members)
    zeros = np.zeros(size, np.int64)
    now = Presence(
        plan.person_start[members],
        np.ones(size, np.bool_),
        zeros,
        zeros.copy(),
        zeros.copy(),
        np.full(size, -1, np.int64),
        np.zeros(size, np.bool_),
    )
    free_at = np.zeros(homes.cars[household], np.int64)
    shifted, shift_s = 0, 0
    i = _next(plan, members, now)
    while i >= 0:
        k = int(now.row[i])
        if plan.sequence[k] == 0:
            _begin_day(plan, clock, members[i], k, min_stay_s)
            now.row[i] += 1
        else:
            lead = int(moves.escort[k]) if moves.escort[k] >= 0 else k
            leave = _departure(plan, moves, clock, now, lead, min_stay_s)
            driver = i
            for other in range(size):
                if now.row[other] == lead:
                    driver = other
            since = int(now.since[driver])
            if now.home[driver]:
                leave = _wait_for_guard(homes, members, now, leave)
                now.car[driver] = moves.car[lead]
                if now.car[driver] >= 0:
                    leave = max(leave, int(free_at[now.car[driver]]))
            travel_s = int(moves.travel_s[lead])
            late, delay = _arrive(plan, clock, now, travel_s, leave, since)
            shifted, shift_s = shifted + late, shift_s + delay
            if now.home[driver] and now.car[driver] >= 0:
                free_at[now.car[driver]] = clock.start[lead]
        i = _next(plan, members, now)
    return shifted, shift_s


@njit(cache=True, nogil=True)
def schedule(
    plan: Plan, moves: Moves, homes: Homes, min_stay_s: int
) -> tuple[Int64Array, Int64Array, int, int]:
    """Fix starts and ends.

    Parameters
    ----------
    plan
        Day chains; days of a person are consecutive, escorted arrivals planned with their escorts'.
    moves
        The trips.
    homes
        The households.
    min_stay_s
        Least stay, seconds.

    Returns
    -------
    start, end
        Shape (A,). Each person's first activity starts at midnight of its day; a day begins when
        the one before ended, which is midnight unless a late arrival held it up.
    shifted, shift_s
        Arrivals later than planned, and their delay in all.
    """
    clock = Clock(np.empty(len(plan.type), np.int64), np.empty(len(plan.type), np.int64))
    shifted, shift_s = 0, 0
    for household in range(len(homes.start) - 1):
        late, delay = _settle_household(plan, moves, homes, household, clock, min_stay_s)
        shifted, shift_s = shifted + late, shift_s + delay
    for person in range(len(plan.person_start) - 1):
        last = plan.person_start[person + 1] - 1
        midnight = (plan.day[last] + 1) * DAY_S
        clock.end[last] = max(midnight, clock.start[last] + min_stay_s)
    return clock.start, clock.end, shifted, shift_s
