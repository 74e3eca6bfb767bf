"""Fit ``reference.json`` to a travel survey and to traces.

    python -m assignment.fitting data/czechia_hts data/beijing_geolife assignment/reference.json

Survey: the train split of ``raygen.survey``, person weights, trips of up to 80 km crow-fly: longer
ones leave the scale of a city. The survey knows six purposes; an activity type takes the distances
of the purpose that covers it.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy.optimize import minimize

from assignment.mode import BIKE, BIKE_LIMIT_KM, CAR_DRIVER, WALK, WALK_LIMIT_KM
from assignment.reference import MODE_FEATURES, FloatArray
from assignment.times import CONGESTION
from raygen import survey
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S, DEMOGRAPHIC_GROUPS, HOME, MODES, SCHOOL, WORK

IntArray = npt.NDArray[np.int64]

CITY_SCALE_M = 80_000.0
"""Crow-fly length over which a trip leaves the city, in metres."""

SURVEY_CIRCUITY = 1.3
"""Network over crow-fly distance of the survey's trips, assumed."""

QUANTILES = 101
GROUP_QUANTILES = 21

GROUP_PERSONS = 50.0
"""Persons of all groups that a group's distances are mixed with, assumed."""

PUPIL_AGES, STUDENT_AGES, OLD_AGES = (1, 2), (3,), (8,)
"""The survey's age groups: 0–18, 19–29, 70 and over."""

SURVEY_MODES = {1: "walk", 2: "bike", 3: "transit", 4: "transit", 5: "transit", 6: "car_driver"}
SURVEY_MODES[7] = "car_passenger"

COMMUTE_SHARES = {
    "car_driver": 0.855,
    "car_passenger": 0.058,
    "transit": 0.050,
    "walk": 0.029,
    "bike": 0.008,
}
"""Commuters of Los Angeles County by mode, without those who work at home; a carpool counts half
as drivers. Assumed: rounded from memory of ACS 2018–2022 table S0801, to be replaced by a file."""

_STAY_SLOTS = 2

Columns = dict[str, npt.NDArray[Any]]


def weighted_quantiles(values: FloatArray, weights: FloatArray, count: int) -> FloatArray:
    """Return ``count`` evenly spaced quantiles of weighted values, from minimum to maximum."""
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    middle = (cumulated - 0.5 * weights[order]) / cumulated[-1]
    return np.interp(np.linspace(0.0, 1.0, count), middle, values[order])


def read_survey(directory: Path) -> Columns:
    """Return the trips of the train split with their persons' columns, one array per column."""
    persons = pq.read_table(directory / "persons.parquet").to_pydict()
    row_of = {person: row for row, person in enumerate(persons["PersonID"])}
    trips = pq.read_table(directory / "trips.parquet").to_pydict()
    owner = np.array([row_of[person] for person in trips["PersonID"]])
    people = survey.read_survey(directory)
    in_train, group = np.zeros(len(row_of), dtype=bool), np.full(len(row_of), -1)
    in_train[people.person_id[people.take("train")]] = True
    group[people.person_id] = people.group
    metres = np.array(trips["CrowFliesTripDist"])
    keep = in_train[owner] & (metres <= CITY_SCALE_M)
    columns: Columns = {"metres": metres[keep], "group": group[owner][keep], "owner": owner[keep]}
    for name in ("DestPurpose", "OriginPurpose", "TripMainMode", "DestEnd"):
        columns[name] = np.array(trips[name])[keep]
    for name in ("Weight", "AgeGroup", "AvailCar", "DrivingLicense"):
        columns[name] = np.array(persons[name])[owner][keep]
    return columns


def purpose_of_type() -> dict[str, int]:
    """Return the survey's purpose that covers each activity type."""
    covers = {word: code for code, words in survey.PURPOSES.items() for word in words}
    return {word: covers[word] for word in ACTIVITY_TYPES}


def fit_distances(trips: Columns) -> dict[str, Any]:
    """Return distance quantiles by survey purpose (trips that arrive for it)."""
    quantiles: dict[str, list[int]] = {}
    for code in survey.PURPOSES:
        rows = trips["DestPurpose"] == code
        found = weighted_quantiles(trips["metres"][rows], trips["Weight"][rows], QUANTILES)
        quantiles[str(code)] = [round(metres) for metres in found.tolist()]
    return {
        "provenance": "calibrated: czechia_hts, train split, crow-fly, trips up to 80 km",
        "purpose_of_type": {word: str(code) for word, code in purpose_of_type().items()},
        "quantiles": quantiles,
    }


def fit_groups(trips: Columns) -> dict[str, Any]:
    """Return, by survey purpose and demographic group, the ranks of a group's distances among all.

    Entry i is the share of all trips of the purpose that are shorter than the group's quantile
    i / (count − 1): the diagonal where the group is like all. A group's sample is joined by all
    with the weight of ``GROUP_PERSONS`` persons: one of few persons keeps near to all.
    """
    table: dict[str, list[list[float]]] = {}
    for code in survey.PURPOSES:
        rows = trips["DestPurpose"] == code
        weight, group, owner = (trips[n][rows] for n in ("Weight", "group", "owner"))
        order = np.argsort(trips["metres"][rows], kind="stable")
        rank = np.empty(len(order))
        rank[order] = (np.cumsum(weight[order]) - 0.5 * weight[order]) / weight.sum()
        ranks: list[list[float]] = []
        for g in range(len(DEMOGRAPHIC_GROUPS)):
            mine = group == g
            persons = len(np.unique(owner[mine]))
            own = np.where(mine, weight, 0.0) * (persons / max(weight[mine].sum(), 1e-9))
            joined = own + weight * (GROUP_PERSONS / weight.sum())
            found = weighted_quantiles(rank, joined, GROUP_QUANTILES)
            found[0], found[-1] = 0.0, 1.0
            ranks.append([round(float(share), 4) for share in found])
        table[str(code)] = ranks
    return {
        "provenance": "calibrated: czechia_hts, train split, by DEMOGRAPHIC_GROUPS; differences "
        f"between groups: observed, shrunk by {GROUP_PERSONS:g} persons of all groups",
        "groups": list(DEMOGRAPHIC_GROUPS),
        "ranks": table,
    }


def fit_commutes(trips: Columns) -> dict[str, Any]:
    """Return the mean distance from home to school and to college."""
    from_home = trips["OriginPurpose"] == _code(HOME)
    to_school = from_home & (trips["DestPurpose"] == _code(SCHOOL))
    means: dict[str, int] = {}
    for name, ages in (("school", PUPIL_AGES), ("college", STUDENT_AGES)):
        rows = to_school & np.isin(trips["AgeGroup"], ages)
        mean = np.average(trips["metres"][rows], weights=trips["Weight"][rows])
        means[name] = round(float(mean))
    return {"provenance": "calibrated: czechia_hts, train split, home to school", **means}


def fit_clock(trips: Columns) -> dict[str, Any]:
    """Return the mean weight of the peak skim over arrivals at work; see ``assignment.times``."""
    rows = trips["DestPurpose"] == _code(WORK)
    weight = CONGESTION[trips["DestEnd"][rows] % DAY_S // 3600]
    return {
        "provenance": "calibrated: czechia_hts, train split; congestion by hour: assumed",
        "commute_peak_weight": round(float(np.average(weight, weights=trips["Weight"][rows])), 3),
    }


def _code(activity_type: int) -> int:
    return purpose_of_type()[ACTIVITY_TYPES[activity_type]]


def mode_features(trips: Columns) -> FloatArray:
    """Return the logit's features of each trip, shape (trips, 8), in MODE_FEATURES order.

    A trip home counts to the purpose that it leaves.
    """
    log_km = np.log(np.maximum(trips["metres"] * SURVEY_CIRCUITY / 1000.0, 0.1))
    homeward = trips["DestPurpose"] == _code(HOME)
    purpose = np.where(homeward, trips["OriginPurpose"], trips["DestPurpose"])
    columns = [
        np.ones_like(log_km),
        log_km,
        log_km**2,
        purpose == _code(WORK),
        purpose == _code(SCHOOL),
        np.isin(trips["AgeGroup"], PUPIL_AGES),
        np.isin(trips["AgeGroup"], OLD_AGES),
        trips["AvailCar"] == 0,
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def fit_modes(trips: Columns) -> dict[str, Any]:
    """Fit the multinomial logit of the trip's main mode by maximum weighted likelihood."""
    rows = np.isin(trips["TripMainMode"], list(SURVEY_MODES))
    trips = {name: column[rows] for name, column in trips.items()}
    features = mode_features(trips)
    chosen = np.array([MODES.index(SURVEY_MODES[m]) for m in trips["TripMainMode"].tolist()])
    km = np.exp(features[:, 1])
    usable = np.ones((len(km), len(MODES)), dtype=bool)
    usable[:, CAR_DRIVER] = (trips["AvailCar"] == 1) & (trips["DrivingLicense"] == 1)
    usable[:, WALK] = km <= WALK_LIMIT_KM
    usable[:, BIKE] = km <= BIKE_LIMIT_KM
    kept = usable[np.arange(len(km)), chosen]
    coefficients = _maximise(features[kept], chosen[kept], usable[kept], trips["Weight"][kept])
    table = {
        mode: {f: round(float(v), 4) for f, v in zip(MODE_FEATURES, row, strict=True)}
        for mode, row in zip(MODES, coefficients, strict=True)
    }
    return {
        "provenance": "calibrated: czechia_hts, train split; commute_shares: assumed",
        "trips": int(kept.sum()),
        "coefficients": table,
        "commute_shares": COMMUTE_SHARES,
    }


def _maximise(
    features: FloatArray, chosen: IntArray, usable: npt.NDArray[np.bool_], weights: FloatArray
) -> FloatArray:
    """Return the coefficients (5, 8) of highest likelihood; the first mode's are zero."""
    one_hot = np.eye(len(MODES))[chosen]
    shape = (len(MODES) - 1, features.shape[1])
    weights = weights / weights.sum()

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        theta = np.vstack([np.zeros(shape[1]), flat.reshape(shape)])
        utility = np.where(usable, features @ theta.T, -np.inf)
        utility -= utility.max(axis=1, keepdims=True)
        odds = np.exp(utility)
        share = odds / odds.sum(axis=1, keepdims=True)
        likelihood = np.log(share[np.arange(len(chosen)), chosen])
        gradient = ((share - one_hot) * weights[:, None]).T @ features
        ridge = 1e-5  # keeps features that a mode hardly meets finite
        value = -float(weights @ likelihood) + ridge * float(flat @ flat)
        return value, gradient[1:].ravel() + 2.0 * ridge * flat

    found = minimize(loss, np.zeros(shape[0] * shape[1]), jac=True, method="L-BFGS-B")
    return np.vstack([np.zeros(shape[1]), found.x.reshape(shape)])


def fit_angles(directory: Path) -> dict[str, Any]:
    """Return quantiles of the angle at the previous place between the place and the next anchor.

    A day's anchors are its most frequent place at night (before 6 h and after 22 h) and its most
    frequent other place by day (9 to 17 h); every other place of two half-hour slots or more counts
    if the previous place and the next anchor differ.
    """
    with gzip.open(directory / "days_train.txt.gz", "rt") as file:
        days = np.loadtxt(file, dtype=np.int64)  # (days, 48)
    places = np.loadtxt(directory / "locations.txt")  # (locations, 2): lat, lon
    xy = np.stack([places[:, 1] * np.cos(np.radians(39.9)), places[:, 0]], axis=1)
    angles = np.concatenate([_day_angles(day, xy) for day in days])
    found = weighted_quantiles(angles, np.ones(len(angles)), 41)
    return {
        "provenance": "calibrated: beijing_geolife, train split, anchors by night and day",
        "angles": len(angles),
        "quantiles": [round(float(angle), 4) for angle in found],
    }


def _day_angles(day: IntArray, xy: FloatArray) -> FloatArray:
    starts = np.concatenate([[0], np.flatnonzero(np.diff(day)) + 1])
    lengths = np.diff(np.concatenate([starts, [len(day)]]))
    stays = day[starts][lengths >= _STAY_SLOTS]
    night = np.bincount(np.concatenate([day[:12], day[44:]])).argmax()
    work = day[18:34][day[18:34] != night]
    anchors = {int(night)} | ({int(np.bincount(work).argmax())} if len(work) else set())
    angles: list[float] = []
    for k in range(1, len(stays) - 1):
        following = [place for place in stays[k + 1 :].tolist() if place in anchors]
        if int(stays[k]) in anchors or not following or following[0] == stays[k - 1]:
            continue
        to_place = xy[stays[k]] - xy[stays[k - 1]]
        to_anchor = xy[following[0]] - xy[stays[k - 1]]
        if to_place.any() and to_anchor.any():
            cross = to_place[0] * to_anchor[1] - to_place[1] * to_anchor[0]
            angles.append(float(np.arctan2(abs(cross), to_place @ to_anchor)))
    return np.array(angles)


def fit(survey: Path, traces: Path, output: Path) -> None:
    """Write the reference distributions fitted to ``survey`` and ``traces``."""
    trips = read_survey(survey)
    table = {
        "distances_m": fit_distances(trips),
        "group_ranks": fit_groups(trips),
        "angles_rad": fit_angles(traces),
        "commutes_m": fit_commutes(trips),
        "clock": fit_clock(trips),
        "modes": fit_modes(trips),
    }
    lines = [f'"{name}": {json.dumps(part)}' for name, part in table.items()]
    output.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    fit(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
