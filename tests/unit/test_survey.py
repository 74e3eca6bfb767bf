from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.errors import DataError
from raygen.survey import CHILD_ROW, expand, read_survey
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SLOTS

H, W, E = 1, 4, 5  # purposes: home, work, education


def write(directory: Path, trips: list[tuple[str, int, int, int, int]], **change) -> Path:
    """Trips of (person, order, start s, end s, purpose); persons in order of appearance."""
    names = list(dict.fromkeys(row[0] for row in trips))
    persons = {
        "PersonID": names,
        "Weight": [1.0] * len(names),
        "AgeGroup": [5] * len(names),
        "Gender": [1] * len(names),
        "ActivityCzechiaHTS": [1] * len(names),
    } | change
    columns = ["PersonID", "TripOrderNum", "OriginStart", "DestEnd", "DestPurpose"]
    pq.write_table(pa.table(persons), directory / "persons.parquet")
    rows = list(zip(*trips, strict=True))
    pq.write_table(
        pa.table(dict(zip(columns, map(list, rows), strict=True))), directory / "trips.parquet"
    )
    return directory


def shares() -> np.ndarray:
    return np.ones((13, len(ACTIVITY_TYPES)))


def durations() -> np.ndarray:
    return np.tile([np.log(60.0), 1.0], (len(ACTIVITY_TYPES), 1))


def hours(clock: float) -> int:
    return int(clock * 3600)


def test_a_slot_belongs_to_the_next_activity_from_arrival_on(tmp_path):
    # Leaves at 8:00, arrives at 8:20 (rounds to 8:15), leaves at 16:00, home at 16:10 (16:15).
    day = [("a", 1, hours(8), 8 * 3600 + 1200, W), ("a", 2, hours(16), 16 * 3600 + 600, H)]
    chain = expand(read_survey(write(tmp_path, day)), shares(), durations(), 0, "x")[0]
    assert chain.tolist() == [0] * 33 + [1] * (65 - 33) + [0] * (SLOTS - 65)


def test_stops_that_round_to_one_slot_are_moved_on_and_counted(tmp_path):
    day = [
        ("a", 1, hours(8), hours(8.25), 2),
        ("a", 2, hours(8.3), hours(8.31), W),
        ("a", 3, hours(16), hours(16.25), H),
    ]
    survey = read_survey(write(tmp_path, day))
    assert survey.arrival.tolist() == [33, 34, 65]
    assert survey.counts["arrivals_shifted"] == 1


def test_an_arrival_after_midnight_is_the_last_slot(tmp_path):
    day = [("a", 1, hours(20), hours(20.5), 2), ("a", 2, hours(23.8), hours(0.2), H)]
    assert read_survey(write(tmp_path, day)).arrival.tolist() == [82, 95]


def test_work_needs_employment_and_education_a_student(tmp_path):
    trips = [
        ("worker", 1, hours(7), hours(7.5), E),
        ("worker", 2, hours(7.6), hours(8), W),
        ("worker", 3, hours(16), hours(16.5), H),
        ("pupil", 1, hours(7.5), hours(8), E),
        ("pupil", 2, hours(14), hours(14.5), H),
    ]
    survey = read_survey(
        write(tmp_path, trips, AgeGroup=[5, 1], ActivityCzechiaHTS=[1, 3], Gender=[2, 1])
    )
    assert survey.student.tolist() == [0, 1]
    assert survey.row.tolist() == [3, CHILD_ROW]
    assert survey.group.tolist() == [3, 6]
    # A worker's six minutes at a school are no school day but a child brought there.
    assert survey.purpose.tolist() == [6, 4, 1, 5, 1]
    assert survey.counts["education_by_non_students"] == 1


def test_types_follow_purpose_group_and_duration(tmp_path):
    trips = [
        row
        for i in range(400)
        for row in [
            (f"p{i}", 1, hours(10), hours(10.25), 3),
            (f"p{i}", 2, hours(11), hours(11.5), H),
        ]
    ]
    survey = read_survey(write(tmp_path, trips))
    share = shares()
    goods, meals = ACTIVITY_TYPES.index("shop_goods"), ACTIVITY_TYPES.index("meals_out")
    share[:, goods], share[:, meals] = 0.3, 0.1
    chains = expand(survey, share, durations(), 0, "x")
    kinds = chains[:, 42]
    assert set(kinds.tolist()) == {goods, meals}
    # At 10 h goods count twice (hour factor 2): 0.6 : 0.1, so 343 of 400, sd 7.
    assert abs((kinds == goods).sum() - 400 * 6 / 7) < 4 * 7
    again = expand(survey, share, durations(), 0, "x")
    assert np.array_equal(chains, again)
    assert not np.array_equal(chains, expand(survey, share, durations(), 1, "x"))


@pytest.mark.parametrize(
    ("trips", "rule"),
    [
        ([("a", 1, 30_000, 31_000, W)], "do not end at home"),
    ],
)
def test_bad_days_are_refused(tmp_path, trips, rule):
    with pytest.raises(DataError, match=rule):
        read_survey(write(tmp_path, trips))


def test_trip_of_an_unknown_person_is_named(tmp_path):
    write(tmp_path, [("a", 1, 30_000, 31_000, H)], PersonID=["b"])
    with pytest.raises(DataError, match="unknown persons, first 'a'"):
        read_survey(tmp_path)


def test_missing_files_and_columns_are_named(tmp_path):
    with pytest.raises(DataError, match=r"persons\.parquet: cannot be read"):
        read_survey(tmp_path)
    pq.write_table(pa.table({"PersonID": ["a"]}), tmp_path / "persons.parquet")
    with pytest.raises(DataError, match=r"columns are missing: .*'Weight'"):
        read_survey(tmp_path)


def test_real_survey_has_whole_days_and_fixed_splits():
    directory = Path(__file__).parents[2].parent / "shared/data/czechia_hts"
    if not directory.is_dir():
        pytest.skip("the travel survey is not there")
    survey = read_survey(directory)
    assert len(survey.row) == 9873
    chains = expand(survey, shares(), durations(), 0, "x")
    assert (chains[:, 0] == HOME).all()
    assert (chains[:, -1] == HOME).all()
    assert (chains != HOME).any(1).all()
    sizes = [len(survey.take(name)) for name in ("train", "validation", "test")]
    assert sum(sizes) == 9873
    assert abs(sizes[2] / 9873 - 0.15) < 0.02
    rest = np.setdiff1d(survey.take("train"), survey.take("test"))
    assert len(rest) == sizes[0]
