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

MAX_ROUNDS = 400
TOLERANCE = 2e-3
"""Largest relative error of a column total at which the balancing stops."""

MEAN_TOLERANCE = 2e-3
"""Largest relative error of a group's mean cost, where β is inside its bounds."""

_STEP = 0.5
"""Largest Newton step of β, in units of 1 / mean cost; far from the root a full one overshoots."""


@dataclass(frozen=True)
class Balanced:
    """Solution of the gravity model."""

    decay: FloatArray
    """β by group, per unit of cost."""

    pull: FloatArray
    """B[j] · D[j], shape (Z,)."""

    rounds: int
    column_error: float
    """Largest relative error of a column total."""

    mean: FloatArray
    """Mean cost of each group."""


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
        A group that cannot meet its mean keeps β at a bound: 30 / mean cost above, and below
        −0.75 / mean cost, a mild preference for the far.
    """
    scaled = places * (origins.sum() / places.sum())
    decay = 1.0 / groups.target
    pull = scaled.copy()
    rounds, column_error = 0, np.inf
    mean = np.zeros_like(decay)
    low, high = -0.75 / groups.target, 30.0 / groups.target
    while True:
        columns, mean, slope = _totals(cost, origins, pull, decay[groups.of_zone], groups)
        filled = scaled > 0
        column_error = float(np.abs(columns[filled] / scaled[filled] - 1.0).max())
        step = (mean - groups.target) / np.maximum(slope, 1e-12)
        limit = _STEP / groups.target
        moved = np.clip(decay + np.clip(step, -limit, limit), low, high)
        off = np.abs(mean / groups.target - 1.0)
        met = (off < MEAN_TOLERANCE) | (moved == decay)
        if (column_error < TOLERANCE and met.all()) or rounds == MAX_ROUNDS:
            break
        pull[filled] *= scaled[filled] / columns[filled]
        decay = moved
        rounds += 1
    return Balanced(decay, pull, rounds, column_error, mean)


@njit(cache=True, nogil=True)
def _totals(
    cost: npt.NDArray[np.float32],
    origins: FloatArray,
    pull: FloatArray,
    decay: FloatArray,
    groups: Groups,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return column totals (Z,), and by group the mean cost and its fall per unit of β."""
    zones, count = len(origins), len(groups.target)
    columns, weight = np.zeros(zones), np.empty(zones)
    mass, first, spread = np.full(count, 1e-300), np.zeros(count), np.zeros(count)
    for i in range(zones):
        if origins[i] <= 0.0:
            continue
        total = _row(cost[i], pull, decay[i], weight)
        mean, square = 0.0, 0.0
        for j in range(zones):
            share = weight[j] / total
            columns[j] += origins[i] * share
            mean += share * cost[i, j]
            square += share * cost[i, j] * cost[i, j]
        group = groups.of_zone[i]
        mass[group] += origins[i]
        first[group] += origins[i] * mean
        spread[group] += origins[i] * (square - mean * mean)
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
    order: npt.NDArray[np.int16],
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
