"""Draw day chains from the chain decoder, activity by activity, with keys and values kept."""

import torch
from torch import Tensor
from torch.nn import functional as F

from raygen.models.chain_decoder import ChainDecoder
from raygen.models.observed import TYPES, Observed, State, first_barred, next_barred, observe
from raygen.taxonomy import SLOTS

# B = batch, P = tokens of the prefix, C = activity types

DRAWS = 2 * SLOTS
"""Draws of a day: one for the type that begins at each slot, one for its end."""


@torch.no_grad()
def draw_chains(
    model: ChainDecoder,
    tokens: Tensor,
    day: Tensor,
    person: Tensor,
    shift: Tensor,
    uniform: Tensor,
) -> Tensor:
    """Draw whole days given what was observed of them.

    Parameters
    ----------
    model
        In evaluation mode.
    tokens
        Activity types, ``MASK`` where not known, int64 (B, 96); not changed.
    day, person
        See ``log_likelihood``.
    shift
        Added to the logits of the type that begins, by the segment of the day in which it does,
        (B, 8, 15): the adapter of the person's group (DataFusion, Eq. 1); -inf for types that the
        person cannot do. What was observed stays, also where it is barred.
    uniform
        Draws in [0, 1), (B, ``DRAWS``).

    Returns
    -------
    chains
        Activity types, int64 (B, 96), equal to ``tokens`` where those are known.
    """
    observed = observe(tokens)
    before, there = model.prefix(observed, day, person)
    mask = there[:, None].expand(-1, before.shape[1], -1)
    hidden, past = model.run(before, mask)
    who, rows = before[:, 0], torch.arange(len(tokens), device=tokens.device)
    start = torch.zeros_like(day)
    barred = first_barred(observed)[:, 0]
    kind = _draw_type(model, (hidden[:, :1], start, observed), barred, shift, uniform)
    spent = torch.zeros((len(tokens), TYPES), device=tokens.device)
    chains = torch.empty_like(tokens)
    slot = torch.arange(SLOTS, device=tokens.device)
    while len(rows):
        there = F.pad(there, (0, 1), value=True)
        state = State(kind[:, None], start[:, None], spent[:, None])
        hidden, past = model.run(model.token(state, observed, who), there[:, None], past)
        logits = model.end_logits(hidden, state, observed)[:, 0]
        end = draw(logits, uniform[rows, SLOTS + start])
        inside = (slot >= start[:, None]) & (slot < end[:, None])
        chains[rows] = torch.where(inside, kind[:, None], chains[rows])
        goes_on = end < SLOTS
        spent = spent + F.one_hot(kind, TYPES) * ((end - start) / SLOTS)[:, None]
        barred = next_barred(observed, end[:, None], kind[:, None])[:, 0]
        rows, start, spent = rows[goes_on], end[goes_on], spent[goes_on]
        observed = Observed(*(part[goes_on] for part in observed))
        past = [layer[:, goes_on] for layer in past]
        there, who = there[goes_on], who[goes_on]
        kind = _draw_type(
            model, (hidden[goes_on], start, observed), barred[goes_on], shift[rows], uniform[rows]
        )
    return chains


def _draw_type(
    model: ChainDecoder,
    at: tuple[Tensor, Tensor, Observed],
    barred: Tensor,
    shift: Tensor,
    uniform: Tensor,
) -> Tensor:
    """Draw the type that begins ``at`` (hidden state, slot, what was observed), int64 (B,)."""
    hidden, slot, observed = at
    rows = torch.arange(len(slot), device=slot.device)
    logits = model.type_logits(hidden, slot[:, None], observed)[:, 0]
    logits = logits.masked_fill(barred, -torch.inf)
    moved = logits + shift[rows, slot * shift.shape[1] // SLOTS]
    forced = (~barred).sum(-1) == 1  # observed
    return draw(torch.where(forced[:, None], logits, moved), uniform[rows, slot])


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Return the class at which the cumulated probability passes the uniform, int64 (B,)."""
    edges = torch.softmax(logits.double(), dim=-1).cumsum(-1)
    below = (edges <= (uniform * edges[..., -1])[..., None]).sum(-1)
    return below.clamp(max=logits.shape[-1] - 1)
