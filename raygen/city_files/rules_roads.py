"""The rules of the road graph: ids that match, and a way from everywhere to everywhere."""

from pathlib import Path

import numpy as np
import shapely

from raygen.city_files.faults import Faults
from raygen.city_files.layout import CityTables
from raygen.errors import DataError
from raygen.roads import RoadGraph, strong_components


def road_graph(tables: CityTables) -> RoadGraph:
    """Return the road graph of a city whose edges name known nodes."""
    nodes, edges = tables.road_nodes, tables.road_edges
    ids = nodes.column("node_id").to_numpy()
    order = np.argsort(ids, kind="stable")
    ranked = ids[order]
    lon, lat = shapely.get_coordinates(shapely.from_wkb(nodes.column("geometry").to_numpy())).T
    ends = [order[np.searchsorted(ranked, edges.column(end).to_numpy())] for end in ("u", "v")]
    return RoadGraph(lon=lon, lat=lat, tail=ends[0], head=ends[1])


def check_roads(tables: CityTables, directory: Path) -> None:
    """Raise DataError, naming the file and every fault, unless the roads keep the rules."""
    _check_nodes(tables, Faults(str(directory / "road_nodes.parquet")))
    _check_edges(tables, Faults(str(directory / "road_edges.parquet")))
    component = strong_components(road_graph(tables))
    count = np.bincount(component)
    if len(count) > 1:
        cut = np.flatnonzero(component != count.argmax())
        ids = tables.road_nodes.column("node_id").to_numpy()[cut[:5]].tolist()
        msg = f"{directory / 'road_edges.parquet'}: column u, v: the graph is not strongly "
        msg += f"connected: {len(cut)} of {len(component)} nodes lie outside the largest part, "
        msg += f"among them node_id {', '.join(map(str, ids))}"
        raise DataError(msg)


def _check_nodes(tables: CityTables, faults: Faults) -> None:
    ids = tables.road_nodes.column("node_id").to_numpy()
    again = np.ones(len(ids), dtype=bool)
    again[np.unique(ids, return_index=True)[1]] = False
    faults.rows("node_id", again, "repeats an earlier id")
    known = tables.zones.column("zone_id").to_numpy()
    zone = tables.road_nodes.column("zone_id")
    set_here = zone.is_valid().to_numpy()
    # A null reads as -1, which no zone needs to have: the mask leaves those rows out.
    values = zone.fill_null(-1).to_numpy()
    faults.rows("zone_id", set_here & ~np.isin(values, known), "not in zones.parquet")
    missing = known[~np.isin(known, values[set_here])]
    if len(missing):
        shown = ", ".join(map(str, missing[:5].tolist()))
        faults.add("zone_id", f"{len(missing)} zones have no centroid node: {shown}")
    faults.raise_any()


def _check_edges(tables: CityTables, faults: Faults) -> None:
    edges, ids = tables.road_edges, tables.road_nodes.column("node_id").to_numpy()
    segment = edges.column("segment_id").to_numpy()
    again = np.ones(len(segment), dtype=bool)
    again[np.unique(segment, return_index=True)[1]] = False
    faults.rows("segment_id", again, "repeats an earlier id")
    for end in ("u", "v"):
        strange = ~np.isin(edges.column(end).to_numpy(), ids)
        faults.rows(end, strange, "not in road_nodes.parquet")
    for column in ("length_m", "speed_kph", "lanes"):
        value = edges.column(column).to_numpy()
        faults.rows(column, ~((value > 0) & np.isfinite(value)), "must be finite and > 0")
    faults.raise_any()
