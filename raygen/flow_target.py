"""``od.parquet`` of a city: flows between zones or sub-regions, to calibrate to and compare with.

Columns: ``origin`` and ``destination``, both zone ids (an integer type) or both names of
sub-regions (string); ``flow``, > 0, persons or trips in any unit; pairs that are not there have no
flow. Which trips the flows count is said by further columns, each but ``purpose`` with one value in
all rows:

purpose        ``commute``: from home to the usual place of work, of workers;
               ``all``, or an activity type: trips that arrive for it (default ``all``);
               activity types that differ between rows: the flows of each of these types
mode           ``all``, or one of ``raygen.taxonomy.MODES`` (default ``all``)
start_s,       departures counted, seconds of the day, end excluded (default the whole day)
end_s
provenance     observed, calibrated, synthesised or assumed (no default)
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raygen.city import City
from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S, MODES, PROVENANCE, WORK

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

OD_FILE = "od.parquet"
COMMUTE, ALL, BY_TYPE = "commute", "all", "by type"


@dataclass(frozen=True)
class Counted:
    """Which trips a flow counts."""

    purpose: str = ALL
    """``commute``, ``all``, an activity type, or ``by type``: each of several ``types``."""

    mode: str = ALL
    start_s: int = 0
    end_s: int = DAY_S
    types: tuple[str, ...] = ()
    """Activity types, in the order of the taxonomy, where the flows are known by type."""

    def __str__(self) -> str:
        """Return it in words, for the case of a result."""
        if self.purpose == COMMUTE:
            return "home to work place"
        clock = f"{self.start_s / 3600:g} to {self.end_s / 3600:g} h"
        when = "" if (self.start_s, self.end_s) == (0, DAY_S) else f", {clock}"
        purpose = ", ".join(self.types) if self.types else self.purpose
        return f"{purpose} trips, mode {self.mode}{when}"


@dataclass(frozen=True)
class FlowTarget:
    """Flows of one kind between the places of a city; S sub-regions."""

    counted: Counted
    provenance: str
    subregion: FloatArray
    """Flows between sub-regions, row origin, shape (S, S)."""

    by_type: FloatArray | None
    """The same by activity type of the trip, shape (15, S, S); None where all are counted as one.
    A commute is a trip to work. Zero for types that are not known."""

    origin: Int64Array
    destination: Int64Array
    """Zone rows of the pairs, shape (F,); empty where the file knows sub-regions alone."""

    flow: FloatArray
    """Of the pairs, shape (F,)."""

    digest: str
    """SHA-256 of the file."""

    @property
    def by_zone(self) -> bool:
        """Whether the flows are known between zones."""
        return len(self.flow) > 0

    def zones(self, count: int) -> FloatArray:
        """Return the flows between ``count`` zones, shape (count, count)."""
        cell = self.origin * count + self.destination
        return np.bincount(cell, self.flow, count * count).reshape(count, count).astype(np.float64)


def has_target(city: City) -> bool:
    """Return whether the city's directory has flows."""
    return (Path(city.path) / OD_FILE).is_file()


def read_target(path: Path, city: City) -> FlowTarget:
    """Read flows and check them against a city.

    Parameters
    ----------
    path
        ``od.parquet``.
    city
        Whose zones or sub-regions the flows are between.

    Raises
    ------
    DataError
        If the file cannot be read, a column is missing or of another type, a value is unknown to
        the city or out of range, or a column of the kind has more than one value.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{path}: cannot be read as Parquet: {error}"
        raise DataError(msg) from None
    missing = [n for n in ("origin", "destination", "flow") if n not in table.column_names]
    if missing:
        msg = f"{path}: columns {', '.join(missing)} are missing; it has {table.column_names}"
        raise DataError(msg)
    flow = _flow(table, path)
    counted, provenance = _kind(table, path)
    kinds = _types_of(table, counted)
    by_zone = pa.types.is_integer(table.schema.field("origin").type)
    known: list[Any] = city.zone_id.tolist() if by_zone else list(city.subregion_names)
    ends = [_rows(table, name, known, path) for name in ("origin", "destination")]
    region = city.subregion.astype(np.int64) if by_zone else np.arange(len(known))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    size = len(city.subregion_names)
    pairs = region[ends[0]], region[ends[1]]
    matrix = region_matrix(*pairs, size, flow)
    by_type = None
    if kinds is not None:
        cell = (kinds * size + pairs[0]) * size + pairs[1]
        count = np.bincount(cell, flow, len(ACTIVITY_TYPES) * size * size)
        by_type = count.reshape(-1, size, size).astype(np.float64)
    if not by_zone:
        ends, flow = [np.empty(0, np.int64)] * 2, np.empty(0)
    return FlowTarget(counted, provenance, matrix, by_type, ends[0], ends[1], flow, digest)


def region_matrix(
    origin: Int64Array, destination: Int64Array, size: int, flow: FloatArray | None = None
) -> FloatArray:
    """Return flows between ``size`` regions, shape (size, size); each pair counts 1 or its flow."""
    cell = origin * size + destination
    return np.bincount(cell, flow, size * size).reshape(size, size).astype(np.float64)


def write_target(
    path: Path,
    ends: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    flow: FloatArray,
    counted: Counted,
    provenance: str,
    types: Sequence[str] | None = None,
) -> None:
    """Write ``od.parquet``; ``ends`` are zone ids or sub-region names of the pairs, shape (F,).

    ``types`` are the activity types of the pairs, where they differ; ``counted.purpose`` is then
    not written.
    """
    constant = {
        "mode": counted.mode,
        "start_s": counted.start_s,
        "end_s": counted.end_s,
        "provenance": provenance,
    }
    columns: dict[str, Any] = {"origin": ends[0], "destination": ends[1], "flow": flow}
    columns["purpose"] = [counted.purpose] * len(flow) if types is None else list(types)
    columns |= {name: [value] * len(flow) for name, value in constant.items()}
    pq.write_table(pa.table(columns), path, compression="zstd")


def _flow(table: pa.Table, path: Path) -> FloatArray:
    column = table.column("flow")
    if not pa.types.is_floating(column.type) and not pa.types.is_integer(column.type):
        msg = f"{path}: flow: must be a number, got {column.type}"
        raise DataError(msg)
    flow = column.to_numpy(zero_copy_only=False).astype(np.float64)
    wrong = ~(np.isfinite(flow) & (flow > 0))
    if wrong.any() or len(flow) == 0:
        msg = (
            f"{path}: flow: must be finite and > 0, {int(wrong.sum())} of {len(flow)} rows are not"
        )
        raise DataError(msg)
    return flow


def _kind(table: pa.Table, path: Path) -> tuple[Counted, str]:
    """Return what is counted and its provenance, from the columns of one value."""
    default = Counted()
    value: dict[str, Any] = {
        "purpose": default.purpose,
        "mode": default.mode,
        "start_s": default.start_s,
        "end_s": default.end_s,
        "provenance": None,
    }
    for name in list(value):
        if name in table.column_names:
            found = table.column(name).unique().to_pylist()
            if name == "purpose" and len(found) > 1:
                value[name], value["types"] = BY_TYPE, _known_types(found, path)
                continue
            if len(found) != 1:
                msg = f"{path}: {name}: must have one value in all rows, got {found[:4]}"
                raise DataError(msg)
            value[name] = found[0]
    allowed = {
        "purpose": (COMMUTE, ALL, *ACTIVITY_TYPES, *([BY_TYPE] if "types" in value else [])),
        "mode": (ALL, *MODES),
        "provenance": PROVENANCE,
    }
    for name, words in allowed.items():
        if value[name] not in words:
            msg = f"{path}: {name}: must be one of {', '.join(words)}, got {value[name]!r}"
            raise DataError(msg)
    provenance = value.pop("provenance")
    counted = Counted(**value)
    if not 0 <= counted.start_s < counted.end_s:
        msg = f"{path}: start_s: must be >= 0 and before end_s, got {counted.start_s} and "
        raise DataError(msg + f"{counted.end_s}")
    return counted, provenance


def _known_types(found: list[Any], path: Path) -> tuple[str, ...]:
    """Return the activity types that several purposes name, in the taxonomy's order."""
    if strange := [word for word in found if word not in ACTIVITY_TYPES]:
        msg = f"{path}: purpose: several in one file must all be activity types, got {strange[:4]}"
        raise DataError(msg)
    return tuple(word for word in ACTIVITY_TYPES if word in found)


def _types_of(table: pa.Table, counted: Counted) -> Int64Array | None:
    """Return the activity type of each pair, shape (F,); None where the flows are of all types."""
    if counted.types:
        words = table.column("purpose").to_pylist()
        return np.array([ACTIVITY_TYPES.index(word) for word in words], dtype=np.int64)
    if counted.purpose == ALL:
        return None
    kind = WORK if counted.purpose == COMMUTE else ACTIVITY_TYPES.index(counted.purpose)
    return np.full(table.num_rows, kind, dtype=np.int64)


def _rows(table: pa.Table, name: str, known: list[Any], path: Path) -> Int64Array:
    """Return the index among ``known`` of each value of a column."""
    column = table.column(name)
    encoded = column.combine_chunks().dictionary_encode()
    place = {value: row for row, value in enumerate(known)}
    words = encoded.dictionary.to_pylist()
    strange = [word for word in words if word not in place]
    if strange or column.null_count:
        what = f"unknown {strange[:4]}" if strange else f"{column.null_count} nulls"
        msg = f"{path}: {name}: must name zones or sub-regions of the city, got {what}"
        raise DataError(msg)
    code = np.array([place[word] for word in words], dtype=np.int64)
    return code[encoded.indices.to_numpy(zero_copy_only=False)]
