"""POIs of the county: how many of each category, and where; all synthesised."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from raygen import seeds
from raygen.cities.los_angeles.settlement import SEED
from raygen.cities.los_angeles.zips import CRS
from raygen.cities.placement import draw_points, poi_table
from raygen.city_files.poi_types import POI_TYPES
from raygen.taxonomy import JOB_KINDS, POI_CATEGORIES

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ShapeArray = npt.NDArray[np.object_]

_RATES = """
                residents office retail industry education health leisure
transportation       0.50   0.40   0.40     0.40      0.40   0.40    0.40
companies            0.00   2.20   0.20     2.40      0.00   0.00    0.00
residential          1.00   0.00   0.00     0.00      0.00   0.00    0.00
automotive           0.40   0.00   0.60     1.40      0.00   0.00    0.00
education            0.35   0.00   0.00     0.00      3.50   0.00    0.00
sports               0.25   0.00   0.50     0.00      0.00   0.00    1.00
financial            0.15   1.00   1.00     0.00      0.00   0.00    0.00
leisure              0.35   0.00   0.50     0.00      0.00   0.00    3.50
healthcare           0.25   0.00   0.50     0.00      0.00   4.00    0.00
tourism              0.03   0.00   0.00     0.00      0.00   0.00    1.50
life_services        0.80   0.20   3.00     0.00      0.00   0.00    0.50
shopping             0.40   0.00  10.00     0.00      0.00   0.00    1.00
hotels               0.00   0.10   0.00     0.00      0.00   0.00    2.00
dining               0.35   0.60   3.00     0.20      0.00   0.50    9.00
"""

POI_RATES = np.array([line.split()[1:] for line in _RATES.strip().splitlines()[1:]], dtype=float)
"""POIs of each category per 1,000 residents (column 0) and per 1,000 jobs of each kind, shape
(14, 7): assumed, in rows of POI_CATEGORIES and columns of residents and JOB_KINDS."""

_ROADSIDE = 0.6  # share of POIs that are drawn to an arterial, rather than anywhere in the zone
_ROADSIDE_M = 60.0  # standard deviation of their distance from it
_SCATTERED = POI_CATEGORIES.index("residential")


def pois_of(
    zones: pa.Table, polygons: ShapeArray, arterials: ShapeArray
) -> tuple[pa.Table, FloatArray, IntArray]:
    """Draw the POIs of every zone.

    Parameters
    ----------
    zones
        Table of schema ZONES.
    polygons
        Of the zones, projected, shape (Z,).
    arterials
        Lines of the arterial roads, projected.

    Returns
    -------
    pois, xy, category
        Table of schema POIS ordered by zone, places of shape (P, 2), categories of shape (P,).
        Counts are Poisson about ``POI_RATES``; most POIs, but not homes, lie along an arterial.
    """
    rng = seeds.stream(SEED, "los_angeles pois")
    size = [zones.column("population").to_numpy()]
    size += [zones.column(f"jobs_{kind}").to_numpy() for kind in JOB_KINDS]
    mean = np.stack(size, axis=1) / 1000 @ POI_RATES.T  # (Z, 14)
    share = np.array([row.share for row in POI_TYPES])
    category = np.array([row.category for row in POI_TYPES])
    count = rng.poisson(mean[:, category] * share)  # (Z, types)
    zone = np.repeat(np.arange(zones.num_rows), count.sum(axis=1))
    kind = np.repeat(np.tile(np.arange(len(POI_TYPES)), zones.num_rows), count.ravel())
    xy = draw_points(polygons, zone, rng)
    wanted = (rng.random(len(xy)) < _ROADSIDE) & (category[kind] != _SCATTERED)
    offset = rng.normal(0.0, _ROADSIDE_M, xy.shape)
    xy = _towards(xy, offset, wanted, (zone, polygons, arterials))
    zone_id = zones.column("zone_id").to_numpy()[zone]
    return poi_table(kind, zone_id, xy, CRS), xy, category[kind]


def _towards(
    xy: FloatArray,
    offset: FloatArray,
    wanted: npt.NDArray[np.bool_],
    place: tuple[IntArray, ShapeArray, ShapeArray],
) -> FloatArray:
    """Move the wanted points beside their nearest arterial, unless that leaves their zone."""
    zone, polygons, arterials = place
    moved = xy.copy()
    at = np.flatnonzero(wanted)
    points = np.asarray(shapely.points(xy[at]))
    line = arterials[shapely.STRtree(arterials).nearest(points)]
    beside = shapely.line_interpolate_point(line, shapely.line_locate_point(line, points))
    moved[at] = shapely.get_coordinates(beside) + offset[at]
    inside = shapely.contains_xy(polygons[zone], moved[:, 0], moved[:, 1])
    return np.where(inside[:, None], moved, xy)
