"""Days, masks and validation of the paper's slot network; part of ``raygen train reconstruction``.

The three phases of DataFusion 6.1.3: 10 % of the epochs on whole days, 30 % with 40 % of the slots
hidden, the rest with 70 %.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from raygen import seeds
from raygen.config import Section
from raygen.models.masks import masked_share, paper_mask
from raygen.models.observed import MASK, TYPES
from raygen.models.slot_network import SlotNetwork, SlotNetworkConfig, SlotObjective
from raygen.taxonomy import SLOTS
from training.chain_data import ChainPool

_SLICE = 500  # days of a forward pass in validation


class LossSection(Section):
    """The three-part loss and its batches."""

    weights: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Of cross-entropy, transition and warping (6.1.3)."""

    class_weight_power: Annotated[float, Field(ge=0, le=1)] = 0.25
    """w_c ∝ frequency^-power; taken out again of the probabilities."""

    batch: Annotated[int, Field(ge=1)] = 512
    """Days of an optimiser step over all workers."""

    steps: Annotated[int, Field(ge=0)] = 0
    """Optimiser steps of an epoch; 0 is a pass over the days."""

    weekend_share: Annotated[float, Field(ge=0, lt=1)] = 0.35
    """Share of weekend days among the examples."""

    validation_days: Annotated[int, Field(ge=10)] = 2000
    """Held-out days whose masked slots pick the best epoch."""


@dataclass(frozen=True)
class SlotTask:
    """See ``training.loop``."""

    config: SlotNetworkConfig
    loss: LossSection
    train: ChainPool
    validation: ChainPool
    seed: int
    epochs: int

    def model(self) -> SlotObjective:
        """Return the network in its loss, with the class weights of the training days."""
        network = SlotNetwork(self.config)
        network.log_class_weight.copy_(
            torch.from_numpy(log_class_weight(self.train, self.loss.class_weight_power))
        )
        return SlotObjective(network, self.loss.weights)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield an epoch's batches, masked by the phase."""
        draw = seeds.stream(self.seed, "slot-masks", epoch, rank)
        size = -(-self.loss.batch // world)
        share = masked_share(epoch / self.epochs)
        for _ in range(self.loss.steps or -(-len(self.train.chains) // self.loss.batch)):
            entries = self.train.sample(size, draw)
            hidden = paper_mask(self.train.chains[self.train.day[entries]], share, draw)
            yield batch_of(self.train, entries, hidden, draw)

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        """Return the cross-entropy of hidden slots of held-out days at 70 %, nats a slot."""
        if not isinstance(model, SlotObjective):
            msg = f"reconstruction: validate needs a SlotObjective, got {type(model).__name__}"
            raise TypeError(msg)
        rng = seeds.stream(self.seed, "slot-validation")
        entries = self.validation.sample(self.loss.validation_days, rng)
        hidden = paper_mask(self.validation.chains[self.validation.day[entries]], 0.7, rng)
        batch = batch_of(self.validation, entries, hidden, rng)
        return {"total": hidden_entropy(model.model, batch)}


def log_class_weight(pool: ChainPool, power: float) -> npt.NDArray[np.float64]:
    """Return log w_c with w_c ∝ frequency^-power and mean 1 over the pool's slots, (15,)."""
    share = np.bincount(
        pool.chains[pool.day].ravel(), np.repeat(pool.probability, SLOTS), minlength=TYPES
    )
    weight = np.maximum(share / share.sum(), 1e-5) ** -power
    return np.log(weight / ((weight * share).sum() / share.sum()))


def batch_of(
    pool: ChainPool,
    entries: npt.NDArray[np.int64],
    hidden: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Return a batch of the objective: ``entries`` of a pool, some slots hidden."""
    target = pool.chains[pool.day[entries]].astype(np.int64)
    return {
        "tokens": torch.from_numpy(np.where(hidden, MASK, target)),
        "target": torch.from_numpy(target),
        "day": torch.from_numpy(pool.week_days(entries, rng)),
    }


@torch.no_grad()
def hidden_entropy(network: SlotNetwork, batch: dict[str, Tensor]) -> float:
    """Return the mean cross-entropy of the hidden slots of a batch, nats."""
    total, slots = 0.0, 0
    for tokens, target, day in zip(
        *(batch[name].split(_SLICE) for name in ("tokens", "target", "day")), strict=True
    ):
        hidden = tokens == MASK
        nats = F.cross_entropy(network.logits(tokens, day)[hidden], target[hidden], reduction="sum")
        total, slots = total + float(nats), slots + int(hidden.sum())
    return total / slots
