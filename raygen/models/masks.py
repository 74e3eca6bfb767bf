"""Which slots of a day are hidden: the three maskings of DataFusion (4.1.2, 6.1.3).

Whole activities, periods of 8–20 slots, and single slots, at a share of the day; a training hides
0 %, 40 % and 70 % by its phase.
"""

import numpy as np
import numpy.typing as npt

from raygen.taxonomy import SLOTS

PHASES = ((0.1, 0.0), (0.4, 0.4), (1.0, 0.7))
"""End of a phase as a share of the training, and the share of the day that it hides (6.1.3)."""

MASK_DRAWS = 1 + SLOTS
"""Draws that a day's mask takes."""

MASKINGS = ("slot", "activity", "period")

_PERIOD_SLOTS = (8, 20)
_PERIODS = 40  # the paper has at most 8, which overlap and fall short of the share on many days

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def masked_share(progress: float) -> float:
    """Return the share of the day that a training hides at a progress in [0, 1]."""
    return next(share for end, share in PHASES if progress < end or end == 1.0)


def paper_mask(chains: npt.NDArray[np.int8], share: float, rng: np.random.Generator) -> BoolArray:
    """Return ``keyed_mask`` of days (B, 96) with draws of ``rng``."""
    return keyed_mask(chains, share, rng.random((len(chains), MASK_DRAWS)))


def keyed_mask(chains: npt.NDArray[np.int8], share: float, uniform: FloatArray) -> BoolArray:
    """Hide about ``share`` of each day by one of the three maskings, drawn per day.

    Parameters
    ----------
    chains
        Activity types, shape (B, 96).
    share
        Share of slots to hide.
    uniform
        Draws in [0, 1), shape (B, ``MASK_DRAWS``).

    Returns
    -------
    hidden
        Shape (B, 96), true where hidden. Whole activities overshoot: the one that reaches the
        share is hidden to its end.
    """
    hidden = np.zeros(chains.shape, bool)
    if share == 0:
        return hidden
    choice = (uniform[:, 0] * len(MASKINGS)).astype(np.int64)
    for index, masking in enumerate(MASKINGS):
        rows = choice == index
        hidden[rows] = mask_by(masking, chains[rows], share, uniform[rows, 1:])
    return hidden


def mask_by(
    masking: str, chains: npt.NDArray[np.int8], share: float, uniform: FloatArray
) -> BoolArray:
    """Hide about ``share`` of each day by one of ``MASKINGS``; draws (B, 96)."""
    match masking:
        case "slot":
            return uniform < share
        case "activity":
            return _activity_mask(chains, share, uniform)
        case _:
            return _period_mask(share, uniform)


def _activity_mask(chains: npt.NDArray[np.int8], share: float, rank: FloatArray) -> BoolArray:
    """Hide whole activities in random order until ``share`` of the day is hidden."""
    starts = np.ones(chains.shape, bool)
    starts[:, 1:] = chains[:, 1:] != chains[:, :-1]
    run = np.cumsum(starts, axis=1) - 1
    run_rank = np.take_along_axis(rank, run, axis=1)
    order = np.argsort(run_rank, axis=1, kind="stable")
    before = np.empty(chains.shape)
    np.put_along_axis(before, order, np.arange(SLOTS)[None].repeat(len(chains), 0), axis=1)
    # A run is hidden where it begins before the share is reached in the shuffled order.
    first = np.full(chains.shape, SLOTS, float)
    np.minimum.at(first, (np.arange(len(chains))[:, None], run), before)
    return np.take_along_axis(first, run, axis=1) < share * SLOTS


def _period_mask(share: float, uniform: FloatArray) -> BoolArray:
    """Hide periods until ``share`` of the day is hidden."""
    shortest, longest = _PERIOD_SLOTS
    length = shortest + (uniform[:, :_PERIODS] * (longest + 1 - shortest)).astype(np.int64)
    start = (uniform[:, _PERIODS : 2 * _PERIODS] * (SLOTS + shortest)).astype(np.int64) - shortest
    hidden, slot = np.zeros(uniform.shape, bool), np.arange(SLOTS)
    for period in range(_PERIODS):
        short = hidden.mean(1) < share
        if not short.any():
            break
        begin = start[:, period, None]
        fresh = (slot >= begin) & (slot < begin + length[:, period, None])
        hidden |= fresh & short[:, None]
    return hidden
