"""The rules that bind a city's figures and files together (DESIGN 3)."""

from pathlib import Path

import h3
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen.city_files.faults import Faults
from raygen.city_files.geometry import CityGeometry
from raygen.city_files.layout import H3_RESOLUTION, CityTables
from raygen.city_files.rules_roads import check_roads
from raygen.taxonomy import ACTIVITY_TYPES, JOB_KINDS, POI_CATEGORIES

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SUM_TOLERANCE = 1e-3
"""How far from 1 the sum of float32 probabilities may be."""

COVER = 0.995
"""Share of a zone's area that the regions must cover."""

_AREA_TOLERANCE = 0.02  # projections differ in scale: up to 1.0008² between UTM's axis and its edge

_PERSONS = ("age_under_18", "age_18_24", "age_65_plus", "labour_force")
_HOUSEHOLDS = ("income_under_25k", "income_over_200k", "income_below_median", "no_vehicles")


def check_city(tables: CityTables, geometry: CityGeometry, directory: Path) -> None:
    """Check the rules within and between tables.

    Parameters
    ----------
    tables
        As ``read_city`` gave them: columns, types and CRS are right.
    geometry
        Of the same city.
    directory
        Named in the messages.

    Raises
    ------
    DataError
        For the first table with a fault, naming the file and every fault found in it.
    """
    _check_zones(tables, geometry, Faults(str(directory / "zones.parquet")))
    _check_regions(tables, geometry, Faults(str(directory / "regions.parquet")))
    _check_pois(tables, Faults(str(directory / "pois.parquet")))
    check_roads(tables, directory)
    _check_controls(tables, Faults(str(directory / "controls.parquet")))
    for name, matrix in tables.skims.items():
        _check_skim(matrix, tables.zones.num_rows, Faults(str(directory / "skims" / f"{name}.npy")))


def numbers(table: pa.Table, column: str) -> FloatArray:
    """Return a column as float64, null as NaN."""
    return np.asarray(table.column(column).to_numpy(), dtype=np.float64)


def repeated(ids: npt.NDArray[np.generic]) -> Mask:
    """Say for each row whether its id stands in an earlier row."""
    again = np.ones(len(ids), dtype=bool)
    again[np.unique(ids, return_index=True)[1]] = False
    return again


def unknown(table: pa.Table, column: str, ids: npt.NDArray[np.generic]) -> Mask:
    """Say for each row whether its id is none of ``ids``."""
    return ~np.isin(table.column(column).to_numpy(), ids)


def _negative(values: FloatArray) -> Mask:
    """Say where a figure is below zero or not finite."""
    return ~(np.isfinite(values) & (values >= 0))


def _check_zones(tables: CityTables, geometry: CityGeometry, faults: Faults) -> None:
    zones = tables.zones
    if zones.num_rows == 0:
        faults.add("zone_id", "no rows; a city has at least one zone")
        faults.raise_any()
    faults.rows("zone_id", repeated(zones.column("zone_id").to_numpy()), "repeats an earlier id")
    jobs = [f"jobs_{kind}" for kind in JOB_KINDS]
    for column in ["population", "households", *jobs, "school_places", "college_places"]:
        faults.rows(column, _negative(numbers(zones, column)), "must be finite and >= 0")
    population, households = numbers(zones, "population"), numbers(zones, "households")
    faults.rows("households", households > population, "more households than people")
    empty = (population > 0) & (households == 0)
    faults.rows("households", empty, "people live here but there is no household")
    if (population <= 0).all():
        faults.add("population", "nobody lives in the city: 0 in every zone")
    if sum(numbers(zones, column).sum() for column in jobs) == 0:
        faults.add("jobs_*", "no jobs in the city: 0 in every zone")
    area = numbers(zones, "area_m2")
    drawn = np.array([polygon.area for polygon in geometry.zones])
    wrong = ~(np.abs(area - drawn) <= _AREA_TOLERANCE * drawn)
    faults.rows("area_m2", wrong, "not the area of the polygon")
    commute = numbers(zones, "mean_commute_s")
    faults.rows("mean_commute_s", ~np.isnan(commute) & ~(commute > 0), "must be > 0 or null")
    faults.raise_any()


def _check_regions(tables: CityTables, geometry: CityGeometry, faults: Faults) -> None:
    regions, zone_id = tables.regions, tables.zones.column("zone_id").to_numpy()
    ids = regions.column("region_id").to_numpy()
    faults.rows("region_id", repeated(ids), "repeats an earlier id")
    cell = np.array([_is_region(i) for i in ids.tolist()], dtype=bool)
    faults.rows("region_id", ~cell, f"not an H3 cell of resolution {H3_RESOLUTION}")
    faults.rows("zone_id", unknown(regions, "zone_id", zone_id), "not in zones.parquet")
    flat = regions.column("poi_distribution").combine_chunks().flatten().to_numpy()
    share = flat.reshape(-1, len(POI_CATEGORIES)).astype(np.float64)
    faults.rows("poi_distribution", np.asarray((share < 0).any(axis=1)), "has a negative share")
    off = ~(np.abs(share.sum(axis=1) - 1) <= SUM_TOLERANCE)
    faults.rows("poi_distribution", off, "does not sum to 1")
    faults.rows("population", _negative(numbers(regions, "population")), "must be finite, >= 0")
    covered = np.bincount(
        geometry.overlaps.zone, weights=geometry.overlaps.area_m2, minlength=len(zone_id)
    )
    area = np.array([polygon.area for polygon in geometry.zones])
    bare = zone_id[covered < COVER * area]
    if len(bare):
        shown = ", ".join(map(str, bare[:5].tolist()))
        faults.add("geometry", f"regions do not cover {len(bare)} zones: {shown}")
    alone = np.bincount(geometry.overlaps.region, minlength=regions.num_rows) == 0
    faults.rows("geometry", alone, "shares no area with a zone")
    faults.raise_any()


def _is_region(cell: int) -> bool:
    text = h3.int_to_str(cell)
    return h3.is_valid_cell(text) and h3.get_resolution(text) == H3_RESOLUTION


def _check_pois(tables: CityTables, faults: Faults) -> None:
    pois, zone_id = tables.pois, tables.zones.column("zone_id").to_numpy()
    faults.rows("poi_id", repeated(pois.column("poi_id").to_numpy()), "repeats an earlier id")
    faults.rows("zone_id", unknown(pois, "zone_id", zone_id), "not in zones.parquet")
    words = np.asarray(pois.column("category").cast(pa.string()).to_numpy(), dtype=np.str_)
    faults.rows("category", ~np.isin(words, POI_CATEGORIES), "not one of the 14 POI categories")
    types, probabilities = annotation(pois)
    bad: Mask = np.asarray(((types < 0) | (types >= len(ACTIVITY_TYPES))).any(axis=1))
    faults.rows("activity_types", bad, f"codes must be 0 to {len(ACTIVITY_TYPES) - 1}")
    off = ~(np.abs(probabilities.sum(axis=1) - 1) <= SUM_TOLERANCE)
    off |= np.asarray((probabilities < 0).any(axis=1))
    faults.rows("activity_probabilities", off, "do not sum to 1")
    seen = np.bincount(types[~bad].ravel(), probabilities[~bad].ravel(), len(ACTIVITY_TYPES))
    absent = [word for word, weight in zip(ACTIVITY_TYPES, seen, strict=True) if weight <= 0]
    # People are at home, at work and at school where the zones say so, POI or not.
    absent = [word for word in absent if word not in {"home", "work", "school"}]
    if absent:
        faults.add("activity_types", f"no POI in the city for {', '.join(absent)}")
    faults.raise_any()


def annotation(pois: pa.Table) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """Return the activity types and probabilities of the POIs, both of shape (P, 3)."""
    types = pois.column("activity_types").combine_chunks().flatten().to_numpy()
    probabilities = pois.column("activity_probabilities").combine_chunks().flatten().to_numpy()
    shape = (pois.num_rows, -1)
    return types.reshape(shape), probabilities.reshape(shape).astype(np.float64)


def _check_controls(tables: CityTables, faults: Faults) -> None:
    controls, zones = tables.controls, tables.zones
    if controls.num_rows != zones.num_rows:
        faults.add("zone_id", f"{controls.num_rows} rows for {zones.num_rows} zones")
        faults.raise_any()
    for column in ("zone_id", "population", "households"):
        differs = numbers(controls, column) != numbers(zones, column)
        faults.rows(column, differs, "differs from the same row of zones.parquet")
    for whole, columns in (("population", _PERSONS), ("households", _HOUSEHOLDS)):
        limit = numbers(controls, whole)
        for column in columns:
            value = numbers(controls, column)
            wrong = ~np.isnan(value) & ~((value >= 0) & (value <= limit * (1 + 1e-6)))
            faults.rows(column, wrong, f"must be from 0 to the zone's {whole}")
    income = numbers(controls, "median_income")
    faults.rows("median_income", ~np.isnan(income) & ~(income >= 0), "must be >= 0")
    faults.raise_any()


def _check_skim(matrix: npt.NDArray[np.float32], zones: int, faults: Faults) -> None:
    if matrix.shape != (zones, zones):
        faults.add("matrix", f"shape must be ({zones}, {zones}), got {matrix.shape}")
        faults.raise_any()
    finite: Mask = np.asarray(np.isfinite(matrix).all(axis=1))
    faults.rows("matrix", ~finite, "not finite")
    faults.rows("matrix", np.asarray((matrix < 0).any(axis=1)), "negative")
    faults.rows("matrix", finite & (np.diag(matrix) == 0), "within its own zone must be > 0")
    faults.raise_any()
