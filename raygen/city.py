"""A city in memory: what the stages read of a place, as plain arrays."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from h3.api import basic_int as h3
from scipy.spatial import KDTree

from raygen.city_fields import poi_fields, region_fields, zone_fields
from raygen.city_files.geometry import (
    CityGeometry,
    Triangles,
    city_geometry,
)
from raygen.city_files.layout import CARD, H3_RESOLUTION, SCHEMAS, SKIMS, CityTables
from raygen.city_files.projection import to_degrees, to_metres
from raygen.city_files.reader import read_city
from raygen.city_files.rules import check_city
from raygen.errors import DataError

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
CellArray = npt.NDArray[np.uint64]

_log = logging.getLogger(__name__)

EMBEDDED = ("los_angeles",)
"""Names of the cities that raygen builds by itself."""

CACHE = Path.home() / ".cache" / "raygen" / "cities"
"""Where embedded cities are kept once built."""


@dataclass(frozen=True)
class City:
    """All that the stages read of a city; Z zones, R regions, P POIs. Picklable, never changed.

    A *zone row* is an index 0 … Z - 1 into the zone arrays, a *region row* one into the region
    arrays; ``zone_id`` and ``region_id`` are the published ids. Projected points are metres in
    ``crs``.
    """

    name: str
    crs: str
    time_zone: str
    path: str
    digest: str
    """SHA-256 over the names and SHA-256 of the city's files."""
    provenance: dict[str, str]
    """By table or ``table.column``: observed, calibrated, synthesised or assumed."""

    zone_id: Int32Array
    """Shape (Z,)."""
    subregion: npt.NDArray[np.int16]
    """Shape (Z,): index into ``subregion_names``."""
    subregion_names: tuple[str, ...]
    population: Int32Array
    """Shape (Z,): people who live in the zone."""
    households: Int32Array
    """Shape (Z,)."""
    zone_xy: FloatArray
    """Shape (Z, 2): a point inside the zone, projected metres."""
    jobs: Float32Array
    """Shape (Z, 6): by JOB_KINDS."""
    school_places: Float32Array
    """Shape (Z,): kindergarten to grade 12."""
    college_places: Float32Array
    """Shape (Z,)."""
    area_m2: FloatArray
    """Shape (Z,)."""
    commute_target_s: Float32Array
    """Shape (Z,): observed mean travel time to work; NaN where it is not known."""

    region_id: CellArray
    """Shape (R,): H3 cells of resolution 8, ascending."""
    region_zone: Int32Array
    """Shape (R,): zone row that the region stands for. Small zones may own no region: see
    ``overlap_zone``."""
    region_poi: Float32Array
    """Shape (R, 14): POI distribution, rows sum to 1."""
    region_population: Float32Array
    """Shape (R,)."""
    region_xy: FloatArray
    """Shape (R, 2): centroids, projected metres."""
    home_region: Int32Array
    """Shape (Z,): region row that stands for the zone's homes, the one at ``zone_xy``."""
    overlap_region: Int32Array
    """Shape (O,): region rows, ascending, one for each zone that a region overlaps."""
    overlap_zone: Int32Array
    """Shape (O,): zone rows; every zone has at least one."""
    overlap_share: Float32Array
    """Shape (O,): share of the region's people and jobs in that zone; 1 in sum over a region."""

    attraction: Float32Array
    """Shape (15, Z): size of a zone for each activity type. Home: population; work: jobs; school:
    school and college places; others: POIs weighted by P(type | POI), and see
    ``city_fields.AT_HOMES``."""
    category_given_type: Float32Array
    """Shape (15, 14): P(POI category | activity type) over the city's POIs, rows sum to 1; home is
    residential."""

    distance_m: Float32Array
    """Shape (Z, Z), row origin, column destination; the diagonal is within the zone, > 0."""
    free_time_s: Float32Array
    """Shape (Z, Z): by car at free flow."""
    peak_time_s: Float32Array
    """Shape (Z, Z): by car in the morning peak."""

    poi_start: Int32Array
    """Shape (Z + 1,): zone row z owns POIs poi_start[z] … poi_start[z + 1] - 1."""
    poi_zone: Int32Array
    """Shape (P,): zone row, ascending."""
    poi_category: npt.NDArray[np.int8]
    """Shape (P,): index into POI_CATEGORIES."""
    poi_types: npt.NDArray[np.int8]
    """Shape (P, 3): the annotation's top activity types of each POI."""
    poi_probability: Float32Array
    """Shape (P, 3): their probabilities, P(type | POI)."""
    poi_xy: FloatArray
    """Shape (P, 2): projected metres."""

    triangles: Triangles
    """The zones' polygons as triangles, for ``sample_points``."""

    controls: pa.Table
    """Marginals of each zone, in zone rows' order: ``layout.CONTROLS``."""

    def sample_points(self, zone_rows: Int32Array, uniform: FloatArray) -> FloatArray:
        """Return a point in each zone, uniform over its area.

        Parameters
        ----------
        zone_rows
            Shape (M,).
        uniform
            Draws in [0, 1) of shape (M, 3): which triangle, and where in it.

        Returns
        -------
        xy
            Shape (M, 2): projected metres.
        """
        return self.triangles.points(zone_rows, uniform)

    def to_lonlat(self, xy: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the longitudes and latitudes of projected points of shape (M, 2)."""
        lonlat = to_degrees(xy, self.crs)
        return lonlat[:, 0], lonlat[:, 1]

    def regions_at(self, lon: FloatArray, lat: FloatArray) -> CellArray:
        """Return the region of each point.

        Parameters
        ----------
        lon, lat
            Degrees, shape (M,).

        Returns
        -------
        region_id
            Shape (M,): the H3 cell of the point; the nearest region's where that is not one of
            the city's regions. Every value is in ``region_id``.
        """
        # h3 4.5 has no vectorised call; this loop takes 1 µs a point.
        cells = np.fromiter(
            map(h3.latlng_to_cell, lat.tolist(), lon.tolist(), repeat(H3_RESOLUTION)),
            dtype=np.uint64,
            count=len(lon),
        )
        at = np.minimum(np.searchsorted(self.region_id, cells), len(self.region_id) - 1)
        strange = np.flatnonzero(self.region_id[at] != cells)
        if len(strange):
            xy = to_metres(np.stack([lon[strange], lat[strange]], axis=1), self.crs)
            cells[strange] = self.region_id[KDTree(self.region_xy).query(xy)[1]]
        return cells


def open_city(path_or_name: str, cache: Path = CACHE) -> City:
    """Open a city and check every rule of its files.

    Parameters
    ----------
    path_or_name
        Directory of a city, or the name of an embedded one, which is built first where it is not
        in the cache.
    cache
        Directory of the embedded cities.

    Returns
    -------
    city
        In memory; the files may go.

    Raises
    ------
    DataError
        If a file is missing or breaks a rule; the message names the file, the columns and rows.
    """
    directory = _embedded(path_or_name, cache) if path_or_name in EMBEDDED else Path(path_or_name)
    if not directory.is_dir():
        msg = f"{directory}: no such city directory; embedded cities: {', '.join(EMBEDDED)}"
        raise DataError(msg)
    tables = read_city(directory)
    geometry = city_geometry(tables)
    check_city(tables, geometry, directory)
    return _city(tables, geometry, directory)


def _embedded(name: str, cache: Path) -> Path:
    """Return the directory of an embedded city, built once for each version of its builder."""
    from raygen.cities import los_angeles

    directory = cache / f"{name}-{los_angeles.version()[:12]}"
    if not (directory / CARD).is_file():
        _log.info("city %s: building it, once", name)
        _build_once(los_angeles.build, directory)
    return directory


def _build_once(build: Callable[[Path], None], directory: Path) -> None:
    """Build a city into its place; where another process was faster, keep what is there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as scratch:
        fresh = Path(scratch) / directory.name
        build(fresh)
        try:
            fresh.rename(directory)
        except OSError:  # a directory that is not empty is not replaced
            if not (directory / CARD).is_file():
                raise


def _city(tables: CityTables, geometry: CityGeometry, directory: Path) -> City:
    return City(
        **_card_fields(tables, directory),
        **zone_fields(tables, geometry),
        **region_fields(tables, geometry),
        **poi_fields(tables),
        distance_m=tables.skims["distance_m"],
        free_time_s=tables.skims["time_s_free"],
        peak_time_s=tables.skims["time_s_peak"],
        controls=tables.controls,
    )


def _card_fields(tables: CityTables, directory: Path) -> dict[str, Any]:
    return {
        "name": tables.card.name,
        "crs": tables.card.crs,
        "time_zone": tables.card.time_zone,
        "path": str(directory),
        "digest": city_digest(directory),
        "provenance": dict(tables.card.provenance),
    }


def city_digest(directory: Path) -> str:
    """Return the SHA-256 over the names and SHA-256 of a city's files."""
    names = [CARD, *SCHEMAS, *(f"skims/{name}.npy" for name in SKIMS)]
    total = hashlib.sha256()
    for name in names:
        with (directory / name).open("rb") as file:
            total.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
