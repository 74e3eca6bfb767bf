"""Planned arrivals: a second drawn within the slot of the day chain; and congestion by hour."""

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


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def congestion(arrival_s: int) -> float:
    """Return the weight of the peak skim for an arrival."""
    return CONGESTION[(arrival_s % DAY_S) // 3600]
