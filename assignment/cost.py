"""Cost and feasibility of a zone for one activity; the formula is in ``assignment.kernel``."""

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]
RankArray = npt.NDArray[np.int16 | np.int32]


TURN = 2.0 * np.pi

BUCKET_ZONES = 8
"""Mean number of zones between two of ``Network.starts``."""

S = TypeVar("S", bound=np.generic)


def read_only(array: npt.NDArray[S]) -> npt.NDArray[S]:
    """Return a read-only view, of a copy where the array is not in C order.

    Numba compiles a kernel anew (20 s) for read-only arrays, which is what shared memory and Arrow
    give, and for others; the kernels here always get the former.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


class Network(NamedTuple):
    """The city between its Z zones.

    What a choice reads of one place's surroundings lies together and in the order of reading: the
    matrices are far larger than the processor's caches, and a kernel over random places waits for
    memory more than it computes.
    """

    distance_m: Float32Array
    free_s: Float32Array
    peak_s: Float32Array
    """The skims, shape (Z, Z), row origin."""

    order: RankArray
    """Zone rows by distance from each zone, shape (Z, Z)."""

    ring_m: Float32Array
    ring_bearing: Float32Array
    """Distance from a zone, and direction in radians, of the zones in ``order``, shape (Z, Z)."""

    to_s: Float32Array
    """Free and peak time from each zone (second axis) to a zone (first), shape (Z, Z, 2)."""

    starts: RankArray
    """Zones nearer than b/B of ``farthest_m``, shape (Z, B + 1): where to search for a distance."""

    farthest_m: Float32Array
    """Distance to each zone's farthest one, shape (Z,)."""

    farthest_s: Float32Array
    """Longest time from and to each zone in the peak or not, shape (Z, 2): a window that holds it
    needs no check."""

    xy_m: FloatArray
    """A point of each zone, projected metres, shape (Z, 2)."""

    allowed: BoolArray
    """Land use by activity type, (15, Z)."""

    subregion: npt.NDArray[np.int16]
    """Shape (Z,)."""


class Curves(NamedTuple):
    """Reference distributions as quantiles, evenly spaced in probability; S sub-regions."""

    distance_km: Float32Array
    """Network kilometres by segment and activity type, (12 S, 15, Q): segment = 12 · sub-region of
    home + demographic group."""

    angle: Float32Array
    """Radians, (Q',)."""

    pull: Float32Array
    """Cost, in its units, that a visit saves by activity type, sub-region of the previous activity
    and of the visit, shape (15, S, S); zero unless refined to flows."""


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
    hurried_in: bool
    hurried_out: bool
    """Whether some trip could be too long for its window."""

    ahead: float
    """Direction from p to n, radians."""

    turns: bool
    """Whether the angle has a cost and a meaning."""

    row: int
    """Row of the activity."""

    draw: float
    """Draw in [0, 1) among the candidates."""


class Prior(NamedTuple):
    """Decoder's zones of each of A activities, in the form of schema.PRIORS."""

    zones: Int32Array
    """Shape (A, 32)."""

    log_probability: Float32Array
    log_floor: Float32Array


class Scratch(NamedTuple):
    """Working arrays of one thread."""

    of_prior: npt.NDArray[np.bool_]
    """Whether a zone is one of the prior's, shape (Z,); left all false."""

    metres: FloatArray
    dx: FloatArray
    dy: FloatArray
    """Distance and way from p to the prior's zones, shape (32,)."""

    base: FloatArray
    """Cost of candidates without distance and angle, shape (Z + 32,)."""

    zone: Int32Array
    cost: FloatArray
    """Candidates, shape (Z + 32,)."""

    over: FloatArray
    """Seconds by which each zone exceeds its windows, shape (Z + 32,)."""


class Found(NamedTuple):
    """Candidates met so far."""

    candidates: int
    best: float
    """Least cost."""


def direction(origin: FloatArray, destination: FloatArray) -> FloatArray:
    """Return the direction from points to others, both (…, 2), in radians, −π to π."""
    gap = destination - origin
    return np.arctan2(gap[..., 1], gap[..., 0])


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def travel_s(network: Network, origin: int, destination: int, weight: float) -> float:
    """Return the car time between zones, ``weight`` of it the peak skim's."""
    free = network.free_s[origin, destination]
    return free + weight * (network.peak_s[origin, destination] - free)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def angle_gap(ahead: float, bearing: float, angle: float) -> float:
    """Return |θ(p, z, n) − θ̂| in radians from the directions to n and to z."""
    turn = abs(bearing - ahead)
    return abs(min(turn, TURN - turn) - angle)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def bearing_of(x: float, y: float) -> float:
    """Return the direction of (x, y) in radians, −π to π, to 1e-7; 0 of (0, 0).

    Abramowitz and Stegun 4.4.49: unlike a call of arctan2 it runs on vectors.
    """
    long, short = max(abs(x), abs(y)), min(abs(x), abs(y))
    t = short / max(long, 1e-300)
    u = t * t
    series = -0.0161657367 + u * 0.0028662257
    series = 0.1065626393 + u * (-0.0752896400 + u * (0.0429096138 + u * series))
    series = -0.3333314528 + u * (0.1999355085 + u * (-0.1420889944 + u * series))
    turn = t * (1.0 + u * series)
    turn = 0.5 * np.pi - turn if abs(y) > abs(x) else turn
    turn = np.pi - turn if x < 0.0 else turn
    return -turn if y < 0.0 else turn


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def excess(free_s: float, peak_s: float, weight: float, window_s: float) -> float:
    """Return the seconds by which a trip exceeds its window, 0 if none."""
    return max(free_s + weight * (peak_s - free_s) - window_s, 0.0)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def in_time(network: Network, choice: Choice, zone: int) -> bool:
    """Return whether the trips to and from a zone fit their windows."""
    p, n, over = choice.previous, choice.following, 0.0
    if choice.hurried_in:
        free, peak = network.free_s[p, zone], network.peak_s[p, zone]
        over += excess(free, peak, choice.congestion_in, choice.window_in)
    if choice.hurried_out:
        free, peak = network.to_s[n, zone, 0], network.to_s[n, zone, 1]
        over += excess(free, peak, choice.congestion_out, choice.window_out)
    return over <= 0.0
