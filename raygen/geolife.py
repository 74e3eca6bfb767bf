"""Days of Beijing as MoveSim published them, and the regions that they visit.

Input: ``days_train.txt.gz`` and ``days_val.txt.gz`` (48 half-hour slots a line, location ids),
``locations.txt`` (latitude and longitude of each id) and ``pois.csv`` (lon, lat, cat: tourism tags
of OpenStreetMap). Feng et al., "Learning to simulate human mobility", KDD 2020; GeoLife, Microsoft
Research. The days count half hours of UTC and so begin at 8:00 of Beijing: they are kept as they
are, since the place at their end is not that at their beginning, and ``Days.begins`` says so. Only
days that stay within the city's bounding box are kept; a region is an H3 cell of
resolution 8 that a training day visits.

POI distributions. The POIs are of tourism alone, 982 in all, and four categories that they lack are
told from how long and when training days dwell in a region (calibrated, from training days alone):
residential, 0 h to 6 h; companies, stays of 3 h or more around midday; education (the evening
stays of 90 minutes or more, mostly on campuses); transportation, stays of one slot. Both
parts are smoothed over the plane by the kernel (1 + (d / 1 km)²)^(−3/2), as counts of all POIs of a
city would be smooth, and weigh the same.
"""

import gzip
from pathlib import Path

import h3
import numpy as np
import numpy.typing as npt
from pyarrow import csv
from pyproj import Transformer
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from raygen.errors import DataError
from raygen.mobility import Days, Regions, runs
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES

BEGINS = 16
"""Half hour of Beijing's clock at which the days begin."""

BOX = (39.7, 40.2, 116.0, 116.8)
"""South, north, west, east bound of the city, degrees."""

CRS = "EPSG:32650"

_TAGS = {
    "hotels": ("hotel", "hostel", "guest_house", "motel", "chalet", "apartment", "alpine_hut"),
    "tourism": ("attraction", "viewpoint", "information", "picnic_site", "camp_site"),
    "leisure": ("artwork", "museum", "gallery", "theme_park", "caravan_site", "yes"),
}
_RESOLUTION = 8
_KERNEL_M = 1000.0
_LONG_STAY = 6  # slots
_NIGHT = 12  # slots after midnight
_PSEUDO = 2.0  # dwell slots of the city's mean that a region's own are mixed with


def read_days(directory: Path, split: str) -> npt.NDArray[np.int64]:
    """Return location ids of the days of ``train`` or ``val``, shape (N, 48)."""
    path = directory / f"days_{split}.txt.gz"
    try:
        with gzip.open(path, "rt") as file:
            days = np.loadtxt(file, dtype=np.int64, ndmin=2)
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read as days: {error}"
        raise DataError(msg) from None
    if days.shape[1] != PLAN_SLOTS:
        msg = f"{path}: a day must have {PLAN_SLOTS} slots, got {days.shape[1]}"
        raise DataError(msg)
    return days


def read_mobility(directory: Path, entries: int) -> tuple[Regions, Days, Days]:
    """Read the regions of Beijing, its training days and its validation days.

    Parameters
    ----------
    directory
        Folder of the four files.
    entries
        Most entries of a day, K.

    Returns
    -------
    regions, train, validation
        A validation day's region that no training day visits is the nearest one that is.

    Raises
    ------
    DataError
        If a file is missing or malformed, or names a location that ``locations.txt`` lacks.
    """
    where = _read_places(directory / "locations.txt")
    south, north, west, east = BOX
    inside = (where[:, 0] > south) & (where[:, 0] < north)
    inside &= (where[:, 1] > west) & (where[:, 1] < east)
    days = {split: read_days(directory, split) for split in ("train", "val")}
    for split, ids in days.items():
        if ids.min() < 0 or ids.max() >= len(where):
            msg = f"{directory}/days_{split}.txt.gz: location ids must be below {len(where)}, "
            msg += f"got {ids.min()} to {ids.max()}"
            raise DataError(msg)
    kept = {split: ids[inside[ids].all(axis=1)] for split, ids in days.items()}
    cell = np.zeros(len(where), dtype=np.uint64)
    cell[inside] = [
        h3.str_to_int(h3.latlng_to_cell(lat, lon, _RESOLUTION))
        for lat, lon in where[inside].tolist()
    ]
    ids, train = np.unique(cell[kept["train"]], return_inverse=True)
    centre = np.array([h3.cell_to_latlng(h3.int_to_str(int(c))) for c in ids])
    to_metres = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    xy = np.column_stack(to_metres.transform(centre[:, 1], centre[:, 0]))
    place = np.column_stack(to_metres.transform(where[:, 1], where[:, 0]))
    nearest = np.asarray(KDTree(xy).query(place[kept["val"]])[1], dtype=np.int64)
    dwell = _dwell(train, len(ids))
    regions = Regions(
        name="beijing",
        region_id=ids,
        poi=_distributions(_poi_counts(directory, xy), _kernel(xy, xy) @ dwell),
        xy=xy,
        mass=1.0 + np.bincount(train.ravel(), minlength=len(ids)).astype(np.float64),
        provenance={
            "poi": "calibrated: OpenStreetMap tourism POIs and dwell times of training days",
            "mass": "observed: slots of training days",
        },
    )
    return regions, _days(train, entries), _days(nearest, entries)


def _read_places(path: Path) -> npt.NDArray[np.float64]:
    """Return latitude and longitude of each location id, shape (L, 2)."""
    try:
        return np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read as latitudes and longitudes: {error}"
        raise DataError(msg) from None


def _days(region: npt.NDArray[np.integer], entries: int) -> Days:
    code, start, cut = runs(region, entries)
    unknown = np.full(code.shape, -1, dtype=np.int8)
    return Days(code.astype(np.int32), start.astype(np.int8), unknown, cut, BEGINS)


def _poi_counts(directory: Path, xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return smoothed POI counts of each region and category, shape (R, 14)."""
    table = csv.read_csv(directory / "pois.csv")
    lon, lat = (table.column(name).to_numpy() for name in ("lon", "lat"))
    column = {tag: POI_CATEGORIES.index(word) for word, tags in _TAGS.items() for tag in tags}
    category = np.array([column[tag] for tag in table.column("cat").to_pylist()])
    to_metres = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    place = np.column_stack(to_metres.transform(lon, lat))
    kernel = _kernel(xy, place)
    counts = np.zeros((len(xy), len(POI_CATEGORIES)))
    for code in np.unique(category):
        counts[:, code] = kernel[:, category == code].sum(axis=1)
    return counts


def _kernel(
    here: npt.NDArray[np.float64], there: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return how much of what is ``there`` counts ``here``, shape (N, M)."""
    gap = cdist(here, there).astype(np.float64)
    return (1.0 + (gap / _KERNEL_M) ** 2) ** -1.5


def _dwell(region: npt.NDArray[np.integer], count: int) -> npt.NDArray[np.float64]:
    """Return slots of training days spent in a region, told apart by when and how long (R, 14)."""
    code, start, _ = runs(region, PLAN_SLOTS)
    end = np.concatenate([start[:, 1:], np.full((len(start), 1), -1)], axis=1)
    end = np.where(end < 0, PLAN_SLOTS, end)
    held = code >= 0
    code, start, end = code[held], start[held], end[held]
    stay = end - start
    middle = (BEGINS + (start + end) // 2) % PLAN_SLOTS
    day = (middle >= 16) & (middle < 36) & (stay >= _LONG_STAY)  # noqa: PLR2004 - 8 h to 18 h
    evening = (middle >= 36) & (middle < 46) & (stay >= _LONG_STAY // 2)  # noqa: PLR2004
    midnight = PLAN_SLOTS - BEGINS
    night = np.clip(np.minimum(end, midnight + _NIGHT) - np.maximum(start, midnight), 0, None)
    slots = np.zeros((count, len(POI_CATEGORIES)))
    for word, weight in (
        ("residential", night),
        ("companies", stay * day),
        ("education", stay * evening),
        ("transportation", 1.0 * (stay == 1)),
    ):
        slots[:, POI_CATEGORIES.index(word)] = np.bincount(code, weight, minlength=count)
    return slots


def _distributions(
    pois: npt.NDArray[np.float64], dwell: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    mean = dwell.sum(axis=0) / dwell.sum()
    used = dwell + _PSEUDO * mean
    poi = pois / pois.sum(axis=1, keepdims=True) + used / used.sum(axis=1, keepdims=True)
    return (poi / poi.sum(axis=1, keepdims=True)).astype(np.float32)
