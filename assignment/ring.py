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
    Weights,
    deviation,
    violation,
)

_LEAST_LOG = -40.0  # log probabilities below this are as good as none, and keep costs finite
_SLACK = 15.0  # units of γ: a zone left out weighs less than e^-15 of the best


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
def ring_start(network: Network, previous: int, distance_km: float) -> int:
    """Return the first place in the order of ``previous`` that is at ``distance_km`` or beyond."""
    low, high = 0, len(network.order)
    while low < high:
        middle = (low + high) // 2
        if network.distance_m[previous, network.order[previous, middle]] * 1e-3 < distance_km:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _next_on_ring(network: Network, choice: Choice, left: int, right: int) -> bool:
    """Return whether the next nearest to d̂ is the one on the left (the nearer to p)."""
    if left < 0:
        return False
    if right >= len(network.order):
        return True
    row, near = network.distance_m[choice.previous], network.order[choice.previous]
    below = choice.distance_km - row[near[left]] * 1e-3
    return below <= row[near[right]] * 1e-3 - choice.distance_km


@njit(cache=True, nogil=True)
def scatter(prior: PriorRow, gamma: float, bonus: Float32Array) -> float:
    """Write γ·(log P − log floor) of the prior's zones to ``bonus``; return the highest, >= 0."""
    highest = 0.0
    for rank in range(len(prior.zones)):
        if prior.zones[rank] >= 0:
            gain = max(prior.log_probability[rank], _LEAST_LOG) - max(prior.log_floor, _LEAST_LOG)
            bonus[prior.zones[rank]] = gamma * gain
            highest = max(highest, gamma * gain)
    return highest


@njit(cache=True, nogil=True)
def weigh(
    network: Network, choice: Choice, weights: Weights, scratch: Scratch, zone: int, count: int
) -> tuple[float, float]:
    """Write a zone and its cost at ``count`` if it is feasible; return its violation and cost."""
    over = violation(network, choice, zone)
    cost = np.inf
    if over <= 0.0:
        cost = deviation(network, choice, weights, zone) - scratch.bonus[zone]
        scratch.zone[count], scratch.cost[count] = zone, cost
    return over, cost


@njit(cache=True, nogil=True)
def gather(
    network: Network, choice: Choice, weights: Weights, scratch: Scratch, highest: float, stamp: int
) -> tuple[int, int]:
    """Fill ``scratch`` with feasible zones on rings round d̂.

    ``highest`` is the most that the prior can take off a zone's cost.

    Returns
    -------
    count, fallback
        Feasible zones found, and the zone of least violation among those met.
    """
    best, count, fallback, least = np.inf, 0, choice.previous, np.inf
    limit = weights.candidates if weights.alpha > 0.0 else len(network.order)
    right = ring_start(network, choice.previous, choice.distance_km)
    left = right - 1
    while count < limit and (left >= 0 or right < len(network.order)):
        on_left = _next_on_ring(network, choice, left, right)
        zone = network.order[choice.previous, left if on_left else right]
        left, right = (left - 1, right) if on_left else (left, right + 1)
        gap = abs(network.distance_m[choice.previous, zone] * 1e-3 - choice.distance_km)
        if weights.alpha * gap - highest > best + _SLACK * weights.gamma:
            break
        scratch.seen[zone] = stamp
        if network.allowed[choice.type, zone]:
            over, cost = weigh(network, choice, weights, scratch, zone, count)
            if over < least:
                least, fallback = over, zone
            best = min(best, cost)
            count += over <= 0.0
    return count, fallback


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
    highest = scatter(prior, weights.gamma, scratch.bonus)
    count, fallback = gather(network, choice, weights, scratch, highest, stamp)
    for zone in prior.zones:
        if zone >= 0 and weights.gamma > 0.0 and scratch.seen[zone] != stamp:
            if network.allowed[choice.type, zone]:
                over, _ = weigh(network, choice, weights, scratch, zone, count)
                count += over <= 0.0
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
        total += np.exp((least - cost[i]) / temperature)
        cost[i] = total
    target, i = draw * total, 0
    while i < len(cost) - 1 and cost[i] <= target:
        i += 1
    return i
