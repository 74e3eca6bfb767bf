"""Days of New York as Foursquare check-ins, and the regions that they visit.

Input: a CSV file of the weekly check-in trajectories of Yang et al., "Modeling user activity
preference by leveraging user spatial temporal characteristics in LBSNs", IEEE Transactions on
Systems, Man, and Cybernetics: Systems 45, 2015, as multiple-aspect trajectories carry them
(April 2012 to February 2013; ``Foursquare_Sample.csv`` of the package mat-data): columns ``tid``,
``lat_lon``, ``date_time`` (New York's clock), ``root_type`` and ``type`` of the venue.

Persons. The file has no column of persons; weekly trajectories are numbered person by person and
week by week, so that a new person begins where the week does not rise. Persons of one part are
never split, and none is in two of the parts training, validation and test.

Days. A person-day is kept if it has check-ins in at least three of its 48 half-hours. A person is
taken to stay where the last check-in was, until the next one, and where the first was before it
(assumed: check-ins tell arrivals and no departures). A region is a cell of H3 that a training day
visits; a check-in of another part goes to the nearest one.

POI distributions (calibrated, from training persons alone): venues that were visited, by category,
and check-ins by category, each smoothed over the plane by (1 + (d / 500 m)²)^(−3/2), weigh the
same; the categories are UniMob's by ``raygen.foursquare_categories``.
"""

from dataclasses import dataclass
from pathlib import Path

import h3
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv
from pyproj import Transformer
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from raygen import seeds
from raygen.errors import DataError
from raygen.foursquare_categories import category_of
from raygen.mobility import Days, Regions, runs
from raygen.taxonomy import DAY_S, PLAN_SLOTS, POI_CATEGORIES

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

CRS = "EPSG:32618"

SPLIT_SEED = 1
"""Of the split by person, which is the same for every use."""

SHARES = (0.7, 0.1)
"""Shares of persons for training and validation; the rest is for the test."""

_FILE = "Foursquare_Sample.csv"
_COLUMNS = ("tid", "lat_lon", "date_time", "root_type", "type")
_LEAST = 3  # half-hours of a day with a check-in
_AS_TEXT = csv.ConvertOptions(
    include_columns=_COLUMNS, column_types={"lat_lon": pa.string(), "date_time": pa.timestamp("s")}
)
_KERNEL_M = 500.0
_MONDAY = 3  # days from the first Monday before 1970-01-01 to that day
_PSEUDO = 1.0  # counts of the city's mean that a region's own are mixed with


@dataclass(frozen=True)
class CheckIns:
    """C check-ins, ordered by person and time."""

    person: IntArray
    """Shape (C,), counted from 0."""
    second: IntArray
    """Of New York's clock since 1970, shape (C,)."""
    point: FloatArray
    """Latitude and longitude, shape (C, 2)."""
    category: IntArray
    """Index into POI_CATEGORIES, shape (C,)."""

    def take(self, rows: IntArray) -> "CheckIns":
        """Return the check-ins of these rows."""
        return CheckIns(self.person[rows], self.second[rows], self.point[rows], self.category[rows])


def read_check_ins(path: Path) -> CheckIns:
    """Read check-ins from a file, or from ``Foursquare_Sample.csv`` in a folder.

    Raises
    ------
    DataError
        If the file is missing or malformed, or a venue's category is unknown.
    """
    path = path / _FILE if path.is_dir() else path
    try:
        table = csv.read_csv(path, convert_options=_AS_TEXT)
        second = np.asarray(table.column("date_time").cast(pa.int64()))
        tid = np.asarray(table.column("tid").cast(pa.int64()))
        pairs = [text.split() for text in table.column("lat_lon").to_pylist()]
        point = np.array(pairs, dtype=np.float64).reshape(len(tid), 2)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        msg = f"{path}: cannot be read as check-ins: {error}"
        raise DataError(msg) from None
    if len(tid) == 0:
        msg = f"{path}: must have check-ins, has none"
        raise DataError(msg)
    venues = zip(
        table.column("root_type").to_pylist(), table.column("type").to_pylist(), strict=True
    )
    category = np.array([category_of(root, kind) for root, kind in venues], dtype=np.int64)
    order = np.lexsort((second, tid))
    person = persons(tid[order], second[order])
    return CheckIns(person, second[order], point[order], category[order])


def persons(tid: IntArray, second: IntArray) -> IntArray:
    """Return the person of each check-in, from 0, where the file tells none.

    Parameters
    ----------
    tid
        Trajectory of each check-in, ascending, shape (C,).
    second
        Its time, ascending within a trajectory.

    Returns
    -------
    person
        A new one begins with a trajectory whose week is not after that of the one before: two
        persons may be taken for one, but one is never taken for two.
    """
    begins = np.append(True, tid[1:] != tid[:-1])
    week = (second[begins] // DAY_S + _MONDAY) // 7
    new = np.append(False, week[1:] <= week[:-1])
    return np.cumsum(new)[np.cumsum(begins) - 1].astype(np.int64)


def person_days(check_ins: CheckIns, place: IntArray) -> tuple[IntArray, IntArray]:
    """Return kept person-days, the place under way in each half-hour, and their persons.

    Parameters
    ----------
    check_ins
        C check-ins.
    place
        Of each check-in, ≥ 0, shape (C,).

    Returns
    -------
    clock, person
        Shapes (N, 48) and (N,), by person and date.
    """
    date, slot = np.divmod(check_ins.second, DAY_S)
    slot = slot * PLAN_SLOTS // DAY_S
    begins = (date[1:] != date[:-1]) | (check_ins.person[1:] != check_ins.person[:-1])
    row = np.cumsum(np.append(False, begins))
    clock = np.full((int(row[-1]) + 1, PLAN_SLOTS), -1, dtype=np.int64)
    clock[row, slot] = place  # the last check-in of a half-hour stands
    known = clock >= 0
    kept = known.sum(axis=1) >= _LEAST
    latest = np.maximum.accumulate(np.where(known, np.arange(PLAN_SLOTS), -1), axis=1)
    latest = np.where(latest < 0, known.argmax(axis=1)[:, None], latest)
    person = check_ins.person[np.append(True, begins)]
    return np.take_along_axis(clock, latest, axis=1)[kept], person[kept]


def split_persons(count: int) -> IntArray:
    """Return the part of each person: 0 training, 1 validation, 2 test; shape (P,)."""
    rank = seeds.stream(SPLIT_SEED, "foursquare-split").permutation(count)
    edges = np.cumsum(SHARES) * count
    return np.searchsorted(edges, rank, side="right").astype(np.int64)


def read_mobility(
    path: Path, entries: int, resolution: int = 8
) -> tuple[Regions, Days, Days, Days]:
    """Read the regions of New York, and its days for training, validation and test.

    Parameters
    ----------
    path
        The file of check-ins, or its folder.
    entries
        Most entries of a day, K.
    resolution
        Of H3.

    Returns
    -------
    regions, train, validation, test
        No person is in two of the parts; regions and POIs are told from training persons alone.

    Raises
    ------
    DataError
        If the file is missing or malformed, or too small for three parts.
    """
    check_ins = read_check_ins(path)
    part = split_persons(int(check_ins.person.max()) + 1)
    seen = check_ins.take(np.flatnonzero(part[check_ins.person] == 0))
    if len(seen.person) == 0:
        msg = f"{path}: must have persons for training, validation and test, got {len(part)}"
        raise DataError(msg)
    ids, centre = _cells(seen, resolution)
    xy, place = _metres(centre), _metres(check_ins.point)
    region = np.asarray(KDTree(xy).query(place)[1], dtype=np.int64)
    inside = part[check_ins.person] == 0
    own = _h3(check_ins.point[inside], resolution)
    region[inside] = np.searchsorted(ids, own)
    clock, person = person_days(check_ins, region)
    days = [_days(clock[part[person] == number], entries) for number in range(3)]
    visits = np.bincount(clock[part[person] == 0].ravel(), minlength=len(ids))
    regions = Regions(
        name="new_york",
        region_id=ids,
        poi=_distributions(seen, xy),
        xy=xy,
        mass=1.0 + visits.astype(np.float64),
        provenance={
            "poi": "calibrated: venues and check-ins of training persons",
            "mass": "observed: slots of training days",
        },
    )
    return regions, days[0], days[1], days[2]


def _cells(check_ins: CheckIns, resolution: int) -> tuple[npt.NDArray[np.uint64], FloatArray]:
    """Return the cells that have check-ins, ascending, and their centres in degrees."""
    ids = np.unique(_h3(check_ins.point, resolution))
    return ids, np.array([h3.cell_to_latlng(h3.int_to_str(int(cell))) for cell in ids])


def _h3(point: FloatArray, resolution: int) -> npt.NDArray[np.uint64]:
    cells = [h3.str_to_int(h3.latlng_to_cell(lat, lon, resolution)) for lat, lon in point.tolist()]
    return np.array(cells, dtype=np.uint64)


def _metres(point: FloatArray) -> FloatArray:
    to_metres = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    return np.column_stack(to_metres.transform(point[:, 1], point[:, 0]))


def _days(clock: IntArray, entries: int) -> Days:
    code, start, cut = runs(clock, entries)
    unknown = np.full(code.shape, -1, dtype=np.int8)
    return Days(region=code.astype(np.int32), slot=start.astype(np.int8), kind=unknown, cut=cut)


def _distributions(check_ins: CheckIns, xy: FloatArray) -> npt.NDArray[np.float32]:
    """Return the POI distribution of each region, shape (R, 14)."""
    keys = np.column_stack([check_ins.point, check_ins.category.astype(np.float64)])
    venues, visits = np.unique(keys, axis=0, return_counts=True)
    gap = cdist(xy, _metres(venues[:, :2])).astype(np.float64)
    near = (1.0 + (gap / _KERNEL_M) ** 2) ** -1.5
    category = np.eye(len(POI_CATEGORIES))[venues[:, 2].astype(np.int64)]
    poi = np.zeros((len(xy), len(POI_CATEGORIES)))
    for weight in (np.ones(len(venues)), visits.astype(np.float64)):
        counts = near @ (category * weight[:, None])
        counts += _PSEUDO * counts.sum(axis=0) / counts.sum()
        poi += counts / counts.sum(axis=1, keepdims=True)
    return (poi / poi.sum(axis=1, keepdims=True)).astype(np.float32)
