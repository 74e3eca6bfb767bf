"""The network as arrays, its strongly connected part, and the files of Los Angeles and Porto."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shapely
from gridroads import grid, network

from raygen.errors import DataError
from raygen.network.classes import lane_count, limit_kph
from raygen.network.connected import strongly_connected
from raygen.network.la_basin import read_la_basin
from raygen.network.segment_csv import read_segment_csv

DATA = Path(__file__).parents[2] / "data"
needs_la = pytest.mark.skipif(not (DATA / "la_basin").exists(), reason="needs data/la_basin")
needs_porto = pytest.mark.skipif(not (DATA / "porto").exists(), reason="needs data/porto")


def test_connected_part_is_kept_in_order_and_the_rest_is_counted():
    ring = [(0, 1), (1, 2), (2, 0)]
    whole = network([(3, 0), *ring, (2, 4), (5, 5)], [7, 1, 2, 3, 11, 13])
    kept, dropped = strongly_connected(whole)
    assert kept.source_id.to_pylist() == ["1", "2", "3"]
    assert kept.node_id.to_pylist() == ["0", "1", "2"]
    assert (kept.tail.tolist(), kept.head.tolist()) == ([0, 1, 2], [1, 2, 0])
    assert (dropped.segments, dropped.nodes, dropped.parts) == (3, 3, 4)
    assert dropped.metres == pytest.approx(31)
    assert dropped.share == pytest.approx(31 / 37)
    assert "3 segments" in str(dropped)
    for row, old in enumerate([1, 2, 3]):
        np.testing.assert_array_equal(kept.line(row), whole.line(old))


def test_nothing_connected_is_refused():
    with pytest.raises(DataError, match="no two nodes can be reached"):
        strongly_connected(network([(0, 1), (1, 2)], [1, 1]))


def test_table_has_lines_in_the_direction_of_travel():
    roads = grid(3)
    table = roads.table()
    lines = shapely.from_wkb(table.column("geometry").to_numpy(zero_copy_only=False))
    first = shapely.get_coordinates(shapely.get_point(lines, 0))
    np.testing.assert_allclose(first[:, 0], roads.lon[table.column("u").to_numpy()])
    np.testing.assert_allclose(first[:, 1], roads.lat[table.column("u").to_numpy()])


def test_nearest_node_is_nearest_on_the_ellipsoid():
    roads = grid(6)
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(-118.001, -117.99, 50), rng.uniform(33.999, 34.006, 50)
    from pyproj import Geod

    every = np.array(
        [
            Geod(ellps="WGS84").inv(np.full(36, x), np.full(36, y), roads.lon, roads.lat)[2]
            for x, y in zip(lon, lat, strict=True)
        ]
    )
    np.testing.assert_array_equal(roads.nearest_nodes(lon, lat), every.argmin(axis=1))


@pytest.mark.parametrize(
    ("text", "value"),
    [("50", 50), ("30 mph", 48.28), ("50;30", 50), ("none", None), ("PT:urban", None), ("1", None)],
)
def test_speed_limits_of_osm(text, value):
    assert limit_kph(text) == pytest.approx(value if value else float("nan"), abs=0.01, nan_ok=True)


def test_lanes_of_osm():
    assert [lane_count(x) for x in ("2", "3;2", "", "many", "0", "1.5")] == [2, 3, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("length", "speed", "rule"),
    [
        ([1.0, 0.0], None, "column length: links 1: must be > 0"),
        ([1.0, 1.0], [30.0, -30.0], "column speed: links 1"),
        ([1.0, 1.0], [30.0, 400.0], "<= 250 km/h"),
    ],
)
def test_figures_out_of_this_world_are_refused(length, speed, rule):
    with pytest.raises(DataError, match=f"links: .*{rule}"):
        network([(0, 1), (1, 0)], length, speed)


@needs_la
def test_los_angeles_reads():
    roads = read_la_basin(DATA / "la_basin")
    assert (roads.nodes, roads.segments) == (4518, 10569)
    assert roads.speed_kph.min() > 0
    kept, dropped = strongly_connected(roads)
    assert kept.segments + dropped.segments == roads.segments
    assert dropped.share < 0.1


def la_files(folder: Path, links: str) -> Path:
    (folder / "nodes.csv").write_text("node_id,lon,lat\n7,-118.0,34.0\n9,-118.1,34.0\n")
    (folder / "links.csv").write_text("u,v,length_km,speed_kmh,lanes\n" + links)
    return folder


def test_negative_speeds_are_codes(tmp_path):
    roads = read_la_basin(la_files(tmp_path, "7,9,9.2,-45,2\n9,7,9.2,100,3\n"))
    assert roads.speed_kph.tolist() == [45, 100]
    assert roads.highway.to_pylist() == ["primary", "motorway"]


@pytest.mark.parametrize(
    ("links", "rule"),
    [
        ("7,8,9.2,45,2\n", r"links.csv: column to: links 0: node not in .*nodes.csv"),
        ("7,9,x,45,2\n", r"links.csv: .*column #2.*'x'"),
        ("7,9,,45,2\n", "links.csv: column length_km: row 0: empty"),
    ],
)
def test_wrong_links_are_refused(tmp_path, links, rule):
    with pytest.raises(DataError, match=rule) as caught:
        read_la_basin(la_files(tmp_path, links))
    assert "\n" not in str(caught.value)


def test_missing_files_and_columns_are_named(tmp_path):
    with pytest.raises(DataError, match=r"nodes.csv: no such file"):
        read_la_basin(tmp_path)
    la_files(tmp_path, "")
    (tmp_path / "links.csv").write_text("u,v\n7,9\n")
    with pytest.raises(DataError, match="column length_km: missing"):
        read_la_basin(tmp_path)


@needs_porto
def test_porto_reads_with_the_adjacency_that_comes_with_it():
    roads = read_segment_csv(DATA / "porto" / "roads.csv")
    assert roads.segments == 11095
    told = np.loadtxt(
        DATA / "porto" / "road_adjacency.rel", delimiter=",", skiprows=1, usecols=(2, 3), dtype=int
    )
    follows = {(a, b) for a, b in told.tolist()}
    leaving: dict[int, list[int]] = {}
    for segment, node in enumerate(roads.tail.tolist()):
        leaving.setdefault(node, []).append(segment)
    ours = {(a, b) for a, node in enumerate(roads.head.tolist()) for b in leaving.get(node, [])}
    assert ours == follows
    along = shapely.length(roads.lines())
    assert np.corrcoef(along, roads.length_m)[0, 1] > 0.95


def test_wrong_lines_are_refused(tmp_path):
    head = "geo_id,type,coordinates,highway,lanes,length,maxspeed\n"
    path = tmp_path / "roads.csv"
    path.write_text(head + '0,LineString,"[[1, 2]]",7,0,32.4,0\n')
    with pytest.raises(DataError, match="column coordinates: row 0: must be a list of two"):
        read_segment_csv(path)
    path.write_text(head + '0,LineString,"[[1, 2], [1, 2.1]]",70,0,32.4,0\n')
    with pytest.raises(DataError, match="column highway: row 0: must be 0 to 12, got 70"):
        read_segment_csv(path)


def test_ids_are_unique():
    from raygen.network.draft import Nodes, Segments, network_of

    nodes = Nodes("n", pa.array(["a", "a"]), np.zeros(2), np.zeros(2))
    none = np.zeros(0, dtype=np.int64)
    links = Segments("l", pa.array([], pa.string()), none, none, none * 1.0, none * 1.0, none, pa.array([], pa.string()), pa.array([], pa.string()))  # fmt: skip
    with pytest.raises(DataError, match="n: column node_id: rows 1: repeats an earlier id"):
        network_of(nodes, links)
