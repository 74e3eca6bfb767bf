"""POIs of a city or of a file, whatever its columns are called.

A file is CSV or Parquet. Names are in ``name``; tags are in ``tags`` (``key=value;…``), in
``other_tags`` (hstore, as ogr2ogr writes it), in columns named as OSM's keys, or are a bare value
in ``fclass`` or ``cat`` (as Geofabrik writes it). Places are ``lon`` and ``lat``, or a WKB
``geometry``. Nothing of it is required but something that says what a POI is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import shapely

from raygen.annotation.tags import Tags, parse_tags, tag_table
from raygen.city_files.layout import CARD
from raygen.errors import DataError

_BARE = ("fclass", "cat", "category_tag")
_IDS = ("poi_id", "osm_id", "id")
_FORMATS = (".csv", ".parquet")
_POLE = 90.0
_DATE_LINE = 180.0


@dataclass(frozen=True)
class Pois:
    """POIs as they were read, N of them."""

    poi_id: npt.NDArray[np.int64]
    """Shape (N,): the file's, or the row."""
    name: list[str]
    """Empty where it has none."""
    tags: list[Tags]
    geometry: pa.Array
    """Points as WKB in EPSG:4326 (longitude, latitude); null where no place is known."""
    zone_id: npt.NDArray[np.int32] | None
    """Shape (N,), of a city's POIs."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.name)


def read_pois(path: Path) -> Pois:
    """Read the POIs of a city directory or of a file.

    Raises
    ------
    DataError
        If the file is missing, unreadable, of another format, or has no column that says what a
        POI is; the message names the file and the columns.
    """
    if path.is_dir():
        if not (path / CARD).is_file():
            msg = f"{path}: not a city (no {CARD}); give a city or a file {' or '.join(_FORMATS)}"
            raise DataError(msg)
        path = path / "pois.parquet"
    table = _read_table(path)
    columns = {name.lower(): name for name in table.column_names}
    name = _texts(table, columns.get("name"))
    tags = _tags(table, columns, str(path))
    if name is None and tags is None:
        msg = f"{path}: has no column name, tags, other_tags, fclass, cat or an OSM key, "
        msg += f"got {table.column_names}"
        raise DataError(msg)
    zone = table.column("zone_id") if "zone_id" in columns else None
    return Pois(
        poi_id=_ids(table, columns, str(path)),
        name=name or [""] * table.num_rows,
        tags=tags or [{} for _ in range(table.num_rows)],
        geometry=_geometry(table, columns, str(path)),
        zone_id=None if zone is None else zone.to_numpy().astype(np.int32),
    )


def _read_table(path: Path) -> pa.Table:
    kind = path.suffix.lower()
    if kind not in _FORMATS:
        msg = f"{path}: POIs must be a city or a file {' or '.join(_FORMATS)}, got {kind!r}"
        raise DataError(msg)
    try:
        if kind == ".parquet":
            return pq.read_table(path)
        quoted = pacsv.ParseOptions(newlines_in_values=True)
        return pacsv.read_csv(path, parse_options=quoted)
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise DataError(msg) from None
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{path}: not readable: {str(error).splitlines()[0]}"
        raise DataError(msg) from None


def _texts(table: pa.Table, column: str | None) -> list[str] | None:
    """Return a column as stripped text, empty where null; None where there is no such column."""
    if column is None:
        return None
    values: list[Any] = table.column(column).cast(pa.string()).to_pylist()
    return [(value or "").strip() for value in values]


def _tags(table: pa.Table, columns: dict[str, str], place: str) -> list[Tags] | None:
    """Gather the tags of every kind of column; None where there is none."""
    known = tag_table()
    found: list[Tags] = [{} for _ in range(table.num_rows)]
    used = False
    for column in (name for name in _BARE if name in columns):
        used = True
        for tags, value in zip(found, _texts(table, columns[column]) or [], strict=True):
            tags |= known.tag_of(value)
    for key in (key for key in known.keys if key in columns):
        used = True
        for tags, value in zip(found, _texts(table, columns[key]) or [], strict=True):
            tags |= {key: value} if value else {}
    for column in (name for name in ("other_tags", "tags") if name in columns):
        used = True
        for row, text in enumerate(_texts(table, columns[column]) or []):
            try:
                found[row] |= parse_tags(text)
            except DataError as error:
                msg = f"{place}: row {row}: {error}"
                raise DataError(msg) from None
    return found if used else None


def _ids(table: pa.Table, columns: dict[str, str], place: str) -> npt.NDArray[np.int64]:
    column = next((columns[name] for name in _IDS if name in columns), None)
    if column is None:
        return np.arange(table.num_rows, dtype=np.int64)
    try:
        ids = table.column(column).cast(pa.int64())
    except pa.ArrowInvalid as error:
        msg = f"{place}: {column}: must be whole numbers: {str(error).splitlines()[0]}"
        raise DataError(msg) from None
    distinct = len(ids.unique())
    if ids.null_count or distinct != table.num_rows:
        msg = f"{place}: {column}: must be distinct and not null, got {ids.null_count} nulls and "
        msg += f"{distinct} distinct values in {table.num_rows} rows"
        raise DataError(msg)
    return ids.to_numpy()


def _geometry(table: pa.Table, columns: dict[str, str], place: str) -> pa.Array:
    if "geometry" in columns:
        return table.column(columns["geometry"]).combine_chunks().cast(pa.binary())
    if not {"lon", "lat"} <= columns.keys():
        return pa.nulls(table.num_rows, pa.binary())
    try:
        lon, lat = (
            table.column(columns[name]).cast(pa.float64()).to_numpy() for name in ("lon", "lat")
        )
    except pa.ArrowInvalid as error:
        msg = f"{place}: lon, lat: must be numbers: {str(error).splitlines()[0]}"
        raise DataError(msg) from None
    wrong = np.flatnonzero(~((np.abs(lon) <= _DATE_LINE) & (np.abs(lat) <= _POLE)))
    if len(wrong):
        row = int(wrong[0])
        msg = f"{place}: row {row}: lon, lat must be degrees, got {lon[row]}, {lat[row]}"
        raise DataError(msg)
    return pa.array(shapely.to_wkb(shapely.points(lon, lat)), pa.binary())
