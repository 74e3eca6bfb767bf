"""Mode of each trip: a multinomial logit over whole tours, so that the car comes back home.

V[m] = constant + a·log km + b·(log km)² + work + school + young + old + no car (``reference.json``:
fitted to the trips of the Czech household travel survey; km = the tour's longest trip).
The constants are moved so that the commuters of the city, at their distances and with its share
of households without a car, have the shares by mode of ``reference.json`` (assumed, Los Angeles
County): a[m] += log(share wanted / share found), until they meet. All purposes take the same shift.

A mode is open to a tour only if

* car_driver: the person is 16 or over and the household has a vehicle (who drives it when is not
  settled within the household);
* walk, bike: no trip of the tour is over 5 or 15 km;
* every trip fits between the planned arrivals with the least stay; if no mode does, this is waived.

Times: car from the skims; car_passenger the same; transit 1.6 times the car plus 480 s to walk and
wait (assumed); walk 4.8 km/h, bike 15 km/h on the network.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.draws import USE_MODE, KeyArray, counter, unit
from assignment.times import Plan
from raygen.taxonomy import HOME, MODES, SCHOOL, WORK

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

CAR_DRIVER, CAR_PASSENGER, TRANSIT, WALK, BIKE = range(len(MODES))

DRIVING_AGE = 16
YOUNG_AGE = 18
OLD_AGE = 65
TRANSIT_FACTOR, TRANSIT_WAIT_S = 1.6, 480.0
WALK_KMH, BIKE_KMH = 4.8, 15.0
WALK_LIMIT_KM, BIKE_LIMIT_KM = 5.0, 15.0
_LEAST_KM = 0.1  # the logit's shortest trip, as it was fitted


class Travellers(NamedTuple):
    """What the logit knows of N persons, as bool arrays of shape (N,)."""

    young: npt.NDArray[np.bool_]
    old: npt.NDArray[np.bool_]
    no_car: npt.NDArray[np.bool_]
    driver: npt.NDArray[np.bool_]


class Legs(NamedTuple):
    """The trip to each of A activities; 0 for the first of a day."""

    km: FloatArray
    car_s: FloatArray


@njit(cache=True, nogil=True)
def mode_s(mode: int, km: float, car_s: float) -> float:
    """Return the time of a trip by a mode, seconds."""
    if mode == TRANSIT:
        return TRANSIT_FACTOR * car_s + TRANSIT_WAIT_S
    if mode == WALK:
        return km * 3600.0 / WALK_KMH
    if mode == BIKE:
        return km * 3600.0 / BIKE_KMH
    return car_s


@njit(cache=True, nogil=True)
def utility(row: FloatArray, log_km: float, purpose: int, flags: tuple[bool, bool, bool]) -> float:
    """Return V of a mode; ``row`` in MODE_FEATURES order, ``flags`` young, old, no car."""
    young, old, no_car = flags
    value = row[0] + row[1] * log_km + row[2] * log_km * log_km
    value += row[3] * (purpose == WORK) + row[4] * (purpose == SCHOOL)
    return value + row[5] * young + row[6] * old + row[7] * no_car


@njit(cache=True, nogil=True)
def in_reach(mode: int, km: float, driver: bool) -> bool:
    """Return whether a mode is open to a person for a trip of this length."""
    if mode == CAR_DRIVER:
        return driver
    if mode == WALK:
        return km <= WALK_LIMIT_KM
    return mode != BIKE or km <= BIKE_LIMIT_KM


@njit(cache=True, nogil=True)
def draw_mode(value: FloatArray, usable: npt.NDArray[np.bool_], draw: float) -> int:
    """Draw a mode with probability ∝ exp(value) among the usable ones."""
    highest = -np.inf
    for mode in range(len(value)):
        if usable[mode]:
            highest = max(highest, value[mode])
    total = 0.0
    for mode in range(len(value)):
        total += np.exp(value[mode] - highest) if usable[mode] else 0.0
    left, found = draw * total, -1
    for mode in range(len(value)):
        if usable[mode]:
            found = mode
            left -= np.exp(value[mode] - highest)
            if left < 0.0:
                break
    return found


@njit(cache=True, nogil=True)
def _usable(
    plan: Plan, legs: Legs, first: int, stop: int, driver: bool, min_stay_s: int
) -> npt.NDArray[np.bool_]:
    """Return the modes open to the trips to activities ``first`` to ``stop`` − 1."""
    reach, fits = np.ones(len(MODES), np.bool_), np.ones(len(MODES), np.bool_)
    for mode in range(len(MODES)):
        for k in range(first, stop):
            reach[mode] &= in_reach(mode, legs.km[k], driver)
            window = plan.planned[k] - plan.planned[k - 1] - min_stay_s
            fits[mode] &= mode_s(mode, legs.km[k], legs.car_s[k]) <= window
    if (reach & fits).any():
        return reach & fits
    return reach


@njit(cache=True, nogil=True)
def _purpose(plan: Plan, first: int, stop: int) -> int:
    """Return what a tour is for: work before school before the rest (HOME stands for it)."""
    purpose = HOME
    for k in range(first, stop):
        if plan.type[k] == WORK or (plan.type[k] == SCHOOL and purpose != WORK):
            purpose = plan.type[k]
    return purpose


@njit(cache=True, nogil=True)
def choose_modes(
    plan: Plan,
    legs: Legs,
    travellers: Travellers,
    coefficients: FloatArray,
    keys: KeyArray,
    min_stay_s: int,
) -> tuple[npt.NDArray[np.int8], Int64Array]:
    """Draw the mode of every tour.

    Parameters
    ----------
    plan
        Day chains of N persons, A activities; every day starts and ends at home.
    legs
        The trip to each activity.
    travellers
        The persons.
    coefficients
        Shape (5, 8): MODES by MODE_FEATURES.
    keys
        Key of each person's draws, shape (N,).
    min_stay_s
        Least stay, seconds.

    Returns
    -------
    mode
        Index into MODES of the trip to each activity, shape (A,); -1 for the first of a day.
    travel_s
        Its time in whole seconds, >= 1; 0 for the first of a day.
    """
    mode = np.full(len(plan.type), -1, np.int8)
    travel_s = np.zeros(len(plan.type), np.int64)
    value = np.empty(len(MODES))
    for person in range(len(keys)):
        driver = travellers.driver[person]
        flags = (travellers.young[person], travellers.old[person], travellers.no_car[person])
        first = plan.person_start[person]
        for k in range(plan.person_start[person], plan.person_start[person + 1]):
            if plan.sequence[k] == 0:
                first = k + 1
            elif plan.type[k] == HOME:
                log_km = np.log(max(legs.km[first : k + 1].max(), _LEAST_KM))
                purpose = _purpose(plan, first, k)
                for m in range(len(MODES)):
                    value[m] = utility(coefficients[m], log_km, purpose, flags)
                usable = _usable(plan, legs, first, k + 1, driver, min_stay_s)
                draw = unit(keys[person], counter(plan.day[k], plan.sequence[k], USE_MODE))
                chosen = draw_mode(value, usable, draw)
                for leg in range(first, k + 1):
                    mode[leg] = chosen
                    seconds = mode_s(chosen, legs.km[leg], legs.car_s[leg])
                    travel_s[leg] = max(1, int(np.ceil(seconds)))
                first = k + 1
    return mode, travel_s


def commuter_constants(
    coefficients: FloatArray, km: FloatArray, weight: FloatArray, no_car: float, wanted: FloatArray
) -> FloatArray:
    """Return the logit's constants that give the commuters of a city the wanted shares.

    Parameters
    ----------
    coefficients
        Shape (5, 8), of the survey.
    km, weight
        Commute distances and their weights, shape (K,).
    no_car
        Share of commuters without a car in the household, in [0, 1].
    wanted
        Shares by mode, shape (5,); car_driver's constant stays 0.

    Returns
    -------
    constants
        Shape (5,), moved by at most 6 from the survey's.
    """
    moved = coefficients.copy()
    for _ in range(60):
        share = commuter_shares(moved, km, weight, no_car)
        step = np.log(wanted / np.maximum(share, 1e-9))
        moved[:, 0] += step - step[CAR_DRIVER]
        bound = coefficients[:, 0]
        moved[:, 0] = np.clip(moved[:, 0], bound - 6.0, bound + 6.0)
    return moved[:, 0]


@njit(cache=True, nogil=True)
def commuter_shares(
    coefficients: FloatArray, km: FloatArray, weight: FloatArray, no_car: float
) -> FloatArray:
    """Return the shares by mode, shape (5,), of adults on work tours; see above."""
    shares, odds = np.zeros(len(MODES)), np.empty(len(MODES))
    for i in range(len(km)):
        log_km = np.log(max(km[i], _LEAST_KM))
        for without in (False, True):
            for mode in range(len(MODES)):
                value = utility(coefficients[mode], log_km, WORK, (False, False, without))
                odds[mode] = np.exp(value) if in_reach(mode, km[i], not without) else 0.0
            part = no_car if without else 1.0 - no_car
            shares += part * weight[i] * odds / odds.sum()
    return shares / weight.sum()
