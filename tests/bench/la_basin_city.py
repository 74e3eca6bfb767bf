"""The city of ``la_basin.py``: the north of central Los Angeles, from ``data/la_basin``."""

import sys
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import shapely

from raygen.cities.los_angeles.pois import pois_of
from raygen.cities.placement import region_table
from raygen.cities.traffic import loaded_times
from raygen.city_files import layout
from raygen.city_files.geometry import in_degrees, inner_points
from raygen.city_files.writer import write_city
from raygen.flow_target import OD_FILE, Counted, region_matrix, write_target
from raygen.roads import RoadGraph, cch_matrix, strong_components
from raygen.taxonomy import JOB_KINDS

CRS = "EPSG:32611"
HOURS, HOUSEHOLD = 6.0, 2.8
WORKERS, PUPILS, YOUNG = 0.5, 0.22, 0.1
"""Shares of people, and people of a household: assumed."""


def read_od(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the vehicles between OD nodes from 6 to 12 h, and the nodes, gates marked.

    A gate is a node that another sub-network shares, or one that the source flags as external: its
    trips pass through or begin elsewhere.
    """
    od = pd.read_csv(folder / "od/PeakIN__LASUB1F4all_am.DAT", skiprows=2, sep="\t", header=None)
    od = pd.DataFrame({"o": od[1], "d": od[2], "vehicles": od[3] * (od[6] - od[5]) / 3600.0})
    pairs = od.groupby(["o", "d"], as_index=False)["vehicles"].sum()
    zones = pd.read_csv(folder / "Zones.txt", sep="\t")
    nodes = zones[zones["sub"] == 1].rename(columns={"subnodeID": "id"})[
        ["id", "attr", "longitude", "latitude"]
    ]
    sub = pd.read_csv(folder / "sub_nodes.csv")
    shared = sub.groupby("nid")["sub"].nunique()
    own = sub[sub["sub"] == 1].set_index("id")["nid"]
    nodes["nid"] = nodes["id"].map(own)
    nodes["gate"] = (nodes["attr"] > 1) | (nodes["nid"].map(shared) > 1)
    return pairs, nodes.reset_index(drop=True)


def read_zones(folder: Path, nodes: pd.DataFrame) -> gpd.GeoDataFrame:
    """Return the TAZs of sub-network 1: those whose nearest OD node is one of its."""
    taz = gpd.read_file(folder / "taz/TAZ_reduce.shp").to_crs(CRS)
    taz["zone_id"] = (taz["ID"] // 1000).astype(np.int32)
    every = pd.read_csv(folder / "Zones.txt", sep="\t")
    place = gpd.points_from_xy(every["longitude"], every["latitude"], crs=4326).to_crs(CRS)
    inner = shapely.points(inner_points(taz.geometry.to_numpy()))
    nearest = shapely.STRtree(np.asarray(place)).nearest(inner)
    taz = taz[every["sub"].to_numpy()[nearest] == 1].reset_index(drop=True)
    tracts = pd.read_csv(folder / "tracts_acs2012.csv").dropna(subset=["total_population"])
    tract = gpd.points_from_xy(tracts["lon"], tracts["lat"], crs=4326).to_crs(CRS)
    xy, middle = shapely.get_coordinates(np.asarray(tract)), inner_points(taz.geometry.to_numpy())
    inside = shapely.STRtree(np.asarray(tract)).query(taz.union_all(), predicate="contains")
    gap = np.hypot(*(middle[:, None, :] - xy[None, inside, :]).transpose(2, 0, 1))
    weight = np.exp(-0.5 * (gap / 800.0) ** 2) * taz.area.to_numpy()[:, None] + 1e-12
    people = (weight / weight.sum(axis=0)) @ tracts["total_population"].to_numpy()[inside]
    taz["population"] = np.rint(people).astype(np.int32)
    return taz


def read_roads(folder: Path) -> tuple[RoadGraph, pd.DataFrame, np.ndarray]:
    """Return the largest strongly connected part of the roads, its links and its node numbers."""
    nodes = pd.read_csv(folder / "nodes.csv")
    links = pd.read_csv(folder / "links.csv").drop_duplicates(["u", "v"])
    links = links[links["u"] != links["v"]]
    lon, lat = nodes["lon"].to_numpy(), nodes["lat"].to_numpy()
    row = pd.Series(np.arange(len(nodes)), index=nodes["node_id"])
    ends = row[links["u"]].to_numpy(), row[links["v"]].to_numpy()
    part = strong_components(RoadGraph(lon, lat, *ends))
    keep = part == np.bincount(part).argmax()
    inside = keep[ends[0]] & keep[ends[1]]
    new = np.cumsum(keep) - 1
    graph = RoadGraph(lon[keep], lat[keep], new[ends[0][inside]], new[ends[1][inside]])
    return graph, links[inside].reset_index(drop=True), nodes["node_id"].to_numpy()[keep]


def centroids(graph: RoadGraph, middle: np.ndarray) -> np.ndarray:
    """Return a node row of its own for each zone: the nearest that is free."""
    points = np.asarray(gpd.points_from_xy(graph.lon, graph.lat, crs=4326).to_crs(CRS))
    gap = np.hypot(*(middle[:, None] - shapely.get_coordinates(points)[None]).transpose(2, 0, 1))
    taken, out = np.zeros(graph.nodes, bool), np.empty(len(middle), int)
    for zone in np.argsort(gap.min(axis=1)):
        out[zone] = np.where(taken, np.inf, gap[zone]).argmin()
        taken[out[zone]] = True
    return out


def halve(xy: np.ndarray, weight: np.ndarray, rows: np.ndarray, deep: int) -> list[np.ndarray]:
    """Cut rows into 2^deep parts of equal weight, each time across the longer side."""
    if deep == 0:
        return [rows]
    axis = int(np.ptp(xy[rows], axis=0).argmax())
    order = rows[np.argsort(xy[rows, axis], kind="stable")]
    cut = int(np.searchsorted(np.cumsum(weight[order]), weight[order].sum() / 2)) + 1
    return halve(xy, weight, order[:cut], deep - 1) + halve(xy, weight, order[cut:], deep - 1)


@dataclass(frozen=True)
class Flows:
    """The morning's vehicles, from 6 to 12 h."""

    between: np.ndarray
    """Between the city's Z zones, gates left out, shape (Z, Z)."""

    nodes: np.ndarray
    """OD nodes that the roads know, as node rows, shape (N,)."""

    hourly: np.ndarray
    """Vehicles an hour between them, through traffic included, shape (N, N)."""

    total: float


def read_flows(folder: Path, polygons: np.ndarray, number: np.ndarray) -> Flows:
    """Return the flows between zones, and those on the roads; ``number`` are the roads' nodes."""
    od, nodes = read_od(folder)
    place = gpd.points_from_xy(nodes["longitude"], nodes["latitude"], crs=4326).to_crs(CRS)
    nearest = shapely.STRtree(polygons).nearest(np.asarray(place))
    zone_of = dict(zip(nodes["id"], nearest, strict=True))
    gates = set(nodes.loc[nodes["gate"], "id"])
    inner = od[~od["o"].isin(gates) & ~od["d"].isin(gates)]
    ends = [inner[end].map(zone_of).to_numpy() for end in ("o", "d")]
    between = region_matrix(*ends, len(polygons), inner["vehicles"].to_numpy())
    row_of = {int(node): row for row, node in enumerate(number)}
    known = nodes[nodes["nid"].isin(row_of) & ~nodes["nid"].duplicated()]
    at = {node: k for k, node in enumerate(known["id"])}
    whole = od[od["o"].isin(at) & od["d"].isin(at)]
    ends = [whole[end].map(at).to_numpy() for end in ("o", "d")]
    hourly = region_matrix(*ends, len(at), whole["vehicles"].to_numpy() / HOURS)
    rows = np.array([row_of[int(node)] for node in known["nid"]])
    return Flows(between, rows, hourly, float(od["vehicles"].sum()))


def build(folder: Path, output: Path) -> Path:
    """Write the city, with ``od.parquet``, and return its directory.

    Observed: TAZ polygons, roads, population (tracts of 2008–2012, spread over TAZs). Calibrated:
    flows, and jobs, which are shared by the flows' destinations. Peak times follow from loading the
    flows, through traffic included, on the roads. Synthesised: POIs and school places. Assumed:
    shares of workers and pupils.
    """
    zones = read_zones(folder, read_od(folder)[1])
    graph, links, number = read_roads(folder)
    polygons = zones.geometry.to_numpy()
    flows = read_flows(folder, polygons, number)
    flow, middle = flows.between, inner_points(polygons)
    parts = halve(middle, flow.sum(axis=0) + flow.sum(axis=1), np.arange(len(zones)), 3)
    region = np.empty(len(zones), int)
    for part, rows in enumerate(parts):
        region[rows] = part
    table = zone_table(zones, region, flow.sum(axis=0))
    own = centroids(graph, middle)
    times = link_times(graph, links, flows)
    skims = skim_tables(graph, links, times, own, zones.area.to_numpy())
    ends = [np.stack([graph.lon[end], graph.lat[end]], 1) for end in (graph.tail, graph.head)]
    lines = shapely.linestrings(np.stack(ends, 1))
    arterial = np.asarray(gpd.GeoSeries(lines, crs=4326).to_crs(CRS))
    pois, xy, category = pois_of(table, polygons, arterial)
    zone_id, people = table["zone_id"].to_numpy(), table["population"].to_numpy()
    regions = region_table(polygons, zone_id, people, (xy, category), CRS)
    roads = road_tables(graph, links, own, zone_id, lines)
    controls = control_table(table)
    tables = layout.CityTables(card(graph), table, regions, pois, *roads, controls, skims)
    write_city(tables, output)
    pairs = np.argwhere(flow > 0)
    write_target(
        output / OD_FILE, (zone_id[pairs[:, 0]], zone_id[pairs[:, 1]]), flow[flow > 0],
        Counted("all", "car_driver", 21_600, 43_200), "calibrated",
    )  # fmt: skip
    sys.stdout.write(
        f"{len(zones)} zones, {people.sum():,} people; vehicles 6 to 12 h: {flows.total:,.0f}, "
        f"without gates {flow.sum():,.0f}\n"
    )
    return output


def link_times(
    graph: RoadGraph, links: pd.DataFrame, flows: Flows
) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds on each link at free flow, and with the flows on the roads."""
    free_s = links["length_km"].to_numpy() * 3600 / links["speed_kmh"].abs().to_numpy()
    room = links["cap_vphpl"].to_numpy() * links["lanes"].abs().to_numpy()
    return free_s, loaded_times(graph, free_s, room, (flows.nodes, flows.hourly), 6, lambda _: None)


def zone_table(zones: gpd.GeoDataFrame, region: np.ndarray, arrivals: np.ndarray) -> pa.Table:
    """Return the zones; jobs are shared by the flows' arrivals."""
    people = zones["population"].to_numpy()
    jobs = np.maximum(arrivals, 1.0) / np.maximum(arrivals, 1.0).sum() * WORKERS * people.sum()
    columns = {
        "zone_id": zones["zone_id"].to_numpy(),
        "subregion": [f"part {number + 1}" for number in region],
        "population": people,
        "households": np.rint(people / HOUSEHOLD).astype(np.int32),
        **{f"jobs_{kind}": (jobs / len(JOB_KINDS)).astype(np.float32) for kind in JOB_KINDS},
        "school_places": (people * PUPILS).astype(np.float32),
        "college_places": np.zeros(len(people), np.float32),
        "mean_commute_s": pa.nulls(len(people), pa.float32()),
        "area_m2": zones.area.to_numpy(),
        "geometry": in_degrees(zones.geometry.to_numpy(), CRS),
    }
    return pa.table(columns, schema=layout.ZONES)


def control_table(zones: pa.Table) -> pa.Table:
    """Return the population's marginals by zone."""
    people = zones["population"].to_numpy().astype(float)
    known = {
        "zone_id": zones["zone_id"], "households": zones["households"],
        "population": zones["population"], "labour_force": people * WORKERS,
        "age_under_18": people * PUPILS, "age_18_24": people * YOUNG,
        "no_vehicles": zones["households"].to_numpy() * 0.08,
    }  # fmt: skip
    return pa.table(
        [known.get(f.name, pa.nulls(len(people), f.type)) for f in layout.CONTROLS],
        schema=layout.CONTROLS,
    )


def road_tables(
    graph: RoadGraph, links: pd.DataFrame, own: np.ndarray, zone_id: np.ndarray, lines: np.ndarray
) -> tuple[pa.Table, pa.Table]:
    """Return nodes, of which ``own`` stand for zones, and edges."""
    of_node = np.full(graph.nodes, -1)
    of_node[own] = zone_id
    nodes = {
        "node_id": np.arange(graph.nodes),
        "zone_id": pa.array(of_node, pa.int32(), mask=of_node < 0),
        "geometry": pa.array(shapely.to_wkb(shapely.points(graph.lon, graph.lat)), pa.binary()),
    }
    edges = {
        "segment_id": np.arange(len(links)), "u": graph.tail, "v": graph.head,
        "length_m": (links["length_km"] * 1000).astype(np.float32),
        "speed_kph": links["speed_kmh"].abs().astype(np.float32),
        "lanes": links["lanes"].abs().astype(np.int8), "highway": ["road"] * len(links),
        "name": [""] * len(links), "geometry": pa.array(shapely.to_wkb(lines), pa.binary()),
    }  # fmt: skip
    return pa.table(nodes, schema=layout.ROAD_NODES), pa.table(edges, schema=layout.ROAD_EDGES)


def skim_tables(
    graph: RoadGraph,
    links: pd.DataFrame,
    times: tuple[np.ndarray, np.ndarray],
    own: np.ndarray,
    area: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return distance, and time at free flow and in the peak, between the zones' nodes."""
    inner = 0.5 * np.sqrt(area)
    metres = cch_matrix(graph, links["length_km"].to_numpy() * 1000, own)
    np.fill_diagonal(metres, inner)
    out = {"distance_m": metres}
    for name, seconds in zip(("time_s_free", "time_s_peak"), times, strict=True):
        matrix = cch_matrix(graph, seconds, own)
        np.fill_diagonal(matrix, inner / 7.0)
        out[name] = matrix + 120.0  # to walk to the car and to park
    return {name: matrix.astype(np.float32) for name, matrix in out.items()}


def card(graph: RoadGraph) -> layout.CityCard:
    """Return the city's card."""
    box = [float(f(v)) for f in (np.min, np.max) for v in (graph.lon, graph.lat)]
    return layout.CityCard(
        name="Central Los Angeles, north",
        crs=CRS,
        time_zone="America/Los_Angeles",
        bbox=(box[0], box[1], box[2], box[3]),
        region_scheme="h3:8",
        sources=(layout.Source(name="PARC COPTER system model", licence="MIT"),),
        provenance={
            "zones.population": "observed", "zones.geometry": "observed", "zones": "calibrated",
            "controls": "assumed", "regions": "synthesised", "pois": "synthesised",
            "roads": "observed", "skims": "calibrated",
        },
    )  # fmt: skip
