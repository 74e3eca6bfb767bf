"""SUMO networks, ``.net.xml`` and ``.net.xml.gz``, read as a stream.

An edge for passenger cars is a segment; its shape is the edge's, or that of its first lane for
cars. Internal edges and connections are not read: a car may turn from any segment into any other
that leaves its node.
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


@dataclass
class _Found:
    """What the stream has told so far."""

    offset: tuple[float, float] | None = None
    projection: str = ""
    nodes: dict[str, str] = field(default_factory=dict[str, str])
    edges: list[tuple[str, str, str, str, str, str, float, float, int]] = field(
        default_factory=list[tuple[str, str, str, str, str, str, float, float, int]]
    )


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


def _edge(
    path: Path, edge: ElementTree.Element, lanes: list[ElementTree.Element]
) -> tuple[str, str, str, str, str, str, float, float, int]:
    name = _get(path, edge, "id")
    length, speed = (_number(path, name, _get(path, lanes[0], key)) for key in ("length", "speed"))
    kind = edge.get("type", "").split("|")[0].removeprefix("highway.")
    shape = edge.get("shape") or _get(path, lanes[0], "shape")
    ends = _get(path, edge, "from"), _get(path, edge, "to")
    return name, *ends, kind, edge.get("name", ""), shape, length, speed * KPH, len(lanes)


def _network(path: Path, found: _Found) -> RoadNetwork:
    ids = pa.array(list(found.nodes), pa.string())
    columns = list(zip(*found.edges, strict=True)) or [()] * 9
    shapes = [_pairs(path, f"edge {e[0]!r}: shape", e[5], least=2) for e in found.edges]
    node_xy = [_pairs(path, f"junction {key!r}", text)[0] for key, text in found.nodes.items()]
    node_at = _degrees(path, found, np.array(node_xy, dtype=np.float64).reshape(-1, 2))
    point_at = np.concatenate([[0], np.cumsum([len(shape) for shape in shapes], dtype=np.int64)])
    flat = np.array([p for shape in shapes for p in shape], dtype=np.float64).reshape(-1, 2)
    ends = [node_rows(ids, pa.array(columns[i], pa.string())) for i in (1, 2)]
    return network_of(
        Nodes(str(path), ids, node_at[:, 0].copy(), node_at[:, 1].copy()),
        Segments(
            file=str(path),
            source_id=pa.array(columns[0], pa.string()),
            tail=ends[0],
            head=ends[1],
            length_m=np.array(columns[6], dtype=np.float64),
            speed_kph=np.array(columns[7], dtype=np.float64),
            lanes=np.array(columns[8], dtype=np.int64),
            highway=pa.array(columns[3], pa.string()),
            name=pa.array(columns[4], pa.string()),
            point_at=point_at,
            points=_degrees(path, found, flat),
        ),
    )


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
