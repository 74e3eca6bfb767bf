"""Daily patterns: which slots a stay tells, and which days are kept."""

import datetime as dt
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from raygen.stay_points.days import person_days
from raygen.stay_points.extract import stay_schema
from raygen.stay_points.settings import StayConfig

ZONE = "America/Los_Angeles"
ALL = StayConfig(min_coverage=0.0, min_activities=1)


def stays(*spans, person=1, month=6, day=3):
    """Return stays from (start, end), hours of the city's clock from midnight of the day."""
    midnight = dt.datetime(2024, month, day, tzinfo=ZoneInfo(ZONE))
    start, end = ([midnight + dt.timedelta(hours=span[k]) for span in spans] for k in (0, 1))
    count = len(spans)
    columns = [[person] * count, start, end, [0.0] * count, [0.0] * count, [0] * count, [2] * count]
    schema = stay_schema(pa.int64())
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )


def patterns(table, config=ALL):
    return person_days(table, config, ZONE)[0].to_pylist()


def test_slots_of_a_day():
    (day,) = patterns(stays((0, 7.5), (8, 17), (18, 24)))
    assert day["date"] == dt.date(2024, 6, 3)
    assert day["stays"] == 3
    assert day["slots"] == [0] * 30 + [-1] * 2 + [1] * 36 + [-1] * 4 + [2] * 24
    assert day["coverage"] == pytest.approx(90 / 96)


def test_a_slot_goes_to_the_stay_that_covers_most_of_it():
    (day,) = patterns(stays((0, 1 + 6 / 60), (1 + 7 / 60, 2)))
    assert day["slots"][3:6] == [0, 1, 1]
    (day,) = patterns(stays((0, 1 + 8 / 60), (1 + 9 / 60, 2)))
    assert day["slots"][3:6] == [0, 0, 1]


def test_a_slot_needs_five_minutes():
    (day,) = patterns(stays((0, 1 + 4.9 / 60)))
    assert day["slots"][3:5] == [0, -1]
    (day,) = patterns(stays((0, 1 + 5 / 60)))
    assert day["slots"][3:5] == [0, 0]


def test_a_stay_over_midnight_is_in_both_days():
    one, other = patterns(stays((8, 12), (20, 31), (32, 40)))
    assert [one["date"].day, other["date"].day] == [3, 4]
    assert one["slots"][80:] == [1] * 16
    assert other["slots"][:28] == [0] * 28
    assert other["slots"][32:64] == [1] * 32
    assert (one["stays"], other["stays"]) == (2, 2)


def test_a_stay_that_ends_at_midnight_is_not_in_the_next_day():
    assert len(patterns(stays((20, 24)))) == 1


def test_persons_are_apart():
    both = pa.concat_tables([stays((0, 10)), stays((9, 20), person=2)])
    one, other = patterns(both)
    assert (one["person_id"], other["person_id"]) == (1, 2)
    assert other["slots"][36] == 0
    assert other["slots"][0] == -1


@pytest.mark.parametrize(
    ("spans", "kept"),
    [
        (((0, 4), (10, 14)), 1),  # 32 slots of 96
        (((0, 4), (10, 13.75)), 0),  # 31 slots: under 0.33
        (((0, 20),), 0),  # one activity
    ],
)
def test_the_quality_filter(spans, kept):
    days, counts = person_days(stays(*spans), StayConfig(), ZONE)
    assert days.num_rows == counts["kept_days"] == kept
    assert counts["person_days"] == 1


def test_when_the_clock_is_set_forward_the_hour_that_is_not_there_counts():
    (day,) = patterns(stays((0, 6), month=3, day=10))
    assert day["slots"] == [0] * 24 + [-1] * 72


def test_a_stay_within_the_hour_that_comes_twice_tells_nothing():
    half = dt.timedelta(minutes=30)
    table = stays((0, 1), month=11, day=3)
    first = dt.datetime(2024, 11, 3, 8, 45, tzinfo=dt.UTC)  # 1:45, before 1:15 comes again
    table = table.set_column(
        1, table.schema.field("start"), pa.array([first], table.schema.field("start").type)
    )
    table = table.set_column(
        2, table.schema.field("end"), pa.array([first + half], table.schema.field("end").type)
    )
    (day,) = patterns(table)
    assert set(day["slots"]) == {-1}


def test_no_stays_make_no_days():
    days, counts = person_days(stays(), StayConfig(), ZONE)
    assert days.num_rows == 0
    assert counts == {"person_days": 0, "kept_days": 0}
