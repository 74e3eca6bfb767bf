"""Simulated taxi trips: on roads, by seed and id, denser in the peak."""

import numpy as np
import pytest
from gridroads import grid

from raygen.errors import DataError
from raygen.trajectories.driving import Drives, drive
from raygen.trajectories.plane import plane_roads
from raygen.trajectories.records import check, check_traces
from training.simulated_trips import TaxiCity, TaxiWorld

WORLD = TaxiWorld(distance_m=600.0, points=(5, 200))


@pytest.fixture(scope="module")
def city():
    return TaxiCity(plane_roads(grid(12)), WORLD, seed=3)


def test_trips_are_whole_and_near_their_roads(city):
    made = city.simulate(np.arange(120))
    check(made.truth, city.roads, "truth")
    check_traces(made.traces, "traces")
    assert len(made.trip_id) + made.lost <= 120
    assert len(made.trip_id) > 60
    assert (made.truth.length >= 5).all()
    assert (np.diff(made.traces.time)[np.diff(made.truth.steps()) > 0] == 15).mean() > 0.9
    gap = np.hypot(*(made.traces.xy - made.truth.points(city.roads)).T)
    assert np.sqrt((gap**2).mean() / 2) == pytest.approx(WORLD.noise_m, rel=0.1)
    assert (made.truth.steps() >= 0).all()


def test_a_trip_depends_on_its_id_alone(city):
    all_of_them, some = city.simulate(np.arange(40)), city.simulate(np.array([7, 11, 30]))
    rows = np.flatnonzero(np.isin(all_of_them.trip_id, some.trip_id))
    assert np.array_equal(all_of_them.traces.take(rows).xy, some.traces.xy)
    again = TaxiCity(city.roads, WORLD, seed=3).simulate(np.arange(40))
    assert np.array_equal(again.traces.xy, all_of_them.traces.xy)
    other = TaxiCity(city.roads, WORLD, seed=4).simulate(np.arange(40))
    assert not np.array_equal(other.traces.xy[:20], again.traces.xy[:20])


def test_the_same_route_has_more_points_in_the_peak(city):
    route = city.simulate(np.arange(20)).truth.take(np.array([0])).route
    night, peak = (city.drive_route(np.arange(60), route, 3600.0 * hour) for hour in (2, 8))
    assert np.array_equal(night.truth.route[: len(route)], route)
    assert peak.truth.length.mean() > 1.15 * night.truth.length.mean()


def test_wrong_asks_are_refused(city):
    with pytest.raises(DataError, match="route must have 2 to 4095 segments, got 1"):
        city.drive_route(np.arange(2), np.array([0], dtype=np.int32), 0.0)


def drives(**changes):
    """Three segments in a row at 10 m/s, nothing in the way."""
    figures = {
        "speed": np.full(3, 10.0),
        "corner": np.full(3, 60.0),
        "halt": np.full(3, 5.0),
        "wait": np.zeros(3),
        "begin": np.zeros(1),
        "end": np.ones(1),
        "faster": np.full(1, 2.0),
        "slower": np.full(1, 2.0),
    }
    return Drives(np.array([0, 3]), np.arange(3, dtype=np.int32), **(figures | changes))


LENGTH = np.full(3, 200.0)


def test_a_free_drive_takes_its_length_over_speed_and_the_time_to_start_and_stop():
    count, step, metres = drive(drives(), LENGTH, 1.0, 200)
    # 600 m at 10 m/s, and v / 2a more for each of start and stop.
    assert count[0] == pytest.approx(60 + 5, abs=4)
    at = 200.0 * step[0, : count[0]] + metres[0, : count[0]]
    assert (np.diff(at) >= 0).all()
    assert np.diff(at).max() <= 10.001
    assert np.abs(np.diff(at, 2)).max() <= 2.6


def test_a_red_light_holds_the_car_where_the_queue_stands():
    count, step, metres = drive(drives(wait=np.array([0.0, 30.0, 0.0])), LENGTH, 1.0, 200)
    free, _, _ = drive(drives(), LENGTH, 1.0, 200)
    assert count[0] == pytest.approx(free[0] + 30 + 5, abs=5)
    held = (step[0] == 1) & (np.abs(metres[0] - 195) < 0.5)
    assert 28 <= held[: count[0]].sum() <= 36


def test_corners_are_taken_slowly():
    count, step, metres = drive(drives(corner=np.array([3.0, 60.0, 60.0])), LENGTH, 1.0, 200)
    at = 200.0 * step[0, : count[0]] + metres[0, : count[0]]
    near = np.abs(at[:-1] - 200) < 3
    assert np.diff(at)[near].max() < 5.5


def test_too_long_a_drive_is_broken_off():
    count, _, _ = drive(drives(), LENGTH, 1.0, 20)
    assert count[0] == 21
