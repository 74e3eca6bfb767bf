"""Where in a ZIP people live and work, and its split into zones: synthesised.

A ZIP's Voronoi cell holds mountains and desert. Its settled area is capped at the true land area
and at what its people and jobs fill at 1,000 per square mile, the density of an urban core in the
Census Bureau's 2010 criteria. Where a cell is larger (see ``SLACK``), only the part with the
highest potential is kept: the sum over the other ZIPs of (people + jobs) / distance², so that
the settled part of a mountain ZIP lies towards the towns. Distances are to the ZIPs' points first,
then to the settled areas that came of it. Very small ZIPs are discs about their point.

A settled area is split by k-means, weighted by potential, into zones of about ``ZONE_LOAD`` people
(a job counts ``JOB_LOAD`` people); a zone is the Voronoi cell of its centre in the settled area.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from scipy.spatial.distance import cdist
from shapely.geometry.base import BaseGeometry

from raygen import seeds
from raygen.cities.los_angeles.zips import Zips

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ShapeArray = npt.NDArray[np.object_]

SEED = 0
"""Root of the builder's random streams; part of the city, not of a run."""

ZONE_LOAD = 8_000
"""People and weighted jobs of a zone: gives about 1,500 zones in the county."""

JOB_LOAD = 0.45
"""People that a job counts for in ``ZONE_LOAD``."""

FRINGE_M2 = 1609.344**2 / 1000
"""Area per person or job at the urban fringe: 1,000 per square mile."""

SLACK = 1.5
"""How much larger than the cap a cell below ``TOWN_M2`` may be before it is trimmed: within the
city, Voronoi cells differ from ZIPs, but there is no empty land."""

TOWN_M2 = 4.0e7

_MIN_SETTLED_M2 = 1.5e5
_MIN_ZONE_M2 = 1.5e5  # no zone smaller than a few blocks on average
_DISC_M2 = 2.5e6  # below this a settled area is a disc
_CELLS = 250  # grid cells of a trimmed settled area
_POINTS = 150  # sample points of a zone in k-means
_ROUNDS = 25
_PASSES = 2
_SIMPLE_M = 60.0
_POTENTIAL_FLOOR_M2 = 1500.0**2


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
    centre = zips.xy
    settled: list[BaseGeometry] = []
    for _ in range(_PASSES):
        settled = [settled_area(zips, row, centre) for row in range(len(zips.zip))]
        centre = np.array([shapely.get_coordinates(area.centroid)[0] for area in settled])
    for row, area in enumerate(settled):
        zones, weight = _split(zips, row, area, centre)
        rows += [row] * len(zones)
        polygons += zones
        weights += weight.tolist()
    shapes = np.array(polygons, dtype=np.object_)
    return Split(np.array(rows), shapes, np.array(weights))


def settled_area(zips: Zips, row: int, centre: FloatArray) -> BaseGeometry:
    """Return the polygon that a ZIP's people and jobs are in.

    Parameters
    ----------
    zips
        All ZIPs.
    row
        The ZIP.
    centre
        Where the ZIPs' people are taken to be, shape (288, 2), projected metres.
    """
    cell = zips.polygon[row]
    load = zips.population[row] + zips.jobs[row]
    cap = max(min(zips.land_m2[row], load * FRINGE_M2), _MIN_SETTLED_M2)
    slack = SLACK if cell.area < TOWN_M2 else 1.0
    if cap * slack >= cell.area:
        return cell
    if cap < _DISC_M2:
        return _disc(cell, zips.xy[row], cap)
    return _densest(zips, row, cap, centre)


def _disc(cell: BaseGeometry, centre: FloatArray, area: float) -> BaseGeometry:
    """Return the disc about a point that has this area within the cell, by bisection."""
    low, high = 0.0, 4.0 * float(np.sqrt(area))
    point = shapely.Point(centre)
    for _ in range(40):
        middle = (low + high) / 2
        if cell.intersection(point.buffer(middle)).area < area:
            low = middle
        else:
            high = middle
    return cell.intersection(point.buffer(high))


def _potential(zips: Zips, xy: FloatArray, centre: FloatArray, but: int = -1) -> FloatArray:
    """Return the potential of points of shape (M, 2) from all ZIPs but one, per m²."""
    load = (zips.population + zips.jobs).astype(np.float64)
    # A large ZIP's people are spread out: near its centre it pulls no more than its own density.
    spread = np.minimum(zips.land_m2, load * FRINGE_M2) / np.pi
    load[but if but >= 0 else slice(0)] = 0.0
    square = cdist(xy, centre, "sqeuclidean")
    return (load / (square + np.maximum(spread, _POTENTIAL_FLOOR_M2))).sum(axis=1)


def _grid(shape: BaseGeometry, step: float) -> FloatArray:
    """Return the points of a square grid that lie in a shape, (M, 2)."""
    west, south, east, north = shape.bounds
    x, y = np.meshgrid(np.arange(west + step / 2, east, step), np.arange(south, north, step))
    xy = np.stack([x.ravel(), y.ravel()], axis=1)
    return xy[shapely.contains_xy(shape, xy[:, 0], xy[:, 1])]


def _densest(zips: Zips, row: int, area: float, centre: FloatArray) -> BaseGeometry:
    """Return the part of a ZIP's cell with the highest potential and about this area."""
    cell = zips.polygon[row]
    step = float(np.sqrt(area / _CELLS))
    xy = _grid(cell, step)
    kept = xy[np.argsort(-_potential(zips, xy, centre, row), kind="stable")[:_CELLS]]
    # Discs that reach over the grid's diagonal close it; the way back leaves half a step around.
    rounded = shapely.MultiPoint(kept).buffer(step, quad_segs=4).buffer(-step / 2)
    return _largest(cell.intersection(rounded.simplify(_SIMPLE_M)))


def _largest(shape: BaseGeometry) -> BaseGeometry:
    """Return a shape's polygons of over a fifth of its area; slivers go."""
    parts = [part for part in shapely.get_parts(shape) if part.area > shape.area / 5]
    return shapely.union_all(parts)


def _split(
    zips: Zips, row: int, settled: BaseGeometry, centres: FloatArray
) -> tuple[list[BaseGeometry], FloatArray]:
    """Return the zones of one ZIP and their shares of its people."""
    load = zips.population[row] + JOB_LOAD * zips.jobs[row]
    room = int(settled.area / _MIN_ZONE_M2)
    count = max(1, min(round(load / ZONE_LOAD), room))
    if count == 1:
        return [settled], np.ones(1)
    rng = seeds.stream(SEED, "los_angeles zones", int(zips.zip[row]))
    xy = _grid(settled, float(np.sqrt(settled.area / (_POINTS * count))))
    mass = _potential(zips, xy, centres)
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
