"""Padded batches of routes and trajectories, as the trajectory models read them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raygen.models.trajectory_codec import OFFSET_M
from raygen.network.graph import FloatArray, IntArray
from raygen.trajectories.records import RoadTrajectories
from raygen.trajectories.routes import Float32Array, RouteSet

CONDITIONS = ("depart_s", "travel_s", "distance_m", "interval_s", "free_s")
"""What a trajectory is generated from, beside its route: start time in seconds after midnight,
travel time, distance, sampling interval, and the route's time at free flow."""

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class RouteData:
    """N routes as arrays, ready to be drawn from."""

    first: IntArray
    features: Float32Array
    """Shape (Q, F)."""
    kinds: IntArray
    """Shape (Q,)."""
    segment: npt.NDArray[np.int32]
    """Segment rows, shape (Q,)."""
    length_m: FloatArray
    """Shape (N,)."""
    free_s: FloatArray
    """Shape (N,)."""
    places: Float32Array | None = None
    """Node2vec of the network's segments, (E, d)."""

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """Return routes as ``RoadEncoder`` reads them, with their time at free flow ``route_s``."""
        made = {
            "roads": padded(self.features, self.first, rows),
            "kinds": padded(self.kinds, self.first, rows),
            "roads_length": np.diff(self.first)[rows],
            "route_s": self.free_s[rows].astype(np.float32),
        }
        if self.places is not None:
            made["places"] = self.places[padded(self.segment, self.first, rows).astype(np.int64)]
        return tensors(made)


@dataclass(frozen=True)
class TrajectoryData:
    """N trajectories as arrays, ready to be drawn from."""

    routes: RouteData
    first: IntArray
    share: Float32Array
    """Place of each point on its route, (P,)."""
    offset: Float32Array
    """In units of OFFSET_M, (P,)."""
    points: Float32Array
    """Kilometres in the route's frame, (P, 2)."""
    conditions: dict[str, Float32Array]
    """CONDITIONS, (N,) each."""
    codes: list[IntArray] | None = None
    """Codes (G, L) of each trajectory, where an autoencoder has said them."""

    @property
    def length(self) -> IntArray:
        """Points of each trajectory, (N,)."""
        return np.diff(self.first)

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """Return trajectories with their routes, as ``TrajectoryCodec`` reads them."""
        made = {
            name: padded(values, self.first, rows)
            for name, values in (
                ("share", self.share),
                ("offset", self.offset),
                ("points", self.points),
            )
        }
        made["length"] = self.length[rows]
        made |= {name: values[rows] for name, values in self.conditions.items()}
        if self.codes is not None:
            made["codes"] = stacked([self.codes[row] for row in rows.tolist()])
        return self.routes.batch(rows) | tensors(made)


def route_data(routes: RouteSet, places: Float32Array | None = None) -> RouteData:
    """Return routes as arrays; ``places`` is the network's Node2vec, where the model reads it."""
    return RouteData(
        routes.first,
        routes.features(),
        routes.kinds(),
        routes.segment,
        routes.length_m,
        routes.free_s,
        places,
    )


def trajectory_data(
    made: RoadTrajectories, routes: RouteSet, places: Float32Array | None = None
) -> TrajectoryData:
    """Return trajectories on the routes of ``routes_of(made)`` as arrays."""
    return TrajectoryData(
        route_data(routes, places),
        made.first,
        routes.shares(made).astype(np.float32),
        (made.offset / OFFSET_M).astype(np.float32),
        routes.local(made.first, made.points(routes.roads)),
        observed_conditions(made, routes),
    )


def observed_conditions(made: RoadTrajectories, routes: RouteSet) -> dict[str, Float32Array]:
    """Return CONDITIONS of trajectories: of a fixed sampling, from the first point to the last."""
    begin, end = made.time[made.first[:-1]], made.time[made.first[1:] - 1]
    return conditions(begin, end - begin, (end - begin) / (made.length - 1), routes)


def conditions(
    depart_s: FloatArray, travel_s: FloatArray, interval_s: FloatArray, routes: RouteSet
) -> dict[str, Float32Array]:
    """Return CONDITIONS: the distance and the time at free flow are the routes'."""
    given = (depart_s, travel_s, routes.length_m, interval_s, routes.free_s)
    return {name: values.astype(np.float32) for name, values in zip(CONDITIONS, given, strict=True)}


def padded(values: Array, first: IntArray, rows: IntArray) -> Array:
    """Return some lists as rows of one array, zeros behind their ends."""
    count = np.diff(first)[rows]
    most = int(count.max(initial=1))
    order = np.arange(most)
    there = order < count[:, None]
    at = np.where(there, first[:-1][rows][:, None] + order, 0)
    found = values[at]
    found[~there] = 0
    return found


def stacked(lists: list[IntArray]) -> IntArray:
    """Return lists of vectors (G, L) as one array, zeros behind their ends."""
    made = np.zeros((len(lists), max(len(one) for one in lists), lists[0].shape[1]), dtype=np.int64)
    for row, one in enumerate(lists):
        made[row, : len(one)] = one
    return made


def tensors(made: dict[str, Array]) -> dict[str, Tensor]:
    """Return arrays as tensors of the same types."""
    return {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in made.items()}
