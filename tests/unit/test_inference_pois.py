"""P(place | type): the formula by hand, the background, and what is refused."""

import numpy as np
import pytest
import tinycity
from inferring import code, index

from raygen.errors import DataError
from raygen.inference.pois import city_index, covered, log_place, poi_index
from raygen.inference.settings import InferenceConfig

CONFIG = InferenceConfig(gps_noise_m=10.0, poi_extent_m=0.0, completeness=0.8)


def place(pois, xy, visits=1.0, config=CONFIG):
    return np.exp(log_place(pois, np.array([xy], float), np.array([visits]), config))[0]


def test_two_pois_of_a_type_by_hand():
    pois = index((0, 0, "worship"), (3, 4, {"worship": 0.5, "leisure": 0.5}), (600, 0, "leisure"))
    near = 1 / 1.5 * 1.0 + 0.5 / 1.5 * np.exp(-25 / 200)
    expected = 0.8 * near / (2 * np.pi * 100) + 0.2 / (2 * 500.0**2)
    assert place(pois, (0, 0))[code("worship")] == pytest.approx(expected)


def test_rare_types_gain_from_their_poi():
    shops = [(1000.0 * k, 0, "shop_goods") for k in range(1, 100)]
    pois = index((0, 0, {"healthcare": 0.5, "shop_goods": 0.5}), *shops)
    found = place(pois, (0, 0))
    assert found[code("healthcare")] > 50 * found[code("shop_goods")]


def test_out_of_reach_there_is_the_background_alone():
    pois = index((0, 0, "worship"))
    found = place(pois, (41, 0))  # 4 sigma are 40 m
    assert found == pytest.approx((1 - covered(pois, CONFIG)) / 500.0**2)
    assert place(pois, (39, 0))[code("worship")] > found[code("worship")]


def test_a_type_without_a_poi_is_in_the_background_whole():
    share = covered(index((0, 0, "worship")), CONFIG)
    assert share[code("exercise")] == 0.0
    assert share[code("worship")] == 0.8


def test_social_visits_are_in_homes_too():
    share = covered(index((0, 0, "social"), (0, 0, "worship")), CONFIG)
    assert share[code("social")] == pytest.approx(0.8 * 0.4)


def test_the_mean_of_many_visits_is_sharper():
    pois = index((0, 0, "worship"), (60, 0, "leisure"))
    worship = code("worship")
    assert place(pois, (2, 0), 9.0)[worship] > 5 * place(pois, (2, 0))[worship]
    assert place(pois, (20, 0), 9.0)[worship] < place(pois, (20, 0))[worship]


def test_points_are_looked_up_in_batches_alike(monkeypatch):
    pois = index(*[(17.0 * k, 5.0 * k, "errands") for k in range(40)])
    xy = np.random.default_rng(0).uniform(0, 600, (50, 2))
    whole = log_place(pois, xy, np.ones(50), CONFIG)
    monkeypatch.setattr("raygen.inference.pois._BATCH", 7)
    assert np.array_equal(log_place(pois, xy, np.ones(50), CONFIG), whole)


def test_no_pois_are_refused():
    with pytest.raises(DataError, match="needs a POI at least, got none"):
        poi_index(np.empty((0, 2)), np.empty((0, 3), np.int8), np.empty((0, 3)), "EPSG:32611")


def test_a_citys_pois(tmp_path):
    tinycity.build(tmp_path)
    pois = tinycity.tables().pois
    found = city_index(tmp_path, tinycity.CRS)
    assert found.count == pois.num_rows
    assert found.mass.sum() == pytest.approx(pois.num_rows, rel=1e-5)
    west, south = found.tree.data.min(axis=0)
    assert tinycity.WEST_M <= west
    assert tinycity.SOUTH_M <= south
