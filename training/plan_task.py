"""The planner's training task: places in turn, each with its 48 departure slots as one batch.

The language model's lower layers are frozen and carry no LoRA, so that what they say of a prompt is
computed once (``write_activations``) and the training runs the upper layers alone, on suffixes
that share the instruction and the place. Places are drawn with probability ∝ √weight and
weighted by √weight, which keeps the loss's expectation and its variance low.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from raygen import seeds
from raygen.models import prompts
from raygen.models.codebook import Codebook
from raygen.models.language import LanguageModel, load_language_model
from raygen.models.plan_net import PlannerArchitecture, PlannerNet, add_lora, extend, fork, split
from raygen.models.plan_tree import TimeTree, grow, time_tree
from raygen.models.prompts import CHECK_IN, PHONE
from raygen.taxonomy import PLAN_SLOTS
from training.plan_states import States

if TYPE_CHECKING:
    from transformers import DynamicCache

Group = tuple[int, int]

_LEAST = 3  # places of a traveller, however light
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class GroupTargets:
    """Targets of places (traveller, code), G of them."""

    groups: tuple[Group, ...]
    mass: FloatArray
    """Weight of a place, shape (G,), sums to 1."""
    weight: FloatArray
    """Weight of its departure slots, shape (G, 48), rows sum to 1."""
    time: FloatArray
    """Distribution of the next arrival's slot, shape (G, 48, 48)."""
    poi: FloatArray
    """POI distribution of the destination, shape (G, 48, 14)."""


@dataclass(frozen=True)
class PlannerTask:
    """A ``training.worker.Task``."""

    architecture: PlannerArchitecture
    seed: int
    activations: Path
    """File of ``write_activations``, on a disk that every worker sees."""
    train: GroupTargets
    validation: GroupTargets
    names: dict[Group, tuple[str, ...]]
    """Cities that a place's training prompts name."""
    held_names: dict[Group, str]
    """City that a validation prompt names."""
    draws: int
    """Places drawn in an epoch."""
    head: dict[str, FloatArray]
    """State of ``OutputLayer`` that the heads start from, see ``training.plan_probe``."""

    def model(self) -> nn.Module:
        """Return the upper layers with LoRA, and the heads."""
        language = load_language_model(self.architecture.base_model, torch.float32, "cpu")
        upper = split(language.decoder, self.architecture.upper_layers)[1]
        upper = add_lora(upper, self.architecture, self.seed)
        net = PlannerNet(self.architecture, upper, times_of(language))
        net.head.load_state_dict({k: torch.from_numpy(v) for k, v in self.head.items()})
        return net

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield the places drawn for an epoch, one batch each."""
        rng = seeds.stream(self.seed, "planner-batches", epoch)
        root = np.sqrt(self.train.mass)
        chance = np.cumsum(root / root.sum())
        points = (np.arange(self.draws) + rng.random()) / self.draws
        drawn = rng.permutation(np.minimum(np.searchsorted(chance, points), len(chance) - 1))
        scale = root * root.sum()  # mass / probability
        named = rng.random(self.draws)
        own = slice(rank, self.draws - self.draws % world, world)
        with safe_open(self.activations, "pt") as file:
            for index, share in zip(drawn[own].tolist(), named[own].tolist(), strict=True):
                names = self.names[self.train.groups[index]]
                name = names[int(share * len(names))]
                yield place_batch(file, self.train, index, float(scale[index]), name)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the losses on held-out pairs, weighted by place."""
        sums: dict[str, float] = {}
        device = next(model.parameters()).device
        with safe_open(self.activations, "pt") as file:
            for index, mass in enumerate(self.validation.mass.tolist()):
                name = self.held_names[self.validation.groups[index]]
                batch = place_batch(file, self.validation, index, mass, name)
                for name, loss in model({k: v.to(device) for k, v in batch.items()}, 1.0).items():
                    sums[name] = sums.get(name, 0.0) + float(loss.detach())
        return sums


def group_targets(
    states: States, share: float, emphasis: npt.NDArray[np.float64] | None = None
) -> GroupTargets:
    """Gather the heaviest places that hold a share of all weight, and a few of each traveller.

    Parameters
    ----------
    states
        Soft targets by state.
    share
        In (0, 1].
    emphasis
        Factor of each traveller's weight, shape (V,); 1 where it is not given.
    """
    factor = np.ones(len(states.weight)) if emphasis is None else emphasis
    mass = factor[:, None] * states.weight.sum(axis=2)
    order = np.argsort(-mass, axis=None, kind="stable")
    held = np.cumsum(mass.ravel()[order]) / mass.sum()
    rank = np.argsort(np.argsort(-mass, axis=1, kind="stable"), axis=1).ravel()[order]
    chosen = (np.arange(len(order)) <= np.searchsorted(held, share)) | (rank < _LEAST)
    order = order[chosen & (mass.ravel()[order] > 0)]
    traveller, code = np.unravel_index(order, mass.shape)
    time, poi = states.targets()
    picked = mass[traveller, code]
    return GroupTargets(
        groups=tuple(zip(traveller.tolist(), code.tolist(), strict=True)),
        mass=(picked / picked.sum()).astype(np.float32),
        weight=_normalised(states.weight[traveller, code]),
        time=time[traveller, code].astype(np.float32),
        poi=poi[traveller, code].astype(np.float32),
    )


def _normalised(weight: npt.NDArray[np.float64]) -> FloatArray:
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def names_of(group: Group, cities: tuple[str, ...], phone_city: str, count: int) -> tuple[str, ...]:
    """Return the cities that a place's prompts name in training: some of the list, in turn.

    Plans are taken to be alike whatever the city's name (UniMob's premise, assumed). A planner
    that saw few names hangs on them: named after six towns, its answers as another city were
    worse by half a nat; long lists and several names for a place are the remedy.
    """
    traveller, code = group
    if traveller in (PHONE, CHECK_IN):
        return (phone_city,)
    first = 7 * code + traveller
    # A stride without common factors with the list's length gives different names.
    stride = next(
        s for s in range(len(cities) // 3 + 1, 2 * len(cities)) if gcd(s, len(cities)) == 1
    )
    return tuple(dict.fromkeys(cities[(first + stride * i) % len(cities)] for i in range(count)))


def times_of(language: LanguageModel) -> TimeTree:
    """Return the tree of the 48 departure times in a language model's tokens."""
    return time_tree(torch.cat([language.tokens(text) for text in prompts.times()]))


@torch.no_grad()
def write_activations(
    path: Path,
    language: LanguageModel,
    architecture: PlannerArchitecture,
    codebook: Codebook,
    asked: dict[Group, tuple[str, ...]],
) -> None:
    """Compute the lower layers' output for places and write it, in bfloat16.

    Parameters
    ----------
    path
        Safetensors file to write.
    language
        The language model.
    architecture
        Says where it is cut.
    codebook
        POI distributions of the codes.
    asked
        Places and the cities that their prompts name.
    """
    lower = split(language.decoder, architecture.upper_layers)[0]
    tree = times_of(language)
    tensors: dict[str, Tensor] = {}
    trunks: dict[str, DynamicCache] = {}
    for (traveller, code), city in ((g, name) for g, names in asked.items() for name in names):
        trunk = f"instruction.{traveller}.{city}"
        if trunk not in trunks:
            trunks[trunk] = fork(None, 1)
            ids = language.tokens(prompts.instruction(traveller, city))
            tensors[trunk] = extend(lower, trunks[trunk], ids).bfloat16()
        ids = language.tokens(prompts.place(codebook.codes[code]))
        piece = torch.cat([ids, tree.ids], dim=1)
        hidden = grow(lower, piece, tree, fork(trunks[trunk], 1))
        tensors[f"place.{traveller}.{code}.{city}"] = hidden.bfloat16()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)


def place_batch(
    file: safe_open, targets: GroupTargets, index: int, scale: float, city: str
) -> dict[str, Tensor]:
    """Return the batch of a place as a city; see ``PlannerNet.loss``. Weights sum to ``scale``."""
    traveller, code = targets.groups[index]
    pieces = [
        file.get_tensor(name)
        for name in (f"instruction.{traveller}.{city}", f"place.{traveller}.{code}.{city}")
    ]
    return {
        "prompt": torch.cat(pieces, dim=1).float(),
        "slot": torch.arange(PLAN_SLOTS),
        "time_target": torch.from_numpy(targets.time[index]),
        "poi_target": torch.from_numpy(targets.poi[index]),
        "weight": torch.from_numpy(targets.weight[index] * np.float32(scale)),
    }
