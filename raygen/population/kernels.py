"""Compiled fit of one zone after another: list balancing, integerisation, drawing of households.

Balancing. Of all weights w of the household types, take those closest to the prior w° that meet the
controls: minimise Σ_i w_i ln(w_i / w°_i) − w_i + w°_i + Σ_k ρ_k / 2 · (Σ_i a_ik w_i − t_k)², for
incidence a, targets t and stiffness ρ. It is what iterative proportional fitting and list balancing
converge to (Deming and Stephan, "On a least squares adjustment of a sampled frequency table when
the expected marginal totals are known", Annals of Mathematical Statistics 11, 1940), with a finite
price on each error, so that controls at odds still have one answer: the least error. The dual is
smooth and concave in one multiplier a control, w = w° exp(−a·y); Newton's method solves it in
about ten steps.

Integerisation. Systematic rounding down the types in their order, then single exchanges of one
household of a type for one of another, each the best for the priced error, while it falls. No type
leaves the two whole numbers around its weight.
"""

import math
from typing import NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_STEPS = 60  # Newton steps at most
_HALVINGS = 30
_ARMIJO = 0.1  # least share of the promised gain
_TOLERANCE = 1e-9  # squared Newton decrement over the households
_MAX_EXPONENT = 60.0  # |a·y|: a type beyond is out, or is all there is
_EXCHANGES = 400
_NEGLIGIBLE = 1e-6  # weight of a type that no exchange may bring in
_LEAST_GAIN = 1e-12


class Zone(NamedTuple):
    """What one zone asks for, of T types of household and K controls."""

    incidence: FloatArray
    """What one household of each type adds to each control, (T, K)."""

    target: FloatArray
    """(K,)."""

    stiffness: FloatArray
    """ρ of each control, (K,); 0 leaves the control out."""

    price: FloatArray
    """Of the squared error of each control in whole households, (K,); 0 leaves it out."""


class Rounding(NamedTuple):
    """Whole households of one zone, changed in place."""

    weight: FloatArray
    """Balanced weight of each type, (T,), summing to the households."""

    counts: Int64Array
    """(T,)."""

    error: FloatArray
    """Controls of the counts less the targets, (K,)."""


@nb.njit(cache=True, nogil=True)
def balance(zone: Zone, prior: FloatArray) -> FloatArray:
    """Return the balanced weight of each type, (T,); see the module.

    Parameters
    ----------
    zone
        Incidence, targets and stiffness.
    prior
        Prior weights, (T,), summing to the households of the zone.
    """
    controls = len(zone.target)
    y = np.zeros(controls)
    weight = prior
    tolerance = _TOLERANCE * max(1.0, _sum(prior))
    value = _dual(zone, weight, y)
    for _ in range(_STEPS):
        gradient, hessian = _derivatives(zone, weight, y)
        step = _solve(hessian, gradient)
        promise = 0.0
        for k in range(controls):
            promise += step[k] * gradient[k]
        if promise <= tolerance:
            break
        length, least = 1.0, value
        trial, moved = y, weight
        for _ in range(_HALVINGS):
            trial = np.empty(controls)
            for k in range(controls):
                trial[k] = y[k] + length * step[k]
            moved = _weights(zone.incidence, prior, trial)
            value = _dual(zone, moved, trial)
            if value >= least + _ARMIJO * length * promise:
                break
            length *= 0.5
        if value <= least:
            break
        y, weight = trial, moved
    return weight


@nb.njit(cache=True, nogil=True)
def _sum(values: FloatArray) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


@nb.njit(cache=True, nogil=True)
def _weights(incidence: FloatArray, prior: FloatArray, y: FloatArray) -> FloatArray:
    weight = np.empty(len(prior))
    for i in range(len(prior)):
        exponent = 0.0
        for k in range(len(y)):
            exponent -= incidence[i, k] * y[k]
        weight[i] = prior[i] * math.exp(min(max(exponent, -_MAX_EXPONENT), _MAX_EXPONENT))
    return weight


@nb.njit(cache=True, nogil=True)
def _dual(zone: Zone, weight: FloatArray, y: FloatArray) -> float:
    value = -_sum(weight)
    for k in range(len(y)):
        if zone.stiffness[k] > 0:
            value -= zone.target[k] * y[k] + y[k] * y[k] / (2 * zone.stiffness[k])
    return value


@nb.njit(cache=True, nogil=True)
def _derivatives(zone: Zone, weight: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the dual's gradient and negated Hessian; a control left out keeps y = 0."""
    controls = len(y)
    gradient = np.zeros(controls)
    hessian = np.zeros((controls, controls))
    for i in range(len(weight)):
        for k in range(controls):
            part = weight[i] * zone.incidence[i, k]
            if part != 0.0:
                gradient[k] += part
                for m in range(k + 1):
                    hessian[k, m] += part * zone.incidence[i, m]
    for k in range(controls):
        for m in range(k):
            if zone.stiffness[k] == 0 or zone.stiffness[m] == 0:
                hessian[k, m] = 0.0
            hessian[m, k] = hessian[k, m]
    for k in range(controls):
        if zone.stiffness[k] > 0:
            gradient[k] -= zone.target[k] + y[k] / zone.stiffness[k]
            hessian[k, k] += 1 / zone.stiffness[k]
        else:
            gradient[k] = 0.0
            hessian[k, k] = 1.0
    return gradient, hessian


@nb.njit(cache=True, nogil=True)
def _solve(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Solve a positive definite system by Cholesky; the same bytes whatever the BLAS."""
    size = len(right)
    lower = np.zeros((size, size))
    x = right.copy()
    for i in range(size):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            lower[i, j] = math.sqrt(max(total, 1e-300)) if i == j else total / lower[j, j]
    for i in range(size):
        for k in range(i):
            x[i] -= lower[i, k] * x[k]
        x[i] /= lower[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            x[i] -= lower[k, i] * x[k]
        x[i] /= lower[i, i]
    return x


@nb.njit(cache=True, nogil=True)
def integerise(zone: Zone, weight: FloatArray, households: int, uniform: float) -> Int64Array:
    """Return whole counts of each type, (T,), that sum to ``households``.

    Parameters
    ----------
    zone
        Incidence, targets and prices.
    weight
        Of each type, (T,), any scale.
    households
        Of the zone.
    uniform
        Random start of the systematic rounding, in [0, 1).
    """
    scale = households / _sum(weight)
    scaled = np.empty(len(weight))
    for i in range(len(weight)):
        scaled[i] = weight[i] * scale
    count = _systematic(scaled, households, uniform)
    error = np.zeros(len(zone.target))
    for k in range(len(error)):
        error[k] -= zone.target[k]
        for i in range(len(count)):
            error[k] += count[i] * zone.incidence[i, k]
    rounding = Rounding(scaled, count, error)
    for _ in range(_EXCHANGES):
        if not _exchange(zone, rounding):
            break
    return count


@nb.njit(cache=True, nogil=True)
def _systematic(weight: FloatArray, households: int, uniform: float) -> Int64Array:
    """Round so that the counts up to each type are the cumulated weights, rounded at one phase."""
    count = np.zeros(len(weight), dtype=np.int64)
    cumulated, taken = 0.0, 0
    for i in range(len(weight)):
        cumulated += weight[i]
        upto = min(math.floor(cumulated + uniform), households)
        count[i] = upto - taken
        taken = upto
    while taken < households:  # the weights summed to a hair less
        largest = 0
        for i in range(len(weight)):
            if weight[i] - count[i] > weight[largest] - count[largest]:
                largest = i
        count[largest] += 1
        taken += 1
    return count


@nb.njit(cache=True, nogil=True)
def _best(zone: Zone, rounding: Rounding, sign: float) -> tuple[int, float]:
    """Return the type to add (sign 1) or to take (sign -1), and the change of the priced error."""
    best, least = -1, np.inf
    for i in range(len(rounding.counts)):
        weight, count = rounding.weight[i], rounding.counts[i]
        if weight < _NEGLIGIBLE or (count > math.floor(weight)) == (sign > 0):
            continue
        change = 0.0
        for k in range(len(rounding.error)):
            a = zone.incidence[i, k]
            if a != 0.0:
                change += zone.price[k] * a * (a + 2 * sign * rounding.error[k])
        if change < least:
            best, least = i, change
    return best, least


@nb.njit(cache=True, nogil=True)
def _add(zone: Zone, rounding: Rounding, row: int, sign: int) -> None:
    rounding.counts[row] += sign
    for k in range(len(rounding.error)):
        rounding.error[k] += sign * zone.incidence[row, k]


@nb.njit(cache=True, nogil=True)
def _exchange(zone: Zone, rounding: Rounding) -> bool:
    """Exchange one household for another where that lowers the error; tell whether it did."""
    for sign in (1, -1):
        one, there = _best(zone, rounding, sign)
        if one < 0:
            continue
        _add(zone, rounding, one, sign)
        two, back = _best(zone, rounding, -sign)
        if two >= 0 and there + back < -_LEAST_GAIN:
            _add(zone, rounding, two, -sign)
            return True
        _add(zone, rounding, one, -sign)
    return False
