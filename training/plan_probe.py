"""The heads on the frozen language model: where the fine-tuning starts.

A probe first, then everything together: fitted so, the heads' random start cannot distort
what the language model knows (Kumar et al., "Fine-tuning can distort pretrained features and
underperform out-of-distribution", ICLR 2022, arXiv:2202.10054). The frozen hidden states are
computed once; a few hundred full-batch steps take seconds.
"""

import math
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from raygen import seeds
from raygen.models.plan_net import OutputLayer, PlannerArchitecture, divergence
from raygen.models.plan_tree import TimeTree, grow, leaves
from raygen.taxonomy import PLAN_SLOTS
from training.plan_task import FloatArray, Group, GroupTargets, place_batch

_STEPS = 300
_RATE, _RIDGE = 1e-2, 1e-3
_INNER_RATE, _INNER_RIDGE = 3e-3, 1e-4  # with a hidden layer
_LEAST_DEVIATION = 1e-3


def probe_heads(
    upper: nn.Module,
    activations: Path,
    targets: GroupTargets,
    names: dict[Group, tuple[str, ...]],
    head: OutputLayer,
    tree: TimeTree,
) -> dict[str, FloatArray]:
    """Fit the heads to the hidden states of the language model as it is.

    Parameters
    ----------
    upper
        Upper part of the language model, without LoRA.
    activations
        File of ``training.plan_task.write_activations``.
    targets
        Places and what followed there.
    names
        Cities that a place's prompts name: as many inputs with the same targets.
    head
        Heads at their start (``fresh_head``); fitted in place.
    tree
        Of the departure times.

    Returns
    -------
    state
        State of the fitted heads.
    """
    states_NH, place = _hidden_states(upper, activations, targets, names, tree)
    mean_H = states_NH.mean(dim=0)
    deviation_H = states_NH.std(dim=0).clamp(min=_LEAST_DEVIATION)
    _fit((states_NH - mean_H) / deviation_H, place, targets, head)
    # The standardisation becomes a part of the first layer.
    first = head.linear if head.inner is None else head.inner
    first.weight.data /= deviation_H
    first.bias.data -= first.weight.data @ mean_H
    return {name: value.numpy() for name, value in head.state_dict().items()}


def fresh_head(architecture: PlannerArchitecture, seed: int) -> OutputLayer:
    """Return heads before any training: uniform answers, a hidden layer drawn from the seed."""
    head = OutputLayer(architecture.hidden, architecture.head_width)
    if head.inner is not None:
        draw = seeds.stream(seed, "planner-head").normal(size=head.inner.weight.shape)
        head.inner.weight.data.copy_(torch.from_numpy(draw * architecture.hidden**-0.5))
        nn.init.zeros_(head.inner.bias)
    return head


@torch.no_grad()
def _hidden_states(
    upper: nn.Module,
    activations: Path,
    targets: GroupTargets,
    names: dict[Group, tuple[str, ...]],
    tree: TimeTree,
) -> tuple[Tensor, Tensor]:
    """Return hidden states (N, H), 48 of each prompt's place, and the prompts' places (N / 48,)."""
    states: list[Tensor] = []
    places: list[int] = []
    with safe_open(activations, "pt") as file:
        for index, group in enumerate(targets.groups):
            for name in names[group]:
                batch = place_batch(file, targets, index, 1.0, name)
                states.append(leaves(grow(upper, batch["prompt"], tree), tree))
                places.append(index)
    return torch.cat(states), torch.tensor(places)


def _fit(inputs_NH: Tensor, place: Tensor, targets: GroupTargets, head: OutputLayer) -> None:
    slot_N = torch.arange(PLAN_SLOTS).repeat(len(place))
    time_NM = torch.from_numpy(targets.time)[place].flatten(0, 1)
    poi_ND = torch.from_numpy(targets.poi)[place].flatten(0, 1)
    prompts = place.bincount()[place]
    mass = torch.from_numpy(targets.weight * targets.mass[:, None])[place] / prompts[:, None]
    weight_N = mass.flatten()
    linear = head.inner is None
    rate, weight = (_RATE, _RIDGE) if linear else (_INNER_RATE, _INNER_RIDGE)
    matrices = [value for value in head.parameters() if value.dim() > 1]
    optimiser = torch.optim.Adam(head.parameters(), lr=rate)
    for step in range(_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / _STEPS))
        time, poi = head(inputs_NH, slot_N)
        loss = (weight_N * (divergence(time, time_NM) + divergence(poi, poi_ND))).sum()
        optimiser.zero_grad()
        ridge = torch.stack([value.square().sum() for value in matrices]).sum()
        (loss + weight * ridge).backward()
        optimiser.step()
