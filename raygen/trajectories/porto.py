"""Observed taxi trips of Porto: ``train*.csv`` of the ECML/PKDD 2015 challenge (CC BY 4.0).

A trip is a list of [longitude, latitude] every 15 seconds from ``TIMESTAMP`` on (seconds of UTC).
"""

import datetime
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from raygen.errors import DataError
from raygen.network.csv_tables import read_csv
from raygen.network.graph import FloatArray, IntArray
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import Traces

INTERVAL_S = 15.0
"""Between two points of a trip."""

POINTS = (20, 200)
"""Fewest and most points of a trip that is kept (HTP, A.2)."""

_FASTEST_M_S = 50.0  # 180 km/h: a faster step is a jump of the GPS
_ZONE = ZoneInfo("Europe/Lisbon")
_TEST_SHARE = 0.1
_POINT_SHAPE = 2  # a list of points has two axes, and two columns


@dataclass(frozen=True)
class TaxiTrips:
    """N trips that were kept."""

    trip_id: IntArray
    """The set's ids, shape (N,)."""
    traces: Traces
    """In the metres of the road graph; seconds since midnight in Porto."""
    dropped: dict[str, int]
    """Trips left out, by reason."""


def read_porto(path: Path, roads: PlaneRoads) -> TaxiTrips:
    """Read the trips and keep those that the papers keep.

    Left out are, in this order: trips of which data are missing, of less than 20 or more than 200
    points, with a point outside of the roads' box, and with a step faster than 180 km/h.

    Parameters
    ----------
    path
        The CSV file.
    roads
        Their box is the city's boundary.

    Raises
    ------
    DataError
        If a column is missing, a polyline is no list of [lon, lat], or an id is doubled.
    """
    columns = {"TRIP_ID": pa.int64(), "TIMESTAMP": pa.int64(), "POLYLINE": pa.string()}
    table = read_csv(path, columns | {"MISSING_DATA": pa.bool_()}, {})
    trip_id = table.column("TRIP_ID").to_numpy()
    if len(np.unique(trip_id)) != len(trip_id):
        msg = f"{path}: column TRIP_ID: an id occurs twice"
        raise DataError(msg)
    lines = [
        _line(path, row, text) for row, text in enumerate(table.column("POLYLINE").to_pylist())
    ]
    count = np.array([len(line) for line in lines])
    faults = {
        "data missing": table.column("MISSING_DATA").to_numpy(),
        f"not {POINTS[0]} to {POINTS[1]} points": (count < POINTS[0]) | (count > POINTS[1]),
        "outside of the roads' box": ~_inside(lines, roads.network.points),
    }
    kept, dropped = np.ones(len(lines), dtype=bool), dict[str, int]()
    for reason, bad in faults.items():
        dropped[reason] = int((kept & bad).sum())
        kept &= ~bad
    rows = np.flatnonzero(kept)
    traces = _traces(
        [lines[row] for row in rows], table.column("TIMESTAMP").to_numpy()[rows], roads
    )
    jumps = _jumps(traces)
    dropped["a step faster than 180 km/h"] = int(jumps.sum())
    return TaxiTrips(trip_id[rows[~jumps]], traces.take(np.flatnonzero(~jumps)), dropped)


def split(trip_id: IntArray) -> tuple[IntArray, IntArray]:
    """Return the rows to train on and the rows to test on: 90 % and 10 % by the hash of the id.

    A trip's part depends on its id alone, so that a larger file moves no trip to the other part.
    """
    test = np.array([_share(one) < _TEST_SHARE for one in trip_id.tolist()], dtype=bool)
    return np.flatnonzero(~test), np.flatnonzero(test)


def _share(trip_id: int) -> float:
    digest = hashlib.blake2b(str(trip_id).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _line(path: Path, row: int, text: str) -> FloatArray:
    try:
        line = np.array(json.loads(text), dtype=np.float64)
    except ValueError:
        line = np.zeros((1, 1))
    line = np.zeros((0, 2)) if line.size == 0 else line
    if line.ndim != _POINT_SHAPE or line.shape[-1] != _POINT_SHAPE or not np.isfinite(line).all():
        msg = f"{path}: column POLYLINE: row {row}: must be a list of [lon, lat]"
        raise DataError(msg)
    return line


def _inside(lines: list[FloatArray], points: FloatArray) -> np.ndarray:
    low, high = points.min(axis=0), points.max(axis=0)
    return np.array([bool(((line >= low) & (line <= high)).all()) for line in lines], dtype=bool)


def _traces(lines: list[FloatArray], stamp: IntArray, roads: PlaneRoads) -> Traces:
    first = np.concatenate([[0], np.cumsum([len(line) for line in lines], dtype=np.int64)])
    degrees = np.concatenate(lines) if lines else np.zeros((0, 2))
    begin = np.array([_since_midnight(one) for one in stamp.tolist()], dtype=np.float64)
    count = np.diff(first)
    step = np.arange(first[-1]) - np.repeat(first[:-1], count)
    return Traces(first, roads.to_metres(degrees), np.repeat(begin, count) + INTERVAL_S * step)


def _since_midnight(stamp: int) -> float:
    clock = datetime.datetime.fromtimestamp(stamp, _ZONE)
    return 3600.0 * clock.hour + 60.0 * clock.minute + clock.second


def _jumps(traces: Traces) -> np.ndarray:
    """Return whether each trace has a step that no car drives."""
    gone = np.zeros(len(traces.xy))
    gone[1:] = np.hypot(*np.diff(traces.xy, axis=0).T)
    gone[traces.first[:-1]] = 0.0
    fast = np.concatenate([[0], np.cumsum(gone > _FASTEST_M_S * INTERVAL_S)])
    return fast[traces.first[1:]] > fast[traces.first[:-1]]
