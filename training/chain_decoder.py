"""Days, views and validation of the chain decoder; part of ``raygen train reconstruction``."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from raygen import seeds
from raygen.config import Section
from raygen.errors import DataError
from raygen.models.chain_decoder import (
    ChainDecoder,
    ChainDecoderConfig,
    LikelihoodObjective,
    log_likelihood,
)
from raygen.models.masks import paper_mask
from raygen.models.observed import MASK
from raygen.taxonomy import SLOTS
from training.chain_data import WEEKEND, ChainPool

_SLICE = 500  # days of a forward pass in validation


class LikelihoodSection(Section):
    """The views of the days that the likelihood is taken over, and how many."""

    batch: Annotated[int, Field(ge=1)] = 384
    """Days of an optimiser step over all workers."""

    steps: Annotated[int, Field(ge=1)] = 50
    """Optimiser steps of an epoch."""

    parts: Annotated[int, Field(ge=1)] = 4
    """Parts of a batch by length; see ``LikelihoodObjective``."""

    free: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of days of which both ends alone are known: generation."""

    shares: tuple[float, ...] = (0.7, 0.7, 0.4)
    """Shares of the day that the paper's maskings hide of the others, in turn."""

    any_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the others whose hidden share is drawn from 5 to 95 %."""

    weekend_share: Annotated[float, Field(ge=0, lt=1)] = 0.35
    """Share of weekend days among the examples."""

    validation_days: Annotated[int, Field(ge=10)] = 2000
    """Held-out days whose likelihood picks the best epoch."""


@dataclass(frozen=True)
class DecoderTask:
    """See ``training.loop``."""

    config: ChainDecoderConfig
    section: LikelihoodSection
    train: ChainPool
    validation: ChainPool
    seed: int

    def model(self) -> LikelihoodObjective:
        """Return the network in its loss."""
        return LikelihoodObjective(ChainDecoder(self.config), self.section.parts)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield an epoch's batches."""
        draw = seeds.stream(self.seed, "reconstruction-views", epoch, rank)
        size = -(-self.section.batch // world)
        for _ in range(self.section.steps):
            entries = self.train.sample(size, draw)
            hidden = views(self.train.chains[self.train.day[entries]], self.section, draw)
            yield batch_of(self.train, entries, hidden, draw)

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        """Return the negative log-likelihood of held-out days in nats; see ``day_likelihood``."""
        if not isinstance(model, LikelihoodObjective):
            msg = "reconstruction: validate needs a LikelihoodObjective, got "
            raise TypeError(msg + type(model).__name__)
        return day_likelihood(model.model, self.validation, self.section.validation_days, self.seed)


def views(
    chains: npt.NDArray[np.int8], section: LikelihoodSection, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return what is hidden of days (B, 96), bool (B, 96), row by row in the section's shares."""
    hidden = np.ones(chains.shape, bool)
    hidden[:, [0, SLOTS - 1]] = False
    masked = np.flatnonzero(rng.random(len(chains)) >= section.free)
    shares = np.resize(np.asarray(section.shares), len(masked))
    anyhow = rng.random(len(masked)) < section.any_share
    shares[anyhow] = rng.choice(np.arange(0.05, 0.96, 0.15), int(anyhow.sum()))
    for share in np.unique(shares):
        rows = masked[shares == share]
        hidden[rows] = paper_mask(chains[rows], float(share), rng)
    return hidden


def batch_of(
    pool: ChainPool,
    entries: npt.NDArray[np.int64],
    hidden: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Return a batch of the objective: ``entries`` of a pool, some slots hidden."""
    chains = pool.chains[pool.day[entries]].astype(np.int64)
    return {
        "chains": torch.from_numpy(chains),
        "tokens": torch.from_numpy(np.where(hidden, MASK, chains)),
        "day": torch.from_numpy(pool.week_days(entries, rng)),
        "person": torch.from_numpy(pool.person[entries]),
    }


@torch.no_grad()
def day_likelihood(
    network: ChainDecoder, pool: ChainPool, days: int, seed: int
) -> dict[str, float]:
    """Return -log P of held-out days, nats a day.

    Parameters
    ----------
    network
        In evaluation mode.
    pool
        Held-out days.
    days
        Days drawn from the pool.
    seed
        Of the draw.

    Returns
    -------
    likelihood
        ``free``: weekdays of which both ends alone are known; ``masked``: weekdays masked at
        70 %; ``total``: their sum; ``weekend``, where there are any: weekend days, both ends known.

    Raises
    ------
    DataError
        If no weekday was drawn.
    """
    rng = seeds.stream(seed, "reconstruction-validation")
    entries = pool.sample(days, rng)
    chains = pool.chains[pool.day[entries]]
    ends = np.ones(chains.shape, bool)
    ends[:, [0, SLOTS - 1]] = False
    nats: list[npt.NDArray[np.float64]] = []
    for hidden in (ends, paper_mask(chains, 0.7, rng)):
        batch = batch_of(pool, entries, hidden, rng)
        parts = zip(*(value.split(_SLICE) for value in batch.values()), strict=True)
        found = [log_likelihood(network, *part) for part in parts]
        nats.append(-torch.cat([(f.ends.sum(1) + f.types.sum(1)) for f in found]).double().numpy())
    weekend = pool.kind[entries] == WEEKEND
    if weekend.all():
        msg = f"reconstruction: {days} held-out days hold no weekday"
        raise DataError(msg)
    free, masked = (float(values[~weekend].mean()) for values in nats)
    found_ = {"total": free + masked, "free": free, "masked": masked}
    return found_ | ({"weekend": float(nats[0][weekend].mean())} if weekend.any() else {})
