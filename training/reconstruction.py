"""Fit the activity reconstruction network to survey days (``raygen train reconstruction``)."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from raygen import checkpoints, seeds
from raygen.config import Section
from raygen.errors import DataError
from raygen.models.reconstruction import (
    MASK,
    PRESETS,
    TYPES,
    Objective,
    Reconstruction,
    ReconstructionConfig,
)
from raygen.taxonomy import SLOTS
from training.chain_data import WEEKEND, ChainPool, DataSection, load_chains
from training.chain_masks import dyadic_views, masked_share, paper_mask
from training.loop import fit
from training.recipe import Recipe

MODEL = "reconstruction"


class LossSection(Section):
    """The loss and the views that it is taken over."""

    weights: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Of cross-entropy, transition and warping (6.1.3)."""

    class_weight_power: Annotated[float, Field(ge=0, le=1)] = 0.25
    """w_c ∝ frequency^-power; taken out again of the probabilities."""

    paper_batches: Annotated[int, Field(ge=0)] = 10
    """Batches of whole days with the paper's maskings, an epoch."""

    dyadic_batches: Annotated[int, Field(ge=0)] = 6
    """Batches for each of the passes of generation, an epoch."""

    batch: Annotated[int, Field(ge=1)] = 128
    """Whole days of a batch; coarser grids take as many more as hold the same slots."""

    validation_days: Annotated[int, Field(ge=10)] = 2000
    """Held-out days whose likelihood picks the best epoch."""

    weekend_share: Annotated[float, Field(ge=0, lt=1)] = 0.35
    """Share of weekend days among the examples."""


class ReconstructionRecipe(Recipe):
    """``training/recipes/reconstruction.toml``."""

    data: DataSection = DataSection()
    model: ReconstructionConfig = PRESETS["small"]
    loss: LossSection = LossSection()


@dataclass(frozen=True)
class ReconstructionTask:
    """Days, masks and the held-out likelihood; see ``training.loop``."""

    config: ReconstructionConfig
    loss: LossSection
    train: ChainPool
    validation: ChainPool
    seed: int
    epochs: int

    def model(self) -> Objective:
        """Return the network in its loss, with the class weights of the training days."""
        network = Reconstruction(self.config)
        share = np.bincount(
            self.train.chains[self.train.day].ravel(),
            np.repeat(self.train.probability, SLOTS),
            minlength=TYPES,
        )
        weight = np.maximum(share / share.sum(), 1e-5) ** -self.loss.class_weight_power
        weight /= (weight * share).sum() / share.sum()
        network.log_class_weight.copy_(torch.from_numpy(np.log(weight)))
        return Objective(network, self.loss.weights)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield an epoch's batches: whole days with paper masks, and grids of slots, shuffled."""
        rng = seeds.stream(self.seed, "reconstruction-order", epoch)
        views = dyadic_views()
        plan = [(-1, self.loss.batch)] * (self.loss.paper_batches // world)
        for index, (slots, _) in enumerate(views):
            size = min(self.loss.batch * SLOTS // len(slots), 8 * self.loss.batch)
            plan += [(index, size)] * (self.loss.dyadic_batches // world)
        order = rng.permutation(len(plan)).tolist()
        share = masked_share(epoch / self.epochs)
        draw = seeds.stream(self.seed, "reconstruction-masks", epoch, rank)
        for index, size in (plan[step] for step in order):
            entries = self.train.sample(size, draw)
            if index < 0:
                days = self.train.chains[self.train.day[entries]]
                hidden = paper_mask(days, share, draw)
                yield batch_of(self.train, entries, np.arange(SLOTS), hidden, draw)
            else:
                slots, asked = views[index]
                yield batch_of(self.train, entries, slots, asked[None].repeat(size, 0), draw)

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        """Return the negative log-likelihood of held-out weekdays under generation, nats a day."""
        objective = model
        if not isinstance(objective, Objective):
            msg = f"reconstruction: validate needs an Objective, got {type(model).__name__}"
            raise TypeError(msg)
        return day_likelihood(
            objective.model, self.validation, self.loss.validation_days, self.seed
        )


def batch_of(
    pool: ChainPool,
    entries: np.ndarray[tuple[int], np.dtype[np.int64]],
    slots: np.ndarray[tuple[int], np.dtype[np.int64]],
    hidden: np.ndarray[tuple[int, int], np.dtype[np.bool_]],
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Return a batch of the objective: ``entries`` of a pool at ``slots``, some hidden."""
    target = pool.chains[pool.day[entries]][:, slots].astype(np.int64)
    return {
        "tokens": torch.from_numpy(np.where(hidden, MASK, target)),
        "target": torch.from_numpy(target),
        "slots": torch.from_numpy(slots),
        "day": torch.from_numpy(pool.week_days(entries, rng)),
        "person": torch.from_numpy(pool.person[entries]),
    }


@torch.no_grad()
def day_likelihood(
    network: Reconstruction, pool: ChainPool, days: int, seed: int
) -> dict[str, float]:
    """Return -log P(day) in nats under dyadic unmasking: the sum over passes of the asked slots.

    Parameters
    ----------
    network
        In evaluation mode.
    pool
        Held-out days; weekdays count alone in ``total``, weekends in ``weekend``.
    days
        Days drawn from the pool.
    seed
        Of the draw.

    Returns
    -------
    likelihood
        ``total`` and, where there are any, ``weekend``.

    Raises
    ------
    DataError
        If no weekday was drawn.
    """
    rng = seeds.stream(seed, "reconstruction-validation")
    entries = pool.sample(days, rng)
    total = torch.zeros(days)
    for slots, asked in dyadic_views():
        batch = batch_of(pool, entries, slots, asked[None].repeat(days, 0), rng)
        for part in torch.arange(days).split(500):
            logits = network.logits(
                batch["tokens"][part], batch["slots"], batch["day"][part], batch["person"][part]
            )[:, torch.from_numpy(asked)]
            target = batch["target"][part][:, torch.from_numpy(asked)]
            nats = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
            total[part] += nats.view_as(target).sum(1)
    weekend = torch.from_numpy(pool.kind[entries] == WEEKEND)
    if weekend.all():
        msg = f"reconstruction: {days} held-out days hold no weekday"
        raise DataError(msg)
    found = {"total": float(total[~weekend].mean())}
    return found | ({"weekend": float(total[weekend].mean())} if weekend.any() else {})


def task_of(recipe: ReconstructionRecipe) -> ReconstructionTask:
    """Read the data and return the recipe's task."""
    data = load_chains(recipe.data, recipe.seed)
    return ReconstructionTask(
        config=recipe.model,
        loss=recipe.loss,
        train=data.pool("train", recipe.loss.weekend_share),
        validation=data.pool("validation", recipe.loss.weekend_share),
        seed=recipe.seed,
        epochs=recipe.loop.epochs,
    )


def train(
    recipe: ReconstructionRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the network and write its weights, card and curve.

    Parameters
    ----------
    recipe
        Data, sizes, loss and loop.
    output
        Directory of the weights.
    resume
        Go on from the last epoch in ``output``.
    address
        Ray's address; see ``training.loop.fit``.

    Returns
    -------
    output
        The directory, as ``raygen.checkpoints`` writes it.
    """
    result = fit(task_of(recipe), recipe.loop, output, resume, address)
    tensors = {name.removeprefix("model."): value for name, value in result.tensors.items()}
    provenance = {
        "chains": f"{recipe.data.survey.name}, 70 % of the persons: observed",
        "types": f"{recipe.data.time_use.name} {recipe.data.state}: calibrated; hours: assumed",
        "weekends": f"survey days balanced to {recipe.data.time_use.name}: calibrated",
    }
    checkpoints.save(output, MODEL, recipe.model, tensors, provenance)
    write_curve(output / "curve.csv", result.curve)
    best = result.curve[result.best_epoch]
    (output / "MODEL_CARD.md").write_text(_card(recipe, best, len(result.curve), result.seconds))
    return output


def write_curve(path: Path, curve: list[dict[str, float]]) -> None:
    """Write a training curve as CSV, one row an epoch."""
    names = list(dict.fromkeys(name for row in curve for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in curve)


def _card(recipe: ReconstructionRecipe, best: dict[str, float], epochs: int, seconds: float) -> str:
    return f"""# Activity reconstruction

A Transformer that fills the masked quarter hours of a day with activity types (DataFusion, arXiv
2503.15779, 4.1.2) and generates whole days by dyadic unmasking.

* Sizes: {recipe.model.model_dump()}.
* Fitted to the days of 70 % of the travellers of the Czech national travel survey 2017–2019
  ("Česko v pohybu", by Lab-LAMbDA/Usti-nad-Labem-synthetic; *observed*). Its six purposes are drawn
  as 15 types from the American Time Use Survey 2003–2016, {recipe.data.state} (*calibrated*), and
  from hours of the day (*assumed*). The survey holds no weekday: its days count as weekdays;
  weekend days are the same days balanced to weekend time use (*calibrated*).
* Held-out likelihood of a weekday: {best["validation_total"]:.2f} nats.
* Epoch {int(best["epoch"])} of {epochs}; {seconds:.0f} s of training.
* Limits: days start and end at home; people who stay at home are drawn apart, by their share;
  rhythms are Czech until the adapters move the minutes to the target's.

Made by `raygen train reconstruction training/recipes/reconstruction.toml`.
"""
