"""Which slots of a day a training example hides, and which it leaves out.

Two families of views. *Paper* views are whole days with DataFusion's three maskings (4.1.2): whole
activities, periods and single slots, at 0 %, 40 % and 70 % of the day by the phase of the training
(6.1.3), periods of 8–20 slots. *Dyadic* views are the states that generation passes through: the
slots of a coarser grid known, those half-way between asked for, the others left out.
"""

import numpy as np
import numpy.typing as npt

from raygen.models.unmasking import unmasking_order
from raygen.taxonomy import SLOTS

PHASES = ((0.1, 0.0), (0.4, 0.4), (1.0, 0.7))
"""End of a phase as a share of the training, and the share of the day that it hides (6.1.3)."""

_PERIOD_SLOTS = (8, 20)


def masked_share(progress: float) -> float:
    """Return the share of the day that paper views hide at a progress in [0, 1]."""
    return next(share for end, share in PHASES if progress < end or end == 1.0)


def paper_mask(
    chains: npt.NDArray[np.int8], share: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Hide about ``share`` of each day by one of the three maskings, drawn per day.

    Parameters
    ----------
    chains
        Activity types, shape (B, 96).
    share
        Share of slots to hide.
    rng
        Source of the draws.

    Returns
    -------
    hidden
        Shape (B, 96), true where hidden.
    """
    hidden = np.zeros(chains.shape, bool)
    if share == 0:
        return hidden
    choice = rng.integers(3, size=len(chains))
    slots = choice == 0
    hidden[slots] = rng.random((int(slots.sum()), SLOTS)) < share
    activity = choice == 1
    hidden[activity] = _activity_mask(chains[activity], share, rng)
    period = choice == 2  # noqa: PLR2004 - the third masking
    hidden[period] = _period_mask(int(period.sum()), share, rng)
    return hidden


def _activity_mask(
    chains: npt.NDArray[np.int8], share: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Hide whole activities in random order until ``share`` of the day is hidden."""
    starts = np.ones(chains.shape, bool)
    starts[:, 1:] = chains[:, 1:] != chains[:, :-1]
    run = np.cumsum(starts, axis=1) - 1
    rank = rng.random(chains.shape)
    run_rank = np.take_along_axis(rank, run, axis=1)
    order = np.argsort(run_rank, axis=1, kind="stable")
    before = np.empty(chains.shape)
    np.put_along_axis(before, order, np.arange(SLOTS)[None].repeat(len(chains), 0), axis=1)
    # A run is hidden where it begins before the share is reached in the shuffled order.
    first = np.full(chains.shape, SLOTS, float)
    np.minimum.at(first, (np.arange(len(chains))[:, None], run), before)
    return np.take_along_axis(first, run, axis=1) < share * SLOTS


def _period_mask(days: int, share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    hidden = np.zeros((days, SLOTS), bool)
    slot = np.arange(SLOTS)
    while True:
        short = hidden.mean(1) < share
        if not short.any():
            return hidden
        length = rng.integers(_PERIOD_SLOTS[0], _PERIOD_SLOTS[1] + 1, days)
        start = rng.integers(-_PERIOD_SLOTS[0], SLOTS, days)
        fresh = (slot >= start[:, None]) & (slot < (start + length)[:, None])
        hidden |= fresh & short[:, None]


def dyadic_views() -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]]:
    """Return for each pass of generation the slots in the input and which of them are asked."""
    views: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]] = []
    known = [0, SLOTS - 1]
    for fresh in unmasking_order():
        known = sorted({*known, *fresh})
        views.append((np.array(known), np.isin(known, fresh)))
    return views
