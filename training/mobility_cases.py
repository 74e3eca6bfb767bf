"""What a training of the mobility experiments sees: shares of days, plans without a part."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from raygen import seeds
from raygen.mobility import Days
from raygen.taxonomy import PLAN_SLOTS
from training.mobility_data import CityDays
from training.mobility_plans import Plans

Table = Literal["4", "5", "6", "L", "S"]
Blind = Literal["", "temporal", "semantic", "planner"]


@dataclass(frozen=True)
class Case:
    """One training."""

    table: str
    name: str
    share: float = 1.0
    """Of every city's training days."""
    held_back: str = ""
    """City of which the models see ``seen`` of the days alone."""
    seen: float = 1.0
    blind: Blind = ""
    """Plan that neither training nor sampling sees."""
    slots: bool = False
    """Whether a sequence has an entry for each slot."""
    told: bool = False
    """Whether the language model plans."""


def part(days: Days, share: float, seed: int) -> Days:
    """Return a share of the days, drawn once for a seed: a smaller share is part of a larger."""
    order = seeds.stream(seed, "tables-share").permutation(len(days.region))
    return days.take(np.sort(order[: max(1, round(share * len(order)))]))


def blind_plans(plans: Plans, city: CityDays, blind: Blind, seed: int) -> Plans:
    """Return plans without what a case does not see.

    Without the temporal plan a day arrives when any training day does, whatever its start region;
    its kinds of places stay in their order, the last again where there are too few.
    """
    temporal, semantic = plans.temporal, plans.semantic
    days = plans.days
    if blind in ("temporal", "planner"):
        rng = seeds.stream(seed, "tables-blind")
        other = city.train.slot[rng.integers(0, len(city.train.slot), len(days.slot))]
        last = np.minimum(np.arange(other.shape[1]), days.length[:, None] - 1)
        semantic = np.take_along_axis(semantic, last[:, :, None], axis=1)
        region = np.where(other >= 0, days.region[:, :1], -1).astype(np.int32)
        days = replace(days, slot=other, region=region)
        held = (other >= 0)[:, :, None]
        temporal = np.broadcast_to(np.float32(1 / PLAN_SLOTS), temporal.shape) * held
        semantic = semantic * held
    told = blinded(torch.from_numpy(temporal), torch.from_numpy(semantic), blind)
    return Plans(days, *(told[name].numpy() for name in ("temporal", "semantic")))


def blinded(
    temporal: torch.Tensor, semantic: torch.Tensor, blind: Blind
) -> dict[str, torch.Tensor]:
    """Return plans made even where they are hidden; where there is no entry they stay zero."""
    if blind in ("temporal", "planner"):
        temporal = (temporal.sum(dim=2, keepdim=True) > 0) / torch.full_like(temporal, PLAN_SLOTS)
    if blind in ("semantic", "planner"):
        held = semantic.sum(dim=2, keepdim=True) > 0
        even = held / torch.full_like(semantic, semantic.shape[2])
        # The start region is known, and is no part of the plan.
        semantic = torch.cat([semantic[:, :1], even[:, 1:]], dim=1)
    return {"temporal": temporal, "semantic": semantic}
