"""What a trajectory language model's answers are like, and what they take: rows of results."""

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from raygen import seeds
from raygen.models.language import load_language_model
from raygen.models.trajectory_batches import conditions, route_data, tensors, trajectory_data
from raygen.models.trajectory_codec import TrajectoryCodec
from raygen.models.trajectory_language import Said, TrajectoryLanguage
from raygen.models.trajectory_model import NOISE, PointsOnRoutes, decoded
from raygen.models.trajectory_planner import (
    DRAWS,
    LEAST_POINTS,
    MOST_POINTS,
    Patterns,
    generate,
)
from raygen.models.trajectory_speaker import Speaker
from raygen.models.trajectory_tokens import Vocabulary
from raygen.models.trajectory_words import known_of
from raygen.network.graph import FloatArray, IntArray
from raygen.results import Row
from raygen.trajectories.conditions import Conditions, fitted_speeds, planned
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces
from raygen.trajectories.routes import RouteSet, routes_of
from training.trajectory_language import nats_of
from training.trajectory_models import shipped, traced
from training.trajectory_nats import Nats, of_counting, of_transformer
from training.trajectory_pairs import PairSettings, conditions_told, kept_pairs, pairs_of
from training.trajectory_sets import TrajectorySet

WITHOUT, WITH, PLUS = "w/o LLM, given roads", "HTP (LLM), given roads", "HTP+ (LLM says roads)"

_SEED = 0
_LONGEST = 512  # tokens of a question and its answer whose nats are taken
_REACTED = 8  # routes that are asked about under several conditions


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


def nats_rows(
    data: TrajectorySet, speaker: Speaker, codec: TrajectoryCodec, beside: bool = True
) -> list[Row]:
    """Return nats a word of the test trajectories: before, after, and ``beside`` others."""
    how = speaker.model.words, speaker.language, speaker.model.config.roads_first
    known, told = (
        kept_pairs(
            pairs_of(part.roads, conditions_told(part.roads, data.graph), data.graph, codec, how),
            PairSettings(most_tokens=_LONGEST),
        )
        for part in (data.train, data.test)
    )
    floor = of_counting(known, told)
    config = speaker.model.config
    base = load_language_model(config.base_model, torch.float32, "cpu")
    cases = {"fine-tuned": speaker.model}
    if beside:
        begun = TrajectoryLanguage(config, base, 1, known_of(data.graph, codec)).eval()
        cases["before fine-tuning"] = begun.to(speaker.model.new.weight.dtype)
    found = {name: Nats(*nats_of(model, told, 4)) for name, model in cases.items()}
    rows: list[Row] = []
    label = "HTP+" if config.roads_first else "HTP"
    for name, nats in found.items():
        case = f"{data.name}: {label}, {name}"
        rows.append(_nats_row(case, "nats a word", nats.a_word, nats.words, floor.a_word))
        if config.roads_first:
            count = nats.counts["roads"]
            rows.append(_nats_row(case, "nats a road", nats.a_road, count, floor.a_road))
    if beside and not config.roads_first:
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
    lengths: list[IntArray] = []
    wanted: list[FloatArray] = []
    for interval in (10.0, 15.0, 20.0):
        other = _changed(told, interval_s=interval)
        lengths.append(answers(speaker, other, data.graph).patterns.length)
        wanted.append(np.clip(other.points, LEAST_POINTS, MOST_POINTS).astype(np.float64))
        rows += _length_rows(
            f"{data.name}: HTP (LLM), interval {interval:g} s", lengths[-1], wanted[-1]
        )
    every = np.concatenate(lengths), np.concatenate(wanted)
    rows += _length_rows(f"{data.name}: HTP (LLM), three intervals", *every)
    profile = fitted_speeds(data.train.roads, data.graph)
    for hour in (4.0, 8.0):
        start = np.full(len(told), 3600.0 * hour)
        network = data.graph.network
        other = planned(network, profile, told.route_first, told.route, start, data.interval_s)
        length = answers(speaker, other, data.graph).patterns.length
        asked = np.clip(other.points, LEAST_POINTS, MOST_POINTS).astype(np.float64)
        rows += _length_rows(f"{data.name}: HTP (LLM), planned for {hour:g}:00", length, asked)
    return [*rows, *_hour_rows(data, speaker, told)]


def _length_rows(case: str, length: IntArray, asked: FloatArray) -> list[Row]:
    right = float((length == asked).mean())
    return [
        Row(case=case, metric="mean points", value=float(length.mean()), n=len(length),
            baseline=float(asked.mean()), baseline_name="travel time over interval"),
        Row(case=case, metric="correlation of points with those asked for",
            value=float(np.corrcoef(length, asked)[0, 1]), n=len(length), target=0.9),
        Row(case=case, metric="answers of just as many points", value=right, n=len(length)),
    ]  # fmt: skip


def _hour_rows(data: TrajectorySet, speaker: Speaker, told: Conditions) -> list[Row]:
    """Return how many codes change with the hour alone: all else told, and the draws, are equal."""
    points = np.clip(told.points, LEAST_POINTS, MOST_POINTS)
    ids = np.arange(len(told))
    uniform = seeds.uniforms(_SEED, "results:words", ids, speaker.draws)
    spoken: list[IntArray] = []
    plain: list[IntArray] = []
    routes = RouteSet(data.graph, told.route_first, told.route)
    for hour in (4.0, 8.0):
        other = _changed(told, start_s=3600.0 * hour)
        asked = speaker.questions(data.graph.network, other)
        spoken.append(speaker.answers(asked, uniform, points).patterns.codes)
        given = conditions(other.start_s, other.travel_s, other.interval_s, routes)
        batch = route_data(routes).batch(ids) | tensors(
            {name: each for name, each in given.items()}
        )
        draws = seeds.uniforms(_SEED, "results:tokens", ids, DRAWS)
        plain.append(generate(shipped().transformer, batch, draws, points).codes)
    there = np.arange(spoken[0].shape[1]) < ((points + 7) // 8)[:, None]
    rows: list[Row] = []
    for name, (early, late) in {"HTP (LLM)": spoken, WITHOUT: plain}.items():
        differs = (early != late)[there]
        case = f"{data.name}: {name}, 8:00 against 4:00"
        rows += [
            Row(case=case, metric="codes that differ, equal draws", value=float(differs.mean()),
                n=int(there.sum())),
            Row(case=case, metric="codes of the first layer that differ",
                value=float(differs[:, 0].mean()), n=int(there.sum())),
        ]  # fmt: skip
    return rows


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


def connected_row(said: Said, data: TrajectorySet, name: str) -> Row:
    """Return the share of HTP+'s routes whose segments are connected."""
    graph = data.graph
    follow = [
        bool(graph.follows(np.array(route[:-1]), np.array(route[1:])).all()) for route in said.roads
    ]
    value = float(np.mean(follow))
    metric = "routes that follow the graph"
    return Row(case=f"{name}: {PLUS}", metric=metric, value=value, n=len(follow), target=1.0)
