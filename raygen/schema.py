"""Arrow schemas of every table that crosses a stage boundary; the one source of column names."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from raygen.errors import DataError
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES

CATEGORY = pa.dictionary(pa.int8(), pa.string())
"""Type of a column of closed vocabulary; its dictionary is the tuple in ``raygen.taxonomy``."""


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


HOUSEHOLDS = pa.schema(
    [
        _required("household_id", pa.int64()),
        _required("home_zone_id", pa.int32()),
        _required("home_lon", pa.float64()),
        _required("home_lat", pa.float64()),
        _required("size", pa.int8()),
        _required("income", pa.float32()),
        _required("vehicles", pa.int8()),
    ]
)
"""One row per household; income in dollars a year."""

PERSONS = pa.schema(
    [
        _required("person_id", pa.int64()),
        _required("household_id", pa.int64()),
        _required("age", pa.int8()),
        _required("sex", CATEGORY),
        _required("employment", CATEGORY),
        _required("student", CATEGORY),
        _required("role", CATEGORY),
        _required("demographic_group", pa.int8()),
        _required("work_zone_id", pa.int32()),
        _required("school_zone_id", pa.int32()),
    ]
)
"""One row per person; a person without a work or school zone has -1 there."""

PLANS = pa.schema(
    [
        _required("person_id", pa.int64()),
        _required("day", pa.int8()),
        _required("sequence", pa.int16()),
        _required("type", pa.int8()),
        _required("start_slot", pa.int8()),
        _required("end_slot", pa.int8()),
        _required("with_person", pa.int64()),
        _required("escort", pa.int64()),
        _required("temporal_plan", pa.list_(pa.float32(), PLAN_SLOTS)),
        _required("semantic_plan", pa.list_(pa.float32(), len(POI_CATEGORIES))),
    ]
)
"""One row per activity of a day chain, ordered by (person_id, day, sequence): runs of equal
slots. ``type`` indexes ACTIVITY_TYPES; slots are 15 min, ``end_slot`` exclusive, the last is 96.
The row of an arrival (sequence >= 1) carries UniMob's M (over 48 half-hour slots) and D (over the
14 POI categories), each summing to 1; the day's first row carries the home region's D and a
one-hot M at its start. A slot belongs to the next activity from the slot of arrival on.
``with_person`` is the member of the household whose place at that time the activity shares,
``escort`` the member with whom a child makes the trip to it, in the same slot; both -1 for none."""

PRIORS = pa.schema(
    [
        _required("zones", pa.list_(pa.int32(), 32)),
        _required("log_probability", pa.list_(pa.float32(), 32)),
        _required("log_floor", pa.float32()),
    ]
)
"""One row per row of PLANS, in order: the decoder's 32 most probable zone rows (index into the
city's zones, not zone_id; -1 where the city has fewer) with natural-log probabilities, and the log
probability of any other zone. Row 0 of a day has the same form and is not used."""

ACTIVITIES = pa.schema(
    [
        _required("person_id", pa.int64()),
        _required("day", pa.int8()),
        _required("sequence", pa.int16()),
        _required("type", CATEGORY),
        _required("start_s", pa.int32()),
        _required("end_s", pa.int32()),
        _required("zone_id", pa.int32()),
        _required("region_id", pa.uint64()),
        _required("lon", pa.float64()),
        _required("lat", pa.float64()),
    ]
)
"""One row per activity; times in seconds after midnight of day 0, city time."""

TRIPS = pa.schema(
    [
        _required("trip_id", pa.int64()),
        _required("person_id", pa.int64()),
        _required("day", pa.int8()),
        _required("sequence", pa.int16()),
        _required("origin_zone_id", pa.int32()),
        _required("destination_zone_id", pa.int32()),
        _required("depart_s", pa.int32()),
        _required("arrive_s", pa.int32()),
        _required("purpose", CATEGORY),
        _required("mode", CATEGORY),
        _required("distance_m", pa.float32()),
    ]
)
"""One row per trip, from activity ``sequence - 1`` to activity ``sequence`` of the same day;
``depart_s`` is the end of the first and ``arrive_s`` the start of the second."""

_GEOMETRY = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["LineString"]}},
}

TRAJECTORIES = pa.schema(
    [
        _required("trip_id", pa.int64()),
        _required("segment_ids", pa.list_(pa.int64())),
        _required("timestamps", pa.list_(pa.timestamp("ms", tz="UTC"))),
        _required("start_s", pa.float64()),
        _required("off_road_m", pa.list_(pa.float32())),
        _required("geometry", pa.binary()),
    ],
    metadata={"geo": json.dumps(_GEOMETRY)},
)
"""One row per sampled car trip, as GeoParquet 1.1: the segments driven (ids in the
city's ``road_edges``), an instant and a distance from the nearest of these segments
for each point, and the points as a WKB LineString in EPSG:4326. ``start_s`` is the time of the
first point in seconds after midnight of day 0, city time; the date of day 0 is assumed to be the
first such day of the week of 2024."""

POPULATION = {
    "households": HOUSEHOLDS,
    "persons": PERSONS,
    "activities": ACTIVITIES,
    "trips": TRIPS,
}
"""The tables of every population directory."""

TABLES = POPULATION | {"trajectories": TRAJECTORIES}
"""The same, and what only some have: see ``tables_of``."""


def tables_of(config: Mapping[str, Any]) -> dict[str, pa.Schema]:
    """Return the tables of a population of a run's configuration, as the manifest has it."""
    traced = config.get("trajectories", {}).get("share", 0.0) > 0
    return TABLES if traced else POPULATION


def check(table: pa.Table, schema: pa.Schema, name: str) -> None:
    """Raise DataError unless the table has exactly these columns, types and no nulls."""
    if table.schema.names != schema.names:
        missing = [n for n in schema.names if n not in table.schema.names]
        extra = [n for n in table.schema.names if n not in schema.names]
        msg = f"{name}: columns differ from the schema: missing {missing}, unexpected {extra}"
        raise DataError(msg)
    for want in schema:
        have = table.schema.field(want.name)
        if have.type != want.type:
            msg = f"{name}.{want.name}: type must be {want.type}, got {have.type}"
            raise DataError(msg)
        nulls = table.column(want.name).null_count
        if nulls and not want.nullable:
            msg = f"{name}.{want.name}: {nulls} of {table.num_rows} rows are null"
            raise DataError(msg)


def category(codes: pa.Array, words: tuple[str, ...]) -> pa.DictionaryArray:
    """Return int8 codes as a dictionary column over the whole vocabulary, in its order."""
    return pa.DictionaryArray.from_arrays(codes.cast(pa.int8()), pa.array(words, pa.string()))
