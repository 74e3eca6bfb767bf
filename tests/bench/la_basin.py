"""Refine the assignment to observed-network flows: the north of central Los Angeles.

    python tests/bench/la_basin.py [persons] [city directory]

Builds a city from data/la_basin (sub-network 1: TAZs, roads, tracts and the calibrated morning
vehicle OD; see ``build``), makes a sample of its people with days of the Czech survey, refines the
location assignment to the OD over eight sub-regions, and writes docs/results/od-refinement.
"""

import re
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import shapely

# This folder's files would hide packages of their names.
sys.path[0] = str(Path(__file__).parents[1])

import placing  # noqa: E402

from actors.calibration import activity_types  # noqa: E402
from assignment.anchors import anchor_tables  # noqa: E402
from assignment.frequencies import Round, compare  # noqa: E402
from assignment.place import place  # noqa: E402
from assignment.refinement import Refined, apply, refine  # noqa: E402
from raygen import seeds  # noqa: E402
from raygen.cities.los_angeles.pois import pois_of  # noqa: E402
from raygen.cities.placement import region_table  # noqa: E402
from raygen.cities.traffic import loaded_times  # noqa: E402
from raygen.city import City, open_city  # noqa: E402
from raygen.city_files import layout  # noqa: E402
from raygen.city_files.geometry import in_degrees, inner_points  # noqa: E402
from raygen.city_files.writer import write_city  # noqa: E402
from raygen.config import AssignmentConfig, RefinementConfig  # noqa: E402
from raygen.flow_target import (  # noqa: E402
    OD_FILE,
    Counted,
    FlowTarget,
    read_target,
    region_matrix,
    write_target,
)
from raygen.flows import chosen, gravity_by_subregion, halves, sample_floor  # noqa: E402
from raygen.population.fit import PopulationFit, fit_city  # noqa: E402
from raygen.population.sample import sample_index  # noqa: E402
from raygen.results import Results, Row  # noqa: E402
from raygen.roads import RoadGraph, cch_matrix, strong_components  # noqa: E402
from raygen.stages.homes import HomeMoves, home_moves, move_homes  # noqa: E402
from raygen.stages.populate import populate  # noqa: E402
from raygen.survey import CHILD_ROW, expand, read_survey  # noqa: E402
from raygen.taxonomy import JOB_KINDS, SCHOOL, WORK  # noqa: E402
from raygen.timeuse import read_time_use  # noqa: E402

ROOT = Path(__file__).parents[2]
DATA, CRS, SUBREGIONS = ROOT / "data", "EPSG:32611", 8
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


def build(folder: Path, output: Path) -> Path:
    """Write the city, with ``od.parquet``, and return its directory.

    Observed: TAZ polygons, roads, population (tracts of 2008–2012, spread over TAZs). Calibrated:
    flows, and jobs, which are shared by the flows' destinations. Peak times follow from loading the
    flows, through traffic included, on the roads. Synthesised: POIs and school places. Assumed:
    shares of workers and pupils.
    """
    od, nodes = read_od(folder)
    zones = read_zones(folder, nodes)
    graph, links, number = read_roads(folder)
    polygons = zones.geometry.to_numpy()
    middle = inner_points(polygons)
    place = np.asarray(
        gpd.points_from_xy(nodes["longitude"], nodes["latitude"], crs=4326).to_crs(CRS)
    )
    zone_of = dict(zip(nodes["id"], shapely.STRtree(polygons).nearest(place), strict=True))
    gates = set(nodes.loc[nodes["gate"], "id"])
    inner = od[~od["o"].isin(gates) & ~od["d"].isin(gates)]
    ends = [inner[end].map(zone_of).to_numpy() for end in ("o", "d")]
    flow = region_matrix(ends[0], ends[1], len(zones), inner["vehicles"].to_numpy())
    parts = halve(middle, flow.sum(axis=0) + flow.sum(axis=1), np.arange(len(zones)), 3)
    region = np.empty(len(zones), int)
    for part, rows in enumerate(parts):
        region[rows] = part
    table = zone_table(zones, region, flow.sum(axis=0))
    own = centroids(graph, middle)
    free_s = links["length_km"].to_numpy() * 3600 / links["speed_kmh"].abs().to_numpy()
    lanes = links["lanes"].abs().to_numpy()
    row_of = {int(node): row for row, node in enumerate(number)}
    known = nodes[nodes["nid"].isin(row_of) & ~nodes["nid"].duplicated()]
    gate_row = [row_of[int(node)] for node in known["nid"]]
    at = {node: k for k, node in enumerate(known["id"])}
    whole = od[od["o"].isin(at) & od["d"].isin(at)]
    hourly = region_matrix(
        whole["o"].map(at).to_numpy(), whole["d"].map(at).to_numpy(), len(at),
        whole["vehicles"].to_numpy() / HOURS,
    )  # fmt: skip
    loaded = loaded_times(
        graph, free_s, links["cap_vphpl"].to_numpy() * lanes, (np.array(gate_row), hourly), 6,
        lambda _: None,
    )  # fmt: skip
    skims = skim_tables(graph, links, (free_s, loaded), own, zones.area.to_numpy())
    lines = shapely.linestrings(
        np.stack([np.stack([graph.lon[e], graph.lat[e]], 1) for e in (graph.tail, graph.head)], 1)
    )
    arterial = np.asarray(gpd.GeoSeries(lines, crs=4326).to_crs(CRS))
    pois, xy, category = pois_of(table, polygons, arterial)
    zone_id, people = table["zone_id"].to_numpy(), table["population"].to_numpy()
    regions = region_table(polygons, zone_id, people, (xy, category), CRS)
    write_city(
        layout.CityTables(
            card(graph), table, regions, pois, *road_tables(graph, links, own, zone_id, lines),
            control_table(table), skims,
        ),
        output,
    )  # fmt: skip
    pairs = np.argwhere(flow > 0)
    write_target(
        output / OD_FILE, (zone_id[pairs[:, 0]], zone_id[pairs[:, 1]]), flow[flow > 0],
        Counted("all", "car_driver", 21_600, 43_200), "calibrated",
    )  # fmt: skip
    sys.stdout.write(
        f"{len(zones)} zones, {people.sum():,} people; vehicles 6 to 12 h: {od.vehicles.sum():,.0f}, "
        f"without gates {flow.sum():,.0f}\n"
    )
    return output


def zone_table(zones: gpd.GeoDataFrame, region: np.ndarray, arrivals: np.ndarray) -> pa.Table:
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


def road_tables(graph, links, own, zone_id, lines) -> tuple[pa.Table, pa.Table]:
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


def skim_tables(graph, links, times, own, area) -> dict[str, np.ndarray]:
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


def survey_days(persons: pa.Table) -> pa.Table:
    """Return schema.PLANS: each person has an observed day of its group in the Czech survey.

    Persons go to work or school only where they have a place of it: else another day is drawn.
    """
    survey, use = read_survey(DATA / "czechia_hts"), read_time_use(DATA / "atus")
    shares = np.concatenate(
        [use.participation[0], use.participation[0][6:8].mean(0, keepdims=True)]
    )
    chains = expand(survey, shares, use.log_minutes, 0, "la_basin")
    works, studies = (chains == WORK).any(1), (chains == SCHOOL).any(1)
    group = persons["demographic_group"].to_numpy().astype(int)
    row = np.where(persons["age"].to_numpy() < 15, CHILD_ROW, group)
    worker = persons["employment"].combine_chunks().indices.to_numpy() == 0
    student = persons["student"].combine_chunks().indices.to_numpy() > 0
    ids = persons["person_id"].to_numpy()
    draw = seeds.uniforms(0, "la_basin-days", ids, 1)[:, 0]
    rows: list[tuple[int, int, int, int, int, int]] = []
    kinds: dict[tuple[int, bool, bool], tuple[np.ndarray, np.ndarray]] = {}
    for i, person in enumerate(ids.tolist()):
        key = int(row[i]), bool(worker[i]), bool(student[i])
        if key not in kinds:
            fit = (survey.row == key[0]) & (key[1] | ~works) & (key[2] | ~studies)
            fit = fit if fit.any() else ~works & ~studies
            kinds[key] = (
                np.flatnonzero(fit),
                np.cumsum(survey.weight[fit]) / survey.weight[fit].sum(),
            )
        chosen_row = kinds[key][0][np.searchsorted(kinds[key][1], draw[i])]
        chain = chains[chosen_row]
        starts = [0, *(np.flatnonzero(np.diff(chain)) + 1).tolist()]
        for k, (a, b) in enumerate(zip(starts, [*starts[1:], 96], strict=True)):
            rows.append((person, 0, k, int(chain[a]), a, b))
    return placing.plan_table(rows)


def sample_of(
    city: City, fit: PopulationFit, persons: int, seed: int, moves: HomeMoves | None = None
) -> list[placing.Shard]:
    """Return one shard of people with days and without a prior: DataFusion's Algorithm 3 alone."""
    index = sample_index(fit, persons, seed, 10 * persons)
    households, people = populate(fit, index, 0, city, seed)
    if moves is not None:
        households = move_homes(households, city, moves, seed)
    plans = survey_days(people)
    none = np.full((len(plans), 32), -1)
    priors = placing.prior_table(none, np.zeros((len(plans), 32)), np.zeros(len(plans)))
    return [(households, people, plans, priors)]


def trips_of(sample, city, tables, config, target: FlowTarget, seed: int):
    """Return person, origin and destination sub-region of the trips that the target counts."""
    placed = place(*sample[0], city, tables, config, seed)
    keep = chosen(placed.trips, target.counted)
    order = np.argsort(city.zone_id)
    ends = [
        city.subregion[
            order[np.searchsorted(city.zone_id[order], placed.trips[c].to_numpy()[keep])]
        ]
        for c in ("origin_zone_id", "destination_zone_id")
    ]
    return placed.trips["person_id"].to_numpy()[keep], *(end.astype(np.int64) for end in ends)


def rows_of(case: str, number: Round, n: int, floors: dict[str, float]) -> list[Row]:
    """Return the figures of one stage of the refinement."""
    paper = {"cosine": 0.997}
    return [
        Row(case=case, metric=name, value=getattr(number, name), n=n, floor=floors.get(name),
            baseline=floors.get("gravity " + name), baseline_name="gravity", paper=paper.get(name),
            target=paper.get(name))
        for name in ("cosine", "given_origins", "cosine_without_diagonal", "common_part", "largest_gap")
    ]  # fmt: skip


def type_rows(refined: Refined, target: FlowTarget, n: int) -> list[Row]:
    """Return what refinement moved by activity type; the target counts all types as one."""
    found = activity_types(refined, target)
    return [
        Row(case=f"by type: {word}", metric="share of trips moved", value=each["moved"], n=n)
        for word, each in found.items() if each["trips_before"] >= 100
    ]  # fmt: skip


def main() -> None:
    """Build, refine, and write the results."""
    persons = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    home = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "runs/la_basin"
    city = open_city(str(build(DATA / "la_basin", home)))
    target, fit = read_target(home / OD_FILE, city), fit_city(city, 0)
    sample, config = sample_of(city, fit, persons, 0), AssignmentConfig(gamma=0.0)
    tables = anchor_tables(city)
    n = sample[0][1].num_rows
    base = compare(target.subregion, gravity_by_subregion(target, city))
    rows: list[Row] = []
    for origins in (False, True):
        settings = RefinementConfig(origins=origins)
        refined = refine(sample, city, tables, config, target, settings, 0)
        new, said = apply(tables, refined, city), ", origins too" if origins else ""
        moves = home_moves(city, refined.homes) if origins else None
        others = sample_of(city, fit, persons, 1, moves)
        person, *ends = trips_of(others, city, new, config, target, 1)
        floors = {
            "cosine": sample_floor(target.subregion, len(person), True),
            "cosine_without_diagonal": sample_floor(target.subregion, len(person), False),
            "gravity cosine": base.cosine, "gravity common_part": base.common_part,
            "gravity cosine_without_diagonal": base.cosine_without_diagonal,
            "gravity given_origins": base.given_origins,
        }  # fmt: skip
        if not origins:
            rows += rows_of("before refinement", refined.history[0], n, floors)
        best = refined.history[refined.best]
        rows += rows_of(f"after refinement{said} (round {refined.best})", best, n, floors)
        again = compare(target.subregion, region_matrix(*ends, SUBREGIONS))
        rows += rows_of(f"after refinement{said}, other people and draws", again, n, floors)
        halved = halves(person, *ends, SUBREGIONS, True)
        rows.append(
            Row(
                case=f"after refinement{said}",
                metric="two halves of the persons",
                value=halved,
                n=n,
            )
        )
        if moves is not None:
            left = float(moves.moved @ shares_of_homes(city))
            rows.append(Row(case=f"after refinement{said}", metric="households moved", value=left))
        rows += type_rows(refined, target, n) if not origins else []
        rows += [
            Row(case=f"round {k}{said}", metric=name, value=getattr(r, name), n=n)
            for k, r in enumerate(refined.history) for name in ("cosine", "given_origins", "largest_gap")
        ]  # fmt: skip
    results = Results(
        name="od-refinement", command=re.sub(r"\s+", " ", f"python tests/bench/la_basin.py {persons}"),
        data="data/la_basin, sub-network 1: flows calibrated by their source; population observed "
        "(tracts); jobs from the flows' destinations; days: Czech survey, observed", rows=rows,
        notes=[
            f"Vehicle trips of 6 to 12 h over eight sub-regions; {len(person):,} trips of the sample.",
            "The source has flows of sub-network 1 alone, none of the other five.",
            "Gates are left out: trips from, to and through other places are not the people's.",
            "Jobs follow the flows' column sums, which the gravity baseline has exactly as well, with "
            "the row sums; the homes are the tracts', which the sample keeps unless origins move.",
            "given_origins: the target's rows scaled to the sample's.",
            "The best round is chosen on the sample that it is refined on: 'other people and draws' is "
            "the figure to take: another sample of the population, its homes moved, placed with "
            "another seed.",
        ],
    )  # fmt: skip
    sys.stdout.write(f"{results.write(ROOT / 'docs/results/od-refinement.json')}\n")


def shares_of_homes(city: City) -> np.ndarray:
    """Return the share of households by sub-region."""
    here = np.bincount(city.subregion, city.households, SUBREGIONS)
    return here / here.sum()


if __name__ == "__main__":
    main()
