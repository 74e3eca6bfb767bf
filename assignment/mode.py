"""Mode of each trip: a multinomial logit over whole tours, so that the car comes back home.

V[m] = constant + a·log km + b·(log km)² + work + school + young + old + no car (``reference.json``:
fitted to the trips of the Czech household travel survey; km = the tour's longest trip).
The constants are moved so that the commuters of the city, at their distances, with its share of
households without a car and those who find the household's cars in use (``anchors.CARS_IN_USE``),
have the shares by mode of ``reference.json`` (assumed, Los Angeles County):
a[m] += log(share wanted / share found), until they meet. All purposes take the same shift.

A mode is open to a tour only if

* car_driver: the person is 16 or over and a car of the household is at home when the tour leaves.
  Tours to work choose first, then the others, each in the order of their arrivals at the first
  stop; a tour that finds no car is drawn among the other modes;
* walk, bike: no trip of the tour is over 5 or 15 km;
* every trip fits between the planned arrivals with the least stay; if no mode does, this is waived.

An escort and the children along decide together: V is the mean of the escort's and the children's,
who ride where the escort drives (assumed), and the children have the escort's mode, trip by trip.
Others go by car_passenger as the survey has it, with members or with drivers from outside the
household: who that is, is not settled, and no car of the household is in use for it.

Times: car from the skims; car_passenger the same; transit 1.6 times the car plus 480 s to walk and
wait (assumed); walk 4.8 km/h, bike 15 km/h on the network.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from assignment.company import Homes
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
def _after(plan: Plan, tour: Int64Array, work: int, first: int) -> bool:
    """Return whether a tour chooses after one to work or not with its first stop at ``first``."""
    if tour[3] != work:
        return tour[3] < work
    return plan.planned[tour[0]] > plan.planned[first]


@njit(cache=True, nogil=True)
def _tours(plan: Plan, homes: Homes, household: int, escort: Int64Array) -> Int64Array:
    """Return the tours of a household that no escort decides, in the order of their choice.

    Shape (T, 4): first activity, the home activity at the end, person, whether it is to work.
    """
    count = 0
    members = homes.member[homes.start[household] : homes.start[household + 1]]
    for person in members:
        count += plan.person_start[person + 1] - plan.person_start[person]
    found = np.empty((count, 4), np.int64)
    tours = 0
    for person in members:
        first = plan.person_start[person]
        for k in range(plan.person_start[person], plan.person_start[person + 1]):
            if plan.sequence[k] == 0:
                first = k + 1
            elif plan.type[k] == HOME:
                if escort[k] < 0:
                    at = tours
                    work = int(_purpose(plan, first, k) == WORK)
                    while at > 0 and _after(plan, found[at - 1], work, first):
                        found[at] = found[at - 1]
                        at -= 1
                    found[at, 0], found[at, 1], found[at, 2] = first, k, person
                    found[at, 3] = work
                    tours += 1
                first = k + 1
    return found[:tours]


@njit(cache=True, nogil=True)
def _riders(escort: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the first escorted trip of each trip, and the one after each escorted; -1 for none."""
    head, after = np.full(len(escort), -1, np.int64), np.full(len(escort), -1, np.int64)
    for k in range(len(escort) - 1, -1, -1):
        if escort[k] >= 0:
            after[k] = head[escort[k]]
            head[escort[k]] = k
    return head, after


@njit(cache=True, nogil=True)
def _say(
    plan: Plan,
    legs: Legs,
    coefficients: FloatArray,
    riders: tuple[Int64Array, Int64Array],
    no_car: bool,
    tour: Int64Array,
) -> tuple[FloatArray, int]:
    """Return the mean of V over the trips of the children along on a tour, and their number."""
    head, after = riders
    mean, trips = np.zeros(len(MODES)), 0
    for leg in range(tour[0], tour[1] + 1):
        rider = head[leg]
        while rider >= 0:
            log_km = np.log(max(float(legs.km[rider]), _LEAST_KM))
            school = plan.type[rider] == SCHOOL or plan.type[rider - 1] == SCHOOL
            purpose = SCHOOL if school else HOME
            trips += 1
            for mode in range(len(MODES)):
                rides = CAR_PASSENGER if mode == CAR_DRIVER else mode
                value = utility(coefficients[rides], log_km, purpose, (True, False, no_car))
                mean[mode] += (value - mean[mode]) / trips
            rider = after[rider]
    return mean, trips


@njit(cache=True, nogil=True)
def _free_car(used: Int64Array, cars: int, leaves: int, comes: int) -> int:
    """Return the first car that no tour so far uses between two times; -1 where there is none.

    ``used`` are the tours' car, departure and return.
    """
    for car in range(cars):
        free = True
        for tour in used:
            free &= tour[0] != car or tour[1] > comes or tour[2] < leaves
        if free:
            return car
    return -1


@njit(cache=True, nogil=True)
def choose_modes(  # noqa: PLR0913, PLR0917 - what is travelled, who travels, and how it is drawn
    plan: Plan,
    legs: Legs,
    travellers: Travellers,
    homes: Homes,
    escort: Int64Array,
    coefficients: FloatArray,
    keys: KeyArray,
    min_stay_s: int,
) -> tuple[npt.NDArray[np.int8], Int64Array, Int64Array]:
    """Draw the mode of every tour, and the car it takes.

    Parameters
    ----------
    plan
        Day chains of N persons, A activities; every day starts and ends at home.
    legs
        The trip to each activity.
    travellers
        The persons.
    homes
        Their households.
    escort
        Row of the trip that a child goes along on, -1 for none, shape (A,).
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
    car
        Car of the household that leaves home on the trip, shape (A,); -1 for none.
    """
    mode = np.full(len(plan.type), -1, np.int8)
    travel_s = np.zeros(len(plan.type), np.int64)
    car = np.full(len(plan.type), -1, np.int64)
    riders = _riders(escort)
    for household in range(len(homes.start) - 1):
        tours, drives = _tours(plan, homes, household, escort), 0
        used = np.empty((len(tours), 3), np.int64)
        for tour in tours:
            first, k, person = int(tour[0]), int(tour[1]), int(tour[2])
            young, old = bool(travellers.young[person]), bool(travellers.old[person])
            flags = (young, old, bool(travellers.no_car[person]))
            log_km = np.log(max(legs.km[first : k + 1].max(), _LEAST_KM))
            purpose = _purpose(plan, first, k)
            value = np.empty(len(MODES))
            for m in range(len(MODES)):
                value[m] = utility(coefficients[m], log_km, purpose, flags)
            say, trips = _say(plan, legs, coefficients, riders, flags[2], tour)
            if trips > 0:
                value = 0.5 * (value + say)
            leaves = int(plan.planned[first] - np.ceil(legs.car_s[first]))
            taken = _free_car(used[:drives], homes.cars[household], leaves, plan.planned[k])
            driver = bool(travellers.driver[person]) and taken >= 0
            usable = _usable(plan, legs, first, k + 1, driver, min_stay_s)
            draw = unit(keys[person], counter(plan.day[k], plan.sequence[k], USE_MODE))
            chosen = draw_mode(value, usable, draw)
            if chosen == CAR_DRIVER:
                car[first] = taken
                used[drives, 0], used[drives, 1], used[drives, 2] = taken, leaves, plan.planned[k]
                drives += 1
            for leg in range(first, k + 1):
                mode[leg] = chosen
                seconds = mode_s(chosen, legs.km[leg], legs.car_s[leg])
                travel_s[leg] = max(1, int(np.ceil(seconds)))
    for k in range(len(escort)):
        if escort[k] >= 0:
            travel_s[k] = travel_s[escort[k]]
            mode[k] = CAR_PASSENGER if mode[escort[k]] == CAR_DRIVER else mode[escort[k]]
    return mode, travel_s, car


class Cars(NamedTuple):
    """What cars a city's commuters find at home, as shares of all commuters."""

    none: float
    """In households without a car."""

    in_use: float
    """In households whose cars are all out when the commute begins."""


def commuter_constants(
    coefficients: FloatArray, km: FloatArray, weight: FloatArray, cars: Cars, wanted: FloatArray
) -> FloatArray:
    """Return the logit's constants that give the commuters of a city the wanted shares.

    Parameters
    ----------
    coefficients
        Shape (5, 8), of the survey.
    km, weight
        Commute distances and their weights, shape (K,).
    cars
        Commuters without a car to drive.
    wanted
        Shares by mode, shape (5,); car_driver's constant stays 0.

    Returns
    -------
    constants
        Shape (5,), moved by at most 6 from the survey's.
    """
    moved = coefficients.copy()
    for _ in range(60):
        share = commuter_shares(moved, km, weight, cars)
        step = np.log(wanted / np.maximum(share, 1e-9))
        moved[:, 0] += step - step[CAR_DRIVER]
        bound = coefficients[:, 0]
        moved[:, 0] = np.clip(moved[:, 0], bound - 6.0, bound + 6.0)
    return moved[:, 0]


@njit(cache=True, nogil=True)
def commuter_shares(
    coefficients: FloatArray, km: FloatArray, weight: FloatArray, cars: Cars
) -> FloatArray:
    """Return the shares by mode, shape (5,), of adults on work tours; see above."""
    shares, odds = np.zeros(len(MODES)), np.empty(len(MODES))
    parts = (1.0 - cars.none - cars.in_use, cars.in_use, cars.none)
    for i in range(len(km)):
        log_km = np.log(max(km[i], _LEAST_KM))
        for case in range(len(parts)):
            flags = (False, False, case == 2)  # noqa: PLR2004 - without a car
            for mode in range(len(MODES)):
                value = utility(coefficients[mode], log_km, WORK, flags)
                odds[mode] = np.exp(value) if in_reach(mode, km[i], case == 0) else 0.0
            shares += parts[case] * weight[i] * odds / odds.sum()
    return shares / weight.sum()
