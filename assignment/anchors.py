"""Anchors: the zone of work, school and college of each person, fixed for all its days.

DataFusion's Algorithm 3 samples d ~ P(D | type) for a home zone and takes argmin_z |d(h, z) − d|.
Here P(D | type, h) is the distribution of the distance from h to the places that a doubly
constrained gravity model (``assignment.balance``) gives the people of h, so that the sub-region's
commute and the land use are in P and the city's places are filled. It is discrete, one atom per
zone, and so the argmin is the zone whose atom was drawn: inverse CDF over zones in order of
distance. Places are the capacity: jobs, school and college places, scaled to the people who need
one. The decay of the work model meets the observed mean commute of each home zone (all zones with
the same observed figure together); those of school and college meet the survey's mean distance.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.balance import Balanced, FloatArray, Groups, balance, cumulate
from assignment.cost import RankArray
from assignment.distances import distance_curves
from assignment.mode import TRANSIT, TRANSIT_FACTOR, TRANSIT_WAIT_S, Cars, commuter_constants
from assignment.reference import Reference, load_reference
from assignment.surroundings import cumulated_pois, distance_order, ring_tables
from raygen.city import City
from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES, WORK

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]

DEFAULT_COMMUTE_S = 1800.0
"""Mean commute where the city observes none anywhere, assumed."""

_BELOW_ONE = np.nextafter(np.float32(1.0), np.float32(0.0))

CARLESS_WORKERS = 0.5
"""Workers in households without a vehicle, over such households, as shares; assumed: they hold
fewer workers than others."""

CARS_IN_USE = 0.033
"""Commuters of households with cars who find them all in use, as a share; calibrated, so that the
commuters of Los Angeles County have the wanted shares: ``tests/bench/commutes.py`` measures it."""

PUPIL_SHARE = 13.0 / 18.0
"""Persons of 5 to 17 years among those under 18, assumed: thirteen years of birth of eighteen."""


@dataclass(frozen=True)
class AnchorTables:
    """All of a city that placing needs and that is computed once per run; plain arrays."""

    order: RankArray
    """Zone rows in order of network distance from each zone, shape (Z, Z)."""

    work: Float32Array
    """Cumulated share of work zones by home zone, in ``order``, shape (Z, Z)."""

    school: Float32Array
    """The same for kindergarten to grade 12."""

    college: Float32Array
    """The same for college."""

    ring_m: Float32Array
    ring_bearing: Float32Array
    to_s: Float32Array
    starts: RankArray
    farthest_m: Float32Array
    farthest_s: Float32Array
    """The city's skims as the kernel reads them; see ``assignment.cost.Network``."""

    distance_km: Float32Array
    pull: Float32Array
    """Reference distributions and pulls as the kernel reads them; see ``cost.Curves``."""

    work_rank: FloatArray
    """Ranks of a demographic group's commutes among all, shape (12, Q''); see ``Reference``."""

    allowed: npt.NDArray[np.bool_]
    """Whether a zone takes an activity type, shape (15, Z): land-use compatibility."""

    circuity: float
    """Network over crow-fly distance, median over pairs of zones."""

    reference: Reference
    """Distances, angles and mode coefficients."""

    mode_constants: FloatArray
    """Constants of the mode logit, moved to the commuters' shares, shape (5,)."""

    poi_lon: FloatArray
    poi_lat: FloatArray
    poi_region: npt.NDArray[np.uint64]
    """Place and region of each POI of the city."""

    poi_cumulated: Float32Array
    """P(type | POI) cumulated over each zone's POIs, shape (15, P)."""

    fits: dict[str, Balanced]
    """How the gravity models came out, by anchor type."""


def measure_circuity(city: City) -> float:
    """Return the median of network over crow-fly distance, over pairs of different zones."""
    crow = np.hypot(*(city.zone_xy[:, None, :] - city.zone_xy[None, :, :]).transpose(2, 0, 1))
    apart = crow > 0
    if not apart.any():
        return 1.0
    return float(max(1.0, np.median(city.distance_m[apart] / crow[apart])))


def persons_by_zone(city: City) -> dict[str, FloatArray]:
    """Return how many people of each zone need a place of work, school and college.

    The labour force needs work (its unemployed part only scales the sum), 13 of the 18 years under
    18 need school, 18 to 24 need college. Where a control is null it is the city's share times the
    zone's population.
    """
    population = city.population.astype(np.float64)
    source = {"work": "labour_force", "school": "age_under_18", "college": "age_18_24"}
    needs: dict[str, FloatArray] = {}
    for name, column in source.items():
        found = city.controls.column(column).to_numpy(zero_copy_only=False).astype(np.float64)
        known = np.isfinite(found)
        people = population[known].sum()
        share = found[known].sum() / people if people > 0 else 0.0
        filled = np.where(known, found, share * population)
        needs[name] = filled * (PUPIL_SHARE if name == "school" else 1.0)
    return needs


def commute_minutes(city: City, reference: Reference) -> Float32Array:
    """Return the time that a commute takes as people tell it, in minutes, shape (Z, Z).

    Observed means are over all modes and hours: the car's time at the congestion that arrivals at
    work meet, of which the transit riders' share takes transit's.
    """
    free, peak = city.free_time_s, city.peak_time_s
    seconds = free + reference.commute_peak_weight * (peak - free)
    riders = float(reference.commute_shares[TRANSIT])
    seconds = seconds * (1.0 + riders * (TRANSIT_FACTOR - 1.0)) + riders * TRANSIT_WAIT_S
    return (seconds / 60.0).astype(np.float32)


def commute_groups(city: City, origins: FloatArray) -> Groups:
    """Group home zones by their observed mean commute, in minutes; unknown takes the mean."""
    target = city.commute_target_s.astype(np.float64)
    known = np.isfinite(target) & (target > 0)
    weight = origins[known]
    mean = DEFAULT_COMMUTE_S
    if weight.sum() > 0:
        mean = float(np.average(target[known], weights=weight))
    minutes, of_zone = np.unique(np.where(known, target, mean) / 60.0, return_inverse=True)
    return Groups(of_zone.astype(np.int64), minutes)


def anchor_tables(city: City) -> AnchorTables:
    """Fit the anchors of a city and gather what placing needs of it.

    In a city without college places the college students go to its schools.

    Parameters
    ----------
    city
        The city; not changed.

    Returns
    -------
    tables
        Picklable; 30 bytes per pair of zones.

    Raises
    ------
    DataError
        If the city has no people who need them, no jobs or no school places.
    """
    reference = load_reference()
    order = distance_order(city.distance_m)
    circuity = measure_circuity(city)
    needs = persons_by_zone(city)
    km = city.distance_m / np.float32(1000.0)
    whole = np.zeros(len(order), dtype=np.int64)
    groups = {
        "work": commute_groups(city, needs["work"]),
        "school": Groups(whole, np.array([reference.school_m * circuity / 1000.0])),
        "college": Groups(whole, np.array([reference.college_m * circuity / 1000.0])),
    }
    places = {
        "work": city.jobs.sum(axis=1, dtype=np.float64),
        "school": city.school_places.astype(np.float64),
        "college": city.college_places.astype(np.float64),
    }
    cost = {"work": commute_minutes(city, reference), "school": km, "college": km}
    tables: dict[str, Float32Array] = {}
    fits: dict[str, Balanced] = {}
    if not places["college"].any():
        places["college"] = places["school"]
    for name, origins in needs.items():
        _check_places(name, origins, places[name])
        fits[name] = balance(cost[name], origins, places[name], groups[name])
        decay = fits[name].decay[groups[name].of_zone]
        tables[name] = cumulate(cost[name], fits[name].pull, decay, order)
    constants = commuter_constants(
        reference.mode_coefficients,
        *_commutes(tables["work"], order, city.distance_m, needs["work"]),
        _cars(city),
        reference.commute_shares,
    )
    lon, lat = city.to_lonlat(city.poi_xy)
    regions = len(city.subregion_names)
    allowed = np.ascontiguousarray(city.attraction > 0)
    allowed[~allowed.any(axis=1)] = True
    return AnchorTables(
        order=order,
        **tables,
        **ring_tables(city, order),
        distance_km=distance_curves(city, reference, circuity),
        pull=np.zeros((len(ACTIVITY_TYPES), regions, regions), np.float32),
        work_rank=reference.group_rank[:, WORK],
        allowed=allowed,
        circuity=circuity,
        reference=reference,
        mode_constants=constants,
        poi_lon=lon,
        poi_lat=lat,
        poi_region=city.regions_at(lon, lat),
        poi_cumulated=cumulated_pois(city),
        fits=fits,
    )


def _check_places(name: str, origins: FloatArray, places: FloatArray) -> None:
    if origins.sum() <= 0:
        msg = f"controls: nobody in the city needs a place of {name}"
        raise DataError(msg)
    if places.sum() <= 0:
        msg = f"zones: {origins.sum():.0f} persons need a place of {name}, the city has none"
        raise DataError(msg)


def _commutes(
    work: Float32Array, order: RankArray, distance_m: Float32Array, origins: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return commute lengths in km and how many workers have them, in 200 classes."""
    share = np.diff(work, axis=1, prepend=np.float32(0.0)) * origins[:, None].astype(np.float32)
    km = np.take_along_axis(distance_m, order.astype(np.int64), axis=1) / np.float32(1000.0)
    edges = np.geomspace(0.05, max(float(km.max()), 1.0) * 1.001, 201)
    weight, _ = np.histogram(np.maximum(km, edges[0]), bins=edges, weights=share)
    return np.sqrt(edges[1:] * edges[:-1]), weight.astype(np.float64)


def _cars(city: City) -> Cars:
    none = CARLESS_WORKERS * _share_without_car(city)
    return Cars(none, CARS_IN_USE * (1.0 - none))


def _share_without_car(city: City) -> float:
    """Return the share of households without a vehicle; 0 where no zone has the control."""
    without = city.controls.column("no_vehicles").to_numpy(zero_copy_only=False)
    known = np.isfinite(without.astype(np.float64))
    homes = city.households[known].sum()
    return float(without[known].sum() / homes) if homes > 0 else 0.0


@njit(cache=True, nogil=True)
def draw_zones(
    cumulated: Float32Array,
    order: RankArray,
    home: Int32Array,
    uniform: FloatArray,
) -> Int32Array:
    """Draw a zone for each person by inverse CDF over zones in order of distance from home.

    Parameters
    ----------
    cumulated, order
        Of ``AnchorTables``.
    home
        Home zone rows, shape (M,).
    uniform
        One draw per person, in [0, 1).

    Returns
    -------
    zone
        Zone rows, shape (M,).
    """
    out = np.empty(len(home), np.int32)
    for i in range(len(home)):
        row = cumulated[home[i]]
        # In float32 a draw may round up to 1, which lies beyond every zone.
        draw = min(np.float32(uniform[i]), _BELOW_ONE)
        out[i] = order[home[i], np.searchsorted(row, draw, side="right")]
    return out
