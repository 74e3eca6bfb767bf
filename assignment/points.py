"""A point for each activity: the household's home, a POI of the zone, or anywhere in the zone.

A POI is drawn in its zone with weight P(activity type | POI), its annotation (DataFusion 4.1.1; of
the embedded city the table of ``raygen.city_files.poi_types``). Where the zone has none
that fits, and for the share of visits that ``raygen.city_fields.AT_HOMES`` has in homes, the point
is uniform in the zone's polygon. Work and school have one point per person, on all days; other
activities draw their own, but for those that go back to a place (``assignment.returns``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.anchors import AnchorTables
from assignment.cost import read_only
from assignment.draws import USE_AT_HOME, USE_POI, USE_POINT, KeyArray, counter, unit, units
from assignment.times import Plan
from raygen.city import City
from raygen.city_fields import AT_HOMES
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SCHOOL, WORK

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

_SCHOOL_DAY = 7  # no activity has day 7 nor, away from home, sequence 0: keys of the fixed points
EARTH_RADIUS_M = 6_371_008.8


@dataclass(frozen=True)
class Points:
    """Where M activities are."""

    lon: FloatArray
    lat: FloatArray
    region_id: npt.NDArray[np.uint64]


def home_points(city: City, lon: FloatArray, lat: FloatArray) -> Points:
    """Return the points of homes with their regions."""
    return Points(lon, lat, city.regions_at(lon, lat))


@njit(cache=True, nogil=True)
def draw_counters(day: Int64Array, sequence: Int64Array, kind: Int64Array) -> Int64Array:
    """Return the first counter of each activity's draws; one for all work, one for all school."""
    out = np.empty(len(day), np.int64)
    for k in range(len(day)):
        if kind[k] == WORK:
            out[k] = counter(0, 0, 0)
        elif kind[k] == SCHOOL:
            out[k] = counter(_SCHOOL_DAY, 0, 0)
        else:
            out[k] = counter(day[k], sequence[k], 0)
    return out


@njit(cache=True, nogil=True)
def draw_pois(
    start: npt.NDArray[np.int32],
    cumulated: Float32Array,
    kind: Int64Array,
    zone: npt.NDArray[np.int32],
    keys: KeyArray,
    counts: Int64Array,
) -> Int64Array:
    """Draw a POI for each activity with weight P(type | POI).

    Parameters
    ----------
    start
        First POI of each zone, shape (Z + 1,).
    cumulated
        See ``assignment.surroundings.cumulated_pois``.
    kind, zone, keys, counts
        Type, zone row, person key and first counter of each activity, shape (M,).

    Returns
    -------
    poi
        Index into the city's POIs, shape (M,), -1 where no POI of the zone fits the type.
    """
    out = np.full(len(zone), -1, np.int64)
    for k in range(len(zone)):
        first, stop = start[zone[k]], start[zone[k] + 1]
        if first == stop or cumulated[kind[k], stop - 1] <= 0.0:
            continue
        row = cumulated[kind[k], first:stop]
        goal = np.float32(unit(keys[k], counts[k] + USE_POI)) * row[-1]
        # Rounded to float32 the goal may be the total, which no POI passes.
        goal = min(goal, np.nextafter(row[-1], np.float32(0.0)))
        out[k] = first + np.searchsorted(row, goal, side="right")
    return out


def activity_points(
    city: City, tables: AnchorTables, plan: Plan, zone: npt.NDArray[np.int32], keys: KeyArray
) -> Points:
    """Return a point for every activity away from home.

    Parameters
    ----------
    city, tables
        The city and what was computed of it.
    plan
        Day chains of A activities.
    zone
        Zone row of each activity, shape (A,).
    keys
        Person key of each activity, shape (A,).

    Returns
    -------
    points
        A points; those of home activities are zero, to be filled with the household's.
    """
    rows = np.flatnonzero(plan.type != HOME)
    kind, zones, key = plan.type[rows], zone[rows], keys[rows]
    counts = draw_counters(plan.day[rows], plan.sequence[rows], kind)
    cumulated = read_only(tables.poi_cumulated)
    poi = draw_pois(read_only(city.poi_start), cumulated, kind, zones, key, counts)
    homes = np.array([AT_HOMES.get(word, 0.0) for word in ACTIVITY_TYPES])
    poi[units(key, counts + USE_AT_HOME) < homes[kind]] = -1
    lon, lat = np.zeros(len(zone)), np.zeros(len(zone))
    region_id = np.zeros(len(zone), np.uint64)
    at_poi, found = rows[poi >= 0], poi[poi >= 0]
    lon[at_poi], lat[at_poi] = tables.poi_lon[found], tables.poi_lat[found]
    region_id[at_poi] = tables.poi_region[found]
    free = poi < 0
    if free.any():
        uniform = np.stack(
            [units(key[free], counts[free] + USE_POINT + axis) for axis in range(3)], axis=1
        )
        x, y = city.to_lonlat(city.sample_points(zones[free], uniform))
        lon[rows[free]], lat[rows[free]] = x, y
        region_id[rows[free]] = city.regions_at(x, y)
    return Points(lon, lat, region_id)


def crow_fly_m(lon: FloatArray, lat: FloatArray) -> FloatArray:
    """Return the great-circle distance from each point to the one before, shape (A,); first 0."""
    phi, lam = np.radians(lat), np.radians(lon)
    half = np.sin(np.diff(phi) / 2) ** 2
    half += np.cos(phi[1:]) * np.cos(phi[:-1]) * np.sin(np.diff(lam) / 2) ** 2
    return np.concatenate([[0.0], 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(half))])
