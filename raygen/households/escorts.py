"""Who brings and who fetches, where a carer could: odds by what it takes of the carer's day.

P(carer) ∝ exp(−cost). An escort on the way out or back costs 1, one for its own sake (from home and
back) 2, each slot by which the child's time moves 0.25; a carer whose own day had a pickup_drop
within half an hour gains 4. Assumed: who passes by anyway first, then who is at home; who works at
the time is not asked.
"""

import numpy as np
from numba import njit

from raygen.households.state import (
    CARER,
    CHILD,
    PICKUP,
    BoolArray,
    State,
    alone,
    at_home,
    free,
)
from raygen.taxonomy import HOME, SLOTS

WAY, ERRAND, SLOT, OWN = 1.0, 2.0, 0.25, 4.0
"""Cost of an escort on the way, of one for its own sake, of a slot's move; gain of one drawn."""

NEAR = 2
"""Slots within which a drawn pickup_drop counts as this escort."""

EARLIER, LATER, LATEST = 4, 4, 8
"""Slots by which a child is brought earlier or later than drawn, and fetched later."""


@njit(cache=True, nogil=True)
def gain(state: State, carer: int, slot: int) -> float:
    """Return what a pickup_drop in the carer's drawn day is worth."""
    for near in range(max(slot - NEAR, 0), min(slot + NEAR + 1, SLOTS)):
        if state.brought[carer, near]:
            return OWN
    return 0.0


@njit(cache=True, nogil=True)
def leaves_alone(state: State, party: BoolArray, carer: int, slot: int, joins: bool) -> bool:
    """Return whether a carer's escort in a slot would leave a child outside the party alone.

    With ``joins`` children at home around the slot come along, and are not alone.
    """
    before = state.chain[carer, slot]
    state.chain[carer, slot] = PICKUP
    lonely = False
    for child in range(len(state.part)):
        if state.part[child] != CHILD or party[child]:
            continue
        if joins and at_home(state, child, slot - 1, slot + 1):
            continue
        for border in (slot, slot + 1):
            if border < SLOTS and at_home(state, child, border - 1, border):
                rest = np.ones(len(state.part), np.bool_)
                rest[child] = False
                lonely |= alone(state, border, rest)
    state.chain[carer, slot] = before
    return lonely


@njit(cache=True, nogil=True)
def choose_bring(state: State, party: BoolArray, slot: int) -> tuple[int, int, float]:
    """Draw who brings a party that is to arrive about a slot.

    Returns
    -------
    carer, slot, cost
        Carer -1 where nobody can.
    """
    best, when, least = -1, 0, np.inf
    for carer in range(len(state.part)):
        if state.part[carer] != CARER:
            continue
        for at in range(max(slot - EARLIER, 1), min(slot + LATER + 1, SLOTS - 1)):
            if not at_home(state, carer, at - 1, at) or not free(state, carer, at - 1, at + 1):
                continue
            errand = state.chain[carer, at + 1] == HOME
            if errand and at != slot and gain(state, carer, at) == 0.0:
                continue
            if leaves_alone(state, party, carer, at, errand):
                continue
            cost = (ERRAND if errand else WAY) + SLOT * abs(at - slot)
            cost -= gain(state, carer, at) + state.noise[carer, at]
            if cost < least:
                best, when, least = carer, at, cost
    return best, when, least


@njit(cache=True, nogil=True)
def choose_fetch(state: State, party: BoolArray, slot: int, start: int) -> tuple[int, int, float]:
    """Draw who fetches a party brought at ``start`` that is to be home about a slot."""
    best, when, least = -1, 0, np.inf
    for carer in range(len(state.part)):
        if state.part[carer] != CARER:
            continue
        for home in range(max(slot - EARLIER, start + 2), min(slot + LATEST + 1, SLOTS)):
            at = home - 1  # the slot of the escort itself
            if not at_home(state, carer, at, home) or not free(state, carer, at - 1, home):
                continue
            errand = state.chain[carer, at - 1] == HOME
            if errand and home != slot and gain(state, carer, at) == 0.0:
                continue
            if state.chain[carer, at - 1] == PICKUP or leaves_alone(
                state, party, carer, at, errand
            ):
                continue
            cost = (ERRAND if errand else WAY) + SLOT * abs(home - slot)
            cost -= gain(state, carer, at) + state.noise[carer, home]
            if cost < least:
                best, when, least = carer, home, cost
    return best, when, least


@njit(cache=True, nogil=True)
def tag_along(state: State, party: BoolArray, lead: int, carer: int, slot: int) -> None:
    """Take children whom the carer's escort would leave alone along to the lead's place."""
    for child in range(len(state.part)):
        if state.part[child] != CHILD or party[child]:
            continue
        lonely = False
        for border in (slot, slot + 1):
            if at_home(state, child, border - 1, border):
                rest = np.ones(len(state.part), np.bool_)
                rest[child] = False
                lonely |= alone(state, border, rest)
        if lonely and at_home(state, child, slot - 1, slot + 1):
            state.chain[child, slot] = PICKUP
            state.place[child, slot] = lead
            state.escort[child, slot] = carer
            state.escort[child, slot + 1] = carer
