"""The loop over zones of the fit: types of household, their weights, counts and households.

A *class* is the seed households that add the same to every control but the income ones; its
members lie in order of income. In a zone, the bounds $25,000, $200,000 and the zone's median cut
each class into up to four *types*, which are all the fit needs to tell apart.
"""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

from raygen.population.kernels import Zone, balance, integerise

FloatArray = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

_GOLDEN = 0.6180339887498949
_STIFFNESS = 1e3  # of a control of importance 1: an error of 0.1 % is worth a factor e in weights
_SMALL = 0.02  # share of the households below which a target's error is priced as absolute


class Classes(NamedTuple):
    """N seed households ordered by class and income."""

    base: FloatArray
    """What a household of each class adds to each control, (C, K); income controls are 0."""

    start: Int64Array
    """First row of each class, (C + 1,)."""

    income: FloatArray
    """Dollars a year, (N,)."""

    prior: FloatArray
    """Prior weight, (N,)."""


class Controls(NamedTuple):
    """What the Z zones ask for."""

    targets: FloatArray
    """(Z, K), NaN where not known; the first counts households and is known and whole."""

    importance: FloatArray
    """(K,)."""

    bounds: FloatArray
    """Income bounds of each zone in dollars, (Z, 3): low, high, median."""

    income_columns: Int64Array
    """Controls of households below the low, from the high, and below the median bound, (3,)."""

    start: Int64Array
    """First household of each zone, (Z + 1,)."""


class Draws(NamedTuple):
    """Uniform draws."""

    zone: FloatArray
    """(Z, 2)."""

    household: FloatArray
    """(start[Z],)."""


@nb.njit(cache=True, nogil=True)
def _types(
    classes: Classes, bounds: FloatArray, income_columns: Int64Array
) -> tuple[FloatArray, FloatArray, Int64Array]:
    """Return incidence (T, K), prior (T,) and first row (T + 1,) of the zone's types."""
    cuts = np.sort(bounds)
    most = len(classes.base) * (len(cuts) + 1)
    incidence = np.empty((most, classes.base.shape[1]))
    prior = np.empty(most)
    start = np.empty(most + 1, dtype=np.int64)
    found = 0
    for c in range(len(classes.base)):
        low, end = classes.start[c], classes.start[c + 1]
        for edge in range(len(cuts) + 1):
            high = end
            if edge < len(cuts):
                high = low + np.searchsorted(classes.income[low:end], cuts[edge])
            if high > low:
                income = classes.income[low]
                incidence[found] = classes.base[c]
                incidence[found, income_columns[0]] = income < bounds[0]
                incidence[found, income_columns[1]] = income >= bounds[1]
                incidence[found, income_columns[2]] = income < bounds[2]
                prior[found] = classes.prior[low:high].sum()
                start[found] = low
                found += 1
            low = high
    start[found] = classes.start[-1]
    return incidence[:found], prior[:found], start[: found + 1]


@nb.njit(cache=True, nogil=True)
def _zone(incidence: FloatArray, targets: FloatArray, importance: FloatArray) -> Zone:
    """Price the zone's controls: relative errors weighted by importance."""
    target = np.zeros(len(targets))
    stiffness = np.zeros(len(targets))
    price = np.zeros(len(targets))
    for k in range(len(targets)):
        if not math.isnan(targets[k]):
            target[k] = targets[k]
            stiffness[k] = _STIFFNESS * importance[k] / max(target[k], 1.0)
            price[k] = importance[k] / (target[k] + _SMALL * targets[0])
    return Zone(incidence, target, stiffness, price)


@nb.njit(cache=True, nogil=True)
def _draw(
    count: Int64Array, start: Int64Array, prior: FloatArray, uniform: float, rows: Int32Array
) -> None:
    """Fill ``rows`` with households of each type, systematically by prior weight."""
    filled = 0
    for t in range(len(count)):
        if count[t] == 0:
            continue
        phase = (uniform + t * _GOLDEN) % 1.0
        total = prior[start[t] : start[t + 1]].sum()
        row = start[t]
        cumulated = prior[row]
        for n in range(count[t]):
            pick = (n + phase) / count[t] * total
            while cumulated <= pick and row + 1 < start[t + 1]:
                row += 1
                cumulated += prior[row]
            rows[filled] = row
            filled += 1


@nb.njit(cache=True, nogil=True)
def _shuffle(rows: Int32Array, uniform: FloatArray) -> None:
    """Shuffle in place (Fisher and Yates)."""
    for i in range(len(rows) - 1, 0, -1):
        j = int(uniform[i] * (i + 1))
        rows[i], rows[j] = rows[j], rows[i]


@nb.njit(cache=True, nogil=True)
def fit_zones(classes: Classes, controls: Controls, draws: Draws) -> tuple[Int32Array, FloatArray]:
    """Fit every zone, each on its own.

    Returns
    -------
    rows, balanced
        The seed row of each household, (start[Z],), in random order within its zone; and the
        controls of the balanced weights before integerisation, (Z, K).
    """
    start = controls.start
    rows = np.empty(start[-1], dtype=np.int32)
    balanced = np.zeros(controls.targets.shape)
    for z in range(len(balanced)):
        households = start[z + 1] - start[z]
        if households == 0:
            continue
        incidence, prior, first = _types(classes, controls.bounds[z], controls.income_columns)
        zone = _zone(incidence, controls.targets[z], controls.importance)
        weight = balance(zone, prior * (households / prior.sum()))
        for t in range(len(weight)):
            for k in range(len(balanced[z])):
                balanced[z, k] += weight[t] * incidence[t, k]
        count = integerise(zone, weight, households, draws.zone[z, 0])
        mine = rows[start[z] : start[z + 1]]
        _draw(count, first, classes.prior, draws.zone[z, 1], mine)
        _shuffle(mine, draws.household[start[z] : start[z + 1]])
    return rows, balanced
