"""Fit the planner without a language model: a small network, to the language model's answers.

The teacher is asked every code as each role (its shipped table) and a few codes as its other
travellers; Eq. 2-4 of UniMob with the answers as targets. The network is fitted twice: without some
codes, to measure how well it answers places that it was not taught, and then on all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig, PlannerConfig
from raygen.models.codebook import jsd
from raygen.models.plan_distilled import DISTILLED, DistilledArchitecture, DistilledNet
from raygen.models.plan_net import divergence
from raygen.models.planner import Planner, load_planner
from raygen.models.prompts import TRAVELLERS
from raygen.taxonomy import PLAN_SLOTS, ROLES
from training.in_process import fit_here
from training.loop import FitResult
from training.model_card import ModelCard, write_card, write_curve
from training.recipe import Recipe

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class DistilledRecipe(Recipe):
    """Recipe of ``raygen train distilled``."""

    weights: Path = checkpoints.SHIPPED
    """Directory of weights whose ``planner`` is the teacher."""

    base_model: str = "smollm2"
    """The teacher's language model, for the travellers that its table does not hold."""

    city: str = "a city"
    """City that the teacher is asked about, as its prompts say it."""

    profile_codes: Annotated[int, Field(ge=2)] = 4
    """Codes, spread over the codebook, that the teacher is asked as travellers without a role."""

    held_out: Annotated[int, Field(ge=2)] = 8
    """One code in so many is left out of the first fit."""

    batch: Annotated[int, Field(ge=1)] = 512
    """States of a batch."""

    time_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight λ of the time loss (Eq. 4)."""

    model: DistilledArchitecture = DistilledArchitecture()
    """Architecture; ``teacher`` is filled in."""


@dataclass(frozen=True)
class Lessons:
    """The teacher's answers, N states."""

    traveller: IntArray
    """Index into TRAVELLERS, shape (N,)."""
    code: IntArray
    """Shape (N,)."""
    slot: IntArray
    """Departure slot, shape (N,)."""
    poi: FloatArray
    """POI distribution of the place, shape (N, 14)."""
    time: FloatArray
    """Distribution of the next arrival's slot, shape (N, 48)."""
    category: FloatArray
    """POI distribution of its place, shape (N, 14)."""

    def take(self, rows: BoolArray) -> "Lessons":
        """Return some of the states."""
        return Lessons(
            traveller=self.traveller[rows],
            code=self.code[rows],
            slot=self.slot[rows],
            poi=self.poi[rows],
            time=self.time[rows],
            category=self.category[rows],
        )

    def tensors(self, rows: npt.NDArray[np.integer] | slice) -> dict[str, Tensor]:
        """Return states as tensors by field."""
        return {
            "traveller": torch.from_numpy(self.traveller[rows]),
            "slot": torch.from_numpy(self.slot[rows]),
            "poi": torch.from_numpy(self.poi[rows]),
            "time": torch.from_numpy(self.time[rows]),
            "category": torch.from_numpy(self.category[rows]),
        }


class DistilledObjective(nn.Module):
    """The network and its loss."""

    def __init__(self, config: DistilledArchitecture, time_weight: float) -> None:
        super().__init__()
        self.net = DistilledNet(config)
        self.time_weight = time_weight

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total``, ``time`` and ``poi`` of a batch of ``Lessons.tensors``."""
        del progress
        slots, categories = self.net(batch["traveller"], batch["slot"], batch["poi"])
        time = divergence(slots, batch["time"]).mean()
        poi = divergence(categories, batch["category"]).mean()
        return {"total": poi + self.time_weight * time, "time": time, "poi": poi}


@dataclass(frozen=True)
class DistilledTask:
    """A ``training.worker.Task``."""

    recipe: DistilledRecipe
    train: Lessons
    validation: Lessons

    def model(self) -> nn.Module:
        """Return the network, drawn from the loop's seed."""
        return DistilledObjective(self.recipe.model, self.recipe.time_weight)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield the states of an epoch in an order of its own."""
        count = len(self.train.slot)
        order = seeds.stream(self.recipe.seed, "distilled-batches", epoch).permutation(count)
        size = self.recipe.batch * world
        for start in range(0, count - count % size, size):
            yield self.train.tensors(order[start + rank : start + size : world])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the losses on the held-out states."""
        losses = model(self.validation.tensors(slice(None)), 1.0)
        return {name: float(loss.detach()) for name, loss in losses.items()}


def train(
    recipe: DistilledRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the network in this process (seconds) and write weights, card and curve.

    Parameters
    ----------
    recipe
        Teacher, architecture and loop.
    output
        Directory of the weights; its name must be ``planner-distilled``, so that its parent can be
        loaded.
    resume, address
        Not used: there is nothing to resume and no cluster.

    Returns
    -------
    output
        The directory.

    Raises
    ------
    WeightsError
        If the teacher's weights or its language model are missing.
    """
    del resume, address
    asked = PlannerConfig(base_model=recipe.base_model, city_name=recipe.city)
    teacher = load_planner(recipe.weights, asked, ComputeConfig())
    taught = lessons(teacher, recipe)
    recipe = recipe.model_copy(
        update={
            "model": recipe.model.model_copy(
                update={"teacher": teacher.digest, "codes": len(teacher.codebook.codes)}
            )
        }
    )
    left_out = taught.code % recipe.held_out == recipe.held_out // 2
    partial = fit_here(
        DistilledTask(recipe, taught.take(~left_out), taught.take(left_out)), recipe.loop
    )
    whole = fit_here(DistilledTask(recipe, taught, taught), recipe.loop)
    found = {
        "codes that it was not taught": difference(
            _network(recipe, partial), taught.take(left_out)
        ),
        "all codes, taught": difference(_network(recipe, whole), taught),
    }
    tensors = _network(recipe, whole).state_dict()
    tensors["codebook"] = torch.from_numpy(teacher.codebook.codes.astype(np.float32))
    provenance = {
        "answers": f"planner {teacher.digest[:12]}…, {len(taught.slot)} states: synthesised",
    }
    checkpoints.save(output, "distilled", recipe.model, tensors, provenance)
    write_curve(output, partial.curve)
    _write_card(recipe, output, whole, found, provenance)
    return output


def lessons(teacher: Planner, recipe: DistilledRecipe) -> Lessons:
    """Ask the teacher; see the module."""
    codes = np.arange(len(teacher.codebook.codes))
    spread = np.unique(np.linspace(0, len(codes) - 1, recipe.profile_codes).astype(np.int64))
    groups = [(who, int(code)) for who in range(len(ROLES)) for code in codes]
    others = range(len(ROLES), len(TRAVELLERS))
    # Other codes for each traveller, so that together they cover the codebook.
    groups += [(who, int((code + who) % len(codes))) for who in others for code in spread]
    who, code = (np.repeat(part, PLAN_SLOTS) for part in np.array(groups).T)
    slot = np.tile(np.arange(PLAN_SLOTS), len(groups))
    time, category, _ = teacher.answers(recipe.city, who, slot, code)
    poi = teacher.codebook.codes[code].astype(np.float32)
    return Lessons(who, code, slot, poi, time, category)


@torch.no_grad()
def difference(net: DistilledNet, taught: Lessons) -> dict[str, float]:
    """Return the mean JSD (base 2) of the network's answers to the teacher's, and the 95th centile.

    Parameters
    ----------
    net
        The network.
    taught
        States with the teacher's answers.
    """
    batch = taught.tensors(slice(None))
    answers = net.eval()(batch["traveller"], batch["slot"], batch["poi"])
    found: dict[str, float] = {}
    targets = (taught.time, taught.category)
    for name, logits, target in zip(("M", "D"), answers, targets, strict=True):
        gap = jsd(logits.softmax(dim=1).double().numpy(), target.astype(np.float64))
        found[f"{name}_jsd"] = float(gap.mean())
        found[f"{name}_jsd_p95"] = float(np.quantile(gap, 0.95))
    return found


def _network(recipe: DistilledRecipe, result: FitResult) -> DistilledNet:
    net = DistilledNet(recipe.model)
    net.load_state_dict({n.removeprefix("net."): t for n, t in result.tensors.items()})
    return net


def _write_card(
    recipe: DistilledRecipe,
    output: Path,
    result: FitResult,
    found: dict[str, dict[str, float]],
    provenance: dict[str, str],
) -> None:
    write_card(
        output,
        ModelCard(
            model="distilled",
            summary="Answers plan states as the planner's language model does, without one "
            f"(`planner.llm = false`; folder `{DISTILLED}`).",
            data=provenance,
            architecture=recipe.model,
            loop=recipe.loop,
            seconds=result.seconds,
            results=[(k, where, v) for where, row in found.items() for k, v in row.items()],
            limits=[
                "It knows the travellers of its list and no other words, and no city's name.",
                "Travellers without a role were taught on a few codes each.",
            ],
            command="raygen train distilled training/recipes/distilled.toml",
        ),
    )
