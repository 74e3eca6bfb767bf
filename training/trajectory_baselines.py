"""Baselines of trajectory generation, from a ruler to a diffusion model.

Each is a function of the trajectories to train on, the conditions of the test trajectories and the
road graph, and returns one trace for each condition. The mechanistic ones are here: the shortest
path between the first and the last road at constant speed; the same with the course of speed of an
observed trip that was about as fast and as long, and the GPS' noise; and both on the road
trajectory that the conditions tell, which is what the paper lets its own model know.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa
from scipy.spatial import KDTree

from raygen.network.graph import FloatArray, IntArray, RowArray
from raygen.network.routing import Router, summed
from raygen.network.speeds import free_flow
from raygen.network.taste import Taste
from raygen.seeds import stream
from raygen.trajectories.conditions import Conditions, conditions_of
from raygen.trajectories.plane import PlaneRoads, place
from raygen.trajectories.records import RoadTrajectories, Traces

Model = Callable[[RoadTrajectories, Conditions, PlaneRoads], Traces]
"""Trajectories to train on, conditions to meet, road graph."""

_DONORS = 5
_SEED = 0


def shortest_constant(train: RoadTrajectories, conditions: Conditions, graph: PlaneRoads) -> Traces:
    """Return points at constant speed on the fastest path at free flow."""
    return constant_speed(train, _shortest(conditions, graph), graph)


def shortest_profile(
    train: RoadTrajectories, conditions: Conditions, graph: PlaneRoads, seed: int = _SEED
) -> Traces:
    """Return points on the fastest path at free flow with a matched course of speed and noise."""
    return matched_profile(train, _shortest(conditions, graph), graph, seed)


def constant_speed(_: RoadTrajectories, conditions: Conditions, graph: PlaneRoads) -> Traces:
    """Return points at constant speed from the middle of the first to that of the last road."""
    first = np.concatenate([[0], np.cumsum(conditions.points)])
    count = np.diff(first)
    share = (np.arange(first[-1]) - np.repeat(first[:-1], count)) / np.repeat(count - 1, count)
    half = np.full(len(count), 0.5)
    segment, along = along_route(conditions, graph, count, share, np.column_stack([half, half]))
    return _traced(conditions, first, place(graph, segment, along, np.zeros(len(along))))


def matched_profile(
    train: RoadTrajectories, conditions: Conditions, graph: PlaneRoads, seed: int = _SEED
) -> Traces:
    """Return points on the given roads that move as an observed trip of like speed and duration."""
    donor = _donors(train, conditions, graph, seed)
    course, ends = _courses(train, graph)
    first = np.concatenate([[0], np.cumsum(conditions.points)])
    count = np.diff(first)
    shares = [
        np.interp(
            np.linspace(0, 1, n),
            np.linspace(0, 1, train.first[d + 1] - train.first[d]),
            course[train.first[d] : train.first[d + 1]],
        )
        for n, d in zip(count.tolist(), donor.tolist(), strict=True)
    ]
    segment, along = along_route(conditions, graph, count, np.concatenate(shares), ends[donor])
    rng = stream(seed, "baseline:noise")
    noise = rng.choice(train.offset.astype(np.float64), (2, len(along)))
    return _traced(conditions, first, place(graph, segment, along, np.zeros(len(along))) + noise.T)


def along_route(
    conditions: Conditions, graph: PlaneRoads, count: IntArray, share: FloatArray, ends: FloatArray
) -> tuple[RowArray, FloatArray]:
    """Return segments and metres along them at shares of the way of each route.

    Parameters
    ----------
    conditions
        N routes.
    graph
        The roads.
    count
        Points of each, shape (N,).
    share
        Share of the way of each point, 0 to 1, of all routes.
    ends
        Where the way begins on the first and ends on the last segment, 0 to 1, shape (N, 2).
    """
    first, route = conditions.route_first, conditions.route
    length = graph.line_m[route]
    total = np.concatenate([[0.0], np.cumsum(length)])
    begin = total[first[:-1]] + ends[:, 0] * length[first[:-1]]
    last = first[1:] - 1
    end = np.maximum(total[last] + ends[:, 1] * length[last], begin)
    of = np.repeat(np.arange(len(conditions)), count)
    at = begin[of] + share * (end - begin)[of]
    row = np.clip(np.searchsorted(total, at, side="right") - 1, first[of], last[of])
    return route[row], np.clip(at - total[row], 0, length[row])


def _shortest(conditions: Conditions, graph: PlaneRoads) -> Conditions:
    """Return the conditions with the fastest paths in place of their roads."""
    network, first = graph.network, conditions.route_first
    trips = pa.table(
        {
            "trip_id": pa.array(np.arange(len(conditions))),
            "origin_segment": pa.array(conditions.route[first[:-1]]),
            "destination_segment": pa.array(conditions.route[first[1:] - 1]),
            "depart_s": pa.array(conditions.start_s),
        }
    )
    lists = Router(network, free_flow(network), Taste(flavours=1), _SEED).route(trips)
    lists = lists.column("segments").combine_chunks()
    at, route = lists.offsets.to_numpy().astype(np.int64), lists.values.to_numpy()
    metres = summed(graph.line_m[route], at)
    return Conditions(
        at, route, conditions.start_s, conditions.travel_s, metres, conditions.interval_s
    )


def _donors(
    train: RoadTrajectories, conditions: Conditions, graph: PlaneRoads, seed: int
) -> IntArray:
    """Return for each condition one of the five training trajectories most like it."""
    known = conditions_of(train, graph, float(conditions.interval_s[0]))
    features = [_like(known), _like(conditions)]
    scale = features[0].std(axis=0) + 1e-9
    many = min(_DONORS, len(train))
    _, near = KDTree(features[0] / scale).query(features[1] / scale, k=many)
    pick = stream(seed, "baseline:donor").integers(0, many, len(conditions))
    return near.reshape(len(conditions), many)[np.arange(len(conditions)), pick]


def _like(conditions: Conditions) -> FloatArray:
    metres = np.maximum(conditions.distance_m, 1.0)
    return np.log(np.column_stack([metres / conditions.travel_s, conditions.travel_s]))


def _courses(train: RoadTrajectories, graph: PlaneRoads) -> tuple[FloatArray, FloatArray]:
    """Return the share of the way at each point, and where ways begin and end on their roads."""
    total = np.concatenate([[0.0], np.cumsum(graph.line_m[train.route])])
    step = np.maximum(train.steps(), 0)
    row = np.repeat(train.route_first[:-1], train.length) + step
    at = total[row] + train.percent * graph.line_m[train.segment]
    share = np.empty(len(at))
    for a, b in zip(train.first[:-1].tolist(), train.first[1:].tolist(), strict=True):
        way = np.maximum.accumulate(at[a:b]) - at[a]
        share[a:b] = way / way[-1] if way[-1] > 0 else np.linspace(0, 1, b - a)
    ends = np.column_stack([train.percent[train.first[:-1]], train.percent[train.first[1:] - 1]])
    return share, ends.astype(np.float64)


def _traced(conditions: Conditions, first: IntArray, xy: FloatArray) -> Traces:
    count = np.diff(first)
    step = np.arange(first[-1]) - np.repeat(first[:-1], count)
    time = np.repeat(conditions.start_s, count) + np.repeat(conditions.interval_s, count) * step
    return Traces(first, xy, time)


def mechanistic(draws: int = 1) -> dict[str, Model | list[Model]]:
    """Return the baselines that learn nothing, by name; of those that draw, several draws."""
    return {
        "shortest path, constant speed": shortest_constant,
        "shortest path, matched speeds": [
            partial(shortest_profile, seed=draw) for draw in range(draws)
        ],
        "given roads, constant speed": constant_speed,
        "given roads, matched speeds": [
            partial(matched_profile, seed=draw) for draw in range(draws)
        ],
    }


def neural() -> dict[str, Model]:
    """Return the baselines that are trained when they are called; torch is loaded here."""
    from training.trajectory_diffusion import diffusion
    from training.trajectory_vae import recurrent_vae

    return {
        "LSTM-VAE (TrajVAE style)": recurrent_vae,
        "diffusion (DiffTraj style)": diffusion,
    }
