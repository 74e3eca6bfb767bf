"""Reading a road network of any known format, told by its path."""

from pathlib import Path

from raygen.errors import DataError
from raygen.network.city_roads import read_city_roads
from raygen.network.connected import Dropped, strongly_connected
from raygen.network.gmns import read_gmns
from raygen.network.graph import RoadNetwork
from raygen.network.la_basin import read_la_basin
from raygen.network.osm import read_osm
from raygen.network.segment_csv import read_segment_csv
from raygen.network.sumo import read_sumo

_FILES = {
    (".osm", ".osm.pbf", ".pbf"): read_osm,
    (".net.xml", ".net.xml.gz"): read_sumo,
    (".csv",): read_segment_csv,
}
_DIRECTORIES = {
    "road_edges.parquet": read_city_roads,
    "link.csv": read_gmns,
    "links.csv": read_la_basin,
}


def read_roads(path: Path) -> tuple[RoadNetwork, Dropped]:
    """Read a network and keep its strongly connected part.

    Parameters
    ----------
    path
        A file ``.osm``, ``.osm.pbf``, ``.net.xml``, ``.net.xml.gz`` or ``.csv`` (segments), or a
        directory with ``road_edges.parquet`` (a city), ``link.csv`` (GMNS) or ``links.csv``
        (la_basin).

    Raises
    ------
    DataError
        If it is none of these, or as its reader and ``strongly_connected`` do.
    """
    for name, reader in _DIRECTORIES.items():
        if (path / name).is_file():
            return strongly_connected(reader(path))
    for endings, reader in _FILES.items():
        if path.name.endswith(endings):
            return strongly_connected(reader(path))
    files = ", ".join(ending for endings in _FILES for ending in endings)
    msg = f"{path}: must be a file {files}, or a directory with {', '.join(_DIRECTORIES)}"
    raise DataError(msg)
