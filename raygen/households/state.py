"""The days of a household's members while they are being joined, and who minds the children.

A child is minded at home at the border of slots t − 1 and t when one and the same guard is at home
in both. Handing over then takes a slot in which both are there, which is what makes the rule hold
on the clock too (``assignment.times``), whatever the travel times are.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from raygen.taxonomy import ACTIVITY_TYPES, HOME, SCHOOL, SLOTS, WORK

PICKUP = ACTIVITY_TYPES.index("pickup_drop")
CARE = ACTIVITY_TYPES.index("caregiving")

CHILD, CARER, GUARD, OTHER = 0, 1, 2, 3
"""Parts in a household: under 12; brings and minds children; minds them only; neither."""

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class State(NamedTuple):
    """Days of M members of one household; arrays of shape (M, 96) but for ``part``."""

    part: Int8Array
    """CHILD, CARER, GUARD or OTHER, shape (M,)."""

    chain: Int8Array
    place: Int32Array
    """Member whose place an activity shares, -1 for a place of its own."""

    escort: Int32Array
    """Member with whom a child makes the trip to the activity that starts here, else -1."""

    locked: BoolArray
    """Slots of carers on which a trip of a child depends."""

    wish: Int8Array
    """Children's days as drawn, without what is already settled."""

    brought: BoolArray
    """Carers' pickup_drop as drawn: where an escort costs nothing."""

    noise: npt.NDArray[np.float64]
    """Gumbel noise of the choices between carers, shape (M, 96)."""


@njit(cache=True, nogil=True)
def at_home(state: State, member: int, first: int, last: int) -> bool:
    """Return whether a member is at home in all slots from first to last, within the day."""
    if first < 0 or last >= SLOTS:
        return False
    for slot in range(first, last + 1):
        if state.chain[member, slot] != HOME:
            return False
    return True


@njit(cache=True, nogil=True)
def free(state: State, member: int, first: int, last: int) -> bool:
    """Return whether no slot from first to last is locked, and all are within the day."""
    if first < 0 or last >= SLOTS:
        return False
    for slot in range(first, last + 1):
        if state.locked[member, slot]:
            return False
    return True


@njit(cache=True, nogil=True)
def guarded(state: State, slot: int) -> bool:
    """Return whether a guard is at home both before and in a slot."""
    for member in range(len(state.part)):
        minds = state.part[member] == CARER or state.part[member] == GUARD
        if minds and at_home(state, member, slot - 1, slot):
            return True
    return False


@njit(cache=True, nogil=True)
def alone(state: State, slot: int, party: BoolArray) -> bool:
    """Return whether a child outside the party would be alone at home at the border of a slot."""
    if guarded(state, slot):
        return False
    for member in range(len(state.part)):
        if state.part[member] == CHILD and not party[member]:
            if at_home(state, member, slot - 1, slot):
                return True
    return False


@njit(cache=True, nogil=True)
def tour_end(chain: Int8Array, member: int, start: int) -> int:
    """Return the slot of the next homecoming after a slot away from home."""
    slot = start
    while slot < SLOTS - 1 and chain[member, slot] != HOME:
        slot += 1
    return slot


@njit(cache=True, nogil=True)
def holds(chain: Int8Array, member: int, first: int, stop: int, kind: int) -> bool:
    """Return whether a type is in the slots from first to before stop."""
    for slot in range(first, stop):
        if chain[member, slot] == kind:
            return True
    return False


@njit(cache=True, nogil=True)
def joinable(state: State, member: int, first: int, stop: int) -> bool:
    """Return whether children can come along on a tour: no work, school or escort is part of it."""
    for slot in range(first, stop):
        kind = state.chain[member, slot]
        if kind == WORK or kind == SCHOOL or kind == PICKUP:  # noqa: PLR1714
            return False
    return free(state, member, first - 1, stop)


@njit(cache=True, nogil=True)
def write(table: npt.NDArray[np.generic], member: int, start: int, stop: int, value: int) -> None:
    """Write a value to a member's slots from start to before stop; a slice compiles far slower."""
    for slot in range(max(start, 0), min(stop, SLOTS)):
        table[member, slot] = value


@njit(cache=True, nogil=True)
def bring(state: State, party: BoolArray, lead: int, carer: int, slot: int) -> None:
    """Have a carer bring the party to the lead's place, arriving in a slot."""
    state.chain[carer, slot] = PICKUP
    state.place[carer, slot] = lead
    write(state.locked, carer, slot - 1, slot + 2, True)
    for member in range(len(state.part)):
        if party[member]:
            state.escort[member, slot] = carer


@njit(cache=True, nogil=True)
def fetch(state: State, party: BoolArray, lead: int, carer: int, slot: int) -> None:
    """Have a carer fetch the party from the lead's place, arriving at home in a slot."""
    state.chain[carer, slot - 1] = PICKUP
    state.place[carer, slot - 1] = lead
    write(state.locked, carer, slot - 2, slot + 1, True)
    for member in range(len(state.part)):
        if party[member]:
            state.escort[member, slot] = carer


@njit(cache=True, nogil=True)
def settle(state: State, party: BoolArray, lead: int, span: tuple[int, int]) -> None:
    """Put the party at the lead's place for a span of slots: at school, or in care."""
    start, stop = span
    for member in range(len(state.part)):
        if not party[member]:
            continue
        kind = CARE
        if member == lead:
            kind = main_type(state.wish, member, start, stop)
        elif holds(state.wish, member, start, stop, SCHOOL):
            kind = SCHOOL
        write(state.chain, member, start, stop, kind)
        if member != lead:
            write(state.place, member, start, stop, lead)
        forget(state.wish, member, start, stop)


@njit(cache=True, nogil=True)
def main_type(wish: Int8Array, child: int, start: int, stop: int) -> int:
    """Return school if a span holds any, else the longest type away from home, else care."""
    count = np.zeros(len(ACTIVITY_TYPES), np.int64)
    for slot in range(start, stop):
        count[wish[child, slot]] += 1
    if count[SCHOOL] > 0:
        return SCHOOL
    main, most = CARE, 0
    for kind in range(len(count)):
        if kind != HOME and count[kind] > most:
            main, most = kind, count[kind]
    return main


@njit(cache=True, nogil=True)
def forget(wish: Int8Array, child: int, start: int, stop: int) -> None:
    """Take the tours that meet a span out of a child's wishes."""
    first, last = start, stop
    while first > 0 and wish[child, first - 1] != HOME:
        first -= 1
    while last < SLOTS and wish[child, last] != HOME:
        last += 1
    write(wish, child, first, last, HOME)


@njit(cache=True, nogil=True)
def take_along(state: State, party: BoolArray, carer: int, span: tuple[int, int]) -> None:
    """Have the party do what the carer does on a tour, at the same places."""
    start, stop = span
    write(state.locked, carer, start - 1, stop + 1, True)
    for member in range(len(state.part)):
        if party[member]:
            for slot in range(start, stop):
                state.chain[member, slot] = state.chain[carer, slot]
            write(state.place, member, start, stop, carer)
            write(state.escort, member, start, stop + 1, carer)
            forget(state.wish, member, start, stop)


@njit(cache=True, nogil=True)
def all_home(state: State, party: BoolArray, first: int, last: int) -> bool:
    """Return whether all of a party are at home in the slots from ``first`` to ``last``."""
    for member in range(len(state.part)):
        if party[member] and not at_home(state, member, first, last):
            return False
    return True
