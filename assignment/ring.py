"""Choice of one zone among rings of candidates; the method is in ``assignment.kernel``."""

import numpy as np
from numba import njit

from assignment.cost import (
    Choice,
    Curves,
    Float32Array,
    FloatArray,
    Found,
    Network,
    Prior,
    Scratch,
    Weights,
    angle_gap,
    bearing_of,
    in_time,
)
from assignment.scan import LEAST_LOG, SLACK, everywhere, least_violation

_BELOW_ONE = np.nextafter(1.0, 0.0)
_LINE = 16  # of four-byte numbers in what a processor reads at once
_BLOCK = 8


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def ring_start(network: Network, p: int, wanted_km: float) -> int:
    """Return the first place in the order round p that is at ``wanted_km`` or beyond."""
    ring_m, starts, farthest_m = network.ring_m, network.starts, network.farthest_m
    last = starts.shape[1] - 2
    bucket = min(last, int(wanted_km * 1e3 * (last + 1) / farthest_m[p]))
    # A distance on the edge of a bucket may round to its other side, hence the one more at an end.
    low, high = max(0, starts[p, bucket] - 1), min(ring_m.shape[1], starts[p, bucket + 1] + 1)
    while low < high:
        middle = (low + high) // 2
        if ring_m[p, middle] * 1e-3 < wanted_km:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def touch(network: Network, p: int, wanted_km: float, count: int) -> float:
    """Read the surroundings of p where its candidates will be, and return a number made of them.

    The matrices are far larger than the caches. Here no read waits for another; the searches that
    follow, of which each would wait for the one before, then find all of it near.
    """
    ring_m, starts, farthest_m = network.ring_m[p], network.starts, network.farthest_m
    bearing, order, last = network.ring_bearing[p], network.order[p], starts.shape[1] - 2
    bucket = min(last, int(wanted_km * 1e3 * (last + 1) / farthest_m[p]))
    middle = int(starts[p, bucket])
    total = 0.0
    for at in range(max(0, middle - count), min(len(ring_m), middle + count + _LINE), _LINE):
        total += ring_m[at] + bearing[at] + order[at]
    return total


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def nearest(ring_m: Float32Array, start: int, wanted_km: float, count: int) -> int:
    """Return the first of the ``count`` successive places of a ring that are nearest to a distance.

    ``ring_m`` are distances in order, of which place ``start`` is the first not below it.
    """
    low, high = max(0, start - count), min(start, len(ring_m) - count)
    while low < high:
        middle = (low + high) // 2
        if wanted_km - ring_m[middle] * 1e-3 > ring_m[middle + count] * 1e-3 - wanted_km:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def add_prior(
    network: Network,
    curves: Curves,
    prior: Prior,
    weights: Weights,
    choice: Choice,
    scratch: Scratch,
) -> float:
    """Write the prior's zones and their costs, and mark the zones; return the least cost.

    The first loop gathers, the second computes: it runs on vectors, which reads at places that are
    not known before and writes in one loop cannot.
    """
    distance_m, allowed, subregion = network.distance_m, network.allowed, network.subregion
    zones, pull, xy_m, width = prior.zones, curves.pull, network.xy_m, prior.zones.shape[1]
    of_prior, zone_of, base = scratch.of_prior, scratch.zone, scratch.base
    metres, dx, dy = scratch.metres[:width], scratch.dx[:width], scratch.dy[:width]
    k, p, kind, home = choice.row, choice.previous, choice.type, subregion[choice.previous]
    x, y, floor = xy_m[p, 0], xy_m[p, 1], max(prior.log_floor[k], LEAST_LOG)
    for rank in range(width):
        known, zone = zones[k, rank] >= 0, max(zones[k, rank], 0)
        new = known and allowed[kind, zone] and not of_prior[zone]
        gain = max(prior.log_probability[k, rank], LEAST_LOG) - floor
        cost = -weights.gamma * gain - pull[kind, home, subregion[zone]]
        base[rank], zone_of[rank] = cost if new else np.inf, zone
        of_prior[zone] |= known
        metres[rank], dx[rank], dy[rank] = distance_m[p, zone], xy_m[zone, 0] - x, xy_m[zone, 1] - y
    alpha, beta, wanted = weights.alpha, weights.beta if choice.turns else 0.0, choice.distance_km
    ahead, angle, costs, bases = choice.ahead, choice.angle, scratch.cost[:width], base[:width]
    for rank in range(width):
        turn = angle_gap(ahead, bearing_of(dx[rank], dy[rank]), angle)
        turn = turn if abs(dx[rank]) + abs(dy[rank]) > 0.0 else 0.0
        costs[rank] = alpha * abs(metres[rank] * 1e-3 - wanted) + beta * turn + bases[rank]
    return least_of(costs)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def add_ring(
    network: Network, curves: Curves, weights: Weights, choice: Choice, scratch: Scratch, first: int
) -> tuple[int, float]:
    """Write the zones nearest to d̂ and their costs from place ``first`` of the candidates on.

    Zones that do not take the type, and those that the prior has, cost ∞. Returns the number of
    candidates with those before, and the least cost. Loops as in ``add_prior``.
    """
    p, kind, wanted = choice.previous, choice.type, choice.distance_km
    ring_m, bearing, order = network.ring_m[p], network.ring_bearing[p], network.order[p]
    allowed, of_prior, subregion = network.allowed, scratch.of_prior, network.subregion
    pull, home, zones = curves.pull, subregion[p], len(network.order)
    many = min(weights.candidates if weights.alpha > 0.0 else zones, zones)
    place = nearest(ring_m, ring_start(network, p, wanted), wanted, many)
    near, zone_of = order[place : place + many], scratch.zone[first : first + many]
    bases, costs = scratch.base[:many], scratch.cost[first : first + many]
    for i in range(many):
        zone = near[i]
        free = allowed[kind, zone] and not of_prior[zone]
        bases[i] = -pull[kind, home, subregion[zone]] if free else np.inf
        zone_of[i] = zone
    alpha, beta = weights.alpha, weights.beta if choice.turns else 0.0
    ahead, angle = choice.ahead, choice.angle
    metres, directions = ring_m[place : place + many], bearing[place : place + many]
    for i in range(many):
        turn = angle_gap(ahead, directions[i], angle)
        costs[i] = alpha * abs(metres[i] * 1e-3 - wanted) + beta * turn + bases[i]
    return first + many, least_of(costs)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def least_of(costs: FloatArray) -> float:
    """Return the least of some costs; four at a time, as each comparison waits for the last."""
    a = b = c = d = np.inf
    whole = len(costs) // 4 * 4
    for i in range(0, whole, 4):
        a, b = min(a, costs[i]), min(b, costs[i + 1])
        c, d = min(c, costs[i + 2]), min(d, costs[i + 3])
    for i in range(whole, len(costs)):
        a = min(a, costs[i])
    return min(min(a, b), min(c, d))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def candidates(
    network: Network,
    curves: Curves,
    prior: Prior,
    weights: Weights,
    choice: Choice,
    scratch: Scratch,
) -> Found:
    """Gather the prior's zones and those nearest to d̂; times unseen."""
    width = prior.zones.shape[1]
    best = add_prior(network, curves, prior, weights, choice, scratch)
    count, least = add_ring(network, curves, weights, choice, scratch, width)
    for rank in range(width):
        scratch.of_prior[scratch.zone[rank]] = False
    return Found(count, min(best, least))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def walk(
    network: Network, curves: Curves, weights: Weights, choice: Choice, scratch: Scratch
) -> Found:
    """Gather the one zone of least cost, in rings round d̂ until no other can be less; times unseen.

    Of the ``candidates`` nearest that take the type; of all with α = 0.
    """
    order, ring_m, ring_bearing = network.order, network.ring_m, network.ring_bearing
    allowed, subregion, pull = network.allowed, network.subregion, curves.pull
    alpha, beta, best, zone_found = weights.alpha, weights.beta, np.inf, -1
    p, kind, wanted = choice.previous, choice.type, choice.distance_km
    home, zones, most, compared = subregion[p], order.shape[1], 0.0, 0
    for region in range(pull.shape[2]):
        most = max(most, pull[kind, home, region])
    limit = weights.candidates if alpha > 0.0 else zones
    right = ring_start(network, p, wanted)
    left = right - 1
    inner = wanted - ring_m[p, left] * 1e-3 if left >= 0 else np.inf
    outer = ring_m[p, right] * 1e-3 - wanted if right < zones else np.inf
    while compared < limit:
        gap = min(inner, outer)
        if gap == np.inf or alpha * gap - most > best:
            break
        if inner <= outer:
            at = left
            left -= 1
            inner = wanted - ring_m[p, left] * 1e-3 if left >= 0 else np.inf
        else:
            at = right
            right += 1
            outer = ring_m[p, right] * 1e-3 - wanted if right < zones else np.inf
        zone = order[p, at]
        if allowed[kind, zone]:
            compared += 1
            cost = alpha * gap - pull[kind, home, subregion[zone]]
            if choice.turns and zone != p:
                cost += beta * angle_gap(choice.ahead, ring_bearing[p, at], choice.angle)
            if cost < best:
                best, zone_found = cost, zone
    scratch.zone[0], scratch.cost[0] = zone_found, best
    return Found(1, float(best))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def only_feasible(
    network: Network, weights: Weights, choice: Choice, scratch: Scratch, found: Found
) -> Found:
    """Set the costs of candidates to ∞ whose trips do not fit their windows."""
    zone_of, cost_of, best = scratch.zone, scratch.cost, np.inf
    for i in range(found.candidates):
        cost = cost_of[i]
        if cost > best + SLACK * weights.gamma or not in_time(network, choice, zone_of[i]):
            cost_of[i] = np.inf
        else:
            best = min(best, cost)
    return Found(found.candidates, float(best))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def choose(
    network: Network,
    curves: Curves,
    prior: Prior,
    weights: Weights,
    choice: Choice,
    scratch: Scratch,
) -> tuple[int, bool]:
    """Return the zone of one activity, and whether it is feasible.

    Few zones are out of reach, and to look at the times of all candidates is to wait for memory. So
    the zone is drawn without; where it turns out infeasible, it is drawn again among the feasible
    candidates, with what is left of the draw. P(z) is w(z)/W + (W − W_f)/W · w(z)/W_f = w(z)/W_f.
    Where none is feasible, all zones of the city are candidates.
    """
    gamma = weights.gamma
    if gamma > 0.0:
        scratch.over[0] = touch(network, choice.previous, choice.distance_km, weights.candidates)
        found = candidates(network, curves, prior, weights, choice, scratch)
    else:
        found = walk(network, curves, weights, choice, scratch)
    draw = choice.draw
    if found.best < np.inf:
        at, draw = pick(scratch.cost, found.candidates, found.best, gamma, draw)
        if in_time(network, choice, scratch.zone[at]):
            return scratch.zone[at], True
    return choose_in_time(network, curves, prior, weights, choice, scratch, draw)


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)  # pyright: ignore
def choose_in_time(  # noqa: PLR0913, PLR0917 - those of ``choose``, and what is left of its draw
    network: Network,
    curves: Curves,
    prior: Prior,
    weights: Weights,
    choice: Choice,
    scratch: Scratch,
    draw: float,
) -> tuple[int, bool]:
    """Return the zone of an activity of which some candidates are too far, and whether it fits."""
    found = Found(0, np.inf)
    if weights.gamma > 0.0:
        found = candidates(network, curves, prior, weights, choice, scratch)
        found = only_feasible(network, weights, choice, scratch, found)
    if found.best == np.inf:
        found = everywhere(network, curves, prior, weights, choice, scratch)
    if found.best == np.inf:
        return least_violation(scratch.over, len(network.order), choice.previous), False
    at, _ = pick(scratch.cost, found.candidates, found.best, weights.gamma, draw)
    return scratch.zone[at], True


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)  # pyright: ignore
def pick(
    cost: FloatArray, count: int, least: float, temperature: float, draw: float
) -> tuple[int, float]:
    """Return an index below ``count`` with probability ∝ exp(−cost/temperature).

    At temperature 0 it is the first of the least cost. ``cost`` is overwritten. Second is what is
    left of the draw: uniform in [0, 1) whatever the index.
    """
    if temperature <= 0.0:
        at = 0
        while cost[at] > least:
            at += 1
        return at, draw
    rate, total, whole = 1.0 / temperature, 0.0, count // _BLOCK
    weight = cost[:count]
    for i in range(count):
        weight[i] = falling((weight[i] - least) * rate)
    for block in range(whole):
        total += block_sum(weight, block)
    for i in range(whole * _BLOCK, count):
        total += weight[i]
    at, before = reach(weight, draw * total)
    return at, max(0.0, min((draw * total - before) / weight[at], _BELOW_ONE))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def reach(weight: FloatArray, target: float) -> tuple[int, float]:
    """Return the first index up to which the weights sum to more than a target, and the sum before.

    By blocks first, as a sum of one weight after another waits for each addition. Where rounding
    leaves the target beyond the last, it is the last weight above zero.
    """
    whole, before, block, last = len(weight) // _BLOCK, 0.0, 0, 0
    while block < whole:
        after = before + block_sum(weight, block)
        if after > target:
            break
        before = after
        block += 1
    for at in range(block * _BLOCK, len(weight)):
        if before + weight[at] > target:
            return at, before
        before += weight[at]
    for at in range(len(weight)):
        last = at if weight[at] > 0.0 else last
    return last, before - weight[last]


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def block_sum(weight: FloatArray, block: int) -> float:
    """Return the sum of eight weights."""
    i = block * _BLOCK
    left = (weight[i] + weight[i + 1]) + (weight[i + 2] + weight[i + 3])
    return left + ((weight[i + 4] + weight[i + 5]) + (weight[i + 6] + weight[i + 7]))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def falling(x: float) -> float:
    """Return e^−x for x >= 0 to a relative 2e-7, and zero from 12 on.

    (e^(−x/64))^64 by Taylor's series and squaring: unlike a call of exp it runs on vectors.
    """
    y = x * (-1.0 / 64.0)
    series = 1.0 + y * (1.0 / 5.0 + y * (1.0 / 30.0))
    series = 1.0 + y * (1.0 + y * 0.5 * (1.0 + y * (1.0 / 3.0) * (1.0 + y * 0.25 * series)))
    power = series * series
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    return power if x < SLACK else 0.0
