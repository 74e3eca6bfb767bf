"""Choice of one zone among rings of candidates; the method is in ``assignment.kernel``."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.cost import (
    Choice,
    Float32Array,
    FloatArray,
    Int32Array,
    Network,
    View,
    Weights,
    angle_gap,
    distance_gap,
    view_of,
    violation,
)

_LEAST_LOG = -40.0  # log probabilities below this are as good as none, and keep costs finite
_SLACK = 12.0  # units of γ: a zone left out weighs less than e^-12 of the best


class PriorRow(NamedTuple):
    """One activity's row of schema.PRIORS."""

    zones: Int32Array
    log_probability: Float32Array
    log_floor: float


class Scratch(NamedTuple):
    """Working arrays of one thread, over zones."""

    bonus: Float32Array
    """γ·(log P − log floor) of the prior's zones, 0 elsewhere; left at 0."""

    seen: npt.NDArray[np.int64]
    """Last activity that met the zone."""

    zone: Int32Array
    cost: FloatArray


@njit(cache=True, nogil=True)
def ring_start(view: View, distance_km: float) -> int:
    """Return the first place in the order round p that is at ``distance_km`` or beyond."""
    low, high = 0, len(view.near)
    while low < high:
        middle = (low + high) // 2
        if view.distance_m[view.near[middle]] * 1e-3 < distance_km:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def scatter(prior: PriorRow, gamma: float, bonus: Float32Array) -> None:
    """Write γ·(log P − log floor) of the prior's zones to ``bonus``."""
    if gamma > 0.0:
        floor = max(prior.log_floor, _LEAST_LOG)
        for rank in range(len(prior.zones)):
            if prior.zones[rank] >= 0:
                gain = max(prior.log_probability[rank], _LEAST_LOG) - floor
                bonus[prior.zones[rank]] = gamma * gain


@njit(cache=True, nogil=True)
def gather(
    view: View, choice: Choice, weights: Weights, scratch: Scratch, stamp: int
) -> tuple[int, float, int]:
    """Fill ``scratch`` with feasible zones on rings round d̂.

    The walk may pass over zones of the prior: they are added afterwards.

    Returns
    -------
    count, best, fallback
        Feasible zones found, their least cost, and the zone of least violation among those met.
    """
    zones = len(view.near)
    limit = weights.candidates if weights.alpha > 0.0 else zones
    best, count, fallback, least = np.inf, 0, choice.previous, np.inf
    right = ring_start(view, choice.distance_km)
    left = right - 1
    inner = choice.distance_km - view.distance_m[view.near[left]] * 1e-3 if left >= 0 else np.inf
    outer = distance_gap(view, choice, view.near[right]) if right < zones else np.inf
    while count < limit and min(inner, outer) < np.inf:
        gap = min(inner, outer)
        if weights.alpha * gap > best + _SLACK * weights.gamma:
            break
        if inner <= outer:
            zone = view.near[left]
            left -= 1
            inner = distance_gap(view, choice, view.near[left]) if left >= 0 else np.inf
        else:
            zone = view.near[right]
            right += 1
            outer = distance_gap(view, choice, view.near[right]) if right < zones else np.inf
        scratch.seen[zone] = stamp
        if view.allowed[zone]:
            over = violation(view, choice, zone)
            if over < least:
                least, fallback = over, zone
            if over <= 0.0:
                cost = weights.alpha * gap - scratch.bonus[zone]
                if weights.beta > 0.0 and cost <= best + _SLACK * weights.gamma:
                    cost += weights.beta * angle_gap(view, choice, zone)
                scratch.zone[count], scratch.cost[count] = zone, cost
                best = min(best, float(cost))
                count += 1
    return count, best, fallback


@njit(cache=True, nogil=True)
def add_prior(
    view: View,
    choice: Choice,
    weights: Weights,
    scratch: Scratch,
    found: tuple[Int32Array, int, float],
    stamp: int,
) -> int:
    """Add the prior's zones that the rings did not meet and that have a chance.

    ``found`` are the prior's zones, how many candidates there are and their least cost. Returns how
    many there are then.
    """
    zones, count, best = found
    for zone in zones:
        if zone < 0 or scratch.seen[zone] == stamp or not view.allowed[zone]:
            continue
        if violation(view, choice, zone) <= 0.0:
            cost = weights.alpha * distance_gap(view, choice, zone) - scratch.bonus[zone]
            if cost <= best + _SLACK * weights.gamma:
                if weights.beta > 0.0:
                    cost += weights.beta * angle_gap(view, choice, zone)
                scratch.zone[count], scratch.cost[count] = zone, cost
                best = min(best, cost)
                count += 1
    return count


@njit(cache=True, nogil=True)
def choose(
    network: Network,
    choice: Choice,
    prior: PriorRow,
    weights: Weights,
    scratch: Scratch,
    call: tuple[int, float],
) -> tuple[int, bool]:
    """Return the zone of one activity, and whether it is feasible.

    ``call`` is a stamp unlike that of any other call on ``scratch``, and a draw in [0, 1).
    """
    stamp, draw = call
    view = view_of(network, choice)
    scatter(prior, weights.gamma, scratch.bonus)
    count, best, fallback = gather(view, choice, weights, scratch, stamp)
    if weights.gamma > 0.0:
        count = add_prior(view, choice, weights, scratch, (prior.zones, count, best), stamp)
        for zone in prior.zones:
            if zone >= 0:
                scratch.bonus[zone] = 0.0
    if count == 0:
        return fallback, False
    return scratch.zone[pick(scratch.cost[:count], weights.gamma, draw)], True


@njit(cache=True, nogil=True)
def pick(cost: FloatArray, temperature: float, draw: float) -> int:
    """Return an index with probability ∝ exp(−cost/temperature); the least cost where it is 0.

    Ties at temperature 0 go to the first. ``cost`` is overwritten.
    """
    best = 0
    for i in range(1, len(cost)):
        if cost[i] < cost[best]:
            best = i
    if temperature <= 0.0:
        return best
    least, total = cost[best], 0.0
    for i in range(len(cost)):
        gap = (cost[i] - least) / temperature
        total += np.exp(-gap) if gap < _SLACK else 0.0
        cost[i] = total
    target, i = draw * total, 0
    while i < len(cost) - 1 and cost[i] <= target:
        i += 1
    return i
