"""Clock times: the arrival within its slot, congestion by hour, and the pass that makes days whole.

A trip lies inside the end of the activity before it: an activity starts at its arrival and ends
when the trip to the next one departs, so end[k−1] = start[k] − travel[k]. Arrivals keep the day
chain's slot, at a second drawn within it. Where a stay would fall under the least stay,
the arrival is shifted later: start[k] = max(planned[k], start[k−1] + least stay + travel[k]).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.draws import USE_JITTER, KeyArray, counter, unit
from raygen.taxonomy import DAY_S, SLOT_S

Int64Array = npt.NDArray[np.int64]

CONGESTION = np.array(
    [0.0] * 5 + [0.3] + [1.0] * 4 + [0.4] * 5 + [1.0] * 4 + [0.6, 0.3] + [0.1] * 3,
    dtype=np.float32,
)
"""Weight of the peak skim by hour of arrival, the rest is the free-flow skim; 1 from 6 to 10 h and
from 15 to 19 h, less at midday and about the peaks. Assumed."""


class Plan(NamedTuple):
    """Day chains of N persons as arrays over A activities, by person, day and sequence."""

    person_start: Int64Array
    """First activity of each person, shape (N + 1,)."""

    day: Int64Array
    sequence: Int64Array
    type: Int64Array
    """Index into ACTIVITY_TYPES."""

    planned: Int64Array
    """Arrival in seconds after midnight of day 0; a day's first activity at midnight."""


@njit(cache=True, nogil=True)
def arrivals(
    person_start: Int64Array, day: Int64Array, sequence: Int64Array, slot: Int64Array, key: KeyArray
) -> Int64Array:
    """Return the planned arrival of each activity: its slot and a second within it.

    Slots of a day increase, and so do the arrivals. The first activity of a day starts at midnight.
    """
    out = np.empty(len(day), np.int64)
    for person in range(len(person_start) - 1):
        for k in range(person_start[person], person_start[person + 1]):
            out[k] = day[k] * DAY_S + slot[k] * SLOT_S
            if sequence[k] > 0:
                draw = unit(key[person], counter(day[k], sequence[k], USE_JITTER))
                out[k] += int(draw * SLOT_S)
    return out


@njit(cache=True, nogil=True)
def congestion(arrival_s: int) -> float:
    """Return the weight of the peak skim for an arrival."""
    return CONGESTION[(arrival_s % DAY_S) // 3600]


@njit(cache=True, nogil=True)
def schedule(
    plan: Plan, travel_s: Int64Array, min_stay_s: int
) -> tuple[Int64Array, Int64Array, int, int]:
    """Fix starts and ends.

    Parameters
    ----------
    plan
        Day chains; days of a person are consecutive.
    travel_s
        Time of the trip to each activity, shape (A,); 0 for the first of a day.
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
    start, end = np.empty(len(travel_s), np.int64), np.empty(len(travel_s), np.int64)
    shifted, shift_s = 0, 0
    for person in range(len(plan.person_start) - 1):
        first, stop = plan.person_start[person], plan.person_start[person + 1]
        start[first] = plan.planned[first]
        for k in range(first + 1, stop):
            if plan.sequence[k] == 0:
                end[k - 1] = max((plan.day[k - 1] + 1) * DAY_S, start[k - 1] + min_stay_s)
                start[k] = end[k - 1]
                continue
            start[k] = max(plan.planned[k], start[k - 1] + min_stay_s + travel_s[k])
            end[k - 1] = start[k] - travel_s[k]
            if start[k] > plan.planned[k]:
                shifted += 1
                shift_s += start[k] - plan.planned[k]
        end[stop - 1] = max((plan.day[stop - 1] + 1) * DAY_S, start[stop - 1] + min_stay_s)
    return start, end, shifted, shift_s
