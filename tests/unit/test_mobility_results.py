import json

import numpy as np
import pytest

from raygen.errors import ConfigError
from raygen.geolife import CRS
from raygen.mobility import Days, Regions, runs
from training.generated_days import BASELINES, GENERATOR, Comparison, baselines
from training.mobility_data import MobilityData, observed_city
from training.mobility_results import MobilityResultsRecipe, read_recipe, results_of
from training.movesim_days import MoveSimDays, locations_of
from training.next_place import NextPlaceFit
from training.utility import PredictorFit

PLACES = 40


def clock(seed, count):
    """Days of a home near the last one's, a work place and the way back."""
    rng = np.random.default_rng(seed)
    home, work = rng.integers(0, PLACES, (2, count, 1))
    slot = np.arange(48)
    leave, back = rng.integers(12, 20, (count, 1)), rng.integers(30, 44, (count, 1))
    return np.where((slot >= leave) & (slot < back), work, home).astype(np.int32)


def days(codes):
    code, start, cut = runs(codes, 8)
    unknown = np.full(code.shape, -1, np.int8)
    return Days(code.astype(np.int32), start.astype(np.int8), unknown, cut)


@pytest.fixture(scope="module")
def given():
    rng = np.random.default_rng(0)
    xy = rng.random((PLACES, 2)) * 9000.0
    poi = rng.dirichlet(np.ones(14), PLACES).astype(np.float32)
    ids, mass = np.arange(PLACES, dtype=np.uint64), np.ones(PLACES)
    regions = Regions("town", ids, poi, xy, mass, {"poi": "assumed", "mass": "assumed"})
    train, real = clock(1, 400), clock(2, 120)
    city = observed_city(regions, days(train), days(real), None, 1)
    generated = {name: clock(3 + i, 150) for i, name in enumerate((GENERATOR, *BASELINES))}
    return Comparison(city, train, real, generated)


def recipe(tmp_path, **changes):
    values = {
        "output": tmp_path,
        "data": MobilityData(geolife=None, cities=()),
        "utility": PredictorFit(width=8, steps=3, batch=16),
    }
    return MobilityResultsRecipe(**(values | changes))


def written(results, tmp_path):
    path = results.write(tmp_path / f"{results.name}.json")
    assert path.is_file()
    assert "Weights of raygen: generator" in results.notes[-1]
    return json.loads(path.with_suffix(".json").read_text())["rows"]


def test_every_generator_stands_beside_its_floor(given, tmp_path):
    asked = recipe(tmp_path, experiments=("quality", "flows", "privacy"))
    rows = {results.name: written(results, tmp_path) for results in results_of(asked, given, "now")}
    for name in ("mobility-quality-town", "mobility-flows-town", "mobility-privacy-town"):
        cases = {row["case"] for row in rows[name]}
        assert {f"town, {maker}" for maker in (GENERATOR, *BASELINES)} <= cases
        assert all(row["floor"] is not None for row in rows[name])
        assert all(0.0 <= row["value"] <= 1.0 for row in rows[name])
    ceiling = [row for row in rows["mobility-privacy-town"] if "themselves" in row["case"]]
    attacks = [row["value"] for row in ceiling if row["metric"].startswith("membership_acc")]
    assert max(attacks) > 0.8
    assert (tmp_path / "mobility-flows-town.png").stat().st_size > 20_000
    assert (tmp_path / "mobility-privacy-town.png").stat().st_size > 20_000


def test_utility_has_every_share_with_and_without_days(given, tmp_path):
    results = next(results_of(recipe(tmp_path, experiments=("utility",)), given, "now"))
    rows = written(results, tmp_path)
    assert len(rows) == 2 * 4 * 3 * 2
    added = [row for row in rows if "+" in row["case"]]
    assert all(row["baseline_name"] == "real days alone" for row in added)
    assert (tmp_path / "mobility-utility-town.png").stat().st_size > 20_000


def test_baselines_start_where_they_are_told(given):
    makers = baselines(given.train, given.city.regions.xy, NextPlaceFit(8, 8, 1), 1)
    assert set(makers) == set(BASELINES)
    start = np.arange(PLACES)
    for name, make in makers.items():
        drawn = make(start)
        assert drawn.shape == (PLACES, 48), name
        assert (drawn[:, 0] == start).mean() > 0.4, name


def test_locations_are_those_of_the_region_and_stay_over_the_day():
    where = np.array([[39.90, 116.30], [39.9001, 116.3001], [39.95, 116.40], [10.0, 10.0]])
    movesim = MoveSimDays(np.array([[0, 0, 0, 1, 2]]), np.array([[0]]), where)
    from pyproj import Transformer

    to_metres = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    xy = np.column_stack(to_metres.transform([116.30, 116.40], [39.90, 39.95]))
    asked = np.tile(np.array([0, 0, 1, 0], np.int32), (400, 1))
    found = locations_of(asked, xy, movesim, 1)
    assert (found[:, 2] == 2).all()
    assert (found[:, 0] == found[:, 3]).all()
    assert np.isin(found[:, 0], (0, 1)).all()
    assert (found[:, 0] == 0).mean() == pytest.approx(0.75, abs=0.08)


def test_recipes_take_changes_and_refuse_faults(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("days = 300\n[data]\ncities = []\n")
    read = read_recipe(path, ["data.foursquare=/folder", "utility.steps=7", 'only=["town"]'])
    assert (read.days, str(read.data.foursquare), read.utility.steps) == (300, "/folder", 7)
    assert read.only == ("town",)
    with pytest.raises(ConfigError, match="must be KEY=VALUE"):
        read_recipe(path, ["days"])
    with pytest.raises(ConfigError, match="days: Input should be greater"):
        read_recipe(path, ["days=3"])
    with pytest.raises(ConfigError, match="cannot be read as a recipe"):
        read_recipe(tmp_path / "none.toml", [])
