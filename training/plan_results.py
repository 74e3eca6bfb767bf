"""Measure the shipped planner: ``python -m training.plan_results``.

Writes ``docs/results/planner.json`` and ``.md``: what comes next on held-out pairs (beside
baselines and floors), UniMob's Algorithm 1 against held-out days, the codebook's error, and the
language model's speed and repeatability.
"""

import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raygen import checkpoints, seeds
from raygen.city import open_city
from raygen.config import ComputeConfig, PlannerConfig, load
from raygen.models import plan_table
from raygen.models.codebook import jsd
from raygen.models.plan_distilled import DISTILLED
from raygen.models.planner import MODEL, Planner, load_planner
from raygen.models.prompts import PHONE
from raygen.results import Results, Row
from raygen.stages.recursion import RecursivePlan, plan_recursive
from raygen.survey import SPLITS, Survey, read_survey
from raygen.taxonomy import PLAN_SLOTS
from training.plan_data import Corpus, read_corpus
from training.plan_places import places
from training.plan_task import group_targets
from training.plan_travellers import survey_roles
from training.planner import SETS, PlannerRecipe, evaluate

FloatArray = npt.NDArray[np.float64]

_ASKED_PLACES = 12
_NAMED_PLACES = 8  # places asked under other names
_SAMPLE = 4000
_UNSEEN = ("Chicago", "Vienna", "Cape Town")  # cities that no training prompt names
_TINY = 1e-12


def main() -> int:
    """Write the results and print where they are."""
    recipe = load(Path("training/recipes/planner.toml"), PlannerRecipe)
    corpus = read_corpus(recipe.data, recipe.model.codes, recipe.seed)
    planner = load_planner(checkpoints.SHIPPED, PlannerConfig(), ComputeConfig())
    rows = _next_arrivals(evaluate(planner, corpus, recipe))
    rows += _names(planner, corpus, recipe)
    rows += _whole_days(planner, recipe)
    rows += _codebook(planner, corpus, recipe)
    rows += _speed(planner, recipe.table_cities[0])
    if (checkpoints.SHIPPED / DISTILLED).is_dir():
        rows += distilled_rows(planner, corpus, recipe)
    results = Results(
        name=MODEL,
        command="python -m training.plan_results",
        data="czechia_hts (validation and test persons), beijing_geolife (days_val): observed; "
        "POI distributions of the survey's stops synthesised, of Beijing's calibrated",
        rows=rows,
        notes=[
            "nll: mean −log probability of the half-hour of the next arrival, nats. JSD base 2 "
            "over cells (role, slot of arrival), by weight. The survey is asked as the table's "
            "city.",
            "Floor: validation against test persons; even against odd validation days.",
            "Car, person, office worker and groups are asked at the heaviest held-out places only; "
            "phone days are by Beijing's clock.",
            "Without LLM: the distilled network (`planner.llm = false`), with its floor beside it.",
            "Algorithm 1 draws whole days from midnight at home; the survey's days hold only "
            "people who travelled.",
        ],
    )
    path = results.write(Path("docs/results/planner.json"))
    sys.stdout.write(f"{path}\n")
    return 0


def _next_arrivals(scores: dict[str, dict[str, float]]) -> list[Row]:
    rows: list[Row] = []
    for held in SETS:
        for metric, value in scores[f"{held}, planner"].items():
            for name in ("marginal", "by slot", "smoothed counts"):
                rows.append(
                    Row(
                        case=f"{held}: next arrival",
                        metric=metric,
                        value=value,
                        floor=scores[f"{held}, floor"].get(metric),
                        baseline=scores[f"{held}, baseline: {name}"][metric],
                        baseline_name=name,
                    )
                )
    return rows


def _names(planner: Planner, corpus: Corpus, recipe: PlannerRecipe) -> list[Row]:
    """Ask the heaviest held-out places under cities that the prompts named, and never named."""
    held = group_targets(corpus.validation, recipe.validation_coverage)
    kept = [index for index, (traveller, _) in enumerate(held.groups) if traveller < PHONE]
    kept = kept[:_NAMED_PLACES]
    weight = held.weight[kept] * held.mass[kept, None]
    weight /= weight.sum()
    rows: list[Row] = []
    for city in (recipe.table_cities[0], *_UNSEEN):
        groups = [held.groups[index] for index in kept]
        told = planner.codebook.codes[[code for _, code in groups]]
        answers = [slots for _, _, slots, _ in planner.model().ask(city, groups, told)]
        log_q = np.log(np.maximum(np.stack(answers).astype(np.float64), _TINY))
        nll = -(weight[..., None] * held.time[kept] * log_q).sum()
        seen = "named in training" if city in recipe.data.cities else "never named"
        rows.append(
            Row(case=f"heaviest places as {city} ({seen})", metric="time_nll", value=float(nll))
        )
    return rows


def _whole_days(planner: Planner, recipe: PlannerRecipe) -> list[Row]:
    """Draw a day for each held-out person by Algorithm 1 and compare arrivals."""
    plan, survey, persons = draw_days(planner, recipe)
    drawn = _histogram(plan.slots[plan.slots >= 0] % PLAN_SLOTS)
    held, other = (_arrivals(survey, split) for split in ("validation", "test"))
    count = len(persons)
    real = np.diff(survey.first_stop)[persons].mean()
    return [
        Row(
            case="Algorithm 1: arrivals",
            metric="slot_jsd",
            value=_jsd(drawn, held),
            n=count,
            floor=_jsd(other, held),
            baseline=_jsd(np.full(PLAN_SLOTS, 1 / PLAN_SLOTS), held),
            baseline_name="uniform",
        ),
        Row(
            case="Algorithm 1: arrivals",
            metric="per_day (observed: floor)",
            value=float(plan.length.mean()),
            n=count,
            floor=float(real),
        ),
    ]


def draw_days(
    planner: Planner, recipe: PlannerRecipe
) -> tuple[RecursivePlan, Survey, npt.NDArray[np.int64]]:
    """Draw a day for each held-out person; return the plan, the survey and the persons."""
    survey = read_survey(recipe.data.survey)
    roles = survey_roles(survey, recipe.data.survey)
    persons = survey.take("validation")
    homes = places(recipe.seed).of_purpose[0]
    uniform = seeds.uniforms(recipe.seed, "plan-results", persons, PLAN_SLOTS + 2)
    pick = (uniform[:, -1] * len(homes)).astype(np.int64)
    start = (roles[persons], np.zeros_like(persons), homes[pick].astype(np.float32))
    plan = plan_recursive(
        planner, recipe.table_cities[0], start, PLAN_SLOTS - 1, uniform[:, : PLAN_SLOTS + 1]
    )
    return plan, survey, persons


def _codebook(planner: Planner, corpus: Corpus, recipe: PlannerRecipe) -> list[Row]:
    """Error of the codes on places left out of their fit, and on what a city asks with."""
    city = open_city("los_angeles")
    answered = planner.table(recipe.table_cities[0]).categories.reshape(-1, 14)
    rng = seeds.stream(recipe.seed, "plan-results-codes")
    answers = answered[rng.choice(len(answered), _SAMPLE)].astype(np.float64)
    plans = answers * city.category_given_type[rng.integers(0, 15, _SAMPLE)]
    plans /= plans.sum(axis=1, keepdims=True)
    sets = {
        "left out of the fit": corpus.code_error,
        "regions of Los Angeles County": planner.codebook.error(city.region_poi),
        "semantic plans of Los Angeles County": planner.codebook.error(plans),
    }
    return [
        Row(case=f"codebook: {name}", metric=metric, value=float(value), n=len(error))
        for name, error in sets.items()
        for metric, value in (("jsd_mean", error.mean()), ("jsd_p95", np.quantile(error, 0.95)))
    ]


def _speed(planner: Planner, city: str) -> list[Row]:
    """Ask some places again: states a CPU-second, and whether they equal the table's bits."""
    groups = sorted((code % 6, code) for code in range(_ASKED_PLACES))
    table = planner.table(city)
    planner.model()
    begun = time.process_time()
    asked = planner.ask(city, groups)
    spent = time.process_time() - begun
    again = plan_table.PlanTable(table.address)
    again.put(asked)
    row = np.searchsorted(table.key, again.key)
    kept_slots, kept_categories = table.slots[row], table.categories[row]
    equal = bool((kept_slots == again.slots).all() and (kept_categories == again.categories).all())
    largest = float(np.abs(kept_slots.astype(np.float64) - again.slots).max())
    states = len(groups) * PLAN_SLOTS
    return [
        Row(case="language model", metric="states_per_cpu_s", value=states / spent, n=states),
        Row(case="asked again", metric="bits_equal", value=float(equal), n=states),
        Row(case="asked again", metric="largest_difference", value=largest, n=states),
    ]


def distilled_rows(planner: Planner, corpus: Corpus, recipe: PlannerRecipe) -> list[Row]:
    """Compare the planner without a language model to the one with it, and to held-out people."""
    city = recipe.table_cities[0]
    small = load_planner(checkpoints.SHIPPED, PlannerConfig(llm=False), ComputeConfig())
    scores = evaluate(small, corpus, recipe, ("survey",))
    rows = [
        Row(
            case="without LLM, survey: next arrival",
            metric=metric,
            value=value,
            floor=scores["survey, floor"].get(metric),
            baseline=evaluate(planner, corpus, recipe, ("survey",))["survey, planner"][metric],
            baseline_name="with LLM",
        )
        for metric, value in scores["survey, planner"].items()
    ]
    weight = corpus.validation.weight[:PHONE]
    who, code, slot = np.nonzero(weight)
    share = weight[who, code, slot] / weight.sum()
    ours, theirs = (model.answers(city, who, slot, code)[:2] for model in (small, planner))
    for name, one, other in zip(("M", "D"), ours, theirs, strict=True):
        gap = jsd(one.astype(np.float64), other.astype(np.float64))
        rows.append(
            Row(
                case="without LLM against with LLM, held-out states",
                metric=f"{name}_jsd",
                value=float((share * gap).sum()),
                n=len(share),
            )
        )
    rows += _distilled_days(planner, small, recipe)
    begun = time.process_time()
    small.ask(city, [(role, code) for role in range(6) for code in range(_ASKED_PLACES)])
    states = 6 * _ASKED_PLACES * PLAN_SLOTS
    spent = time.process_time() - begun
    rows.append(Row(case="without LLM", metric="states_per_cpu_s", value=states / spent, n=states))
    return rows


def _distilled_days(planner: Planner, small: Planner, recipe: PlannerRecipe) -> list[Row]:
    """Compare the arrivals of drawn days."""
    (ours, survey, _), (theirs, _, _) = (draw_days(model, recipe) for model in (small, planner))
    drawn, with_llm = (
        _histogram(plan.slots[plan.slots >= 0] % PLAN_SLOTS) for plan in (ours, theirs)
    )
    held, other = (_arrivals(survey, split) for split in ("validation", "test"))
    return [
        Row(
            case="without LLM, Algorithm 1: arrivals",
            metric="slot_jsd",
            value=_jsd(drawn, held),
            floor=_jsd(other, held),
            baseline=_jsd(with_llm, held),
            baseline_name="with LLM",
        ),
        Row(
            case="without LLM, Algorithm 1: arrivals",
            metric="slot_jsd to those with LLM",
            value=_jsd(drawn, with_llm),
        ),
    ]


def _arrivals(survey: Survey, split: str) -> FloatArray:
    owner = np.repeat(survey.split, np.diff(survey.first_stop))
    return _histogram(survey.arrival[owner == SPLITS.index(split)] // 2)


def _histogram(slots: npt.NDArray[np.int64]) -> FloatArray:
    counts = np.bincount(slots, minlength=PLAN_SLOTS)
    return counts / counts.sum()


def _jsd(one: FloatArray, other: FloatArray) -> float:
    return float(jsd(one[None], other[None])[0])


if __name__ == "__main__":
    sys.exit(main())
