"""The arm "w/o RQ-VAE" of ``training.trajectory_language_arms``: its training, its answers."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from raygen import checkpoints, seeds
from raygen.errors import DataError, WeightsError
from raygen.models.language import LanguageModel, load_language_model
from raygen.models.trajectory_fitted import merge_adapters
from raygen.models.trajectory_language import TrajectoryLanguageConfig
from raygen.models.trajectory_planner import LEAST_POINTS, MOST_POINTS
from raygen.models.trajectory_questions import questions
from raygen.models.trajectory_tokens import Vocabulary
from raygen.models.trajectory_words import network_digest
from raygen.results import Row
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces
from training.loop import fit
from training.raw_points import (
    DECIMALS,
    WORDS,
    Corner,
    RawLanguage,
    RawPairs,
    RawTask,
    corner_of,
    say_points,
    spelling_of,
)
from training.trajectory_branches import Driven, observed_stretches, simulated_branches
from training.trajectory_language import TrajectoryRecipe
from training.trajectory_pairs import conditions_told

MODEL = "raw-points"

_SEED = 0
_BATCH = 24
_CODES = (1,)  # there are no codes, and the vocabulary wants a codebook


@dataclass
class RawArm:
    """A fitted arm as a model of ``measure_set``, and what its answers took."""

    model: RawLanguage
    language: LanguageModel
    corner: Corner
    seconds: float = 0.0
    """CPU seconds."""
    tokens: int = 0
    """Of the answers."""
    told: list[int] = field(default_factory=lambda: [])
    """Points of each answer."""

    def __call__(self, _: RoadTrajectories, told: Conditions, graph: PlaneRoads) -> Traces:
        """Return traces, of as many points as are asked for."""
        begun = time.process_time()
        points = np.clip(told.points, LEAST_POINTS, MOST_POINTS)
        speaks = self.language, self.model.own, self.model.words
        asked = questions(speaks, graph.network, told, roads_first=False, points=points)
        first = np.concatenate([[0], np.cumsum(points)])
        xy = np.zeros((int(first[-1]), 2))
        order = np.argsort(points, kind="stable")
        for rows in np.split(order, np.arange(_BATCH, len(order), _BATCH)):
            draws = 2 * DECIMALS * int(points[rows].max())
            uniform = seeds.uniforms(_SEED, "results:digits", rows, draws)
            said = say_points(self.model, [asked[row] for row in rows], points[rows], uniform)
            for row, digits in zip(rows.tolist(), said, strict=True):
                found = self.corner.points(digits[: points[row]])
                xy[first[row] : first[row + 1]] = graph.to_metres(found)
        step = np.arange(first[-1]) - np.repeat(first[:-1], points)
        clock = np.repeat(told.start_s, points) + np.repeat(told.interval_s, points) * step
        self.seconds += time.process_time() - begun
        self.tokens += int(points.sum()) * WORDS
        self.told += points.tolist()
        return Traces(first, xy, clock)

    def rows(self, case: str) -> list[Row]:
        """Return what the answers took."""
        count = len(self.told)
        each = {
            "trajectories a CPU-second": count / self.seconds,
            "answer tokens a trajectory": self.tokens / count,
        }
        return [Row(case=case, metric=k, value=v, n=count) for k, v in each.items()]


def raw_arm(recipe: TrajectoryRecipe, pairs: int, graph: PlaneRoads) -> RawArm:
    """Return the arm, trained where that is not done yet.

    Parameters
    ----------
    recipe
        How the other arms are trained; ``output`` is this one's folder.
    pairs
        Pairs of each set.
    graph
        The roads that it is asked about.

    Raises
    ------
    DataError
        If the city is wider than a degree.
    WeightsError
        If what was kept is of other roads or another language model.
    """
    if not (recipe.output / "config.json").is_file():
        task, provenance = raw_task(recipe, pairs)
        found = fit(task, recipe.loop, recipe.output)
        tensors = {name: each.half() for name, each in found.tensors.items()}
        checkpoints.save(recipe.output, MODEL, task.config, tensors, provenance)
    return load_raw(recipe.output, graph)


def load_raw(folder: Path, graph: PlaneRoads) -> RawArm:
    """Return a fitted arm, LoRA merged, in bfloat16; see ``raw_arm``."""
    shape, tensors, _ = checkpoints.load(folder, MODEL, TrajectoryLanguageConfig)
    language = load_language_model(shape.base_model, torch.float32, "cpu")
    if (shape.network_digest, shape.base_digest) != (
        network_digest(graph.network),
        language.digest,
    ):
        msg = f"{folder}: fitted to other roads or another language model; remove it"
        raise WeightsError(msg)
    model = RawLanguage(shape, language, 0)
    model.load_state_dict({name: each.float() for name, each in tensors.items()}, strict=False)
    merge_adapters(model.decoder)
    model = model.to(dtype=torch.bfloat16).eval().requires_grad_(requires_grad=False)
    return RawArm(model, language, corner_of(graph.network.points))


def raw_task(recipe: TrajectoryRecipe, pairs: int) -> tuple[RawTask, dict[str, str]]:
    """Return what is fitted, and where its trajectories come from."""
    name = recipe.data.networks[0]
    sets = [simulated_branches(name, recipe.data, recipe.branches, recipe.seed)]
    observed = observed_stretches(recipe.data, recipe.stretches, recipe.seed)
    sets += [] if observed is None else [observed]
    roads = sets[0].trips.roads
    language = load_language_model(recipe.model.base_model, torch.float32, "cpu")
    update = {
        "roads": roads.segments,
        "network_digest": network_digest(roads.network),
        "codebooks": _CODES,
        "base_digest": language.digest,
        "bias": False,
        "countdown": False,
        "ordinary": False,
    }
    config = recipe.model.model_copy(update=update)
    parts = [raw_pairs(each, config, language, (pairs, _most(recipe))) for each in sets]
    train, held = (_joined([part[k] for part in parts]) for k in (0, 1))
    if len(train) < recipe.batch:
        msg = f"raw points: {len(train)} pairs of at most {_most(recipe)} tokens, a batch needs "
        raise DataError(msg + str(recipe.batch))
    task = RawTask(config, train, held, recipe.batch, recipe.seed)
    return task, {each.trips.name: each.trips.label for each in sets}


def raw_pairs(
    driven: Driven,
    config: TrajectoryLanguageConfig,
    language: LanguageModel,
    limits: tuple[int, int],
) -> tuple[RawPairs, RawPairs]:
    """Return the pairs of a set to train on and to validate on.

    Parameters
    ----------
    driven
        The set.
    config, language
        Roads that are words, and the language model.
    limits
        Pairs to train on, and tokens of a pair; what is longer is left out. One in eight pairs, the
        last ones, is validated on.
    """
    made, roads = driven.trips.made, driven.trips.roads
    own = len(language.decoder.get_input_embeddings().weight)  # pyright: ignore[reportCallIssue, reportArgumentType]
    words = Vocabulary(config.roads, config.codebooks)
    lon_lat = roads.to_degrees(made.points(roads))
    digits = corner_of(roads.network.points).digits(lon_lat)
    asked = questions(
        (language, own, words), roads.network, conditions_told(made, roads), roads_first=False
    )
    pairs = RawPairs(asked, np.split(digits, made.first[1:-1]), spelling_of(language))
    short = np.flatnonzero(pairs.size <= limits[1])
    held = max(1, limits[0] // 8)
    short = short[:: max(1, len(short) // (limits[0] + held))][: limits[0] + held]
    return pairs.take(short[:-held]), pairs.take(short[-held:])


def _most(recipe: TrajectoryRecipe) -> int:
    """Return the tokens of a pair at most: a question as long as others', and forty points."""
    return recipe.pairs.most_tokens + 40 * WORDS


def _joined(parts: list[RawPairs]) -> RawPairs:
    asked = [one for part in parts for one in part.questions]
    return RawPairs(asked, [one for part in parts for one in part.digits], parts[0].spelling)
