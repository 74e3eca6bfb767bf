"""HTP's rows with a language model, Tables 2 and 3, and what they cost.

    python -m training.trajectory_language_results [RECIPE.toml]

Writes docs/results/trajectory-language.json and .md. For each set of trajectories: the measures of
Table 2 (with and without the language model, roads given) and of Table 3 (roads said too: HTP+)
beside floors and the paper's own; nats a word of the held-out answers beside the Transformer's and
counting; what the answers react to; tokens and trajectories a second.
"""

import argparse
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig, Section, SpeakerConfig, load
from raygen.errors import DataError
from raygen.models.language import load_language_model
from raygen.models.trajectory_batches import conditions, route_data, tensors, trajectory_data
from raygen.models.trajectory_codec import TrajectoryCodec
from raygen.models.trajectory_fitted import load_speaker
from raygen.models.trajectory_language import Said, TrajectoryLanguage
from raygen.models.trajectory_model import NOISE, PointsOnRoutes, decoded, load_codec
from raygen.models.trajectory_planner import LEAST_POINTS, MOST_POINTS, Patterns
from raygen.models.trajectory_speaker import Speaker
from raygen.models.trajectory_tokens import Vocabulary
from raygen.models.trajectory_words import known_of
from raygen.network.graph import IntArray
from raygen.results import PaperTable, Results, Row
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces
from raygen.trajectories.routes import RouteSet, routes_of
from training.trajectory_baselines import Model
from training.trajectory_language import nats_of
from training.trajectory_models import shipped, traced, transformer_free
from training.trajectory_nats import Nats, of_counting, of_transformer
from training.trajectory_pairs import conditions_told, pairs_of
from training.trajectory_results import PRESETS, measure_set
from training.trajectory_sets import Part, TrajectorySet
from training.trajectory_sets import load as load_set

ROOT = Path(__file__).parents[1]
WITHOUT, WITH, PLUS = "w/o LLM, given roads", "HTP (LLM), given roads", "HTP+ (LLM says roads)"

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
_SEED = 0
_REACTED = 24  # routes that are asked about under several conditions


class LanguageResultsRecipe(Section):
    """Recipe of the experiment."""

    data: Path = Path("data")
    """Directory with ``porto``."""

    sets: tuple[str, ...] = ("porto",)
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


@dataclass
class Spoken:
    """A speaker as a model of ``measure_set``, and what its answers took."""

    speaker: Speaker
    codec: TrajectoryCodec
    said: list[Said] = field(default_factory=lambda: [])
    seconds: float = 0.0
    """CPU seconds, decoding included."""

    def __call__(self, _: RoadTrajectories, told: Conditions, graph: PlaneRoads) -> Traces:
        """Return traces, of as many points as the model says."""
        begun = time.process_time()
        said = answers(self.speaker, told, graph)
        routes = routes_said(said, told, graph)
        found, parts = decoded_in_parts(self.codec, said.patterns, told, routes)
        self.said.append(said)
        self.seconds += time.process_time() - begun
        return traced(found, parts, told, routes)


def decoded_in_parts(
    codec: TrajectoryCodec, made: Patterns, told: Conditions, routes: RouteSet
) -> tuple[list[PointsOnRoutes], list[IntArray]]:
    """Return the points of patterns on routes, in batches, and the rows of each."""
    data, rows = route_data(routes), np.arange(len(told))
    given = conditions(told.start_s, told.travel_s, told.interval_s, routes)
    parts = [rows[at : at + 64] for at in range(0, len(rows), 64)]
    found: list[PointsOnRoutes] = []
    for part in parts:
        batch = data.batch(part) | tensors({name: each[part] for name, each in given.items()})
        noise = seeds.normals(_SEED, "results:rest", part, NOISE)
        found.append(decoded(codec, Patterns(made.length[part], made.codes[part]), batch, noise))
    return found, parts


def answers(speaker: Speaker, told: Conditions, graph: PlaneRoads) -> Said:
    """Return what a speaker says of conditions; what is drawn depends on the row alone."""
    uniform = seeds.uniforms(_SEED, "results:words", np.arange(len(told)), speaker.draws)
    follows = speaker.follows(graph.network)
    return speaker.answers(speaker.questions(graph.network, told), uniform, None, follows)


def routes_said(said: Said, told: Conditions, graph: PlaneRoads) -> RouteSet:
    """Return the routes of answers: those that were told, or those of HTP+."""
    if not any(said.roads):
        return RouteSet(graph, told.route_first, told.route)
    count = np.array([len(route) for route in said.roads])
    first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    return RouteSet(graph, first, np.concatenate(said.roads).astype(np.int32))


def shortened(data: TrajectorySet, most: int) -> TrajectorySet:
    """Return a set with the first test trajectories alone."""
    rows = np.arange(min(most, len(data.test.traces)))
    test = Part(data.test.roads.take(rows), data.test.traces.take(rows))
    return TrajectorySet(
        data.name, data.graph, data.box, data.interval_s, data.train, test, data.kind, data.told
    )


def tables(rows: list[Row], name: str) -> list[PaperTable]:
    """Return Tables 2 and 3 in the paper's form, ours beside the paper's, for both presets."""
    found = {(row.case, row.metric): row for row in rows}
    made: list[PaperTable] = []
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


def nats_rows(data: TrajectorySet, speaker: Speaker, codec: TrajectoryCodec) -> list[Row]:
    """Return nats a word of the test trajectories: before, after, and beside others."""
    how = speaker.model.words, speaker.language, speaker.model.config.roads_first
    known, told = (
        pairs_of(part.roads, conditions_told(part.roads, data.graph), data.graph, codec, how)
        for part in (data.train, data.test)
    )
    floor = of_counting(known, told)
    config = speaker.model.config
    base = load_language_model(config.base_model, torch.float32, "cpu")
    begun = TrajectoryLanguage(config, base, 1, known_of(data.graph, codec)).eval()
    cases = {"before fine-tuning": begun, "fine-tuned": speaker.model}
    found = {name: Nats(*nats_of(model, told, 4)) for name, model in cases.items()}
    rows: list[Row] = []
    label = "HTP+" if config.roads_first else "HTP"
    for name, nats in found.items():
        case = f"{data.name}: {label}, {name}"
        rows.append(_nats_row(case, "nats a word", nats.a_word, nats.words, floor.a_word))
        if config.roads_first:
            count = nats.counts["roads"]
            rows.append(_nats_row(case, "nats a road", nats.a_road, count, floor.a_road))
    if not config.roads_first:
        one = of_transformer(
            shipped().transformer,
            trajectory_data(data.test.roads, routes_of(data.test.roads, data.graph)),
        )
        case = f"{data.name}: {WITHOUT}"
        rows.append(_nats_row(case, "nats a word", one.a_word, one.words, floor.a_word))
        even = sum(np.log(size) for size in codec.config.codebooks) / len(codec.config.codebooks)
        rows.append(Row(case=f"{data.name}: even draws", metric="nats a code", value=float(even)))
    return rows


def _nats_row(case: str, metric: str, value: float, n: int, floor: float) -> Row:
    return Row(case=case, metric=metric, value=value, n=n, baseline=floor, baseline_name="counting")


def reaction_rows(data: TrajectorySet, speaker: Speaker) -> list[Row]:
    """Return what the answers are for the same routes under other conditions."""
    told = conditions_told(data.test.roads, data.graph)
    told = told.take(np.arange(min(_REACTED, len(told))))
    rows: list[Row] = []
    codes: dict[float, IntArray] = {}
    for interval in (10.0, 15.0, 20.0):
        length = answers(speaker, _changed(told, interval_s=interval), data.graph).patterns.length
        asked = told.travel_s / interval + 1
        case = f"{data.name}: HTP (LLM), interval {interval:g} s"
        rows += [
            Row(case=case, metric="mean points", value=float(length.mean()), n=len(told),
                baseline=float(asked.mean()), baseline_name="travel time over interval"),
            Row(case=case, metric="correlation of points with those asked for",
                value=float(np.corrcoef(length, asked)[0, 1]), n=len(told)),
        ]  # fmt: skip
    points = np.clip(told.points, 20, MOST_POINTS)
    uniform = seeds.uniforms(_SEED, "results:words", np.arange(len(told)), speaker.draws)
    for hour in (4.0, 8.0):
        other = _changed(told, start_s=3600.0 * hour)
        asked_of = speaker.questions(data.graph.network, other)
        codes[hour] = speaker.answers(asked_of, uniform, points).patterns.codes
    groups = (points + 7) // 8
    there = np.arange(codes[4.0].shape[1]) < groups[:, None]
    differs = (codes[4.0] != codes[8.0])[there].mean()
    case = f"{data.name}: HTP (LLM), 8:00 against 4:00"
    metric = "codes that differ, equal draws"
    return [*rows, Row(case=case, metric=metric, value=float(differs), n=int(there.sum()))]


def _changed(told: Conditions, **values: float) -> Conditions:
    """Return conditions with some figures the same for all."""
    every = {name: np.full(len(told), value) for name, value in values.items()}
    return Conditions(
        told.route_first,
        told.route,
        every.get("start_s", told.start_s),
        told.travel_s,
        told.distance_m,
        every.get("interval_s", told.interval_s),
    )


def cost_rows(name: str, spoken: Spoken, plain_s: float, count: int, case: str) -> list[Row]:
    """Return tokens and trajectories a CPU-second, and the language model's share of the time."""
    said, words = spoken.said, spoken.speaker.model.words
    prompt_s, answer_s = sum(one.prompt_s for one in said), sum(one.answer_s for one in said)
    figures = {
        "prompt tokens a CPU-second": sum(one.prompt_tokens for one in said) / prompt_s,
        "answer tokens a CPU-second": sum(one.answer_tokens for one in said) / answer_s,
        "trajectories a CPU-second": count / spoken.seconds,
        "share of the time in the language model": (prompt_s + answer_s) / spoken.seconds,
        "answers that decode": float(np.mean([decodes(one, words) for one in said])),
    }
    rows = [Row(case=f"{name}: {case}", metric=k, value=v, n=count) for k, v in figures.items()]
    if plain_s:
        plain = f"{name}: {WITHOUT}"
        rows.append(
            Row(case=plain, metric="trajectories a CPU-second", value=count / plain_s, n=count)
        )
    return rows


def decodes(said: Said, words: Vocabulary) -> float:
    """Return the share of answers that are patterns: 20 to 200 points, codes of their layers."""
    made = said.patterns
    groups = (made.length + 7) // 8
    there = np.arange(made.codes.shape[1]) < groups[:, None]
    known = ((made.codes >= 0) & (made.codes < np.array(words.codebooks))).all(axis=2)
    fits = (made.length >= LEAST_POINTS) & (made.length <= MOST_POINTS)
    return float((fits & (known | ~there).all(axis=1) & (groups <= made.codes.shape[1])).mean())


def measured(
    recipe: LanguageResultsRecipe, name: str, codec: tuple[TrajectoryCodec, str]
) -> tuple[list[Row], list[PaperTable], str]:
    """Return a set's rows, tables and a line on what it is."""
    data = shortened(load_set(name, recipe.data, recipe.simulated), recipe.most)
    folders = {WITH: recipe.language, PLUS: recipe.roads}
    spoken = {
        case: Spoken(_speaker(folder, codec[1], data, recipe.slots), codec[0])
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
    made = tables(rows, name)
    for case, one in spoken.items():
        rows += cost_rows(name, one, plain[0] if case == WITH else 0.0, count, case)
        rows += nats_rows(data, one.speaker, codec[0])
    rows += reaction_rows(data, spoken[WITH].speaker)
    if PLUS in spoken:
        rows.append(_connected_row(spoken[PLUS].said[0], data, name))
    return rows, made, f"{name} ({data.kind}): {data.told}; the first {count} of the test part."


def _connected_row(said: Said, data: TrajectorySet, name: str) -> Row:
    graph = data.graph
    follow = [
        bool(graph.follows(np.array(route[:-1]), np.array(route[1:])).all()) for route in said.roads
    ]
    value = float(np.mean(follow))
    metric = "routes that follow the graph"
    return Row(case=f"{name}: {PLUS}", metric=metric, value=value, n=len(follow), target=1.0)


def _speaker(folder: Path, digest: str, data: TrajectorySet, slots: int) -> Speaker:
    how = SpeakerConfig(folder=folder, slots=slots)
    return load_speaker(how, digest, data.graph.network, ComputeConfig())


def notes(recipe: LanguageResultsRecipe) -> list[str]:
    """Return what a reader must know of the figures."""
    told: list[str] = []
    for folder in (recipe.language, recipe.roads):
        if folder is not None:
            digest, provenance = checkpoints.label(folder)
            told.append(f"{folder.name} ({digest[:12]}): fitted to {provenance}.")
    return [
        *told,
        "All models draw their lengths from the conditions that they are told (start time, travel "
        "time, distance, interval); mode oracle: the matched roads of the test trips are told too, "
        "as the paper has it. HTP+ is told no roads (mode free).",
        "Floor: test trajectories against as many training ones.",
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
    for name in recipe.sets:
        more, tables_, line = measured(recipe, name, codec)
        rows, made, told = rows + more, made + tables_, [*told, line]
    result = Results(
        "trajectory-language",
        "python -m training.trajectory_language_results",
        "data/porto: observed trips and roads; simulated trips are synthesised",
        rows,
        told + notes(recipe),
        made,
    )
    path: Path = options.output / "trajectory-language.json"
    sys.stdout.write(f"{result.write(path)}\n")


if __name__ == "__main__":
    main()
