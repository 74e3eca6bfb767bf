"""Incomplete day chains of Beijing, made of raw GPS as ``raygen stays`` makes them.

Input: the fixes of two GeoLife users (observed; times are UTC), with the 982 POIs of tourism
(observed, types by OSM tags: assumed). Stays, home, work and the rest as in DataFusion 6.1.1 and
4.1.1 (``raygen.stay_points``, ``raygen.inference``); the day chains before completion are what
Algorithm 1 takes as A_raw. Of the days that pass the quality filter, weekdays alone.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from pyarrow import csv

from raygen.annotation.metrics import ranking
from raygen.annotation.pois import read_pois
from raygen.annotation.tags import annotate_tags
from raygen.city_files.projection import to_metres
from raygen.errors import DataError
from raygen.geolife import BOX, CRS
from raygen.inference.completion import KnownDays, known_days
from raygen.inference.infer import infer_activities
from raygen.inference.pois import PoiIndex, poi_index
from raygen.inference.settings import InferenceConfig, TraceConfig
from raygen.inference.temporal import load_temporal
from raygen.stay_points.days import person_days
from raygen.stay_points.extract import find_stays
from raygen.stay_points.settings import StayConfig
from raygen.traces import TIME

TRACES = "traces_2_users.txt.gz"
TIME_ZONE = "Asia/Shanghai"

CONFIG = InferenceConfig(completeness=0.05, place_m=150.0)
"""Hotels and sights are few of the places that people visit; stays of walkers lie wider apart."""

_SATURDAY = 5
_PARTS = {"train": (0, 2), "validation": (1,), "test": (3,)}
"""Which of four successive weekdays a split has: half of them are trained on."""


@dataclass(frozen=True)
class TraceDays:
    """N weekdays of the users."""

    chains: npt.NDArray[np.int8]
    """Activity types, ``UNKNOWN`` where not known, shape (N, 96)."""

    people: npt.NDArray[np.int64]
    """Demographic group, student status, child; of each person, drawn; shape (N, 3)."""

    users: int


def geolife_fixes(folder: Path) -> pa.Table:
    """Return the fixes as ``raygen.traces`` would read them."""
    with gzip.open(folder / TRACES) as file:
        rows = csv.read_csv(file)
    when = rows.column("datetime").cast(pa.timestamp("ms")).cast(pa.int64()).cast(TIME)
    columns = [rows.column("uid"), when, rows.column("lng"), rows.column("lat")]
    return pa.table(columns, names=["person_id", "time", "lon", "lat"])


def geolife_pois(folder: Path) -> PoiIndex:
    """Return the POIs of Beijing with types by the published table of tags."""
    pois = read_pois(folder / "pois.csv")
    share = annotate_tags(pois.tags).distribution
    types = ranking(share)
    top = np.take_along_axis(share, types, axis=1)
    points = shapely.get_coordinates(shapely.from_wkb(pois.geometry.to_numpy(False)))
    probability = top / top.sum(axis=1, keepdims=True)
    return poi_index(to_metres(points, CRS), types.astype(np.int8), probability, CRS)


def read_trace_days(folder: Path) -> TraceDays:
    """Return the users' weekdays in the order of user and date.

    Raises
    ------
    DataError
        If a file is missing or malformed, or no day passes the quality filter.
    """
    if not (folder / TRACES).is_file():
        msg = f"{folder / TRACES}: is missing"
        raise DataError(msg)
    south, north, west, east = BOX
    config = TraceConfig(inference=CONFIG)
    temporal, index = load_temporal(), geolife_pois(folder)
    found = find_stays(geolife_fixes(folder), StayConfig(), (west, south, east, north))
    activities = infer_activities(found.stays, TIME_ZONE, index, temporal, CONFIG)
    days, _ = person_days(found.stays, StayConfig(), TIME_ZONE)
    return weekdays(known_days(days, activities, TIME_ZONE, temporal, config))


def weekdays(told: KnownDays) -> TraceDays:
    """Return the weekdays among days that are known in part, with more than home in them.

    Raises
    ------
    DataError
        If there are none.
    """
    keep = (told.week_day < _SATURDAY) & (told.known > 0).any(axis=1)
    if not keep.any():
        msg = "traces: no weekday passes the quality filter with an activity away from home"
        raise DataError(msg)
    users = len(np.unique(told.keys[keep]))
    return TraceDays(told.known[keep], told.people[keep], users)


def of_split(days: TraceDays, split: str) -> npt.NDArray[np.int64]:
    """Return the rows of a split; every fourth day is for test, so that all times of year are."""
    return np.flatnonzero(np.isin(np.arange(len(days.chains)) % 4, _PARTS[split]))
