"""From a reader's columns to a checked network: every reader ends here."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raygen.city_files.faults import Faults
from raygen.network.classes import MAX_KPH
from raygen.network.graph import BoolArray, FloatArray, IntArray, RoadNetwork, line_lengths

_MAX_LENGTH_M = 500_000.0
_MAX_LANES = 20
_SHOWN = 5  # links of a fault that are named


@dataclass(frozen=True)
class Nodes:
    """Nodes as a file has them."""

    file: str
    node_id: pa.Array
    """Strings, one per node."""
    lon: FloatArray
    lat: FloatArray


@dataclass(frozen=True)
class Segments:
    """Directed segments as a file has them, E rows."""

    file: str
    source_id: pa.Array
    tail: IntArray
    head: IntArray
    """Rows of the nodes; -1 where the file names one that is not there."""
    length_m: FloatArray
    """NaN: as long as the line."""
    speed_kph: FloatArray
    lanes: IntArray
    highway: pa.Array
    name: pa.Array
    point_at: IntArray | None = None
    points: FloatArray | None = None
    """Lines as in ``RoadNetwork``; None: straight from node to node."""


def network_of(nodes: Nodes, segments: Segments) -> RoadNetwork:
    """Check nodes and segments and return their network.

    Raises
    ------
    DataError
        If an id is doubled or not known, a coordinate is no longitude or latitude, or a length,
        speed or number of lanes is not of this world. One line names the file and all faults.
    """
    _check_nodes(nodes)
    faults = Faults(segments.file)
    for column, rows in (("from", segments.tail), ("to", segments.head)):
        _links(faults, segments, column, rows < 0, f"node not in {nodes.file}")
    faults.raise_any()
    point_at, points = _lines(nodes, segments)
    along = line_lengths(point_at, points)
    length = np.where(np.isnan(segments.length_m), along, segments.length_m)
    _check_segments(segments, length, points)
    return RoadNetwork(
        node_id=nodes.node_id,
        lon=nodes.lon,
        lat=nodes.lat,
        tail=segments.tail.astype(np.int32),
        head=segments.head.astype(np.int32),
        length_m=length.astype(np.float32),
        speed_kph=segments.speed_kph.astype(np.float32),
        lanes=segments.lanes.astype(np.int8),
        highway=segments.highway.fill_null("").dictionary_encode(),
        name=segments.name.fill_null("").dictionary_encode(),
        source_id=segments.source_id,
        point_at=point_at,
        points=points,
    )


def node_rows(ids: pa.Array, wanted: pa.Array) -> IntArray:
    """Return the row of each wanted id, -1 where it is not among the ids."""
    found = pc.index_in(wanted, value_set=ids)  # pyright: ignore[reportAttributeAccessIssue]
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def blank(count: int) -> pa.Array:
    """Return a column of empty words: what the file does not say."""
    return pa.array([""], pa.string()).take(pa.array(np.zeros(count, dtype=np.int64)))


def _lines(nodes: Nodes, segments: Segments) -> tuple[IntArray, FloatArray]:
    if segments.point_at is not None and segments.points is not None:
        return segments.point_at, segments.points
    ends = np.stack([segments.tail, segments.head], axis=1).ravel()
    points = np.column_stack([nodes.lon[ends], nodes.lat[ends]])
    return 2 * np.arange(len(segments.tail) + 1), points


def _check_nodes(nodes: Nodes) -> None:
    faults = Faults(nodes.file)
    if len(nodes.lon) == 0:
        faults.add("node_id", "no nodes")
    ids = nodes.node_id.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    again = np.ones(len(ids), dtype=bool)
    again[np.unique(ids, return_index=True)[1]] = False
    faults.rows("node_id", again, "repeats an earlier id")
    faults.rows("lon, lat", ~_on_earth(nodes.lon, nodes.lat), "must be degrees")
    faults.raise_any()


def _check_segments(segments: Segments, length: FloatArray, points: FloatArray) -> None:
    faults = Faults(segments.file)
    if len(length) == 0:
        faults.add("link", "no segments")
    rules: list[tuple[str, BoolArray, str]] = [
        ("length", (length > 0) & (length <= _MAX_LENGTH_M), "must be > 0 and <= 500 km"),
        (
            "speed",
            (segments.speed_kph > 0) & (segments.speed_kph <= MAX_KPH),
            "must be > 0 and <= 250 km/h",
        ),
        ("lanes", (segments.lanes >= 1) & (segments.lanes <= _MAX_LANES), "must be 1 to 20"),
    ]
    for column, good, rule in rules:
        # NaN compares false, hence the negation of what is good.
        _links(faults, segments, column, ~good, rule)
    if not _on_earth(points[:, 0], points[:, 1]).all():
        faults.add("geometry", "must be longitude and latitude in degrees")
    faults.raise_any()


def _links(faults: Faults, segments: Segments, column: str, bad: BoolArray, rule: str) -> None:
    """Note a fault by the source's ids: a segment that was cut or doubled has no row there."""
    if bad.any():
        ids = list(dict.fromkeys(segments.source_id.filter(pa.array(bad)).to_pylist()))
        more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
        faults.add(column, f"links {', '.join(ids[:_SHOWN])}{more}: {rule}")


def _on_earth(lon: FloatArray, lat: FloatArray) -> BoolArray:
    return (np.abs(lon) <= 180) & (np.abs(lat) <= 90)  # noqa: PLR2004
