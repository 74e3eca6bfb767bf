"""Daily patterns: person-days as 96 slots with stays where they are known (Algorithm 4, stage 4).

A slot belongs to the stay that covers most of it, and at least five minutes (a third); other slots
are unknown, to be told by activity reconstruction. Days are those of the city's clock. A day is
kept where the stays tell at least a third of its slots and there are two of them or more.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from raygen.stay_points.buckets import coded
from raygen.stay_points.settings import StayConfig
from raygen.taxonomy import DAY_S, SLOT_S, SLOTS

Int64Array = npt.NDArray[np.int64]
SlotArray = npt.NDArray[np.int16]

UNKNOWN = -1
"""Slot in which no stay is known."""

_LEAST_S = SLOT_S // 3


def day_schema(ids: pa.DataType) -> pa.Schema:
    """Return the schema of ``person_days.parquet`` for ids of this type.

    ``date``: of the city's clock; ``stays``: stays that touch the day; ``coverage``: share of slots
    that are known; ``slots``: for each slot of 15 minutes which of the day's stays it belongs to,
    counted from 0 in the order of time, or ``UNKNOWN``.
    """
    columns = {
        "person_id": ids,
        "date": pa.date32(),
        "stays": pa.int16(),
        "coverage": pa.float32(),
        "slots": pa.list_(pa.field("item", pa.int16(), nullable=False), SLOTS),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


def person_days(
    stays: pa.Table, config: StayConfig, time_zone: str
) -> tuple[pa.Table, dict[str, int]]:
    """Return the daily patterns of stays that pass the quality filter.

    Parameters
    ----------
    stays
        Schema ``extract.stay_schema``, in the order of person and start.
    config
        ``min_coverage`` and ``min_activities``.
    time_zone
        IANA name of the city's clock. Where it is set back a stay may end before it begins; it
        then tells nothing.

    Returns
    -------
    days, counts
        Schema ``day_schema``, in the order of person and date; days before and after the filter.
    """
    person, ids = coded(stays.column("person_id"))
    start, end = (clock_s(stays.column(name), time_zone) for name in ("start", "end"))
    end = np.maximum(end, start)
    rows = int((last_day(start, end) - start // DAY_S + 1).sum())
    owner, day = np.empty(rows, np.int64), np.empty(rows, np.int64)
    number = np.zeros(rows, np.int16)
    slots = np.full((rows, SLOTS), UNKNOWN, np.int16)
    used = _fill(person, start, end, (owner, day, number), slots)
    coverage = (slots[:used] != UNKNOWN).mean(axis=1) if used else np.empty(0)
    kept = np.flatnonzero(
        (coverage >= config.min_coverage) & (number[:used] >= config.min_activities)
    )
    flat = pa.array(slots[kept].ravel())
    schema = day_schema(ids.type)
    columns = [
        ids.take(pa.array(owner[kept])),
        pa.array(day[kept].astype(np.int32)).cast(pa.date32()),
        number[kept],
        coverage[kept].astype(np.float32),
        pa.FixedSizeListArray.from_arrays(flat, type=schema.field("slots").type),
    ]
    return pa.table(columns, schema=schema), {"person_days": used, "kept_days": len(kept)}


def clock_s(column: pa.ChunkedArray, time_zone: str) -> Int64Array:
    """Return seconds on the city's clock since 1970-01-01 00:00 there."""
    there = column.cast(pa.timestamp("ms", time_zone))
    return pc.call_function("local_timestamp", [there]).cast(pa.int64()).to_numpy() // 1000


@njit(cache=True, nogil=True)
def last_day(start: Int64Array, end: Int64Array) -> Int64Array:
    """Return the last day that a stay touches; one that ends at midnight touches no other."""
    return np.maximum(start, end - 1) // DAY_S


@njit(cache=True, nogil=True)
def _fill(
    person: Int64Array,
    start: Int64Array,
    end: Int64Array,
    about: tuple[Int64Array, Int64Array, SlotArray],
    slots: SlotArray,
) -> int:
    """Write owner, day, stays and slots of each person-day; return how many there are."""
    owner, day, number = about
    held = np.zeros(SLOTS, np.int64)
    row = -1
    last = last_day(start, end)
    for stay in range(len(person)):
        for date in range(start[stay] // DAY_S, last[stay] + 1):
            if row < 0 or owner[row] != person[stay] or day[row] < date:
                row += 1
                owner[row], day[row] = person[stay], date
                held[:] = 0
            midnight = day[row] * DAY_S
            _mark(slots[row], held, start[stay] - midnight, end[stay] - midnight, number[row])
            number[row] += 1
    return row + 1


@njit(cache=True, nogil=True)
def _mark(slots: SlotArray, held: Int64Array, start: int, end: int, stay: int) -> None:
    """Give a stay the slots of which it covers most so far."""
    first = max(start, 0) // SLOT_S
    stop = min(-(-min(end, DAY_S) // SLOT_S), SLOTS)
    for slot in range(first, stop):
        seconds = min(end, (slot + 1) * SLOT_S) - max(start, slot * SLOT_S)
        if seconds >= _LEAST_S and seconds > held[slot]:
            held[slot] = seconds
            slots[slot] = stay
