"""Join the days of the households of a shard: the compiled loop; the steps are in its siblings."""

import numpy as np
import numpy.typing as npt
from numba import njit

from raygen.households.forced import hand_over, next_span, relieve
from raygen.households.outings import next_tour, outing
from raygen.households.state import (
    CARER,
    CHILD,
    PICKUP,
    BoolArray,
    Int8Array,
    Int32Array,
    Int64Array,
    State,
)
from raygen.taxonomy import HOME, SLOTS

COUNTERS = (
    "tours_drawn", "tours_cancelled", "tours_split", "tours_joined", "tours_copied",
    "spans_joined", "spans_waited", "spans_split", "spans_stayed", "handovers", "unsolved",
)  # fmt: skip
"""What ``join`` counts, in order."""


@njit(cache=True, nogil=True)
def join(
    start: Int64Array, part: Int8Array, chains: Int8Array, noise: npt.NDArray[np.float64]
) -> tuple[Int32Array, Int32Array, Int64Array]:
    """Join the days of households.

    Parameters
    ----------
    start
        First row of each of H households, shape (H + 1,); rows of a household are consecutive.
    part
        CHILD, CARER, GUARD or OTHER, shape (N,).
    chains
        Activity types, shape (N, 96), home first and last; overwritten.
    noise
        Gumbel noise of the choices, shape (N, 96).

    Returns
    -------
    place, escort
        Rows of persons, shape (N, 96): see ``State``.
    counts
        Of COUNTERS.
    """
    place = np.full(chains.shape, -1, np.int32)
    escort = place.copy()
    counts = np.zeros(len(COUNTERS), np.int64)
    for household in range(len(start) - 1):
        first, stop = start[household], start[household + 1]
        parts = part[first:stop]
        if not (parts == CHILD).any() or not (parts == CARER).any():
            continue
        state = _state(parts, chains[first:stop], noise[first:stop])
        _mind(state, counts)
        _go_out(state, counts)
        chains[first:stop] = state.chain
        for member in range(stop - first):
            for slot in range(SLOTS):
                if state.place[member, slot] >= 0:
                    place[first + member, slot] = first + state.place[member, slot]
                if state.escort[member, slot] >= 0:
                    escort[first + member, slot] = first + state.escort[member, slot]
    return place, escort, counts


@njit(cache=True, nogil=True)
def _state(part: Int8Array, drawn: Int8Array, noise: npt.NDArray[np.float64]) -> State:
    """Return the state before anything is settled: children at home, nobody brings anybody."""
    chain = drawn.copy()
    brought: BoolArray = chain == PICKUP
    for member in range(len(part)):
        for slot in range(1, SLOTS):
            if chain[member, slot] == PICKUP:
                chain[member, slot] = chain[member, slot - 1]
    wish = chain.copy()
    for member in range(len(part)):
        if part[member] == CHILD:
            chain[member] = HOME
    empty = np.full(chain.shape, -1, np.int32)
    locked = np.zeros(chain.shape, np.bool_)
    return State(part, chain, empty, empty.copy(), locked, wish, brought, noise)


@njit(cache=True, nogil=True)
def _mind(state: State, counts: Int64Array) -> None:
    """See to it that no child is alone at home."""
    counts[9] += hand_over(state)
    for _ in range(2 * SLOTS):
        first, last = next_span(state, 1)
        if first == SLOTS:
            return
        counts[5 + relieve(state, first, last)] += 1
    counts[10] += 1


@njit(cache=True, nogil=True)
def _go_out(state: State, counts: Int64Array) -> None:
    """Make the children's remaining tours."""
    for child in range(len(state.part)):
        if state.part[child] != CHILD:
            continue
        slot = 1
        while slot < SLOTS:
            begin, end = next_tour(state, child, slot)
            if begin >= SLOTS:
                break
            counts[0] += 1
            counts[1 + outing(state, child, begin, end)] += 1
            slot = end
