"""Fit the demographic adapters to time use (``raygen train adapters``).

Three fits. *Algorithm 2* is DataFusion's: the slot network's mean probability on masked days of
the group against D_g, by Eq. 8. *Log ratio* is that fit with the step log D_g - log P_g, which
converges in a few rounds where Eq. 8 at the paper's rate does not. *Closed loop* (ours, and what
is written) generates days of the group with the chain decoder and the present adapter and
moves it by η · (log D_g - log P_g) of their minutes, until the generated minutes are D_g; with
``segments`` it also moves the hours at which types begin to those of the survey's group. The people
generated are the group's: workers are employed, students have their share in time use. Children
under 15 are fitted to the minutes of the survey's children.
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
    correct_hours,
    fit_log_ratio,
    fit_open_loop,
)
from raygen.models.chain_decoder import ChainDecoder, ChainDecoderConfig
from raygen.models.masks import paper_mask
from raygen.models.observed import MASK
from raygen.models.slot_network import SlotNetwork, SlotNetworkConfig
from raygen.stages.chains import DRAWS, ChainModels, draw_days, permitted
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
from training.recipe import Recipe
from training.reconstruction import SLOT_MODEL, write_curve

logger = logging.getLogger(__name__)

MODEL = "adapters"
MODEL_OF = "reconstruction"
"""Model of the weights that the adapters are fitted to."""
_DAY_MIN = 1440.0
_SETTLING_ROUNDS = 6
_TUESDAY, _SATURDAY = 1, 5
_OPEN_DAYS = 48  # days of a group in Algorithm 2
_PRESCHOOL_SHARE = 5 / 15  # of children under 15 are under 5, few of them at a school (assumed)


class FitSection(Section):
    """How the adapters are fitted."""

    method: Literal["closed_loop", "algorithm_2", "log_ratio"] = "closed_loop"
    """What is written; the others are reported."""

    segments: Annotated[int, Field(ge=1, le=SLOTS)] = 1
    """Parts of the day with a vector of their own in the closed loop."""

    rounds: Annotated[int, Field(ge=1)] = 30
    """Rounds of the closed loop."""

    rate: Annotated[float, Field(gt=0)] = 1.5
    """First η of the closed loop; it falls as 1 / √(1 + round / 6)."""

    bound: Annotated[float, Field(gt=0)] = 4.0
    """Greatest absolute adapter value."""

    people: Annotated[int, Field(ge=1)] = 800
    """Days generated for each group in a round."""

    average: Annotated[int, Field(ge=1)] = 8
    """Last rounds whose adapters are averaged, against the noise of a round."""


class AdapterRecipe(Recipe):
    """``training/recipes/adapters.toml``."""

    data: DataSection = DataSection()
    weights: Path = Path("raygen/weights/reconstruction")
    """The fitted chain decoder."""

    slots: Path = Path("raygen/weights/reconstruction-slots")
    """The fitted slot network, for Algorithm 2."""

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
    starts: npt.NDArray[np.float64]
    """Observed starts a day by slot and type, shape (96, 15)."""


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
    config, tensors, digest = checkpoints.load(recipe.weights, MODEL_OF, ChainDecoderConfig)
    network = ChainDecoder(config).eval()
    network.load_state_dict(tensors)
    pool = data.pool("train")
    groups = [
        group_of(data, pool, row, kind, recipe.fit.people)
        for kind in (0, 1)
        for row in range(GROUP_ROWS)
    ]
    closed, curve = fit_closed_loop(network, groups, recipe.fit, recipe.seed)
    found = {"closed_loop": closed} | open_loops(pool, groups, recipe)
    chosen = found[recipe.fit.method]
    stay = without_idle(stay_home(data), idle_share(network, groups, chosen, recipe.seed))
    adapters = Adapters(torch.from_numpy(chosen).float(), torch.from_numpy(stay).float())
    provenance = {
        "targets": f"{recipe.data.time_use.name} {recipe.data.state}: calibrated",
        "children": f"{recipe.data.survey.name}: observed; their weekends: assumed",
        "network": digest,
    }
    every = {f"shift_{name}": torch.from_numpy(table).float() for name, table in found.items()}
    shape = AdapterConfig(segments=chosen.shape[2])
    checkpoints.save(output, MODEL, shape, adapters.tensors() | every, provenance)
    write_curve(output / "curve.csv", curve)
    errors = {
        name: generated_error(network, groups, table, recipe.seed)
        for name, table in ({"none": np.zeros_like(closed)} | found).items()
    }
    (output / "MODEL_CARD.md").write_text(_card(recipe, errors))
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
    network: ChainDecoder, groups: list[Group], shift: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.float64]:
    """Return the share of generated days without leaving home, by kind of day and row, (2, 13)."""
    share = np.zeros((2, GROUP_ROWS))
    for group, days in _generated(network, groups, shift, seed, "adapters:idle"):
        share[group.kind, group.row] = (days == HOME).all(1).mean()
    return share


def group_of(data: ChainData, pool: ChainPool, row: int, kind: int, size: int) -> Group:
    """Return people of a row on a kind of day and their target minutes.

    Groups have the students of the target's state, not of the travel survey: a fifth of its young
    workers study, of California's nearly half, as in the populations that raygen makes.
    """
    entries = np.flatnonzero((pool.kind == kind) & (_row_of(pool.person) == row))
    weight = pool.probability[entries]
    points = (np.arange(size) + 0.5) / size
    employed = np.full(size, row < CHILD_ROW // 2)
    if row == CHILD_ROW:
        edges = np.cumsum(weight) / weight.sum()
        people = pool.person[entries[np.minimum(np.searchsorted(edges, points), len(edges) - 1)]]
        days = type_minutes(pool.chains[pool.day[entries]])
        target = (weight / weight.sum()) @ days
    else:
        student = np.searchsorted(np.cumsum(data.time_use.students[row])[:-1], points, "right")
        people = np.stack([np.full(size, row), student, np.zeros(size, np.int64)], axis=1)
        target = travellers_minutes(data.time_use, kind)[row].copy()
    # What nobody of the group may do goes to home.
    barred = np.isinf(permitted(people, employed)).all(0)
    target[HOME] += target[barred].sum()
    target[barred] = 0.0
    starts = _starts(pool.chains[pool.day[entries]], weight / weight.sum())
    return Group(row, kind, people, employed, target, starts)


def _starts(
    chains: npt.NDArray[np.int8], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return starts a day by slot and type (96, 15) of days (N, 96) with weights that sum to 1."""
    begins = chains[:, 1:] != chains[:, :-1]
    day, slot = np.nonzero(begins)
    counts = np.zeros((SLOTS, len(ACTIVITY_TYPES)))
    np.add.at(counts, (slot + 1, chains[day, slot + 1]), weight[day])
    return counts


def _row_of(person: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the row of the table of people (N, 3)."""
    return np.where(person[:, 2] == 1, CHILD_ROW, person[:, 0])


def fit_closed_loop(
    network: ChainDecoder, groups: list[Group], config: FitSection, seed: int
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
        a_g, shape (2, 13, segments, 15); mean absolute error of minutes a round.
    """
    shape = (2, GROUP_ROWS, config.segments, len(ACTIVITY_TYPES))
    shift, total = np.zeros(shape), np.zeros(shape)
    curve: list[dict[str, float]] = []
    for round_ in range(config.rounds):
        rate = config.rate / np.sqrt(1 + round_ / _SETTLING_ROUNDS)
        errors: list[float] = []
        for group, days in _generated(network, groups, shift, seed, f"adapters:{round_}"):
            minutes = type_minutes(days).mean(0)
            place = (group.kind, group.row)
            errors.append(float(np.abs(minutes - group.target).mean()))
            if config.segments > 1:
                starts = _starts(days, np.full(len(days), 1 / len(days)))
                shift[place] = correct_hours(shift[place], starts, group.starts, rate, config.bound)
            shift[place] = correct(shift[place], minutes, group.target, rate, config.bound)
        if round_ >= config.rounds - config.average:
            total += shift / min(config.average, config.rounds)
        curve.append({"epoch": round_, "train_minutes_error": float(np.mean(errors))})
        logger.info("adapters: round %d: %.2f minutes off", round_, np.mean(errors))
    return total, curve


def generated_error(
    network: ChainDecoder, groups: list[Group], shift: npt.NDArray[np.float64], seed: int
) -> float:
    """Return the mean absolute error of generated minutes by group and type, with fresh draws."""
    found = _generated(network, groups, shift, seed, "adapters:check")
    return float(np.mean([np.abs(type_minutes(d).mean(0) - g.target).mean() for g, d in found]))


def _generated(
    network: ChainDecoder,
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
        uniform = seeds.uniforms(seed, f"{stage}:{kind}", np.arange(len(people)), DRAWS)
        days = draw_days(models, people, employed, week_day, uniform)
        sizes = np.cumsum([len(group.people) for group in mine])[:-1]
        found += list(zip(mine, np.split(days, sizes), strict=True))
    return found


def open_loops(
    pool: ChainPool, groups: list[Group], recipe: AdapterRecipe
) -> dict[str, npt.NDArray[np.float64]]:
    """Fit all rows on the slot network's answers to days masked at 70 %.

    Returns
    -------
    shifts
        ``algorithm_2`` and ``log_ratio``: a_g, shape (2, 13, 1, 15). Logged: iterations used and
        the distances ‖P_g - D_g‖ reached.
    """
    config, tensors, _ = checkpoints.load(recipe.slots, SLOT_MODEL, SlotNetworkConfig)
    network = SlotNetwork(config).eval()
    network.load_state_dict(tensors)
    fits = {"algorithm_2": fit_open_loop, "log_ratio": fit_log_ratio}
    shape = (2, GROUP_ROWS, 1, len(ACTIVITY_TYPES))
    shifts = {name: np.zeros(shape) for name in fits}
    reached: dict[str, list[tuple[int, float]]] = {name: [] for name in fits}
    for group in groups:
        logits = masked_logits(network, pool, group, recipe.seed)
        for name, fit in fits.items():
            target = group.target / _DAY_MIN
            weight, rounds, distance = fit(logits.clone(), target, recipe.algorithm)
            shifts[name][group.kind, group.row, 0] = weight - weight[HOME]
            reached[name].append((rounds, distance))
    for name, pairs in reached.items():
        rounds, distance = np.mean(pairs, axis=0)
        logger.info("adapters: %s: %.0f rounds, distance %.3f", name, rounds, distance)
    return shifts


def masked_logits(network: SlotNetwork, pool: ChainPool, group: Group, seed: int) -> torch.Tensor:
    """Return the slot network's logits of days of a group masked at 70 %, (48, 96, 15)."""
    rng = seeds.stream(seed, "adapters-open", group.kind, group.row)
    mine = np.flatnonzero((pool.kind == group.kind) & (_row_of(pool.person) == group.row))
    entries = rng.choice(mine, _OPEN_DAYS)
    days = pool.chains[pool.day[entries]].astype(np.int64)
    hidden = paper_mask(pool.chains[pool.day[entries]], 0.7, rng)
    week_day = _SATURDAY if group.kind == 1 else _TUESDAY
    with torch.inference_mode():
        logits = network.logits(
            torch.from_numpy(np.where(hidden, MASK, days)), torch.full((len(days),), week_day)
        )
    barred = permitted(pool.person[entries], np.full(len(entries), group.employed[0]))
    return logits.clone() + torch.from_numpy(barred).float()[:, None]


def _card(recipe: AdapterRecipe, errors: dict[str, float]) -> str:
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

Made by `raygen train adapters training/recipes/adapters.toml`.
"""
