"""Measure transfer: ``python -m training.transfer_results BASE ACTIVITYSIM [PART …]``.

Writes ``docs/results/data-fusion-transfer.json`` and ``.md``: the forms of DataFusion's Table 3
(supervised transfer, ``supervised`` and ``slots``) and Table 4 (Algorithm 1, ``beijing`` and
``bay_area``), on other data than the paper's. BASE holds the folders of the base models,
ACTIVITYSIM the survey tables of the package of that name. Rows of parts that are not named are kept
as they are in the file.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from raygen import seeds
from raygen.config import load
from raygen.markov import fit_markov
from raygen.metrics import QUANTITIES, chain_divergences
from raygen.models.masks import paper_mask
from raygen.results import Row
from raygen.stages.chains import DRAWS, UNKNOWN
from raygen.survey import GROUP_ROWS
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SLOTS
from raygen.transitions import COMPARED, transition_divergences
from training.chain_data import ChainData, DataSection, load_chains
from training.chain_results import HeldOut, held_out
from training.in_process import fit_here
from training.iteration import Network, hide, raw_days
from training.partial_days import complete
from training.transfer import Method, TransferRecipe, load_base, transfer
from training.transfer_data import Target, load_target
from training.transfer_paper import PAPER, PAPER_LA
from training.transfer_tables import results_of

PARTS = ("supervised", "slots", "beijing", "bay_area")

_RECIPES = Path("training/recipes")
_MASKED = 0.7
_SEEDS = (1, 2, 3)
_MARKOV = "Markov by slot and group of the target"
_MEAN = "likeliest known type of the slot in the target"

Chains = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Setting:
    """What all parts share."""

    base: Path
    activitysim: Path

    def recipe(self, name: str) -> TransferRecipe:
        """Return a shipped recipe with this setting's paths."""
        recipe = load(_RECIPES / f"{name}.toml", TransferRecipe)
        target = recipe.target
        if target.kind == "activitysim":
            target = target.model_copy(update={"directory": self.activitysim})
        return recipe.model_copy(update={"base": self.base, "target": target})


def mean_day(target: Target) -> Chains:
    """Return the likeliest known type of each slot, shape (96,)."""
    types = len(ACTIVITY_TYPES)
    cell = np.arange(SLOTS)[None] * (types + 1) + np.where(
        target.chains == UNKNOWN, types, target.chains
    )
    counts = np.bincount(cell.ravel(), minlength=SLOTS * (types + 1)).reshape(SLOTS, -1)
    return counts[:, :types].argmax(1).astype(np.int8)


def hidden_at_70(days: Chains) -> Chains:
    """Return days with 70 % of each unknown, by all three maskings."""
    hidden = paper_mask(days, _MASKED, seeds.stream(0, "transfer-masks"))
    return np.where(hidden, np.int8(UNKNOWN), days)


def uniforms(name: str, size: int) -> npt.NDArray[np.float64]:
    """Return the draws of days."""
    return seeds.uniforms(0, f"transfer-results:{name}", np.arange(size), DRAWS)


def table_3(setting: Setting, network: str) -> list[Row]:
    """Return the rows of Table 3's form, by the chain decoder or the slot network."""
    recipe = setting.recipe("transfer" if network == "activities" else "transfer_slots")
    targets = load_target(recipe.target, recipe.seed)
    known, test = targets["train"], first_expansion(targets["test"])
    markov = fit_markov(known.chains, known.row, np.ones(len(known.row)), GROUP_ROWS)
    draws = uniforms("markov", len(test.chains))[:, : SLOTS + 1]
    bounds = (
        chain_divergences(test.chains, known.chains),
        chain_divergences(test.chains, markov.sample(test.row, draws)),
    )
    rows: list[Row] = []
    if network == "activities":
        own = held_out(load_chains(DataSection(), recipe.seed), "train", 1)
        found = chain_divergences(test.chains, own.observed, None, own.weight)
        rows += _table_rows("survey against target", found, test, "NHTS vs SCAG", bounds)
        raw = hidden_at_70(test.chains)
        filled = np.where(raw == UNKNOWN, mean_day(known)[None], raw)
        found = chain_divergences(test.chains, filled)
        rows += _table_rows("target, mean day in hidden slots", found, test, "", bounds)
    methods: tuple[Method, ...] = ("unfreezing", "all_at_once", "scratch")
    used = methods if network == "activities" else methods[:1]
    with ProcessPoolExecutor(len(used) + 1, get_context("spawn")) as pool:
        jobs = [pool.submit(_by_method, recipe, method, bounds) for method in ("", *used)]
        return rows + [row for job in jobs for row in job.result()]


def first_expansion(target: Target) -> Target:
    """Return one day of each person."""
    return target.take(np.arange(target.persons))


def _by_method(
    recipe: TransferRecipe, method: Method | Literal[""], bounds: tuple[dict[str, float], ...]
) -> list[Row]:
    """Return the rows of one method, of the base model where there is none; in a process."""
    torch.set_num_threads(1)
    name = "chain decoder" if recipe.network == "activities" else "slot network"
    targets = load_target(recipe.target, recipe.seed)
    test = first_expansion(targets["test"])
    if method == "":
        base = load_base(recipe)
        rows = _survey_rows(load_chains(DataSection(), recipe.seed), base, name)
        return rows + _on_target(name, "no transfer (M^N)", base, test, bounds)
    done = transfer(
        recipe.model_copy(update={"method": method}), targets, lambda t, c, _: fit_here(t, c)
    )
    case = f"{method} (M^S)" if method == "unfreezing" else method
    return _on_target(name, case.replace("_", " "), done.network, test, bounds)


def _survey_rows(survey: ChainData, base: Network, name: str) -> list[Row]:
    """Return how the base model does on its own survey's test persons."""
    test: HeldOut = held_out(survey, "test", 1)
    made = complete(
        base, hidden_at_70(test.observed), test.people, uniforms("survey", len(test.people))
    )
    found = chain_divergences(test.observed, made, test.weight, test.weight)
    known = held_out(survey, "train", 1)
    floor = chain_divergences(test.observed, known.observed, test.weight, known.weight)
    paper = dict(zip(QUANTITIES, PAPER["M^N on NHTS"], strict=True))
    return [
        Row(
            case=f"{name}, source survey, 70 % masked, no transfer (M^N)", metric=f"{q}_jsd",
            value=found[q], n=len(test.people), floor=floor[q], paper=paper[q], mode="oracle",
        )
        for q in QUANTITIES
    ]  # fmt: skip


def _on_target(
    name: str, case: str, network: Network, test: Target, bounds: tuple[dict[str, float], ...]
) -> list[Row]:
    """Return how a network does on the target's test persons: masked, and from both ends alone."""
    draws = uniforms("target", len(test.chains))
    masked = complete(network, hidden_at_70(test.chains), test.people, draws)
    paper = "M^N on SCAG" if "M^N" in case else "M^S on SCAG" if "M^S" in case else ""
    found = chain_divergences(test.chains, masked)
    rows = _table_rows(f"{name}, target, 70 % masked, {case}", found, test, paper, bounds)
    blank = np.full(test.chains.shape, UNKNOWN, np.int8)
    blank[:, [0, SLOTS - 1]] = HOME
    free = complete(network, blank, test.people, draws)
    found = chain_divergences(test.chains, free)
    return rows + _table_rows(f"{name}, target, free generation, {case}", found, test, "", bounds)


def _table_rows(
    case: str,
    found: dict[str, float],
    test: Target,
    paper: str,
    bounds: tuple[dict[str, float], ...],
) -> list[Row]:
    printed = dict(zip(QUANTITIES, PAPER[paper], strict=True)) if paper else {}
    floor, baseline = bounds
    return [
        Row(
            case=case, metric=f"{name}_jsd", value=found[name], n=test.persons, floor=floor[name],
            baseline=baseline[name], baseline_name=_MARKOV, paper=printed.get(name),
            mode=_mode(case),
        )
        for name in QUANTITIES
    ]  # fmt: skip


def _mode(case: str) -> str | None:
    """Return whether days were generated freely or given a part of the true day."""
    if "free generation" in case:
        return "free"
    return None if "survey against" in case else "oracle"


def table_4(setting: Setting, place: str) -> list[Row]:
    """Return the rows of Table 4's form: by iteration, mean and deviation over the seeds."""
    recipe = setting.recipe("transfer_iterative")
    iteration = recipe.iteration.model_copy(update={"patience": recipe.iteration.iterations})
    recipe = recipe.model_copy(update={"iteration": iteration})
    if place == "bay_area":
        recipe = recipe.model_copy(update={"target": setting.recipe("transfer").target})
    with ProcessPoolExecutor(len(_SEEDS), get_context("spawn")) as pool:
        runs = list(pool.map(partial(_by_seed, recipe), _SEEDS))
    targets = load_target(recipe.target, 1)
    whole = first_expansion(targets["test"])
    raw = hide(whole, iteration.hidden, 0, "test")
    known = raw_days(targets, iteration, 1).train
    rows = _bound_rows(place, known, raw, whole)
    floors = floors_of(known, raw, whole, first_expansion(targets["train"]))
    for case in runs[0].judged[0]:
        for number in range(iteration.iterations + 1):
            values = [run.judged[number][case] for run in runs]
            rows += _iteration_rows(place, case, number, values, (known, raw, whole), floors)
    rows += [
        Row(case=f"{place}, Algorithm 1, seed {seed}", metric=metric, value=value)
        for seed, run in zip(_SEEDS, runs, strict=True)
        for metric, value in (("iteration_kept", float(run.best)), ("decays_from", run.decays))
    ]
    return rows


@dataclass(frozen=True)
class SeedRun:
    """What one seed of Algorithm 1 gave."""

    best: int
    decays: float | None
    judged: list[dict[str, dict[str, float]]]
    """By iteration from 0 on; see ``_judge``."""


def _by_seed(recipe: TransferRecipe, seed: int) -> SeedRun:
    """Run Algorithm 1 with a seed; in a process."""
    torch.set_num_threads(1)
    targets = load_target(recipe.target, 1)
    whole = first_expansion(targets["test"])
    raw = hide(whole, recipe.iteration.hidden, 0, "test")
    loop = recipe.loop.model_copy(update={"seed": seed})
    seeded = recipe.model_copy(update={"seed": seed, "loop": loop})
    done = transfer(seeded, targets, lambda t, c, _: fit_here(t, c))
    judged: list[dict[str, dict[str, float]]] = []
    for weights in done.models:
        done.network.load_state_dict(weights)
        judged.append(_judge(done.network, raw, whole, seed))
    worse = done.iterations.decays if done.iterations else None
    return SeedRun(done.best, None if worse is None else float(worse), judged)


def _judge(network: Network, raw: Target, whole: Target, seed: int) -> dict[str, dict[str, float]]:
    """Return the divergences of completed days from A_raw and from the days before hiding."""
    ids = np.arange(len(raw.chains))
    draws = seeds.uniforms(seed, "transfer-results:iterations", ids, DRAWS)
    made = complete(network, raw.chains, raw.people, draws)
    blank = np.full(raw.chains.shape, UNKNOWN, np.int8)
    free = complete(network, blank, raw.people, draws)
    return {
        "A_n against A_raw": transition_divergences(raw.chains, made, raw.counted),
        "A_n against the days before hiding": transition_divergences(
            whole.chains, made, raw.counted
        ),
        "free generation against the days before hiding": transition_divergences(
            whole.chains, free, raw.counted
        ),
    }


def _bound_rows(place: str, known: Target, raw: Target, whole: Target) -> list[Row]:
    """Return the source survey against the target, and the mean day in hidden slots."""
    survey = held_out(load_chains(DataSection(), 1), "train", 1)
    printed = _paper(place, 0)
    cases = {
        "source survey against A_raw": transition_divergences(
            raw.chains, survey.observed, raw.counted, (None, survey.weight)
        ),
        "mean day in hidden slots against A_raw": transition_divergences(
            raw.chains,
            np.where(raw.chains == UNKNOWN, mean_day(known)[None], raw.chains),
            raw.counted,
        ),
    }
    floor = transition_divergences(raw.chains, known.chains, raw.counted)
    return [
        Row(
            case=f"{place}, {case}", metric=f"{name}_jsd", value=found[name], n=whole.persons,
            floor=floor[name], paper=printed.get(name) if "survey" in case else None,
        )
        for case, found in cases.items()
        for name in COMPARED
    ]  # fmt: skip


def floors_of(
    known: Target, raw: Target, whole: Target, train: Target
) -> dict[bool, dict[str, float]]:
    """Return training against test days: where parts are hidden (true), and before (false)."""
    return {
        True: transition_divergences(raw.chains, known.chains, raw.counted),
        False: transition_divergences(whole.chains, train.chains, raw.counted),
    }


def _iteration_rows(
    place: str,
    case: str,
    number: int,
    values: list[dict[str, float]],
    days: tuple[Target, Target, Target],
    floors: dict[bool, dict[str, float]],
) -> list[Row]:
    known, raw, whole = days
    printed = _paper(place, number) if number and "A_raw" in case else {}
    filled = np.where(raw.chains == UNKNOWN, mean_day(known)[None], raw.chains)
    hidden = "A_raw" in case
    real, floor = raw.chains if hidden else whole.chains, floors[hidden]
    baseline = transition_divergences(real, filled, raw.counted)
    rows: list[Row] = []
    for name in COMPARED:
        each = np.array([value[name] for value in values])
        rows += [
            Row(
                case=f"{place}, {case}, iteration {number}", metric=f"{name}_jsd",
                value=float(each.mean()), n=whole.persons, floor=floor[name],
                baseline=baseline[name], baseline_name=_MEAN, paper=printed.get(name),
                mode="free" if "free" in case else "oracle",
            ),
            Row(
                case=f"{place}, {case}, iteration {number}", metric=f"{name}_jsd_sd",
                value=float(each.std(ddof=1)), n=len(each),
            ),
        ]  # fmt: skip
    return rows


def _paper(place: str, number: int) -> dict[str, float]:
    """Return the paper's figures of an iteration: Los Angeles beside Beijing, both GPS."""
    if place != "beijing":
        return {}
    return dict(zip(COMPARED, PAPER_LA[number], strict=True))


def kept_rows(path: Path, parts: tuple[str, ...]) -> dict[str, list[Row]]:
    """Return the rows of earlier runs, by part, of the parts that are not run now."""
    if not path.is_file():
        return {}
    rows = [Row(**row) for row in json.loads(path.read_text())["rows"]]
    found: dict[str, list[Row]] = {}
    for row in rows:
        first = row.case.split(",")[0]
        part = first if first in PARTS else "slots" if first == "slot network" else "supervised"
        if part not in parts:
            found.setdefault(part, []).append(row)
    return found


def measure(setting: Setting, part: str) -> list[Row]:
    """Return the rows of one of ``PARTS``."""
    match part:
        case "supervised":
            return table_3(setting, "activities")
        case "slots":
            return table_3(setting, "slots")
        case _:
            return table_4(setting, part)


def main(arguments: list[str]) -> None:
    """Write the results; see the module's first line."""
    if len(arguments) < 2 or not set(arguments[2:]) <= set(PARTS):  # noqa: PLR2004
        sys.exit(f"usage: python -m training.transfer_results BASE ACTIVITYSIM [{' '.join(PARTS)}]")
    torch.set_num_threads(1)
    setting = Setting(Path(arguments[0]), Path(arguments[1]))
    parts = tuple(arguments[2:]) or PARTS
    made = {part: measure(setting, part) for part in parts}
    path = Path("docs/results/data-fusion-transfer.json")
    made |= kept_rows(path, parts)
    rows = [row for part in PARTS for row in made.get(part, [])]
    sys.stdout.write(f"{results_of(rows).write(path)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
