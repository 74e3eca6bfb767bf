"""A road network as arrays: nodes, and directed segments with their geometry and attributes.

HTP, Definition 2: a road network is a directed graph of segments, each with a line of points; a
segment's number is its row here, and a route is a list of such rows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from pyproj import Geod
from scipy.spatial import KDTree

from raygen.errors import DataError
from raygen.roads import RoadGraph

FloatArray = npt.NDArray[np.float64]
SpeedArray = npt.NDArray[np.float32]
RowArray = npt.NDArray[np.int32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

KPH = 3.6
"""Kilometres an hour in a metre a second."""

_GEOD = Geod(ellps="WGS84")
_NEAR = 8  # candidates in degrees before the true nearest is told on the sphere


@dataclass(frozen=True)
class RoadNetwork:
    """N nodes and E directed segments; two segments may join the same nodes."""

    node_id: pa.Array
    """The source's names of the nodes: strings of length N."""

    lon: FloatArray
    lat: FloatArray
    """Degrees, shape (N,)."""

    tail: RowArray
    head: RowArray
    """Node rows where a segment begins and ends, shape (E,)."""

    length_m: SpeedArray
    speed_kph: SpeedArray
    """Length and speed at free flow, shape (E,), > 0."""

    lanes: npt.NDArray[np.int8]
    """In the segment's direction, >= 1, shape (E,)."""

    highway: pa.DictionaryArray
    name: pa.DictionaryArray
    """Class (OSM's words where they are known) and street name; empty where not known."""

    source_id: pa.Array
    """The source's name of each segment, strings; both directions of a way may share one."""

    point_at: IntArray
    """Segment e's points are rows ``point_at[e]:point_at[e + 1]`` of ``points``; (E + 1,)."""

    points: FloatArray
    """Longitude and latitude, shape (P, 2), in the direction of travel."""

    @property
    def nodes(self) -> int:
        """Number of nodes, N."""
        return len(self.lon)

    @property
    def segments(self) -> int:
        """Number of directed segments, E."""
        return len(self.tail)

    @property
    def free_s(self) -> FloatArray:
        """Seconds on each segment at free flow, shape (E,)."""
        return self.length_m.astype(np.float64) * KPH / self.speed_kph

    def graph(self) -> RoadGraph:
        """Return the nodes and their connections alone."""
        tail, head = self.tail.astype(np.int64), self.head.astype(np.int64)
        return RoadGraph(lon=self.lon, lat=self.lat, tail=tail, head=head)

    def line(self, segment: int) -> FloatArray:
        """Return the points of a segment, shape (points, 2)."""
        return self.points[self.point_at[segment] : self.point_at[segment + 1]]

    def lines(self) -> npt.NDArray[np.object_]:
        """Return every segment as a Shapely line string, shape (E,)."""
        of = np.repeat(np.arange(self.segments), np.diff(self.point_at))
        lines: npt.NDArray[np.object_] = np.asarray(shapely.linestrings(self.points, indices=of))
        return lines

    def table(self) -> pa.Table:
        """Return one row per segment, with ``geometry`` as WKB in EPSG:4326."""
        columns = {
            "segment": pa.array(np.arange(self.segments, dtype=np.int32)),
            "source_id": self.source_id,
            "u": pa.array(self.tail),
            "v": pa.array(self.head),
            "length_m": pa.array(self.length_m),
            "speed_kph": pa.array(self.speed_kph),
            "lanes": pa.array(self.lanes),
            "highway": self.highway,
            "name": self.name,
            "geometry": pa.array(shapely.to_wkb(self.lines()), pa.binary()),
        }
        return pa.table(columns)

    def nearest_nodes(self, lon: FloatArray, lat: FloatArray) -> RowArray:
        """Return the node nearest to each point, shape (Q,); the earlier row of equal ones.

        Raises
        ------
        DataError
            If a coordinate is not finite.
        """
        bad = ~(np.isfinite(lon) & np.isfinite(lat))
        if bad.any():
            msg = f"points: row {int(bad.argmax())}: lon, lat must be finite"
            raise DataError(msg)
        shrink = np.cos(np.radians(self.lat.mean()))
        tree = KDTree(np.column_stack([self.lon * shrink, self.lat]))
        _, near = tree.query(np.column_stack([lon * shrink, lat]), k=min(_NEAR, self.nodes))
        near = np.sort(near.reshape(len(lon), -1), axis=1)
        flat, many = near.ravel(), near.shape[1]
        metres = _GEOD.inv(
            np.repeat(lon, many), np.repeat(lat, many), self.lon[flat], self.lat[flat]
        )[2]
        best = np.asarray(metres).reshape(near.shape).argmin(axis=1)
        return near[np.arange(len(lon)), best].astype(np.int32)


def line_lengths(point_at: IntArray, points: FloatArray) -> FloatArray:
    """Return the metres along each line on the WGS 84 ellipsoid, shape (E,)."""
    lon, lat = points[:, 0], points[:, 1]
    steps = np.zeros(len(points))
    if len(points) > 1:
        steps[1:] = _GEOD.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])[2]
    steps[point_at[:-1]] = 0.0  # from one line's end to the next one's begin
    return np.add.reduceat(steps, point_at[:-1]) if len(point_at) > 1 else np.zeros(0)


def take_segments(network: RoadNetwork, keep: IntArray) -> RoadNetwork:
    """Return the network of some segments, in the order of ``keep``, and the nodes they touch."""
    used = np.unique(np.concatenate([network.tail[keep], network.head[keep]]))
    row = np.full(network.nodes, -1, dtype=np.int32)
    row[used] = np.arange(len(used), dtype=np.int32)
    count = np.diff(network.point_at)[keep]
    point_at = np.concatenate([[0], np.cumsum(count)])
    shift = np.repeat(network.point_at[keep] - point_at[:-1], count)
    where = pa.array(keep)
    return RoadNetwork(
        node_id=network.node_id.take(pa.array(used)),
        lon=network.lon[used],
        lat=network.lat[used],
        tail=row[network.tail[keep]],
        head=row[network.head[keep]],
        length_m=network.length_m[keep],
        speed_kph=network.speed_kph[keep],
        lanes=network.lanes[keep],
        highway=pc.take(network.highway, where),
        name=pc.take(network.name, where),
        source_id=network.source_id.take(where),
        point_at=point_at,
        points=network.points[np.arange(point_at[-1]) + shift],
    )
