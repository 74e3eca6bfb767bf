"""Stays in one place: who joins, how places are numbered, persons apart."""

import numpy as np

from raygen.inference.places import find_places


def places(xy, duration=None, person_start=None, place_m=100.0):
    xy = np.array(xy, float)
    duration = np.array(duration if duration is not None else [3600] * len(xy), np.int64)
    start = np.array(person_start if person_start is not None else [0, len(xy)], np.int64)
    return find_places(xy, duration, start, place_m)


def test_noise_stays_one_place_and_places_are_numbered_by_their_first_stay():
    rng = np.random.default_rng(0)
    truth = np.array([0, 1, 0, 2, 1, 0, 0, 2])
    centre = np.array([[0, 0], [400, 0], [0, 900]])
    found = places(centre[truth] + rng.normal(0, 20, (8, 2)), duration=[60, 9, 5, 800, 7, 70, 6, 1])
    assert found.number.tolist() == truth.tolist()
    assert found.visits.tolist() == [4, 2, 2]
    assert np.abs(found.xy - centre).max() < 40


def test_the_point_is_the_mean_of_the_stays():
    found = places([[0, 0], [60, 0], [90, 30]])
    assert found.xy.tolist() == [[50.0, 10.0]]


def test_a_stay_joins_the_nearest_place():
    found = places([[0, 0], [150, 0], [80, 0]], duration=[30, 20, 10])
    assert found.number.tolist() == [0, 1, 1]


def test_the_edge_is_inclusive():
    assert places([[0, 0], [100, 0]]).visits.tolist() == [2]
    assert places([[0, 0], [100.1, 0]]).visits.tolist() == [1, 1]


def test_persons_are_apart():
    found = places([[0, 0], [500, 0], [0, 0], [500, 1]], person_start=[0, 1, 1, 4])
    assert found.number.tolist() == [0, 0, 1, 0]
    assert found.of_stay.tolist() == [0, 1, 2, 1]
    assert found.person_start.tolist() == [0, 1, 1, 3]
    assert found.xy.tolist() == [[0, 0], [500, 0.5], [0, 0]]


def test_no_stays_make_no_places():
    found = places(np.empty((0, 2)), person_start=[0])
    assert len(found.xy) == len(found.of_stay) == 0
