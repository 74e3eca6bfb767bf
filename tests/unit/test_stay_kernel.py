"""The stay-point kernel on traces small enough to see the answer."""

import math

import numpy as np
import pytest
from trails import Trail, point

from raygen.config import parse
from raygen.errors import ConfigError
from raygen.stay_points.kernel import Track, detect, limits
from raygen.stay_points.reference import Fix, haversine_m, stays_of
from raygen.stay_points.settings import StayConfig

PAPER = StayConfig(excursion_s=0, walking_kph=0, hold_gap_s=0)


def find(trails, config=None):
    """Return the kernel's stays as (person, start s, end s, fixes), and the counts."""
    config = config or StayConfig()
    fixes = [fix for trail in trails for fix in trail.fixes]
    start = np.cumsum([0, *(len(trail.fixes) for trail in trails)])
    track = Track(
        np.array([fix.time_ms for fix in fixes], np.int64),
        np.array([fix.lat for fix in fixes], np.float64),
        np.array([fix.lon for fix in fixes], np.float64),
    )
    found, counts = detect(track, start, limits(config))
    return found, counts


def spans(found, since):
    seconds = [(found.start_ms - 1000 * since) / 1000, (found.end_ms - 1000 * since) / 1000]
    return list(zip(*(s.tolist() for s in seconds), strict=True))


def test_two_stays_with_a_drive_between():
    trail = Trail()
    begin = trail.clock_s
    trail.stay(600).go(4000, 0, kph=60).stay(900)
    found, _ = find([trail])
    first, second = spans(found, begin)
    assert first[0] == 0
    assert 600 <= first[1] <= 630
    assert second[1] - second[0] == pytest.approx(900, abs=30)
    assert (found.lat[1], found.lon[1]) == pytest.approx(point(4000, 0), abs=1e-3)


@pytest.mark.parametrize(("seconds", "stays"), [(299, 0), (300, 1)])
def test_the_shortest_stay_is_inclusive(seconds, stays):
    trail = Trail(every_s=1.0).stay(seconds)
    assert len(find([trail])[0].person) == stays


@pytest.mark.parametrize(("metres", "fixes"), [(299.0, 12), (301.0, 11)])
def test_the_radius_is_from_the_centroid(metres, fixes):
    trail = Trail(every_s=60.0).stay(600)
    trail.see(metres, 0.0)
    found, _ = find([trail], PAPER)
    assert found.fixes.tolist() == [fixes]


def test_the_centroid_moves():
    """A fix 400 m from the first one joins where those between have drawn the centroid."""
    trail = Trail(every_s=60.0)
    for east in (0.0, 200.0, 280.0, 330.0, 360.0, 400.0):
        trail.see(east, 0.0)
        trail.clock_s += 60.0
    found, _ = find([trail], PAPER)
    assert found.fixes.tolist() == [6]
    assert found.lon[0] == pytest.approx(point(np.mean([0, 200, 280, 330, 360, 400]), 0)[1])


def test_a_silence_in_the_same_place_is_part_of_the_stay():
    trail = Trail()
    begin = trail.clock_s
    trail.see(0.0, 0.0)
    trail.silent(7 * 3600).see(50.0, 0.0)
    assert spans(find([trail], PAPER)[0], begin) == [(0.0, 7 * 3600.0)]


@pytest.mark.parametrize(("seconds", "stays"), [(43_200, 1), (43_201, 0)])
def test_the_longest_silence_is_inclusive(seconds, stays):
    trail = Trail()
    trail.see(0.0, 0.0)
    trail.silent(seconds).see(0.0, 0.0)
    assert len(find([trail])[0].person) == stays


def test_a_longer_silence_than_the_longest_parts_two_stays():
    trail = Trail().stay(600).silent(13 * 3600).stay(600)
    assert len(find([trail])[0].person) == 2


def test_a_silence_before_a_fix_elsewhere_is_held_but_for_the_way():
    trail = Trail()
    begin = trail.clock_s
    trail.see(0.0, 0.0)
    trail.silent(1800).see(3000.0, 0.0)
    (span,) = spans(find([trail])[0], begin)
    assert span == pytest.approx((0.0, 1800 - 3000 / (30 / 3.6)), abs=1)
    assert len(find([trail], PAPER)[0].person) == 0


def test_a_silence_left_at_more_than_30_kph_is_passing():
    trail = Trail()
    for east in (0.0, 12_000.0, 24_000.0):
        trail.see(east, 0.0)
        trail.silent(600)
    found, counts = find([trail])
    assert len(found.person) == 0
    assert counts["passing"] == 2


def test_a_silence_longer_than_held_ends_with_the_last_fix():
    trail = Trail()
    trail.see(0.0, 0.0)
    trail.silent(3700).see(3000.0, 0.0)
    assert len(find([trail])[0].person) == 0


def test_an_outlier_does_not_part_a_stay():
    trail = Trail(every_s=60.0).stay(240)
    trail.see(900.0, 0.0)
    trail.silent(60).stay(240)
    found, _ = find([trail])
    assert found.fixes.tolist() == [10]
    assert found.lon[0] == pytest.approx(point(0, 0)[1])
    assert len(find([trail], PAPER)[0].person) == 0


def test_an_absence_of_more_than_the_excursion_parts_two_stays():
    trail = Trail(every_s=60.0).stay(600)
    for _ in range(6):
        trail.see(900.0, 0.0)
        trail.silent(60)
    trail.stay(600)
    assert find([trail])[0].fixes.tolist()[0] == 11


def test_a_walker_is_not_staying():
    trail = Trail(every_s=10.0).go(4000, 0, kph=5.0)
    found, counts = find([trail])
    assert len(found.person) == 0
    assert counts["walked_through"] > 3
    assert len(find([trail], PAPER)[0].person) > 3


def test_a_stay_reached_on_foot_is_kept():
    trail = Trail(every_s=10.0).go(2000, 0, kph=5.0).stay(420).go(4000, 0, kph=5.0)
    found, _ = find([trail])
    assert len(found.person) == 1
    assert (found.lat[0], found.lon[0]) == pytest.approx(point(2000, 0), abs=2e-3)


def test_the_way_on_foot_to_a_place_is_not_part_of_the_stay():
    trail = Trail(every_s=10.0)
    begin = trail.clock_s
    trail.go(1000, 0, kph=4.5).stay(1800).go(2000, 0, kph=4.5)
    arrival, leaving = 1000 / (4.5 / 3.6), 1000 / (4.5 / 3.6) + 1800
    ((start, end),) = spans(find([trail])[0], begin)
    assert start == pytest.approx(arrival - 150 / (4.5 / 3.6), abs=20)
    assert end == pytest.approx(leaving + 150 / (4.5 / 3.6), abs=50)
    ((start, end),) = spans(find([trail], PAPER)[0], begin)[1:2]
    assert end - start > 2200


def test_a_stay_in_a_wide_place_is_not_cut_below_the_shortest():
    """Between the two edges of a place; the fixes of its inner half are four minutes apart."""
    trail = Trail(every_s=60.0)
    begin = trail.clock_s
    for east in (-200, -200, 0, 0, 0, 0, 0, 200, 200, 200):
        trail.see(float(east), 0.0)
        trail.clock_s += 60.0
    assert spans(find([trail], StayConfig(walking_kph=4.6))[0], begin) == [(0.0, 540.0)]


def test_the_way_to_the_next_fix_tells_when_a_short_stay_ended():
    """Two fixes four minutes apart; the next one is two minutes away by car after four."""
    trail = Trail(every_s=240.0)
    begin = trail.clock_s
    trail.see(0.0, 0.0)
    trail.silent(240).see(0.0, 0.0)
    trail.silent(240).see(1000.0, 0.0)
    ((start, end),) = spans(find([trail])[0], begin)
    assert (start, end) == (0.0, pytest.approx(360.0, abs=0.01))
    assert len(find([trail], PAPER)[0].person) == 0


def test_persons_do_not_meet():
    """The last place of one is the first of the next, at the next minute."""
    one, other = Trail().stay(400), Trail(clock_s=Trail().clock_s + 430).stay(400)
    found, _ = find([one, Trail(), other])
    assert found.person.tolist() == [0, 2]


def test_a_stay_across_the_date_line():
    fixes = [Fix(60_000 * k, -17.0, 179.9999 if k % 2 else -179.9999) for k in range(12)]
    track = Track(
        np.array([f.time_ms for f in fixes]),
        np.array([f.lat for f in fixes]),
        np.array([f.lon for f in fixes]),
    )
    found, _ = detect(track, np.array([0, 12]), limits(StayConfig()))
    assert abs(abs(found.lon[0]) - 180) < 1e-4
    assert [stay.lon for stay in stays_of(fixes, StayConfig())] == found.lon.tolist()


def test_nobody():
    empty = np.empty(0)
    found, counts = detect(
        Track(np.empty(0, np.int64), empty, empty), np.zeros(1, np.int64), limits(StayConfig())
    )
    assert len(found.person) == 0
    assert sum(counts.values()) == 0


def test_haversine_of_a_quarter_meridian():
    assert haversine_m((0, 0), (90, 0)) == pytest.approx(6_371_008.8 * math.pi / 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius_m": 0}, "radius_m must be greater than 0"),
        ({"excursion_s": 301}, "excursion_s must be at most min_stay_s, 300"),
        ({"max_gap_s": 200}, "max_gap_s must be at least min_stay_s, 300"),
        ({"bounds": (1, 2, 0, 3)}, "west < east"),
        ({"radius": 5}, "unknown key 'radius'; did you mean 'radius_m'"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        parse(settings, StayConfig, "stays.toml")
