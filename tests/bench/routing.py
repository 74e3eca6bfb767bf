"""Measure routing on a grid of 14,160 segments and on the network of central Los Angeles.

    python tests/bench/routing.py

Writes docs/results/routing.json and .md. CPU seconds of one thread. ``duarouter`` behind the command
measures SUMO's router alone, if it is on the PATH, and keeps the other rows of the file.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import numpy as np
import pyarrow as pa
from scipy.sparse.csgraph import dijkstra

# This file's own folder would hide modules of the same name.
sys.path[0] = str(Path(__file__).parents[1])
from bench.duarouter import available, duarouter_rate  # noqa: E402
from gridroads import grid, trips  # noqa: E402

from raygen.network.alternatives import alternatives  # noqa: E402
from raygen.network.connected import strongly_connected  # noqa: E402
from raygen.network.graph import RoadNetwork  # noqa: E402
from raygen.network.la_basin import read_la_basin  # noqa: E402
from raygen.network.read import read_roads  # noqa: E402
from raygen.network.routing import Router  # noqa: E402
from raygen.network.speeds import free_flow, hourly  # noqa: E402
from raygen.network.taste import Taste  # noqa: E402
from raygen.results import Results, Row  # noqa: E402

ROOT = Path(__file__).parents[2]
TRIPS, PEER_TRIPS, CHECKED_ORIGINS = 20_000, 60, 100
TARGET = 10_000
WEIGHT = np.array([0.0] * 6 + [1.0] * 4 + [0.4] * 5 + [1.0] * 4 + [0.0] * 5)
DUAROUTER_TRIPS = 1000
COUNTY_SIDE = 160  # 101,760 segments


def cpu(run: Callable[[], object]) -> float:
    """Return the CPU seconds of one run."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def peak_kib() -> int:
    """Return the process' peak memory; ru_maxrss would begin at the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def some_trips(roads: RoadNetwork, count: int) -> pa.Table:
    """Trips between random nodes at random times of a day."""
    rng = np.random.default_rng(0)
    ends = rng.integers(0, roads.nodes, (2, count))
    return trips(ends[0], ends[1], rng.uniform(0, 86_400, count))


def scipy_rate(roads: RoadNetwork, pairs: np.ndarray) -> float:
    """Routes with node lists a CPU-second of SciPy's Dijkstra."""
    matrix = roads.graph().adjacency(roads.free_s)

    def run() -> None:
        for origin, at in pairs.tolist():
            _, before = dijkstra(matrix, indices=origin, return_predecessors=True)
            way = [at]
            while way[-1] != origin:
                way.append(before[way[-1]])

    return len(pairs) / cpu(run)


def networkx_rate(roads: RoadNetwork, pairs: np.ndarray) -> float:
    """Routes with node lists a CPU-second of networkx's bidirectional Dijkstra."""
    graph = nx.DiGraph()
    ends = zip(roads.tail.tolist(), roads.head.tolist(), roads.free_s.tolist(), strict=True)
    graph.add_weighted_edges_from(ends)

    def run() -> None:
        for origin, at in pairs.tolist():
            nx.bidirectional_dijkstra(graph, origin, at)

    return len(pairs) / cpu(run)


def worst_difference(roads: RoadNetwork) -> tuple[float, int]:
    """Return the largest difference of a cost from SciPy's, in seconds, and the routes compared."""
    rng = np.random.default_rng(1)
    origins = rng.integers(0, roads.nodes, CHECKED_ORIGINS)
    cost = dijkstra(roads.graph().adjacency(roads.free_s), indices=origins)
    row, at = (
        rng.integers(0, CHECKED_ORIGINS, 5000),
        rng.integers(0, roads.nodes, 5000),
    )
    router = Router(roads, free_flow(roads), Taste(flavours=1), 0)
    told = router.route(trips(origins[row], at)).column("cost_s").to_numpy()
    return float(np.abs(told - cost[row, at]).max()), len(row)


def speed_rows(name: str, roads: RoadNetwork, many: Router, table: pa.Table) -> list[Row]:
    """Return how fast routes of a network are found, by us and by peers."""
    ends = [table.column(c).to_numpy() for c in ("origin_node", "destination_node")]
    pairs = np.column_stack(ends)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]][:PEER_TRIPS]
    peer = {"baseline": scipy_rate(roads, pairs), "baseline_name": "scipy dijkstra"}
    one = Router(roads, free_flow(roads), Taste(flavours=1), 0)
    one.route(table.slice(0, 10))
    rows: list[Row] = []
    for case, router in (("one hierarchy", one), ("3 states of speeds x 8 flavours", many)):
        rate = TRIPS / min(cpu(lambda r=router: r.route(table)) for _ in range(3))
        label, metric = f"{name}: {case}", "routes_per_cpu_s"
        rows.append(Row(case=label, metric=metric, value=rate, n=TRIPS, target=TARGET, **peer))
    rate = networkx_rate(roads, pairs)
    label = f"{name}: networkx, two-sided"
    rows.append(Row(case=label, metric="routes_per_cpu_s", value=rate, n=len(pairs)))
    few = table.slice(0, 1000)
    rate = 1000 / cpu(lambda: alternatives(many, few, 3))
    label = f"{name}: up to 3 alternatives"
    rows.append(Row(case=label, metric="trips_per_cpu_s", value=rate, n=1000))
    return rows


def measure(name: str, roads: RoadNetwork) -> list[Row]:
    """Return the rows of one network."""
    table = some_trips(roads, TRIPS)
    profile = hourly(roads, WEIGHT, 1.8)
    many = Router(roads, profile, Taste(), 0)
    rows = speed_rows(name, roads, many, table)
    told = many.route(table)
    cost = told.column("cost_s").to_numpy()
    low = Router(roads, profile, Taste(flavours=1), 0).route(table).column("cost_s").to_numpy()
    segments = len(told.column("segments").combine_chunks().flatten())
    worst, compared = worst_difference(roads)
    figures = {
        "segments_per_route": (segments / TRIPS, TRIPS, None),
        "mean_stretch_of_believed_routes": (
            float((cost[low > 0] / low[low > 0]).mean()),
            TRIPS,
            None,
        ),
        "max_cost_difference_s": (worst, compared, 0.1),
    }
    return rows + [
        Row(case=name, metric=metric, value=value, n=n, target=target)
        for metric, (value, n, target) in figures.items()
    ]


def write_osm(path: Path, side: int) -> None:
    """Write a grid of streets as OSM XML: a way for each row and column."""
    with path.open("w") as file:
        file.write('<?xml version="1.0"?><osm version="0.6">')
        for i in range(side * side):
            lat, lon = 34 + i // side / 1100, -118 + i % side / 900
            file.write(f'<node id="{i + 1}" lat="{lat:.7f}" lon="{lon:.7f}" version="1"/>')
        for k in range(2 * side):
            row = range(k * side, (k + 1) * side) if k < side else range(k - side, side**2, side)
            points = "".join(f'<nd ref="{i + 1}"/>' for i in row)
            tag = '<tag k="highway" v="residential"/>'
            file.write(f'<way id="{k + 1}" version="1">{points}{tag}</way>')
        file.write("</osm>")


def county_osm() -> None:
    """Read an OSM file of county size, in a process of its own; tells CPU seconds and MiB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grid.osm"
        write_osm(path, COUNTY_SIDE)
        base = peak_kib()
        spent = cpu(lambda: read_roads(path))
    sys.stdout.write(f"{spent} {(peak_kib() - base) / 1024}")


def county() -> None:
    """Route on a network of county size, in a process of its own; tells CPU seconds and MiB."""
    base = peak_kib()
    made: list[RoadNetwork] = []
    read = cpu(lambda: made.append(grid(COUNTY_SIDE)))
    roads = made[0]
    after_network = peak_kib()
    routers: list[Router] = []
    build = cpu(lambda: routers.append(Router(roads, hourly(roads, WEIGHT, 1.8), Taste(), 0)))
    table = some_trips(roads, 2000)
    first = cpu(lambda: routers[0].route(table))
    again = cpu(lambda: routers[0].route(table))
    end = peak_kib()
    figures = (roads.segments, read, build, first - again, 2000 / again)
    memory = ((after_network - base) / 1024, (end - after_network) / 1024, base / 1024)
    sys.stdout.write(" ".join(map(str, figures + memory)))


def county_rows() -> list[Row]:
    """Return the rows of the network of county size."""
    told_by = {
        part: subprocess.run(
            [sys.executable, __file__, part], capture_output=True, text=True, check=True
        ).stdout.split()
        for part in ("county", "county_osm")
    }
    segments, read, build, costs, rate, network_mib, router_mib, base = map(
        float, told_by["county"]
    )
    osm, osm_mib = map(float, told_by["county_osm"])
    name = f"grid of {int(segments):,}"
    told = {
        "make_network_cpu_s": read,
        "read_as_osm_xml_cpu_s": osm,
        "read_as_osm_xml_memory_growth_mib": osm_mib,
        "build_router_cpu_s": build,
        "24_hierarchies_cpu_s": costs,
        "routes_per_cpu_s": rate,
        "network_memory_growth_mib": network_mib,
        "router_with_24_hierarchies_memory_growth_mib": router_mib,
        "memory_of_imports_mib": base,
    }
    return [Row(case=name, metric=metric, value=value) for metric, value in told.items()]


def networks() -> dict[str, RoadNetwork]:
    """Return the networks that peers are measured on."""
    found = {"grid of 14,160": grid(60)}
    if (ROOT / "data" / "la_basin").exists():
        found["la_basin"] = read_roads(ROOT / "data" / "la_basin")[0]
    return found


def duarouter_rows() -> list[Row]:
    """Return the rows of SUMO's duarouter: the same networks and trips between the same nodes."""
    rows: list[Row] = []
    for name, roads in networks().items():
        table = some_trips(roads, DUAROUTER_TRIPS)
        pairs = np.column_stack(
            [table.column(c).to_numpy() for c in ("origin_node", "destination_node")]
        )
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        rate, routed = duarouter_rate(roads, pairs)
        case = f"{name}: duarouter, A*"
        rows.append(Row(case=case, metric="routes_per_cpu_s", value=rate, n=len(pairs)))
        rows.append(Row(case=case, metric="share_routed", value=routed / len(pairs), n=len(pairs)))
    return rows


def add_duarouter() -> None:
    """Measure duarouter alone and put it among the rows of the file."""
    path = ROOT / "docs" / "results" / "routing.json"
    old = json.loads(path.read_text())
    rows = [Row(**row) for row in old["rows"] if "duarouter" not in row["case"]]
    notes = [note for note in old["notes"] if "duarouter" not in note]
    rows, notes = rows + duarouter_rows(), [*notes, PEERS]
    Results(old["name"], old["command"], old["data"], rows, notes).write(path)


PEERS = (
    "Peers give node lists and one cost, on free-flow times; duarouter (SUMO) gives edge lists as "
    "XML, reading of the network taken off. igraph is not among the project's dependencies and was "
    "not run."
)


def main() -> None:
    """Measure and write the results."""
    parts = {"county": county, "county_osm": county_osm, "duarouter": add_duarouter}
    part = parts.get("".join(sys.argv[1:]))
    if part is not None:
        part()
        return
    rows = measure("grid of 14,160", grid(60))
    notes = [
        "Routes are whole: segment lists as Arrow, lengths, costs, and times under speeds that "
        "change on the way. Warm: hierarchies are made; in the process' first batch their making "
        "is added (24 of them for 3 states and 8 flavours).",
        PEERS,
        "max_cost_difference_s: against SciPy's Dijkstra; hierarchies count whole milliseconds.",
        "grid of 101,760: a grid has no motorways to contract to and is the worst case; there the "
        "10,000 routes a second are not reached. Taken on a machine with other work on it.",
    ]
    if (ROOT / "data" / "la_basin").exists():
        roads, dropped = strongly_connected(read_la_basin(ROOT / "data" / "la_basin"))
        rows += measure("la_basin", roads)
        notes.append(f"la_basin: {roads.segments} segments, {roads.nodes} nodes; {dropped}.")
    rows += county_rows()
    if available():
        rows += duarouter_rows()
    data = "grids made by tests/gridroads.py (synthesised); data/la_basin (observed network)"
    result = Results("routing", "python tests/bench/routing.py", data, rows, notes)
    result.write(ROOT / "docs" / "results" / "routing.json")


if __name__ == "__main__":
    main()
