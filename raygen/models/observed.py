"""Days as activities, what is known of them, and what follows from it for the others.

A day of 96 quarter hours of which some were observed: a stretch is a run of observed slots of one
type. An activity of type a from slot s can end where a was not observed, and no later than the
first observed slot of another type; what begins at an observed slot is of the observed type.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from raygen.taxonomy import ACTIVITY_TYPES, SLOTS

# B = batch, F = stretches, T = activities

TYPES = len(ACTIVITY_TYPES)

MASK = TYPES
"""Token of a slot whose activity is not known."""

NEVER = SLOTS + 1
"""Slot of what does not come."""


class Observed(NamedTuple):
    """What is known of B days, and what follows from it at each slot."""

    tokens: Tensor
    """Activity types or ``MASK``, int64 (B, 96)."""
    stretches: Tensor
    """Type, first slot and last slot of each observed stretch, int64 (B, F, 3); padded."""
    there: Tensor
    """Whether a stretch is one, bool (B, F)."""
    coming: Tensor
    """First observed slot from each slot on, int64 (B, 97); ``NEVER`` where there is none."""
    other: Tensor
    """From there on the first one of another type, int64 (B, 97)."""
    last: Tensor
    """Last observed slot before each slot, 0 where there is none, int64 (B, 98)."""
    types: Tensor
    """Type of the first observed slot from each slot on, or ``MASK``, int64 (B, 97)."""


class State(NamedTuple):
    """Activities under way: one of each row, or of each row and step."""

    kind: Tensor
    """Activity type, int64."""
    start: Tensor
    """First slot, int64."""
    spent: Tensor
    """Shares of the day that the types have had before, float32 (…, 15)."""


class Bounds(NamedTuple):
    """What was observed about activities (B, T): slots, int64."""

    held: Tensor
    """The type is seen until here: its last observed slot before ``other``, else the start."""
    other: Tensor
    """First observed slot of another type, ``NEVER`` if none; the end is not after it."""


def observe(tokens: Tensor) -> Observed:
    """Prepare what is known of days, (B, 96) of activity types or ``MASK``."""
    batch, _ = tokens.shape
    device = tokens.device
    known = tokens != MASK
    begins = known.clone()
    begins[:, 1:] &= tokens[:, 1:] != tokens[:, :-1]
    ends = known.clone()
    ends[:, :-1] &= tokens[:, :-1] != tokens[:, 1:]
    number = begins.sum(1)
    rank = begins.cumsum(1) - 1
    width = int(number.max()) if batch else 0
    stretches = torch.zeros((batch, width, 3), dtype=torch.int64, device=device)
    for marks, column in ((begins, 1), (ends, 2)):
        row, slot = torch.nonzero(marks, as_tuple=True)
        stretches[row, rank[row, slot], column] = slot
        stretches[row, rank[row, slot], 0] = tokens[row, slot]
    never = torch.full((batch,), NEVER, device=device)
    none = torch.full((batch,), MASK, device=device)
    coming, other, types = [never], [never], [none]
    at, kind, beyond = never, none, never
    for slot in range(SLOTS - 1, -1, -1):
        here = known[:, slot]
        beyond = torch.where(here & (tokens[:, slot] != kind), at, beyond)
        at = torch.where(here, slot, at)
        kind = torch.where(here, tokens[:, slot], kind)
        coming.append(at)
        other.append(beyond)
        types.append(kind)
    slots = torch.where(known, torch.arange(SLOTS, device=device), 0).cummax(1).values
    return Observed(
        tokens=tokens,
        stretches=stretches,
        there=torch.arange(width, device=device) < number[:, None],
        coming=torch.stack(coming[::-1], 1),
        other=torch.stack(other[::-1], 1),
        last=F.pad(F.pad(slots, (1, 0)), (0, 1), mode="replicate"),
        types=torch.stack(types[::-1], 1),
    )


def bounds_of(observed: Observed, state: State) -> Bounds:
    """Return what was observed about activities under way."""
    coming = observed.coming.gather(1, state.start)
    kind = observed.types.gather(1, state.start)
    beyond = observed.other.gather(1, state.start)
    same = kind == state.kind
    held = torch.where(same, observed.last.gather(1, beyond), state.start)
    return Bounds(held, torch.where(same, beyond, coming))


def first_barred(observed: Observed) -> Tensor:
    """Return which types cannot begin the day, bool (B, 1, 15)."""
    seen = observed.tokens[:, :1, None]
    types = torch.arange(TYPES, device=seen.device)
    return (seen != MASK) & (types != seen)


def next_barred(observed: Observed, end: Tensor, kind: Tensor) -> Tensor:
    """Return which types cannot begin at ``end`` after ``kind``, bool (B, T, 15).

    The same type cannot (it would be one activity); an observed slot takes what was observed.
    """
    seen = F.pad(observed.tokens, (0, 1), value=MASK).gather(1, end)[..., None]
    types = torch.arange(TYPES, device=end.device)
    return torch.where(seen == MASK, types == kind[..., None], types != seen)


class Activities(NamedTuple):
    """The activities of B days, padded to T."""

    kind: Tensor
    """Types, int64 (B, T); 0 beyond the last."""
    start: Tensor
    end: Tensor
    """First slot and the slot after the last, int64 (B, T); 96 beyond the last."""
    there: Tensor
    """Bool (B, T)."""


def activities_of(chains: Tensor) -> Activities:
    """Return the runs of equal slots of day chains, int64 (B, 96)."""
    begins = torch.ones_like(chains, dtype=torch.bool)
    begins[:, 1:] = chains[:, 1:] != chains[:, :-1]
    number = begins.sum(1)
    width = int(number.max())
    row, slot = torch.nonzero(begins, as_tuple=True)
    rank = (begins.cumsum(1) - 1)[row, slot]
    kind = torch.zeros((len(chains), width), dtype=torch.int64, device=chains.device)
    start = torch.full((len(chains), width + 1), SLOTS, device=chains.device)
    kind[row, rank] = chains[row, slot]
    start[row, rank] = slot
    there = torch.arange(width, device=chains.device) < number[:, None]
    return Activities(kind, start[:, :-1], start[:, 1:], there)
