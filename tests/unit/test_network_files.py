"""The same roads in every format: GMNS, SUMO, OSM and a city's Parquet."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from raygen.errors import DataError
from raygen.network.city_roads import read_city_roads
from raygen.network.gmns import read_gmns
from raygen.network.osm import read_osm
from raygen.network.read import read_roads
from raygen.network.sumo import read_sumo

NODES = "node_id,x_coord,y_coord\na,-118.0,34.0\nb,-118.01,34.0\nc,-118.01,34.01\n"
LINKS = """link_id,from_node_id,to_node_id,directed,length,free_speed,lanes,facility_type,name,geometry
1,a,b,true,1.5,30,2,primary,High Street,"LINESTRING (-118 34, -118.005 34.001, -118.01 34)"
2,b,c,false,,,,residential,,"LINESTRING (-118.01 34, -118.01 34.01)"
"""


def gmns(folder: Path, links: str = LINKS, config: str | None = None) -> Path:
    (folder / "node.csv").write_text(NODES)
    (folder / "link.csv").write_text(links)
    if config:
        (folder / "config.csv").write_text(config)
    return folder


def test_gmns_reads_units_directions_and_lines(tmp_path):
    roads = read_gmns(gmns(tmp_path, config="long_length,speed\nmile,mph\n"))
    assert roads.source_id.to_pylist() == ["1", "2", "2"]
    assert roads.tail.tolist() == [0, 1, 2]
    assert roads.head.tolist() == [1, 2, 1]
    assert roads.length_m[0] == pytest.approx(1.5 * 1609.344)
    assert roads.length_m[1] == roads.length_m[2] == pytest.approx(1109.2, abs=0.5)
    assert roads.speed_kph.tolist() == pytest.approx([48.28, 30, 30], abs=0.01)
    assert roads.lanes.tolist() == [2, 1, 1]
    assert roads.name.to_pylist() == ["High Street", "", ""]
    assert roads.line(0)[1].tolist() == [-118.005, 34.001]
    np.testing.assert_array_equal(roads.line(2), roads.line(1)[::-1])
    _, dropped = read_roads(tmp_path)
    assert dropped.segments == 1


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("a,b,true", "a,b,maybe", "column directed: row 0: must be true or false, got 'maybe'"),
        ("a,b,true", "a,z,true", "column to: links 1: node not in"),
        ("LINESTRING (-118.01 34,", "POINT (", "column geometry: row 1: must be a WKT"),
        (",2,primary", ",99,primary", "column lanes: links 1: must be 1 to 20"),
        ("1.5", "-1.5", "column length: links 1"),
    ],
)
def test_wrong_gmns_is_refused(tmp_path, old, new, rule):
    with pytest.raises(DataError, match=f"link.csv: {rule}") as caught:
        read_gmns(gmns(tmp_path, LINKS.replace(old, new)))
    assert "\n" not in str(caught.value)


def test_unknown_units_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"config.csv: column speed: must be one of .*'knots'"):
        read_gmns(gmns(tmp_path, config="long_length,speed\nm,knots\n"))


# Offset and projection as netconvert writes them: UTM zone 11 less a corner.
SUMO = """<?xml version="1.0" encoding="UTF-8"?>
<net version="1.16">
 <location netOffset="-400000.00,-3762000.00" projParameter="+proj=utm +zone=11 +ellps=WGS84 +datum=WGS84 +units=m +no_defs"/>
 <edge id=":b_0" function="internal"><lane id=":b_0_0" index="0" speed="5" length="2" shape="0,0 1,1"/></edge>
 <edge id="ab" from="a" to="b" name="High Street" type="highway.primary">
  <lane id="ab_0" index="0" allow="pedestrian" speed="2" length="500" shape="0,0 500,0"/>
  <lane id="ab_1" index="1" disallow="pedestrian" speed="10" length="501" shape="0,0 250,10 500,0"/>
  <lane id="ab_2" index="2" speed="10" length="501" shape="0,3 250,13 500,3"/>
 </edge>
 <edge id="ba" from="b" to="a"><lane id="ba_0" index="0" speed="20" length="500" shape="500,5 0,5"/></edge>
 <edge id="rail" from="a" to="b"><lane id="rail_0" index="0" allow="rail" speed="20" length="500" shape="500,5 0,5"/></edge>
 <junction id="a" type="priority" x="0" y="0"/>
 <junction id="b" type="priority" x="500" y="0"/>
 <junction id=":b_0_0" type="internal" x="500" y="0"/>
</net>
"""


@pytest.mark.parametrize("packed", [False, True])
def test_sumo_reads_edges_for_cars(tmp_path, packed):
    path = tmp_path / ("city.net.xml.gz" if packed else "city.net.xml")
    path.write_bytes(gzip.compress(SUMO.encode()) if packed else SUMO.encode())
    roads = read_sumo(path)
    assert roads.node_id.to_pylist() == ["a", "b"]
    assert roads.source_id.to_pylist() == ["ab", "ba"]
    assert roads.length_m.tolist() == [501, 500]
    assert roads.speed_kph.tolist() == [36, 72]
    assert roads.lanes.tolist() == [2, 1]
    assert roads.highway.to_pylist() == ["primary", ""]
    assert len(roads.line(0)) == 3
    from pyproj import Transformer

    at = Transformer.from_crs("EPSG:4326", "EPSG:32611", always_xy=True).transform(
        roads.lon, roads.lat
    )
    np.testing.assert_allclose(at, [[400000, 400500], [3762000, 3762000]], atol=0.01)
    assert read_roads(path)[1].segments == 0


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('from="a" to="b" name', 'from="a" name', "edge 'ab': attribute to is missing"),
        ('speed="20" length="500" shape="500,5 0,5"/></edge>\n <edge id="rail"', 'speed="x" length="500" shape="500,5 0,5"/></edge>\n <edge id="rail"', "ba: must be a number, got 'x'"),
        ('projParameter="+proj', 'projParameter="!" x="+proj', "location: projParameter must be"),
        ('projParameter="+proj=utm', 'projParameter="+proj=nowhere', "location: projParameter .*nowhere"),
        ("</net>", "", "not readable as XML"),
        ('id="ba" from="b"', 'id="ba" from="q"', "column from: links ba: node not in"),
    ],
)  # fmt: skip
def test_wrong_sumo_is_refused(tmp_path, old, new, rule):
    path = tmp_path / "city.net.xml"
    path.write_text(SUMO.replace(old, new))
    with pytest.raises(DataError, match=rf"city.net.xml: {rule}") as caught:
        read_sumo(path)
    assert "\n" not in str(caught.value)


def osm(folder: Path, ways: str) -> Path:
    """Nodes 1 to 9 on a line eastward, 100th of a degree apart, and ways."""
    nodes = "".join(
        f'<node id="{i}" lat="34.0" lon="{-118 + i / 100:.7f}" version="1"/>' for i in range(1, 10)
    )
    path = folder / "city.osm"
    path.write_text(f'<?xml version="1.0"?><osm version="0.6">{nodes}{ways}</osm>')
    return path


def way(number: int, nodes: str, **tags: str) -> str:
    refs = "".join(f'<nd ref="{n}"/>' for n in nodes)
    words = "".join(f'<tag k="{k}" v="{v}"/>' for k, v in tags.items())
    return f'<way id="{number}" version="1">{refs}{words}</way>'


def spans(roads) -> list[tuple[str, int, int]]:
    """Each segment as way, first and last node."""
    number = np.rint((roads.lon + 118) * 100).astype(int)
    ends = zip(number[roads.tail].tolist(), number[roads.head].tolist(), strict=True)
    return [(name, a, b) for name, (a, b) in zip(roads.source_id.to_pylist(), ends, strict=True)]


def test_osm_ways_are_cut_at_crossings_and_doubled(tmp_path):
    ways = way(11, "12345", highway="residential", name="A", lanes="4", maxspeed="30 mph")
    ways += way(12, "367", highway="tertiary", oneway="yes", lanes="2")
    roads = read_osm(osm(tmp_path, ways))
    assert spans(roads) == [
        ("11", 1, 3), ("11", 3, 1), ("11", 3, 5), ("11", 5, 3), ("12", 3, 7),
    ]  # fmt: skip
    assert [len(roads.line(i)) for i in range(5)] == [3] * 5
    assert roads.lanes.tolist() == [2, 2, 2, 2, 2]
    assert roads.speed_kph[0] == pytest.approx(48.28, abs=0.01)
    assert roads.speed_kph[4] == 45
    assert roads.name.to_pylist() == ["A"] * 4 + [""]
    assert roads.length_m[0] == pytest.approx(2 * 923.7, rel=2e-3)


def test_osm_one_way_rules(tmp_path):
    ways = way(1, "12", highway="motorway") + way(2, "23", highway="primary", oneway="-1")
    ways += way(3, "34", highway="motorway_link", oneway="no")
    ways += way(4, "456", highway="primary", junction="roundabout")
    assert spans(read_osm(osm(tmp_path, ways))) == [
        ("1", 1, 2), ("2", 3, 2), ("3", 3, 4), ("3", 4, 3), ("4", 4, 6),
    ]  # fmt: skip


def test_osm_rings_are_two_segments(tmp_path):
    roads = read_osm(osm(tmp_path, way(1, "12341", highway="primary", junction="roundabout")))
    assert spans(roads) == [("1", 1, 3), ("1", 3, 1)]


def test_osm_points_that_repeat_make_no_segment(tmp_path):
    ways = way(1, "12234", highway="primary", oneway="yes") + way(2, "35", highway="primary")
    ways += way(3, "66", highway="primary")
    roads = read_osm(osm(tmp_path, ways))
    assert spans(roads) == [("1", 1, 3), ("1", 3, 4), ("2", 3, 5), ("2", 5, 3)]
    assert len(roads.line(0)) == 3


def test_osm_roads_that_are_shut_are_left_out(tmp_path):
    ways = way(1, "12", highway="footway") + way(2, "23", highway="primary", access="private")
    ways += way(3, "34", highway="primary", access="no", motor_vehicle="yes")
    ways += way(4, "45", highway="primary", motor_vehicle="no") + way(5, "56", building="yes")
    assert {name for name, _, _ in spans(read_osm(osm(tmp_path, ways)))} == {"3"}
    with pytest.raises(DataError, match=r"city.osm: ways: must hold roads for cars, got none"):
        read_osm(osm(tmp_path, way(1, "12", highway="footway")))


def test_what_is_no_osm_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none.osm: no such file"):
        read_osm(tmp_path / "none.osm")
    (tmp_path / "bad.osm").write_text("no XML at all")
    with pytest.raises(DataError, match=r"bad.osm: not readable as OSM"):
        read_osm(tmp_path / "bad.osm")


def city(folder: Path) -> Path:
    points = shapely.points([-118.0, -118.01], [34.0, 34.0])
    nodes = {"node_id": pa.array([5, 8]), "geometry": pa.array(shapely.to_wkb(points))}
    lines = [shapely.LineString([points[0], points[1]]), shapely.LineString([points[1], points[0]])]
    edges = {
        "segment_id": pa.array([70, 71]),
        "u": pa.array([5, 8]),
        "v": pa.array([8, 5]),
        "length_m": pa.array([924, 925], pa.float32()),
        "speed_kph": pa.array([50, 60], pa.float32()),
        "lanes": pa.array([1, 2], pa.int8()),
        "highway": pa.array(["primary", "primary"]),
        "name": pa.array(["A", ""]),
        "geometry": pa.array(shapely.to_wkb(lines)),
    }
    pq.write_table(pa.table(nodes), folder / "road_nodes.parquet")
    pq.write_table(pa.table(edges), folder / "road_edges.parquet")
    return folder


def test_a_city_reads(tmp_path):
    roads, dropped = read_roads(city(tmp_path))
    assert dropped.segments == 0
    assert roads.source_id.to_pylist() == ["70", "71"]
    assert (roads.tail.tolist(), roads.head.tolist()) == ([0, 1], [1, 0])
    assert roads.lanes.tolist() == [1, 2]
    assert roads.line(1).tolist() == [[-118.01, 34.0], [-118.0, 34.0]]


def test_wrong_cities_are_refused(tmp_path):
    edges = pq.read_table(city(tmp_path) / "road_edges.parquet")
    path = tmp_path / "road_edges.parquet"
    for column, values, rule in (
        ("u", pa.array([5, 9]), "column from: links 71: node not in"),
        ("name", pa.array(["A", None]), "column name: row 1: null"),
        ("geometry", pa.array([b"x", b"y"]), "column geometry: row 0: must be a linestring"),
    ):
        at = edges.column_names.index(column)
        pq.write_table(edges.set_column(at, column, values), path)
        with pytest.raises(DataError, match=f"road_edges.parquet: {rule}"):
            read_city_roads(tmp_path)
    pq.write_table(edges.drop_columns(["lanes"]), path)
    with pytest.raises(DataError, match="column lanes: missing"):
        read_city_roads(tmp_path)


def test_unknown_formats_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"must be a file .osm, .*or a directory with"):
        read_roads(tmp_path / "roads.shp")
