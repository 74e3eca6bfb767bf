"""The shapes of a city in its projected CRS: polygons, points, triangles."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely

from raygen.city_files.layout import CityTables
from raygen.city_files.projection import ShapeArray, shapes_to_degrees, shapes_to_metres
from raygen.city_files.regions import Overlaps, overlaps

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CityGeometry:
    """Polygons in projected metres, Z zones and R regions, and where they overlap."""

    zones: ShapeArray
    regions: ShapeArray
    overlaps: Overlaps


def projected(table: pa.Table, crs: str) -> ShapeArray:
    """Return a table's geometry in a projected CRS, shape (rows,)."""
    return shapes_to_metres(shapely.from_wkb(table.column("geometry").to_numpy()), crs)


def in_degrees(shapes: ShapeArray, crs: str) -> pa.Array:
    """Return projected shapes as WKB in EPSG:4326, for a column ``geometry``."""
    return pa.array(shapely.to_wkb(shapes_to_degrees(shapes, crs)), pa.binary())


def city_geometry(tables: CityTables) -> CityGeometry:
    """Project the zones and regions of a city and find where they overlap."""
    zones = projected(tables.zones, tables.card.crs)
    regions = projected(tables.regions, tables.card.crs)
    return CityGeometry(zones, regions, overlaps(regions, zones))


def inner_points(polygons: ShapeArray) -> FloatArray:
    """Return a point inside each polygon, shape (Z, 2): the centroid where that is inside."""
    centre = shapely.centroid(polygons)
    outside = ~shapely.contains_properly(polygons, centre)
    centre[outside] = shapely.point_on_surface(polygons[outside])
    return shapely.get_coordinates(centre)


@dataclass(frozen=True)
class Triangles:
    """The zones cut into triangles, ordered by zone.

    ``start`` has shape (Z + 1,): zone z owns triangles start[z] … start[z + 1] - 1; ``corners``
    has shape (T, 3, 2), metres; ``cumulative`` has shape (T,): the zone's row plus the share of
    its area in its triangles up to and with this one, ascending.
    """

    start: npt.NDArray[np.int32]
    corners: FloatArray
    cumulative: FloatArray

    def points(self, rows: npt.NDArray[np.integer], uniform: FloatArray) -> FloatArray:
        """Return uniform points in zones.

        Parameters
        ----------
        rows
            Zone rows, shape (M,).
        uniform
            Draws in [0, 1) of shape (M, 3): which triangle, and where in it.

        Returns
        -------
        xy
            Shape (M, 2).
        """
        at = np.searchsorted(self.cumulative, rows + uniform[:, 0], side="right")
        corners = self.corners[np.clip(at, self.start[rows], self.start[rows + 1] - 1)]  # (M, 3, 2)
        # Osada et al., "Shape distributions", ACM TOG 21 (2002), Eq. 1: uniform in a triangle.
        root = np.sqrt(uniform[:, 1])
        weight = np.stack([1 - root, root * (1 - uniform[:, 2]), root * uniform[:, 2]], axis=1)
        return np.einsum("mk,mkd->md", weight, corners)


def triangulate(polygons: ShapeArray) -> Triangles:
    """Cut each polygon into triangles, none outside it."""
    parts, zone = shapely.get_parts(
        shapely.constrained_delaunay_triangles(polygons), return_index=True
    )
    corners = shapely.get_coordinates(shapely.get_exterior_ring(parts)).reshape(-1, 4, 2)[:, :3]
    area = np.asarray(shapely.area(parts), dtype=np.float64)
    start = np.searchsorted(zone, np.arange(len(polygons) + 1)).astype(np.int32)
    total = np.cumsum(area)
    before = np.concatenate([[0.0], total])[start]  # (Z + 1,)
    share: FloatArray = (total - before[zone]) / (before[zone + 1] - before[zone])
    return Triangles(start, corners, zone.astype(np.float64) + np.minimum(share, 1.0))
