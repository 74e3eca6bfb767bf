import numpy as np
import pytest
import shapely

from raygen.cities import los_angeles
from raygen.cities.los_angeles.network import KINDS, build_network
from raygen.cities.los_angeles.pois import POI_RATES
from raygen.cities.los_angeles.settlement import Split, settled_area, split_zips
from raygen.cities.los_angeles.zips import read_zips
from raygen.cities.los_angeles.zones import (
    SUBREGIONS,
    apportion,
    controls_table,
    group_quarters,
    rake,
    subregion,
    zip_households,
    zones_table,
)
from raygen.city import city_digest, open_city
from raygen.city_files.poi_types import POI_TYPES, type_given_category
from raygen.roads import strong_components
from raygen.taxonomy import JOB_KINDS, POI_CATEGORIES

CAMPUSES = [90071, 90073, 90089, 90263, 90639, 90747, 90822, 91125, 91330]


@pytest.fixture(scope="module")
def zips():
    return read_zips()


@pytest.fixture(scope="module")
def few(zips):
    """Twelve ZIPs split into squares: downtown, campuses, a ZIP without jobs, large towns."""
    chosen = [90015, 90021, 90089, 90263, 91759, 90011, 93536, 90650, 90071, 91330, 90024, 90802]
    rows = np.sort([int(np.flatnonzero(zips.zip == number)[0]) for number in chosen])
    zip_row = np.concatenate([np.repeat(rows, 4), np.setdiff1d(np.arange(288), rows)])
    zip_row.sort()
    side = np.arange(len(zip_row)) * 3000.0 + 3e5
    squares = shapely.box(side, 3.7e6, side + 3000, 3.7e6 + 3000)
    share = np.array([0.5, 0.25, 0.125, 0.125])
    weight = np.ones(len(zip_row))
    weight[np.isin(zip_row, rows)] = np.tile(share, len(rows))
    return Split(zip_row, np.asarray(squares), weight)


@pytest.fixture(scope="module")
def zones(zips, few):
    return zones_table(zips, few)


def by_zip(zips, few, column):
    return np.bincount(few.zip_row, column, len(zips.zip))


class TestSource:
    def test_totals_are_the_counties(self, zips):
        assert len(zips.zip) == 288
        assert zips.population.sum() == 9_934_597
        assert zips.households.sum() == 3_362_213

    def test_points_lie_in_their_polygons(self, zips):
        assert shapely.contains_xy(zips.polygon, *zips.xy.T).all()


class TestTotals:
    def test_people_and_jobs_of_zones_are_the_zips(self, zips, few, zones):
        people = by_zip(zips, few, zones.column("population").to_numpy())
        assert people.tolist() == zips.population.tolist()
        jobs = sum(zones.column(f"jobs_{kind}").to_numpy().astype(float) for kind in JOB_KINDS)
        assert by_zip(zips, few, jobs) == pytest.approx(zips.jobs, rel=1e-6, abs=0.01)

    def test_households_of_zones_are_the_zips(self, zips, few, zones):
        homes = by_zip(zips, few, zones.column("households").to_numpy())
        assert homes.tolist() == zip_households(zips).tolist()

    def test_households_differ_from_the_source_only_on_campuses(self, zips):
        assert zips.zip[zip_households(zips) != zips.households].tolist() == sorted(
            CAMPUSES, key=zips.zip.tolist().index
        )
        assert sorted(zips.zip[group_quarters(zips)].tolist()) == CAMPUSES

    def test_residents_of_a_campus_live_alone(self, zips):
        at = zips.zip.tolist().index(91125)  # 86 households of 3.70, 996 people
        assert zip_households(zips)[at] == 86 + 996 - 318

    def test_college_places_are_the_zips(self, zips, few, zones):
        places = by_zip(zips, few, zones.column("college_places").to_numpy())
        assert places == pytest.approx(zips.figure("college_enrollment_total"), abs=2)

    def test_there_is_a_school_place_for_every_pupil(self, zips, few, zones):
        pupils = zips.population * zips.figure("pct_under_18") * 13 / 18
        places = by_zip(zips, few, zones.column("school_places").to_numpy())
        assert (places >= pupils - 1).all()

    def test_job_kinds_have_the_counties_shares(self, zones):
        total = np.array([zones.column(f"jobs_{k}").to_numpy().sum() for k in JOB_KINDS])
        shares = [0.31, 0.13, 0.20, 0.09, 0.16, 0.11]
        assert total / total.sum() == pytest.approx(shares, abs=1e-3)

    def test_ids_carry_the_zip(self, zips, few, zones):
        ids = zones.column("zone_id").to_numpy()
        assert (ids // 100).tolist() == zips.zip[few.zip_row].tolist()
        assert len(np.unique(ids)) == len(ids)
        assert (ids % 100).min() == 1


@pytest.fixture(scope="module")
def controls(zips, few, zones):
    return controls_table(zips, zones, few)


class TestControls:
    @pytest.mark.parametrize(
        ("column", "share"),
        [
            ("age_under_18", "pct_under_18"),
            ("age_18_24", "pct_age_18_to_24"),
            ("age_65_plus", "pct_65_plus"),
        ],
    )
    def test_ages_sum_to_the_zips(self, zips, few, controls, column, share):
        got = by_zip(zips, few, controls.column(column).to_numpy())
        assert got == pytest.approx(zips.population * zips.figure(share))

    def test_no_vehicles_sum_to_the_zips(self, zips, few, controls):
        known = ~np.isnan(zips.figure("pct_no_vehicles")) & ~group_quarters(zips)
        got = by_zip(zips, few, np.nan_to_num(controls.column("no_vehicles").to_pandas()))
        want = zips.households * zips.figure("pct_no_vehicles")
        assert got[known] == pytest.approx(want[known])

    def test_labour_force_is_of_those_over_16(self, zips, few, controls):
        at = zips.zip.tolist().index(90650)
        row = {name: zips.table.column(name)[at].as_py() for name in zips.table.column_names}
        over_16 = row["population"] * (1 - row["pct_under_18"] * 16 / 18)
        got = by_zip(zips, few, controls.column("labour_force").to_numpy())[at]
        assert got == pytest.approx(over_16 * row["pct_employed"])

    def test_unpublished_figures_are_null(self, zips, few, controls):
        null = controls.column("median_income").is_null().to_numpy()
        unknown = np.isnan(zips.figure("median_household_income")) | group_quarters(zips)
        assert null.tolist() == unknown[few.zip_row].tolist()


class TestApportion:
    def test_sums_are_exact_and_ties_go_first(self):
        parts = apportion(
            np.array([10, 1]), np.array([0, 0, 0, 1, 1]), np.array([1, 1, 1, 1.5, 1.5]) / 3
        )
        assert parts.tolist() == [4, 3, 3, 1, 0]

    def test_rake_meets_rows_and_columns(self):
        rng = np.random.default_rng(0)
        rows = np.array([0.0, 5.0, 10.0, 85.0])
        got = rake(rng.uniform(1, 2, (4, 2)), rows, np.array([30.0, 70.0]))
        assert got.sum(axis=1) == pytest.approx(rows)
        assert got.sum(axis=0) == pytest.approx([30, 70])


class TestSubregions:
    @pytest.mark.parametrize(
        ("name", "lat", "lon"),
        [
            ("Central", 34.0525, -118.2552),
            ("Westside", 34.0174, -118.4911),
            ("South Bay", 33.7348, -118.2958),
            ("Gateway", 33.7968, -118.1613),
            ("South", 33.9745, -118.2495),
            ("San Gabriel Valley", 34.1507, -118.1335),
            ("San Fernando Valley", 34.2401, -118.5316),
            ("North County", 34.7179, -118.1432),
        ],
    )
    def test_well_known_places(self, name, lat, lon):
        assert subregion(lon, lat) == name

    def test_there_are_eight_and_every_zip_has_one(self, zips):
        found = {subregion(lon, lat) for lon, lat in zips.lonlat.tolist()}
        assert len(found) == 8
        assert found == {name for name, *_ in SUBREGIONS}


class TestSettlement:
    def test_a_mountain_zip_settles_towards_the_towns(self, zips):
        at = zips.zip.tolist().index(91702)  # Azusa: most of its cell is the San Gabriel range
        settled = settled_area(zips, at)
        assert settled.area < 0.6 * zips.polygon[at].area
        assert settled.centroid.y < zips.polygon[at].centroid.y - 1500
        assert zips.polygon[at].buffer(1e-6).covers(settled)

    def test_a_small_zip_is_a_disc_of_its_land_area(self, zips):
        at = zips.zip.tolist().index(90089)
        settled = settled_area(zips, at)
        assert settled.area == pytest.approx(zips.land_m2[at], rel=0.02)


class TestRates:
    def test_shares_of_a_category_sum_to_one(self):
        share = np.bincount([t.category for t in POI_TYPES], [t.share for t in POI_TYPES])
        assert share == pytest.approx(1)
        assert type_given_category().sum(axis=1) == pytest.approx(1)

    def test_three_types_with_falling_probability(self):
        for row in POI_TYPES:
            assert len(set(row.types)) == 3
            assert sum(row.probabilities) == pytest.approx(1)
            assert sorted(row.probabilities, reverse=True) == list(row.probabilities)

    def test_rates_cover_all_categories(self):
        assert POI_RATES.shape == (len(POI_CATEGORIES), 1 + len(JOB_KINDS))


@pytest.fixture(scope="module")
def network():
    # Two towns 9 km apart in the basin, and one on the island.
    west, south = np.array([3.80e5, 3.90e5, 3.66e5]), np.array([3.765e6, 3.765e6, 3.697e6])
    return build_network(np.asarray(shapely.box(west, south, west + 4000, south + 3000)))


class TestNetwork:
    def test_everything_can_be_reached(self, network):
        assert strong_components(network.graph).max() == 0

    def test_the_island_has_a_ferry(self, network):
        assert len(network.lines("ferry")) == 1

    def test_no_segment_stands_twice(self, network):
        pairs = network.graph.tail * network.graph.nodes + network.graph.head
        assert len(np.unique(pairs)) == len(pairs)

    def test_every_zone_has_connectors_both_ways(self, network):
        for end in (network.graph.tail, network.graph.head):
            assert np.isin(network.centroid, end).all()

    def test_freeways_are_fastest(self, network):
        by_kind = {kind: network.speed_kph[network.kind == k] for k, kind in enumerate(KINDS)}
        assert by_kind["motorway"].min() > max(
            s.max() for k, s in by_kind.items() if k != "motorway"
        )


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    place = tmp_path_factory.mktemp("city") / "la"
    los_angeles.build(place)
    return place


@pytest.fixture(scope="module")
def city(directory):
    return open_city(str(directory))


@pytest.mark.slow
class TestWhole:
    def test_size(self, city):
        assert 1400 <= len(city.zone_id) <= 1600
        assert 50_000 <= len(city.poi_zone) <= 90_000
        assert city.population.sum() == 9_934_597

    def test_a_known_trip(self, city):
        """Downtown to Santa Monica is about 25 km, and 20 minutes on an empty I-10."""
        xy = city.zone_xy
        lon, lat = city.to_lonlat(xy)
        downtown = int(np.hypot(lon + 118.25, lat - 34.05).argmin())
        beach = int(np.hypot(lon + 118.49, lat - 34.018).argmin())
        assert city.distance_m[downtown, beach] == pytest.approx(25_000, rel=0.15)
        assert city.free_time_s[downtown, beach] == pytest.approx(1_200, rel=0.2)
        assert city.peak_time_s[downtown, beach] > 1.3 * city.free_time_s[downtown, beach]

    def test_the_same_bytes_again(self, directory, tmp_path):
        los_angeles.build(tmp_path / "again")
        assert city_digest(tmp_path / "again") == city_digest(directory)


@pytest.mark.slow
def test_zones_partition_their_zip(zips):
    """The whole split, without roads: no overlap, none outside the ZIP, shares of 1."""
    split = split_zips(zips)
    assert 1400 <= len(split.zip_row) <= 1600
    assert np.bincount(split.zip_row, split.weight) == pytest.approx(1)
    area = np.array([polygon.area for polygon in split.polygon])
    whole = shapely.union_all(split.polygon).area
    assert area.sum() == pytest.approx(whole, rel=1e-6)
    outside = shapely.difference(split.polygon, shapely.buffer(zips.polygon, 0.01)[split.zip_row])
    assert shapely.area(outside).max() < 1.0
    assert area.min() > 5e4
