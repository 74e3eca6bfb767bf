"""Writing a city directory: all of it or nothing, and the same bytes for the same tables."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from raygen.city_files.layout import CARD, GEOMETRY_TYPES, SKIMS, CityCard, CityTables
from raygen.errors import DataError


def write_city(tables: CityTables, directory: Path) -> None:
    """Write a city to a temporary directory beside its place and rename it.

    Parameters
    ----------
    tables
        The city; geometry columns are WKB in EPSG:4326 (longitude, latitude).
    directory
        Its place; a city that is there is replaced.

    Raises
    ------
    DataError
        If something other than a city is in the place.
    """
    if directory.exists() and not (directory / CARD).is_file() and any(directory.iterdir()):
        msg = f"{directory}: not empty and not a city (no {CARD}); choose another directory"
        raise DataError(msg)
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        scratch.chmod(0o755)
        _write_files(tables, scratch)
        _swap(scratch, directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_files(tables: CityTables, directory: Path) -> None:
    (directory / CARD).write_text(card_text(tables.card), encoding="utf-8")
    for file, table in tables.by_file().items():
        kinds = GEOMETRY_TYPES.get(file)
        described = table if kinds is None else with_geo_metadata(table)
        pq.write_table(described, directory / file, compression="zstd", row_group_size=1 << 17)
    (directory / "skims").mkdir()
    for name in SKIMS:
        np.save(directory / "skims" / f"{name}.npy", tables.skims[name].astype(np.float32))


def _swap(scratch: Path, directory: Path) -> None:
    """Put the finished directory in its place; an old city goes once it is aside."""
    if not directory.exists():
        os.replace(scratch, directory)
        return
    old = directory.with_name(f".{directory.name}.old-{os.getpid()}")
    os.replace(directory, old)
    os.replace(scratch, directory)
    shutil.rmtree(old)


def with_geo_metadata(table: pa.Table) -> pa.Table:
    """Return the table with the ``geo`` metadata of GeoParquet 1.1 for its WKB ``geometry``."""
    shapes = shapely.from_wkb(table.column("geometry").to_numpy())
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted({str(shape.geom_type) for shape in shapes}),
        "crs": CRS.from_epsg(4326).to_json_dict(),
        "bbox": shapely.total_bounds(shapes).tolist(),
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    kept = table.schema.metadata or {}
    return table.replace_schema_metadata({**kept, b"geo": json.dumps(geo).encode()})


def _quote(text: str) -> str:
    """Return a TOML basic string: a JSON string is one if nothing beyond ASCII is escaped."""
    return json.dumps(text, ensure_ascii=False)


def card_text(card: CityCard) -> str:
    """Return the card as TOML."""
    lines = [
        f"name = {_quote(card.name)}",
        f"crs = {_quote(card.crs)}",
        f"time_zone = {_quote(card.time_zone)}",
        f"bbox = {list(card.bbox)}",
        f"region_scheme = {_quote(card.region_scheme)}",
    ]
    for source in card.sources:
        lines += ["", "[[sources]]", f"name = {_quote(source.name)}"]
        lines += [f"licence = {_quote(source.licence)}"]
    for title, table in (("provenance", card.provenance), ("notes", card.notes)):
        lines += ["", f"[{title}]", *(f"{_quote(k)} = {_quote(v)}" for k, v in table.items())]
    return "\n".join(lines) + "\n"
