"""Choice among all zones of a city, for the few activities without a near candidate in time."""

import numpy as np
from numba import njit

from assignment.cost import (
    Choice,
    Curves,
    FloatArray,
    Found,
    Network,
    Prior,
    Scratch,
    Weights,
    angle_gap,
    bearing_of,
    excess,
)

SLACK = 12.0
"""Units of γ: a zone left out weighs less than e^-12 of the best."""

LEAST_LOG = -40.0
"""Log probabilities below this are as good as none, and keep costs finite."""


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)  # pyright: ignore
def everywhere(
    network: Network,
    curves: Curves,
    prior: Prior,
    weights: Weights,
    choice: Choice,
    scratch: Scratch,
) -> Found:
    """Make candidates of all feasible zones that may weigh something.

    ``scratch.over`` is left with each zone's seconds out of time, ∞ where the type is not allowed.
    """
    subregion, xy_m, pull = network.subregion, network.xy_m, curves.pull
    zone_of, cost_of, base, over_of = scratch.zone, scratch.cost, scratch.base, scratch.over
    p, kind, wanted = choice.previous, choice.type, choice.distance_km
    metres, x, y = network.distance_m[p], xy_m[p, 0], xy_m[p, 1]
    count, home, best, slack = 0, subregion[p], np.inf, SLACK * weights.gamma
    out_of_time(network, choice, over_of)
    gains(prior, weights, choice, base[: len(metres)])
    for zone in range(len(metres)):
        if over_of[zone] > 0.0:
            continue
        cost = weights.alpha * abs(metres[zone] * 1e-3 - wanted) + base[zone]
        cost -= pull[kind, home, subregion[zone]]
        if cost > best + slack:
            continue
        if choice.turns and zone != p:
            bearing = bearing_of(xy_m[zone, 0] - x, xy_m[zone, 1] - y)
            cost += weights.beta * angle_gap(choice.ahead, bearing, choice.angle)
        zone_of[count], cost_of[count] = zone, cost
        best = min(best, cost)
        count += 1
    return Found(count, float(best))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def out_of_time(network: Network, choice: Choice, over_of: FloatArray) -> None:
    """Write the seconds by which each zone's trips exceed their windows; runs on vectors."""
    free_in, peak_in = network.free_s[choice.previous], network.peak_s[choice.previous]
    to_s, allowed = network.to_s[choice.following], network.allowed[choice.type]
    busy_in, busy_out = choice.congestion_in, choice.congestion_out
    window_in, window_out = choice.window_in, choice.window_out
    for zone in range(len(allowed)):
        over = excess(free_in[zone], peak_in[zone], busy_in, window_in)
        over += excess(to_s[zone, 0], to_s[zone, 1], busy_out, window_out)
        over_of[zone] = over if allowed[zone] else np.inf


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def gains(prior: Prior, weights: Weights, choice: Choice, base: FloatArray) -> None:
    """Write what each zone costs for its prior probability."""
    base[:] = 0.0
    if weights.gamma > 0.0:
        floor = max(prior.log_floor[choice.row], LEAST_LOG)
        for rank in range(prior.zones.shape[1] - 1, -1, -1):  # of a zone met twice the first counts
            zone = prior.zones[choice.row, rank]
            if zone >= 0:
                gain = max(prior.log_probability[choice.row, rank], LEAST_LOG) - floor
                base[zone] = -weights.gamma * gain


@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)  # pyright: ignore
def least_violation(over_of: FloatArray, zones: int, otherwise: int) -> int:
    """Return the zone that is the fewest seconds out of time, the first of several."""
    least, found = np.inf, otherwise
    for zone in range(zones):
        if over_of[zone] < least:
            least, found = over_of[zone], zone
    return found
