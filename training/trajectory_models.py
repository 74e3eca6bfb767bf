"""The trajectory models as functions for ``python -m training.trajectory_results --model``.

Each takes the trajectories to train on (not used: the weights are fitted before), the conditions to
meet and the road graph, and returns one trace for each condition, on the roads that are given.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig
from raygen.models.trajectory_batches import conditions as condition_arrays
from raygen.models.trajectory_batches import route_data, tensors
from raygen.models.trajectory_model import (
    NOISE,
    PointsOnRoutes,
    TrajectoryModel,
    decoded,
    load_codec,
    load_trajectory_model,
)
from raygen.models.trajectory_planner import DRAWS, LEAST_POINTS, MOST_POINTS
from raygen.models.trajectory_tables import OWN
from raygen.network.graph import FloatArray, IntArray
from raygen.stages.trajectories import on_roads
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces
from raygen.trajectories.routes import RouteSet

_BATCH = 128
_SEED = 0


@cache
def shipped(tables: str = OWN) -> TrajectoryModel:
    """Return the models that come with raygen, with the tables of a kind of set."""
    return load_trajectory_model(checkpoints.SHIPPED, ComputeConfig(), tables)


def transformer(
    _: RoadTrajectories, told: Conditions, graph: PlaneRoads, tables: str = OWN, seed: int = _SEED
) -> Traces:
    """Return traces without a language model, of as many points as fit in the travel time."""
    points = np.clip(told.points, LEAST_POINTS, MOST_POINTS)
    return generated(shipped(tables), told, graph, points, seed)


def transformer_free(
    _: RoadTrajectories, told: Conditions, graph: PlaneRoads, seed: int = _SEED
) -> Traces:
    """Return traces without a language model, whose number of points the model draws."""
    return generated(shipped(), told, graph, None, seed)


def generated(
    model: TrajectoryModel,
    told: Conditions,
    graph: PlaneRoads,
    points: IntArray | None,
    seed: int = _SEED,
) -> Traces:
    """Return the traces of a model on the roads that are given."""
    routes = RouteSet(graph, told.route_first, told.route)
    data = route_data(routes, model.places)
    given = condition_arrays(told.start_s, told.travel_s, told.interval_s, routes)
    ids = np.arange(len(told))
    found: list[PointsOnRoutes] = []
    order: list[IntArray] = []
    for part in batches(routes.count):
        batch = data.batch(part) | tensors({name: each[part] for name, each in given.items()})
        draws = seeds.uniforms(seed, "results:tokens", ids[part], DRAWS)
        noise = seeds.normals(seed, "results:rest", ids[part], NOISE)
        asked = None if points is None else points[part]
        found.append(model.points(batch, draws, noise, asked))
        order.append(part)
    return traced(found, order, told, routes)


def batches(size: IntArray) -> Iterator[IntArray]:
    """Yield rows in batches, like sizes together."""
    order = np.argsort(size, kind="stable")
    for begin in range(0, len(order), _BATCH):
        yield order[begin : begin + _BATCH]


def traced(
    found: list[PointsOnRoutes], order: list[IntArray], told: Conditions, routes: RouteSet
) -> Traces:
    """Return batches of points on routes as traces, in the order of the conditions."""
    count = np.zeros(len(told), dtype=np.int64)
    for part, made in zip(order, found, strict=True):
        count[part] = made.length
    first = np.concatenate([[0], np.cumsum(count)])
    share, error = np.zeros(first[-1]), np.zeros((first[-1], 2))
    for part, made in zip(order, found, strict=True):
        inside = np.arange(made.share.shape[1]) < made.length[:, None]
        at = (first[:-1][part][:, None] + np.arange(made.share.shape[1]))[inside]
        share[at] = made.share[inside]
        error[at] = np.column_stack([made.offset[inside], made.ahead[inside]])
    step = np.arange(first[-1]) - np.repeat(first[:-1], count)
    clock: FloatArray = np.repeat(told.start_s, count) + np.repeat(told.interval_s, count) * step
    return Traces(first, on_roads(routes, first, share, error), clock)


def language(_: RoadTrajectories, told: Conditions, graph: PlaneRoads) -> Traces:
    """Return traces by the language model in ``runs/trajectory``, lengths its own."""
    from training.trajectory_language import answered

    codec, digest = load_codec(checkpoints.SHIPPED / "trajectories" / "codec")
    routes = RouteSet(graph, told.route_first, told.route)
    data = route_data(routes)
    given = condition_arrays(told.start_s, told.travel_s, told.interval_s, routes)
    found: list[PointsOnRoutes] = []
    order: list[IntArray] = []
    for part, said in answered(Path("runs/trajectory"), digest, told, graph):
        noise = seeds.normals(_SEED, "results:rest", part, NOISE)
        batch = data.batch(part) | tensors({name: each[part] for name, each in given.items()})
        found.append(decoded(codec, said.patterns, batch, noise))
        order.append(part)
    return traced(found, order, told, routes)
