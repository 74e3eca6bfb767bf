"""Reading a city directory, with every rule of DESIGN 3 checked on the way."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError

from raygen.city_files.faults import Faults
from raygen.city_files.layout import CARD, GEOMETRY_TYPES, SCHEMAS, SKIMS, CityCard, CityTables
from raygen.config import parse
from raygen.errors import ConfigError, DataError

_REACH = 3.0  # degrees that a city may lie outside of its CRS's area of use


def read_city(directory: Path) -> CityTables:
    """Read the files of a city and check what each must keep for itself.

    Rules between files are ``raygen.city_files.rules``' business.

    Parameters
    ----------
    directory
        As ``write_city`` wrote it.

    Raises
    ------
    DataError
        If a file is missing or unreadable, the card has a wrong or unknown key, or a table has a
        missing column, a wrong type, a null, the wrong CRS or geometry. One error names the file
        and every fault found in it.
    """
    if not directory.is_dir():
        msg = f"{directory}: no such city directory"
        raise DataError(msg)
    card = _read_card(directory / CARD)
    tables = {file: _read_table(directory / file) for file in SCHEMAS}
    skims = {name: _read_skim(directory / "skims" / f"{name}.npy") for name in SKIMS}
    return CityTables(
        card=card,
        zones=tables["zones.parquet"],
        regions=tables["regions.parquet"],
        pois=tables["pois.parquet"],
        road_nodes=tables["road_nodes.parquet"],
        road_edges=tables["road_edges.parquet"],
        controls=tables["controls.parquet"],
        skims=skims,
    )


def _read_card(path: Path) -> CityCard:
    try:
        with path.open("rb") as file:
            card = parse(tomllib.load(file), CityCard, str(path))
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise DataError(msg) from None
    except tomllib.TOMLDecodeError as error:
        msg = f"{path}: not TOML: {error}"
        raise DataError(msg) from None
    except ConfigError as error:
        raise DataError(str(error)) from None
    _check_crs(path, card)
    return card


def _check_crs(path: Path, card: CityCard) -> None:
    name = card.crs
    try:
        crs = CRS.from_user_input(name)
    except CRSError:
        msg = f"{path}: crs must be a projected CRS in metres such as EPSG:32611, got {name!r}"
        raise DataError(msg) from None
    if not crs.is_projected or crs.axis_info[0].unit_name != "metre":
        msg = f"{path}: crs must be projected and in metres, got {name!r} ({crs.name})"
        raise DataError(msg)
    west, south, east, north = card.bbox
    area = crs.area_of_use
    if area is not None and not (
        area.west - _REACH <= (west + east) / 2 <= area.east + _REACH
        and area.south - _REACH <= (south + north) / 2 <= area.north + _REACH
    ):
        msg = f"{path}: crs {name!r} is for {area.name}; the city's bbox {list(card.bbox)} is "
        raise DataError(msg + "elsewhere")


def _read_table(path: Path) -> pa.Table:
    """Read one table with the columns of its schema; more columns are left out."""
    want = SCHEMAS[path.name]
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        msg = f"{path}: no such file; a city needs {', '.join(SCHEMAS)}"
        raise DataError(msg) from None
    except (OSError, pa.ArrowInvalid) as error:
        reason = str(error).splitlines()[0]
        msg = f"{path}: not readable as Parquet: {reason}"
        raise DataError(msg) from None
    faults = Faults(str(path))
    for field in want:
        if field.name not in table.schema.names:
            faults.add(field.name, "missing")
            continue
        have = table.column(field.name)
        if not _same_kind(have.type, field.type):
            faults.add(field.name, f"type must be {field.type}, got {have.type}")
        elif have.null_count and not field.nullable:
            faults.rows(field.name, have.is_null().to_numpy(), "null")
    faults.raise_any()
    if path.name in GEOMETRY_TYPES:
        _check_geometry(path, table)
    return pa.table([_as(table.column(field.name), field.type) for field in want], want.names)


def _is_text(kind: pa.DataType) -> bool:
    words = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(words) or pa.types.is_large_string(words)


def _same_kind(have: pa.DataType, want: pa.DataType) -> bool:
    """Say whether a type is the wanted one, or differs only in how text or bytes are stored."""
    if _is_text(want):
        return _is_text(have)
    return have == want or (pa.types.is_binary(want) and pa.types.is_large_binary(have))


def _as(column: pa.ChunkedArray, want: pa.DataType) -> pa.ChunkedArray:
    """Return a column of the same kind as the wanted type; words of a vocabulary stay coded."""
    return column if pa.types.is_dictionary(want) else column.cast(want)


def _check_geometry(path: Path, table: pa.Table) -> None:
    faults = Faults(str(path))
    column = _geo_column(table)
    if column is None:
        faults.add("geometry", "no GeoParquet metadata ('geo', primary column 'geometry', WKB)")
        faults.raise_any()
        return
    crs = column.get("crs", "OGC:CRS84")  # GeoParquet 1.1: an absent key means longitude, latitude
    if not _is_wgs84(crs):
        name = crs.get("name", "unnamed") if isinstance(crs, dict) else crs
        faults.add("geometry", f"CRS must be EPSG:4326, got {name!r}")
        faults.raise_any()
    wkb = table.column("geometry").to_numpy()
    shapes = shapely.from_wkb(wkb, on_invalid="ignore")
    allowed = GEOMETRY_TYPES[path.name]
    kinds = [getattr(shapely.GeometryType, kind.upper()).value for kind in allowed]
    wrong = ~np.isin(shapely.get_type_id(shapes), kinds)
    faults.rows("geometry", wrong, f"must be {' or '.join(allowed)}")
    usable = ~wrong
    bounds = shapely.bounds(shapes)
    # A comparison with NaN (an empty geometry) is false, hence the outer negation.
    inside = (np.abs(bounds[:, ::2]) <= 180).all(1) & (np.abs(bounds[:, 1::2]) <= 90).all(1)  # noqa: PLR2004
    faults.rows("geometry", usable & ~inside, "empty, or not longitude and latitude in degrees")
    if "Polygon" in allowed:
        faults.rows("geometry", usable & inside & ~shapely.is_valid(shapes), "polygon is invalid")
    faults.raise_any()


def _geo_column(table: pa.Table) -> dict[str, Any] | None:
    """Return GeoParquet's description of the column ``geometry``, if it is WKB."""
    text = (table.schema.metadata or {}).get(b"geo")
    if text is None:
        return None
    column: dict[str, Any] | None = json.loads(text).get("columns", {}).get("geometry")
    return column if column is not None and column.get("encoding") == "WKB" else None


def _is_wgs84(crs: Any) -> bool:  # noqa: ANN401
    """Say whether a GeoParquet CRS is WGS 84 in degrees, EPSG:4326 or OGC:CRS84."""
    if isinstance(crs, dict):
        code = crs.get("id", {})
        return (code.get("authority"), code.get("code")) in {("EPSG", 4326), ("OGC", "CRS84")}
    return crs == "OGC:CRS84"


def _read_skim(path: Path) -> npt.NDArray[np.float32]:
    try:
        matrix = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        msg = f"{path}: no such file; a city needs skims/{{{','.join(SKIMS)}}}.npy"
        raise DataError(msg) from None
    except (OSError, ValueError, EOFError) as error:
        msg = f"{path}: not readable as .npy: {error}"
        raise DataError(msg) from None
    if matrix.dtype != np.float32:
        msg = f"{path}: type must be float32, got {matrix.dtype}"
        raise DataError(msg)
    return matrix
