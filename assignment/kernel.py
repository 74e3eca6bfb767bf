"""Zones of non-mandatory activities: DataFusion's Algorithm 3 with UniMob's regions as a prior.

    cost(z) = α·|d(p, z) − d̂| + β·|θ(p, z, n) − θ̂| − γ·log P(z)

p = zone of the previous activity, n = zone of the next anchor (mandatory or home activity), d =
network distance in km, θ = angle at p between the directions to z and to n, in radians; d̂ and θ̂
are drawn from the reference distributions. θ has no meaning, and no cost, where n or z is p. A zone
must be allowed for the type (land use) and feasible: the trips p → z and z → n fit their windows,
with the least stay kept at every activity between.

The zone is drawn with probability ∝ exp(−cost/γ) = P(z)·exp(−(α·|…| + β·|…|)/γ), so that

* γ = 0 is the least cost: Algorithm 3 with its time constraint;
* α = β = 0 draws from P over the feasible zones: UniMob alone. Its paper decodes a region per
  arrival; a draw rather than the most probable one keeps the spread that P has.

Zones are met in rings round d̂, by binary search in the zones sorted by distance from p. The prior's
own top zones are always candidates; all others have one same P, its floor, and so the walk stops
when α·|d − d̂| alone exceeds the least cost found by more than 12·γ (what is left out weighs e⁻¹²
each), or after `candidates` feasible zones. With α = 0 all zones are candidates. Where no zone is
feasible, the one of least violation is taken.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.cost import (
    Choice,
    Curves,
    Float32Array,
    FloatArray,
    Int32Array,
    Network,
    Weights,
    travel_s,
)
from assignment.draws import USE_ANGLE, USE_DISTANCE, USE_ZONE, KeyArray, counter, quantile, unit
from assignment.ring import PriorRow, Scratch, choose
from assignment.times import Plan, congestion


class Prior(NamedTuple):
    """Decoder's zones of each activity, in the form of schema.PRIORS."""

    zones: Int32Array
    log_probability: Float32Array
    log_floor: Float32Array


class Setting(NamedTuple):
    """What is the same for all persons of a run."""

    network: Network
    curves: Curves
    weights: Weights


@njit(cache=True, nogil=True)
def next_anchors(plan: Plan, zone: Int32Array) -> npt.NDArray[np.int64]:
    """Return for each activity the next one whose zone is known, within its day; else itself."""
    out = np.empty(len(zone), np.int64)
    for k in range(len(zone) - 1, -1, -1):
        last = k == len(zone) - 1 or plan.sequence[k + 1] == 0
        if last:
            out[k] = k
        elif zone[k + 1] >= 0:
            out[k] = k + 1
        else:
            out[k] = out[k + 1]
    return out


@njit(cache=True, nogil=True)
def place_activities(
    setting: Setting,
    plan: Plan,
    prior: Prior,
    keys: KeyArray,
    pace: FloatArray,
    zone: Int32Array,
) -> int:
    """Write a zone to every activity that has none.

    Parameters
    ----------
    setting, plan, prior
        What the cost is made of.
    keys
        Key of each person's draws, shape (N,).
    pace
        Each person's travel time over the car's, >= 1, shape (N,).
    zone
        Zone row of each activity, shape (A,), -1 where it is to be found; overwritten. The first
        and the last activity of a day must have one.

    Returns
    -------
    infeasible
        Activities without a feasible zone, placed where they violate the windows least.
    """
    zones = len(setting.network.order)
    scratch = Scratch(
        np.zeros(zones, np.float32),
        np.full(zones, -1, np.int64),
        np.empty(zones, np.int32),
        np.empty(zones, np.float64),
    )
    anchor = next_anchors(plan, zone)
    least = setting.weights.min_stay_s
    infeasible = 0
    for person in range(len(plan.person_start) - 1):
        start = -float(least)
        for k in range(plan.person_start[person], plan.person_start[person + 1]):
            travel = 0.0
            if plan.sequence[k] > 0:
                if zone[k] < 0:
                    clock = (start, pace[person])
                    choice = _choice(setting, plan, zone, (k, anchor[k]), clock, keys[person])
                    row = PriorRow(prior.zones[k], prior.log_probability[k], prior.log_floor[k])
                    draw = unit(keys[person], counter(plan.day[k], plan.sequence[k], USE_ZONE))
                    zone[k], fits = choose(
                        setting.network, choice, row, setting.weights, scratch, (k, draw)
                    )
                    infeasible += not fits
                busy = congestion(plan.planned[k])
                travel = pace[person] * travel_s(setting.network, zone[k - 1], zone[k], busy)
            start = max(float(plan.planned[k]), start + least + travel)
    return infeasible


@njit(cache=True, nogil=True)
def _choice(
    setting: Setting,
    plan: Plan,
    zone: Int32Array,
    rows: tuple[int, int],
    clock: tuple[float, float],
    key: np.uint64,
) -> Choice:
    """Draw d̂ and θ̂ of an activity and set its windows.

    ``rows`` are the activity's and the next anchor's, ``clock`` the previous activity's start and
    the person's pace.
    """
    k, following = rows
    start, pace = clock
    count = counter(plan.day[k], plan.sequence[k], 0)
    curve = setting.curves.distance_km[plan.type[k]]
    least = setting.weights.min_stay_s
    ahead = plan.planned[following] - plan.planned[k] - (following - k) * least
    return Choice(
        zone[k - 1],
        zone[following],
        plan.type[k],
        quantile(curve, unit(key, count + USE_DISTANCE)),
        quantile(setting.curves.angle, unit(key, count + USE_ANGLE)),
        (plan.planned[k] - start - least) / pace,
        ahead / pace,
        congestion(plan.planned[k]),
        congestion(plan.planned[following]),
    )
