"""The roads of a city directory: ``road_nodes.parquet`` and ``road_edges.parquet``."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from raygen.city_files.layout import ROAD_EDGES, ROAD_NODES
from raygen.errors import DataError
from raygen.network.draft import Nodes, Segments, network_of, node_rows
from raygen.network.graph import RoadNetwork


def read_city_roads(directory: Path) -> RoadNetwork:
    """Read the roads alone; ``read_city`` reads and checks the whole city.

    Raises
    ------
    DataError
        If a file is missing, no Parquet, has no such column, a null or a wrong geometry, or as
        ``network_of``.
    """
    node_file, edge_file = directory / "road_nodes.parquet", directory / "road_edges.parquet"
    nodes = _table(node_file, pa.schema([f for f in ROAD_NODES if f.name != "zone_id"]))
    edges = _table(edge_file, ROAD_EDGES)
    place = _shapes(node_file, nodes, shapely.GeometryType.POINT)
    lines = _shapes(edge_file, edges, shapely.GeometryType.LINESTRING)
    points, of = shapely.get_coordinates(lines, return_index=True)
    where = shapely.get_coordinates(place)
    ids = nodes.column("node_id").combine_chunks()
    return network_of(
        Nodes(str(node_file), ids.cast(pa.string()), where[:, 0].copy(), where[:, 1].copy()),
        Segments(
            file=str(edge_file),
            source_id=edges.column("segment_id").combine_chunks().cast(pa.string()),
            tail=node_rows(ids, edges.column("u").combine_chunks()),
            head=node_rows(ids, edges.column("v").combine_chunks()),
            length_m=edges.column("length_m").to_numpy().astype(np.float64),
            speed_kph=edges.column("speed_kph").to_numpy().astype(np.float64),
            lanes=edges.column("lanes").to_numpy().astype(np.int64),
            highway=edges.column("highway").combine_chunks(),
            name=edges.column("name").combine_chunks(),
            point_at=np.searchsorted(of, np.arange(len(lines) + 1)),
            points=points,
        ),
    )


def _table(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise DataError(msg) from None
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{path}: not readable as Parquet: {str(error).splitlines()[0]}"
        raise DataError(msg) from None
    for field in schema:
        if field.name not in table.column_names:
            msg = f"{path}: column {field.name}: missing"
            raise DataError(msg)
        if table.column(field.name).null_count:
            row = int(table.column(field.name).is_null().to_numpy().argmax())
            msg = f"{path}: column {field.name}: row {row}: null"
            raise DataError(msg)
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        msg = f"{path}: types must be those of a city: {str(error).splitlines()[0]}"
        raise DataError(msg) from None


def _shapes(path: Path, table: pa.Table, kind: shapely.GeometryType) -> np.ndarray:
    shapes = shapely.from_wkb(table.column("geometry").to_numpy(), on_invalid="ignore")
    wrong = (shapely.get_type_id(shapes) != kind) | shapely.is_empty(shapes)
    if wrong.any():
        row, name = int(wrong.argmax()), kind.name.lower()
        msg = f"{path}: column geometry: row {row}: must be a {name} in WKB"
        raise DataError(msg)
    return np.asarray(shapes)
