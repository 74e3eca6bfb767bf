"""Children whom nobody would mind at home: they go out with the last carer who leaves.

Such a span lies between the departure of the last guard and the return of the first. The children
go along where a carer's tour covers it and is none of work or school (shopping, a visit). A short
gap closes by the carer's leaving a little later. Else the last carer brings them to school, or into
care, and the first who returns fetches them. An escort takes a quarter hour of the carer's time at
home, or, where there is none to take, of the activity beside it.
"""

import numpy as np
from numba import njit

from raygen.households.escorts import choose_bring, choose_fetch, gain
from raygen.households.state import (
    CARER,
    CHILD,
    BoolArray,
    State,
    all_home,
    alone,
    at_home,
    bring,
    fetch,
    free,
    guarded,
    holds,
    joinable,
    settle,
    take_along,
    tour_end,
    write,
)
from raygen.taxonomy import HOME, SCHOOL, SLOTS

JOIN = 4
"""Spans with no more slots between them are one: children are not brought home for an hour."""

BEND = 4
"""Slots by which a school day starts earlier or later, to go with a carer who leaves anyway."""

SHORT = 3
"""Longest span, in slots, for which the carer leaves later instead."""


@njit(cache=True, nogil=True)
def hand_over(state: State) -> int:
    """Give carers who relieve each other a slot in which both are at home; return how many."""
    moved = 0
    for slot in range(1, SLOTS):
        if guarded(state, slot):
            continue
        leaves, comes = -1, -1
        for member in range(len(state.part)):
            if state.part[member] == CARER:
                if state.chain[member, slot - 1] == HOME:
                    leaves = member
                elif state.chain[member, slot] == HOME:
                    comes = member
        if leaves < 0 or comes < 0:
            continue
        moved += 1
        lasts = state.chain[leaves, slot + 1] == state.chain[leaves, slot]
        if not lasts and slot > 1 and state.chain[comes, slot - 2] == state.chain[comes, slot - 1]:
            state.chain[comes, slot - 1] = HOME
        else:
            state.chain[leaves, slot] = HOME
    return moved


@njit(cache=True, nogil=True)
def next_span(state: State, slot: int) -> tuple[int, int]:
    """Return the first and last border from a slot on where a child is alone at home; else 96."""
    nobody = np.zeros(len(state.part), np.bool_)
    first = slot
    while first < SLOTS and not alone(state, first, nobody):
        first += 1
    if first == SLOTS:
        return SLOTS, SLOTS
    last, border = first, first + 1
    while border < SLOTS and border - last <= JOIN + 1:
        if alone(state, border, nobody):
            last = border
        border += 1
    # A guard who brings nobody may be the last to leave: the span is that without any carer.
    while first > 1 and _mover(state, first - 1, first) < 0:
        first -= 1
    while last < SLOTS - 1 and _mover(state, last, last - 1) < 0:
        last += 1
    return first, last


@njit(cache=True, nogil=True)
def _mover(state: State, home: int, away: int) -> int:
    """Draw a carer who is at home in one slot and away in the other; -1 if there is none."""
    best, highest = -1, -np.inf
    for member in range(len(state.part)):
        if state.part[member] == CARER and state.chain[member, home] == HOME:
            if state.chain[member, away] != HOME:
                score = state.noise[member, home] + gain(state, member, home)
                if score > highest:
                    best, highest = member, score
    return best


@njit(cache=True, nogil=True)
def relieve(state: State, first: int, last: int) -> int:
    """See to the children of a span; return 0 taken along, 1 carer waits, 2 brought, 3 stays."""
    leaves, comes = _mover(state, first - 1, first), _mover(state, last, last - 1)
    party = _party(state, first)
    school = _school(state, party, first, last)
    if school[0] < 0 or last - first < 2 * JOIN:
        carer, start = _cover(state, party, first, last)
        if carer >= 0:
            take_along(state, party, carer, (start, tour_end(state.chain, carer, first)))
            return 0
    if leaves >= 0 and comes >= 0 and leaves != comes and _waits(state, leaves, comes, first, last):
        write(state.chain, leaves, first, last + 1, HOME)
        return 1
    if leaves >= 0 and comes >= 0 and _split(state, party, (leaves, comes), (first, last), school):
        return 2
    _stay(state, first)
    return 3


@njit(cache=True, nogil=True)
def _party(state: State, first: int) -> BoolArray:
    """Return the children at home before a border."""
    party = np.zeros(len(state.part), np.bool_)
    for member in range(len(state.part)):
        party[member] = state.part[member] == CHILD and state.chain[member, first - 1] == HOME
    return party


@njit(cache=True, nogil=True)
def _school(state: State, party: BoolArray, first: int, last: int) -> tuple[int, int, int]:
    """Return the pupil whose school day meets a span, its first and its last border; else -1."""
    for member in range(len(state.part)):
        if not party[member]:
            continue
        slot = 1
        while slot < SLOTS:
            if state.wish[member, slot] == HOME:
                slot += 1
                continue
            stop = tour_end(state.wish, member, slot)
            if slot <= last and stop >= first and holds(state.wish, member, slot, stop, SCHOOL):
                return member, slot, stop
            slot = stop + 1
    return -1, 0, 0


@njit(cache=True, nogil=True)
def _cover(state: State, party: BoolArray, first: int, last: int) -> tuple[int, int]:
    """Return a carer, and the start of its tour, whose tour covers a span and may be joined."""
    best, found = -1, 0
    for member in range(len(state.part)):
        if state.part[member] != CARER or state.chain[member, first] == HOME:
            continue
        start, stop = first, tour_end(state.chain, member, first)
        while start > 0 and state.chain[member, start - 1] != HOME:
            start -= 1
        if start < 1 or stop < last or not joinable(state, member, start, stop):
            continue
        clear = True
        for child in range(len(state.part)):
            if party[child]:
                clear &= at_home(state, child, start - 1, stop)
        if clear and (best < 0 or state.noise[member, start] > state.noise[best, found]):
            best, found = member, start
    return best, found


@njit(cache=True, nogil=True)
def _waits(state: State, leaves: int, comes: int, first: int, last: int) -> bool:
    """Return whether a carer can leave after the other's return, the activity only shortened."""
    if last - first >= SHORT or not at_home(state, comes, last, last + 1):
        return False
    if not free(state, leaves, first, last + 1):
        return False
    for slot in range(first + 1, last + 2):
        if state.chain[leaves, slot] != state.chain[leaves, first]:
            return False
    return True


@njit(cache=True, nogil=True)
def _split(
    state: State,
    party: BoolArray,
    carers: tuple[int, int],
    span: tuple[int, int],
    school: tuple[int, int, int],
) -> bool:
    """Have the party brought by one carer and fetched by another; return whether it could be."""
    leaves, comes = carers
    first, last = span
    start = first
    if first > 1 and at_home(state, leaves, first - 2, first - 1):
        if free(state, leaves, first - 2, first) and all_home(state, party, first - 2, first - 1):
            start = first - 1
    stop = last
    if at_home(state, comes, last, last + 1) and free(state, comes, last - 1, last + 1):
        if all_home(state, party, start - 1, last + 1):
            stop = last + 1
    if not all_home(state, party, start - 1, stop) or not free(state, leaves, start, start):
        return False
    if not free(state, comes, stop - 1, stop - 1):
        return False
    lead = school[0]
    for member in range(len(state.part) - 1, -1, -1):
        if party[member] and school[0] < 0:
            lead = member
    if school[0] >= 0:
        leaves, start = _earlier(state, party, (leaves, start), (first, stop), school[1])
        comes, stop = _later(state, party, (comes, stop), (start, last), school[2])
    settle(state, party, lead, (start, stop))
    bring(state, party, lead, leaves, start)
    fetch(state, party, lead, comes, stop)
    return True


@njit(cache=True, nogil=True)
def _earlier(
    state: State, party: BoolArray, found: tuple[int, int], span: tuple[int, int], school: int
) -> tuple[int, int]:
    """Return who brings to a school day that starts well before the span, and when."""
    first, stop = span
    if school < first - BEND:
        carer, begin, _ = choose_bring(state, party, school)
        if carer >= 0 and all_home(state, party, begin - 1, stop):
            return carer, begin
    return found


@njit(cache=True, nogil=True)
def _later(
    state: State, party: BoolArray, found: tuple[int, int], span: tuple[int, int], school: int
) -> tuple[int, int]:
    """Return who fetches from a school day that ends well after the span, and when."""
    start, last = span
    if school > last + BEND:
        carer, end, _ = choose_fetch(state, party, school, start)
        if carer >= 0 and all_home(state, party, start - 1, end):
            return carer, end
    return found


@njit(cache=True, nogil=True)
def _stay(state: State, first: int) -> None:
    """Keep a carer at home for the tour that would leave the children alone."""
    for member in range(len(state.part)):
        if state.part[member] == CARER and state.chain[member, first - 1] == HOME:
            stop = tour_end(state.chain, member, first)
            if free(state, member, first, stop):
                write(state.chain, member, first, stop, HOME)
                return
