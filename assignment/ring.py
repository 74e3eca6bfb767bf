"""Choice of one zone among rings of candidates; the method is in ``assignment.kernel``."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.cost import (
    TURN,
    Choice,
    Curves,
    Float32Array,
    FloatArray,
    Int32Array,
    Network,
    Weights,
    angle_gap,
    excess,
)

_LEAST_LOG = -40.0  # log probabilities below this are as good as none, and keep costs finite
_BELOW_ONE = np.nextafter(1.0, 0.0)
_SLACK = 12.0  # units of γ: a zone left out weighs less than e^-12 of the best


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

    least: FloatArray
    """Cost of the prior's zones without the angle, shape (32,)."""

    zone: Int32Array
    cost: FloatArray
    """Candidates, shape (Z + 32,)."""


class Found(NamedTuple):
    """Candidates met so far."""

    candidates: int
    best: float
    """Least cost."""

    fallback: int
    """Zone of least violation."""

    violation: float
    """Its seconds."""


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
def add_ring(
    network: Network,
    curves: Curves,
    weights: Weights,
    choice: Choice,
    scratch: Scratch,
    found: Found,
) -> Found:
    """Add the zones nearest to d̂ that take the type and are none of the prior's; times unseen.

    The first loop has no branch and reads rows in order: it runs on vectors.
    """
    p, kind, wanted, count = choice.previous, choice.type, choice.distance_km, found.candidates
    ring_m, bearing, order = network.ring_m[p], network.ring_bearing[p], network.order[p]
    allowed, of_prior, subregion = network.allowed, scratch.of_prior, network.subregion
    zone_of, cost_of, pull, home = scratch.zone, scratch.cost, curves.pull, subregion[p]
    many = min(weights.candidates if weights.alpha > 0.0 else len(order), len(order))
    first = nearest(ring_m, ring_start(network, p, wanted), wanted, many)
    alpha, beta = weights.alpha, weights.beta if choice.turns else 0.0
    ahead, angle = choice.ahead, choice.angle
    metres, directions = ring_m[first : first + many], bearing[first : first + many]
    costs = cost_of[count : count + many]
    for i in range(many):
        turn = abs(directions[i] - ahead)
        turn = abs(min(turn, TURN - turn) - angle)
        costs[i] = alpha * abs(metres[i] * 1e-3 - wanted) + beta * turn
    best, at = found.best, count
    for i in range(many):
        zone = order[first + i]
        cost = cost_of[count + i] - pull[kind, home, subregion[zone]]
        cost_of[at], zone_of[at] = cost, zone
        taken = allowed[kind, zone] and not of_prior[zone]
        at += taken
        best = min(best, cost) if taken else best
    return Found(at, float(best), found.fallback, found.violation)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def prior_costs(
    network: Network,
    curves: Curves,
    prior: Prior,
    weights: Weights,
    choice: Choice,
    least: FloatArray,
) -> None:
    """Write the costs of the prior's zones, but for the angle, to ``least``; ∞ where not allowed.

    No branch waits for a distance, so that they are read all at once.
    """
    distance_m, allowed, subregion = network.distance_m, network.allowed, network.subregion
    zones, log_probability, pull = prior.zones, prior.log_probability, curves.pull
    k, p, kind, home = choice.row, choice.previous, choice.type, subregion[choice.previous]
    floor = max(prior.log_floor[k], _LEAST_LOG)
    for rank in range(zones.shape[1]):
        zone = max(zones[k, rank], 0)
        gain = max(log_probability[k, rank], _LEAST_LOG) - floor
        cost = weights.alpha * abs(distance_m[p, zone] * 1e-3 - choice.distance_km)
        cost -= weights.gamma * gain + pull[kind, home, subregion[zone]]
        least[rank] = cost if zones[k, rank] >= 0 and allowed[kind, zone] else np.inf


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def add_prior(
    network: Network, prior: Prior, weights: Weights, choice: Choice, scratch: Scratch, timed: bool
) -> Found:
    """Make candidates of the prior's zones, feasible ones if ``timed``, and mark them all.

    Those that are too dear without their angle (``prior_costs``) are no candidates.
    """
    hurried_in, hurried_out = timed and choice.hurried_in, timed and choice.hurried_out
    free_s, peak_s, to_s, xy_m = network.free_s, network.peak_s, network.to_s, network.xy_m
    zones, of_prior, least_of = prior.zones, scratch.of_prior, scratch.least
    zone_of, cost_of = scratch.zone, scratch.cost
    k, p, n, slack = choice.row, choice.previous, choice.following, _SLACK * weights.gamma
    count, best, fallback, least = 0, np.inf, p, np.inf
    for rank in range(zones.shape[1]):
        zone, cost = zones[k, rank], least_of[rank]
        if zone < 0 or of_prior[zone]:
            continue
        of_prior[zone] = True
        if cost == np.inf or cost > best + slack:
            continue
        over = 0.0
        if hurried_in:
            over = excess(free_s[p, zone], peak_s[p, zone], choice.congestion_in, choice.window_in)
        if hurried_out:
            free, peak = to_s[n, zone, 0], to_s[n, zone, 1]
            over += excess(free, peak, choice.congestion_out, choice.window_out)
        if over < least:
            least, fallback = over, zone
        if over <= 0.0:
            if choice.turns and zone != p:
                bearing = np.arctan2(xy_m[zone, 1] - xy_m[p, 1], xy_m[zone, 0] - xy_m[p, 0])
                cost += weights.beta * angle_gap(choice.ahead, bearing, choice.angle)
            zone_of[count], cost_of[count] = zone, cost
            best = min(best, cost)
            count += 1
    return Found(count, float(best), fallback, float(least))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def gather(  # noqa: C901, PLR0912, PLR0915 - calls in this loop are dearer than its length
    network: Network,
    curves: Curves,
    weights: Weights,
    choice: Choice,
    scratch: Scratch,
    found: Found,
) -> Found:
    """Add the feasible zones on rings round d̂ that are none of the prior's.

    ``found`` are the candidates among the prior's zones. All zones are met unless enough are found.
    """
    order, ring_m, ring_bearing = network.order, network.ring_m, network.ring_bearing
    to_s, free_s, peak_s, allowed = network.to_s, network.free_s, network.peak_s, network.allowed
    subregion, pull, of_prior = network.subregion, curves.pull, scratch.of_prior
    zone_of, cost_of, alpha, beta = scratch.zone, scratch.cost, weights.alpha, weights.beta
    count, best, fallback, least = found.candidates, found.best, found.fallback, found.violation
    p, n, kind, wanted = choice.previous, choice.following, choice.type, choice.distance_km
    home, zones, slack = subregion[p], order.shape[1], _SLACK * weights.gamma
    most = 0.0
    for region in range(pull.shape[2]):
        most = max(most, pull[kind, home, region])
    limit, compared = (weights.candidates if alpha > 0.0 else zones), 0
    right = ring_start(network, p, wanted)
    left = right - 1
    inner = wanted - ring_m[p, left] * 1e-3 if left >= 0 else np.inf
    outer = ring_m[p, right] * 1e-3 - wanted if right < zones else np.inf
    while compared < limit:
        gap = min(inner, outer)
        if alpha * gap - most > best + slack or gap == np.inf:
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
        if not allowed[kind, zone] or of_prior[zone]:
            continue
        cost = alpha * gap - pull[kind, home, subregion[zone]]
        if choice.turns and zone != p:
            cost += beta * angle_gap(choice.ahead, ring_bearing[p, at], choice.angle)
        compared += 1
        if cost > best + slack:  # it has no chance, feasible or not
            continue
        over = 0.0
        if choice.hurried_in:
            free, peak = free_s[p, zone], peak_s[p, zone]
            over = excess(free, peak, choice.congestion_in, choice.window_in)
        if choice.hurried_out and over <= least:
            free, peak = to_s[n, zone, 0], to_s[n, zone, 1]
            over += excess(free, peak, choice.congestion_out, choice.window_out)
        if over < least:
            least, fallback = over, zone
        if over <= 0.0:
            zone_of[count], cost_of[count] = zone, cost
            best = min(best, cost)
            count += 1
        else:
            compared -= 1
    return Found(count, float(best), fallback, float(least))


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
    ones, with what is left of the draw. P(z) is w(z)/W + (W − W_f)/W · w(z)/W_f = w(z)/W_f.
    """
    draw, zone, fits = choice.draw, choice.previous, False
    # At γ = 0 the walk of ``gather`` ends early, and is as fast with the times.
    for timed in (weights.gamma <= 0.0, True):
        found = Found(0, np.inf, choice.previous, np.inf)
        if weights.gamma > 0.0:
            prior_costs(network, curves, prior, weights, choice, scratch.least)
            found = add_prior(network, prior, weights, choice, scratch, timed)
        if timed:
            found = gather(network, curves, weights, choice, scratch, found)
        else:
            found = add_ring(network, curves, weights, choice, scratch, found)
        if weights.gamma > 0.0:
            for rank in range(prior.zones.shape[1]):
                known = prior.zones[choice.row, rank]
                if known >= 0:
                    scratch.of_prior[known] = False
        zone, fits = found.fallback, False
        if found.candidates > 0:
            at, draw = pick(scratch.cost, found.candidates, found.best, weights.gamma, draw)
            zone = scratch.zone[at]
            fits = timed or in_time(network, choice, zone)
        if fits:
            break
    return zone, fits


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


@njit(cache=True, nogil=True, error_model="numpy")
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
    rate, total = 1.0 / temperature, 0.0
    for i in range(count):
        cost[i] = falling((cost[i] - least) * rate)
    for i in range(count):
        total += cost[i]
        cost[i] = total
    target, at, before = draw * total, 0, 0.0
    while at < count - 1 and cost[at] <= target:
        before = cost[at]
        at += 1
    width = cost[at] - before
    return at, min((target - before) / width, _BELOW_ONE) if width > 0.0 else 0.0


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
    return power if x < _SLACK else 0.0
