"""GPS traces on disk: Parquet or CSV with ``person_id, time (UTC), lon, lat``.

A trace file may have more columns, which are not read, and its rows may be in any order. Ids are
integers or text; ``time`` is a timestamp (without a zone it is taken as UTC) or Unix time in
seconds; ``lon`` and ``lat`` are degrees. Faults name the file, the column and the row, counted from
1 after the header.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from raygen.errors import DataError
from raygen.traces_csv import csv_rows, csv_schema

COLUMNS = ("person_id", "time", "lon", "lat")

TIME = pa.timestamp("ms", "UTC")
"""Type of times in memory and in what is written."""

CHUNK = 1_048_576
"""Most rows that are in memory at once of a file."""

_PIECE_ROWS = 8_388_608  # of Parquet, as whole row groups
_CSV_ROW_BYTES = 40  # of a row of the four columns, for the estimate of rows
_ENDINGS: dict[str, Literal["parquet", "csv"]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
}
_SINCE_MS, _UNTIL_MS = 0, 4_102_444_800_000  # 1970 to 2100


@dataclass(frozen=True)
class TraceFile:
    """One file of traces."""

    path: str
    """In its file system."""
    format: Literal["parquet", "csv"]
    bytes: int
    changed_ns: int
    """When it was last written, 0 where the file system does not say."""


@dataclass(frozen=True)
class Piece:
    """A part of a file that one worker reads."""

    file: TraceFile
    row_groups: tuple[int, int] | None
    """First and one past the last row group of a Parquet file; None is a whole CSV file."""
    first_row: int
    """Row of the file that the piece begins with, counted from 0."""


@dataclass(frozen=True)
class Traces:
    """Traces that were found; picklable."""

    location: str
    files: tuple[TraceFile, ...]
    pieces: tuple[Piece, ...]
    rows: int
    """Fixes: counted in Parquet, estimated from the bytes of CSV."""
    ids: Literal["integer", "text"]
    """What ``person_id`` is in every file."""

    @property
    def schema(self) -> pa.Schema:
        """The schema of what ``read_piece`` yields."""
        kind = pa.int64() if self.ids == "integer" else pa.string()
        types = (kind, TIME, pa.float64(), pa.float64())
        return pa.schema([pa.field(name, t, False) for name, t in zip(COLUMNS, types, strict=True)])


def open_traces(location: str) -> Traces:
    """Find trace files and check their columns; no row is read of Parquet.

    Parameters
    ----------
    location
        A file or a directory (searched with its folders; names that begin with ``.`` or ``_`` are
        left out), as a path or a URI that pyarrow opens.

    Raises
    ------
    DataError
        If there is no such place or no trace file in it, a file cannot be read, lacks a column or
        has one of a wrong type, or ids are integers in one file and text in another.
    """
    fs, root = _open(location)
    files = _files(fs, root, location)
    pieces: list[Piece] = []
    kinds: dict[str, str] = {}
    rows = 0
    for file in files:
        if file.format == "parquet":
            schema, parts, count = _parquet_pieces(fs, file)
        else:
            schema = csv_schema(fs, file.path, COLUMNS)
            parts, count = [Piece(file, None, 0)], file.bytes // _CSV_ROW_BYTES
        kinds[file.path] = _check_schema(file.path, schema)
        pieces += parts
        rows += count
    return Traces(location, tuple(files), tuple(pieces), rows, _common(files, kinds))


def read_piece(traces: Traces, piece: Piece) -> Iterator[pa.Table]:
    """Read a piece, at most CHUNK rows at a time.

    Yields
    ------
    fixes
        Of ``traces.schema``: no nulls, times in 1970–2100, positions on Earth.

    Raises
    ------
    DataError
        If a value breaks these rules; names the file, the column and the row.
    """
    fs, _ = _open(traces.location)
    row = piece.first_row
    parquet = piece.row_groups is not None
    for chunk in _parquet_rows(fs, piece) if parquet else _csv_rows(fs, traces, piece):
        yield _checked(chunk, traces.schema, piece.file.path, row)
        row += chunk.num_rows


def _open(location: str) -> tuple[pafs.FileSystem, str]:
    if "://" not in location:
        return pafs.LocalFileSystem(), str(Path(location).absolute())
    try:
        return pafs.FileSystem.from_uri(location)
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{location}: cannot be opened as a file system: {error}"
        raise DataError(msg) from None


def _files(fs: pafs.FileSystem, root: str, location: str) -> list[TraceFile]:
    """Return the trace files, in the order of their paths."""
    at = fs.get_file_info(root)
    if at.type == pafs.FileType.NotFound:
        msg = f"{location}: no such file or directory of traces"
        raise DataError(msg)
    if at.type == pafs.FileType.File:
        found = [at]
    else:
        every = fs.get_file_info(pafs.FileSelector(root, recursive=True))
        found = [info for info in every if info.is_file and _shown(info.path, root)]
    files = [
        TraceFile(info.path, _ENDINGS[_ending(info.path)], info.size, info.mtime_ns or 0)
        for info in found
        if _ending(info.path) in _ENDINGS
    ]
    if not files:
        msg = f"{location}: no trace file; its name must end in {', '.join(_ENDINGS)}"
        raise DataError(msg)
    return sorted(files, key=_path)


def _path(file: TraceFile) -> str:
    return file.path


def _shown(path: str, root: str) -> bool:
    parts = path[len(root) :].strip("/").split("/")
    return not any(part.startswith((".", "_")) for part in parts)


def _ending(path: str) -> str:
    suffixes = Path(path.lower()).suffixes
    return "".join(suffixes[-2:]) if suffixes[-1:] == [".gz"] else "".join(suffixes[-1:])


def _parquet_pieces(fs: pafs.FileSystem, file: TraceFile) -> tuple[pa.Schema, list[Piece], int]:
    """Return a Parquet file's columns, its pieces and its rows."""
    try:
        with fs.open_input_file(file.path) as source, pq.ParquetFile(source) as parquet:
            schema, metadata = parquet.schema_arrow, parquet.metadata
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(_unreadable(file, error)) from None
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    pieces: list[Piece] = []
    first, first_row, held = 0, 0, 0
    for group, size in enumerate(sizes):
        if held and held + size > _PIECE_ROWS:
            pieces.append(Piece(file, (first, group), first_row))
            first, first_row, held = group, first_row + held, 0
        held += size
    if held:
        pieces.append(Piece(file, (first, len(sizes)), first_row))
    return schema, pieces, metadata.num_rows


def _parquet_rows(fs: pafs.FileSystem, piece: Piece) -> Iterator[pa.Table]:
    groups = range(*piece.row_groups) if piece.row_groups is not None else range(0)
    try:
        with fs.open_input_file(piece.file.path) as source, pq.ParquetFile(source) as parquet:
            for batch in parquet.iter_batches(CHUNK, list(groups), list(COLUMNS)):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(_unreadable(piece.file, error)) from None


def _unreadable(file: TraceFile, error: Exception) -> str:
    return f"{file.path}: not readable as Parquet: {str(error).splitlines()[0]}"


def _csv_rows(fs: pafs.FileSystem, traces: Traces, piece: Piece) -> Iterator[pa.Table]:
    path = piece.file.path
    clock = csv_schema(fs, path, COLUMNS).field("time").type
    if not _is_number(clock):
        clock = pa.timestamp("ns", clock.tz if pa.types.is_timestamp(clock) else None)
    types = {name: pa.float64() for name in COLUMNS}
    types |= {"person_id": traces.schema.field("person_id").type, "time": clock}
    for block in csv_rows(fs, path, types):
        for at in range(0, block.num_rows, CHUNK):
            yield block.slice(at, CHUNK)


def _check_schema(path: str, schema: pa.Schema) -> str:
    """Raise unless the columns are those of a trace; return what kind its ids are."""
    missing = [name for name in COLUMNS if name not in schema.names]
    if missing:
        msg = f"{path}: columns {', '.join(missing)}: missing; a trace has {', '.join(COLUMNS)}, "
        msg += f"got {', '.join(schema.names)}"
        raise DataError(msg)
    types = {name: _plain(schema.field(name).type) for name in COLUMNS}
    rules = {
        "person_id": (_is_id, "must be integers or text"),
        "time": (_is_time, "must be timestamps (UTC) or Unix seconds"),
        "lon": (_is_number, "must be degrees"),
        "lat": (_is_number, "must be degrees"),
    }
    for name, (holds, rule) in rules.items():
        if not holds(types[name]):
            msg = f"{path}: column {name}: {rule}, got {types[name]}"
            raise DataError(msg)
    return "text" if _is_text(types["person_id"]) else "integer"


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_id(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or _is_text(kind) or pa.types.is_null(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_time(kind: pa.DataType) -> bool:
    plain = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind)
    return plain or _is_number(kind)


def _common(files: list[TraceFile], kinds: dict[str, str]) -> Literal["integer", "text"]:
    """Return what ids are in every file; a CSV file's integers may be read as text."""
    text = [path for path, kind in kinds.items() if kind == "text"]
    if not text:
        return "integer"
    for file in files:
        if file.format == "parquet" and kinds[file.path] == "integer":
            msg = f"{file.path}: column person_id: is integers, but text in {text[0]}"
            raise DataError(msg)
    return "text"


def _checked(table: pa.Table, schema: pa.Schema, path: str, first_row: int) -> pa.Table:
    """Return rows in the schema of traces; raise at the first value that is none."""
    columns: list[pa.ChunkedArray] = []
    for name in COLUMNS:
        column = table.column(name)
        _refuse(path, name, first_row, column.is_null(), "must not be empty", column)
        columns.append(column)
    ids = _ids(columns[0], schema.field("person_id").type, path, first_row)
    clock = _times(columns[1], path, first_row)
    numbers = [column.cast(pa.float64()) for column in columns[2:]]
    for name, column, most in zip(("lon", "lat"), numbers, (180.0, 90.0), strict=True):
        values = column.to_numpy()
        bad = ~(np.abs(values) <= most)  # a NaN is bad
        _refuse(path, name, first_row, bad, f"must be in [-{most:g}, {most:g}] degrees", column)
    return pa.table([ids, clock, *numbers], schema=schema)


def _ids(column: pa.ChunkedArray, kind: pa.DataType, path: str, first_row: int) -> pa.ChunkedArray:
    if pa.types.is_uint64(column.type):
        bad = column.to_numpy() > np.iinfo(np.int64).max
        _refuse(path, "person_id", first_row, bad, "must be below 2^63", column)
    return column.cast(kind)


def _times(column: pa.ChunkedArray, path: str, first_row: int) -> pa.ChunkedArray:
    """Return times in milliseconds, UTC."""
    if pa.types.is_floating(column.type):
        milliseconds = np.floor(column.to_numpy() * 1000.0)
    elif pa.types.is_integer(column.type):
        milliseconds = column.to_numpy().astype(np.float64) * 1000.0
    else:
        naive = column.cast(pa.timestamp("ns")) if pa.types.is_date(column.type) else column
        utc = pa.timestamp(
            "ms", "UTC" if pa.types.is_timestamp(naive.type) and naive.type.tz else None
        )
        milliseconds = naive.cast(utc, safe=False).cast(pa.int64()).to_numpy()
    bad = ~((milliseconds >= _SINCE_MS) & (milliseconds < _UNTIL_MS))
    _refuse(
        path, "time", first_row, bad, "must be in 1970 to 2100 (numbers are Unix seconds)", column
    )
    whole = pa.array(milliseconds.astype(np.int64)).cast(TIME)
    return pa.chunked_array([whole])


def _refuse(
    path: str,
    name: str,
    first_row: int,
    bad: npt.NDArray[np.bool_] | pa.ChunkedArray,
    rule: str,
    column: pa.ChunkedArray,
) -> None:
    """Raise DataError at the first bad row, if there is one."""
    rows = np.flatnonzero(np.asarray(bad))
    if len(rows):
        at = int(rows[0])
        more = f" ({len(rows)} such rows near it)" if len(rows) > 1 else ""
        msg = f"{path}: column {name}: row {first_row + at + 1}: {rule}, got {column[at]}{more}"
        raise DataError(msg)
