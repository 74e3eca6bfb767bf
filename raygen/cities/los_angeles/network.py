"""The county's road graph: arterial grid, freeway spine, ramps, connectors; all synthesised.

Arterials are a square grid over the settled area with a node every half mile: each second line is
a primary road, the rest are secondary. Freeways (``freeways.py``) have a node at least every mile,
and a ramp to the nearest arterial node. Parts that the grid leaves apart (towns beyond a range, the
island) are joined by their shortest link. Every zone's centroid is joined to the nearest arterial
nodes. Every road runs both ways.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from raygen import seeds
from raygen.cities.los_angeles.freeways import FREEWAYS, HIGHWAYS, INTERCHANGES
from raygen.cities.los_angeles.settlement import SEED
from raygen.cities.los_angeles.zips import CRS
from raygen.city_files.geometry import in_degrees, inner_points
from raygen.city_files.layout import ROAD_EDGES, ROAD_NODES
from raygen.city_files.projection import to_degrees, to_metres
from raygen.roads import RoadGraph

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ShapeArray = npt.NDArray[np.object_]

SPACING_M = 804.672
"""Half a mile between arterials, as on the county's section-line grid."""

KINDS = {
    "motorway": (105.0, 4),
    "motorway_link": (50.0, 1),
    "trunk": (72.0, 2),
    "primary": (50.0, 2),
    "secondary": (42.0, 1),
    "residential": (30.0, 1),
    "ferry": (40.0, 1),
}
"""Free speed in km/h, stops at signals included, and lanes each way, by kind: assumed."""

_HIGHWAYS = tuple(KINDS)
_FREEWAY_STEP_M = 1609.344
_RAMP_M = 1500.0
_JITTER_M = 40.0  # arterials are not ruled lines, and no two paths are equally long
_CONNECTORS = 3
_DETOUR = 1.2  # length of a winding link over the straight line
_FERRY_M = 30_000.0  # a gap this long is water


@dataclass(frozen=True)
class Links:
    """Undirected links between node rows: kind indexes KINDS."""

    a: IntArray
    b: IntArray
    kind: IntArray
    name: npt.NDArray[np.str_]
    stretch: float
    """Length over the straight line."""


@dataclass(frozen=True)
class Network:
    """The road graph with what its tables need; E directed segments."""

    xy: FloatArray
    graph: RoadGraph
    length_m: FloatArray
    speed_kph: FloatArray
    kind: IntArray
    name: npt.NDArray[np.str_]
    centroid: IntArray
    """Shape (Z,): node row of each zone."""

    @property
    def lanes(self) -> IntArray:
        """Lanes of each segment."""
        return np.array([lanes for _, lanes in KINDS.values()], dtype=np.int64)[self.kind]

    @property
    def free_time_s(self) -> FloatArray:
        """Seconds on each segment at free flow."""
        return self.length_m / (self.speed_kph / 3.6)

    def lines(self, *kinds: str) -> ShapeArray:
        """Return one direction of the segments of these kinds as lines, projected."""
        rows = np.flatnonzero(
            np.isin(self.kind, [_HIGHWAYS.index(kind) for kind in kinds])
            & (self.graph.tail < self.graph.head)
        )
        ends = np.stack([self.xy[self.graph.tail[rows]], self.xy[self.graph.head[rows]]], axis=1)
        return np.asarray(shapely.linestrings(ends))


def build_network(zones: ShapeArray) -> Network:
    """Lay the roads over the zones' polygons (projected, shape (Z,))."""
    grid, arterials = _arterials(zones)
    freeway, spine = _spine(len(grid))
    xy = np.concatenate([grid, freeway])
    links = [arterials, *spine, _ramps(grid, freeway)]
    links.append(_bridges(xy, links))
    centre = inner_points(zones)
    near = KDTree(grid).query(centre, k=_CONNECTORS)[1]
    rows = np.repeat(len(xy) + np.arange(len(centre)), _CONNECTORS)
    links.append(_links(rows, near.ravel(), "residential", "", _DETOUR))
    return _directed(np.concatenate([xy, centre]), links, len(xy) + np.arange(len(centre)))


def _links(a: IntArray, b: IntArray, kind: str, name: str, stretch: float = 1.0) -> Links:
    return Links(a, b, np.full(len(a), _HIGHWAYS.index(kind)), np.full(len(a), name), stretch)


def _arterials(zones: ShapeArray) -> tuple[FloatArray, Links]:
    """Return the nodes of the grid, and the links between neighbours."""
    settled = shapely.union_all(zones).buffer(SPACING_M / 2)
    west, south, east, north = settled.bounds
    columns, rows = np.meshgrid(
        np.arange(int((east - west) / SPACING_M) + 1),
        np.arange(int((north - south) / SPACING_M) + 1),
    )
    cell = np.stack([columns.ravel(), rows.ravel()], axis=1)
    xy = np.array([west, south]) + cell * SPACING_M
    shapely.prepare(settled)
    inside = shapely.contains_xy(settled, xy[:, 0], xy[:, 1])
    number = np.full(columns.shape, -1)
    number.ravel()[inside] = np.arange(inside.sum())
    parts: list[Links] = []
    for a, b, line, axis in (
        (number[:, :-1], number[:, 1:], rows[:, 1:], "E"),
        (number[:-1], number[1:], columns[1:], "N"),
    ):
        there = (a >= 0) & (b >= 0)
        for kind, odd in (("primary", 0), ("secondary", 1)):
            chosen = there & (line % 2 == odd)
            names = np.array([f"{axis} {kind} {i}" for i in line[chosen].tolist()], dtype=np.str_)
            one = _links(a[chosen], b[chosen], kind, "")
            parts.append(Links(one.a, one.b, one.kind, names, 1.0))
    jitter = seeds.stream(SEED, "los_angeles roads").normal(0.0, _JITTER_M, (int(inside.sum()), 2))
    return xy[inside] + jitter, _joined(parts)


def _joined(parts: list[Links]) -> Links:
    """Return links of one stretch as one."""
    return Links(
        np.concatenate([part.a for part in parts]),
        np.concatenate([part.b for part in parts]),
        np.concatenate([part.kind for part in parts]),
        np.concatenate([part.name for part in parts]),
        parts[0].stretch,
    )


def _spine(first: int) -> tuple[FloatArray, list[Links]]:
    """Return the freeway nodes, numbered from ``first``, and the links between them."""
    names = list(INTERCHANGES)
    place = to_metres(np.array([INTERCHANGES[name][::-1] for name in names]), CRS)
    nodes = [place]
    count = len(place)
    links: list[Links] = []
    roads = [("motorway", FREEWAYS), ("trunk", HIGHWAYS)]
    for kind, route, path in [(k, n, p) for k, table in roads for n, p in table.items()]:
        stops = [names.index(name) for name in path.split("|")]
        for a, b in pairwise(stops):
            pieces = int(np.ceil(np.hypot(*(place[b] - place[a])) / _FREEWAY_STEP_M))
            at = np.arange(1, pieces)[:, None] / pieces
            nodes.append(place[a] + at * (place[b] - place[a]))
            rows = np.concatenate([[a], count + np.arange(pieces - 1), [b]]) + first
            count += pieces - 1
            links.append(_links(rows[:-1], rows[1:], kind, route))
    return np.concatenate(nodes), links


def _ramps(grid: FloatArray, freeway: FloatArray) -> Links:
    """Return a ramp from each freeway node to the nearest arterial node, where one is near."""
    distance, near = KDTree(grid).query(freeway)
    at = np.flatnonzero(distance <= _RAMP_M)
    return _links(len(grid) + at, np.asarray(near)[at], "motorway_link", "", _DETOUR)


def _bridges(xy: FloatArray, links: list[Links]) -> Links:
    """Return the shortest links that join what is apart, the largest part growing."""
    a = np.concatenate([part.a for part in links])
    b = np.concatenate([part.b for part in links])
    matrix = csr_array((np.ones(len(a)), (a, b)), shape=(len(xy), len(xy)))
    part = connected_components(matrix, directed=False)[1]
    found: list[tuple[int, int, float]] = []
    while part.max() > 0:
        main = np.bincount(part).argmax()
        inside, outside = np.flatnonzero(part == main), np.flatnonzero(part != main)
        distance, near = KDTree(xy[inside]).query(xy[outside])
        best = int(distance.argmin())
        found.append(
            (int(outside[best]), int(inside[np.asarray(near)[best]]), float(distance[best]))
        )
        part[part == part[outside[best]]] = main
        part = np.unique(part, return_inverse=True)[1]
    rows = np.array([pair[:2] for pair in found], dtype=np.int64).reshape(-1, 2)
    joined = _links(rows[:, 0], rows[:, 1], "trunk", "", _DETOUR)
    water = np.array([length > _FERRY_M for _, _, length in found], dtype=bool)
    joined.kind[water] = _HIGHWAYS.index("ferry")
    return joined


def _directed(xy: FloatArray, links: list[Links], centroid: IntArray) -> Network:
    """Return both directions of every link, without repeats, as a network."""
    a = np.concatenate([part.a for part in links])
    b = np.concatenate([part.b for part in links])
    kind = np.concatenate([part.kind for part in links])
    name = np.concatenate([part.name for part in links])
    stretch = np.concatenate([np.full(len(part.a), part.stretch) for part in links])
    low, high = np.minimum(a, b), np.maximum(a, b)
    kept = np.unique(low * len(xy) + high, return_index=True)[1]
    kept = kept[low[kept] != high[kept]]
    a, b, kind, name, stretch = low[kept], high[kept], kind[kept], name[kept], stretch[kept]
    length = np.hypot(*(xy[a] - xy[b]).T) * stretch
    degrees = to_degrees(xy, CRS)
    speed = np.array([kph for kph, _ in KINDS.values()])[kind]
    return Network(
        xy=xy,
        graph=RoadGraph(
            degrees[:, 0], degrees[:, 1], np.concatenate([a, b]), np.concatenate([b, a])
        ),
        length_m=np.maximum(np.tile(length, 2), 1.0),
        speed_kph=np.tile(speed, 2),
        kind=np.tile(kind, 2),
        name=np.tile(name, 2),
        centroid=centroid,
    )


def road_tables(network: Network, zone_id: npt.NDArray[np.int32]) -> tuple[pa.Table, pa.Table]:
    """Return tables of schema ROAD_NODES and ROAD_EDGES; ids are rows."""
    zone = np.full(len(network.xy), -1, dtype=np.int64)
    zone[network.centroid] = zone_id
    nodes = {
        "node_id": np.arange(len(network.xy)),
        "zone_id": pa.array(zone.astype("i4"), pa.int32(), mask=zone < 0),
        "geometry": in_degrees(np.asarray(shapely.points(network.xy)), CRS),
    }
    tail, head = network.graph.tail, network.graph.head
    lines = shapely.linestrings(np.stack([network.xy[tail], network.xy[head]], axis=1))
    edges = {
        "segment_id": np.arange(len(tail)),
        "u": tail,
        "v": head,
        "length_m": network.length_m.astype("f4"),
        "speed_kph": network.speed_kph.astype("f4"),
        "lanes": network.lanes.astype("i1"),
        "highway": np.array(_HIGHWAYS)[network.kind].tolist(),
        "name": network.name.tolist(),
        "geometry": in_degrees(np.asarray(lines), CRS),
    }
    return pa.table(nodes, schema=ROAD_NODES), pa.table(edges, schema=ROAD_EDGES)
