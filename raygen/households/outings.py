"""Children's own days where somebody minds them: school, and what is done together.

A tour with school is one stay at school, brought and fetched. Errands, meals and visits are made
with a carer: on a tour that the carer makes anyway within two hours, else the carer comes along.
Children are brought to sport or friends and fetched. Where no carer has time, the child stays at
home.
"""

import numpy as np
from numba import njit

from raygen.households.escorts import choose_bring, choose_fetch, tag_along
from raygen.households.state import (
    CARE,
    CARER,
    CHILD,
    BoolArray,
    State,
    all_home,
    alone,
    at_home,
    bring,
    fetch,
    forget,
    free,
    holds,
    joinable,
    main_type,
    settle,
    take_along,
    tour_end,
    write,
)
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SCHOOL, SLOTS

SIBLINGS_START, SIBLINGS_END = 4, 8
"""Slots by which the school days of siblings differ that are brought and fetched together."""

AROUND = 8
"""Slots between a child's tour and the carer's that it is moved to."""

LONGEST = 24
"""Slots of the longest carer's tour that a child comes along on."""

WAIT = 2
"""Slots for which a carer waits rather than fetches."""

ALONG = 0.25
"""Cost of a slot of a carer who comes along for the child's sake."""

BROUGHT = np.array(
    [word in ("school", "caregiving", "exercise", "social", "other") for word in ACTIVITY_TYPES]
)
"""Types at which a child may stay without the carer."""

CANCELLED, SPLIT, JOINED, COPIED = 0, 1, 2, 3


@njit(cache=True, nogil=True)
def next_tour(state: State, child: int, slot: int) -> tuple[int, int]:
    """Return start and homecoming of a child's next tour from a slot on; 96 where there is none."""
    while slot < SLOTS and state.wish[child, slot] == HOME:
        slot += 1
    return slot, (tour_end(state.wish, child, slot) if slot < SLOTS else SLOTS)


@njit(cache=True, nogil=True)
def outing(state: State, child: int, start: int, stop: int) -> int:
    """Make a child's drawn tour with carers; return how it was made."""
    party = _siblings(state, child, start, stop)
    main = main_type(state.wish, child, start, stop)
    way = CANCELLED
    if main == SCHOOL or main == CARE:  # noqa: PLR1714
        if _split(state, party, child, start, stop):
            way = SPLIT
    elif _join(state, party, start, stop):
        way = JOINED
    elif BROUGHT[main] and stop - start > WAIT and _split(state, party, child, start, stop):
        way = SPLIT
    elif _come(state, party, child, start, stop):
        way = COPIED
    forget(state.wish, child, start, stop)
    return way


@njit(cache=True, nogil=True)
def _siblings(state: State, child: int, start: int, stop: int) -> BoolArray:
    """Return the child, and for a school day its siblings with about the same hours."""
    party = np.zeros(len(state.part), np.bool_)
    party[child] = True
    if not holds(state.wish, child, start, stop, SCHOOL):
        return party
    for other in range(len(state.part)):
        if state.part[other] != CHILD or other == child:
            continue
        slot = 1
        while slot < SLOTS:
            begin, end = next_tour(state, other, slot)
            if begin == SLOTS:
                break
            same = abs(begin - start) <= SIBLINGS_START and abs(end - stop) <= SIBLINGS_END
            party[other] |= same and holds(state.wish, other, begin, end, SCHOOL)
            slot = end + 1
    return party


@njit(cache=True, nogil=True)
def _split(state: State, party: BoolArray, lead: int, start: int, stop: int) -> bool:
    """Have the party brought and fetched; return whether somebody can."""
    carer, begin, _ = choose_bring(state, party, start)
    if carer < 0:
        return False
    # The bringing is written first, as the fetching depends on it, and taken back if need be.
    before = state.chain[carer, begin]
    nobody = np.zeros(len(state.part), np.bool_)
    bring(state, nobody, lead, carer, begin)
    comes, end, _ = choose_fetch(state, party, max(stop, begin + 2), begin)
    if comes < 0 or not all_home(state, party, begin - 1, end):
        state.chain[carer, begin], state.place[carer, begin] = before, -1
        write(state.locked, carer, begin - 1, begin + 2, False)  # all three were free
        return False
    settle(state, party, lead, (begin, end))
    bring(state, party, lead, carer, begin)
    tag_along(state, party, lead, carer, begin)
    fetch(state, party, lead, comes, end)
    tag_along(state, party, lead, comes, end - 1)
    return True


@njit(cache=True, nogil=True)
def _join(state: State, party: BoolArray, start: int, stop: int) -> bool:
    """Move the party's tour to one that a carer makes anyway; return whether there is one."""
    best, span, least = -1, (0, 0), np.inf
    for carer in range(len(state.part)):
        if state.part[carer] != CARER:
            continue
        first = max(start - AROUND, 1)
        while first < min(start + AROUND + 1, SLOTS - 1):
            if state.chain[carer, first] == HOME or state.chain[carer, first - 1] != HOME:
                first += 1
                continue
            last = tour_end(state.chain, carer, first)
            if last - first <= LONGEST and joinable(state, carer, first, last):
                if all_home(state, party, first - 1, last):
                    cost = 0.25 * abs(first - start) + 0.25 * abs(last - first - stop + start)
                    cost -= state.noise[carer, first]
                    if cost < least:
                        best, span, least = carer, (first, last), cost
            first = last
    if best < 0:
        return False
    take_along(state, party, best, span)
    return True


@njit(cache=True, nogil=True)
def _come(state: State, party: BoolArray, child: int, start: int, stop: int) -> bool:
    """Have a carer who is at home come along; return whether one can."""
    if not all_home(state, party, start - 1, stop):
        return False
    best, least = -1, np.inf
    for carer in range(len(state.part)):
        if state.part[carer] != CARER or not at_home(state, carer, start - 1, stop):
            continue
        if free(state, carer, start - 1, stop) and not _deserts(state, party, carer, start, stop):
            cost = ALONG * (stop - start) - state.noise[carer, start]
            if cost < least:
                best, least = carer, cost
    if best < 0 or state.noise[child, start] < least:
        return False
    for slot in range(start, stop):
        state.chain[best, slot] = state.wish[child, slot]
    take_along(state, party, best, (start, stop))
    return True


@njit(cache=True, nogil=True)
def _deserts(state: State, party: BoolArray, carer: int, start: int, stop: int) -> bool:
    """Return whether a child outside the party would be alone while a carer is out."""
    write(state.chain, carer, start, stop, CARE)  # at home until now
    lonely = False
    for border in range(start, stop + 1):
        lonely |= alone(state, border, party)
    write(state.chain, carer, start, stop, HOME)
    return lonely
