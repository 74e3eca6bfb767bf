"""Cutting the settled area into regions: H3 cells that cover every zone.

A cell belongs to the zone of its centroid, or to the zone with which it shares most area where
its centroid lies in none. A zone left without a cell takes, of the cells that it touches, the one
that it shares most area with, from an owner that keeps another. Where zones are smaller than a
cell, some zone may still own none; ``Overlaps`` says what share of a cell lies in which zone, and
every zone has a share in some cell.
"""

from dataclasses import dataclass

import h3
import numpy as np
import numpy.typing as npt
import shapely

from raygen.city_files.layout import H3_RESOLUTION
from raygen.city_files.projection import ShapeArray, shapes_to_degrees, shapes_to_metres

FloatArray = npt.NDArray[np.float64]
CellArray = npt.NDArray[np.uint64]
IntArray = npt.NDArray[np.int64]

MIN_SHARE = 1e-4
"""Share of a cell's area below which an overlap is a sliver and does not count."""


@dataclass(frozen=True)
class Overlaps:
    """Pairs of a region and a zone that share area, ordered by region, then zone."""

    region: IntArray
    zone: IntArray
    area_m2: FloatArray


def cover(zones: ShapeArray, crs: str) -> tuple[CellArray, ShapeArray]:
    """Return the H3 cells that share area with the zones, in order, with their polygons.

    Parameters
    ----------
    zones
        Polygons of shape (Z,), in the projected CRS.
    crs
        Projected CRS of ``zones``.

    Returns
    -------
    cells, polygons
        Cell ids (uint64) of shape (R,), ascending, and their polygons in EPSG:4326.
    """
    # Zone by zone: the union of all has holes and slivers that h3 does not always fill.
    shapes = shapely.get_parts(shapes_to_degrees(zones, crs))
    found: set[str] = set()
    for shape in shapes.tolist():
        found.update(
            h3.h3shape_to_cells_experimental(
                h3.geo_to_h3shape(shape), H3_RESOLUTION, contain="overlap"
            )
        )
    ids = np.array(sorted(h3.str_to_int(cell) for cell in found), dtype=np.uint64)
    polygons = cell_polygons(ids)
    kept = np.unique(overlaps(shapes_to_metres(polygons, crs), zones).region)
    return ids[kept], polygons[kept]


def cell_polygons(cells: CellArray) -> ShapeArray:
    """Return the hexagons of H3 cells as polygons in EPSG:4326."""
    rings = [
        [(lon, lat) for lat, lon in h3.cell_to_boundary(h3.int_to_str(cell))]
        for cell in cells.tolist()
    ]
    return np.array([shapely.Polygon(ring) for ring in rings], dtype=np.object_)


def overlaps(cells: ShapeArray, zones: ShapeArray) -> Overlaps:
    """Return the shared area of each cell and zone, both in the same projected CRS."""
    region, zone = shapely.STRtree(zones).query(cells, predicate="intersects")
    area = shapely.area(shapely.intersection(cells[region], zones[zone]))
    kept = area > MIN_SHARE * shapely.area(cells)[region]
    region, zone, area = region[kept], zone[kept], area[kept]
    order = np.lexsort((zone, region))
    return Overlaps(region[order], zone[order], area[order])


def owners(cells: ShapeArray, zones: ShapeArray) -> IntArray:
    """Return the zone row that each cell stands for, shape (R,); see the module's text.

    Parameters
    ----------
    cells, zones
        Polygons in one projected CRS; each cell shares area with a zone.
    """
    pairs = overlaps(cells, zones)
    order = np.lexsort((pairs.zone, -pairs.area_m2, pairs.region))
    first = np.unique(pairs.region[order], return_index=True)[1]
    owner = np.full(len(cells), -1, dtype=np.int64)
    owner[pairs.region[order][first]] = pairs.zone[order][first]
    at, inside = shapely.STRtree(zones).query(shapely.centroid(cells), predicate="within")
    owner[at] = inside
    owned = np.bincount(owner, minlength=len(zones))
    for zone in np.flatnonzero(owned == 0).tolist():
        mine = np.flatnonzero(pairs.zone == zone)
        for pair in mine[np.argsort(-pairs.area_m2[mine], kind="stable")].tolist():
            cell = pairs.region[pair]
            if owned[owner[cell]] > 1:
                owned[owner[cell]] -= 1
                owned[zone] += 1
                owner[cell] = zone
                break
    return owner
