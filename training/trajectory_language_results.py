"""HTP's rows with a language model, Tables 1 to 3, and what they cost.

    python -m training.trajectory_language_results [RECIPE.toml]

Writes docs/results/trajectory-language.json and .md. For each set of trajectories: the measures of
Tables 1 and 2 (with and without the language model, roads given) and of Table 3 (roads said too:
HTP+) beside floors and the paper's own; nats a word of the held-out answers beside the
Transformer's and counting; what the answers react to; tokens and trajectories a second.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from raygen import checkpoints
from raygen.config import ComputeConfig, Section, SpeakerConfig, load
from raygen.errors import DataError
from raygen.models.trajectory_codec import TrajectoryCodec
from raygen.models.trajectory_fitted import load_speaker
from raygen.models.trajectory_model import load_codec
from raygen.models.trajectory_speaker import Speaker
from raygen.results import PaperTable, Results, Row
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces
from training.trajectory_baselines import Model
from training.trajectory_language_rows import (
    PLUS,
    WITH,
    WITHOUT,
    Spoken,
    connected_row,
    cost_rows,
    nats_rows,
    reaction_rows,
)
from training.trajectory_models import transformer_free
from training.trajectory_results import PRESETS, measure_set
from training.trajectory_sets import Part, TrajectorySet
from training.trajectory_sets import load as load_set
from training.trajectory_tables import table_1

ROOT = Path(__file__).parents[1]

PAPER_2 = {"w/o LLM": (0.00354, 0.69058, 0.81690), "HTP": (0.00020, 0.83019, 0.92683)}
"""Porto's half of the paper's Table 2: T-Dist, G-Pat, R-Pat."""

PAPER_3 = {
    "ControlTraj": (0.00066, 0.97733, 0.98003, 0.06777),
    "Cardiff": (0.00279, 0.98196, 0.98641, 0.05993),
    "HTP": (0.00020, 0.99519, 0.99418, 0.01799),
    "HTP+": (0.00019, 0.99230, 0.99106, 0.01758),
}
"""The paper's Table 3: T-Dist, G-Den, R-Den, PR-Dist."""

_TABLES = {
    "Table 2": (("t_dist", "g_pat", "r_pat"), (WITHOUT, WITH), PAPER_2),
    "Table 3": (("t_dist", "g_den", "r_den", "pr_dist"), (WITH, PLUS), PAPER_3),
}
_PAPERS = "The paper's lines are of its own data, and no measure of these."


class LanguageResultsRecipe(Section):
    """Recipe of the experiment."""

    data: Path = Path("data")
    """Directory with ``porto``."""

    sets: Annotated[tuple[str, ...], Field(min_length=1)] = ("porto",)
    """Of ``training.trajectory_sets``, on the network that the models were fitted to."""

    simulated: Annotated[int, Field(ge=100)] = 1000
    """Trips of a simulated set to ask for."""

    most: Annotated[int, Field(ge=1)] = 60
    """Test trajectories of a set, at most."""

    language: Path = Path("runs/trajectory")
    """Folder of ``raygen train trajectory``."""

    roads: Path | None = None
    """The same with ``model.roads_first``, for Table 3; None leaves HTP+ out."""

    weights: Path = checkpoints.SHIPPED
    """Directory of the autoencoder and the Transformer."""

    slots: Annotated[int, Field(ge=1)] = 16
    """Answers under way at once."""

    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Number format of the language models."""

    note: str = ""
    """How the language models were fitted, in words; printed with the results."""


def shortened(data: TrajectorySet, most: int) -> TrajectorySet:
    """Return a set with the first test trajectories alone."""
    rows = np.arange(min(most, len(data.test.traces)))
    test = Part(data.test.roads.take(rows), data.test.traces.take(rows))
    return TrajectorySet(
        data.name, data.graph, data.box, data.interval_s, data.train, test, data.kind, data.told
    )


def tables(rows: list[Row], name: str) -> list[PaperTable]:
    """Return Tables 1 to 3 in the paper's form, ours beside the paper's, for both presets."""
    found = {(row.case, row.metric): row for row in rows}
    given = [row for row in rows if not row.case.endswith(PLUS)]
    made = [table_1(given, name, preset) for preset in PRESETS]
    for title, (columns, models, paper) in _TABLES.items():
        for preset in PRESETS:
            lines: list[list[str]] = []
            for model in models:
                cells = [found.get((f"{name}: {model}", f"{preset}: {key}")) for key in columns]
                if all(cell is None for cell in cells):
                    continue
                if not lines:
                    lines.append(["*real against real*", *(_told(c, "floor") for c in cells)])
                lines.append([model, *(_told(cell, "value") for cell in cells)])
            if name == "porto" and preset == "htp":
                lines += [[f"paper: {m}", *(f"{v:.5f}" for v in vs)] for m, vs in paper.items()]
            note = "The paper's lines are of its own data, and no measure of these."
            made.append(
                PaperTable(f"{title}, {name}, preset {preset}", ["", *columns], lines, note)
            )
    return made


def _told(cell: Row | None, name: str) -> str:
    value = None if cell is None else getattr(cell, name)
    return "–" if value is None else f"{value:.5f}"


def measured(
    recipe: LanguageResultsRecipe, name: str, codec: tuple[TrajectoryCodec, str]
) -> Iterator[tuple[list[Row], list[PaperTable], list[str]]]:
    """Yield rows, tables and notes of a set, the tables' first."""
    data = shortened(load_set(name, recipe.data, recipe.simulated), recipe.most)
    folders = {WITH: recipe.language, PLUS: recipe.roads}
    spoken = {
        case: Spoken(_speaker(folder, codec[1], data, recipe), codec[0])
        for case, folder in folders.items()
        if folder is not None
    }
    plain: list[float] = []

    def without(train: RoadTrajectories, told: Conditions, graph: PlaneRoads) -> Traces:
        transformer_free(train, told.take(np.arange(2)), graph)  # loads and warms up
        begun = time.process_time()
        made = transformer_free(train, told, graph)
        plain.append(time.process_time() - begun)
        return made

    models: dict[str, Model] = {WITHOUT: without, **spoken}
    rows = [
        replace(row, mode="free") if row.case.endswith(PLUS) else row
        for row in measure_set(data, models)[0]
    ]
    count = len(data.test.traces)
    line = f"{name} ({data.kind}): {data.told}; the first {count} of the test part."
    for case, one in spoken.items():
        rows += cost_rows(name, one, plain[0] if case == WITH else 0.0, count, case)
        if case == PLUS:
            rows.append(connected_row(one.said[0], data, name))
    yield rows, tables(rows, name), [line]
    yield reaction_rows(data, spoken[WITH].speaker), [], []
    for one in spoken.values():
        yield nats_rows(data, one.speaker, codec[0]), [], []


def _speaker(
    folder: Path, digest: str, data: TrajectorySet, recipe: LanguageResultsRecipe
) -> Speaker:
    how = SpeakerConfig(folder=folder, slots=recipe.slots, dtype=recipe.dtype)
    return load_speaker(how, digest, data.graph.network, ComputeConfig())


def notes(recipe: LanguageResultsRecipe) -> list[str]:
    """Return what a reader must know of the figures."""
    told = [recipe.note] * bool(recipe.note)
    for folder in (recipe.language, recipe.roads):
        if folder is not None:
            digest, provenance = checkpoints.label(folder)
            told.append(f"{folder.name} ({digest[:12]}): fitted to {provenance}.")
    return [
        *told,
        "All models draw their lengths from the conditions that they are told (start time, travel "
        "time, distance, interval); mode oracle: the matched roads of the test trips are told too, "
        "as the paper has it. HTP+ is told no roads (mode free).",
        "Floor: test trajectories against as many training ones; paper: 59,777 test trips.",
        "cpu_s is of generation alone: all models were fitted before.",
        "nats a word: of length tokens, codes and ends that had an alternative, held-out trips; "
        "baseline: how often each word was said in the set's training part.",
        "SmolLM2-135M on one CPU core in some minutes stands for the method's working, not for its "
        "quality: the paper fits Qwen3-1.7B to 538,000 trips on four A100.",
    ]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = ROOT / "training" / "recipes" / "trajectory_language_results.toml"
    parser.add_argument("recipe", nargs="?", type=Path, default=default)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()
    recipe = load(options.recipe, LanguageResultsRecipe)
    wrong = [name for name in recipe.sets if name.startswith("la_basin")]
    if wrong:
        msg = f"{options.recipe}: sets: the models' words are the roads of porto, got {wrong}"
        raise DataError(msg)
    codec = load_codec(recipe.weights / "trajectories" / "codec")
    rows: list[Row] = []
    made: list[PaperTable] = []
    told: list[str] = []
    path = page = options.output / "trajectory-language.json"
    for name in recipe.sets:
        for more, tables_, lines in measured(recipe, name, codec):
            rows, made, told = rows + more, made + tables_, told + lines
            # After each part: what is measured is kept whatever happens to the rest.
            page = _written(path, rows, told + notes(recipe), made)
    sys.stdout.write(f"{page}\n")


def _written(path: Path, rows: list[Row], told: list[str], made: list[PaperTable]) -> Path:
    return Results(
        "trajectory-language",
        "python -m training.trajectory_language_results",
        "data/porto: observed trips and roads; simulated trips are synthesised",
        rows,
        told,
        made,
    ).write(path)


if __name__ == "__main__":
    main()
