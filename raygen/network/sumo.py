"""SUMO networks, ``.net.xml`` and ``.net.xml.gz``, read as a stream.

An edge for passenger cars is a segment from junction to junction: its shape is the edge's, or, of
an edge without one, that of its first lane for cars. SUMO's lanes end where junctions begin: the
length is that of the whole line, times what its lanes are longer than they are drawn. Internal
edges and connections are not read: a car may turn from any segment into any other that leaves its
node.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
from pyproj import Transformer
from pyproj.exceptions import ProjError

from raygen.errors import DataError
from raygen.network.draft import Nodes, Segments, network_of, node_rows
from raygen.network.graph import KPH, FloatArray, RoadNetwork

_CAR = ("passenger", "all")
_SHORT_M = 5.0  # a lane's length over its line's says nothing where hardly a lane is left


@dataclass(frozen=True)
class _Edge:
    """An edge as the file has it."""

    name: str
    tail: str
    head: str
    kind: str
    street: str
    shape: str
    """Empty where the edge is told by its lanes alone."""
    lanes: list[str]
    """Shapes of the lanes for cars."""
    length: float
    speed_kph: float


@dataclass
class _Found:
    """What the stream has told so far."""

    offset: tuple[float, float] | None = None
    projection: str = ""
    nodes: dict[str, str] = field(default_factory=dict[str, str])
    edges: list[_Edge] = field(default_factory=list[_Edge])


def read_sumo(path: Path) -> RoadNetwork:
    """Read a SUMO network.

    Raises
    ------
    DataError
        If it is no XML, has no ``location`` with a projection, an attribute is missing or no
        number, or as ``network_of``.
    """
    found = _Found()
    try:
        for element in _elements(path):
            _take(path, element, found)
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise DataError(msg) from None
    except (OSError, EOFError, zlib.error, ElementTree.ParseError) as error:
        msg = f"{path}: not readable as XML: {error}"
        raise DataError(msg) from None
    if found.offset is None or found.projection in ("", "!"):
        msg = f"{path}: location: projParameter must be a projection, got {found.projection!r}"
        raise DataError(msg)
    return _network(path, found)


def _elements(path: Path) -> Iterator[ElementTree.Element]:
    """Yield the children of the root, each whole; then let them go."""
    with _opened(path) as file:
        depth, root = 0, None
        for event, element in ElementTree.iterparse(file, events=("start", "end")):
            if event == "start":
                root = element if root is None else root
                depth += 1
                continue
            depth -= 1
            if depth == 1 and root is not None:
                yield element
                root.clear()


def _opened(path: Path) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _take(path: Path, element: ElementTree.Element, found: _Found) -> None:
    if element.tag == "location":
        x, y = _pairs(path, "location", _get(path, element, "netOffset"))[0]
        found.offset = x, y
        found.projection = element.get("projParameter", "")
    elif element.tag == "junction" and element.get("type") != "internal":
        where = f"{_get(path, element, 'x')},{_get(path, element, 'y')}"
        found.nodes[_get(path, element, "id")] = where
    elif element.tag == "edge" and element.get("function", "normal") in ("", "normal"):
        lanes = [lane for lane in element.iter("lane") if _for_cars(lane)]
        if lanes:
            found.edges.append(_edge(path, element, lanes))


def _for_cars(lane: ElementTree.Element) -> bool:
    if "allow" in lane.attrib:
        return any(word in _CAR for word in lane.attrib["allow"].split())
    return not any(word in _CAR for word in lane.get("disallow", "").split())


def _edge(path: Path, edge: ElementTree.Element, lanes: list[ElementTree.Element]) -> _Edge:
    name = _get(path, edge, "id")
    length, speed = (_number(path, name, _get(path, lanes[0], key)) for key in ("length", "speed"))
    kind = edge.get("type", "").split("|")[0].removeprefix("highway.")
    ends = _get(path, edge, "from"), _get(path, edge, "to")
    street, shape = edge.get("name", ""), edge.get("shape", "")
    shapes = [_get(path, lane, "shape") for lane in lanes]
    return _Edge(name, *ends, kind, street, shape, shapes, length, speed * KPH)


def _network(path: Path, found: _Found) -> RoadNetwork:
    ids = pa.array(list(found.nodes), pa.string())
    edges = found.edges
    node_xy = [_pairs(path, f"junction {key!r}", text)[0] for key, text in found.nodes.items()]
    node_at = _degrees(path, found, np.array(node_xy, dtype=np.float64).reshape(-1, 2))
    text = {"tail": [e.tail for e in edges], "head": [e.head for e in edges]}
    ends = {key: node_rows(ids, pa.array(names, pa.string())) for key, names in text.items()}
    lines = [
        _line(path, edge, node_xy[int(tail)], node_xy[int(head)])
        for edge, tail, head in zip(edges, ends["tail"], ends["head"], strict=True)
    ]
    point_at = np.concatenate([[0], np.cumsum([len(line) for line, _ in lines], dtype=np.int64)])
    flat = np.array([p for line, _ in lines for p in line], dtype=np.float64).reshape(-1, 2)
    return network_of(
        Nodes(str(path), ids, node_at[:, 0].copy(), node_at[:, 1].copy()),
        Segments(
            file=str(path),
            source_id=pa.array([e.name for e in edges], pa.string()),
            tail=ends["tail"],
            head=ends["head"],
            length_m=np.array([length for _, length in lines], dtype=np.float64),
            speed_kph=np.array([e.speed_kph for e in edges], dtype=np.float64),
            lanes=np.array([len(e.lanes) for e in edges], dtype=np.int64),
            highway=pa.array([e.kind for e in edges], pa.string()),
            name=pa.array([e.street for e in edges], pa.string()),
            point_at=point_at,
            points=_degrees(path, found, flat),
        ),
    )


def _line(
    path: Path, edge: _Edge, tail: tuple[float, float], head: tuple[float, float]
) -> tuple[list[tuple[float, float]], float]:
    """Return an edge's points from junction to junction, and its length."""
    where = f"edge {edge.name!r}: shape"
    lanes = [_pairs(path, where, shape, least=2) for shape in edge.lanes]
    line = _pairs(path, where, edge.shape, least=2) if edge.shape else lanes[0]
    line = [tail, *line[1:-1], head]
    drawn = float(np.mean([_metres(lane) for lane in lanes]))
    stretch = edge.length / drawn if drawn >= _SHORT_M else 1.0
    return line, stretch * _metres(line)


def _metres(line: list[tuple[float, float]]) -> float:
    return float(np.hypot(*np.diff(np.array(line), axis=0).T).sum())


def _degrees(path: Path, found: _Found, xy: FloatArray) -> FloatArray:
    """Undo the network's offset and projection."""
    try:
        to_degrees = Transformer.from_crs(found.projection, "EPSG:4326", always_xy=True)
    except ProjError as error:
        reason = str(error).splitlines()[0]
        msg = f"{path}: location: projParameter {found.projection!r}: {reason}"
        raise DataError(msg) from None
    x, y = found.offset or (0.0, 0.0)
    return np.column_stack(to_degrees.transform(xy[:, 0] - x, xy[:, 1] - y))


def _pairs(path: Path, where: str, text: str, least: int = 1) -> list[tuple[float, float]]:
    """Return ``x,y x,y …``; a third coordinate, of height, is left out."""
    pairs = [
        (_number(path, where, x), _number(path, where, y))
        for x, y, *_ in (f"{pair},,".split(",") for pair in text.split())
    ]
    if len(pairs) < least:
        msg = f"{path}: {where}: must have {least} or more points, got {text!r}"
        raise DataError(msg)
    return pairs


def _get(path: Path, element: ElementTree.Element, key: str) -> str:
    value = element.get(key)
    if value is None:
        msg = f"{path}: {element.tag} {element.get('id', '')!r}: attribute {key} is missing"
        raise DataError(msg)
    return value


def _number(path: Path, where: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        msg = f"{path}: {where}: must be a number, got {text!r}"
        raise DataError(msg) from None
