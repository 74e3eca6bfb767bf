"""Zones of non-mandatory activities: DataFusion's Algorithm 3 with UniMob's regions as a prior.

    cost(z) = α·|d(p, z) − d̂| + β·|θ(p, z, n) − θ̂| − γ·log P(z) − pull(type, p, z)

p = zone of the previous activity, n = zone of the next anchor (mandatory or home activity), d =
network distance in km, θ = angle at p between the directions to z and to n, in radians; d̂ and θ̂
are drawn from the reference distributions, d̂ from the one of the person's segment (demographic
group, sub-region of home). θ has no meaning, and no cost, where n or z is p. The pull between
sub-regions is zero unless the run is refined to flows (``assignment.refinement``). A zone must be
allowed for the type (land use) and feasible: the trips p → z and z → n fit their windows, with the
least stay kept at every activity between.

The zone is drawn with probability ∝ exp(−cost/γ) = P(z)·exp(−(α·|…| + β·|…|)/γ), so that

* γ = 0 is the least cost: Algorithm 3 with its time constraint;
* α = β = 0 draws from P over the feasible zones: UniMob alone. Its paper decodes a region per
  arrival; a draw rather than the most probable one keeps the spread that P has.

The candidates are the prior's own zones and, of all others, which have one same P, its floor, those
nearest to d̂, `candidates` of them, by binary search in the zones sorted by distance from p. With
α = 0 all zones are candidates. Where none of them is feasible, all feasible zones of the city are
(less those that weigh less than e⁻¹² of the best); where there is none, it is the zone of least
violation. An activity that goes back to a place (``assignment.returns``) has that place's zone,
where it is feasible. At γ = 0 the walk round d̂ stops as soon as no farther zone can cost less.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.cost import (
    Choice,
    Curves,
    FloatArray,
    Int32Array,
    Network,
    Prior,
    Scratch,
    Weights,
    bearing_of,
    in_time,
    travel_s,
)
from assignment.draws import USE_ANGLE, USE_DISTANCE, USE_ZONE, KeyArray, counter, quantile, unit
from assignment.ring import choose
from assignment.times import Plan, congestion


class Travellers(NamedTuple):
    """What the choice of zones knows of N persons."""

    keys: KeyArray
    """Key of each person's draws, shape (N,)."""

    pace: FloatArray
    """Travel time over the car's, >= 1, shape (N,)."""

    segment: npt.NDArray[np.int64]
    """12 · sub-region of home + demographic group, shape (N,); see ``Curves``."""


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


@njit(cache=True, nogil=True, error_model="numpy")
def place_activities(
    setting: Setting,
    plan: Plan,
    prior: Prior,
    travellers: Travellers,
    zone: Int32Array,
    again: npt.NDArray[np.int64],
) -> int:
    """Write a zone to every activity that has none.

    Parameters
    ----------
    setting, plan, prior
        What the cost is made of.
    travellers
        The N persons.
    zone
        Zone row of each activity, shape (A,), -1 where it is to be found; overwritten. The first
        and the last activity of a day must have one.
    again
        Row of the activity to whose zone each goes back, an earlier one of the same person without
        such a row; -1 for none; shape (A,). Overwritten with -1 where that is out of time.

    Returns
    -------
    infeasible
        Activities without a feasible zone, placed where they violate the windows least.
    """
    zones, width = len(setting.network.order), prior.zones.shape[1]
    many = zones + width
    scratch = Scratch(
        np.zeros(zones, np.bool_),
        np.empty(width),
        np.empty(width),
        np.empty(width),
        np.empty(many),
        np.empty(many, np.int32),
        np.empty(many),
        np.empty(many),
    )
    anchor = next_anchors(plan, zone)
    return place_in_turn(setting, plan, prior, travellers, (zone, anchor, again), scratch)


# Without the counting of references, of which each read of a tuple's field takes part: with it
# 99,800 persons per CPU-second instead of 128,400 at 1,500 zones, 163,300 instead of 256,700 at
# γ = 0 (Numba 0.68, which has no public option for it). Nothing is allocated in it; its arguments
# hold what it reads. Stubs lack the option. It may go where a Numba keeps the speed without.
@njit(cache=True, nogil=True, error_model="numpy", _nrt=False)  # pyright: ignore
def place_in_turn(
    setting: Setting,
    plan: Plan,
    prior: Prior,
    travellers: Travellers,
    zones: tuple[Int32Array, npt.NDArray[np.int64], npt.NDArray[np.int64]],
    scratch: Scratch,
) -> int:
    """Do ``place_activities``; ``zones`` are zone, next anchor and what is gone back to."""
    network, curves, weights = setting.network, setting.curves, setting.weights
    zone, anchor, again = zones
    person_start, day, sequence, kind, planned = (
        plan.person_start, plan.day, plan.sequence, plan.type, plan.planned
    )  # fmt: skip
    keys, pace, segment = travellers.keys, travellers.pace, travellers.segment
    least, infeasible = weights.min_stay_s, 0
    for person in range(len(person_start) - 1):
        start = -float(least)
        for k in range(person_start[person], person_start[person + 1]):
            travel = 0.0
            if sequence[k] > 0:
                if zone[k] < 0:
                    n = int(anchor[k])
                    windows = (
                        planned[k] - start - least,
                        planned[n] - planned[k] - (n - k) * least,
                    )
                    choice = draw_choice(
                        network,
                        curves,
                        (k, zone[k - 1], zone[n], kind[k], segment[person]),
                        (keys[person], counter(day[k], sequence[k], 0)),
                        (windows[0] / pace[person], windows[1] / pace[person]),
                        (congestion(planned[k]), congestion(planned[n]), weights.beta),
                    )
                    known = int(again[k])
                    if known >= 0 and in_time(network, choice, int(zone[known])):
                        zone[k] = zone[known]
                    else:
                        again[k] = -1
                        zone[k], fits = choose(network, curves, prior, weights, choice, scratch)
                        infeasible += not fits
                busy = congestion(planned[k])
                travel = pace[person] * travel_s(network, zone[k - 1], zone[k], busy)
            start = max(float(planned[k]), start + least + travel)
    return infeasible


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def draw_choice(
    network: Network,
    curves: Curves,
    where: tuple[int, int, int, int, int],
    draws: tuple[np.uint64, int],
    windows: tuple[float, float],
    terms: tuple[float, float, float],
) -> Choice:
    """Draw d̂ and θ̂ of an activity and gather what its choice needs.

    Parameters
    ----------
    network, curves
        The city and the reference.
    where
        The activity's row, zone rows p and n, its type and the person's segment.
    draws
        The person's key and the counter of the activity's first draw.
    windows
        Seconds to come from p and to go on to n, by car.
    terms
        Congestion of the two trips, and β.
    """
    (row, p, n, kind, segment), (key, count) = where, draws
    distance_km, xy_m, farthest_s = curves.distance_km, network.xy_m, network.farthest_s
    place = unit(key, count + USE_DISTANCE) * (distance_km.shape[2] - 1)
    low = min(int(place), distance_km.shape[2] - 2)
    left, right = distance_km[segment, kind, low], distance_km[segment, kind, low + 1]
    ahead = 0.0
    if p != n:
        ahead = bearing_of(xy_m[n, 0] - xy_m[p, 0], xy_m[n, 1] - xy_m[p, 1])
    return Choice(
        p,
        n,
        kind,
        left + (place - low) * (right - left),
        quantile(curves.angle, unit(key, count + USE_ANGLE)),
        windows[0],
        windows[1],
        terms[0],
        terms[1],
        farthest_s[p, 0] > windows[0],
        farthest_s[n, 1] > windows[1],
        ahead,
        terms[2] > 0.0 and p != n,
        row,
        unit(key, count + USE_ZONE),
    )
