"""Places that people go back to: exploration and preferential return; compiled.

Song, Koren, Wang and Barabási, "Modelling the scaling properties of human mobility", Nature Physics
6 (2010): who knows S places goes to a new one with probability ρ·S^−γ, else back to a known one
with probability in proportion to the visits to it. Here the activity's type is given, and where the
person comes from, so that it goes back only to a place where it did the same, coming from the same
anchor: home, work or school (to one of these visits, each as likely as the other, which is the
same). So the distances between anchors and places are those that Algorithm 3 drew: if people who
are at work went back to the shop next to their home, they would travel farther than the reference.
Who has no such place, or comes from another stop, goes to a new one. S counts home, work and school
too, which are known from the start; others are known from the run's first day on. With all this
more visits are to new places than ρ·S^−γ.

It is decided before zones are chosen, by draws of the person alone. A place that is out of reach in
time is given up for a new one when zones are chosen (``assignment.kernel``).
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.draws import USE_RETURN, KeyArray, counter, unit
from assignment.times import Plan
from raygen.taxonomy import HOME, SCHOOL, WORK

Int64Array = npt.NDArray[np.int64]

RHO, GAMMA = 0.6, 0.21
"""ρ and γ as published: fitted to mobile phone users."""


@njit(cache=True, nogil=True)
def returns(
    plan: Plan, own: npt.NDArray[np.bool_], keys: KeyArray, rho: float, gamma: float
) -> Int64Array:
    """Return for each activity the first visit to the place that it goes back to.

    Parameters
    ----------
    plan
        Day chains of N persons, A activities.
    own
        Whether the activity's place is the person's own choice, shape (A,): not home, work, school
        or a place shared with others.
    keys
        Key of each person's draws, shape (N,).
    rho, gamma
        See ``RHO`` and ``GAMMA``; with ρ = 0 people go back whenever they can, with ρ large never.

    Returns
    -------
    again
        Row of the activity, one of the same person, type and anchor that is before it; -1 for a new
        place and where the place is not the person's choice; shape (A,).
    """
    again = np.full(len(plan.type), -1, np.int64)
    for person in range(len(plan.person_start) - 1):
        first, stop = plan.person_start[person], plan.person_start[person + 1]
        works, studies = False, False
        for k in range(first, stop):
            works |= plan.type[k] == WORK
            studies |= plan.type[k] == SCHOOL
        known = 1 + int(works) + int(studies)
        for k in range(first, stop):
            if not own[k]:
                continue
            visits = 0
            for before in range(first, k):
                visits += _alike(plan, own, before, k)
            new = min(1.0, rho * known**-gamma)
            draw = 0.0
            if visits > 0:
                draw = unit(keys[person], counter(plan.day[k], plan.sequence[k], USE_RETURN))
            if visits == 0 or draw < new:
                known += 1
                continue
            left = int((draw - new) / (1.0 - new) * visits)
            again[k] = _visit(plan, own, first, k, min(left, visits - 1))
            if again[again[k]] >= 0:
                again[k] = again[again[k]]
    return again


@njit(cache=True, nogil=True)
def _alike(plan: Plan, own: npt.NDArray[np.bool_], before: int, k: int) -> bool:
    """Return whether an earlier visit is for the same activity, from the same anchor."""
    origin = plan.type[k - 1]
    anchor = origin in (HOME, WORK, SCHOOL)
    same = plan.type[before] == plan.type[k] and plan.type[before - 1] == origin
    return own[before] and anchor and same


@njit(cache=True, nogil=True)
def _visit(plan: Plan, own: npt.NDArray[np.bool_], first: int, k: int, number: int) -> int:
    """Return the row of the visit of this number, from 0, among those before that are alike."""
    for before in range(first, k):
        if _alike(plan, own, before, k):
            if number == 0:
                return before
            number -= 1
    return -1
