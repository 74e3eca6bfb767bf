"""CSV files of GPS traces, read as a stream; faults name the column and the row.

pyarrow guesses the types of ids and times from the first block. With one thread it tells in which
row of the file a value cannot be converted.
"""

import csv as lines
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.fs as pafs
from pyarrow import csv

from raygen.errors import DataError

_PROBE = 2**20  # bytes from which types are guessed
_BLOCK = 32 * 2**20  # bytes that are converted at once

_FAULT = re.compile(r"(?:In CSV column #(\d+): )?(?:CSV parse error: )?Row #(\d+): (.*)")


def csv_schema(fs: pafs.FileSystem, path: str, wanted: tuple[str, ...]) -> pa.Schema:
    """Return the columns of a CSV file, with the types of its first rows.

    Parameters
    ----------
    fs, path
        Where it is.
    wanted
        Columns of a trace: id, time, and the numbers.

    Raises
    ------
    DataError
        If it cannot be read, or a value of its first block is of a wrong type.
    """
    names = _header(fs, path)
    there = [name for name in wanted if name in names]
    if len(there) < len(wanted):
        return pa.schema([pa.field(name, pa.string()) for name in names])
    types = dict.fromkeys(wanted[2:], pa.float64())
    seen = _types(fs, path, wanted, types)
    if pa.types.is_string(seen.field(wanted[1]).type):
        seen = _clock(fs, path, wanted, types)
    return seen


def csv_rows(fs: pafs.FileSystem, path: str, types: dict[str, pa.DataType]) -> Iterator[pa.Table]:
    """Read the columns of these types, a block at a time; raises as ``csv_schema`` does."""
    try:
        with fs.open_input_stream(path) as source:
            for batch in csv.open_csv(source, *_options(_BLOCK, types, tuple(types))):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(_told(fs, path, error)) from None


def _clock(
    fs: pafs.FileSystem, path: str, wanted: tuple[str, ...], types: dict[str, pa.DataType]
) -> pa.Schema:
    """Read times of which one is none, in order to raise at its row."""
    try:
        return _types(fs, path, wanted, types | {wanted[1]: pa.timestamp("ns", "UTC")})
    except DataError as error:
        if "expected a zone offset" not in str(error):
            raise
    return _types(fs, path, wanted, types | {wanted[1]: pa.timestamp("ns")})


def _types(
    fs: pafs.FileSystem, path: str, wanted: tuple[str, ...], types: dict[str, pa.DataType]
) -> pa.Schema:
    try:
        with fs.open_input_stream(path) as source:
            return csv.open_csv(source, *_options(_PROBE, types, wanted)).schema
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(_told(fs, path, error)) from None


def _options(
    block: int, types: dict[str, pa.DataType], wanted: tuple[str, ...]
) -> tuple[csv.ReadOptions, csv.ParseOptions, csv.ConvertOptions]:
    return (
        csv.ReadOptions(use_threads=False, block_size=block),
        csv.ParseOptions(),
        csv.ConvertOptions(
            column_types=types,
            include_columns=list(wanted),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _header(fs: pafs.FileSystem, path: str) -> list[str]:
    try:
        with fs.open_input_stream(path) as source:
            first = source.read(_PROBE).partition(b"\n")[0].decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: not readable as CSV: {error}"
        raise DataError(msg) from None
    return next(lines.reader([first.rstrip("\r")]), [])


def _told(fs: pafs.FileSystem, path: str, error: Exception) -> str:
    """Return the message for what pyarrow could not read; its rows count the header."""
    reason = str(error).splitlines()[0]
    found = _FAULT.search(reason)
    if found is None:
        return f"{path}: not readable as CSV: {reason}"
    column = f"column {_header(fs, path)[int(found[1])]}: " if found[1] else ""
    return f"{path}: {column}row {int(found[2]) - 1}: {found[3]}"
