"""HTP's Table 2 without a language model: whole, and without each of its parts, trained alike.

whole         the autoencoder and the Transformer of the travel patterns
w/o R-loss    the autoencoder learns coordinates (``target = "points"``), not places on the road
w/o RQ-VAE    a Transformer says coordinates point by point (``training.point_transformer``)
other roads   both networks of the whole one have never seen the roads they are asked about

The paper's "w/o OOV" and its own rows have a language model; they join as functions of conditions,
as in ``training.trajectory_results``. An arm's weights are kept in ``work`` under the digest of all
that they depend on.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from raygen import seeds
from raygen.config import ComputeConfig, Section
from raygen.errors import WeightsError
from raygen.models.trajectory_batches import conditions as condition_arrays
from raygen.models.trajectory_batches import route_data, tensors
from raygen.models.trajectory_codec import CodecConfig
from raygen.models.trajectory_model import FOLDER, TrajectoryModel, load_trajectory_model
from raygen.models.trajectory_planner import (
    DRAWS,
    LEAST_POINTS,
    MOST_POINTS,
    PatternConfig,
    generate,
)
from raygen.network.graph import FloatArray, IntArray
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces
from raygen.trajectories.routes import RouteSet
from training import codec, patterns
from training.codec_data import NetworkTrips, TrajectorySources, read_sources, splits
from training.codec_task import CodecTask, Split
from training.in_process import fit_here
from training.point_transformer import PointTask, PointTransformer
from training.recipe import LoopConfig
from training.trajectory_baselines import Model
from training.trajectory_models import batches, generated

Kind = Literal["patterns", "coordinates", "points"]
Say = Callable[[dict[str, Tensor], IntArray], FloatArray]
"""From routes with conditions and ``length``, and their rows, to points."""

_SEED = 0
_WEIGHTS = "points.safetensors"


class ArmSettings(Section):
    """How every arm is trained."""

    data: TrajectorySources = TrajectorySources()
    """Trajectories; those of ``elsewhere`` for the arm of other roads."""

    elsewhere: tuple[str, ...] = ("data/la_basin",)
    """Networks that the arm of other roads learns from."""

    codec: CodecConfig = CodecConfig()
    model: PatternConfig = PatternConfig()
    batch: int = 32
    """Trajectories in a batch."""
    codec_batches: int = 100
    """Batches of an epoch of an autoencoder."""
    pattern_batches: int = 100
    """Batches of an epoch of what says the patterns, or the points."""
    codec_loop: LoopConfig = LoopConfig()
    pattern_loop: LoopConfig = LoopConfig()


@dataclass(frozen=True)
class Arm:
    """A model without one of its parts."""

    name: str
    kind: Kind = "patterns"
    elsewhere: bool = False


ARMS = (
    Arm("whole, w/o LLM"),
    Arm("w/o R-loss, w/o LLM", "coordinates"),
    Arm("w/o RQ-VAE, w/o LLM", "points"),
    Arm("whole, w/o LLM, other roads", elsewhere=True),
)


def arm_model(arm: Arm, settings: ArmSettings, seed: int, work: Path) -> Model:
    """Return an arm as a function of conditions, trained where that is not done yet."""
    folder = work / digest(arm, settings, seed)
    if not (folder / "done").is_file():
        _fit(arm, settings, seed, folder)
        (folder / "done").write_text(arm.name + "\n", encoding="utf-8")

    def model(_: RoadTrajectories, told: Conditions, graph: PlaneRoads) -> Traces:
        points = np.clip(told.points, LEAST_POINTS, MOST_POINTS)
        if arm.kind == "points":
            network = PointTransformer().eval()
            network.load_state_dict(load_file(folder / _WEIGHTS))
            return in_the_open(lambda batch, rows: _said(network, batch, rows), told, graph)
        fitted = load_trajectory_model(folder, ComputeConfig())
        if arm.kind == "patterns":
            return generated(fitted, told, graph, points)
        return in_the_open(lambda batch, rows: _coordinates(fitted, batch, rows), told, graph)

    return model


def digest(arm: Arm, settings: ArmSettings, seed: int) -> str:
    """Return the name of an arm's folder: of all that its weights depend on."""
    told = [arm.kind, arm.elsewhere, seed, settings.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _trips_of(told: str, seed: int) -> tuple[list[NetworkTrips], tuple[Split, ...]]:
    sources = TrajectorySources.model_validate_json(told)
    sets = read_sources(sources, seed)
    return sets, splits(sets, sources.validation, None, seed)


def _fit(arm: Arm, settings: ArmSettings, seed: int, folder: Path) -> None:
    """Train an arm and write its weights."""
    sources = settings.data
    if arm.elsewhere:
        update = {"networks": settings.elsewhere, "porto": None}
        sources = sources.model_copy(update=update)
    sets, parts = _trips_of(sources.model_dump_json(), seed)
    folder.mkdir(parents=True, exist_ok=True)
    if arm.kind == "points":
        task = PointTask(parts, settings.batch, settings.pattern_batches, seed)
        save_file(fit_here(task, settings.pattern_loop).tensors, folder / _WEIGHTS)
        return
    target = "points" if arm.kind == "coordinates" else "roads"
    recipe = codec.CodecRecipe(
        seed=seed,
        output=folder / FOLDER / "codec",
        data=sources,
        model=settings.codec.model_copy(update={"target": target}),
        loop=settings.codec_loop,
    )
    if not (recipe.output / "MODEL_CARD.md").is_file():  # what is written last
        task = CodecTask(recipe.model, parts, settings.batch, settings.codec_batches, seed)
        codec.write_weights(recipe, sets, parts, fit_here(task, recipe.loop), recipe.output)
    _fit_patterns(settings, (sets, parts), seed, folder)


def _fit_patterns(
    settings: ArmSettings,
    trips: tuple[list[NetworkTrips], tuple[Split, ...]],
    seed: int,
    folder: Path,
) -> None:
    sets, parts = trips
    recipe = patterns.PatternRecipe(
        seed=seed,
        output=folder / FOLDER / "patterns",
        codec=folder / FOLDER / "codec",
        loop=settings.pattern_loop,
    )
    network, own = patterns.load_codec(recipe.codec)
    shape = settings.model.model_copy(update={"codec_digest": own})
    coded = patterns.coded(parts, network)
    task = patterns.PatternTask(
        shape, recipe.codec, coded, settings.batch, settings.pattern_batches, seed
    )
    patterns.write_weights(recipe, shape, sets, fit_here(task, recipe.loop), recipe.output)


def _said(network: PointTransformer, batch: dict[str, Tensor], rows: IntArray) -> FloatArray:
    most = int(batch["length"].max())
    uniform = seeds.uniforms(_SEED, "results:points", rows, MOST_POINTS)[:, None, :most]
    normal = seeds.normals(_SEED, "results:steps", rows, 2 * MOST_POINTS)
    normal = normal.reshape(len(rows), 2, MOST_POINTS)[:, :, :most]
    return network.say(batch, np.concatenate([uniform, normal], axis=1)).double().numpy()


@torch.no_grad()
def _coordinates(model: TrajectoryModel, batch: dict[str, Tensor], rows: IntArray) -> FloatArray:
    draws = seeds.uniforms(_SEED, "results:tokens", rows, DRAWS)
    said = generate(model.transformer, batch, draws, batch["length"].numpy())
    vectors = model.codec.quantizer.embed(torch.from_numpy(said.codes))
    points = model.codec.decode(vectors, batch).points
    if points is None:
        msg = f"autoencoder: must have target = 'points', got {model.codec.config.target!r}"
        raise WeightsError(msg)
    return points.double().numpy()


def in_the_open(say: Say, told: Conditions, graph: PlaneRoads) -> Traces:
    """Return traces from what says points (B, T, 2) in the routes' frames."""
    count = np.clip(told.points, LEAST_POINTS, MOST_POINTS)
    routes = RouteSet(graph, told.route_first, told.route)
    data = route_data(routes)
    given = condition_arrays(told.start_s, told.travel_s, told.interval_s, routes)
    first = np.concatenate([[0], np.cumsum(count)])
    local = np.zeros((first[-1], 2))
    for rows in batches(routes.count):
        batch = data.batch(rows) | tensors({name: each[rows] for name, each in given.items()})
        made = say(batch | {"length": torch.from_numpy(count[rows])}, rows)
        inside = np.arange(made.shape[1]) < count[rows][:, None]
        local[(first[:-1][rows][:, None] + np.arange(made.shape[1]))[inside]] = made[inside]
    step = np.arange(first[-1]) - np.repeat(first[:-1], count)
    clock = np.repeat(told.start_s, count) + np.repeat(told.interval_s, count) * step
    return Traces(first, routes.world(first, local), clock)
