"""Where in a ZIP people live and work, and its split into zones: synthesised.

A ZIP's Voronoi cell holds mountains and desert. Its settled area is capped at the true land area
and at what its people and jobs fill at 2,000 per square mile. Where a cell is larger (see
``SLACK``), only the part nearest to the ZIP's point is kept or, in ZIPs of mountain and desert,
nearest to the town (``TOWNS``).

A settled area is split by k-means, weighted by the potential of the surrounding ZIPs, into zones of
about ``ZONE_LOAD`` people (a job counts ``JOB_LOAD`` people); a zone is the Voronoi cell of its
centre in the settled area.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from scipy.spatial.distance import cdist
from shapely.geometry.base import BaseGeometry

from raygen import seeds
from raygen.cities.los_angeles.zips import CRS, Zips
from raygen.city_files.projection import to_metres

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ShapeArray = npt.NDArray[np.object_]

SEED = 0
"""Root of the builder's random streams; part of the city, not of a run."""

ZONE_LOAD = 8_000
"""People and weighted jobs of a zone: gives about 1,500 zones in the county."""

JOB_LOAD = 0.45
"""People that a job counts for in ``ZONE_LOAD``."""

FRINGE_M2 = 1609.344**2 / 2000
"""Area per person or job in the least dense settled land, 2,000 per square mile: assumed, about
half the density of the county's thinnest urban area (Palmdale and Lancaster)."""

SLACK = 2.0
"""How much larger than the cap a cell below ``TOWN_M2`` may be before it is trimmed: within the
city, Voronoi cells differ from ZIPs, but there is no empty land."""

TOWN_M2 = 4.0e7

REACH_M = 4_000.0
"""Distance over which the potential of a ZIP falls to 1/e."""

TOWNS = {
    90265: (34.030, -118.700),
    90290: (34.100, -118.600),
    90704: (33.343, -118.325),
    91001: (34.185, -118.135),
    91010: (34.140, -117.960),
    91011: (34.205, -118.200),
    91016: (34.145, -118.000),
    91040: (34.260, -118.320),
    91042: (34.255, -118.285),
    91301: (34.145, -118.760),
    91302: (34.150, -118.650),
    91321: (34.380, -118.520),
    91342: (34.305, -118.430),
    91350: (34.450, -118.500),
    91381: (34.385, -118.580),
    91384: (34.475, -118.620),
    91387: (34.415, -118.430),
    91390: (34.470, -118.500),
    91702: (34.125, -117.905),
    91711: (34.105, -117.715),
    91741: (34.140, -117.850),
    91750: (34.110, -117.770),
    91759: (34.235, -117.660),
    92397: (34.360, -117.630),
    93510: (34.480, -118.190),
    93532: (34.670, -118.440),
    93534: (34.690, -118.145),
    93535: (34.690, -118.080),
    93536: (34.670, -118.210),
    93543: (34.520, -117.970),
    93544: (34.500, -117.820),
    93550: (34.570, -118.090),
    93551: (34.600, -118.180),
    93552: (34.570, -118.040),
    93553: (34.500, -117.910),
    93563: (34.445, -117.850),
    93591: (34.607, -117.825),
}
"""Latitude and longitude of the town of ZIPs that are mostly mountain or desert: assumed, from
general knowledge of the county, to about a kilometre."""

_MIN_SETTLED_M2 = 1.5e5
_MIN_ZONE_M2 = 1.5e5  # no zone smaller than a few blocks on average
_POINTS = 150  # sample points of a zone in k-means
_ROUNDS = 25
_BISECTIONS = 20


@dataclass(frozen=True)
class Split:
    """The zones of the county, ordered by ZIP row, Z zones."""

    zip_row: IntArray
    """Shape (Z,)."""
    polygon: ShapeArray
    """Shape (Z,), in the projected CRS."""
    weight: FloatArray
    """Shape (Z,): share of the ZIP's people; 1 in sum over a ZIP."""


def split_zips(zips: Zips) -> Split:
    """Cut every ZIP's settled area into zones."""
    rows: list[int] = []
    polygons: list[BaseGeometry] = []
    weights: list[float] = []
    for row in range(len(zips.zip)):
        zones, weight = _split(zips, row, settled_area(zips, row))
        rows += [row] * len(zones)
        polygons += zones
        weights += weight.tolist()
    shapes = np.array(polygons, dtype=np.object_)
    return Split(np.array(rows), shapes, np.array(weights))


def settled_area(zips: Zips, row: int) -> BaseGeometry:
    """Return the polygon that a ZIP's people and jobs are in, in the projected CRS."""
    cell = zips.polygon[row]
    load = zips.population[row] + zips.jobs[row]
    cap = max(min(zips.land_m2[row], load * FRINGE_M2), _MIN_SETTLED_M2)
    slack = SLACK if cell.area < TOWN_M2 else 1.0
    if cap * slack >= cell.area:
        return cell
    lat, lon = TOWNS.get(int(zips.zip[row]), zips.lonlat[row, ::-1])
    return _nearest_part(cell, to_metres(np.array([[lon, lat]]), CRS)[0], cap)


def _nearest_part(cell: BaseGeometry, centre: FloatArray, area: float) -> BaseGeometry:
    """Return the part of a cell within a disc about a point that has this area, by bisection.

    Pieces of under a fifth of the part are left out.
    """
    point = shapely.Point(centre)
    low, high = 0.0, float(shapely.hausdorff_distance(point, cell))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if cell.intersection(point.buffer(middle, quad_segs=8)).area < area:
            low = middle
        else:
            high = middle
    part = cell.intersection(point.buffer(high, quad_segs=8))
    return shapely.union_all([p for p in shapely.get_parts(part) if p.area > part.area / 5])


def _potential(zips: Zips, xy: FloatArray) -> FloatArray:
    """Return people and jobs around points of shape (M, 2), falling off with distance."""
    load = (zips.population + zips.jobs).astype(np.float64)
    return np.exp(-cdist(xy, zips.xy) / REACH_M) @ load


def _grid(shape: BaseGeometry, step: float) -> FloatArray:
    """Return the points of a square grid that lie in a shape, (M, 2)."""
    west, south, east, north = shape.bounds
    x, y = np.meshgrid(np.arange(west + step / 2, east, step), np.arange(south, north, step))
    xy = np.stack([x.ravel(), y.ravel()], axis=1)
    return xy[shapely.contains_xy(shape, xy[:, 0], xy[:, 1])]


def _split(zips: Zips, row: int, settled: BaseGeometry) -> tuple[list[BaseGeometry], FloatArray]:
    """Return the zones of one ZIP and their shares of its people."""
    load = zips.population[row] + JOB_LOAD * zips.jobs[row]
    room = int(settled.area / _MIN_ZONE_M2)
    count = max(1, min(round(load / ZONE_LOAD), room))
    if count == 1:
        return [settled], np.ones(1)
    rng = seeds.stream(SEED, "los_angeles zones", int(zips.zip[row]))
    xy = _grid(settled, float(np.sqrt(settled.area / (_POINTS * count))))
    # The root: density varies less within a ZIP than its potential, by orders of magnitude.
    mass = np.sqrt(_potential(zips, xy))
    centre = _centres(xy, mass, count, rng)
    cells = shapely.voronoi_polygons(
        shapely.MultiPoint(centre), extend_to=settled.envelope.buffer(1000), ordered=True
    )
    zones = [settled.intersection(cell) for cell in shapely.get_parts(cells)]
    nearest = cdist(xy, centre).argmin(axis=1)
    share = np.bincount(nearest, mass, count) * rng.lognormal(0.0, 0.2, count)
    return zones, share / share.sum()


def _centres(xy: FloatArray, mass: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """Return k-means centres, shape (count, 2); k-means++ start, Lloyd's rounds."""
    chosen = [int(rng.choice(len(xy), p=mass / mass.sum()))]
    far = cdist(xy, xy[chosen], "sqeuclidean")[:, 0]
    for _ in range(count - 1):
        pull = far * mass
        chosen.append(int(rng.choice(len(xy), p=pull / pull.sum())))
        far = np.minimum(far, ((xy - xy[chosen[-1]]) ** 2).sum(axis=1))
    centre = xy[chosen]
    for _ in range(_ROUNDS):
        nearest = cdist(xy, centre).argmin(axis=1)
        total = np.bincount(nearest, mass, count)[:, None]
        sums = [np.bincount(nearest, mass * xy[:, axis], count) for axis in (0, 1)]
        # A centre that lost all its points stays where it is.
        centre = np.where(total > 0, np.stack(sums, axis=1) / np.maximum(total, 1e-300), centre)
    return centre
