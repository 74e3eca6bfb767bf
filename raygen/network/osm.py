"""OSM extracts, ``.osm`` and ``.osm.pbf``, through GDAL's OSM driver.

Ways of the classes in ``SPEED_KPH`` are read, cut where they share a point with another (or with
themselves), and doubled where they are not one-way. Nodes are points: OSM keeps coordinates to
1e-7 degrees, and a bridge shares no point with the road beneath. Turn restrictions are not read.
"""

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from raygen.errors import DataError
from raygen.network.classes import (
    SPEED_KPH,
    assumed_lanes,
    assumed_speed,
    lane_count,
    limit_kph,
)
from raygen.network.draft import Segments, network_of
from raygen.network.gmns import with_way_back
from raygen.network.graph import BoolArray, FloatArray, IntArray, RoadNetwork
from raygen.network.segment_csv import nodes_at_ends

_TAGS = (
    "name",
    "highway",
    "oneway",
    "junction",
    "lanes",
    "maxspeed",
    "access",
    "motor_vehicle",
)

_DRIVER_SETTINGS = f"""closed_ways_are_polygons=
attribute_name_laundering=no
[lines]
osm_id=yes
attributes={",".join(_TAGS)}
"""

_CLOSED_TO_CARS = ("no", "private", "agricultural", "forestry", "delivery", "customers")
_FORWARD, _BACKWARD = ("yes", "true", "1"), ("-1", "reverse")


def read_osm(path: Path) -> RoadNetwork:
    """Read the roads of an extract that cars may use.

    Raises
    ------
    DataError
        If there is no such file, GDAL cannot read it, it has no roads, or as ``network_of``.
    """
    table = _ways(path)
    lines = shapely.from_wkb(table.column("wkb_geometry").to_numpy(zero_copy_only=False))
    points, of = shapely.get_coordinates(lines, return_index=True)
    points, begin, ways = _moving(points, of)
    table = table.take(pa.array(ways))
    words = {tag: np.array(table.column(tag).to_pylist(), dtype=str) for tag in _TAGS}
    against = np.isin(words["oneway"], _BACKWARD)
    points = _turned(begin, points, against)
    way, point_at, kept = _cut(begin, points)
    speed, lanes = _speeds(words), _lanes(words)
    nodes, tail, head = nodes_at_ends(str(path), point_at, points[kept])
    where = pa.array(way)
    forward = Segments(
        file=str(path),
        source_id=table.column("osm_id").combine_chunks().take(where),
        tail=tail,
        head=head,
        length_m=np.full(len(way), np.nan),
        speed_kph=speed[way],
        lanes=lanes[way],
        highway=table.column("highway").combine_chunks().take(where),
        name=table.column("name").combine_chunks().take(where),
        point_at=point_at,
        points=points[kept],
    )
    return network_of(nodes, with_way_back(forward, ~one_way(words)[way]))


def one_way(words: dict[str, npt.NDArray[np.str_]]) -> BoolArray:
    """Return which ways go one way: told so, or a motorway or roundabout that does not say no."""
    told = np.isin(words["oneway"], _FORWARD + _BACKWARD)
    silent = ~np.isin(words["oneway"], (*_FORWARD, *_BACKWARD, "no", "false", "0"))
    implied = np.isin(words["junction"], ("roundabout", "circular"))
    implied |= np.isin(words["highway"], ("motorway", "motorway_link"))
    return told | (silent & implied)


def _ways(path: Path) -> pa.Table:
    """Read ways with their tags; a missing tag is an empty word."""
    if not path.is_file():
        msg = f"{path}: no such file"
        raise DataError(msg)
    kinds = ", ".join(f"'{kind}'" for kind in SPEED_KPH)
    shut = ", ".join(f"'{word}'" for word in _CLOSED_TO_CARS)
    where = f"highway IN ({kinds}) AND (motor_vehicle IN ('yes', 'designated', 'permissive') OR "
    where += f"((access IS NULL OR access NOT IN ({shut})) AND "
    where += f"(motor_vehicle IS NULL OR motor_vehicle NOT IN ({shut}))))"
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as settings:
        settings.write(_DRIVER_SETTINGS)
        settings.flush()
        try:
            _, table = pyogrio.read_arrow(
                path, layer="lines", where=where, CONFIG_FILE=settings.name
            )
        except (
            DataSourceError,
            DataLayerError,
            RuntimeError,
        ) as error:
            msg = f"{path}: not readable as OSM: {str(error).splitlines()[0]}"
            raise DataError(msg) from None
    if table.num_rows == 0:
        msg = f"{path}: ways: must hold roads for cars, got none"
        raise DataError(msg)
    for tag in ("osm_id", *_TAGS):
        at = table.schema.get_field_index(tag)
        table = table.set_column(at, tag, table.column(tag).cast(pa.string()).fill_null(""))
    return table


def _moving(points: FloatArray, of: IntArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Leave out points that repeat the one before them in their way, and ways of one point.

    Mappers' slips: they would be segments of no length. Returns the points, where each way that is
    left begins, and which ways those are.
    """
    still = np.zeros(len(points), dtype=bool)
    still[1:] = (of[1:] == of[:-1]) & (points[1:] == points[:-1]).all(axis=1)
    alone = np.bincount(of[~still]) == 1
    kept = ~still & ~alone[of]
    ways, count = np.unique(of[kept], return_counts=True)
    return points[kept], np.concatenate([[0], np.cumsum(count)]), ways


def _turned(begin: IntArray, points: FloatArray, against: BoolArray) -> FloatArray:
    """Turn the ways around whose only direction is against their points."""
    count = np.diff(begin)
    first = np.repeat(begin[:-1], count)
    step = np.arange(len(points)) - first
    last = first + np.repeat(count, count) - 1
    return points[np.where(np.repeat(against, count), last - step, first + step)]


def _cut(begin: IntArray, points: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """Cut ways at shared points; a way that ends where it begins is cut in its middle as well.

    Returns
    -------
    way, point_at, kept
        The way of each piece, where its points begin, and which points of the ways they are: one
        where two pieces meet is in both.
    """
    _, place, times = np.unique(
        points[:, 0] + 1j * points[:, 1], return_inverse=True, return_counts=True
    )
    cut = times[place] > 1
    cut[begin[:-1]] = cut[begin[1:] - 1] = True
    count = np.diff(begin)
    ring = (place[begin[:-1]] == place[begin[1:] - 1]) & (count > 3)  # noqa: PLR2004
    cut[(begin[:-1] + count // 2)[ring]] = True
    # Every cut point but a way's first closes a piece, and every one but its last opens one.
    opens = cut.copy()
    opens[begin[1:] - 1] = False
    closes = cut.copy()
    closes[begin[:-1]] = False
    first, last = np.flatnonzero(opens), np.flatnonzero(closes)
    size = last - first + 1
    point_at = np.concatenate([[0], np.cumsum(size)])
    kept = np.arange(point_at[-1]) + np.repeat(first - point_at[:-1], size)
    way = np.searchsorted(begin, first, side="right") - 1
    return way, point_at, kept


def _speeds(words: dict[str, npt.NDArray[np.str_]]) -> FloatArray:
    limits, at = np.unique(words["maxspeed"], return_inverse=True)
    told = np.array([limit_kph(str(limit)) for limit in limits])[at]
    return np.where(np.isnan(told), assumed_speed(words["highway"]), told)


def _lanes(words: dict[str, npt.NDArray[np.str_]]) -> IntArray:
    """Lanes in one direction: OSM counts both, so a road for both has half of them."""
    counts, at = np.unique(words["lanes"], return_inverse=True)
    told = np.array([lane_count(str(count)) for count in counts], dtype=np.int64)[at]
    each = np.where(one_way(words), told, np.maximum(told // 2, 1))
    return np.where(told == 0, assumed_lanes(words["highway"]), each)
