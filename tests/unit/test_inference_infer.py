"""A table of stay points to types: columns, places, order, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest
from inferring import (
    CHURCH_XY,
    HOME_XY,
    POIS,
    WORDS,
    WORK_XY,
    ZONE,
    code,
    index,
    stays,
    table,
    week,
)

from raygen.errors import DataError
from raygen.inference.infer import TOP, activity_schema, infer, infer_activities
from raygen.inference.settings import InferenceConfig
from raygen.inference.temporal import load_temporal


def activities(stays, config=InferenceConfig()):  # noqa: B008 - frozen
    return infer_activities(stays, ZONE, POIS, load_temporal(), config)


def test_the_poi_tells_the_type():
    found = activities(table((0, 9, 10, 11.5), (1, 9, 12, 12.8), (2, 10, 9, 10.2)))
    assert found.schema.equals(activity_schema(pa.int64()))
    assert found.column("type").to_pylist() == list(WORDS)
    assert set(found.column("basis").to_pylist()) == {"bayes"}
    top = found.column("activity_types").to_pylist()
    assert [row[0] for row in top] == [code(word) for word in WORDS]
    share = np.array(found.column("activity_probabilities").to_pylist())
    assert share.shape == (3, TOP)
    assert (np.diff(share, axis=1) <= 0).all()
    assert (share.sum(1) <= 1 + 1e-6).all()


def test_the_hour_and_the_duration_tell_where_there_is_no_poi():
    rows = (9, 3, 0, 8), (0.3, 3, 12, 12.6), (0.6, 3, 19, 22.2)
    _, lunch, visit = activities(table(*rows)).to_pylist()
    assert lunch["type"] == "meals_out"
    assert visit["type"] == "social"


def test_the_weekend_counts():
    pois = index((*CHURCH_XY, {"worship": 0.5, "social": 0.5}))
    monday, sunday = (
        infer(stays([(CHURCH_XY, day, 10, 12)]), pois, load_temporal(), InferenceConfig())
        for day in (0, 6)
    )
    worship = code("worship")
    assert sunday.probability[0, worship] > 1.5 * monday.probability[0, worship]


def test_the_citys_clock_counts_not_utc():
    """20 h of Monday to 7 h of Tuesday is a night in Los Angeles, and daytime in UTC."""
    (row,) = activities(table((5, 3, 20, 31))).to_pylist()
    assert (row["type"], row["basis"]) == ("home", "home")


def test_a_person_has_the_same_types_in_any_company():
    people = [week((WORK_XY, 8, 17)), week((CHURCH_XY, 9, 11), (6,)), week((WORK_XY, 9, 13))]
    pois = index((*HOME_XY, "home"), (*WORK_XY, "work"), (*CHURCH_XY, "worship"))
    args = (pois, load_temporal(), InferenceConfig())
    whole = infer(stays(*people), *args)
    alone = [infer(stays(person), *args) for person in people]
    assert np.array_equal(whole.probability, np.concatenate([a.probability for a in alone]))
    assert np.array_equal(whole.place, np.concatenate([a.place for a in alone]))


def test_no_stays_have_no_types():
    assert activities(table()).num_rows == 0


def test_rows_of_a_person_must_be_together():
    with pytest.raises(DataError, match="persons: a person's rows must be together"):
        activities(table(*[(0, 3, h, h + 1) for h in (8, 9, 10)], ids=[1, 2, 1]))


def test_rows_of_a_person_must_be_in_order():
    with pytest.raises(DataError, match="row 2: a person's rows must be together and in the order"):
        activities(table(*[(0, 3, h, h + 1) for h in (8, 10, 9)]))
