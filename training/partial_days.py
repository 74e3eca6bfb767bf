"""Days of which only parts are known: made and completed.

How they are compared: ``raygen.transitions``.
"""

import numpy as np
import numpy.typing as npt
import torch

from raygen.models.adapters import AdapterConfig, Adapters
from raygen.models.chain_decoder import ChainDecoder
from raygen.models.masks import mask_by
from raygen.models.observed import MASK
from raygen.models.slot_network import SlotNetwork, fill
from raygen.stages.chains import UNKNOWN, ChainModels, complete_days
from raygen.taxonomy import ACTIVITY_TYPES, SLOTS

Chains = npt.NDArray[np.int8]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

TUESDAY = 1
_BATCH = 2048


def fragments(chains: Chains, share: float, uniform: FloatArray) -> Chains:
    """Hide periods of 8 to 20 slots until ``share`` of each day is unknown, as a GPS falls silent.

    Parameters
    ----------
    chains
        Activity types or ``UNKNOWN``, shape (N, 96); not changed.
    share
        Of the slots, in [0, 1].
    uniform
        Draws in [0, 1), shape (N, 96).
    """
    return np.where(mask_by("period", chains, share, uniform), np.int8(UNKNOWN), chains)


def complete(
    network: ChainDecoder | SlotNetwork, raw: Chains, people: IntArray, uniform: FloatArray
) -> Chains:
    """Fill what is unknown of weekdays by the network alone, without adapters.

    Parameters
    ----------
    network
        In evaluation mode.
    raw
        Activity types or ``UNKNOWN``, shape (N, 96).
    people
        Demographic group, student status, child, shape (N, 3).
    uniform
        Draws in [0, 1), shape (N, ``DRAWS``).

    Returns
    -------
    chains
        Shape (N, 96), equal to ``raw`` where that is known.
    """
    week_day = np.full(len(raw), TUESDAY)
    if isinstance(network, ChainDecoder):
        shape = AdapterConfig()
        blank = Adapters(
            torch.zeros(shape.day_kinds, shape.rows, shape.segments, shape.types),
            torch.zeros(shape.day_kinds, shape.rows),
        )
        return complete_days(ChainModels(network, blank, "cpu"), raw, people, week_day, uniform)
    chains = np.empty(raw.shape, np.int8)
    tokens = torch.from_numpy(np.where(raw == UNKNOWN, MASK, raw).astype(np.int64))
    draws = torch.from_numpy(uniform[:, :SLOTS])
    for start in range(0, len(raw), _BATCH):
        part = slice(start, start + _BATCH)
        day = torch.from_numpy(week_day[part])
        shift = torch.zeros(len(day), len(ACTIVITY_TYPES))
        with torch.inference_mode():
            done = fill(network, tokens[part], day, shift, draws[part])
        chains[part] = done.numpy().astype(np.int8)
    return chains
