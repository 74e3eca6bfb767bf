"""Stay points to activity types: the rules, then Bayes for the rest (DataFusion 4.1.1).

T = argmax P(T | POI, S): home, work and school by ``rules`` over all stays of a person, every other
visit by ``bayes`` from the POIs around (``pois``), the hour and the duration (``temporal``).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen.city_files.projection import to_metres
from raygen.errors import DataError
from raygen.inference.bayes import Evidence, place_scores, posteriors, visits_by_place
from raygen.inference.places import Places, find_places
from raygen.inference.pois import PoiIndex, covered, log_place
from raygen.inference.rules import (
    clock_hours,
    find_anchors,
    find_homes,
    limits,
    stay_anchors,
    use_of_places,
)
from raygen.inference.settings import InferenceConfig
from raygen.inference.temporal import Temporal, log_tables
from raygen.schema import CATEGORY, category
from raygen.stay_points.buckets import coded
from raygen.stay_points.days import clock_s
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SCHOOL, WORK
from raygen.traces import TIME

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

TOP = 3
"""Types that a stay is given, most probable first, as DataFusion's Accuracy@3 needs."""

BASES = ("home", "work", "school", "bayes")
"""How a stay's type came to be: by which rule, or by Bayes."""

_BAYES = 3


def activity_schema(ids: pa.DataType) -> pa.Schema:
    """Return the schema of ``stay_activities.parquet`` for ids of this type.

    The rows are those of ``stay_points.parquet``. ``place``: number of the place within the
    person's; ``type``: the most probable; ``basis``: one of ``BASES``; ``activity_types``,
    ``activity_probabilities``: the top three as indices of ACTIVITY_TYPES, and P(T | POI, S), which
    is over all 15 types, so that three sum to 1 at most.
    """
    columns = {
        "person_id": ids,
        "start": TIME,
        "end": TIME,
        "lon": pa.float64(),
        "lat": pa.float64(),
        "place": pa.int32(),
        "type": CATEGORY,
        "basis": CATEGORY,
        "activity_types": pa.list_(pa.field("item", pa.int8(), nullable=False), TOP),
        "activity_probabilities": pa.list_(pa.field("item", pa.float32(), nullable=False), TOP),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


@dataclass(frozen=True)
class Inferred:
    """Types of S stays of N persons."""

    probability: FloatArray
    """P(T | POI, S), shape (S, 15)."""
    basis: npt.NDArray[np.int8]
    """Index into ``BASES``, shape (S,)."""
    place: IntArray
    """Number of the place within the person's, shape (S,)."""

    def top(self) -> npt.NDArray[np.int8]:
        """Return the types of each stay, most probable first, ties by code; shape (S, 15)."""
        return np.argsort(-self.probability, axis=1, kind="stable").astype(np.int8)


@dataclass(frozen=True)
class Stays:
    """S stays of N persons as arrays; a person's together, in the order of start."""

    person_start: IntArray
    """Person n has stays person_start[n] … person_start[n + 1] - 1, shape (N + 1,)."""
    xy: FloatArray
    """Metres in the POIs' CRS, shape (S, 2)."""
    start_s: IntArray
    """Seconds on the city's clock since 1970-01-01 00:00 there, shape (S,)."""
    end_s: IntArray


def infer(stays: Stays, index: PoiIndex, temporal: Temporal, config: InferenceConfig) -> Inferred:
    """Infer what people do at their stays.

    Parameters
    ----------
    stays
        All stays of each person: rules look at all of them.
    index
        POIs with their types.
    temporal
        Tables of the surveys.
    config
        Thresholds.

    Returns
    -------
    inferred
        A row depends on its person's stays alone.
    """
    duration = stays.end_s - stays.start_s
    places = find_places(stays.xy, duration, stays.person_start, config.place_m)
    prior, time = log_tables(temporal, stays.start_s, stays.start_s + duration)
    of_place = log_place(index, places.xy, places.visits.astype(np.float64), config)
    of_visit = log_place(index, stays.xy, np.ones(len(stays.xy)), config)
    order, start = visits_by_place(places.of_stay, len(places.xy))
    first = Evidence(prior, time, of_place, of_visit)
    anchors = _anchors(stays, places, index, place_scores(first, order, start), config)
    known = Evidence(_of_person(prior, stays.person_start, anchors, config), time, *first[2:])
    probability = posteriors(known, order, start, config.consistency)
    basis = _basis(stays, places, anchors, config)
    probability[basis != _BAYES] *= 1 - config.rule_confidence
    ruled = np.flatnonzero(basis != _BAYES)
    probability[ruled, basis[ruled]] += config.rule_confidence
    return Inferred(probability, basis, places.number)


def _anchors(
    stays: Stays, places: Places, index: PoiIndex, score: FloatArray, config: InferenceConfig
) -> IntArray:
    """Return home, work and school of each person, rows of places, -1 where not known; (N, 3)."""
    starts = (stays.person_start, places.person_start)
    use = use_of_places((stays.start_s, stays.end_s), places.of_stay, starts, config)
    thresholds = limits(config)
    home = find_homes(use, places.person_start, thresholds.night_s)
    ones = np.ones(len(places.xy))
    background = np.log((1 - covered(index, config)[SCHOOL]) / index.area_m2 + 1e-300)
    education = log_place(index, places.xy, ones, config)[:, SCHOOL] - background
    where = (places.xy, places.person_start, home)
    others = find_anchors(use, where, (score, education), thresholds)
    return np.concatenate([home[:, None], others], axis=1)


def _of_person(
    prior: FloatArray, person_start: IntArray, anchors: IntArray, config: InferenceConfig
) -> FloatArray:
    """Return ln P(T) away from the anchors that a person has."""
    factors = np.log([config.second_home, config.second_work, config.second_school])
    owner = np.repeat(np.arange(len(anchors)), np.diff(person_start))
    adjusted = prior.copy()
    adjusted[:, [HOME, WORK, SCHOOL]] += np.where(anchors >= 0, factors, 0.0)[owner]
    return adjusted


def _basis(
    stays: Stays, places: Places, anchors: IntArray, config: InferenceConfig
) -> npt.NDArray[np.int8]:
    """Return by which rule each stay has its type: it is at an anchor, or at none."""
    found = stay_anchors(
        (stays.start_s, stays.end_s),
        places.of_stay,
        (places.xy, stays.person_start, anchors),
        clock_hours(config),
        limits(config),
    )
    return np.where(found < 0, _BAYES, found).astype(np.int8)


def infer_activities(
    table: pa.Table,
    time_zone: str,
    index: PoiIndex,
    temporal: Temporal,
    config: InferenceConfig,
) -> pa.Table:
    """Infer the activity types of a table of stay points.

    Parameters
    ----------
    table
        Schema ``raygen.stay_points.extract.stay_schema``: all stays of each person, a person's rows
        together and in the order of start.
    time_zone
        IANA name of the city's clock.
    index, temporal, config
        See ``infer``.

    Returns
    -------
    activities
        Schema ``activity_schema``, the rows of ``table`` in order.

    Raises
    ------
    DataError
        If a person's rows are not together, or not in order.
    """
    stays = read_stays(table, time_zone, index.crs)
    found = infer(stays, index, temporal, config)
    top = found.top()[:, :TOP]
    share = np.take_along_axis(found.probability, top.astype(np.int64), axis=1)
    schema = activity_schema(table.schema.field("person_id").type)
    columns = [
        *(table.column(name) for name in ("person_id", "start", "end", "lon", "lat")),
        pa.array(found.place.astype(np.int32)),
        category(pa.array(top[:, 0]), ACTIVITY_TYPES),
        category(pa.array(found.basis), BASES),
        _lists(top, schema.field("activity_types").type),
        _lists(share.astype(np.float32), schema.field("activity_probabilities").type),
    ]
    return pa.table(columns, schema=schema)


def read_stays(table: pa.Table, time_zone: str, crs: str) -> Stays:
    """Return stay points as arrays; see ``infer_activities``."""
    start, end = read_clock(table, time_zone)
    person, _ = coded(table.column("person_id"))
    changes = np.flatnonzero(np.diff(person)) + 1
    first = np.concatenate([[0], changes, [len(person)]] if len(person) else [[0]]).astype(np.int64)
    instant = table.column("start").cast(pa.int64()).to_numpy()
    back = np.flatnonzero((np.diff(instant) < 0) & (np.diff(person) == 0))
    if len(np.unique(person)) != len(first) - 1 or len(back):
        at = f"row {back[0] + 1}" if len(back) else "persons"
        msg = f"stay points: {at}: a person's rows must be together and in the order of start"
        raise DataError(msg)
    lonlat = np.stack([table.column(name).to_numpy() for name in ("lon", "lat")], axis=1)
    return Stays(first, to_metres(lonlat, crs), start, end)


def read_clock(table: pa.Table, time_zone: str) -> tuple[IntArray, IntArray]:
    """Return start and end of stays in seconds on the city's clock since 1970-01-01 there.

    Where the clock is set back a stay may end before it begins; it then ends when it begins.
    """
    start, end = (clock_s(table.column(name), time_zone) for name in ("start", "end"))
    return start, np.maximum(end, start)


def _lists(rows: npt.NDArray[np.int8] | npt.NDArray[np.float32], kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), type=kind)
