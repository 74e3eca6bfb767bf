"""Where on their routes cars stand and slow down, told from the roads alone."""

from dataclasses import dataclass

import numpy as np

from raygen.matching.along import Steps
from raygen.network.graph import KPH, BoolArray, FloatArray, IntArray, RoadNetwork, RowArray
from raygen.trajectories.plane import PlaneRoads

_MAJOR = ("motorway", "trunk", "primary", "secondary", "tertiary")
_FREE = ("motorway", "trunk", "motorway_link", "trunk_link")
_JUNCTION = 3  # streets
_ROUND = 3.0  # radians, all but a turn round


@dataclass(frozen=True)
class Halting:
    """How long cars stand at junctions, and how fast they turn."""

    crossing_s: float
    giving_way_s: float
    other_s: float
    lateral: float
    tangent_m: float


def steps_on(
    roads: PlaneRoads, first: IntArray, route: RowArray, pace: FloatArray, halting: Halting
) -> Steps:
    """Return what cars meet on routes.

    Parameters
    ----------
    roads
        The graph.
    first, route
        Offsets (N + 1,) and driven segments (Q,) of N routes.
    pace
        Each car's speed when it drives, over that at free flow, shape (N,).
    halting
        Seconds a junction by its kind, and what bounds the speed in corners.
    """
    network = roads.network
    own = np.repeat(pace, np.diff(first))
    speed = own * network.speed_kph[route] / KPH
    stand = _stands(network, halting)
    return Steps(first, route, speed, _corners(roads, first, route, halting), stand[route])


def _stands(network: RoadNetwork, halting: Halting) -> FloatArray:
    """Return the seconds that a car stands before the end of each segment, shape (E,)."""
    kinds = np.array(network.highway.dictionary.to_pylist(), dtype=str)
    kind = kinds[network.highway.indices.to_numpy()]
    major = np.isin(kind, _MAJOR)
    arms = _streets(network, np.ones(network.segments, dtype=bool))[network.head]
    great = _streets(network, major)[network.head]
    cases = [
        (arms < _JUNCTION) | np.isin(kind, _FREE),  # no junction, or one without stops
        great >= _JUNCTION,
        (great > 0) & ~major,
    ]
    return np.select(cases, [0.0, halting.crossing_s, halting.giving_way_s], halting.other_s)


def _streets(network: RoadNetwork, some: BoolArray) -> IntArray:
    """Return from how many other nodes some segments come to or leave each node, shape (N,)."""
    ends = np.concatenate([network.tail[some], network.head[some]]).astype(np.int64)
    others = np.concatenate([network.head[some], network.tail[some]])
    pairs = np.unique(ends * network.nodes + others)
    pairs = pairs[pairs // network.nodes != pairs % network.nodes]
    return np.bincount(pairs // network.nodes, minlength=network.nodes)


def _corners(roads: PlaneRoads, first: IntArray, route: RowArray, halting: Halting) -> FloatArray:
    """Return the most metres a second from each driven segment into the next, shape (Q,).

    The arc that touches both streets ``tangent_m`` metres from the corner, at a bounded lateral
    acceleration; the last segment of a route has no corner.
    """
    out = roads.xy[roads.at[:-1] + 1] - roads.xy[roads.at[:-1]]
    into = roads.xy[roads.at[1:] - 1] - roads.xy[roads.at[1:] - 2]
    begin, end = np.arctan2(out[:, 1], out[:, 0]), np.arctan2(into[:, 1], into[:, 0])
    turn = np.zeros(len(route))
    turn[:-1] = begin[route[1:]] - end[route[:-1]]
    turn[first[1:][np.diff(first) > 0] - 1] = 0.0
    angle = np.minimum(np.abs((turn + np.pi) % (2 * np.pi) - np.pi), _ROUND)
    # A straight way has an endless radius.
    radius = halting.tangent_m / np.maximum(np.tan(angle / 2), 1e-6)
    return np.sqrt(halting.lateral * radius)
