"""Segments with coordinates and coded attributes, as the Porto set of road segments has them.

``roads.csv``: ``geo_id, coordinates`` (a JSON list of [lon, lat]), ``highway``, ``lanes``,
``length`` (metres), ``maxspeed``. Nodes are where lines end: equal coordinates are one node, which
gives exactly the adjacency that comes with the set. Its codes are not documented; what they stand
for here is assumed from lengths, speeds and numbers of each.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from raygen.errors import DataError
from raygen.network.classes import assumed_lanes, assumed_speed
from raygen.network.csv_tables import read_csv
from raygen.network.draft import Nodes, Segments, blank, network_of
from raygen.network.graph import FloatArray, IntArray, RoadNetwork

HIGHWAYS = (
    "motorway",
    "trunk",
    "primary",
    "secondary",
    "tertiary",
    "unclassified",
    "residential",
    "motorway_link",
    "trunk_link",
    "primary_link",
    "secondary_link",
    "tertiary_link",
    "living_street",
)
"""What the codes 0 to 12 are taken for: OSM's order of importance. Assumed."""

_SPEED_STEP = 10.0  # km/h of one step of the code ``maxspeed``; 0: not told. Assumed.


def read_segment_csv(path: Path) -> RoadNetwork:
    """Read ``roads.csv``.

    Raises
    ------
    DataError
        If a line is no list of two or more points, a code is unknown, or as ``network_of``.
    """
    number = dict.fromkeys(("highway", "lanes", "maxspeed"), pa.int64())
    text = {"geo_id": pa.string(), "coordinates": pa.string(), "length": pa.float64()}
    table = read_csv(path, text | number, {})
    point_at, points = _points(path, table.column("coordinates").to_pylist())
    code = table.column("highway").to_numpy()
    if ((code < 0) | (code >= len(HIGHWAYS))).any():
        row = int(((code < 0) | (code >= len(HIGHWAYS))).argmax())
        msg = (
            f"{path}: column highway: row {row}: must be 0 to {len(HIGHWAYS) - 1}, got {code[row]}"
        )
        raise DataError(msg)
    kinds = np.array(HIGHWAYS)[code]
    speed = table.column("maxspeed").to_numpy() * _SPEED_STEP
    lanes = table.column("lanes").to_numpy()
    nodes, tail, head = nodes_at_ends(str(path), point_at, points)
    return network_of(
        nodes,
        Segments(
            file=str(path),
            source_id=table.column("geo_id").combine_chunks(),
            tail=tail,
            head=head,
            length_m=table.column("length").to_numpy(),
            speed_kph=np.where(speed == 0, assumed_speed(kinds), speed),
            lanes=np.where(lanes == 0, assumed_lanes(kinds), lanes),
            highway=pa.array(kinds),
            name=blank(table.num_rows),
            point_at=point_at,
            points=points,
        ),
    )


def nodes_at_ends(
    file: str, point_at: IntArray, points: FloatArray
) -> tuple[Nodes, IntArray, IntArray]:
    """Return the distinct ends of lines as nodes, and the node where each begins and ends."""
    ends = np.concatenate([points[point_at[:-1]], points[point_at[1:] - 1]])
    # Complex numbers sort as pairs, many times faster than rows of two columns.
    place, at = np.unique(ends[:, 0] + 1j * ends[:, 1], return_inverse=True)
    ids = pa.array(np.arange(len(place))).cast(pa.string())
    count = len(point_at) - 1
    return Nodes(file, ids, place.real.copy(), place.imag.copy()), at[:count], at[count:]


def _points(path: Path, lines: list[str]) -> tuple[IntArray, FloatArray]:
    count = np.zeros(len(lines) + 1, dtype=np.int64)
    parts: list[FloatArray] = []
    for row, text in enumerate(lines):
        try:
            line = np.array(json.loads(text), dtype=np.float64)
        except ValueError:
            line = np.zeros(0)
        if line.ndim != 2 or line.shape[1:] != (2,) or len(line) < 2:  # noqa: PLR2004
            msg = f"{path}: column coordinates: row {row}: must be a list of two or more [lon, lat]"
            raise DataError(msg)
        parts.append(line)
        count[row + 1] = len(line)
    return np.cumsum(count), np.concatenate(parts) if parts else np.zeros((0, 2))
