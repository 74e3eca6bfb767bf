"""Days of a survey in the form of ActivitySim's estimation mode, as ``raygen.survey`` has them.

Input is a folder with ``survey_persons.csv``, ``survey_tours.csv``, ``survey_trips.csv`` and, where
there are joint tours, ``survey_joint_tour_participants.csv``. The package ``activitysim`` (BSD-3)
brings one of the San Francisco Bay Area, 2,000 households: *synthesised*. Its makers let the model
of the Metropolitan Transportation Commission, estimated on the Bay Area Travel Survey of 2000, run
once, and keep the outcome in the place of a survey (``build_full_mtc_example.py`` calls it
synthetic survey data). Persons come from the census of 2000.

A day's tours are chained in the order of their hours; tours from work stand between the legs of the
tour that they leave; a joint tour is a tour of each of its participants. What the tables tell:
persons, purposes, and the hour of each departure. *Assumed*: the minute of a departure (uniform
within the hour, in order), 15 minutes of travel, and the types that ``othmaint`` and ``othdiscr``
stand for (drawn by ``raygen.survey.expand`` from time use: calibrated).
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from raygen import seeds
from raygen.errors import DataError
from raygen.survey import CHILD_ROW, Survey, arrival_slots

PURPOSES: dict[int, tuple[str, ...]] = {
    1: ("home",),
    2: ("work",),
    3: ("school",),
    4: ("pickup_drop",),
    5: ("shop_goods",),
    6: ("meals_out",),
    7: ("social",),
    8: ("errands", "shop_services", "healthcare", "caregiving", "other"),
    9: ("leisure", "exercise", "worship"),
}
"""Activity types that a code of the survey's purposes can stand for."""

_CODES = {
    "home": 1, "work": 2, "school": 3, "univ": 3, "escort": 4, "shopping": 5, "eatout": 6,
    "social": 7, "othmaint": 8, "othdiscr": 9,
}  # fmt: skip
_AT_WORK = {"eat": 6, "business": 2, "maint": 8}  # purpose "atwork", by the tour's type
_HOME, _WORK = 1, 2
_COLUMNS = {
    "persons": ("person_id", "household_id", "age", "sex", "pemploy", "pstudent"),
    "tours": ("tour_id", "person_id", "tour_type", "tour_category", "start", "end",
              "parent_tour_id"),
    "trips": ("trip_id", "person_id", "tour_id", "outbound", "purpose", "depart"),
}  # fmt: skip
_EMPLOYED = 2  # pemploy 1 full time, 2 part time
_STUDENT = {1: 1, 2: 2, 3: 0}  # pstudent to ``taxonomy.STUDENT``
_ADULT, _MID_AGED, _ELDERLY = 15, 25, 65
_HOUR_S, _HOURS, _TRAVEL_S = 3600, 24, 900

IntArray = npt.NDArray[np.int64]


def read_activitysim(directory: Path) -> Survey:
    """Read the days of persons who travel.

    Parameters
    ----------
    directory
        Folder of the tables; a trip's row stands after those of its tour that are before it.

    Returns
    -------
    survey
        In the order of person ids, purposes by ``PURPOSES``, weights 1. Households are split into
        train, validation and test. Days whose hours cannot be put in order are left out.

    Raises
    ------
    DataError
        If a table or column is missing, a code is unknown, or a row's person or tour is.
    """
    persons, tours, trips = (_read(directory / f"survey_{name}.csv", name) for name in _COLUMNS)
    who = _people(directory / "survey_persons.csv", persons)
    tour = _rows(directory / "survey_trips.csv", trips, "tour_id", tours, "tour_id")
    person = _rows(directory / "survey_trips.csv", trips, "person_id", persons, "person_id")
    trip, person = _with_participants(directory, (persons, tours, trips), tour, person)
    tour = tour[trip]
    purpose = _purposes(directory / "survey_trips.csv", trips, tours)[trip]
    order = _order(directory / "survey_tours.csv", tours, (person, tour, _outbound(trips)[trip]))
    person, purpose = person[order], purpose[order]
    hour = _numbers(directory / "survey_trips.csv", trips, "depart")[trip][order]
    if len(hour) and (hour.min() < 0 or hour.max() >= _HOURS):
        msg = f"{directory / 'survey_trips.csv'}: depart: must be an hour, 0 to 23, got "
        raise DataError(msg + f"{hour.min()} to {hour.max()}")
    return _survey(who, person, purpose, hour)


def _survey(
    who: dict[str, IntArray], person: IntArray, purpose: IntArray, hour: IntArray
) -> Survey:
    """Lay out days whose trips are in order; leave out those that cannot be."""
    travels = np.unique(person)
    first = np.append(np.searchsorted(person, travels), len(person))
    back = np.append(False, (np.diff(hour) < 0) & (np.diff(person) == 0))
    wrong = np.add.reduceat(back, first[:-1]) > 0 if len(travels) else np.zeros(0, bool)
    wrong |= purpose[first[1:] - 1] != _HOME
    # Of the departures of one hour the order is known, so the draws are sorted.
    uniform = seeds.stream(0, "activitysim-minutes").random(len(person))
    minute = uniform[np.lexsort((uniform, hour, person))]
    depart = (hour * _HOUR_S + minute * _HOUR_S).astype(np.int64)
    arrive = depart + _TRAVEL_S
    slot, shifted, fits = arrival_slots(arrive, first)
    stay = np.append(depart[1:] - arrive[:-1], 0) / 60
    stay[first[1:] - 1] = np.nan
    kept = fits & ~wrong
    stops, rows = np.repeat(kept, np.diff(first)), travels[kept]
    sizes = np.diff(first)[kept]
    return Survey(
        person_id=who["person_id"][rows],
        weight=np.ones(len(rows)),
        row=np.where(who["age"][rows] < _ADULT, CHILD_ROW, who["group"][rows]),
        group=who["group"][rows],
        student=who["student"][rows],
        split=np.digitize(
            seeds.uniforms(0, "activitysim-split", who["household_id"][rows], 1)[:, 0], [0.7, 0.85]
        ),
        first_stop=np.concatenate([[0], np.cumsum(sizes)]),
        purpose=purpose[stops],
        arrival=slot[stops],
        stay_min=stay[stops],
        counts={
            "persons": len(who["person_id"]),
            "persons_without_trips": len(who["person_id"]) - len(travels),
            "days_out_of_order": int(wrong.sum()),
            "days_too_full": int((~fits).sum()),
            "arrivals_shifted": shifted,
        },
    )


def _read(path: Path, name: str) -> pa.Table:
    try:
        table = csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{path}: cannot be read as CSV: {error}"
        raise DataError(msg) from None
    missing = [column for column in _COLUMNS[name] if column not in table.column_names]
    if missing:
        msg = f"{path}: columns are missing: {missing}, got {table.column_names}"
        raise DataError(msg)
    return table


def _numbers(path: Path, table: pa.Table, name: str) -> IntArray:
    """Return a column of whole numbers."""
    try:
        return table.column(name).cast(pa.int64()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        msg = f"{path}: {name}: must be whole numbers: {error}"
        raise DataError(msg) from None


def _people(path: Path, persons: pa.Table) -> dict[str, IntArray]:
    """Return ids, ages, demographic groups and student status."""
    found = {name: _numbers(path, persons, name) for name in _COLUMNS["persons"]}
    for name, codes in (("sex", (1, 2)), ("pemploy", (1, 2, 3, 4)), ("pstudent", (1, 2, 3))):
        wrong = np.flatnonzero(~np.isin(found[name], codes))
        if len(wrong):
            msg = f"{path}: {name}: must be one of {codes}, got {found[name][wrong[0]]} in row "
            raise DataError(msg + str(wrong[0]))
    if len(np.unique(found["person_id"])) < len(found["person_id"]):
        msg = f"{path}: person_id: ids must differ"
        raise DataError(msg)
    age = found["age"]
    band = (age >= _MID_AGED).astype(np.int64) + (age >= _ELDERLY)
    works = found["pemploy"] <= _EMPLOYED
    student = np.array([_STUDENT[int(code)] for code in found["pstudent"]], np.int64)
    return found | {"group": 6 * ~works + 2 * band + found["sex"] - 1, "student": student}


def _rows(path: Path, table: pa.Table, name: str, other: pa.Table, key: str) -> IntArray:
    """Return the row of ``other`` that each row of a table names."""
    values = table.column(name).cast(pa.int64())
    found = pc.call_function(
        "index_in", [values], pc.SetLookupOptions(other.column(key).cast(pa.int64()))
    )
    if found.null_count:
        row = int(np.flatnonzero(found.is_null().to_numpy())[0])
        msg = f"{path}: {name}: {found.null_count} rows name an unknown one, "
        raise DataError(msg + f"first {values[row].as_py()} in row {row}")
    return found.to_numpy().astype(np.int64)


def _with_participants(
    directory: Path, tables: tuple[pa.Table, pa.Table, pa.Table], tour: IntArray, person: IntArray
) -> tuple[IntArray, IntArray]:
    """Return trip and person, a joint tour's trips once for each participant."""
    persons, tours, trips = tables
    joint = np.array([word == "joint" for word in tours.column("tour_category").to_pylist()])
    alone = np.flatnonzero(~joint[tour])
    if not joint.any():
        return np.arange(trips.num_rows), person
    path = directory / "survey_joint_tour_participants.csv"
    _COLUMNS_OF = ("tour_id", "person_id")
    try:
        table = csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{path}: cannot be read as CSV: {error}"
        raise DataError(msg) from None
    missing = [name for name in _COLUMNS_OF if name not in table.column_names]
    if missing:
        msg = f"{path}: columns are missing: {missing}, got {table.column_names}"
        raise DataError(msg)
    its = _rows(path, table, "tour_id", tours, "tour_id")
    member = _rows(path, table, "person_id", persons, "person_id")
    shared = np.flatnonzero(joint[tour])
    pairs = np.nonzero(tour[shared][:, None] == its[None])
    return np.concatenate([alone, shared[pairs[0]]]), np.concatenate(
        [person[alone], member[pairs[1]]]
    )


def _outbound(trips: pa.Table) -> npt.NDArray[np.bool_]:
    words = trips.column("outbound").cast(pa.string()).to_pylist()
    return np.array([word == "true" for word in words])


def _purposes(path: Path, trips: pa.Table, tours: pa.Table) -> IntArray:
    """Return the code of each trip's purpose."""
    kind = tours.column("tour_type").to_pylist()
    tour = _rows(path, trips, "tour_id", tours, "tour_id")
    codes = np.empty(trips.num_rows, np.int64)
    for row, word in enumerate(trips.column("purpose").to_pylist()):
        name = str(word).lower()
        code = _AT_WORK.get(kind[tour[row]]) if name == "atwork" else _CODES.get(name)
        if code is None:
            msg = f"{path}: purpose: must be one of {sorted(_CODES)} or atwork with a tour_type of "
            raise DataError(msg + f"{sorted(_AT_WORK)}, got {word!r} in row {row}")
        codes[row] = code
    return codes


def _order(
    path: Path, tours: pa.Table, trips: tuple[IntArray, IntArray, npt.NDArray[np.bool_]]
) -> IntArray:
    """Return the trips in the order of the day: rows of (person, tour, outbound)."""
    person, tour, outbound = trips
    start, end = (_numbers(path, tours, name) for name in ("start", "end"))
    above = tours.column("parent_tour_id").cast(pa.float64()).to_numpy(zero_copy_only=False)
    subtour = np.isfinite(above)
    parent = np.arange(tours.num_rows)
    named = pa.table({"parent_tour_id": above[subtour].astype(np.int64)})
    parent[subtour] = _rows(path, named, "parent_tour_id", tours, "tour_id")
    root = parent[tour]
    # Of a tour: the way out, tours from its destination, the way home.
    leg = np.where(subtour[tour], 1, np.where(outbound, 0, 2))
    inner = np.where(subtour[tour], start[tour] * tours.num_rows + tour, 0)
    return np.lexsort(
        (np.arange(len(tour)), ~outbound, inner, leg, root, end[root], start[root], person)
    )
