"""The planning network of central Los Angeles: ``nodes.csv`` and ``links.csv``.

PARC, COPTERSystemModel (MIT). Links are directed, straight from node to node and have no names; a
negative speed or number of lanes is a code of that model, its size is the figure.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from raygen.network.csv_tables import read_csv
from raygen.network.draft import Nodes, Segments, blank, network_of, node_rows
from raygen.network.graph import FloatArray, RoadNetwork

_CLASSES = ((85.0, "motorway"), (60.0, "trunk"), (45.0, "primary"), (0.0, "secondary"))
"""Assumed class of links from this free speed on, in km/h; the files have none."""


def read_la_basin(directory: Path) -> RoadNetwork:
    """Read the network; raises DataError as ``read_csv`` and ``network_of`` do."""
    nodes = read_csv(
        directory / "nodes.csv",
        {"node_id": pa.string(), "lon": pa.float64(), "lat": pa.float64()},
        {},
    )
    number = dict.fromkeys(("length_km", "speed_kmh", "lanes"), pa.float64())
    links = read_csv(directory / "links.csv", {"u": pa.string(), "v": pa.string()} | number, {})
    ids = nodes.column("node_id").combine_chunks()
    speed = np.abs(links.column("speed_kmh").to_numpy())
    ends = [node_rows(ids, links.column(end).combine_chunks()) for end in ("u", "v")]
    return network_of(
        Nodes(
            str(directory / "nodes.csv"),
            ids,
            nodes.column("lon").to_numpy(),
            nodes.column("lat").to_numpy(),
        ),
        Segments(
            file=str(directory / "links.csv"),
            source_id=pa.array(np.arange(links.num_rows)).cast(pa.string()),
            tail=ends[0],
            head=ends[1],
            length_m=links.column("length_km").to_numpy() * 1000,
            speed_kph=speed,
            lanes=np.abs(links.column("lanes").to_numpy()).astype(np.int64),
            highway=_classes(speed),
            name=blank(links.num_rows),
        ),
    )


def _classes(speed_kph: FloatArray) -> pa.Array:
    at_least = [speed_kph >= bound for bound, _ in _CLASSES]
    return pa.array(np.select(at_least, [word for _, word in _CLASSES], "secondary"))
