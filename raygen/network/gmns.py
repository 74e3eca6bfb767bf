"""GMNS networks: ``node.csv`` and ``link.csv`` of the General Modeling Network Specification.

Coordinates are longitude and latitude. ``config.csv`` beside them may name the units of ``length``
(``long_length``) and of ``free_speed`` (``speed``); without it they are metres and km/h.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from raygen.errors import DataError
from raygen.network.classes import MILE_KM, assumed_lanes, assumed_speed
from raygen.network.csv_tables import read_csv
from raygen.network.draft import Nodes, Segments, blank, network_of, node_rows
from raygen.network.graph import BoolArray, FloatArray, IntArray, RoadNetwork

_LENGTH_M = {
    "m": 1.0,
    "meter": 1.0,
    "meters": 1.0,
    "km": 1000.0,
    "kilometer": 1000.0,
    "mi": 1000 * MILE_KM,
    "mile": 1000 * MILE_KM,
    "miles": 1000 * MILE_KM,
    "ft": 0.3048,
    "feet": 0.3048,
}
_SPEED_KPH = {
    "kph": 1.0,
    "km/h": 1.0,
    "kmh": 1.0,
    "kmph": 1.0,
    "mph": MILE_KM,
    "m/s": 3.6,
}
_TRUE, _FALSE = ("true", "1", "1.0", "t", "yes"), ("false", "0", "0.0", "f", "no")


def read_gmns(directory: Path) -> RoadNetwork:
    """Read a GMNS network; an undirected link becomes two segments of one ``source_id``.

    Raises
    ------
    DataError
        If a unit, a direction or a geometry cannot be read, or as ``read_csv`` and ``network_of``.
    """
    place = {"node_id": pa.string(), "x_coord": pa.float64(), "y_coord": pa.float64()}
    nodes = read_csv(directory / "node.csv", place, {})
    path = directory / "link.csv"
    needed: dict[str, pa.DataType] = dict.fromkeys(
        ("link_id", "from_node_id", "to_node_id", "directed"), pa.string()
    )
    number: dict[str, pa.DataType] = dict.fromkeys(("length", "free_speed", "lanes"), pa.float64())
    words: dict[str, pa.DataType] = dict.fromkeys(
        ("facility_type", "name", "geometry"), pa.string()
    )
    links = read_csv(path, needed, number | words)
    metre, kph = _units(directory / "config.csv")
    ids = nodes.column("node_id").combine_chunks()
    ends = [
        node_rows(ids, links.column(end).combine_chunks()) for end in ("from_node_id", "to_node_id")
    ]
    kinds = _words(links, "facility_type")
    named = np.asarray(kinds.to_pylist(), dtype=str)
    speed, lanes = _number(links, "free_speed") * kph, _number(links, "lanes")
    point_at, points = _lines(path, links)
    forward = Segments(
        file=str(path),
        source_id=links.column("link_id").combine_chunks(),
        tail=ends[0],
        head=ends[1],
        length_m=_number(links, "length") * metre,
        speed_kph=np.where(np.isnan(speed), assumed_speed(named), speed),
        lanes=np.where(np.isnan(lanes), assumed_lanes(named), lanes).astype(np.int64),
        highway=kinds,
        name=_words(links, "name"),
        point_at=point_at,
        points=points,
    )
    lon, lat = nodes.column("x_coord").to_numpy(), nodes.column("y_coord").to_numpy()
    both = with_way_back(forward, ~_directed(path, links))
    return network_of(Nodes(str(directory / "node.csv"), ids, lon, lat), both)


def with_way_back(segments: Segments, two_way: BoolArray) -> Segments:
    """Return the segments and, right behind each two-way one, the same in the other direction."""
    row = np.repeat(np.arange(len(two_way)), 1 + two_way)
    back = np.zeros(len(row), dtype=bool)
    back[1:] = row[1:] == row[:-1]
    where = pa.array(row)
    point_at, points = None, None
    if segments.point_at is not None and segments.points is not None:
        count = np.diff(segments.point_at)[row]
        point_at = np.concatenate([[0], np.cumsum(count)])
        step = np.arange(point_at[-1]) - np.repeat(point_at[:-1], count)
        first = np.repeat(segments.point_at[row], count)
        last = first + np.repeat(count, count) - 1
        points = segments.points[np.where(np.repeat(back, count), last - step, first + step)]
    return Segments(
        file=segments.file,
        source_id=segments.source_id.take(where),
        tail=np.where(back, segments.head[row], segments.tail[row]),
        head=np.where(back, segments.tail[row], segments.head[row]),
        length_m=segments.length_m[row],
        speed_kph=segments.speed_kph[row],
        lanes=segments.lanes[row],
        highway=segments.highway.take(where),
        name=segments.name.take(where),
        point_at=point_at,
        points=points,
    )


def _units(path: Path) -> tuple[float, float]:
    if not path.exists():
        return 1.0, 1.0
    config = read_csv(path, {}, {"long_length": pa.string(), "speed": pa.string()})
    found: list[float] = []
    for column, units in (("long_length", _LENGTH_M), ("speed", _SPEED_KPH)):
        told = config.column(column).to_pylist() if column in config.column_names else []
        word = (told[0] or "").strip().lower() if told else ""
        if word and word not in units:
            msg = f"{path}: column {column}: must be one of {', '.join(units)}, got {word!r}"
            raise DataError(msg)
        found.append(units[word] if word else 1.0)
    return found[0], found[1]


def _number(links: pa.Table, column: str) -> FloatArray:
    if column not in links.column_names:
        return np.full(links.num_rows, np.nan)
    return pc.fill_null(links.column(column), np.nan).to_numpy()


def _words(links: pa.Table, column: str) -> pa.Array:
    if column not in links.column_names:
        return blank(links.num_rows)
    return links.column(column).combine_chunks()


def _directed(path: Path, links: pa.Table) -> BoolArray:
    words = np.array([word.strip().lower() for word in links.column("directed").to_pylist()])
    known = np.isin(words, _TRUE + _FALSE)
    if not known.all():
        row = int((~known).argmax())
        msg = f"{path}: column directed: row {row}: must be true or false, got {str(words[row])!r}"
        raise DataError(msg)
    return np.isin(words, _TRUE)


def _lines(path: Path, links: pa.Table) -> tuple[IntArray | None, FloatArray | None]:
    """Return points of WKT lines, or nothing where links have no geometry."""
    if "geometry" not in links.column_names:
        return None, None
    lines = shapely.from_wkt(links.column("geometry").to_pylist(), on_invalid="ignore")
    wrong = shapely.get_type_id(lines) != shapely.GeometryType.LINESTRING
    if wrong.any():
        msg = f"{path}: column geometry: row {int(wrong.argmax())}: must be a WKT LINESTRING"
        raise DataError(msg)
    points, of = shapely.get_coordinates(lines, return_index=True)
    return np.searchsorted(of, np.arange(len(lines) + 1)), points
