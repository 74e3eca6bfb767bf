"""A road graph as a SUMO network, and where SUMO's lanes lie on the graph's segments.

Nodes, edges and turns go as plain XML in the graph's plane metres with the projection beside them,
and SUMO's ``netconvert`` makes lanes, junctions and signals of them. Edge ``e12`` is segment 12;
every turn that the graph allows is asked for. Nothing is joined or simplified, so that a route of
the graph is a route in SUMO. SUMO has no edges from a node to itself: such segments are left out.
Programs of SUMO run as subprocesses (``pip install 'raygen[sumo]'``).
"""

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
from pyproj import CRS

from raygen.errors import DataError
from raygen.network.graph import KPH, BoolArray, FloatArray, IntArray, RowArray
from raygen.trajectories.plane import PlaneRoads

EDGE = "e"
"""What an edge's id begins with; the segment's row follows."""

_CLASSES = "motorway trunk primary secondary tertiary unclassified residential living_street"
_PRIORITY = {name: 2 * (8 - at) for at, name in enumerate(_CLASSES.split())}
_CONVERT = (
    "--offset.disable-normalization true --junctions.join false --roundabouts.guess true "
    "--default.spreadtype roadCenter --no-warnings true --output.street-names true"
)
_GUESS = "--tls.guess true --tls.guess.threshold 100"
_LINE = 500  # characters of a program's complaint that are repeated


@dataclass(frozen=True)
class Lanes:
    """Where each lane of a SUMO network lies: on a segment, or between two of them.

    A lane inside a junction belongs to the end of the segment before and the begin of the one
    behind; on a lane, places are spread evenly.
    """

    row: dict[str, int]
    """Row of each lane's id in the arrays."""
    length: FloatArray
    """Metres that SUMO gives each lane, > 0, shape (L,)."""
    segment: RowArray
    """Segment whose metres ``begin`` and ``end`` are, shape (L,)."""
    behind: RowArray
    """Segment that is entered within the lane; -1 on none; shape (L,)."""
    begin: FloatArray
    end: FloatArray
    """Metres along ``segment`` at the lane's ends; past its line's length: on ``behind``."""


def program(name: str) -> Path:
    """Return the path of one of SUMO's programs, of the Python package or on the ``PATH``.

    Raises
    ------
    DataError
        If SUMO is not installed.
    """
    spec = importlib.util.find_spec("sumo")
    places = (
        [] if spec is None else [Path(p) / "bin" for p in spec.submodule_search_locations or ()]
    )
    found = shutil.which(name, path=os.pathsep.join(map(str, places)) or os.devnull)
    found = found or shutil.which(name)
    if found is None:
        msg = f"{name}: no such program; SUMO comes with pip install 'raygen[sumo]'"
        raise DataError(msg)
    return Path(found)


def run_program(command: list[str], folder: Path) -> str:
    """Run a program of SUMO in a folder and return what it wrote to standard error.

    Raises
    ------
    DataError
        If it is not installed or fails; the message ends with its complaint.
    """
    path = program(command[0])
    home = path.parent.parent  # data files of the programs, for their schemas
    done = subprocess.run(
        [str(path), *command[1:]],
        cwd=folder,
        env=os.environ | {"SUMO_HOME": str(home), "PROJ_DATA": str(home / "data" / "proj")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[:_LINE]
        msg = f"{command[0]}: ended with {done.returncode}: {said}"
        raise DataError(msg)
    return done.stderr


def write_sumo(
    roads: PlaneRoads, path: Path, signals: BoolArray | None = None, cycle_s: int = 90
) -> None:
    """Write a road graph as a SUMO network, ``.net.xml`` or ``.net.xml.gz``.

    Parameters
    ----------
    roads
        The graph; lanes, speeds, classes and names are taken over.
    path
        File to write; the plain XML stays beside it.
    signals
        Which nodes have signals, shape (N,); guessed by netconvert, where many fast lanes meet, if
        None. Each node has a programme of its own: netconvert's joint ones (``--tls.join``) left
        lanes of Porto's small junctions at red for good.
    cycle_s
        Seconds of a programme; what is not amber is green for one side or another.

    Raises
    ------
    DataError
        If netconvert is not installed or fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_plain(roads, path.parent, signals)
    files = "-n plain.nod.xml -e plain.edg.xml -x plain.con.xml"
    guess = _GUESS if signals is None else ""
    cycle = f"--tls.cycle.time {cycle_s}"
    command = f"netconvert {files} {_CONVERT} {guess} {cycle} -o".split()
    run_program([*command, path.name], path.parent)


def write_plain(roads: PlaneRoads, folder: Path, signals: BoolArray | None = None) -> None:
    """Write ``plain.nod.xml``, ``plain.edg.xml`` and ``plain.con.xml``; see ``write_sumo``."""
    network = roads.network
    xy = roads.to_metres(np.column_stack([network.lon, network.lat]))
    low, high = xy.min(axis=0), xy.max(axis=0)
    box = f"{low[0]:.2f},{low[1]:.2f},{high[0]:.2f},{high[1]:.2f}"
    with (folder / "plain.nod.xml").open("w") as file:
        file.write('<nodes>\n<location netOffset="0.00,0.00" ')
        file.write(f'convBoundary="{box}" origBoundary="{box}" ')
        file.write(f"projParameter={quoteattr(_projection(roads))}/>\n")
        lit = np.zeros(network.nodes, dtype=bool) if signals is None else signals
        for row, (x, y) in enumerate(xy.tolist()):
            kind = 'type="traffic_light" ' if lit[row] else ""
            file.write(f'<node id="{row}" {kind}x="{x:.2f}" y="{y:.2f}"/>\n')
        file.write("</nodes>\n")
    with (folder / "plain.edg.xml").open("w") as file:
        file.write("<edges>\n")
        rows = np.flatnonzero(network.tail != network.head)
        file.writelines(_edge(roads, row) for row in rows.tolist())
        file.write("</edges>\n")
    before, after = turns(roads)
    with (folder / "plain.con.xml").open("w") as file:
        file.write("<connections>\n")
        for a, b in zip(before.tolist(), after.tolist(), strict=True):
            file.write(f'<connection from="{EDGE}{a}" to="{EDGE}{b}"/>\n')
        file.write("</connections>\n")


def turns(roads: PlaneRoads) -> tuple[RowArray, RowArray]:
    """Return all pairs of segments of which one begins where the other ends; no loops."""
    network = roads.network
    by_tail = np.argsort(network.tail, kind="stable").astype(np.int32)
    at = np.searchsorted(network.tail[by_tail], np.arange(network.nodes + 1))
    count = np.diff(at)[network.head]
    before = np.repeat(np.arange(network.segments, dtype=np.int32), count)
    step = np.arange(len(before)) - np.repeat(np.cumsum(count) - count, count)
    after = by_tail[np.repeat(at[network.head], count) + step]
    loop = network.tail == network.head
    whole = ~(loop[before] | loop[after])
    return before[whole], after[whole]


def _edge(roads: PlaneRoads, row: int) -> str:
    network = roads.network
    kind = str(network.highway[row].as_py() or "")
    rank = _PRIORITY.get(kind.removesuffix("_link"), 1) - int(kind.endswith("_link"))
    shape = " ".join(f"{x:.2f},{y:.2f}" for x, y in roads.line(row).tolist())
    words = {
        "id": f"{EDGE}{row}",
        "from": str(network.tail[row]),
        "to": str(network.head[row]),
        "numLanes": str(network.lanes[row]),
        "speed": f"{network.speed_kph[row] / KPH:.3f}",
        "priority": str(rank),
        "type": f"highway.{kind}" if kind else "",
        "name": str(network.name[row].as_py() or ""),
        "shape": shape,
    }
    inside = " ".join(f"{key}={quoteattr(value)}" for key, value in words.items() if value)
    return f"<edge {inside}/>\n"


def _projection(roads: PlaneRoads) -> str:
    """Return the plane as PROJ's parameters, which SUMO wants."""
    zone = CRS(roads.crs).utm_zone or ""
    south = " +south" if zone.endswith("S") else ""
    return f"+proj=utm +zone={zone[:-1]}{south} +ellps=WGS84 +datum=WGS84 +units=m +no_defs"


def read_lanes(path: Path, roads: PlaneRoads) -> Lanes:
    """Return where the lanes of a network of ``write_sumo`` lie on the graph.

    Raises
    ------
    DataError
        If the file is no such network.
    """
    lanes = _LaneReader(roads)
    try:
        for _, element in ElementTree.iterparse(path, events=("end",)):
            if element.tag == "edge":
                lanes.take_edge(element)
                element.clear()
            elif element.tag == "connection":
                lanes.take_connection(element)
                element.clear()
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        msg = f"{path}: not a SUMO network of this graph: {error}"
        raise DataError(msg) from None
    return lanes.found()


class _LaneReader:
    """Gather lanes and the ways through junctions, then say where they lie."""

    def __init__(self, roads: PlaneRoads) -> None:
        self.roads = roads
        self.length: dict[str, float] = {}
        self.ends: dict[str, FloatArray] = {}
        self.next: dict[str, tuple[str, int]] = {}
        """By lane: the next lane inside the junction, and the segment that is entered."""
        self.enters: dict[str, int] = {}
        self.ways: list[tuple[int, int, str]] = []

    def take_edge(self, edge: ElementTree.Element) -> None:
        inside = edge.get("function", "normal") == "internal"
        for lane in edge.iter("lane"):
            name = lane.attrib["id"]
            self.length[name] = max(float(lane.attrib["length"]), 0.01)
            if not inside:
                pairs = [p.split(",")[:2] for p in lane.attrib["shape"].split()]
                self.ends[name] = np.array([pairs[0], pairs[-1]], dtype=np.float64)

    def take_connection(self, way: ElementTree.Element) -> None:
        begins, via = way.attrib["from"], way.get("via")
        if begins.startswith(":"):
            lane = f"{begins}_{way.attrib['fromLane']}"
            self.enters[lane] = _segment(way.attrib["to"])
            if via is not None:
                self.next[lane] = via, _segment(way.attrib["to"])
        elif via is not None:
            self.ways.append((_segment(begins), _segment(way.attrib["to"]), via))

    def found(self) -> Lanes:
        row = {name: at for at, name in enumerate(self.length)}
        count = len(row)
        segment, behind = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
        begin, end = np.zeros(count), np.zeros(count)
        own = [name for name in row if not name.startswith(":")]
        at = np.array([row[name] for name in own], dtype=np.int64)
        segment[at] = [_segment(name.rpartition("_")[0]) for name in own]
        ends = np.array([self.ends[name] for name in own]).reshape(-1, 2, 2)
        begin[at] = _along(self.roads, segment[at], ends[:, 0])
        end[at] = np.maximum(_along(self.roads, segment[at], ends[:, 1]), begin[at])
        edge = np.zeros(self.roads.segments), np.full(self.roads.segments, np.inf)
        np.maximum.at(edge[0], segment[at], end[at])
        np.minimum.at(edge[1], segment[at], begin[at])
        for before, after, via in self.ways:
            chain = [via]
            while chain[-1] in self.next:
                chain.append(self.next[chain[-1]][0])
            here = np.array([row[lane] for lane in chain])
            metres = np.cumsum([0.0, *(self.length[lane] for lane in chain)])
            first, last = edge[0][before], self.roads.line_m[before] + edge[1][after]
            places = first + metres / metres[-1] * max(last - first, 0.0)
            segment[here], behind[here] = before, after
            begin[here], end[here] = places[:-1], places[1:]
        length = np.array([self.length[name] for name in row])
        return Lanes(row, length, segment, behind, begin, end)


def _segment(edge: str) -> int:
    return int(edge.removeprefix(EDGE))


def _along(roads: PlaneRoads, segment: RowArray, xy: FloatArray) -> FloatArray:
    """Return how far along its segment's line the point nearest to each place lies."""
    import shapely

    lines = roads.lines()[segment]
    return np.asarray(shapely.line_locate_point(lines, shapely.points(xy)), dtype=np.float64)


def on_segments(
    lanes: Lanes, row: IntArray, metres: FloatArray, roads: PlaneRoads
) -> tuple[RowArray, FloatArray]:
    """Return segments and metres along them of places on lanes.

    Parameters
    ----------
    lanes
        Of ``read_lanes``.
    row
        Row of each place's lane, shape (P,).
    metres
        SUMO's metres along the lane, shape (P,).
    roads
        The graph.
    """
    share = np.clip(metres / lanes.length[row], 0.0, 1.0)
    at = lanes.begin[row] + share * (lanes.end[row] - lanes.begin[row])
    segment, line = lanes.segment[row], roads.line_m[lanes.segment[row]]
    past = (at > line) & (lanes.behind[row] >= 0)
    segment = np.where(past, lanes.behind[row], segment).astype(np.int32)
    at = np.where(past, at - line, at)
    return segment, np.clip(at, 0.0, roads.line_m[segment])
