"""Inputs of the assignment made by code: a shard for any city, and a grid city of any size."""

from functools import lru_cache

import numpy as np
import pyarrow as pa
import shapely
from h3.api import basic_int as h3
from pyproj import Transformer

from assignment.company import Homes
from raygen import schema
from raygen.city import City
from raygen.city_files.geometry import triangulate
from raygen.taxonomy import (
    ACTIVITY_TYPES,
    EMPLOYMENT,
    HOME,
    JOB_KINDS,
    POI_CATEGORIES,
    ROLES,
    SCHOOL,
    SEXES,
    STUDENT,
    WORK,
)

FIRST_ERRAND = 3
MEMBERS = 2.5
Shard = tuple[pa.Table, pa.Table, pa.Table, pa.Table]


def shard(city: City, persons: int, seed: int = 0, days: int = 1, first_id: int = 0) -> Shard:
    """Return households, persons, plans and priors of about ``persons`` people."""
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 5, max(1, round(persons / MEMBERS)))
    home = rng.choice(len(city.zone_id), len(size), p=city.population / city.population.sum())
    lon, lat = city.to_lonlat(city.sample_points(home.astype(np.int32), rng.random((len(size), 3))))
    households = pa.table(
        {
            "household_id": first_id + np.arange(len(size)),
            "home_zone_id": city.zone_id[home],
            "home_lon": lon,
            "home_lat": lat,
            "size": size.astype(np.int8),
            "income": np.full(len(size), 7e4, np.float32),
            "vehicles": rng.integers(0, 3, len(size)).astype(np.int8),
        },
        schema=schema.HOUSEHOLDS,
    )
    people = _persons(np.repeat(np.arange(len(size)), size), first_id, rng)
    plans = _plans(people, days, rng)
    return households, people, plans, _priors(len(plans), len(city.zone_id), rng)


def _persons(household: np.ndarray, first_id: int, rng: np.random.Generator) -> pa.Table:
    n = len(household)
    age = rng.integers(0, 90, n)
    employed = (age >= 18) & (age < 65) & (rng.random(n) < 0.8)
    student = np.select([(age >= 5) & (age < 18), (age >= 18) & (age < 23)], [1, 2], 0)
    codes = {
        "sex": (rng.integers(0, 2, n), SEXES),
        "employment": (np.where(employed, 0, 2), EMPLOYMENT),
        "student": (student, STUDENT),
        "role": (np.zeros(n, int), ROLES),
    }
    words = {k: schema.category(pa.array(c, pa.int8()), w) for k, (c, w) in codes.items()}
    return pa.table(
        {
            "person_id": first_id + np.arange(n),
            "household_id": first_id + household,
            "age": age.astype(np.int8),
            **words,
            "demographic_group": np.zeros(n, np.int8),
            "work_zone_id": np.full(n, -1, np.int32),
            "school_zone_id": np.full(n, -1, np.int32),
        },
        schema=schema.PERSONS,
    )


def day_rows(stops: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Return (type, start slot, end slot) of a day at home but for (type, arrival slot) stops."""
    whole = [(HOME, 0), *stops]
    ends = [slot for _, slot in whole[1:]] + [96]
    return [(kind, slot, end) for (kind, slot), end in zip(whole, ends, strict=True)]


def _day(works: bool, studies: bool, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """Return a random day: 0 to 6 stops, then home."""
    count = int(rng.integers(0, 6))
    slots = np.sort(rng.choice(np.arange(20, 90), count + 1, replace=False)).tolist()
    mandatory = [WORK] * works + [SCHOOL] * studies
    kinds: list[int] = []
    for _ in range(count):
        options = [
            k for k in (*mandatory, *range(FIRST_ERRAND, 15), HOME) if k != (kinds or [HOME])[-1]
        ]
        weight = np.array(
            [6.0 if k in (WORK, SCHOOL) else 3.0 if k == HOME else 1.0 for k in options]
        )
        kinds.append(int(rng.choice(options, p=weight / weight.sum())))
    while kinds and kinds[-1] == HOME:
        kinds.pop()
    if not kinds:
        return day_rows([])
    return day_rows([*zip(kinds, slots, strict=False), (HOME, slots[len(kinds)])])


@lru_cache
def _library(works: bool, studies: bool) -> list[list[tuple[int, int, int]]]:
    rng = np.random.default_rng(2 * works + studies)
    return [_day(works, studies, rng) for _ in range(300)]


def _plans(people: pa.Table, days: int, rng: np.random.Generator) -> pa.Table:
    works = people.column("employment").combine_chunks().indices.to_numpy() == 0
    studies = people.column("student").combine_chunks().indices.to_numpy() > 0
    rows = [
        (person, day, sequence, *activity)
        for person, w, s in zip(people["person_id"].to_pylist(), works, studies, strict=True)
        for day in range(days)
        for sequence, activity in enumerate(_library(bool(w), bool(s))[int(rng.integers(300))])
    ]
    return plan_table(rows)


def plan_table(rows: list[tuple[int, ...]]) -> pa.Table:
    """Return schema.PLANS of (person, day, sequence, type, start slot, end slot) rows.

    A row may go on with the person it is with, and with its escort.
    """
    values = np.array([(*row, -1, -1)[:8] for row in rows]).T
    names = schema.PLANS.names[:8]
    columns = [
        pa.array(v).cast(schema.PLANS.field(n).type) for n, v in zip(names, values, strict=True)
    ]
    for name in ("temporal_plan", "semantic_plan"):
        width = schema.PLANS.field(name).type.list_size
        flat = pa.array(np.full(len(rows) * width, 1.0 / width, np.float32))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, width))
    return pa.Table.from_arrays(columns, schema=schema.PLANS)


def _priors(rows: int, zones: int, rng: np.random.Generator) -> pa.Table:
    width = min(32, zones)
    library = np.stack([rng.choice(zones, width, replace=False) for _ in range(500)])
    chosen = np.full((rows, 32), -1, np.int32)
    chosen[:, :width] = library[rng.integers(0, 500, rows)]
    raw = -np.sort(rng.exponential(2.0, (rows, 32)), axis=1)
    log_p = raw - np.log(np.exp(raw[:, :width]).sum(axis=1, keepdims=True) * 1.3)
    rest = max(zones - width, 1)
    return prior_table(chosen, log_p, np.full(rows, np.log(0.3 / 1.3 / rest)))


def prior_table(zones: np.ndarray, log_probability: np.ndarray, log_floor: np.ndarray) -> pa.Table:
    """Return schema.PRIORS of arrays (A, 32), (A, 32), (A,)."""
    columns = [
        pa.FixedSizeListArray.from_arrays(pa.array(zones.astype(np.int32).ravel()), 32),
        pa.FixedSizeListArray.from_arrays(pa.array(log_probability.astype(np.float32).ravel()), 32),
        pa.array(log_floor.astype(np.float32)),
    ]
    return pa.Table.from_arrays(columns, schema=schema.PRIORS)


def apart(persons: int) -> Homes:
    """Return households of one adult with a car."""
    no = np.zeros(persons, bool)
    return Homes(np.arange(persons + 1), np.arange(persons), np.ones(persons, int), no, ~no)


def grid_city(columns: int, rows: int, seed: int = 0, side_m: float = 1600.0) -> City:
    """Return a city of square zones with a centre of jobs; skims from the Manhattan distance."""
    rng = np.random.default_rng(seed)
    zones = columns * rows
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    west_south = np.array([386_000.0, 3_762_000.0]) + side_m * np.stack([x.ravel(), y.ravel()], 1)
    xy = west_south + side_m * (0.5 + rng.uniform(-0.2, 0.2, (zones, 2)))
    distance, free, peak = _skims(xy, side_m, rng)
    middle = np.hypot(*(xy - xy.mean(axis=0)).T)
    jobs = np.exp(-middle / (8 * side_m))[:, None] * rng.gamma(2.0, 300.0, (zones, len(JOB_KINDS)))
    population = rng.integers(500, 9000, zones)
    pois = rng.integers(20, 120, zones)
    poi_zone = np.repeat(np.arange(zones), pois)
    attraction = rng.gamma(1.0, 1.0, (len(ACTIVITY_TYPES), zones))
    attraction[FIRST_ERRAND:, rng.random(zones) < 0.1] = 0.0
    return City(
        name="Grid", crs="EPSG:32611", time_zone="America/Los_Angeles", path="", digest="",
        provenance={}, zone_id=np.arange(1001, 1001 + zones, dtype=np.int32),
        subregion=np.zeros(zones, np.int16), subregion_names=("all",),
        population=population.astype(np.int32), households=(population // 3).astype(np.int32),
        zone_xy=xy, jobs=jobs.astype(np.float32),
        school_places=np.where(rng.random(zones) < 0.4, 1500, 0).astype(np.float32),
        college_places=np.where(rng.random(zones) < 0.03, 9000, 0).astype(np.float32),
        area_m2=np.full(zones, side_m**2),
        commute_target_s=rng.normal(1800, 150, 40).astype(np.float32)[rng.integers(0, 40, zones)],
        attraction=attraction.astype(np.float32),
        category_given_type=rng.dirichlet(np.ones(14) * 0.3, 15).astype(np.float32),
        distance_m=distance, free_time_s=free, peak_time_s=peak,
        poi_start=np.concatenate([[0], np.cumsum(pois)]).astype(np.int32),
        poi_zone=poi_zone.astype(np.int32),
        poi_category=rng.integers(0, 14, len(poi_zone)).astype(np.int8),
        poi_types=rng.permuted(np.tile(np.arange(15, dtype=np.int8), (len(poi_zone), 1)), axis=1)[
            :, :3
        ],
        poi_probability=np.tile(np.float32([0.6, 0.3, 0.1]), (len(poi_zone), 1)),
        poi_xy=west_south[poi_zone] + side_m * rng.random((len(poi_zone), 2)),
        controls=_controls(population),
        triangles=triangulate(shapely.box(*west_south.T, *(west_south + side_m).T)),
        **_regions(west_south, side_m),
    )  # fmt: skip


def _skims(xy: np.ndarray, side_m: float, rng: np.random.Generator) -> list[np.ndarray]:
    gap = np.abs(xy[:, None, :] - xy[None, :, :]).sum(axis=2)
    np.fill_diagonal(gap, side_m / 2)
    free = gap / (6.0 + 14.0 * gap / (gap + 10_000.0)) * rng.uniform(0.9, 1.1, gap.shape)
    peak = free * rng.uniform(1.2, 1.7, gap.shape)
    return [a.astype(np.float32) for a in (gap, free, peak)]


def _controls(population: np.ndarray) -> pa.Table:
    people = population.astype(float)
    shares = {"age_under_18": 0.22, "age_18_24": 0.1, "labour_force": 0.5, "no_vehicles": 0.03}
    return pa.table({name: people * share for name, share in shares.items()})


def _regions(west_south: np.ndarray, side_m: float) -> dict[str, np.ndarray]:
    """Return the H3 cells met by four points of each zone."""
    offset = side_m * np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
    xy = (west_south[:, None, :] + offset).reshape(-1, 2)
    lon, lat = Transformer.from_crs("EPSG:32611", 4326, always_xy=True).transform(*xy.T)
    cells = [h3.latlng_to_cell(y, x, 8) for x, y in zip(lon, lat, strict=True)]
    region_id, first = np.unique(np.array(cells, np.uint64), return_index=True)
    count = len(region_id)
    return {
        "region_id": region_id,
        "region_zone": (first // 4).astype(np.int32),
        "region_poi": np.full((count, len(POI_CATEGORIES)), 1 / 14, np.float32),
        "region_population": np.ones(count, np.float32),
        "region_xy": xy[first],
        "home_region": np.zeros(len(west_south), np.int32),
        "overlap_region": np.arange(count, dtype=np.int32),
        "overlap_zone": (first // 4).astype(np.int32),
        "overlap_share": np.ones(count, np.float32),
    }
