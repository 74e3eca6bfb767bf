"""The arrays of ``raygen.city.City`` from a city's tables: zones, regions, POIs."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from scipy.spatial import KDTree

from raygen.city_files.geometry import CityGeometry, inner_points, projected, triangulate
from raygen.city_files.layout import CityTables
from raygen.city_files.poi_types import type_given_category
from raygen.city_files.rules import annotation, numbers
from raygen.taxonomy import ACTIVITY_TYPES, HOME, JOB_KINDS, POI_CATEGORIES, SCHOOL, WORK

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

AT_HOMES = {"social": 0.6, "caregiving": 0.5}
"""Share of an activity type that takes place in other people's homes, not at a POI: assumed. That
share is spread over the zones by population, the rest by POIs."""

_RESIDENTIAL = POI_CATEGORIES.index("residential")


def zone_fields(tables: CityTables, geometry: CityGeometry) -> dict[str, Any]:
    """Return the zone arrays, in the file's order."""
    zones = tables.zones
    words = zones.column("subregion").to_pylist()
    names = tuple(sorted(set(words)))
    return {
        "zone_id": zones.column("zone_id").to_numpy(),
        "subregion": np.array([names.index(word) for word in words], dtype=np.int16),
        "subregion_names": names,
        "population": zones.column("population").to_numpy(),
        "households": zones.column("households").to_numpy(),
        "zone_xy": inner_points(geometry.zones),
        "jobs": _jobs(zones),
        "school_places": zones.column("school_places").to_numpy(),
        "college_places": zones.column("college_places").to_numpy(),
        "area_m2": zones.column("area_m2").to_numpy(),
        "commute_target_s": numbers(zones, "mean_commute_s").astype(np.float32),
        "triangles": triangulate(geometry.zones),
    }


def _jobs(zones: pa.Table) -> Float32Array:
    return np.stack([zones.column(f"jobs_{kind}").to_numpy() for kind in JOB_KINDS], axis=1)


def region_fields(tables: CityTables, geometry: CityGeometry) -> dict[str, Any]:
    """Return the region arrays, ordered by region id."""
    order = np.argsort(tables.regions.column("region_id").to_numpy())
    regions = tables.regions.take(order)
    pairs = geometry.overlaps
    rank = np.argsort(order)  # region row of each row of the file
    region, zone = rank[pairs.region], pairs.zone
    population = numbers(tables.zones, "population")
    density = (population + _jobs(tables.zones).sum(axis=1)) / numbers(tables.zones, "area_m2")
    # One person or job per km² at least, so that a region of empty zones still has shares.
    mass = pairs.area_m2 * np.maximum(density[zone], 1e-6)
    total = np.bincount(region, weights=mass, minlength=len(order))
    by_region = np.lexsort((zone, region))
    region_xy = shapely.get_coordinates(shapely.centroid(geometry.regions))[order]
    flat = regions.column("poi_distribution").combine_chunks().flatten().to_numpy()
    return {
        "region_id": regions.column("region_id").to_numpy(),
        "region_zone": _rows(tables, regions),
        "region_poi": flat.reshape(-1, len(POI_CATEGORIES)),
        "region_population": regions.column("population").to_numpy(),
        "region_xy": region_xy,
        "home_region": KDTree(region_xy).query(inner_points(geometry.zones))[1].astype(np.int32),
        "overlap_region": region[by_region].astype(np.int32),
        "overlap_zone": zone[by_region].astype(np.int32),
        "overlap_share": (mass / total[region])[by_region].astype(np.float32),
    }


def _rows(tables: CityTables, table: pa.Table) -> Int32Array:
    """Return the zone row of each row of a table that has ``zone_id``."""
    ids = tables.zones.column("zone_id").to_numpy()
    order = np.argsort(ids)
    at = np.searchsorted(ids[order], table.column("zone_id").to_numpy())
    return order[at].astype(np.int32)


def poi_fields(tables: CityTables) -> dict[str, Any]:
    """Return the POI arrays, ordered by zone row, and what follows from the annotation."""
    zone = _rows(tables, tables.pois)
    order = np.argsort(zone, kind="stable")
    pois, zone = tables.pois.take(order), zone[order]
    words = pois.column("category").cast(pa.string()).combine_chunks().dictionary_encode()
    code = np.array([POI_CATEGORIES.index(word) for word in words.dictionary.to_pylist()])
    category = code[words.indices.to_numpy()].astype(np.int8)
    types, probabilities = annotation(pois)
    count = tables.zones.num_rows
    return {
        "poi_start": np.searchsorted(zone, np.arange(count + 1)).astype(np.int32),
        "poi_zone": zone,
        "poi_category": category,
        "poi_types": types,
        "poi_probability": probabilities.astype(np.float32),
        "poi_xy": shapely.get_coordinates(projected(pois, tables.card.crs)),
        "attraction": _attraction(tables.zones, _sums(types, probabilities, zone, count)),
        "category_given_type": _categories(types, probabilities, category),
    }


def _sums(
    types: npt.NDArray[np.int8], probabilities: FloatArray, key: npt.NDArray[Any], keys: int
) -> FloatArray:
    """Return Σ P(type | POI) over the POIs of each key, shape (15, keys)."""
    cell = types.astype(np.int64) * keys + key[:, None]
    flat: FloatArray = np.bincount(
        cell.ravel(), probabilities.ravel(), len(ACTIVITY_TYPES) * keys
    ).astype(np.float64)
    return flat.reshape(len(ACTIVITY_TYPES), keys)


def _attraction(zones: pa.Table, pull: FloatArray) -> Float32Array:
    """Return the size of each zone for each activity type, from the POIs' pull (15, Z)."""
    population = numbers(zones, "population")
    pull = pull.copy()
    for word, share in AT_HOMES.items():
        row = ACTIVITY_TYPES.index(word)
        total = pull[row].sum()
        pull[row] = (1 - share) * pull[row] + share * total * population / population.sum()
    pull[HOME] = population
    pull[WORK] = _jobs(zones).sum(axis=1)
    pull[SCHOOL] = numbers(zones, "school_places") + numbers(zones, "college_places")
    return pull.astype(np.float32)


def _categories(
    types: npt.NDArray[np.int8], probabilities: FloatArray, category: npt.NDArray[np.int8]
) -> Float32Array:
    """Return P(category | type), shape (15, 14)."""
    joint = _sums(types, probabilities, category, len(POI_CATEGORIES))
    joint[HOME] = np.eye(len(POI_CATEGORIES))[_RESIDENTIAL]
    for row in (WORK, SCHOOL):  # a city may have the places but no POI for them
        if joint[row].sum() == 0:
            joint[row] = type_given_category()[:, row]
    return (joint / joint.sum(axis=1, keepdims=True)).astype(np.float32)
