"""The temporal likelihoods: the shipped file, its classes, and broken files."""

import json

import numpy as np
import pytest

from raygen.errors import DataError
from raygen.inference.temporal import (
    FILE,
    day_kind,
    duration_class,
    load_temporal,
    log_tables,
)
from raygen.taxonomy import ACTIVITY_TYPES

DAY = 86_400


def test_classes_of_duration():
    minutes = np.array([0, 9, 10, 19, 20, 59, 60, 599, 600, 5000])
    assert duration_class(minutes * 60).tolist() == [0, 0, 1, 1, 2, 4, 5, 11, 12, 12]


def test_weekends():
    days = 19_877 + np.arange(8)  # from Monday, 2024-06-03
    assert day_kind(days * DAY + 3600).tolist() == [0, 0, 0, 0, 0, 1, 1, 0]
    assert day_kind(np.array([5 * DAY + 19_877 * DAY - 1])).tolist() == [0]


def test_a_stay_is_looked_up_by_its_start():
    tables = load_temporal()
    start = np.array([(19_877 + 5) * DAY - 60])  # Friday 23:59, 61 minutes
    prior, likelihood = log_tables(tables, start, start + 61 * 60)
    assert np.array_equal(prior[0], np.log(tables.prior[0]))
    assert np.array_equal(likelihood[0], np.log(tables.likelihood[0, :, 23, 5]))


@pytest.mark.parametrize(
    ("word", "early", "late"),
    [("work", 7, 21), ("school", 8, 18), ("social", 18, 4), ("pickup_drop", 7, 2)],
)
def test_the_shipped_hours_are_those_of_life(word, early, late):
    hours = load_temporal().likelihood[0, ACTIVITY_TYPES.index(word)].sum(axis=1)
    assert hours[early] > 3 * hours[late]


def test_every_cell_can_happen():
    assert load_temporal().likelihood.min() > 0
    assert load_temporal().prior.min() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": [[1.0]]}, r"prior: shape must be \(2, 15\), got \(1, 1\)"),
        ({"prior": [[0.0] * 15] * 2}, r"prior: must be >= 0 and sum to 1, got 0.0 to 0.0"),
        ({"sources": None, "profiles": "none"}, "not readable as temporal likelihoods"),
    ],
)
def test_a_broken_file_is_named(tmp_path, change, message):
    path = tmp_path / "temporal.json"
    path.write_text(json.dumps(json.loads(FILE.read_text()) | change))
    with pytest.raises(DataError, match=rf"temporal\.json: {message}"):
        load_temporal(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no\.json: not readable"):
        load_temporal(tmp_path / "no.json")
