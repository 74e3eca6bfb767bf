"""A doubly constrained gravity model whose decay meets an observed mean in each group of origins.

    T[i, j] = O[i] · A[i] · B[j] · D[j] · exp(−β[g(i)] · c[i, j]),  Σ_j T = O,  Σ_i T = D

Wilson, "A family of spatial interaction models, and associated developments", Environment and
Planning A 3 (1971); the balancing is Furness', and β follows Hyman, "The calibration of trip
distribution models", Environment and Planning 1 (1969), with a Newton step: the mean cost of a
group falls in β at the rate of the cost's variance within its origins.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

FloatArray = npt.NDArray[np.float64]

MAX_ROUNDS = 200
TOLERANCE = 5e-3
"""Largest relative difference between the fill of places at which the balancing stops, where B is
inside its bounds."""

MEAN_TOLERANCE = 2e-3
"""Largest relative error of a group's mean cost, where β is inside its bounds."""

MAX_LOG_BALANCE = 3.0
"""Bound of |log B|, mean 0 over places. Exact column totals and observed means can be at odds (a
valley with fewer jobs than workers, who yet say that they commute for half an hour): without a
bound the surplus would be sent any distance. At the bound places are over- or underfilled instead.
Los Angeles County: 26 of 1,502 zones, 1 % of the jobs; without, 8 of 282 means fail by up to 100
minutes."""

_STEP = 0.5
"""Largest Newton step of β, in units of 1 / mean cost; far from the root a full one overshoots."""

_NEWTON_EVERY = 3
"""Rounds of balancing to a step of β: exp(−β·c) of all pairs costs five rounds."""

_LOW, _HIGH = -0.75, 6.0
"""Bounds of β in units of 1 / mean cost: a mild preference for the far, and next to no travel."""


@dataclass(frozen=True)
class Balanced:
    """Solution of the gravity model."""

    decay: FloatArray
    """β by group, per unit of cost."""

    pull: FloatArray
    """B[j] · D[j], shape (Z,)."""

    filled: FloatArray
    """Column totals over places, shape (Z,); NaN where there are none."""

    mean: FloatArray
    """Mean cost of each group."""

    rounds: int


class Groups(NamedTuple):
    """Groups of origins that share a mean to meet."""

    of_zone: npt.NDArray[np.int64]
    """Group of each origin, shape (Z,)."""

    target: FloatArray
    """Mean cost to meet, by group."""


def balance(
    cost: npt.NDArray[np.float32], origins: FloatArray, places: FloatArray, groups: Groups
) -> Balanced:
    """Fit the model.

    Parameters
    ----------
    cost
        Shape (Z, Z), row origin, >= 0; the diagonal is the cost within a zone.
    origins
        O, shape (Z,), >= 0.
    places
        D, shape (Z,), >= 0; scaled here to the sum of ``origins``.
    groups
        Mean cost to meet by group of origins.

    Returns
    -------
    balanced
        A group that cannot meet its mean keeps β at a bound, places that cannot be filled keep B at
        one; see ``MAX_LOG_BALANCE``.
    """
    scaled = places * (origins.sum() / places.sum())
    some = scaled > 0
    log_b, moved, rounds = np.zeros_like(scaled), 1.0 / groups.target, 0
    decay, weight = moved, np.empty((0, 0), np.float32)
    while True:
        pull = scaled * np.exp(log_b)
        if rounds % _NEWTON_EVERY == 0:
            decay = moved
            weight = _weights(cost, decay[groups.of_zone])
        columns, mean, slope = _totals(weight, cost, origins, pull, groups)
        log_fill = np.log(np.maximum(columns[some], 1e-300) / scaled[some])
        inside = np.abs(log_b[some]) < MAX_LOG_BALANCE
        # What is too much at the bounds is missing elsewhere, equally: judge by the spread.
        uneven = np.abs(log_fill - np.median(log_fill))[inside]
        moved = _newton(decay, mean, slope, groups.target)
        off = np.abs(mean / groups.target - 1.0)
        met = (off < MEAN_TOLERANCE) | (moved == decay)
        if (met.all() and (uneven < TOLERANCE).all()) or rounds == MAX_ROUNDS:
            break
        log_b[some] -= log_fill
        log_b[some] -= np.average(log_b[some], weights=scaled[some])
        log_b = np.clip(log_b, -MAX_LOG_BALANCE, MAX_LOG_BALANCE)
        rounds += 1
    filled = np.where(some, columns / np.where(some, scaled, 1.0), np.nan)
    return Balanced(decay, pull, filled, mean, rounds)


def _newton(
    decay: FloatArray, mean: FloatArray, slope: FloatArray, target: FloatArray
) -> FloatArray:
    """Return β after a bounded Newton step towards the target means."""
    step = (mean - target) / np.maximum(slope, 1e-12)
    moved = decay + np.clip(step, -_STEP / target, _STEP / target)
    return np.clip(moved, _LOW / target, _HIGH / target)


@njit(cache=True, nogil=True)
def _weights(cost: npt.NDArray[np.float32], decay: FloatArray) -> npt.NDArray[np.float32]:
    """Return exp(−β·c) of all pairs; ``decay`` by origin."""
    out = np.empty(cost.shape, np.float32)
    for i in range(len(cost)):
        for j in range(len(cost)):
            out[i, j] = np.exp(-decay[i] * cost[i, j])
    return out


@njit(cache=True, nogil=True)
def _totals(
    weight: npt.NDArray[np.float32],
    cost: npt.NDArray[np.float32],
    origins: FloatArray,
    pull: FloatArray,
    groups: Groups,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return column totals (Z,), and by group the mean cost and its fall per unit of β."""
    zones, count = len(origins), len(groups.target)
    columns, trips = np.zeros(zones), np.empty(zones)
    mass, first, spread = np.full(count, 1e-300), np.zeros(count), np.zeros(count)
    for i in range(zones):
        if origins[i] <= 0.0:
            continue
        total, mean, square = 0.0, 0.0, 0.0
        for j in range(zones):
            trips[j] = weight[i, j] * pull[j]
            total += trips[j]
            mean += trips[j] * cost[i, j]
            square += trips[j] * cost[i, j] * cost[i, j]
        for j in range(zones):
            columns[j] += trips[j] * (origins[i] / total)
        mean /= total
        group = groups.of_zone[i]
        mass[group] += origins[i]
        first[group] += origins[i] * mean
        spread[group] += origins[i] * (square / total - mean * mean)
    return columns, first / mass, spread / mass


@njit(cache=True, nogil=True)
def _row(cost: npt.NDArray[np.float32], pull: FloatArray, decay: float, out: FloatArray) -> float:
    """Write pull · exp(−decay · cost) of one origin and return the sum."""
    total = 0.0
    for j in range(len(pull)):
        out[j] = pull[j] * np.exp(-decay * cost[j]) if pull[j] > 0.0 else 0.0
        total += out[j]
    return total


@njit(cache=True, nogil=True)
def cumulate(
    cost: npt.NDArray[np.float32],
    pull: FloatArray,
    decay: FloatArray,
    order: npt.NDArray[np.int16 | np.int32],
) -> npt.NDArray[np.float32]:
    """Return for each origin the cumulated shares of the zones in ``order``, shape (Z, Z).

    The last entry of a row is exactly 1, as is every entry after the last zone with a share.
    """
    zones = len(pull)
    out, weight = np.empty((zones, zones), np.float32), np.empty(zones)
    for i in range(zones):
        total = _row(cost[i], pull, decay[i], weight)
        done = 0.0
        for k in range(zones):
            z = order[i, k]
            done += weight[z]
            out[i, k] = done / total
        last = zones - 1
        while last >= 0 and weight[order[i, last]] <= 0.0:
            out[i, last] = 1.0
            last -= 1
        out[i, last:] = 1.0
    return out
