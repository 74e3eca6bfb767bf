"""The zones' figures: ZIP totals shared out to zones, exactly, and the controls.

People who live in group quarters (dormitories, barracks, nursing homes) are in a ZIP's population
but in none of its households. raygen has no people without a household. In the ZIPs where the
households cannot hold them, at over ``MAX_MEAN_SIZE`` people each (nine ZIPs: campuses, a veterans'
home), every resident beyond the households' mean size counts as a household of one. Elsewhere
group quarters (1.9 % of the county) are within what household sizes vary, and the ZIP's
households are as observed.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen import seeds
from raygen.cities.los_angeles.settlement import SEED, Split
from raygen.cities.los_angeles.zips import CRS, Zips
from raygen.city_files.geometry import in_degrees
from raygen.city_files.layout import CONTROLS, ZONES
from raygen.taxonomy import JOB_KINDS

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MAX_MEAN_SIZE = 6.0
"""People per household above which a ZIP's residents are taken to live in group quarters."""

JOB_SHARES = (0.31, 0.13, 0.20, 0.09, 0.16, 0.11)
"""County's jobs by JOB_KINDS: assumed, rounded from the supersectors of the county's QCEW."""

PUPIL_SHARE = 13 / 18
"""Share of the under-18s who are 5 to 17, if ages are even: assumed."""

SPARE_PLACES = 1.05
"""School places per pupil: assumed."""

_SCHOOL = 800  # places of a school, on average
_MAX_COLLEGE = 25_000  # places that one zone takes before a campus spreads over two

SUBREGIONS = (
    ("North County", 34.34, 90.0, -180.0, 180.0),
    ("San Fernando Valley", 34.1335, 34.34, -180.0, -118.215),
    ("San Fernando Valley", 34.115, 34.34, -180.0, -118.62),
    ("Westside", 33.945, 34.1335, -180.0, -118.385),
    ("Westside", 33.985, 34.1335, -180.0, -118.365),
    ("South Bay", 33.6, 33.985, -180.0, -118.31),
    ("South Bay", 33.6, 33.90, -180.0, -118.235),
    ("South", 33.90, 34.025, -180.0, -118.235),
    ("Gateway", 0.0, 34.018, -180.0, -118.03),
    ("Gateway", 0.0, 33.985, -118.03, -117.99),
    ("San Gabriel Valley", 0.0, 34.34, -118.165, 180.0),
    ("San Gabriel Valley", 34.135, 34.34, -118.215, 180.0),
    ("Central", 0.0, 90.0, -180.0, 180.0),
)
"""Eight sub-regions, as many as DataFusion, Fig. 13(a), has: name, south, north, west, east in
degrees. A ZIP belongs to the first box that holds its point. The paper does not give its
boundaries; these follow the county's usual names."""


def subregion(lon: float, lat: float) -> str:
    """Return the sub-region of a ZIP's point."""
    for name, south, north, west, east in SUBREGIONS:
        if south <= lat < north and west <= lon < east:
            return name
    return SUBREGIONS[-1][0]


def apportion(totals: IntArray, group: IntArray, weight: FloatArray) -> IntArray:
    """Share whole totals out by weight: largest remainder, exact in sum.

    Parameters
    ----------
    totals
        By group, shape (G,).
    group
        Group of each part, shape (Z,).
    weight
        Of each part, shape (Z,), >= 0, 1 in sum over a group.

    Returns
    -------
    parts
        Shape (Z,); they sum to ``totals`` over each group, and ties go to the first part.
    """
    exact = totals[group] * weight
    parts = np.floor(exact).astype(np.int64)
    left = totals - np.bincount(group, parts, len(totals)).astype(np.int64)
    order = np.lexsort((np.arange(len(group)), -(exact - parts), group))
    start = np.searchsorted(group[order], np.arange(len(totals)))
    rank = np.arange(len(group)) - start[group[order]]
    parts[order[rank < left[group[order]]]] += 1
    return parts


def group_quarters(zips: Zips) -> npt.NDArray[np.bool_]:
    """Say for each ZIP whether its residents are taken to live in group quarters."""
    return zips.population > MAX_MEAN_SIZE * zips.households


def zip_households(zips: Zips) -> IntArray:
    """Return the households of each ZIP, group quarters counted as the module's text says."""
    size = np.nan_to_num(zips.figure("avg_household_size"), nan=1.0)
    crowded = group_quarters(zips)
    housed = np.minimum(np.rint(zips.households * size).astype(np.int64), zips.population)
    return np.where(crowded, zips.households + zips.population - housed, zips.households)


def zones_table(zips: Zips, split: Split) -> pa.Table:
    """Return the zones as a table of schema ZONES.

    Population, households and total jobs of a ZIP's zones sum to the ZIP's exactly. Zone ids are
    the ZIP times 100 plus a number from 1.
    """
    group = split.zip_row
    first = np.searchsorted(group, np.arange(len(zips.zip)))
    population = apportion(zips.population, group, split.weight)
    households = np.minimum(
        apportion(zip_households(zips), group, population / zips.population[group]), population
    )
    jobs = job_kinds(zips, split, population)
    school, college = places(zips, split, population)
    names = [subregion(lon, lat) for lon, lat in zips.lonlat.tolist()]
    commute = zips.figure("mean_travel_time_to_work_minutes") * 60
    columns = {
        "zone_id": (zips.zip[group] * 100 + np.arange(len(group)) - first[group] + 1).astype("i4"),
        "subregion": [names[row] for row in group.tolist()],
        "population": population.astype("i4"),
        "households": households.astype("i4"),
        **{f"jobs_{kind}": jobs[:, k].astype("f4") for k, kind in enumerate(JOB_KINDS)},
        "school_places": school.astype("f4"),
        "college_places": college.astype("f4"),
        "mean_commute_s": pa.array(commute[group].astype("f4"), from_pandas=True),
        "area_m2": np.array([polygon.area for polygon in split.polygon]),
        "geometry": in_degrees(split.polygon, CRS),
    }
    return pa.table(columns, schema=ZONES)


def job_kinds(zips: Zips, split: Split, population: IntArray) -> FloatArray:
    """Return jobs by zone and kind, shape (Z, 6): totals by ZIP observed, the rest synthesised.

    A ZIP's jobs concentrate in some of its zones (log-normal weights, σ = 0.8). Kinds are
    tilted: office to dense job zones, industry to job zones without residents, retail, education
    and health to residents; then raked to the zones' totals and the county's ``JOB_SHARES``.
    """
    rng = seeds.stream(SEED, "los_angeles jobs")
    pull = rng.lognormal(0.0, 0.8, len(split.zip_row))
    pull /= np.bincount(split.zip_row, pull)[split.zip_row]
    total = apportion(zips.jobs, split.zip_row, pull).astype(np.float64)
    area_km2 = np.array([polygon.area for polygon in split.polygon]) / 1e6
    dense = np.log1p(total / area_km2 / 2000)
    homes = np.log1p(population / np.maximum(total, 1.0))
    tilt = np.stack(
        [
            0.8 * dense - 0.1 * homes,
            0.1 * dense + 0.5 * homes,
            -0.5 * dense - 0.9 * homes,
            0.0 * dense + 0.9 * homes,
            0.2 * dense + 0.5 * homes,
            0.4 * dense + 0.3 * homes,
        ],
        axis=1,
    )
    noise = rng.normal(0.0, 0.4, tilt.shape)
    return rake(np.exp(tilt + noise), total, np.array(JOB_SHARES) * total.sum())


def rake(table: FloatArray, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Scale a table of positive rows to row and column sums (iterative proportional fitting).

    Rows are met exactly, columns to a relative 1e-9 or after 200 rounds. A row whose sum is to be 0
    becomes 0.
    """
    table = table * (rows > 0)[:, None]
    for _ in range(200):
        table = table * (columns / table.sum(axis=0))
        scale = rows / np.maximum(table.sum(axis=1), 1e-300)
        table = table * scale[:, None]
        if np.allclose(table.sum(axis=0), columns, rtol=1e-9):
            break
    return table


def places(zips: Zips, split: Split, population: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return school and college places of each zone, both of shape (Z,).

    College places are observed by ZIP; zones within it are drawn. School places are synthesised:
    the ZIP's pupils times ``SPARE_PLACES``, in schools of about ``_SCHOOL`` places whose zones are
    drawn by population.
    """
    school, college = np.zeros(len(split.zip_row)), np.zeros(len(split.zip_row))
    pupils = zips.population * zips.figure("pct_under_18") * PUPIL_SHARE * SPARE_PLACES
    students = zips.figure("college_enrollment_total")
    for row in range(len(zips.zip)):
        rng = seeds.stream(SEED, "los_angeles places", int(zips.zip[row]))
        own = np.flatnonzero(split.zip_row == row)
        if pupils[row] >= 1:
            schools = max(1, round(pupils[row] / _SCHOOL))
            at = rng.choice(own, size=schools, p=split.weight[own])
            size = rng.lognormal(0.0, 0.4, schools)
            school += np.bincount(at, size / size.sum() * pupils[row], len(school))
        if students[row] > 0:
            campuses = min(len(own), int(np.ceil(students[row] / _MAX_COLLEGE)))
            at = rng.choice(own, size=campuses, replace=False)
            college[at] += students[row] / campuses
    return np.ceil(school), np.rint(college)


def controls_table(zips: Zips, zones: pa.Table, split: Split) -> pa.Table:
    """Return the zones' controls as a table of schema CONTROLS.

    A ZIP's shares hold in each of its zones, so that zone controls sum to the ZIP's. Where the
    ZIP's figure is not published the control is null; in zones without households it is 0.
    """
    group = split.zip_row
    people = zones.column("population").to_numpy().astype(np.float64)
    homes = zones.column("households").to_numpy().astype(np.float64)
    minor = zips.figure("pct_under_18")
    # Ages are taken as even below 18, so that 16 of 18 years of the minors are under 16.
    adults = (1 - minor * 16 / 18) * zips.figure("pct_employed")
    # What few households there are beside group quarters say nothing of those who live there.
    collective = group_quarters(zips)
    income = np.where(collective, np.nan, zips.figure("median_household_income"))
    by_home = {
        "income_under_25k": zips.figure("pct_under_25k"),
        "income_over_200k": zips.figure("pct_over_200k"),
        "income_below_median": np.where(np.isnan(income), np.nan, 0.5),
        "no_vehicles": zips.figure("pct_no_vehicles"),
    }
    by_home = {name: np.where(collective, np.nan, share) for name, share in by_home.items()}
    columns = {
        "zone_id": zones.column("zone_id"),
        "households": zones.column("households"),
        "population": zones.column("population"),
        "age_under_18": people * minor[group],
        "age_18_24": people * zips.figure("pct_age_18_to_24")[group],
        "age_65_plus": people * zips.figure("pct_65_plus")[group],
        "labour_force": people * adults[group],
        **{
            k: _known(_of_homes(homes, np.where(collective, np.nan, v)[group]))
            for k, v in by_home.items()
        },
        "median_income": _known(np.where(homes > 0, income[group], 0.0)),
    }
    return pa.table({name: columns[name] for name in CONTROLS.names}, schema=CONTROLS)


def _of_homes(homes: FloatArray, share: FloatArray) -> FloatArray:
    """Return a share of the households: 0 where there are none, NaN where it is not known."""
    return np.where(homes > 0, share * homes, 0.0)


def _known(values: FloatArray) -> pa.Array:
    """Return a column in which NaN is null."""
    return pa.array(values, pa.float64(), from_pandas=True)
