import pickle
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import tinycity

from raygen import schema
from raygen.city import open_city
from raygen.errors import DataError
from raygen.population import cache
from raygen.population.fit import fit_city
from raygen.population.sample import sample_index
from raygen.stages.populate import populate, spread_income


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))


@pytest.fixture(scope="module")
def fit(city):
    return fit_city(city, 0)


def everyone(fit, city, seed=0):
    index = sample_index(fit, 0, seed, 10**9)
    return populate(fit, index, 0, city, seed)


def test_tables_follow_the_schemas(fit, city):
    households, persons = everyone(fit, city)
    schema.check(households, schema.HOUSEHOLDS, "households")
    schema.check(persons, schema.PERSONS, "persons")
    assert households.num_rows == tinycity.HOUSEHOLDS.sum()
    assert persons.num_rows == pytest.approx(tinycity.POPULATION.sum(), abs=5)
    assert persons["work_zone_id"].unique().to_pylist() == [-1]


def test_homes_lie_in_their_zones(fit, city):
    households, _ = everyone(fit, city)
    lon, lat = households["home_lon"].to_numpy(), households["home_lat"].to_numpy()
    zone_id = households["home_zone_id"].to_numpy()
    counts = [int((zone_id == z).sum()) for z in tinycity.ZONE_ID]
    assert counts == tinycity.HOUSEHOLDS.tolist()
    west, east = lon[np.isin(zone_id, [11, 21])], lon[np.isin(zone_id, [13, 23])]
    north, south = lat[zone_id < 20], lat[zone_id > 20]
    assert west.max() < east.min()
    assert north.min() > south.max() - 0.002  # the squares are not square with the parallels
    assert len(np.unique(lon)) == len(lon)


def test_written_incomes_still_meet_the_controls(fit, city):
    households, _ = everyone(fit, city)
    income = households["income"].to_numpy()
    seeds = fit.seeds.income[fit.row]
    assert np.array_equal(income < 25e3, seeds < 25e3)
    assert np.array_equal(income >= 200e3, seeds >= 200e3)
    median = np.repeat(fit.median_income, np.diff(fit.zone_start))
    assert np.array_equal(income < median, seeds < median)
    assert len(np.unique(income)) > 0.95 * len(income)


def test_income_beside_a_bound_stays_on_its_side():
    income = np.array([24_999.999, 25_000.0, 199_999.999, 200_000.0, 60_000.0, 59_999.0])
    median = np.full(6, 60_000.0)
    for uniform in (0.0, 0.5, 1 - 2.0**-53):
        spread = spread_income(income, median, np.full(6, uniform))
        for bound in (25_000, 60_000, 200_000):
            assert np.array_equal(spread < bound, income < bound)
        assert np.abs(spread / income - 1).max() < 0.051


def test_another_seed_gives_other_people(fit, city):
    one, other = everyone(fit, city, 0)[0], everyone(fit, city, 1)[0]
    assert not one["home_lon"].equals(other["home_lon"])


def test_a_shard_beyond_the_last_is_refused(fit, city):
    index = sample_index(fit, 100, 0, 50)
    with pytest.raises(DataError, match=r"populate: shard must be 0 … 1, got 2"):
        populate(fit, index, 2, city, 0)


@pytest.mark.parametrize(("agents", "shard_persons"), [(-1, 10), (10, 0)])
def test_bad_sample_sizes_are_refused(fit, agents, shard_persons):
    with pytest.raises(DataError, match="agents must be >= 0 and shard_persons >= 1"):
        sample_index(fit, agents, 0, shard_persons)


def test_a_city_without_households_is_refused(fit):
    nobody = SimpleNamespace(households=0)
    with pytest.raises(DataError, match="no zone of the city has households"):
        sample_index(nobody, 10, 0, 10)


def test_a_sample_has_its_share_of_every_zone(fit):
    index = sample_index(fit, fit.persons // 10, 0, 1000)
    zone = np.searchsorted(fit.zone_start, index.position, side="right") - 1
    expected = np.diff(fit.zone_start) / 10
    # one by the stride, the rest by the few households that go to meet the number of persons
    assert np.abs(np.bincount(zone, minlength=6) - expected).max() < 5


def test_a_sample_is_fair_to_large_and_small_households(fit):
    sizes = fit.seeds.size[fit.row]
    means = [sizes[sample_index(fit, 1000, seed, 1000).position].mean() for seed in range(40)]
    spread = sizes.std() / np.sqrt(40 * 1000 / sizes.mean())
    assert abs(np.mean(means) - sizes.mean()) < 4 * spread


def test_fit_and_index_travel(fit):
    index = sample_index(fit, 500, 0, 100)
    again = pickle.loads(pickle.dumps(fit))
    assert again.row.tobytes() == fit.row.tobytes()
    assert again.report.equals(fit.report)
    assert len(pickle.dumps(index)) < 4 * index.households + 2000


def test_the_cache_gives_the_same_fit_without_fitting(fit, city, tmp_path, monkeypatch):
    said = []
    first = cache.load_or_fit(city, 0, tmp_path, said.append)
    monkeypatch.setattr(cache, "fit_city", None)
    second = cache.load_or_fit(city, 0, tmp_path, said.append)
    assert said[0] == "population: fitting 6 zones"
    assert said[1].startswith("population: read from")
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]
    for found in (first, second):
        assert found.row.tobytes() == fit.row.tobytes()
        assert found.report.equals(fit.report)
        assert found.seeds.age.tobytes() == fit.seeds.age.tobytes()


def test_the_cache_tells_cities_and_seeds_apart(city):
    keys = {cache.key(city.digest, 0), cache.key(city.digest, 1), cache.key("other", 0)}
    assert len(keys) == 3


def test_a_truncated_cache_is_named(fit, tmp_path):
    path = tmp_path / "fit.npz"
    cache.save(fit, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"fit.npz: not a fitted population, delete it to fit"):
        cache.load(path)
    np.savez(path, row=np.zeros(3))
    with pytest.raises(DataError, match=r"fit.npz: not a fitted population.*KeyError"):
        cache.load(path)


def test_the_report_is_a_table_of_zone_and_control(fit):
    assert fit.report.column_names == [
        "zone_id",
        "control",
        "target",
        "balanced",
        "fitted",
        "error",
    ]
    assert fit.report.num_rows == 6 * 10 - 1  # one control of the tiny city is not known
    relative = np.abs(fit.report["error"].to_numpy()) / fit.report["target"].to_numpy()
    assert relative.mean() < 0.01
    assert isinstance(fit.report, pa.Table)
