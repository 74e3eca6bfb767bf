import gzip

import numpy as np
import pytest

from raygen.errors import DataError
from raygen.stages.chains import UNKNOWN
from raygen.taxonomy import HOME, WORK
from training.geolife_days import counted_slots, read_beijing, typed_days

# Places 0 and 1 are 100 m apart, the others kilometres.
WHERE = np.array(
    [[39.9, 116.30], [39.9009, 116.30], [39.95, 116.40], [39.98, 116.35], [39.8, 116.5]]
)


def worker():
    """Home, away at 9 h, works till 18 h, somewhere till 20 h, home; half hours of the city."""
    day = np.zeros(48, np.int64)
    day[18:36], day[36:40] = 2, 3
    return day


def test_home_and_work_by_rules_and_the_rest_drawn():
    days = typed_days(worker()[None], WHERE)
    chain = days.chains[0]
    assert (chain[:30] == HOME).all()
    assert (chain[36:72] == WORK).all()
    assert (chain[80:] == HOME).all()
    other = np.unique(chain[72:80])
    assert len(other) == 1
    assert other[0] not in (UNKNOWN, HOME, WORK)
    assert days.people[0, 0] < 6  # a worker


def test_the_seam_is_unknown_and_does_not_count():
    chain = typed_days(worker()[None], WHERE).chains[0]
    assert (chain[30:34] == UNKNOWN).all()
    counted = counted_slots()
    assert counted.sum() == 91
    # A transition at a slot needs it and the one before: none that touches the seam counts.
    assert not counted[30:35].any()


def test_near_places_are_one_stay_and_a_passing_is_no_stay():
    day = worker()
    day[40:44] = 1
    day[17] = 4  # one half hour on the way
    chain = typed_days(day[None], WHERE).chains[0]
    assert (chain[80:] == HOME).all()
    assert (chain[34:36] == HOME).all()  # a way counts to what is left
    day[40], day[41] = 4, 3  # ways that go on
    assert (typed_days(day[None], WHERE).chains[0][80:84] == UNKNOWN).all()


def test_a_short_day_place_is_no_work_and_days_without_a_night_are_left_out():
    short = np.zeros(48, np.int64)
    short[20:26] = 2  # three hours
    nomad = np.arange(48) % 4 + 1
    days = typed_days(np.stack([short, nomad]), WHERE)
    assert days.left_out == 1
    assert len(days.chains) == 1
    kinds = set(np.unique(days.chains)) - {UNKNOWN, HOME}
    assert len(kinds) == 1


def test_types_do_not_depend_on_the_other_days():
    days = np.tile(worker(), (5, 1))
    days[1, 36:40] = 4
    whole, part = typed_days(days, WHERE), typed_days(days[:2], WHERE)
    np.testing.assert_array_equal(whole.chains[:2], part.chains)


def write(directory, train, val):
    np.savetxt(directory / "locations.txt", WHERE)
    for name, days in (("train", train), ("val", val)):
        with gzip.open(directory / f"days_{name}.txt.gz", "wt") as file:
            np.savetxt(file, days, fmt="%d")


def test_clocks_are_turned_and_splits_are_apart(tmp_path):
    day = worker()
    other = day.copy()
    other[36:40] = 4
    utc = np.roll(np.stack([day, other]), -16, axis=1)
    write(tmp_path, utc[:1], np.stack([utc[0], utc[1], utc[1]]))
    train = read_beijing(tmp_path, "train")
    assert (train.chains[0, 36:72] == WORK).all()
    # The day that is in both files is left out; the others go to the two halves.
    assert [len(read_beijing(tmp_path, split).chains) for split in ("validation", "test")] == [1, 1]


def test_a_location_that_is_not_there_is_refused(tmp_path):
    write(tmp_path, worker()[None] + 4, worker()[None])
    with pytest.raises(DataError, match="location ids must be below 5, got 4 to 7"):
        read_beijing(tmp_path, "train")
    (tmp_path / "locations.txt").unlink()
    with pytest.raises(DataError, match="cannot be read as latitudes"):
        read_beijing(tmp_path, "train")
