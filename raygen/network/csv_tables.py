"""CSV tables of roads, whole, with the columns that a reader asks for."""

from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from raygen.errors import DataError


def read_csv(
    path: Path, required: dict[str, pa.DataType], more: dict[str, pa.DataType]
) -> pa.Table:
    """Read the required columns of a CSV file, and those of ``more`` that it has.

    Raises
    ------
    DataError
        If it cannot be read, a required column is missing or empty somewhere, or a value is not of
        its type; the line names the file, the column and the row.
    """
    convert = csv.ConvertOptions(column_types=required | more, strings_can_be_null=False)
    # Names and addresses may hold line breaks, and long lines hold geometries.
    parse = csv.ParseOptions(newlines_in_values=True)
    read = csv.ReadOptions(block_size=16 * 2**20, use_threads=False)
    try:
        table = csv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise DataError(msg) from None
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{path}: {str(error).splitlines()[0]}"
        raise DataError(msg) from None
    for name in required:
        if name not in table.column_names:
            msg = f"{path}: column {name}: missing, got {', '.join(table.column_names)}"
            raise DataError(msg)
        column = table.column(name)
        if column.null_count:
            row = int(column.is_null().to_numpy().argmax())
            msg = f"{path}: column {name}: row {row}: empty"
            raise DataError(msg)
    kept = [*required, *(name for name in more if name in table.column_names)]
    return table.select(kept).combine_chunks()
