"""Stays of a table of fixes: region, cells, order, buckets."""

import h3
import numpy as np
import pyarrow as pa
import pytest
from trails import Trail, day, point, table

from raygen.stay_points.buckets import bucket_of, grouped
from raygen.stay_points.extract import find_stays
from raygen.stay_points.settings import StayConfig

WORLD = (-180.0, -90.0, 180.0, 90.0)
PEOPLE = {7: day(1), 3: day(2), 12: day(3)}


def test_columns_and_order():
    found = find_stays(table(PEOPLE), StayConfig(), WORLD)
    assert found.stays.column_names == ["person_id", "start", "end", "lon", "lat", "h3", "fixes"]
    persons = found.stays.column("person_id").to_pylist()
    assert persons == sorted(persons)
    assert set(persons) == {3, 7, 12}
    assert found.counts["persons"] == 3
    assert found.counts["stays"] == len(persons) == 21
    assert found.counts["fixes"] == sum(len(trail.fixes) for trail in PEOPLE.values())


def test_the_order_of_fixes_does_not_matter():
    fixes = table(PEOPLE)
    shuffled = fixes.take(np.random.default_rng(0).permutation(fixes.num_rows))
    whole = find_stays(fixes, StayConfig(), WORLD).stays
    assert find_stays(shuffled, StayConfig(), WORLD).stays.equals(whole)


def test_the_h3_cell_is_of_resolution_10():
    stays = find_stays(table({1: Trail().stay(600)}), StayConfig(), WORLD).stays
    cell = h3.int_to_str(stays.column("h3")[0].as_py())
    assert cell == h3.latlng_to_cell(*point(0, 0), 10)


def test_stays_out_of_bounds_are_left_out():
    trail = Trail().stay(600).go(5000, 0, 50).stay(900)
    lon = point(2500, 0)[1]
    found = find_stays(table({1: trail}), StayConfig(), (-180.0, -90.0, lon, 90.0))
    assert found.stays.column("lon").to_pylist() == [pytest.approx(point(0, 0)[1], abs=1e-3)]
    assert found.counts["out_of_bounds"] == 1


def test_text_ids_are_in_the_order_of_their_bytes():
    stays = find_stays(table({"b": day(1), "Ä": day(2), "a10": day(3)}), StayConfig(), WORLD).stays
    assert stays.column("person_id").unique().to_pylist() == ["a10", "b", "Ä"]


def test_of_fixes_at_one_time_the_order_given_counts():
    codes, time_ms = np.array([1, 0, 1, 1, 0]), np.array([5, 9, 3, 5, 9])
    order, start = grouped(codes, time_ms, 2)
    assert order.tolist() == [1, 4, 2, 0, 3]
    assert start.tolist() == [0, 2, 5]


@pytest.mark.parametrize("make", [int, str, lambda n: f"person {n}"])
def test_buckets_are_even_and_of_the_id_alone(make):
    ids = [make(n) for n in range(4000)]
    bucket = bucket_of(pa.chunked_array([ids]), 8)
    assert np.bincount(bucket, minlength=8).min() > 400
    again = bucket_of(pa.chunked_array([ids[2000:], ids[:100]]), 8)
    assert again.tolist() == [*bucket[2000:], *bucket[:100]]


def test_nobody_stays():
    found = find_stays(table({1: Trail().stay(60)}).slice(0, 0), StayConfig(), WORLD)
    assert found.stays.num_rows == 0
    assert found.counts["fixes"] == 0
