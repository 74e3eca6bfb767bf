"""Cost and feasibility of a zone for one activity; the formula is in ``assignment.kernel``."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]


class Network(NamedTuple):
    """The city between its zones; shapes (Z, Z), row origin."""

    distance_m: Float32Array
    free_s: Float32Array
    peak_s: Float32Array
    order: npt.NDArray[np.int16]
    """Zone rows by distance from each zone."""

    xy: FloatArray
    """Points of the zones in projected metres, (Z, 2)."""

    allowed: npt.NDArray[np.bool_]
    """Land use by activity type, (15, Z)."""


class Curves(NamedTuple):
    """Reference distributions as quantiles, evenly spaced in probability."""

    distance_km: Float32Array
    """Network kilometres by activity type, (15, Q)."""

    angle: Float32Array
    """Radians, (Q',)."""


class Weights(NamedTuple):
    """The cost's weights and limits; see ``raygen.config.AssignmentConfig``."""

    alpha: float
    beta: float
    gamma: float
    candidates: int
    min_stay_s: int


class Choice(NamedTuple):
    """One activity's choice."""

    previous: int
    following: int
    """Zone rows p and n."""

    type: int
    distance_km: float
    angle: float
    window_in: float
    """Seconds there are to come from p; negative where there are none."""

    window_out: float
    """Seconds there are to go on to n."""

    congestion_in: float
    congestion_out: float


@njit(cache=True, nogil=True)
def travel_s(network: Network, origin: int, destination: int, weight: float) -> float:
    """Return the car time between zones, ``weight`` of it the peak skim's."""
    free = network.free_s[origin, destination]
    return free + weight * (network.peak_s[origin, destination] - free)


@njit(cache=True, nogil=True)
def angle_at(xy: FloatArray, corner: int, first: int, second: int) -> float:
    """Return the angle at zone ``corner`` between the directions to two other zones, 0 to π."""
    ax, ay = xy[first, 0] - xy[corner, 0], xy[first, 1] - xy[corner, 1]
    bx, by = xy[second, 0] - xy[corner, 0], xy[second, 1] - xy[corner, 1]
    return np.arctan2(abs(ax * by - ay * bx), ax * bx + ay * by)


@njit(cache=True, nogil=True)
def deviation(network: Network, choice: Choice, weights: Weights, zone: int) -> float:
    """Return Algorithm 3's cost of a zone: α·|d − d̂| + β·|θ − θ̂|."""
    p, n = choice.previous, choice.following
    cost = weights.alpha * abs(network.distance_m[p, zone] * 1e-3 - choice.distance_km)
    off_p = n != p and zone != p  # noqa: PLR1714 - Numba has no `in` for zones of two int types
    if weights.beta > 0.0 and off_p:
        cost += weights.beta * abs(angle_at(network.xy, p, zone, n) - choice.angle)
    return cost


@njit(cache=True, nogil=True)
def violation(network: Network, choice: Choice, zone: int) -> float:
    """Return the seconds by which the trips to and from a zone exceed their windows, 0 if none."""
    over = travel_s(network, choice.previous, zone, choice.congestion_in) - choice.window_in
    late = travel_s(network, zone, choice.following, choice.congestion_out) - choice.window_out
    return max(over, 0.0) + max(late, 0.0)
