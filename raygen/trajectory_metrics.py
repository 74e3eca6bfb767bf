"""Measures of generated trajectories against real ones: the eight of HTP, and length.

Two presets. ``htp`` has the formulas of the paper's released code, with their quirks: bins over
the pooled range whose number grows with the sample, a mean for a radius, a Jaccard index for a
recall. ``htp-corrected`` has fixed bins, the root mean square that the paper's A.4 describes, and
F1. All divergences are Jensen-Shannon's to base 2, without a root; distances are haversine's.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import shapely

from raygen.errors import DataError
from raygen.network.graph import FloatArray, IntArray, RowArray
from raygen.network.routing import summed
from raygen.trajectories.plane import PlaneRoads

Preset = Literal["htp", "htp-corrected"]

METRICS = ("t_dist", "s_dist", "radius", "g_den", "g_pat", "r_den", "r_pat", "pr_dist", "length")
"""The paper's order; ``length`` is the divergence of numbers of points, Figure 7."""

IDEAL = {name: 1.0 if name in ("g_den", "g_pat", "r_den", "r_pat") else 0.0 for name in METRICS}
"""What equal sets give."""

TOP = 100
"""Cells and roads of the patterns."""

CELL_M = 100.0
"""Side of a grid cell."""

PORTO_BOX = (-8.69, 41.13, -8.55, 41.19)
"""West, south, east, north of the released code's Porto."""

EARTH_M = 6_371_000.0
_EPSILON = 1e-10
_DECIMALS = 6  # of degrees, in the released code

_FIXED: dict[str, FloatArray] = {
    "t_dist": np.arange(0, 40_001, 500.0),
    "s_dist": np.arange(0, 751, 15.0),
    "radius": np.arange(0, 15_001, 250.0),
    "pr_dist": np.arange(0, 51, 1.0),
    "length": np.arange(0, 206, 5.0),
}
"""Edges of ``htp-corrected`` in metres or points; what lies above the last has a bin of its own."""


@dataclass(frozen=True)
class Measured:
    """N trajectories with the figures that the measures compare."""

    first: IntArray
    lon_lat: FloatArray
    """Degrees, shape (P, 2)."""
    segment: RowArray
    """The road that each point is held to lie on, shape (P,)."""
    road_m: FloatArray
    """Metres from each point to that road, shape (P,)."""


def measured(graph: PlaneRoads, first: IntArray, xy: FloatArray, segment: RowArray) -> Measured:
    """Return what is measured of trajectories.

    A point's place on its road is the nearest in degrees, as the released code has it; the way
    there is measured on the sphere.

    Parameters
    ----------
    graph
        The roads.
    first, xy
        As in ``Traces``; every trajectory has a point.
    segment
        Road of each point.

    Raises
    ------
    DataError
        If there is no trajectory, one is empty, or a coordinate is not finite.
    """
    if len(first) < 2 or (np.diff(first) == 0).any() or not np.isfinite(xy).all():  # noqa: PLR2004
        msg = "trajectories: must be one or more, each of one or more finite points"
        raise DataError(msg)
    lon_lat = np.round(graph.to_degrees(xy), _DECIMALS)
    lines, points = graph.network.lines()[segment], shapely.points(lon_lat)
    on = shapely.line_interpolate_point(lines, shapely.line_locate_point(lines, points))
    road = haversine(lon_lat, shapely.get_coordinates(on))
    return Measured(first, lon_lat, segment, road)


def scores(
    real: Measured, made: Measured, preset: Preset, box: tuple[float, float, float, float]
) -> dict[str, float]:
    """Return the measures by name, ``METRICS``.

    Parameters
    ----------
    real, made
        Real and generated trajectories.
    preset
        ``htp`` or ``htp-corrected``.
    box
        West, south, east, north of the grid, in degrees; points outside do not count there.

    Raises
    ------
    DataError
        If the preset is unknown, or no point is inside the box.
    """
    if preset not in ("htp", "htp-corrected"):
        msg = f"trajectory metrics: preset must be htp or htp-corrected, got {preset!r}"
        raise DataError(msg)
    quirks = preset == "htp"
    pair = [_figures(one, quirks) for one in (real, made)]
    found: dict[str, float] = {}
    for name in ("t_dist", "s_dist", "radius", "pr_dist", "length"):
        p, g = pair[0][name], pair[1][name]
        edges = pooled_edges(p, g) if quirks else np.append(_FIXED[name], np.inf)
        found[name] = divergence(p, g, edges)
    visits = [collapsed(one.first, grid_cells(one.lon_lat, box)) for one in (real, made)]
    roads = [collapsed(one.first, one.segment.astype(np.int64)) for one in (real, made)]
    for kind, (p, g) in (("g", visits), ("r", roads)):
        found[f"{kind}_den"] = density(p, g)
        found[f"{kind}_pat"] = pattern(p, g, TOP, jaccard=quirks)
    return {name: found[name] for name in METRICS}


def card(preset: Preset) -> dict[str, str]:
    """Return how a preset's numbers come about, to be printed beside them."""
    pooled = "linspace over pooled range, min(50, max(5, int(log2(n_real + n_gen)) + 1)) edges"
    fixed = "fixed: " + ", ".join(f"{k} {v[1]:g} to {v[-1]:g}" for k, v in _FIXED.items())
    quirks = preset == "htp"
    return {
        "preset": preset,
        "version": "1",
        "log_base": "2",
        "distance": "divergence, no root",
        "epsilon": str(_EPSILON),
        "edges": pooled if quirks else fixed + ", and one above",
        "radius": "mean distance" if quirks else "root mean square distance",
        "pattern": f"top {TOP}, " + ("precision and Jaccard" if quirks else "F1"),
    }


def haversine(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return metres between points of degrees, shape (P,)."""
    lon_a, lat_a, lon_b, lat_b = np.radians([a[:, 0], a[:, 1], b[:, 0], b[:, 1]])
    half = np.sin((lat_b - lat_a) / 2) ** 2
    half += np.cos(lat_a) * np.cos(lat_b) * np.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_M * np.arcsin(np.sqrt(np.clip(half, 0, 1)))


def step_lengths(first: IntArray, lon_lat: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return metres from each point to the one before it, and which points have one before."""
    gone = np.zeros(len(lon_lat))
    gone[1:] = haversine(lon_lat[:-1], lon_lat[1:])
    has = np.ones(len(lon_lat), dtype=bool)
    has[first[:-1]] = False
    return np.where(has, gone, 0.0), has


def radii(first: IntArray, lon_lat: FloatArray, *, square: bool) -> FloatArray:
    """Return the mean (or root mean square) distance to the mean longitude and latitude."""
    count = np.diff(first)
    centre = np.column_stack([summed(lon_lat[:, axis].copy(), first) / count for axis in (0, 1)])
    far = haversine(lon_lat, np.repeat(centre, count, axis=0))
    return np.sqrt(summed(far**2, first) / count) if square else summed(far, first) / count


def pooled_edges(real: FloatArray, made: FloatArray) -> FloatArray:
    """Return the released code's edges: their number grows with the logarithm of the sample."""
    number = min(50, max(5, int(np.log2(len(real) + len(made))) + 1))
    low, high = min(real.min(), made.min()), max(real.max(), made.max())
    return np.linspace(low - 1e-6, high + 1e-6, number)


def divergence(real: FloatArray, made: FloatArray, edges: FloatArray) -> float:
    """Return the Jensen-Shannon divergence to base 2 of two samples in given bins, 0 to 1."""
    p, g = (np.histogram(values, edges)[0] for values in (real, made))
    p, g = (count / max(count.sum(), 1) + _EPSILON for count in (p, g))
    p, g = p / p.sum(), g / g.sum()
    middle = (p + g) / 2
    return float((p * np.log2(p / middle)).sum() / 2 + (g * np.log2(g / middle)).sum() / 2)


def grid_cells(lon_lat: FloatArray, box: tuple[float, float, float, float]) -> IntArray:
    """Return the cell of about 100 m of each point; -1 outside of the box or on its edge."""
    west, south, east, north = box
    corner = np.array([[west, south]])
    rows = int(haversine(corner, np.array([[west, north]]))[0] // CELL_M)
    columns = int(haversine(corner, np.array([[east, south]]))[0] // CELL_M)
    if rows < 1 or columns < 1:
        msg = f"trajectory metrics: box must be of 100 m or more, got {box}"
        raise DataError(msg)
    lon, lat = lon_lat.T
    inside = (lon > west) & (lon < east) & (lat > south) & (lat < north)
    row = ((lat - south) / (north - south) * rows).astype(np.int64)
    column = ((lon - west) / (east - west) * columns).astype(np.int64)
    return np.where(inside, row * columns + column, -1)


def collapsed(first: IntArray, place: IntArray) -> IntArray:
    """Return the places visited, without those equal to the one before in the same trajectory.

    Places of -1 are left out first.
    """
    of = np.repeat(np.arange(len(first) - 1), np.diff(first))[place >= 0]
    place = place[place >= 0]
    again = np.zeros(len(place), dtype=bool)
    again[1:] = (place[1:] == place[:-1]) & (of[1:] == of[:-1])
    return place[~again]


def density(real: IntArray, made: IntArray) -> float:
    """Return the cosine of the counts of visits to places.

    Raises
    ------
    DataError
        If one side visits nothing.
    """
    if len(real) == 0 or len(made) == 0:
        msg = "trajectory metrics: no point is inside the grid's box"
        raise DataError(msg)
    size = int(max(real.max(), made.max())) + 1
    p, g = (np.bincount(places, minlength=size).astype(np.float64) for places in (real, made))
    return float(p @ g / np.sqrt((p @ p) * (g @ g)))


def pattern(real: IntArray, made: IntArray, top: int, *, jaccard: bool) -> float:
    """Return how far the most visited places agree.

    Parameters
    ----------
    real, made
        Places visited.
    top
        Places that count on each side; of equally visited ones the lower numbers.
    jaccard
        Take the Jaccard index for the recall, as the released code does.
    """
    a, b = (_most_visited(places, top) for places in (real, made))
    both = len(a & b)
    precision, recall = both / len(b), both / (len(a | b) if jaccard else len(a))
    return 2 * precision * recall / (precision + recall) if both else 0.0


def _most_visited(places: IntArray, top: int) -> set[int]:
    place, count = np.unique(places, return_counts=True)
    return set(place[np.argsort(-count, kind="stable")[:top]].tolist())


def _figures(one: Measured, quirks: bool) -> dict[str, FloatArray]:
    step, has = step_lengths(one.first, one.lon_lat)
    return {
        "t_dist": summed(step, one.first),
        "s_dist": step[has],
        "radius": radii(one.first, one.lon_lat, square=not quirks),
        "pr_dist": one.road_m,
        "length": np.diff(one.first).astype(np.float64),
    }
