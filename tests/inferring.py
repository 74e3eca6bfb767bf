"""Stays made in code for activity inference, in metres and hours; POIs of one type each."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from raygen.city_files.projection import to_degrees
from raygen.inference.infer import Stays
from raygen.inference.pois import poi_index
from raygen.stay_points.extract import stay_schema
from raygen.taxonomy import ACTIVITY_TYPES

CRS = "EPSG:32611"
MONDAY = 19_877  # 2024-06-03, days since 1970
HOME_XY, WORK_XY, SCHOOL_XY, CHURCH_XY = (0.0, 0.0), (5000.0, 0.0), (0.0, 3000.0), (-2000.0, 0.0)


def code(word):
    return ACTIVITY_TYPES.index(word)


def index(*pois):
    """Return POIs given as (x, y, type) or (x, y, {type: probability})."""
    types = np.zeros((len(pois), 3), np.int8)
    probability = np.zeros((len(pois), 3))
    for row, (_, _, what) in enumerate(pois):
        shares = what if isinstance(what, dict) else {what: 1.0}
        fill = [w for w in ACTIVITY_TYPES if w not in shares]
        words = [*shares, *fill][:3]
        types[row] = [code(word) for word in words]
        probability[row] = [shares.get(word, 0.0) for word in words]
    xy = np.array([poi[:2] for poi in pois], float).reshape(-1, 2)
    return poi_index(xy, types, probability, CRS)


def stays(*persons):
    """Return the stays of persons, each a list of (xy, day, start hour, end hour)."""
    rows = [row for person in persons for row in person]
    first = np.cumsum([0, *(len(person) for person in persons)])
    day = np.array([MONDAY + row[1] for row in rows], np.int64) * 86_400
    start, end = (np.array([3600 * row[k] for row in rows]).astype(np.int64) for k in (2, 3))
    xy = np.array([row[0] for row in rows], float).reshape(-1, 2)
    return Stays(first.astype(np.int64), xy, day + start, day + end)


def week(away, days=range(5)):
    """Return a person's days: at home but for (xy, start hour, end hour) of each day."""
    rows = []
    for day in days:
        xy, start, end = away
        rows += [(HOME_XY, day, 0, start - 0.5), (xy, day, start, end), (HOME_XY, day, end + 1, 24)]
    return rows


ZONE = "America/Los_Angeles"
EAST, NORTH = 386_000.0, 3_762_000.0
WORDS = ("worship", "meals_out", "healthcare")
POIS = index(
    *[(EAST + 1000 * k, NORTH, word) for k, word in enumerate(WORDS)],
    *[(EAST - 9000 - 500 * k, NORTH, word) for k, word in enumerate(ACTIVITY_TYPES)],
)


def table(*rows, ids=None):
    """Return stay points of (km east, day of June 2024, start hour, end hour)."""
    day = [dt.datetime(2024, 6, row[1], tzinfo=ZoneInfo(ZONE)) for row in rows]
    start, end = (
        [d + dt.timedelta(hours=row[k]) for d, row in zip(day, rows, strict=True)] for k in (2, 3)
    )
    xy = np.array([[EAST + 1000 * row[0], NORTH] for row in rows]).reshape(-1, 2)
    lon, lat = to_degrees(xy, CRS).T
    columns = [ids or [1] * len(rows), start, end, lon, lat, [0] * len(rows), [9] * len(rows)]
    schema = stay_schema(pa.int64())
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )
