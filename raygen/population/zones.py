"""The loop over zones of the fit: types of household, their weights, counts and households.

A *class* is the seed households that add the same to every control but the income ones; its
members lie in order of income. In a zone, the bounds $25,000, $200,000 and the zone's median cut
each class into up to four *types*, which are all the fit needs to tell apart.
"""

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
def _below(income: FloatArray, low: int, high: int, bound: float) -> int:
    """Return the first row from ``low`` on whose income is not below the bound, by bisection."""
    while low < high:
        middle = (low + high) // 2
        if income[middle] < bound:
            low = middle + 1
        else:
            high = middle
    return low


@nb.njit(cache=True, nogil=True)
def types(
    classes: Classes, bounds: FloatArray, cuts: FloatArray, columns: Int64Array
) -> tuple[FloatArray, FloatArray, Int64Array]:
    """Cut the classes into the zone's types.

    Parameters
    ----------
    classes
        C classes of the seed.
    bounds, cuts
        Income bounds of the zone, (3,): low, high, median; and the same ascending.
    columns
        Controls of households below the low, from the high, and below the median bound, (3,).

    Returns
    -------
    incidence, prior, start
        What a household of each type adds to each control, (T, K); prior weight, (T,); first row,
        (T + 1,).
    """
    most = len(classes.base) * (len(cuts) + 1)
    incidence = np.empty((most, classes.base.shape[1]))
    prior = np.zeros(most)
    start = np.empty(most + 1, dtype=np.int64)
    found = 0
    for c in range(len(classes.base)):
        low, end = classes.start[c], classes.start[c + 1]
        for edge in range(len(cuts) + 1):
            high = _below(classes.income, low, end, cuts[edge]) if edge < len(cuts) else end
            if high > low:
                income = classes.income[low]
                for k in range(incidence.shape[1]):
                    incidence[found, k] = classes.base[c, k]
                incidence[found, columns[0]] = income < bounds[0]
                incidence[found, columns[1]] = income >= bounds[1]
                incidence[found, columns[2]] = income < bounds[2]
                for row in range(low, high):
                    prior[found] += classes.prior[row]
                start[found] = low
                found += 1
            low = high
    start[found] = classes.start[-1]
    return incidence[:found], prior[:found], start[: found + 1]


@nb.njit(cache=True, nogil=True)
def choose(
    count: Int64Array, start: Int64Array, prior: FloatArray, uniform: float, shuffle: FloatArray
) -> Int32Array:
    """Return the seed rows of the zone's households in random order.

    Parameters
    ----------
    count, start
        Households of each type, (T,), and its first row, (T + 1,).
    prior
        Of each row, (N,): within a type the rows are taken systematically by it.
    uniform, shuffle
        Draws of the zone and of each household, (count.sum(),).
    """
    rows = np.empty(len(shuffle), dtype=np.int32)
    filled = 0
    for t in range(len(count)):
        total = 0.0
        for row in range(start[t], start[t + 1]):
            total += prior[row]
        phase = (uniform + t * _GOLDEN) % 1.0
        row, cumulated = start[t], prior[start[t]]
        for n in range(count[t]):
            pick = (n + phase) / count[t] * total
            while cumulated <= pick and row + 1 < start[t + 1]:
                row += 1
                cumulated += prior[row]
            rows[filled] = row
            filled += 1
    for i in range(len(rows) - 1, 0, -1):  # Fisher and Yates
        j = int(shuffle[i] * (i + 1))
        rows[i], rows[j] = rows[j], rows[i]
    return rows


def fit_zones(classes: Classes, controls: Controls, draws: Draws) -> tuple[Int32Array, FloatArray]:
    """Fit every zone, each on its own.

    Returns
    -------
    rows, balanced
        The seed row of each household, (start[Z],), in random order within its zone; and the
        controls of the balanced weights before integerisation, (Z, K).
    """
    start = controls.start.tolist()
    known = ~np.isnan(controls.targets)
    target = np.where(known, controls.targets, 0.0)
    stiffness = known * _STIFFNESS * controls.importance / np.maximum(target, 1.0)
    scale = np.maximum(target + _SMALL * target[:, :1], 1e-9)
    price = known * controls.importance / scale
    cuts = np.sort(controls.bounds, axis=1)
    rows = np.empty(start[-1], dtype=np.int32)
    balanced = np.zeros(target.shape)
    for z in np.flatnonzero(np.diff(controls.start)).tolist():
        households = start[z + 1] - start[z]
        incidence, prior, first = types(
            classes, controls.bounds[z], cuts[z], controls.income_columns
        )
        zone = Zone(incidence, target[z], stiffness[z], price[z])
        weight = balance(zone, prior * (households / prior.sum()))
        balanced[z] = np.einsum("t,tk->k", weight, incidence)
        count = integerise(zone, weight, households, draws.zone[z, 0])
        shuffle = draws.household[start[z] : start[z + 1]]
        rows[start[z] : start[z + 1]] = choose(
            count, first, classes.prior, draws.zone[z, 1], shuffle
        )
    return rows, balanced
