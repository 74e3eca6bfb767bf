"""Tables of POIs and regions from their places: what every city builder shares."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from raygen.city_files.geometry import in_degrees, triangulate
from raygen.city_files.layout import POIS, REGIONS, TOP_TYPES
from raygen.city_files.poi_types import POI_TYPES, annotations
from raygen.city_files.projection import shapes_to_metres
from raygen.city_files.regions import cover, overlaps, owners
from raygen.schema import category
from raygen.taxonomy import POI_CATEGORIES

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ShapeArray = npt.NDArray[np.object_]

SMOOTHING = 1.0
"""POIs of the city's mean distribution that are added to each region's own: a region without POIs
has the city's distribution."""


def draw_points(polygons: ShapeArray, rows: IntArray, rng: np.random.Generator) -> FloatArray:
    """Return uniform points in the polygons of these rows, shape (M, 2), in the polygons' CRS."""
    return triangulate(polygons).points(rows, rng.random((len(rows), 3)))


def poi_table(kind: IntArray, zone_id: npt.NDArray[np.int32], xy: FloatArray, crs: str) -> pa.Table:
    """Return POIs as a table of schema POIS, numbered from 0.

    Parameters
    ----------
    kind
        Index into POI_TYPES, shape (P,).
    zone_id
        Zone of each POI, shape (P,).
    xy
        Places in ``crs``, shape (P, 2).
    crs
        Projected CRS.
    """
    types, probabilities = annotations()
    tags = np.array([row.tag for row in POI_TYPES])
    codes = np.array([row.category for row in POI_TYPES], dtype=np.int8)
    words = np.array([row.tag.split("=")[1].replace("_", " ") for row in POI_TYPES])
    names = [f"{word} {number}" for number, word in enumerate(words[kind].tolist())]
    columns = {
        "poi_id": np.arange(len(kind), dtype=np.int64),
        "zone_id": zone_id,
        "name": pa.array(names, pa.string()),
        "tags": pa.array(tags[kind].tolist(), pa.string()),
        "category": category(pa.array(codes[kind]), POI_CATEGORIES),
        "activity_types": pa.FixedSizeListArray.from_arrays(types[kind].ravel(), TOP_TYPES),
        "activity_probabilities": pa.FixedSizeListArray.from_arrays(
            probabilities[kind].ravel(), TOP_TYPES
        ),
        "geometry": in_degrees(np.asarray(shapely.points(xy)), crs),
    }
    return pa.table(columns, schema=POIS)


def region_table(
    zones: ShapeArray,
    zone_id: npt.NDArray[np.int32],
    population: npt.NDArray[np.int32],
    pois: tuple[FloatArray, IntArray],
    crs: str,
) -> pa.Table:
    """Cut the zones into regions and count people and POIs in them.

    Parameters
    ----------
    zones
        Polygons in ``crs``, shape (Z,).
    zone_id, population
        Of the zones; people are spread evenly over a zone.
    pois
        Places in ``crs`` of shape (P, 2) and categories of shape (P,).
    crs
        Projected CRS.

    Returns
    -------
    regions
        Table of schema REGIONS, ascending by ``region_id``. ``poi_distribution`` is the share of
        each category among the region's POIs and ``SMOOTHING`` POIs of the city's mean.
    """
    cells, hexagons = cover(zones, crs)
    flat = shapes_to_metres(hexagons, crs)
    pairs = overlaps(flat, zones)
    share = pairs.area_m2 / np.bincount(pairs.zone, pairs.area_m2)[pairs.zone]
    people = np.bincount(pairs.region, population[pairs.zone] * share, len(cells))
    distribution = _distribution(flat, *pois)
    columns = {
        "region_id": cells,
        "zone_id": zone_id[owners(flat, zones)],
        "poi_distribution": pa.FixedSizeListArray.from_arrays(
            distribution.astype(np.float32).ravel(), len(POI_CATEGORIES)
        ),
        "population": people.astype(np.float32),
        "geometry": pa.array(shapely.to_wkb(hexagons), pa.binary()),
    }
    return pa.table(columns, schema=REGIONS)


def _distribution(cells: ShapeArray, xy: FloatArray, category: IntArray) -> FloatArray:
    """Return the smoothed shares of the POI categories in each cell, shape (R, 14)."""
    kinds = len(POI_CATEGORIES)
    point, cell = shapely.STRtree(cells).query(shapely.points(xy), predicate="intersects")
    count = np.bincount(cell * kinds + category[point], minlength=len(cells) * kinds)
    count = count.reshape(-1, kinds).astype(np.float64)
    mean = np.bincount(category, minlength=kinds) / len(category)
    total = count.sum(axis=1, keepdims=True)
    return (count + SMOOTHING * mean) / (total + SMOOTHING)
