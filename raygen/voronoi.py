"""Voronoi regions weighted by population: UniMob 4.1.1, "based on population heatmaps".

Seeds are the means of a weighted k-means over points that carry people or visits (zones, H3 cells,
locations): where many are, cells are small. A cell is all that is nearer to its seed than to any
other, clipped to a boundary. Regions of another scheme are joined to these cells by their centres,
and days with them, so that every city has both schemes.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import shapely
from scipy.spatial import KDTree

from raygen import seeds
from raygen.errors import DataError
from raygen.mobility import Days, Regions, expand, runs

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_ROUNDS = 50
_MARGIN_M = 1000.0  # of the boundary around the points where none is given


@dataclass(frozen=True)
class Voronoi:
    """C cells of a city."""

    region_id: npt.NDArray[np.uint64]
    """Digest of a seed's place to the decimetre, ascending, shape (C,)."""
    xy: FloatArray
    """Seeds in metres, shape (C, 2)."""
    polygon: npt.NDArray[np.object_]
    """Cells clipped to the boundary, in metres, shape (C,)."""

    def cell_of(self, xy: FloatArray) -> IntArray:
        """Return the row of the cell of each point (N, 2): that of the nearest seed."""
        return np.asarray(KDTree(self.xy).query(xy)[1], dtype=np.int64)


def voronoi(
    xy: FloatArray,
    weight: FloatArray,
    count: int,
    seed: int,
    boundary: shapely.Geometry | None = None,
) -> Voronoi:
    """Divide a city into cells.

    Parameters
    ----------
    xy
        Points in metres, shape (N, 2).
    weight
        People or visits of each point, ≥ 0, shape (N,).
    count
        Cells; at most the different points with a weight.
    seed
        Root of the draw of the first seeds.
    boundary
        Area in metres that the cells fill, all seeds inside; None for the points' convex hull and
        1 km around it.

    Returns
    -------
    voronoi
        A point lies in the cell of its nearest seed. A cell may be empty of points.

    Raises
    ------
    DataError
        If there are fewer points than cells, or a seed lies outside the boundary.
    """
    held = np.flatnonzero(weight > 0)
    places, which = np.unique(xy[held], axis=0, return_inverse=True)
    mass = np.bincount(which.ravel(), weight[held], minlength=len(places)).astype(np.float64)
    if not 1 <= count <= len(places):
        msg = f"voronoi: cells must be 1 to {len(places)}, the places with a weight, got {count}"
        raise DataError(msg)
    centre = np.round(_k_means(places, mass, count, seed), 1)
    ids = np.array([_id(x, y) for x, y in centre.tolist()], dtype=np.uint64)
    order = np.argsort(ids)
    ids, centre = ids[order], centre[order]
    area = boundary or shapely.MultiPoint(xy).convex_hull.buffer(_MARGIN_M)
    outside = int((~shapely.covers(area, shapely.points(centre))).sum())
    if outside:
        msg = f"voronoi: all seeds must lie inside the boundary, {outside} of {count} do not"
        raise DataError(msg)
    return Voronoi(ids, centre, _polygons(centre, area))


def join_regions(
    regions: Regions, count: int, seed: int, boundary: shapely.Geometry | None = None
) -> tuple[Regions, IntArray, Voronoi]:
    """Join a city's regions to Voronoi cells weighted by their mass.

    Returns
    -------
    joined, cell, voronoi
        Regions of the cells that hold a region: mass in sum, POI distribution in the mean by mass,
        the seed as centre; the row of ``joined`` of each region, shape (R,); the cells themselves.

    Raises
    ------
    DataError
        See ``voronoi``.
    """
    cells = voronoi(regions.xy, regions.mass, count, seed, boundary)
    nearest = cells.cell_of(regions.xy)
    used, cell = np.unique(nearest, return_inverse=True)
    cells = Voronoi(cells.region_id[used], cells.xy[used], _polygons_of(cells, used, boundary))
    mass = np.bincount(cell, regions.mass)
    poi = np.zeros((len(used), regions.poi.shape[1]))
    np.add.at(poi, cell, regions.poi * regions.mass[:, None])
    poi /= poi.sum(axis=1, keepdims=True)
    joined = replace(
        regions,
        region_id=cells.region_id,
        poi=poi.astype(np.float32),
        xy=cells.xy,
        mass=mass,
        provenance={name: f"{label}, joined" for name, label in regions.provenance.items()},
    )
    return joined, cell.astype(np.int64), cells


def join_days(days: Days, cell: IntArray) -> Days:
    """Return days with each region's cell in its place.

    Parameters
    ----------
    days
        Days of the regions that ``cell`` tells the cells of.
    cell
        Row of the cell of each region, shape (R,).

    Returns
    -------
    joined
        Arrivals within the same cell fall away, unless the days have activity types, which tell
        arrivals apart.
    """
    region = np.where(days.region >= 0, cell[np.maximum(days.region, 0)], days.region)
    moved = replace(days, region=region.astype(np.int32))
    if (days.kind >= 0).any():
        return moved
    code, start, _ = runs(expand(moved), days.region.shape[1])
    return replace(
        moved,
        region=code.astype(np.int32),
        slot=start.astype(np.int8),
        kind=np.full(code.shape, -1, dtype=np.int8),
    )


def _k_means(xy: FloatArray, weight: FloatArray, count: int, seed: int) -> FloatArray:
    """Return the means (C, 2) of Lloyd's algorithm from k-means++ seeds.

    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """
    rng = seeds.stream(seed, "voronoi")
    centre = np.empty((count, 2))
    chance = weight.copy()
    near = np.full(len(xy), np.inf)
    for row in range(count):
        edges = np.cumsum(chance)
        chosen = int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))
        centre[row] = xy[min(chosen, len(xy) - 1)]
        near = np.minimum(near, ((xy - centre[row]) ** 2).sum(axis=1))
        chance = weight * near
    for _ in range(_ROUNDS):
        nearest = np.asarray(KDTree(centre).query(xy)[1])
        total = np.bincount(nearest, weight, minlength=count)
        sums = [np.bincount(nearest, weight * xy[:, axis], minlength=count) for axis in (0, 1)]
        moved = np.where(
            total[:, None] > 0, np.column_stack(sums) / np.maximum(total, 1e-300)[:, None], centre
        )
        if np.allclose(moved, centre, atol=0.1):
            break
        centre = moved
    return centre


def _id(x: float, y: float) -> int:
    digest = hashlib.blake2b(f"voronoi:{x:.1f}:{y:.1f}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _polygons(xy: FloatArray, boundary: shapely.Geometry) -> npt.NDArray[np.object_]:
    if len(xy) == 1:
        return np.array([boundary], dtype=object)
    cells = shapely.voronoi_polygons(
        shapely.multipoints(xy), extend_to=shapely.envelope(boundary), ordered=True
    )
    return shapely.intersection(shapely.get_parts(cells), boundary)


def _polygons_of(
    cells: Voronoi, used: IntArray, boundary: shapely.Geometry | None
) -> npt.NDArray[np.object_]:
    """Return the polygons of some of the cells, drawn anew if others fall away."""
    if len(used) == len(cells.xy):
        return cells.polygon
    whole = shapely.union_all(cells.polygon) if boundary is None else boundary
    return _polygons(cells.xy[used], whole)
