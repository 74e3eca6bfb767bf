from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES, DEMOGRAPHIC_GROUPS
from raygen.timeuse import CODES, read_time_use

T = ACTIVITY_TYPES.index
SLEEP, WORK, EAT, TV, TRAVEL_WORK, TRAVEL_EAT = 10101, 50101, 110101, 120303, 180501, 181101


def write(directory: Path, days: dict[tuple[int, bool], dict[int, int]]) -> Path:
    """Respondents by (group, weekend) with minutes by code; every other cell stays at home."""
    respondents, cps, minutes = [], [], []
    case = 0
    for weekend in (False, True):
        for group in range(len(DEMOGRAPHIC_GROUPS)):
            case += 1
            respondents.append(
                {
                    "tucaseid": float(case), "tuyear": 2014, "diary_mo": 3,
                    "diary_day": 8 if weekend else 5, "holiday": "no",  # Saturday, Wednesday
                    "labor_status": "employed-at work" if group < 6 else "not_in_labor_force",
                    "student_status": "yes" if group in {2, 6} else None,
                    "wt": 2.0,
                }
            )  # fmt: skip
            age = (16, 40, 70)[group % 6 // 2]
            cps.append(
                {
                    "tucaseid": float(case),
                    "state": "CA",
                    "sex": ["male", "female"][group % 2],
                    "age": age,
                }
            )
            spent = days.get((group, weekend), {SLEEP: 1440})
            minutes += [
                {"tucaseid": float(case), "tiercode": c, "dur": d} for c, d in spent.items()
            ]
    for name, rows in (("respondents", respondents), ("cps", cps), ("minutes", minutes)):
        pq.write_table(pa.Table.from_pylist(rows), directory / f"{name}.parquet")
    return directory


def test_work_counts_only_with_a_trip_to_work(tmp_path):
    days = {
        (2, False): {SLEEP: 900, WORK: 480, TRAVEL_WORK: 60},
        (3, False): {SLEEP: 960, WORK: 480},
    }
    found = read_time_use(write(tmp_path, days))
    # Half of the 60 minutes of travel is the way back, which belongs to work.
    assert found.minutes[0, 2, T("work")] == pytest.approx(510)
    assert found.minutes[0, 2, T("home")] == pytest.approx(930)
    assert found.minutes[0, 3, T("work")] == 0
    assert found.minutes_anywhere[0, 3, T("work")] == pytest.approx(480)
    assert found.stay_home[0].tolist() == [1, 1, 0] + [1] * 9
    assert found.participation[0, 2, T("work")] == 1


def test_television_stays_at_home_and_rows_fill_the_day(tmp_path):
    days = {(4, True): {SLEEP: 1000, TV: 300, EAT: 90, TRAVEL_EAT: 50}}
    found = read_time_use(write(tmp_path, days))
    # A group whose others never eat keeps nothing at home: 90 + half of the travel.
    assert found.minutes[1, 4, T("meals_out")] == pytest.approx(90 + 25)
    assert found.minutes[1, 4, T("leisure")] == 0
    assert found.minutes.sum(2) == pytest.approx(np.full((2, 12), 1440))


def test_lunch_is_at_work_on_a_long_day(tmp_path):
    days = {(2, False): {SLEEP: 900, WORK: 400, EAT: 60, TRAVEL_WORK: 80}}
    assert read_time_use(write(tmp_path, days)).minutes[0, 2, T("work")] == pytest.approx(470)


def test_unknown_code_state_and_file_are_named(tmp_path):
    write(tmp_path, {(0, False): {990101: 1440}})
    with pytest.raises(DataError, match="code 990101 has no type"):
        read_time_use(tmp_path)
    with pytest.raises(DataError, match="no respondent in 'XX'"):
        read_time_use(tmp_path, "XX")
    (tmp_path / "minutes.parquet").unlink()
    with pytest.raises(DataError, match=r"minutes\.parquet: cannot be read"):
        read_time_use(tmp_path)


def test_every_rule_names_a_type_and_the_longest_prefix_is_unique():
    assert {word for _, word, _ in CODES} == set(ACTIVITY_TYPES)
    assert len({prefix for prefix, _, _ in CODES}) == len(CODES)


def test_california_has_every_group_and_plausible_days():
    directory = Path(__file__).parents[2].parent / "shared/data/atus"
    if not directory.is_dir():
        pytest.skip("the time-use survey is not there")
    found = read_time_use(directory)
    assert found.respondents.sum() == 18_023
    assert found.minutes.sum(2) == pytest.approx(np.full((2, 12), 1440))
    workers, others = found.minutes[0, :6, T("work")], found.minutes[0, 6:, T("work")]
    assert workers.min() > 200
    assert others.max() < 20
    assert (found.minutes[1, :6, T("work")] < workers).all()
    assert 0.03 < found.stay_home.min() < found.stay_home.max() < 0.45


def test_students_are_those_under_18_and_those_enrolled(tmp_path):
    found = read_time_use(write(tmp_path, {})).students
    assert found[0].tolist() == [0, 1, 0]  # 16 years old
    assert found[2].tolist() == [0, 0, 1]
    assert found[4].tolist() == [1, 0, 0]
