"""Each fault of a city is one DataError that names the file, the column and the rows."""

import json
from dataclasses import replace

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tinycity

from raygen.city import open_city
from raygen.city_files.writer import write_city
from raygen.errors import DataError


@pytest.fixture
def directory(tmp_path):
    return tinycity.build(tmp_path / "tiny")


def put(table, column, row, value):
    """Return the table with one value replaced."""
    values = table.column(column).to_pylist()
    values[row] = value
    at = table.schema.get_field_index(column)
    field = table.schema.field(column)
    return table.set_column(at, field, pa.array(values, field.type))


def opened(tmp_path, **changed):
    """Write the tiny city with some tables changed, and open it."""
    write_city(replace(tinycity.tables(), **changed), tmp_path / "broken")
    return open_city(str(tmp_path / "broken"))


def edited(directory, file, change):
    """Change a Parquet file in place, its metadata kept."""
    table = pq.read_table(directory / file)
    pq.write_table(change(table), directory / file)


FILES = [
    "city.toml", "zones.parquet", "regions.parquet", "pois.parquet", "road_nodes.parquet",
    "road_edges.parquet", "controls.parquet", "skims/distance_m.npy", "skims/time_s_peak.npy",
]  # fmt: skip


class TestFiles:
    @pytest.mark.parametrize("file", FILES)
    def test_missing(self, directory, file):
        (directory / file).unlink()
        with pytest.raises(DataError, match=f"{file}: (no such file|cannot be read)"):
            open_city(str(directory))

    @pytest.mark.parametrize("file", FILES[1:])
    def test_truncated(self, directory, file):
        path = directory / file
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(DataError, match=f"{file}: not readable as"):
            open_city(str(directory))


class TestCard:
    def test_unknown_key_with_a_hint(self, directory):
        path = directory / "city.toml"
        path.write_text("time_zon = 'x'\n" + path.read_text())
        with pytest.raises(DataError, match=r"city\.toml: unknown key 'time_zon'; did you mean"):
            open_city(str(directory))

    def test_not_toml(self, directory):
        (directory / "city.toml").write_text("name =")
        with pytest.raises(DataError, match=r"city\.toml: not TOML"):
            open_city(str(directory))

    def test_crs_of_another_place(self, directory):
        path = directory / "city.toml"
        path.write_text(path.read_text().replace("EPSG:32611", "EPSG:25833"))
        with pytest.raises(
            DataError, match=r"city\.toml: crs 'EPSG:25833' is for Europe.*elsewhere"
        ):
            open_city(str(directory))

    @pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2229", "Mars"])
    def test_crs_must_be_projected_metres(self, directory, crs):
        path = directory / "city.toml"
        path.write_text(path.read_text().replace("EPSG:32611", crs))
        with pytest.raises(DataError, match=r"city\.toml: crs must be .*" + crs):
            open_city(str(directory))

    def test_provenance_is_one_of_four_words(self, directory):
        path = directory / "city.toml"
        path.write_text(path.read_text().replace('"pois" = "synthesised"', '"pois" = "guessed"'))
        with pytest.raises(DataError, match=r"provenance\.pois must be 'observed', .*'guessed'"):
            open_city(str(directory))


class TestColumns:
    def test_all_missing_columns_are_named_at_once(self, directory):
        edited(directory, "zones.parquet", lambda t: t.drop_columns(["population", "jobs_retail"]))
        match = r"zones\.parquet: column population: missing; column jobs_retail: missing"
        with pytest.raises(DataError, match=match):
            open_city(str(directory))

    def test_wrong_type(self, directory):
        def change(table):
            at = table.schema.get_field_index("households")
            return table.set_column(at, "households", table["households"].cast(pa.float64()))

        edited(directory, "zones.parquet", change)
        with pytest.raises(DataError, match="column households: type must be int32, got double"):
            open_city(str(directory))

    def test_null(self, directory):
        edited(directory, "road_edges.parquet", lambda t: _with_null(t, "u", 3))
        with pytest.raises(DataError, match=r"road_edges\.parquet: column u: rows 3: null"):
            open_city(str(directory))

    def test_another_crs(self, directory):
        zones = gpd.read_parquet(directory / "zones.parquet").to_crs("EPSG:32611")
        zones.to_parquet(directory / "zones.parquet")
        match = r"zones\.parquet: .*CRS must be EPSG:4326, got 'WGS 84 / UTM zone 11N'"
        with pytest.raises(DataError, match=match):
            open_city(str(directory))

    def test_metres_that_claim_to_be_degrees(self, directory, tmp_path):
        zones = gpd.read_parquet(directory / "zones.parquet")
        flat = zones.to_crs("EPSG:32611").set_crs(4326, allow_override=True)
        table = tinycity.tables().zones
        at = table.schema.get_field_index("geometry")
        field = table.schema.field("geometry")
        changed = table.set_column(at, field, pa.array(list(flat.geometry.to_wkb()), pa.binary()))
        with pytest.raises(DataError, match="rows 0, 1, 2, 3, 4 and 1 more: empty, or not longitu"):
            opened(tmp_path, zones=changed)

    def test_a_file_that_geopandas_wrote_is_fine(self, directory):
        zones = gpd.read_parquet(directory / "zones.parquet")
        zones.to_parquet(directory / "zones.parquet")
        assert open_city(str(directory)).subregion_names == ("north", "south")

    def test_no_geoparquet(self, directory):
        edited(directory, "pois.parquet", lambda t: t.replace_schema_metadata(None))
        with pytest.raises(DataError, match=r"pois\.parquet: column geometry: no GeoParquet meta"):
            open_city(str(directory))

    def test_wrong_kind_of_geometry(self, tmp_path):
        tables = tinycity.tables()
        point = tables.pois.column("geometry")[0].as_py()
        broken = put(tables.regions, "geometry", 2, point)
        with pytest.raises(DataError, match=r"regions\.parquet: .* rows 2: must be Polygon"):
            opened(tmp_path, regions=broken)


def _with_null(table, column, row):
    at = table.schema.get_field_index(column)
    values = table.column(column).to_pylist()
    values[row] = None
    return table.set_column(at, column, pa.array(values, table.schema.field(column).type))


class TestTables:
    @pytest.mark.parametrize(
        ("table", "column", "row", "value", "match"),
        [
            ("zones", "zone_id", 3, 12, r"zones\.parquet: column zone_id: rows 3: repeats"),
            ("zones", "population", 1, -5, "column population: rows 1: must be finite and >= 0"),
            ("zones", "jobs_retail", 1, float("nan"), "column jobs_retail: rows 1: must be fin"),
            ("zones", "households", 2, 301, "column households: rows 2: more households than"),
            ("zones", "households", 2, 0, "column households: rows 2: people live here but"),
            ("zones", "area_m2", 4, 5e6, "column area_m2: rows 4: not the area of the polygon"),
            ("zones", "mean_commute_s", 4, 0.0, "column mean_commute_s: rows 4: must be > 0"),
            ("regions", "zone_id", 7, 99, r"regions\.parquet: column zone_id: rows 7: not in zo"),
            ("regions", "region_id", 1, 12345, "column region_id: rows 1: not an H3 cell of res"),
            ("regions", "poi_distribution", 5, [0.05] * 14, "poi_distribution: rows 5: does not"),
            ("regions", "poi_distribution", 5, [-1.0, 2.0] + [0.0] * 12, "rows 5: has a negative"),
            ("regions", "population", 0, -1.0, "column population: rows 0: must be finite, >= 0"),
            ("pois", "zone_id", 9, 99, r"pois\.parquet: column zone_id: rows 9: not in zones"),
            ("pois", "poi_id", 9, 3, "column poi_id: rows 9: repeats an earlier id"),
            ("pois", "activity_types", 9, [0, 1, 15], "activity_types: rows 9: codes must be 0 t"),
            ("pois", "activity_probabilities", 9, [0.5, 0.1, 0.1], "rows 9: do not sum to 1"),
            ("road_nodes", "zone_id", 40, 11, r"road_nodes\.parquet: .*1 zones have no centroid"),
            ("road_nodes", "zone_id", 3, 99, "column zone_id: rows 3: not in zones.parquet"),
            ("road_nodes", "node_id", 3, 2, "column node_id: rows 3: repeats an earlier id"),
            ("road_edges", "v", 3, 4000, r"road_edges\.parquet: column v: rows 3: not in road_no"),
            ("road_edges", "length_m", 3, 0.0, "column length_m: rows 3: must be finite and > 0"),
            ("road_edges", "segment_id", 3, 2, "column segment_id: rows 3: repeats an earlier"),
            ("controls", "zone_id", 0, 12, r"controls\.parquet: column zone_id: rows 0: differs"),
            ("controls", "population", 0, 1, "column population: rows 0: differs from the same"),
            ("controls", "labour_force", 0, 501.0, "labour_force: rows 0: must be from 0 to the "),
            ("controls", "no_vehicles", 0, -1.0, "no_vehicles: rows 0: must be from 0 to the zon"),
        ],
    )
    def test_a_wrong_value(self, tmp_path, table, column, row, value, match):
        broken = put(getattr(tinycity.tables(), table), column, row, value)
        with pytest.raises(DataError, match=match):
            opened(tmp_path, **{table: broken})

    def test_faults_of_a_table_come_together(self, tmp_path):
        zones = put(put(tinycity.tables().zones, "zone_id", 5, 11), "population", 0, -1)
        with pytest.raises(DataError, match=r"zone_id: rows 5: rep.*; column population: rows 0"):
            opened(tmp_path, zones=zones)

    def test_nobody_lives_in_the_city(self, tmp_path):
        zones = tinycity.tables().zones
        for row in range(6):
            zones = put(put(zones, "population", row, 0), "households", row, 0)
        with pytest.raises(DataError, match="column population: nobody lives in the city"):
            opened(tmp_path, zones=zones)

    def test_a_zone_where_nobody_lives_is_no_fault(self, tmp_path):
        tables = tinycity.tables()
        zones = put(put(tables.zones, "population", 2, 0), "households", 2, 0)
        controls = tables.controls
        for column in controls.schema.names[1:]:
            controls = put(controls, column, 2, 0)
        city = opened(tmp_path, zones=zones, controls=controls)
        assert city.population[2] == 0

    def test_regions_that_do_not_cover_a_zone(self, tmp_path):
        regions = tinycity.tables().regions
        kept = regions.filter(pa.array(np.arange(regions.num_rows) != 40))
        with pytest.raises(DataError, match=r"regions\.parquet: .*do not cover 2 zones: 22, 23"):
            opened(tmp_path, regions=kept)

    def test_no_place_for_an_activity(self, tmp_path):
        pois = tinycity.tables().pois
        church = np.array(["worship" in t for t in pois.column("tags").to_pylist()])
        kept = pois.filter(pa.array(~church))
        with pytest.raises(DataError, match="activity_types: no POI in the city for worship"):
            opened(tmp_path, pois=kept)

    def test_a_dead_end_of_the_roads(self, tmp_path):
        edges = tinycity.tables().road_edges
        # Node 40 is the centroid of zone 23: the way in goes, the way out stays.
        kept = edges.filter(pa.array(edges.column("v").to_numpy() != 40))
        match = r"road_edges\.parquet: .*not strongly connected: 1 of 41 nodes .* node_id 40"
        with pytest.raises(DataError, match=match):
            opened(tmp_path, road_edges=kept)


class TestSkims:
    @pytest.mark.parametrize(
        ("value", "match"),
        [(-1.0, "rows 2: negative"), (np.nan, "rows 2: not finite"), (np.inf, "rows 2: not fin")],
    )
    def test_wrong_value(self, tmp_path, value, match):
        tables = tinycity.tables()
        skim = tables.skims["time_s_free"].copy()
        skim[2, 4] = value
        with pytest.raises(DataError, match=r"skims/time_s_free\.npy: column matrix: " + match):
            opened(tmp_path, skims={**tables.skims, "time_s_free": skim})

    def test_no_time_within_a_zone(self, tmp_path):
        tables = tinycity.tables()
        skim = tables.skims["time_s_free"].copy()
        skim[3, 3] = 0
        with pytest.raises(DataError, match="rows 3: within its own zone must be > 0"):
            opened(tmp_path, skims={**tables.skims, "time_s_free": skim})

    def test_wrong_shape(self, directory):
        np.save(directory / "skims" / "distance_m.npy", np.ones((6, 5), np.float32))
        with pytest.raises(DataError, match=r"shape must be \(6, 6\), got \(6, 5\)"):
            open_city(str(directory))

    def test_wrong_type(self, directory):
        np.save(directory / "skims" / "distance_m.npy", np.ones((6, 6)))
        with pytest.raises(DataError, match=r"distance_m\.npy: type must be float32, got float64"):
            open_city(str(directory))


def test_geo_metadata_is_of_version_1_1(directory):
    geo = json.loads(pq.read_schema(directory / "regions.parquet").metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["geometry_types"] == ["Polygon"]
