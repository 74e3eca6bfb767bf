"""Modes: who may use what, the shares of commuters, and times."""

import numpy as np
import placing
import pytest

from assignment.draws import person_keys
from assignment.mode import (
    BIKE,
    CAR_DRIVER,
    CAR_PASSENGER,
    TRANSIT,
    WALK,
    Cars,
    Legs,
    Travellers,
    choose_modes,
    commuter_constants,
    commuter_shares,
    draw_mode,
    in_reach,
    mode_s,
)
from assignment.reference import load_reference
from assignment.times import Plan
from raygen.taxonomy import HOME, WORK

REFERENCE = load_reference()
N = 3000


def day(km: list[float], hours: list[float], types: list[int]):
    """Return the plan and legs of N persons with one same day."""
    size = len(km)
    tile = lambda values: np.tile(np.array(values), N)  # noqa: E731
    plan = Plan(
        np.arange(N + 1) * size,
        np.zeros(N * size, int),
        tile(range(size)),
        tile(types),
        tile([int(h * 3600) for h in hours]),
    )
    return plan, Legs(tile(km).astype(float), tile([k * 90.0 for k in km]))


def draw(km: list[float], hours=(0.0, 9.0, 17.0), types=(HOME, WORK, HOME), **who) -> np.ndarray:
    plan, legs = day(km, list(hours), list(types))
    flags = {"young": False, "old": False, "no_car": False, "driver": True, **who}
    travellers = Travellers(**{name: np.full(N, flag) for name, flag in flags.items()})
    keys = person_keys(0, "test", np.arange(N))
    homes, alone = placing.apart(N), np.full(len(plan.type), -1)
    rows = REFERENCE.mode_coefficients
    mode, seconds, car = choose_modes(plan, legs, travellers, homes, alone, rows, keys, 300)
    assert ((car >= 0) <= (mode == CAR_DRIVER)).all()
    assert (seconds[plan.sequence > 0] >= 1).all()
    assert (seconds[plan.sequence == 0] == 0).all()
    return mode.reshape(N, -1)


def test_without_licence_or_vehicle_nobody_drives() -> None:
    assert (draw([0, 10, 10], driver=False) != CAR_DRIVER).all()
    assert (draw([0, 10, 10]) == CAR_DRIVER).mean() > 0.3


def test_walk_and_bike_have_limits() -> None:
    assert set(np.unique(draw([0, 1, 1]))) >= {WALK, BIKE}
    assert WALK not in draw([0, 5.1, 1])  # the longest trip of the tour counts
    assert BIKE not in draw([0, 15.1, 1])
    assert in_reach(WALK, 5.0, False)
    assert in_reach(BIKE, 15.0, False)


def test_a_tour_keeps_its_mode() -> None:
    mode = draw([0, 4, 1, 4, 2, 2], (0, 8, 12, 17, 19, 20), (HOME, WORK, 6, HOME, 8, HOME))
    assert (mode[:, 0] == -1).all()
    assert (mode[:, 1:4] == mode[:, 1:2]).all()
    assert (mode[:, 4] == mode[:, 5]).all()
    assert (mode[:, 1] != mode[:, 4]).any()


def test_a_mode_too_slow_for_the_window_is_left_out() -> None:
    hours = (0.0, 12.0, 12.5, 17.0)  # half an hour less the stay: 25 minutes for 3 km
    assert WALK not in draw([0, 1, 3, 1], hours, (HOME, 6, 8, HOME))
    assert WALK in draw([0, 1, 1.9, 1], hours, (HOME, 6, 8, HOME))


def test_where_nothing_fits_the_reach_rules_still_hold() -> None:
    mode = draw([0, 30, 30], (0.0, 0.1, 0.2), driver=False)
    assert set(np.unique(mode[:, 1:])) <= {CAR_PASSENGER, TRANSIT}


def test_draw_mode_takes_only_usable_ones() -> None:
    usable = np.array([False, True, False, True, False])
    found = {draw_mode(np.array([9.0, 0, 9, 0, 9]), usable, u) for u in (0.0, 0.49, 0.51, 0.999)}
    assert found == {1, 3}


@pytest.mark.parametrize(
    ("mode", "seconds"),
    [(CAR_DRIVER, 600), (CAR_PASSENGER, 600), (TRANSIT, 1440), (WALK, 4500), (BIKE, 1440)],
)
def test_times_of_six_km_and_ten_minutes_by_car(mode: int, seconds: float) -> None:
    assert mode_s(mode, 6.0, 600.0) == pytest.approx(seconds)


@pytest.mark.parametrize("cars", [Cars(0.06, 0.0), Cars(0.0, 0.06), Cars(0.05, 0.05)])
def test_constants_meet_the_commuters_shares(cars: Cars) -> None:
    km, weight = np.array([0.5, 2.0, 8.0, 25.0]), np.array([0.1, 0.2, 0.4, 0.3])
    coefficients = REFERENCE.mode_coefficients.copy()
    wanted = REFERENCE.commute_shares
    coefficients[:, 0] = commuter_constants(coefficients, km, weight, cars, wanted)
    np.testing.assert_allclose(commuter_shares(coefficients, km, weight, cars), wanted, atol=2e-3)
    assert coefficients[CAR_DRIVER, 0] == 0.0


def test_who_finds_no_car_does_not_drive() -> None:
    km, weight = np.array([2.0, 8.0]), np.array([0.5, 0.5])
    shares = [
        commuter_shares(REFERENCE.mode_coefficients, km, weight, Cars(0.0, in_use))
        for in_use in (0.0, 0.2, 1.0)
    ]
    assert shares[1][CAR_DRIVER] == pytest.approx(0.8 * shares[0][CAR_DRIVER])
    assert shares[2][CAR_DRIVER] == 0.0
    assert shares[2].sum() == pytest.approx(1.0)


def test_reference_is_whole() -> None:
    assert REFERENCE.distance_m.shape[0] == 15
    assert (np.diff(REFERENCE.distance_m, axis=1) >= 0).all()
    assert (np.diff(REFERENCE.angle_rad) >= 0).all()
    assert 0 <= REFERENCE.angle_rad[0] < REFERENCE.angle_rad[-1] <= np.pi + 1e-3
    assert REFERENCE.commute_shares.sum() == pytest.approx(1.0)
    assert (REFERENCE.mode_coefficients[CAR_DRIVER] == 0).all()


def test_the_longest_trip_decides_for_the_tour() -> None:
    np.testing.assert_array_equal(draw([0, 12, 1])[:, 1], draw([0, 12, 12])[:, 1])
    assert (draw([0, 12, 1])[:, 1] != draw([0, 1, 1])[:, 1]).any()


def test_members_share_the_car_and_work_comes_first() -> None:
    plan, legs = day([0, 8, 8], [0.0, 9.0, 17.0], [HOME, 8, HOME])
    kinds, times = plan.type.reshape(N, 3), plan.planned.reshape(N, 3)
    kinds[1::2, 1] = WORK
    times[1::2, 1] += 1800  # to work leaves later, and has the car
    homes = placing.apart(N)._replace(start=np.arange(0, N + 1, 2), cars=np.ones(N // 2, int))
    flags = {name: np.zeros(N, bool) for name in ("young", "old", "no_car")}
    travellers = Travellers(**flags, driver=np.ones(N, bool))
    keys, none = person_keys(0, "test", np.arange(N)), np.full(3 * N, -1)
    rows = REFERENCE.mode_coefficients
    mode, _, car = choose_modes(plan, legs, travellers, homes, none, rows, keys, 300)
    worker, other = (mode.reshape(N, 3)[start::2, 1] == CAR_DRIVER for start in (1, 0))
    assert worker.mean() > 0.5
    assert not (worker & other).any()
    assert (other & ~worker).any()
    assert ((car >= 0).reshape(N, 3)[:, 1] == (mode.reshape(N, 3)[:, 1] == CAR_DRIVER)).all()
    cars = homes._replace(cars=np.full(N // 2, 2))
    both = choose_modes(plan, legs, travellers, cars, none, rows, keys, 300)[0].reshape(N, 3)[:, 1]
    assert ((both[::2] == CAR_DRIVER) & (both[1::2] == CAR_DRIVER)).any()


def test_a_child_rides_where_its_escort_drives() -> None:
    plan, legs = day([0, 8, 8], [0.0, 9.0, 17.0], [HOME, 8, HOME])
    homes = placing.apart(N)._replace(start=np.arange(0, N + 1, 2), cars=np.ones(N // 2, int))
    flags = {name: np.zeros(N, bool) for name in ("young", "old", "no_car")}
    travellers = Travellers(**flags, driver=np.arange(N) % 2 == 0)
    rows = np.arange(3 * N).reshape(N, 3)
    escort = np.full((N, 3), -1)
    escort[1::2, 1:] = rows[::2, 1:]
    keys = person_keys(0, "test", np.arange(N))
    mode, seconds, _ = choose_modes(
        plan, legs, travellers, homes, escort.ravel(), REFERENCE.mode_coefficients, keys, 300
    )
    adult, child = mode.reshape(N, 3)[::2, 1:], mode.reshape(N, 3)[1::2, 1:]
    assert set(np.unique(adult)) >= {CAR_DRIVER, TRANSIT}
    np.testing.assert_array_equal(child, np.where(adult == CAR_DRIVER, CAR_PASSENGER, adult))
    np.testing.assert_array_equal(*(seconds.reshape(N, 3)[start::2] for start in (0, 1)))
