"""A city of six zones made in code, for tests: nothing in it is a sample of real data.

Zones are 3 km squares near 34.0° north, 118.2° west, in EPSG:32611; roads are a grid with nodes
every 1.5 km, and every segment north or west is slower than its way back, so that no matrix is
symmetric. The college is in 203, the factory in 102; 201 has no jobs to speak of.

          north     11 (500)   12 (1,200)  13 (300)
          south     21 (900)   22 (2,000)  23 (800)
"""

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from raygen import seeds
from raygen.cities.placement import draw_points, poi_table, region_table
from raygen.city_files import layout
from raygen.city_files.geometry import in_degrees, inner_points
from raygen.city_files.poi_types import POI_TYPES
from raygen.city_files.writer import write_city
from raygen.roads import RoadGraph, dijkstra_matrix
from raygen.taxonomy import JOB_KINDS

CRS = "EPSG:32611"
SIDE_M = 3000.0
WEST_M, SOUTH_M = 386_000.0, 3_762_000.0
ZONE_ID = np.array([11, 12, 13, 21, 22, 23], dtype=np.int32)
POPULATION = np.array([500, 1200, 300, 900, 2000, 800], dtype=np.int32)
HOUSEHOLDS = np.array([180, 420, 140, 300, 700, 330], dtype=np.int32)
#                office retail industry education health leisure
JOBS = np.array(
    [
        [60, 40, 10, 10, 10, 20],
        [80, 60, 500, 20, 20, 40],
        [20, 10, 10, 5, 5, 10],
        [5, 5, 0, 5, 0, 5],
        [400, 200, 40, 40, 150, 120],
        [60, 60, 20, 120, 40, 60],
    ],
    dtype=np.float32,
)
SCHOOL_PLACES = np.array([0, 450, 0, 0, 700, 150], dtype=np.float32)
COLLEGE_PLACES = np.array([0, 0, 0, 0, 0, 400], dtype=np.float32)
COMMUTE_S = np.array([700, 640, np.nan, 720, 600, 760], dtype=np.float32)
POIS_PER_TYPE = 3


def build(directory: Path) -> Path:
    """Write the city into ``directory`` and return it."""
    write_city(tables(), directory)
    return directory


@cache
def tables() -> layout.CityTables:
    """Return the city's tables, for a test to break one before it writes them."""
    polygons = zone_polygons()
    nodes, edges, skims = _roads(polygons)
    pois, xy, category = _pois(polygons)
    regions = region_table(polygons, ZONE_ID, POPULATION, (xy, category), CRS)
    return layout.CityTables(
        card=_card(), zones=_zones(polygons), regions=regions, pois=pois,
        road_nodes=nodes, road_edges=edges, controls=_controls(), skims=skims,
    )  # fmt: skip


def zone_polygons() -> np.ndarray:
    """Return the six squares, row by row from the north-west."""
    west = WEST_M + SIDE_M * np.array([0, 1, 2, 0, 1, 2])
    south = SOUTH_M + SIDE_M * np.array([1, 1, 1, 0, 0, 0])
    return shapely.box(west, south, west + SIDE_M, south + SIDE_M)


def _card() -> layout.CityCard:
    return layout.CityCard(
        name="Tiny City",
        crs=CRS,
        time_zone="America/Los_Angeles",
        bbox=(-118.24, 33.99, -118.13, 34.06),
        region_scheme="h3:8",
        sources=(layout.Source(name="tests/tinycity.py", licence="Apache-2.0"),),
        provenance=dict.fromkeys(
            ("zones", "regions", "pois", "roads", "skims", "controls"), "synthesised"
        ),
    )


def _zones(polygons: np.ndarray) -> pa.Table:
    columns = {
        "zone_id": ZONE_ID,
        "subregion": ["north"] * 3 + ["south"] * 3,
        "population": POPULATION,
        "households": HOUSEHOLDS,
        **{f"jobs_{kind}": JOBS[:, k] for k, kind in enumerate(JOB_KINDS)},
        "school_places": SCHOOL_PLACES,
        "college_places": COLLEGE_PLACES,
        "mean_commute_s": pa.array(COMMUTE_S, pa.float32(), from_pandas=True),
        "area_m2": shapely.area(polygons),
        "geometry": in_degrees(polygons, CRS),
    }
    return pa.table(columns, schema=layout.ZONES)


def _controls() -> pa.Table:
    people, homes = POPULATION.astype(float), HOUSEHOLDS.astype(float)
    unknown = pa.array([None, *(homes[1:] * 0.1)], pa.float64())
    columns = {
        "zone_id": ZONE_ID,
        "households": HOUSEHOLDS,
        "population": POPULATION,
        "age_under_18": people * [0.25, 0.28, 0.10, 0.22, 0.24, 0.15],
        "age_18_24": people * [0.08, 0.09, 0.07, 0.10, 0.09, 0.25],
        "age_65_plus": people * [0.15, 0.10, 0.35, 0.14, 0.12, 0.18],
        "labour_force": people * [0.50, 0.48, 0.45, 0.52, 0.51, 0.55],
        "income_under_25k": homes * 0.15,
        "income_over_200k": unknown,
        "income_below_median": homes * 0.5,
        "median_income": [90e3, 60e3, 120e3, 70e3, 55e3, 80e3],
        "no_vehicles": homes * [0.05, 0.10, 0.02, 0.08, 0.15, 0.12],
    }
    return pa.table(columns, schema=layout.CONTROLS)


def _pois(polygons: np.ndarray) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Place three POIs of each type, drawn to zones by jobs and people."""
    rng = seeds.stream(0, "tinycity")
    kind = np.repeat(np.arange(len(POI_TYPES)), POIS_PER_TYPE)
    weight = POPULATION + JOBS.sum(axis=1)
    zone = rng.choice(6, size=len(kind), p=weight / weight.sum())
    xy = draw_points(polygons, zone, rng)
    category = np.array([POI_TYPES[k].category for k in kind])
    return poi_table(kind, ZONE_ID[zone], xy, CRS), xy, category


def _roads(polygons: np.ndarray) -> tuple[pa.Table, pa.Table, dict[str, np.ndarray]]:
    """Return a grid of 7 × 5 nodes, a centroid in each zone, and the skims on both."""
    x, y = np.meshgrid(WEST_M + 1500.0 * np.arange(7), SOUTH_M + 1500.0 * np.arange(5))
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    centre = inner_points(polygons) + np.array([200.0, 100.0])
    xy = np.concatenate([grid, centre])
    row = np.arange(35).reshape(5, 7)
    near = [int(np.hypot(*(grid - c).T).argmin()) for c in centre]
    tail = np.concatenate([row[:, :-1].ravel(), row[:-1].ravel(), near])
    head = np.concatenate([row[:, 1:].ravel(), row[1:].ravel(), 35 + np.arange(6)])
    length = np.hypot(*(xy[tail] - xy[head]).T)
    there, back = np.full(len(tail), 40.0), np.full(len(tail), 50.0)
    return _road_tables(xy, tail, head, length, (there, back))


def _road_tables(
    xy: np.ndarray, tail: np.ndarray, head: np.ndarray, length: np.ndarray, kph: tuple
) -> tuple[pa.Table, pa.Table, dict[str, np.ndarray]]:
    u, v = np.concatenate([tail, head]), np.concatenate([head, tail])
    length = np.concatenate([length * 1.01, length])
    speed = np.concatenate(kph)
    lines = shapely.linestrings(np.stack([xy[u], xy[v]], axis=1))
    edges = {
        "segment_id": np.arange(len(u)),
        "u": u,
        "v": v,
        "length_m": length.astype(np.float32),
        "speed_kph": speed.astype(np.float32),
        "lanes": np.ones(len(u), dtype=np.int8),
        "highway": ["secondary"] * len(u),
        "name": [""] * len(u),
        "geometry": in_degrees(lines, CRS),
    }
    points = in_degrees(shapely.points(xy), CRS)
    nodes = {
        "node_id": np.arange(len(xy)),
        "zone_id": pa.array([None] * 35 + ZONE_ID.tolist(), pa.int32()),
        "geometry": points,
    }
    degrees = shapely.get_coordinates(shapely.from_wkb(points.to_numpy(zero_copy_only=False)))
    graph = RoadGraph(degrees[:, 0], degrees[:, 1], u, v)
    return (
        pa.table(nodes, schema=layout.ROAD_NODES),
        pa.table(edges, schema=layout.ROAD_EDGES),
        _skims(graph, length, speed),
    )


def _skims(graph: RoadGraph, length: np.ndarray, kph: np.ndarray) -> dict[str, np.ndarray]:
    sources = np.arange(35, 41)
    distance = dijkstra_matrix(graph, length, sources)
    free = dijkstra_matrix(graph, length / (kph / 3.6), sources) + 90.0
    peak = dijkstra_matrix(graph, length / (kph / 3.6) * np.where(kph < 45, 1.6, 1.2), sources) + 90
    np.fill_diagonal(distance, 1000.0)
    np.fill_diagonal(free, 180.0)
    np.fill_diagonal(peak, 220.0)
    named = {"distance_m": distance, "time_s_free": free, "time_s_peak": peak}
    return {name: matrix.astype(np.float32) for name, matrix in named.items()}
