"""Cost and feasibility of a zone for one activity; the formula is in ``assignment.kernel``."""

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


_TURN = 2.0 * np.pi

S = TypeVar("S", bound=np.generic)


def read_only(array: npt.NDArray[S]) -> npt.NDArray[S]:
    """Return a read-only view, of a copy where the array is not in C order.

    Numba compiles a kernel anew (20 s) for read-only arrays, which is what shared memory and Arrow
    give, and for others; the kernels here always get the former.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def bearings(xy: FloatArray) -> Float32Array:
    """Return the direction from each point to each other, shape (Z, Z), in radians, −π to π."""
    x, y = xy[:, 0], xy[:, 1]
    return np.arctan2(y[None, :] - y[:, None], x[None, :] - x[:, None]).astype(np.float32)


class Network(NamedTuple):
    """The city between its zones; shapes (Z, Z), row origin."""

    distance_m: Float32Array
    order: npt.NDArray[np.int16]
    """Zone rows by distance from each zone."""

    free_s: Float32Array
    peak_s: Float32Array
    free_to_s: Float32Array
    """``free_s`` with the destination as row: the candidates on the way to one place are then in
    one row, which is what the loop over them reads."""

    peak_to_s: Float32Array
    bearing: Float32Array
    """Direction from a zone to another in radians, −π to π."""

    allowed: BoolArray
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


class View(NamedTuple):
    """The network seen from one choice: rows of p and n, shape (Z,)."""

    distance_m: Float32Array
    near: npt.NDArray[np.int16]
    """Zone rows by distance from p."""

    free_in_s: Float32Array
    peak_in_s: Float32Array
    free_out_s: Float32Array
    peak_out_s: Float32Array
    bearing: Float32Array
    allowed: BoolArray


@njit(cache=True, nogil=True)
def view_of(network: Network, choice: Choice) -> View:
    """Return the rows of the network that a choice reads."""
    p, n = choice.previous, choice.following
    return View(
        network.distance_m[p],
        network.order[p],
        network.free_s[p],
        network.peak_s[p],
        network.free_to_s[n],
        network.peak_to_s[n],
        network.bearing[p],
        network.allowed[choice.type],
    )


@njit(cache=True, nogil=True)
def travel_s(network: Network, origin: int, destination: int, weight: float) -> float:
    """Return the car time between zones, ``weight`` of it the peak skim's."""
    free = network.free_s[origin, destination]
    return free + weight * (network.peak_s[origin, destination] - free)


@njit(cache=True, nogil=True, inline="always")
def distance_gap(view: View, choice: Choice, zone: int) -> float:
    """Return |d(p, z) − d̂| in km."""
    return abs(view.distance_m[zone] * 1e-3 - choice.distance_km)


@njit(cache=True, nogil=True, inline="always")
def angle_gap(view: View, choice: Choice, zone: int) -> float:
    """Return |θ(p, z, n) − θ̂| in radians; 0 where z or n is p, as there is no direction."""
    p, n = choice.previous, choice.following
    if n == p or zone == p:  # noqa: PLR1714 - Numba has no `in` for integers of two types
        return 0.0
    turn = abs(view.bearing[zone] - view.bearing[n])
    return abs(min(turn, _TURN - turn) - choice.angle)


@njit(cache=True, nogil=True, inline="always")
def violation(view: View, choice: Choice, zone: int) -> float:
    """Return the seconds by which the trips to and from a zone exceed their windows, 0 if none."""
    come = view.free_in_s[zone]
    come += choice.congestion_in * (view.peak_in_s[zone] - come)
    go = view.free_out_s[zone]
    go += choice.congestion_out * (view.peak_out_s[zone] - go)
    return max(come - choice.window_in, 0.0) + max(go - choice.window_out, 0.0)
