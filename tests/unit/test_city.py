import pickle
from dataclasses import replace

import geopandas as gpd
import h3
import numpy as np
import pytest
import shapely
import tinycity

from raygen.city import city_digest, open_city
from raygen.city_files.geometry import triangulate
from raygen.city_files.regions import cell_polygons, overlaps, owners
from raygen.city_files.rules import annotation
from raygen.city_files.writer import write_city
from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES, HOME, POI_CATEGORIES, SCHOOL, WORK


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tinycity.build(tmp_path_factory.mktemp("city") / "tiny")


@pytest.fixture(scope="module")
def city(directory):
    return open_city(str(directory))


class TestOpen:
    def test_zone_figures_are_those_of_the_file(self, city):
        assert city.zone_id.tolist() == tinycity.ZONE_ID.tolist()
        assert city.population.tolist() == tinycity.POPULATION.tolist()
        assert np.array_equal(city.jobs, tinycity.JOBS)
        assert [city.subregion_names[s] for s in city.subregion] == ["north"] * 3 + ["south"] * 3

    def test_unknown_commute_is_nan(self, city):
        assert np.flatnonzero(np.isnan(city.commute_target_s)).tolist() == [2]

    def test_crosses_a_process_boundary(self, city):
        again = pickle.loads(pickle.dumps(city))
        assert again.digest == city.digest
        assert np.array_equal(again.attraction, city.attraction)

    def test_skims_are_asymmetric_and_unmixed(self, city):
        # From 11 east to 12 along the slow side, back along the fast one.
        assert city.free_time_s[0, 1] > city.free_time_s[1, 0] + 30
        assert (city.peak_time_s > city.free_time_s).all()
        assert city.distance_m[0, 5] == pytest.approx(9000 * 1.01, rel=0.06)

    def test_an_unknown_name_says_what_there_is(self):
        with pytest.raises(DataError, match="atlantis: no such city directory; embedded cities: l"):
            open_city("atlantis")


class TestPoints:
    def test_points_lie_in_their_zone(self, city):
        rng = np.random.default_rng(0)
        rows = rng.integers(0, 6, 5000)
        xy = city.sample_points(rows.astype(np.int32), rng.random((5000, 3)))
        squares = tinycity.zone_polygons()
        assert shapely.contains_xy(squares[rows], xy[:, 0], xy[:, 1]).all()

    def test_points_are_uniform_over_the_zone(self, city):
        rng = np.random.default_rng(1)
        xy = city.sample_points(np.full(40_000, 4, np.int32), rng.random((40_000, 3)))
        west, south = tinycity.zone_polygons()[4].bounds[:2]
        count = np.histogram2d(xy[:, 0] - west, xy[:, 1] - south, bins=4, range=[[0, 3000]] * 2)[0]
        assert np.abs(count - 2500).max() < 5 * np.sqrt(2500)

    @pytest.mark.parametrize("uniform", [[0.0, 0.0, 0.0], [1 - 2**-53] * 3])
    def test_the_edges_of_the_draw_stay_in_the_zone(self, city, uniform):
        rows = np.arange(6, dtype=np.int32)
        xy = city.sample_points(rows, np.tile(uniform, (6, 1)))
        near = shapely.distance(tinycity.zone_polygons(), shapely.points(xy))
        assert near.max() < 1e-6

    def test_a_concave_zone_is_filled_and_not_left(self):
        shape = shapely.Polygon([(0, 0), (10, 0), (10, 10), (9, 10), (9, 1), (0, 1)])
        rng = np.random.default_rng(2)
        pieces = triangulate(np.array([shapely.box(20, 0, 30, 10), shape], dtype=object))
        xy = pieces.points(np.ones(4000, int), rng.random((4000, 3)))
        assert shapely.contains_xy(shape.buffer(1e-9), xy[:, 0], xy[:, 1]).all()
        assert (xy[:, 1] > 1).mean() == pytest.approx(9 / 19, abs=0.04)

    def test_degrees_and_metres_agree(self, city):
        lon, lat = city.to_lonlat(city.zone_xy)
        assert ((lon > -118.25) & (lon < -118.1) & (lat > 33.9) & (lat < 34.1)).all()


class TestRegions:
    def test_points_of_the_city_have_their_h3_cell(self, city):
        rng = np.random.default_rng(3)
        rows = rng.integers(0, 6, 2000).astype(np.int32)
        lon, lat = city.to_lonlat(city.sample_points(rows, rng.random((2000, 3))))
        want = [h3.str_to_int(h3.latlng_to_cell(y, x, 8)) for x, y in zip(lon, lat, strict=True)]
        assert city.regions_at(lon, lat).tolist() == want
        assert np.isin(want, city.region_id).all()

    def test_a_point_outside_has_the_nearest_region(self, city):
        found = city.regions_at(np.array([-118.1]), np.array([34.2]))
        assert found[0] in city.region_id
        north_east = city.region_xy[city.region_id == found[0]][0] - city.region_xy.mean(axis=0)
        assert (north_east > 0).all()

    def test_every_zone_owns_and_shares_regions(self, city):
        assert np.bincount(city.region_zone, minlength=6).min() > 0
        assert np.bincount(city.overlap_zone, minlength=6).min() > 0
        assert np.bincount(city.overlap_region, city.overlap_share) == pytest.approx(1, abs=1e-5)

    def test_people_of_regions_are_the_people_of_the_city(self, city):
        assert city.region_population.sum() == pytest.approx(tinycity.POPULATION.sum(), rel=1e-4)

    def test_home_regions_lie_in_their_zone(self, city):
        assert city.region_zone[city.home_region].tolist() == list(range(6))

    def test_distributions_sum_to_one_and_differ(self, city):
        assert city.region_poi.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert len(np.unique(city.region_poi.round(3), axis=0)) > 6

    def test_the_order_of_the_file_does_not_matter(self, city, tmp_path):
        tables = tinycity.tables()
        order = np.random.default_rng(4).permutation(tables.regions.num_rows)
        write_city(replace(tables, regions=tables.regions.take(order)), tmp_path / "c")
        again = open_city(str(tmp_path / "c"))
        for name in ("region_id", "region_zone", "region_poi", "region_xy", "overlap_share"):
            assert np.array_equal(getattr(again, name), getattr(city, name)), name
        assert np.array_equal(again.overlap_zone, city.overlap_zone)

    def test_a_small_zone_takes_a_cell_that_its_owner_can_spare(self):
        cell = h3.str_to_int(h3.latlng_to_cell(34.0, -118.2, 8))
        ring = np.array([h3.str_to_int(c) for c in h3.grid_disk(h3.int_to_str(cell), 1)])
        hexagons = cell_polygons(ring)
        middle = hexagons[ring == cell][0].centroid
        # Off the centre: the cell is the large zone's by its centroid and by area.
        small = shapely.Point(middle.x + 0.002, middle.y).buffer(0.0005)
        large = shapely.union_all(hexagons).difference(small)
        owner = owners(hexagons, np.array([large, small], dtype=object))
        assert owner[ring == cell].tolist() == [1]
        assert (owner[ring != cell] == 0).all()

    def test_the_last_cell_of_a_zone_is_not_taken(self):
        cell = cell_polygons(np.array([h3.str_to_int(h3.latlng_to_cell(34.0, -118.2, 8))]))
        small = shapely.Point(cell[0].centroid.x + 0.002, cell[0].centroid.y).buffer(0.0005)
        zones = np.array([cell[0].difference(small), small], dtype=object)
        assert owners(cell, zones).tolist() == [0]

    def test_slivers_are_not_overlaps(self):
        squares = shapely.box([0, 1], [0, 0], [1, 2], [1, 1])
        pairs = overlaps(squares, squares)
        assert pairs.region.tolist() == pairs.zone.tolist() == [0, 1]


class TestAttraction:
    def test_anchors_come_from_people_jobs_and_places(self, city):
        assert np.array_equal(city.attraction[HOME], tinycity.POPULATION)
        assert city.attraction[WORK] == pytest.approx(tinycity.JOBS.sum(axis=1))
        places = tinycity.SCHOOL_PLACES + tinycity.COLLEGE_PLACES
        assert city.attraction[SCHOOL] == pytest.approx(places)

    def test_meals_follow_the_dining_pois(self, city):
        dining = city.poi_category == POI_CATEGORIES.index("dining")
        count = np.bincount(city.poi_zone[dining], minlength=6)
        meals = city.attraction[ACTIVITY_TYPES.index("meals_out")]
        assert np.corrcoef(count, meals)[0, 1] > 0.9

    def test_social_visits_go_to_homes_and_to_pois(self, city):
        row = ACTIVITY_TYPES.index("social")
        types, probabilities = annotation(tinycity.tables().pois)
        weight = np.where(types == row, probabilities, 0).sum(axis=1)
        zone = np.searchsorted(tinycity.ZONE_ID, tinycity.tables().pois.column("zone_id"))
        at_pois = np.bincount(zone, weight, 6) / weight.sum()
        at_homes = tinycity.POPULATION / tinycity.POPULATION.sum()
        share = city.attraction[row] / city.attraction[row].sum()
        assert share == pytest.approx(0.4 * at_pois + 0.6 * at_homes, rel=1e-4)

    def test_categories_of_types_sum_to_one(self, city):
        table = city.category_given_type
        assert table.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert POI_CATEGORIES[table[ACTIVITY_TYPES.index("worship")].argmax()] == "life_services"
        assert table[HOME, POI_CATEGORIES.index("residential")] == 1

    def test_pois_are_ordered_by_zone(self, city):
        assert (np.diff(city.poi_zone) >= 0).all()
        assert np.diff(city.poi_start).tolist() == np.bincount(city.poi_zone, minlength=6).tolist()
        squares = tinycity.zone_polygons()
        inside = shapely.contains_xy(squares[city.poi_zone], *city.poi_xy.T)
        assert inside.all()


class TestFiles:
    def test_the_same_city_has_the_same_bytes(self, directory, tmp_path):
        again = tinycity.build(tmp_path / "again")
        assert city_digest(again) == city_digest(directory)

    def test_the_digest_sees_one_changed_figure(self, city, tmp_path):
        tables = tinycity.tables()
        skim = tables.skims["time_s_peak"].copy()
        skim[1, 2] += 1
        write_city(replace(tables, skims={**tables.skims, "time_s_peak": skim}), tmp_path / "c")
        assert city_digest(tmp_path / "c") != city.digest

    def test_geopandas_reads_the_tables(self, directory):
        zones = gpd.read_parquet(directory / "zones.parquet")
        assert zones.crs.to_epsg() == 4326
        assert zones.total_bounds == pytest.approx([-118.24, 33.99, -118.13, 34.05], abs=0.02)
        roads = gpd.read_parquet(directory / "road_edges.parquet")
        assert set(roads.geom_type) == {"LineString"}

    def test_a_city_is_replaced_whole(self, tmp_path):
        place = tinycity.build(tmp_path / "c")
        (place / "left_over").touch()
        tinycity.build(place)
        assert not (place / "left_over").exists()
        assert [p.name for p in tmp_path.iterdir()] == ["c"]

    def test_other_directories_are_not_overwritten(self, tmp_path):
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(DataError, match="not empty and not a city"):
            tinycity.build(tmp_path)
        assert (tmp_path / "thesis.tex").exists()
