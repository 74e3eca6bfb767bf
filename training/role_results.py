"""Figure 9 of UniMob: ``python -m training.role_results [training/recipes/roles.toml]``.

Whole days are planned by Algorithm 1 for each profile, and for a person without one, from the same
starts and with the same draws. Written are the mixes of the 14 POI categories of the destinations,
beside the mixes of held-out people of that profile where the survey knows them: table, JSON and
figure in ``docs/results/planner-roles``.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig, PlannerConfig, Section, load
from raygen.models.codebook import jsd
from raygen.models.plan_distilled import DISTILLED
from raygen.models.planner import Planner, load_planner
from raygen.models.prompts import GROUP, OFFICE_WORKER, PERSON, TEACHER, VISITOR
from raygen.results import PaperTable, Results, Row
from raygen.stages.recursion import plan_recursive
from raygen.taxonomy import DEMOGRAPHIC_GROUPS, PLAN_SLOTS, POI_CATEGORIES, ROLES
from training.plan_data import Corpus, PlannerData, read_corpus
from training.role_charts import draw_mixes

FloatArray = npt.NDArray[np.float64]

RECIPE = Path("training/recipes/roles.toml")
OUTPUT = Path("docs/results/planner-roles.json")

PROFILES = {
    **{role: index for index, role in enumerate(ROLES)},
    "visitor": VISITOR,
    "teacher": TEACHER,
    "office_worker": OFFICE_WORKER,
    **{name: GROUP + index for index, name in enumerate(DEMOGRAPHIC_GROUPS)},
}
"""Index into TRAVELLERS by name."""

UNTAUGHT = ("visitor", "teacher")

_PAPER = {
    ("office_worker", "companies"): 0.41,
    ("office_worker", "transportation"): 0.15,
    ("retiree", "dining"): 0.33,
    ("retiree", "life_services"): 0.22,
}
"""Shares that the paper's text gives for its cities."""


class RoleRecipe(Section):
    """What is planned."""

    seed: Annotated[int, Field(ge=0)] = 1
    """Root of the draws, and of the data's synthesised places."""

    weights: Path = checkpoints.SHIPPED
    """Directory of weights with ``planner`` (and ``planner-distilled``)."""

    base_model: str = "smollm2"
    """Language model of the planner."""

    codes: Annotated[int, Field(ge=2)] = 64
    """Codes of the planner's codebook."""

    city: str = "a city"
    """City that prompts name."""

    persons: Annotated[int, Field(ge=1)] = 4000
    """Days planned of each profile."""

    starts: Annotated[int, Field(ge=1, le=64)] = 10
    """Kinds of homes that days start from: the commonest codes of homes, by their weight."""

    profiles: tuple[str, ...] = ("retiree", "visitor", "teacher", "office_worker")
    """Profiles asked of the language model."""

    groups: bool = True
    """Also plan the 12 demographic groups, with the distilled planner."""

    data: PlannerData = PlannerData()
    """The survey of the observed mixes."""


@dataclass(frozen=True)
class Mixes:
    """Mixes of destinations, each of shape (14,)."""

    planned: dict[str, FloatArray]
    none: FloatArray
    observed: dict[str, FloatArray]
    floor: dict[str, float]
    """JSD of two halves of the held-out people of a profile."""
    observed_none: FloatArray


def main(arguments: list[str]) -> int:
    """Write the results and print where they are."""
    recipe = load(Path(arguments[0]) if arguments else RECIPE, RoleRecipe)
    corpus = read_corpus(recipe.data, recipe.codes, recipe.seed)
    asked = PlannerConfig(base_model=recipe.base_model, city_name=recipe.city)
    planner = load_planner(recipe.weights, asked, ComputeConfig())
    mixes = mixes_of(planner, corpus, recipe, recipe.profiles)
    rows = rows_of(mixes, "language model")
    tables = [table_of(mixes)]
    if recipe.groups and (recipe.weights / DISTILLED).is_dir():
        quick = asked.model_copy(update={"llm": False})
        small = load_planner(recipe.weights, quick, ComputeConfig())
        rows += rows_of(mixes_of(small, corpus, recipe, recipe.profiles), "distilled")
        rows += rows_of(mixes_of(small, corpus, recipe, DEMOGRAPHIC_GROUPS), "distilled")
    picture = draw_mixes(OUTPUT.with_suffix(".png"), mixes.planned, mixes.none, mixes.observed)
    path = Results(
        name="planner-roles",
        command="python -m training.role_results training/recipes/roles.toml",
        data="czechia_hts, validation and test persons: purposes observed, POI distributions of "
        "stops synthesised; an office worker is an employed person with a degree (assumed)",
        rows=rows,
        tables=tables,
        notes=[
            f"![The mixes of the profiles]({picture.name})",
            "mix_jsd: JSD (base 2) of the planned destinations' categories to those of held-out "
            "people of the profile; floor: validation against test persons; baseline: the plans "
            "without a profile against the same people.",
            "shift_cosine: cosine of (planned profile - planned without one) and (observed profile "
            "- observed everyone): 1 where the profile moves plans the way it moves people.",
            "Groups follow their people but for workers under 25, whose plans hardly do: each was "
            "taught on a handful of places. Take template `role` for them.",
            "moved_jsd: planned with the profile against planned without; floor: the same of "
            "observed people.",
            "Visitors and teachers are not in the data: what the planner says of them it was never "
            "taught, and no observed mix can be put beside it. Time use knows ten broad classes of "
            "occupation and no clock times.",
            "POI categories of the survey's stops are synthesised from their purpose, so that "
            "mixes differ as the purposes do; the paper's come from observed places of its cities.",
        ],
    ).write(OUTPUT)
    sys.stdout.write(f"{path}\n")
    return 0


def mixes_of(
    planner: Planner, corpus: Corpus, recipe: RoleRecipe, profiles: tuple[str, ...]
) -> Mixes:
    """Plan days as each profile and gather the mixes of destinations."""
    one, other = corpus.floor_parts
    observed = {
        name: _observed(one.categories[PROFILES[name]]) for name in profiles if name not in UNTAUGHT
    }
    return Mixes(
        planned={name: _planned(planner, corpus, recipe, PROFILES[name]) for name in profiles},
        none=_planned(planner, corpus, recipe, PERSON),
        observed=observed,
        floor={
            name: _jsd(mix, _observed(other.categories[PROFILES[name]]))
            for name, mix in observed.items()
        },
        observed_none=_observed(one.categories[PERSON]),
    )


def rows_of(mixes: Mixes, model: str) -> list[Row]:
    """Return the figures of every profile."""
    rows: list[Row] = []
    for name, mix in mixes.planned.items():
        case = f"{model}: {name}"
        held = mixes.observed.get(name)
        rows.append(
            Row(
                case=case,
                metric="moved_jsd",
                value=_jsd(mix, mixes.none),
                floor=None if held is None else _jsd(held, mixes.observed_none),
            )
        )
        if held is None:
            continue
        shift, real = mix - mixes.none, held - mixes.observed_none
        cosine = float(shift @ real / (np.linalg.norm(shift) * np.linalg.norm(real) + 1e-12))
        rows += [
            Row(
                case=case,
                metric="mix_jsd",
                value=_jsd(mix, held),
                floor=mixes.floor[name],
                baseline=_jsd(mixes.none, held),
                baseline_name="no profile",
            ),
            Row(case=case, metric="shift_cosine", value=cosine, target=1.0),
        ]
    return rows


def table_of(mixes: Mixes) -> PaperTable:
    """Return the mixes as a table: planned, and observed in brackets."""
    rows: list[list[str]] = []
    for index, category in enumerate(POI_CATEGORIES):
        cells = [category, _cell(mixes.none[index], mixes.observed_none[index])]
        for name, mix in mixes.planned.items():
            held = mixes.observed.get(name)
            paper = _PAPER.get((name, category))
            told = _cell(mix[index], None if held is None else held[index])
            cells.append(told + (f" [{100 * paper:.0f}]" if paper else ""))
        rows.append(cells)
    return PaperTable(
        title="Figure 9: mix of POI categories of the destinations, per cent",
        columns=["category", "no profile", *(name.replace("_", " ") for name in mixes.planned)],
        rows=rows,
        note="Planned; in round brackets observed, of held-out people; in square ones what the "
        "paper reports of its own cities and data.",
    )


def _cell(planned: float, observed: float | None) -> str:
    return f"{100 * planned:.1f}" + ("" if observed is None else f" ({100 * observed:.1f})")


def _planned(planner: Planner, corpus: Corpus, recipe: RoleRecipe, traveller: int) -> FloatArray:
    """Return the mix of the destinations of whole days from midnight at home, by Algorithm 1."""
    homes = corpus.train.weight[PERSON, :, 0]
    codes = np.argsort(-homes, kind="stable")[: recipe.starts]
    edges = np.cumsum(homes[codes] / homes[codes].sum())
    persons = np.arange(recipe.persons)
    uniform = seeds.uniforms(recipe.seed, "role-results", persons, PLAN_SLOTS + 2)
    code = codes[np.minimum(np.searchsorted(edges, uniform[:, -1]), len(codes) - 1)]
    start = (
        np.full(len(persons), traveller),
        np.zeros(len(persons), np.int64),
        planner.codebook.codes[code].astype(np.float32),
    )
    plan = plan_recursive(planner, recipe.city, start, PLAN_SLOTS - 1, uniform[:, :-1])
    return _observed(plan.semantic.astype(np.float64))


def _observed(categories: FloatArray) -> FloatArray:
    """Return the mean of distributions (…, 14), or of their weighted sums."""
    total = categories.reshape(-1, len(POI_CATEGORIES)).sum(axis=0)
    return total / total.sum()


def _jsd(one: FloatArray, other: FloatArray) -> float:
    return float(jsd(one[None], other[None])[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
