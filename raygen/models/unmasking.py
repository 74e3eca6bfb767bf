"""Dyadic unmasking (ours): whole days drawn from a network that fills masked slots.

The slots half-way between the known ones are drawn, each given all known so far, then those
half-way between, down to the quarter hour. If the day were Markov this would draw from the exact
joint distribution; it takes 7 passes over 228 slots in all, where 96 steps of an autoregressive
model would take 96 passes. Drawing all slots in one pass breaks days into pieces, as
docs/results/data-fusion-chains.md shows.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from raygen.models.reconstruction import MASK, TYPES, Reconstruction, neighbours
from raygen.taxonomy import SLOTS

# B = batch, L = slots in the input


def unmasking_order(anchors: tuple[int, ...] = (0, SLOTS - 1)) -> list[list[int]]:
    """Return the slots of each pass of dyadic unmasking, from known ``anchors``.

    Strides 48, 24, 12, 6 and 3, then the second and the third of each three: two neighbours are
    never drawn in the same pass, where they could contradict each other.
    """
    known, passes = set(anchors), []
    grids = [range(0, SLOTS, stride) for stride in (48, 24, 12, 6, 3)]
    for grid in [*grids, range(1, SLOTS, 3), range(2, SLOTS, 3)]:
        fresh = [slot for slot in grid if slot not in known]
        passes.append(fresh)
        known.update(fresh)
    return passes


@torch.no_grad()
def generate(
    model: Reconstruction,
    chain: Tensor,
    day: Tensor,
    person: Tensor,
    shift: Tensor,
    uniform: Tensor,
) -> Tensor:
    """Draw the masked slots of day chains by dyadic unmasking.

    Parameters
    ----------
    model
        In evaluation mode.
    chain
        Activity types, ``MASK`` where not known, int64 (B, 96); the same slots are known in all
        rows, the first and the last among them. Not changed.
    day, person
        See ``Reconstruction.forward``.
    shift
        Added to the logits, (B, 15): the adapter of the person's group (Eq. 1), -inf for types
        that the person cannot do. It counts where a type would begin anew, not where the nearest
        known slot has that type already: there it would make activities longer, where it is to
        make them likelier.
    uniform
        Draws in [0, 1), (B, 96): one for each slot.

    Returns
    -------
    chains
        Activity types, int64 (B, 96), the known slots unchanged.
    """
    chain = chain.clone()
    known = torch.nonzero(chain[0] != MASK)[:, 0].tolist()
    for fresh in unmasking_order(tuple(known)):
        if not fresh:
            continue
        known = sorted({*known, *fresh})
        slots = torch.tensor(known, device=chain.device)
        asked = torch.tensor([known.index(slot) for slot in fresh], device=chain.device)
        tokens = chain[:, slots]
        logits = model.logits(tokens, slots, day, person)[:, asked]
        logits = logits + _onset(tokens, slots, asked, shift)
        chain[:, slots[asked]] = draw(logits, uniform[:, slots[asked]])
    return chain


@torch.no_grad()
def complete(
    model: Reconstruction,
    chain: Tensor,
    day: Tensor,
    person: Tensor,
    shift: Tensor,
    uniform: Tensor,
) -> Tensor:
    """Draw the masked slots of chains that are masked each in its own way.

    As ``generate``, but any slot of any row may be known; every pass reads the whole day.
    """
    chain = chain.clone()
    slots = torch.arange(SLOTS, device=chain.device)
    for fresh in unmasking_order(()):
        hidden = chain[:, fresh] == MASK
        if not hidden.any():
            continue
        asked = slots[fresh]
        logits = model.logits(chain, slots, day, person)[:, asked]
        drawn = draw(logits + _onset(chain, slots, asked, shift), uniform[:, fresh])
        chain[:, fresh] = torch.where(hidden, drawn, chain[:, fresh])
    return chain


def _onset(tokens: Tensor, slots: Tensor, asked: Tensor, shift: Tensor) -> Tensor:
    """Return the shift of asked columns (B, A, 15): 0 for the types of their nearest known."""
    left, right, _, _ = neighbours(tokens, slots)
    shape = (len(shift), len(asked), TYPES + 1)
    added = F.pad(shift, (0, 1))[:, None].expand(shape).clone()  # a last column for no neighbour
    for near in (left[:, asked, None], right[:, asked, None]):
        held = added.gather(2, near)
        # What a person cannot do stays barred, even beside where it was observed.
        added.scatter_(2, near, held.masked_fill(~torch.isinf(held), 0.0))
    return added[..., :TYPES]


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return the type at which the cumulated probability passes the uniform, int64 (B, L)."""
    edges = torch.softmax(logits.double(), dim=-1).cumsum(-1)
    below = (edges <= (uniform * edges[..., -1])[..., None]).sum(-1)
    return below.clamp(max=logits.shape[-1] - 1)
