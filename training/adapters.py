"""Fit the demographic adapters to time use (``raygen train adapters``).

Two fits of the same table. *Open loop* is DataFusion's Algorithm 2: the network's mean probability
on masked days of the group against D_g. *Closed loop* (ours) generates days of the group with the
present adapter and moves it by η · (log D_g - log P_g) of their minutes, until the generated
minutes are D_g; the people generated are the group's: workers are employed, students are as in
the survey. Children under 15 are fitted to the minutes of the survey's children.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig, Section
from raygen.models.adapters import (
    AdapterConfig,
    Adapters,
    AlgorithmSection,
    correct,
    fit_open_loop,
)
from raygen.models.reconstruction import MASK, Reconstruction, ReconstructionConfig
from raygen.stages.chains import ChainModels, draw_days, permitted
from raygen.survey import CHILD_ROW, GROUP_ROWS
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SLOTS
from training.chain_data import (
    ChainData,
    ChainPool,
    DataSection,
    load_chains,
    travellers_minutes,
    type_minutes,
)
from training.chain_masks import paper_mask
from training.recipe import Recipe
from training.reconstruction import write_curve

logger = logging.getLogger(__name__)

MODEL = "adapters"
_DAY_MIN = 1440.0
_TUESDAY, _SATURDAY = 1, 5
_OPEN_DAYS = 48  # days of a group in Algorithm 2
_PRESCHOOL_SHARE = 5 / 15  # of children under 15 are under 5, few of them at a school (assumed)


class FitSection(Section):
    """How the adapters are fitted."""

    method: Literal["closed_loop", "algorithm_2"] = "closed_loop"
    """What is written; the other is reported."""

    rounds: Annotated[int, Field(ge=1)] = 10
    """Rounds of the closed loop; the rate falls as 1 / √round."""

    rate: Annotated[float, Field(gt=0)] = 0.8
    """First η of the closed loop."""

    bound: Annotated[float, Field(gt=0)] = 3.0
    """Greatest absolute adapter value."""

    people: Annotated[int, Field(ge=1)] = 300
    """Days generated for each group in a round."""

    average: Annotated[int, Field(ge=1)] = 4
    """Last rounds whose adapters are averaged, against the noise of a round."""


class AdapterRecipe(Recipe):
    """``training/recipes/adapters.toml``."""

    data: DataSection = DataSection()
    weights: Path = Path("raygen/weights/reconstruction")
    """The fitted network."""

    fit: FitSection = FitSection()
    algorithm: AlgorithmSection = AlgorithmSection()


@dataclass(frozen=True)
class Group:
    """The people of one row of the table on one kind of day, and their target."""

    row: int
    kind: int
    people: npt.NDArray[np.int64]
    """Group, student, child, shape (B, 3)."""
    employed: npt.NDArray[np.bool_]
    target: npt.NDArray[np.float64]
    """Mean minutes by type of those who leave home (15)."""


def train(
    recipe: AdapterRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the adapters and write them with their card and curve.

    Parameters
    ----------
    recipe
        Data, the network's weights and the method.
    output
        Directory of the table.
    resume, address
        Not used: the fit takes minutes on one thread and no gradient of the network.

    Returns
    -------
    output
        The directory, as ``raygen.checkpoints`` writes it.
    """
    del resume, address
    data = load_chains(recipe.data, recipe.seed)
    config, tensors, digest = checkpoints.load(
        recipe.weights, "reconstruction", ReconstructionConfig
    )
    network = Reconstruction(config).eval()
    network.load_state_dict(tensors)
    pool = data.pool("train")
    groups = [
        group_of(data, pool, row, kind, recipe.fit.people)
        for kind in (0, 1)
        for row in range(GROUP_ROWS)
    ]
    closed, curve = fit_closed_loop(network, groups, recipe.fit, recipe.seed)
    opened, reached = _algorithm_2(network, pool, groups, recipe)
    chosen = closed if recipe.fit.method == "closed_loop" else opened
    stay = without_idle(stay_home(data), idle_share(network, groups, chosen, recipe.seed))
    adapters = Adapters(torch.from_numpy(chosen).float(), torch.from_numpy(stay).float())
    provenance = {
        "targets": f"{recipe.data.time_use.name} {recipe.data.state}: calibrated",
        "children": f"{recipe.data.survey.name}: observed; their weekends: assumed",
        "network": digest,
    }
    both = {
        "shift_closed_loop": torch.from_numpy(closed).float(),
        "shift_algorithm_2": torch.from_numpy(opened).float(),
    }
    checkpoints.save(output, MODEL, AdapterConfig(), adapters.tensors() | both, provenance)
    write_curve(output / "curve.csv", curve)
    errors = {
        "none": generated_error(network, groups, np.zeros_like(closed), recipe.seed),
        "algorithm 2": generated_error(network, groups, opened, recipe.seed),
        "closed loop": generated_error(network, groups, closed, recipe.seed),
    }
    (output / "MODEL_CARD.md").write_text(_card(recipe, errors, reached))
    return output


def stay_home(data: ChainData) -> npt.NDArray[np.float64]:
    """Return the shares of people who stay at home, (2, 13).

    Groups: the time use's days without travel. Children under 15: pupils' share for pupils and,
    for those too young for school, that of mid-aged women out of work (assumed), mixed.
    """
    shares = data.time_use.stay_home
    child = (1 - _PRESCHOOL_SHARE) * data.time_use.student_stay_home
    child = child + _PRESCHOOL_SHARE * shares[:, 9]
    return np.concatenate([shares, child[:, None]], axis=1)


def without_idle(
    stay: npt.NDArray[np.float64], idle: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the share to draw as staying at home, where ``idle`` of the others do not leave.

    s' with s' + (1 - s') · idle = s, at least 0; arrays of one shape.
    """
    return np.maximum(stay - idle, 0.0) / (1.0 - idle)


def idle_share(
    network: Reconstruction, groups: list[Group], shift: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.float64]:
    """Return the share of generated days without leaving home, by kind of day and row, (2, 13)."""
    share = np.zeros((2, GROUP_ROWS))
    for group, days in _generated(network, groups, shift, seed, "adapters:idle"):
        share[group.kind, group.row] = (days == HOME).all(1).mean()
    return share


def group_of(data: ChainData, pool: ChainPool, row: int, kind: int, size: int) -> Group:
    """Return people of a row on a kind of day, as the pool has them, and their target minutes."""
    entries = np.flatnonzero((pool.kind == kind) & (_row_of(pool.person) == row))
    weight = pool.probability[entries]
    points = (np.arange(size) + 0.5) / size * weight.sum()
    taken = entries[np.minimum(np.searchsorted(np.cumsum(weight), points), len(entries) - 1)]
    people = pool.person[taken]
    employed = np.full(size, row < CHILD_ROW // 2)
    if row == CHILD_ROW:
        days = type_minutes(pool.chains[pool.day[entries]])
        target = (weight / weight.sum()) @ days
    else:
        target = travellers_minutes(data.time_use, kind)[row].copy()
    # What nobody of the group may do goes to home.
    barred = np.isinf(permitted(people, employed)).all(0)
    target[HOME] += target[barred].sum()
    target[barred] = 0.0
    return Group(row, kind, people, employed, target)


def _row_of(person: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the row of the table of people (N, 3)."""
    return np.where(person[:, 2] == 1, CHILD_ROW, person[:, 0])


def fit_closed_loop(
    network: Reconstruction, groups: list[Group], config: FitSection, seed: int
) -> tuple[npt.NDArray[np.float64], list[dict[str, float]]]:
    """Fit all rows by generating days.

    Parameters
    ----------
    network
        In evaluation mode.
    groups
        One for each row and kind of day.
    config
        Rounds, rate, people.
    seed
        Root of the draws; each round has its own.

    Returns
    -------
    shift, curve
        a_g, shape (2, 13, 15); mean absolute error of minutes a round.
    """
    shape = (2, GROUP_ROWS, len(ACTIVITY_TYPES))
    shift, total = np.zeros(shape), np.zeros(shape)
    curve: list[dict[str, float]] = []
    for round_ in range(config.rounds):
        rate = config.rate / np.sqrt(1 + round_)
        errors: list[float] = []
        for group, days in _generated(network, groups, shift, seed, f"adapters:{round_}"):
            minutes = type_minutes(days).mean(0)
            place = (group.kind, group.row)
            errors.append(float(np.abs(minutes - group.target).mean()))
            shift[place] = correct(shift[place], minutes, group.target, rate, config.bound)
        if round_ >= config.rounds - config.average:
            total += shift / min(config.average, config.rounds)
        curve.append({"epoch": round_, "train_minutes_error": float(np.mean(errors))})
        logger.info("adapters: round %d: %.2f minutes off", round_, np.mean(errors))
    return total, curve


def generated_error(
    network: Reconstruction, groups: list[Group], shift: npt.NDArray[np.float64], seed: int
) -> float:
    """Return the mean absolute error of generated minutes by group and type, with fresh draws."""
    found = _generated(network, groups, shift, seed, "adapters:check")
    return float(np.mean([np.abs(type_minutes(d).mean(0) - g.target).mean() for g, d in found]))


def _generated(
    network: Reconstruction,
    groups: list[Group],
    shift: npt.NDArray[np.float64],
    seed: int,
    stage: str,
) -> list[tuple[Group, npt.NDArray[np.int8]]]:
    """Return each group with a generated day of each of its people, all meant to leave home."""
    table = Adapters(torch.from_numpy(shift).float(), torch.zeros(2, GROUP_ROWS))
    models = ChainModels(network, table, ComputeConfig().device)
    found: list[tuple[Group, npt.NDArray[np.int8]]] = []
    for kind, week_day in ((0, _TUESDAY), (1, _SATURDAY)):
        mine = [group for group in groups if group.kind == kind]
        if not mine:
            continue
        people = np.concatenate([group.people for group in mine])
        employed = np.concatenate([group.employed for group in mine])
        uniform = seeds.uniforms(seed, f"{stage}:{kind}", np.arange(len(people)), SLOTS + 1)
        days = draw_days(models, people, employed, week_day, uniform)
        sizes = np.cumsum([len(group.people) for group in mine])[:-1]
        found += list(zip(mine, np.split(days, sizes), strict=True))
    return found


def _algorithm_2(
    network: Reconstruction, pool: ChainPool, groups: list[Group], recipe: AdapterRecipe
) -> tuple[npt.NDArray[np.float64], list[float]]:
    """Fit all rows by Algorithm 2 on days masked at 70 %; also return the distances reached."""
    shift = np.zeros((2, GROUP_ROWS, len(ACTIVITY_TYPES)))
    reached: list[float] = []
    slots = torch.arange(SLOTS)
    for group in groups:
        rng = seeds.stream(recipe.seed, "adapters-open", group.kind, group.row)
        mine = np.flatnonzero((pool.kind == group.kind) & (_row_of(pool.person) == group.row))
        entries = rng.choice(mine, _OPEN_DAYS)
        days = pool.chains[pool.day[entries]].astype(np.int64)
        hidden = paper_mask(pool.chains[pool.day[entries]], 0.7, rng)
        week_day = np.where(group.kind == 1, _SATURDAY, _TUESDAY)
        with torch.inference_mode():
            logits = network.logits(
                torch.from_numpy(np.where(hidden, MASK, days)), slots,
                torch.full((len(days),), int(week_day)), torch.from_numpy(pool.person[entries]),
            )  # fmt: skip
        barred = permitted(pool.person[entries], np.full(len(entries), group.employed[0]))
        weight, _, distance = fit_open_loop(
            logits.clone() + torch.from_numpy(barred).float()[:, None],
            group.target / _DAY_MIN,
            recipe.algorithm,
        )
        shift[group.kind, group.row] = weight - weight[HOME]
        reached.append(distance)
    return shift, reached


def _card(recipe: AdapterRecipe, errors: dict[str, float], reached: list[float]) -> str:
    rows = "\n".join(f"| {name} | {value:.2f} |" for name, value in errors.items())
    return f"""# Demographic adapters

A vector a_g over the 15 activity types for each of DataFusion's 12 groups and for children under
15, for weekdays and weekends, added to the reconstruction's logits (arXiv 2503.15779, Eq. 1), and
the share of people who stay at home.

* Targets: American Time Use Survey 2003–2016, {recipe.data.state}, minutes away from home by type
  (`raygen.timeuse`; *calibrated*). Children: the travel survey's (*observed*; their weekends are
  their days without school, their stay-at-home share that of pupils of 15 to 17: *assumed*).
* The shares that are drawn as staying at home are less by the share of generated days that do not
  leave home either, so that both together are the observed share.
* Written: {recipe.fit.method}. Mean absolute error of generated minutes by group and type, fresh
  draws, {recipe.fit.people} days a group:

| adapter | minutes |
|---|---|
{rows}

* Algorithm 2 ended at a distance ‖P_g - D_g‖ of {np.mean(reached):.3f} on average.

Made by `raygen train adapters training/recipes/adapters.toml`.
"""
