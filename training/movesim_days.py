"""MoveSim's own split in its own places: Beijing's location ids, for its own metrics.

Generators of regions have no location ids: a region becomes one of the locations that training days
visit in it, drawn by its visits, the same one for the day. The days compared are those of the
published validation part that stay within the city, as everywhere else here.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyproj import Transformer
from scipy.spatial import KDTree

from raygen import seeds
from raygen.geolife import BOX, CRS, read_days

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MoveSimDays:
    """Days of location ids, and where they are."""

    train: IntArray
    """Shape (N, 48)."""
    validation: IntArray
    """Shape (H, 48)."""
    where: FloatArray
    """Latitude and longitude, shape (L, 2)."""


def read_movesim(directory: Path) -> MoveSimDays:
    """Read the days within the city's bounding box as location ids."""
    where = np.loadtxt(directory / "locations.txt", ndmin=2)
    south, north, west, east = BOX
    inside = (where[:, 0] > south) & (where[:, 0] < north)
    inside &= (where[:, 1] > west) & (where[:, 1] < east)
    train, validation = (read_days(directory, split) for split in ("train", "val"))
    return MoveSimDays(
        train[inside[train].all(axis=1)], validation[inside[validation].all(axis=1)], where
    )


def locations_of(
    days: npt.NDArray[np.int32], xy: FloatArray, movesim: MoveSimDays, seed: int
) -> IntArray:
    """Return days of regions (M, 48) as days of location ids.

    Parameters
    ----------
    days
        Region row of each half-hour.
    xy
        Centres of the regions in metres of ``raygen.geolife.CRS``, shape (R, 2).
    movesim
        Training days and places.
    seed
        Root of the draws.
    """
    ids, visits = np.unique(movesim.train, return_counts=True)
    to_metres = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    place = np.column_stack(to_metres.transform(movesim.where[ids, 1], movesim.where[ids, 0]))
    region = np.asarray(KDTree(xy).query(place)[1], dtype=np.int64)
    order = np.argsort(region, kind="stable")
    ids, edges = ids[order], np.append(0.0, np.cumsum(visits[order], dtype=np.float64))
    first = np.searchsorted(region[order], np.arange(len(xy)))
    last = np.searchsorted(region[order], np.arange(len(xy)), side="right")
    found = np.empty(days.shape, dtype=np.int64)
    for row, day in enumerate(days):
        known, which = np.unique(day, return_inverse=True)
        low, high = edges[first[known]], edges[last[known]]
        draw = seeds.stream(seed, "movesim-place", row).random(len(known))
        chosen = np.searchsorted(edges, low + draw * (high - low), side="right") - 1
        found[row] = ids[np.clip(chosen, first[known], last[known] - 1)][which]
    return found
