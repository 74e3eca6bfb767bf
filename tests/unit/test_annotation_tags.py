import numpy as np
import pytest

from raygen.annotation.categories import categories, category_given_type
from raygen.annotation.metrics import (
    hit_rate,
    macro_recall,
    rank_accuracy,
    ranking,
    weighted_f1,
)
from raygen.annotation.tags import annotate_tags, parse_table, parse_tags, tag_table
from raygen.city_files.poi_types import POI_TYPES, type_given_category
from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES, POI_CATEGORIES

MEALS, SOCIAL, SHOP = (ACTIVITY_TYPES.index(t) for t in ("meals_out", "social", "shop_goods"))


def test_every_row_has_three_types_and_sums_to_one():
    table = tag_table()
    assert ((table.distribution > 0).sum(axis=1) == 3).all()
    np.testing.assert_allclose(table.distribution.sum(axis=1), 1)
    assert set(table.category.tolist()) == set(range(14))
    assert set(table.distribution.argmax(axis=1).tolist()) == set(range(15))


@pytest.mark.parametrize("row", POI_TYPES, ids=lambda row: row.tag)
def test_the_table_agrees_with_that_of_the_city_files(row):
    table = tag_table()
    at = table.row[tuple(row.tag.split("="))]
    assert table.category[at] == row.category
    np.testing.assert_allclose(table.distribution[at, list(row.types)], row.probabilities)


def test_keys_of_a_poi_are_taken_in_the_order_of_the_table():
    table = tag_table()
    both = {"tourism": "museum", "amenity": "cafe", "building": "yes"}
    assert table.find(both) == (table.row["amenity", "cafe"], True)
    # An exact value of a later key beats the mere key of an earlier one.
    vague = {"amenity": "no_such", "shop": "clothes"}
    assert table.find(vague) == (table.row["shop", "clothes"], True)
    assert table.find({"amenity": "no_such"}) == (table.row["amenity", "*"], False)
    assert table.find({"amenity": "*"}) == (table.row["amenity", "*"], False)
    assert table.find({"surface": "gravel"}) == (-1, False)


def test_a_value_of_several_goes_by_the_first_that_is_known():
    table = tag_table()
    assert table.find({"amenity": "no_such; pub"}) == (table.row["amenity", "pub"], True)
    assert parse_tags("amenity=bar;restaurant;name=A") == {"amenity": "bar;restaurant", "name": "A"}


def test_tags_are_read_in_three_ways():
    assert parse_tags('"amenity"=>"fast_food","name"=>"Joe \\"s"')["amenity"] == "fast_food"
    assert parse_tags(" amenity = cafe ; cuisine=coffee ") == {
        "amenity": "cafe",
        "cuisine": "coffee",
    }
    assert tag_table().tag_of("viewpoint") == {"tourism": "viewpoint"}
    assert tag_table().tag_of("car_wash;fuel") == {"amenity": "car_wash"}
    assert tag_table().tag_of("thing") == {"type": "thing"}
    assert tag_table().tag_of("") == {}
    with pytest.raises(DataError, match="must be key=value joined by ';', got 'cafe'"):
        parse_tags("cafe")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "amenity=a dining meals_out .5 work .4",
            r"line 1: needs key=value and.*sum to 1, got 0.9",
        ),
        ("amenity=a dining meals_out", "line 1: needs tag, category and pairs"),
        ("amenity=a food meals_out 1", "line 1: needs tag, category and pairs"),
        ("amenity=a dining eating 1", "line 1: needs tag, category and pairs"),
        ("amenity dining meals_out 1", "line 1: needs key=value"),
        ("a=b dining meals_out 1\na=b dining work 1", "line 2: tag a=b is in the table twice"),
    ],
)
def test_a_malformed_table_is_refused(line, message):
    with pytest.raises(DataError, match=message):
        parse_table(line, "")


def test_pois_without_known_tags_are_uniform_and_without_category():
    found = annotate_tags([{"amenity": "cafe"}, {}, {"shop": "no_such"}])
    assert found.distribution.argmax(axis=1)[[0, 2]].tolist() == [MEALS, SHOP]
    np.testing.assert_allclose(found.distribution[1], 1 / 15)
    assert found.category.tolist() == [13, -1, 11]
    assert found.exact.tolist() == [True, False, False]
    assert annotate_tags([]).distribution.shape == (0, 15)


def test_categories_follow_from_types_by_bayes():
    table = category_given_type()
    np.testing.assert_allclose(table.sum(axis=1), 1)
    likelihood = type_given_category()
    dining = POI_CATEGORIES.index("dining")
    assert table[MEALS, dining] == pytest.approx(
        likelihood[dining, MEALS] / likelihood[:, MEALS].sum()
    )
    assert POI_CATEGORIES[categories(np.eye(15))[MEALS].argmax()] == "dining"
    only = np.eye(14)[dining] + 1e-9
    assert POI_CATEGORIES[categories(np.eye(15), only)[SOCIAL].argmax()] == "dining"


RANKED = np.array([[3, 1, 2], [0, 3, 1], [2, 0, 1], [1, 2, 0]])
TRUTH = np.array([3, 3, 1, 0])
RIGHT = np.arange(4)[None] == TRUTH[:, None]


def test_accuracy_at_k_is_of_the_kth_answer_as_in_table_2():
    assert [rank_accuracy(RANKED, RIGHT, k) for k in (1, 2, 3)] == [0.25, 0.25, 0.5]
    assert [hit_rate(RANKED, RIGHT, k) for k in (1, 2, 3)] == [0.25, 0.5, 1.0]
    more = RIGHT.copy()
    more[0, 1] = True  # a second right type, which makes the accuracies sum to more than 1
    assert sum(rank_accuracy(RANKED, more, k) for k in (1, 2, 3)) == 1.25


def test_weighted_f1_by_hand():
    predicted, truth = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    # type 0: precision 1/2, recall 1; type 1: precision 1, recall 1/3; type 2 has no truth
    assert weighted_f1(predicted, truth, 3) == pytest.approx((1 * 2 / 3 + 3 * 1 / 2) / 4)
    assert macro_recall(predicted, truth, 3) == pytest.approx((1 + 1 / 3) / 2)


def test_equal_probabilities_rank_by_index():
    assert ranking(np.full((1, 15), 1 / 15)).tolist() == [[0, 1, 2]]
