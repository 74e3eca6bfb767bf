"""Fit the travel planner: LoRA and heads on a causal LM, the POI codebook, the table of answers.

UniMob (``raygen.models.plan_net``), Eq. 2-4, on real next-arrival pairs (``training.plan_states``):
first the heads alone, on the frozen model (``training.plan_probe``), then heads and LoRA together.
Ends by asking the fitted planner every state of the cities that a table is shipped for.
"""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from raygen import checkpoints
from raygen.config import ComputeConfig, PlannerConfig
from raygen.models import plan_table
from raygen.models.language import load_language_model
from raygen.models.plan_net import PlannerArchitecture, split, trained_tensors
from raygen.models.planner import MODEL, Planner, load_planner
from raygen.models.prompts import CAR, CHECK_IN, GROUP, OFFICE_WORKER, PERSON, PHONE
from raygen.taxonomy import PLAN_SLOTS, ROLES
from training.loop import FitResult, fit
from training.model_card import ModelCard, write_card, write_curve
from training.plan_data import Corpus, PlannerData, read_corpus
from training.plan_probe import fresh_head, probe_heads
from training.plan_scores import Answers, Score, baselines, floor, heaviest, score, take
from training.plan_states import States
from training.plan_task import (
    Group,
    PlannerTask,
    group_targets,
    names_of,
    times_of,
    write_activations,
)
from training.recipe import Recipe

LOG = logging.getLogger(__name__)

SETS = {
    "survey": (slice(0, PHONE), 1.0),
    "phone": (slice(PHONE, PHONE + 1), 0.5),
    "car": (slice(CAR, CAR + 1), 0.5),
    "person": (slice(PERSON, PERSON + 1), 0.5),
    "office worker": (slice(OFFICE_WORKER, OFFICE_WORKER + 1), 0.5),
    "check-in": (slice(CHECK_IN, CHECK_IN + 1), 0.5),
    "groups": (slice(GROUP, CHECK_IN), 0.3),
}
"""Travellers that are scored together, and the share of their held-out weight, in the heaviest
places, that the language model is asked about."""

_ACTIVATIONS = "activations.safetensors"
_SCORES = "scores.json"


class PlannerRecipe(Recipe):
    """Recipe of ``raygen train planner``."""

    data: PlannerData = PlannerData()
    """Pairs."""

    model: PlannerArchitecture = PlannerArchitecture()
    """Architecture; ``base_digest`` and ``hidden`` are the language model's."""

    draws: Annotated[int, Field(ge=1)] = 128
    """Places drawn in an epoch; each is a batch of its 48 departure slots."""

    validation_coverage: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Share of the held-out weight that each epoch is validated on."""

    validation_city: str = ""
    """City that the survey's validation prompts name; where empty, one that a place's training
    prompts name."""

    table_cities: tuple[str, ...] = ("a city",)
    """Names, as prompts say them, whose table of answers is written beside the weights."""


def train(
    recipe: PlannerRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the planner and write weights, card, curve, scores and tables.

    Parameters
    ----------
    recipe
        Data, architecture and loop.
    output
        Directory of the planner's weights; its name must be ``planner``, so that its parent can
        be loaded.
    resume
        Go on from the last epoch in ``output``.
    address
        Ray's address.

    Returns
    -------
    output
        The directory.

    Raises
    ------
    DataError
        If the data are missing or malformed.
    WeightsError
        If the language model is missing.
    ClusterError, StageError
        See ``training.loop.fit``.
    """
    corpus = read_corpus(recipe.data, recipe.model.codes, recipe.seed)
    task = _task(recipe, corpus, output, resume)
    frozen = task.validate(task.model().requires_grad_(False).eval())
    LOG.info("planner: heads alone: validation total %.4f", frozen["total"])
    result = fit(task, recipe.loop, output, resume, address)
    if frozen["total"] <= _best_row(result)["total"]:
        LOG.warning("planner: LoRA did not help: the heads alone are kept")
        start = task.model().state_dict()
        result = replace(result, tensors={name: start[name] for name in result.tensors})
    _write_weights(recipe, task, corpus, result, output)
    (output / _ACTIVATIONS).unlink(missing_ok=True)
    planner = fill_tables(output, recipe.table_cities, recipe.model.base_model)
    scores = evaluate(planner, corpus, recipe)
    scores["validation, heads alone"] = frozen
    scores["validation, with LoRA"] = _best_row(result)
    (output / _SCORES).write_text(json.dumps(scores, indent=2) + "\n")
    write_curve(output, result.curve)
    _write_card(recipe, task.architecture, corpus, result, output, scores)
    return output


def fill_tables(output: Path, cities: tuple[str, ...], base_model: str) -> Planner:
    """Ask every state of the six roles in cities; write each table beside the weights."""
    asked = PlannerConfig(base_model=base_model, city_name="")
    planner = load_planner(output.parent, asked, ComputeConfig())
    for city in cities:
        name = plan_table.file_name(planner.table(city).address)
        planner.fill(city, output / name, range(len(ROLES)))
    kept = {plan_table.file_name(planner.table(city).address) for city in cities}
    for path in output.glob(plan_table.file_name("*")):
        if path.name not in kept:
            path.unlink()
    return planner


def evaluate(
    planner: Planner,
    corpus: Corpus,
    recipe: PlannerRecipe,
    sets: tuple[str, ...] = tuple(SETS),
) -> dict[str, dict[str, float]]:
    """Return the figures of ``training.plan_scores`` by set and planner, and the codebook's error.

    The survey's states are asked under the first of ``table_cities``, as in a run.
    """
    found: dict[str, dict[str, float]] = {
        "codebook": {
            "jsd_mean": float(corpus.code_error.mean()),
            "jsd_p95": float(np.quantile(corpus.code_error, 0.95)),
        }
    }
    for name in sets:
        travellers, coverage = SETS[name]
        held = heaviest(take(corpus.validation, travellers), coverage)
        one, other = (take(part, travellers) for part in corpus.floor_parts)
        city = recipe.table_cities[0]
        if name in ("phone", "check-in"):
            city = recipe.data.phone_city
        answers = _answers(planner, city, held, travellers.start)
        rows = {"planner": score(held, answers), "floor": floor(one, other)}
        rows |= {
            f"baseline: {word}": score(held, baseline)
            for word, baseline in baselines(take(corpus.train, travellers)).items()
        }
        found |= {f"{name}, {word}": _figures(row) for word, row in rows.items()}
    return found


def _task(recipe: PlannerRecipe, corpus: Corpus, output: Path, resume: bool) -> PlannerTask:
    """Load the language model once for what stays fixed; write the lower layers' output."""
    language = load_language_model(recipe.model.base_model, torch.bfloat16, "cpu")
    config: Any = language.decoder.config
    architecture = recipe.model.model_copy(
        update={"base_digest": language.digest, "hidden": config.hidden_size}
    )
    activations = (output / _ACTIVATIONS).resolve()
    data = recipe.data
    emphasis = data.emphasis.by_traveller()
    train = group_targets(corpus.train.smoothed(data.smoothing), data.coverage, emphasis)
    validation = group_targets(corpus.validation, recipe.validation_coverage, emphasis)
    names = {
        group: names_of(group, data.cities, data.phone_city, data.names_per_place)
        for group in train.groups
    }
    held = {group: _validation_name(group, recipe) for group in validation.groups}
    if not (resume and activations.is_file()):
        asked = dict(names)
        for group, name in held.items():
            asked[group] = tuple(dict.fromkeys((*names.get(group, ()), name)))
        LOG.info("planner: lower layers of %d prompts", sum(map(len, asked.values())))
        write_activations(activations, language, architecture, corpus.codebook, asked)
    LOG.info("planner: heads on the frozen language model")
    upper = split(language.decoder, architecture.upper_layers)[1]
    tree, head = times_of(language), fresh_head(architecture, recipe.seed)
    return PlannerTask(
        architecture=architecture,
        seed=recipe.seed,
        activations=activations,
        train=train,
        validation=validation,
        names=names,
        held_names=held,
        draws=recipe.draws,
        head=probe_heads(upper, activations, train, names, head, tree),
    )


def _validation_name(group: Group, recipe: PlannerRecipe) -> str:
    data = recipe.data
    if recipe.validation_city and group[0] not in (PHONE, CHECK_IN):
        return recipe.validation_city
    return names_of(group, data.cities, data.phone_city, 1)[0]


def _write_weights(
    recipe: PlannerRecipe, task: PlannerTask, corpus: Corpus, result: FitResult, output: Path
) -> None:
    layers = sum(1 for name in result.tensors if name.endswith("q_proj.lora_A.default.weight"))
    below = _layers(recipe.model.base_model) - layers
    tensors = trained_tensors(result.tensors, below)
    tensors["codebook"] = torch.from_numpy(corpus.codebook.codes.astype(np.float32))
    checkpoints.save(
        output, MODEL, task.architecture, tensors, _provenance(corpus, task.architecture)
    )


def _layers(base_model: str) -> int:
    from transformers import AutoConfig

    from raygen.models.language import unpacked

    return int(AutoConfig.from_pretrained(unpacked(base_model)).num_hidden_layers)


def _answers(planner: Planner, city: str, held: States, first: int) -> Answers:
    """Ask the states of the places that held-out people leave from; others are not set."""
    who, code = np.nonzero(held.weight.sum(axis=2))
    slot = np.tile(np.arange(PLAN_SLOTS), len(who))
    asked = (np.repeat(who + first, PLAN_SLOTS), slot, np.repeat(code, PLAN_SLOTS))
    time, poi, _ = planner.answers(city, *asked)
    slots, categories = np.ones(held.slots.shape), np.ones(held.categories.shape)
    slots[who, code] = time.reshape(len(who), PLAN_SLOTS, -1)
    categories[who, code] = poi.reshape(len(who), PLAN_SLOTS, -1)
    return Answers(slots, categories)


def _best_row(result: FitResult) -> dict[str, float]:
    prefix = "validation_"
    row = result.curve[result.best_epoch]
    return {n.removeprefix(prefix): v for n, v in row.items() if n.startswith(prefix)}


def _figures(row: Score) -> dict[str, float]:
    return {name: value for name, value in asdict(row).items() if np.isfinite(value)}


def _provenance(corpus: Corpus, architecture: PlannerArchitecture) -> dict[str, str]:
    counts = corpus.counts
    return {
        "survey": f"czechia_hts, train split of {counts['survey persons']} persons: times, "
        "purposes, roles, car drivers and demographic groups observed; POI distributions of stops "
        "synthesised",
        "profiles": "office worker taken to be an employed person with a university degree: "
        "assumed; teacher and visitor not in the data: never taught",
        "phone": f"beijing_geolife, {counts['phone days']} train days: times observed, by "
        "Beijing's clock; POI distributions calibrated",
        "check-ins": f"New York (Foursquare), {counts.get('check-in days', 0)} train days: times "
        "observed, POI distributions calibrated",
        "cities": "plans taken to be alike in all cities, which prompts do not name: assumed",
        "tomorrow": "first arrival of the next day taken from the same day; where that is the only "
        "one, or there is none, a day later: assumed",
        "base_model": f"{architecture.base_model} (SHA-256 {architecture.base_digest[:12]}…), "
        "frozen",
    }


def _write_card(
    recipe: PlannerRecipe,
    architecture: PlannerArchitecture,
    corpus: Corpus,
    result: FitResult,
    output: Path,
    scores: dict[str, dict[str, float]],
) -> None:
    write_card(
        output,
        ModelCard(
            model=MODEL,
            summary="Maps a plan state (role, slot of arrival, POI distribution of the place) to "
            "the distribution of the next arrival's half-hour and of its POI categories: the "
            "travel planner of UniMob, section 3.2, on a causal language model with LoRA.",
            data=_provenance(corpus, architecture),
            architecture=architecture,
            loop=recipe.loop,
            seconds=result.seconds,
            results=[(k, where, v) for where, row in scores.items() for k, v in row.items()],
            limits=[
                "Plans were seen in Czech towns and in Beijing alone; other cities are zero-shot.",
                "Answers hang on how the prompt names the city (`planner.city_name`): under a name "
                "that no training prompt held they are worse. In the pipeline the day chain fixes "
                "the slot.",
                "Young children are 31 persons of the survey; elderly workers a few hundred.",
                "Teachers and visitors were never taught: what the planner says of them is what "
                "the language model makes of the word.",
                "Weekdays: neither source tells days of the week apart.",
            ],
            command="raygen train planner training/recipes/planner.toml",
        ),
    )
