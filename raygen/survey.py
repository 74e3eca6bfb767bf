"""A household travel survey as day chains: ``int8[96]``, one activity type for each quarter hour.

Input is the Czech national survey "Česko v pohybu" (2017–2019) as published by Lab-LAMbDA:
``persons.parquet`` and ``trips.parquet``. A slot holds the activity under way; it belongs to the
next activity from the slot of arrival on, so that travel counts to the activity being left.
Arrivals are rounded to the nearest quarter hour; an arrival that falls into the slot of the one
before is moved on by a slot, so that short stays (a child dropped off) do not vanish.

The survey knows six purposes; ``expand`` draws one of the 15 types of DataFusion (Ma et al.,
arXiv:2503.15779, Table 1) for each stop from P(type | purpose, group) · f(duration | type) ·
g(hour | type): the first two come from time use (calibrated), the hours are ours (assumed).
The survey holds no weekday and no person who stayed at home: its days count as weekdays.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from pyarrow import ArrowException

from raygen import seeds
from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S, SLOT_S, SLOTS

CHILD_ROW = 12
"""Row of children under 15 in tables by group: rows 0–11 are ``DEMOGRAPHIC_GROUPS`` from 15 on."""

GROUP_ROWS = 13

PURPOSES: dict[int, tuple[str, ...]] = {
    1: ("home",),
    2: ("leisure", "exercise", "social", "worship"),
    3: ("shop_goods", "meals_out"),
    4: ("work",),
    5: ("school",),
    6: ("errands", "shop_services", "healthcare", "caregiving", "pickup_drop", "other"),
}
"""Activity types that a purpose of the survey can stand for."""

SPLITS = ("train", "validation", "test")

_PERSON_COLUMNS = ["PersonID", "Weight", "AgeGroup", "Gender", "ActivityCzechiaHTS"]
_TRIP_COLUMNS = ["PersonID", "TripOrderNum", "OriginStart", "DestEnd", "DestPurpose"]
_EMPLOYED = (1, 2)  # employed; working pensioner
_STUDENT = 3  # pupil or student
_PENSIONER = 6
_HOME_PURPOSE, _WORK_PURPOSE, _SCHOOL_PURPOSE, _OTHER_PURPOSE = 1, 4, 5, 6
_SHORT_SCHOOL_S = 3600  # a shorter stay at a school by a non-student is a child being brought
# Age group 3 (19–29) straddles 25 and group 7 (60–69) straddles 65; assumed shares of the side
# away from the middle: students are under 25, of the others 40 %; pensioners 65 %, others 15 %.
_UNDER_25, _PENSIONER_OVER_65, _OTHER_OVER_65 = 0.4, 0.65, 0.15

# Hours in which a type is likelier than in the rest of the day, by a factor (assumed).
_HOURS: dict[str, tuple[tuple[int, int, float], ...]] = {
    "meals_out": ((11, 14, 2.5), (17, 22, 2.5)),
    "shop_goods": ((8, 20, 2.0),),
    "pickup_drop": ((7, 9, 3.0), (13, 18, 2.0)),
    "healthcare": ((7, 17, 4.0),),
    "shop_services": ((8, 18, 3.0),),
    "errands": ((8, 18, 3.0),),
    "social": ((14, 22, 1.5),),
}


@dataclass(frozen=True)
class Survey:
    """Persons who travelled, and their stops; N persons, S stops, each day from home to home.

    ``first_stop`` (N + 1) delimits the stops of a person; the last stop is home.
    """

    person_id: npt.NDArray[np.int64]
    """Number of the person in the survey, in order of the file (N)."""
    weight: npt.NDArray[np.float64]
    """Survey weight (N)."""
    row: npt.NDArray[np.int64]
    """Row of tables by group: 0–11, or ``CHILD_ROW`` (N)."""
    group: npt.NDArray[np.int64]
    """Index into ``DEMOGRAPHIC_GROUPS`` (N)."""
    student: npt.NDArray[np.int64]
    """Index into ``STUDENT`` (N)."""
    split: npt.NDArray[np.int64]
    """Index into ``SPLITS``, from the hash of the person's id (N)."""
    first_stop: npt.NDArray[np.int64]
    purpose: npt.NDArray[np.int64]
    """Survey purpose 1–6 (S)."""
    arrival: npt.NDArray[np.int64]
    """Slot of arrival, strictly increasing in a day, 1–95 (S)."""
    stay_min: npt.NDArray[np.float64]
    """Minutes from arrival to the next departure; NaN at the last stop (S)."""
    counts: dict[str, int]
    """What was left out or changed: persons, stops, shifted arrivals, dropped persons."""

    def take(self, split: str) -> npt.NDArray[np.int64]:
        """Return the person rows of one of ``SPLITS``."""
        return np.flatnonzero(self.split == SPLITS.index(split))


def read_survey(directory: Path) -> Survey:
    """Read the survey's persons and stops.

    Parameters
    ----------
    directory
        Holds ``persons.parquet`` and ``trips.parquet``.

    Returns
    -------
    survey
        In the order of the persons' file. Purpose "education" of a non-student is "errands/other"
        where the stay is under an hour; students are pupils, and those with a longer stay.

    Raises
    ------
    DataError
        If a file or a column is missing, a trip's person is unknown, or a day does not end at home.
    """
    persons = _columns(directory / "persons.parquet", _PERSON_COLUMNS)
    trips = _columns(directory / "trips.parquet", _TRIP_COLUMNS)
    names = persons["PersonID"].astype(str)
    number = {name: row for row, name in enumerate(names.tolist())}
    unknown = [name for name in trips["PersonID"].astype(str).tolist() if name not in number]
    if unknown:
        msg = f"{directory / 'trips.parquet'}: PersonID: {len(unknown)} trips of unknown persons, "
        msg += f"first {unknown[0]!r}"
        raise DataError(msg)
    owner = np.array([number[name] for name in trips["PersonID"].astype(str).tolist()], np.int64)
    order = np.lexsort((trips["TripOrderNum"], owner))
    owner = owner[order]
    depart = trips["OriginStart"][order].astype(np.int64)
    arrive = trips["DestEnd"][order].astype(np.int64)
    arrive = np.where(arrive < depart, arrive + DAY_S, arrive)
    purpose = trips["DestPurpose"][order].astype(np.int64)
    first = np.searchsorted(owner, np.arange(len(names) + 1))
    stay_s = np.full(len(owner), np.nan)
    same = owner[1:] == owner[:-1]
    stay_s[:-1][same] = (depart[1:] - arrive[:-1])[same]
    _check_days(directory, first, purpose)
    slot, shifted, kept = arrival_slots(arrive, first)
    student = _students(persons, owner, purpose, stay_s)
    brought = (purpose == _SCHOOL_PURPOSE) & (student[owner] == 0)
    purpose = np.where(brought, _OTHER_PURPOSE, purpose)
    child_work = (purpose == _WORK_PURPOSE) & (persons["AgeGroup"][owner] == 1)
    purpose = np.where(child_work, _OTHER_PURPOSE, purpose)
    row, group = _groups(
        persons, student, np.bincount(owner[purpose == _WORK_PURPOSE], minlength=len(names)) > 0
    )
    counts = {
        "persons": len(names),
        "stops": len(owner),
        "arrivals_shifted": shifted,
        "education_by_non_students": int(brought.sum()),
        "days_too_full": int((~kept).sum()),
    }
    survey = Survey(
        person_id=np.arange(len(names)),
        weight=persons["Weight"].astype(np.float64),
        row=row,
        group=group,
        student=student,
        split=_split(len(names)),
        first_stop=first,
        purpose=purpose,
        arrival=slot,
        stay_min=stay_s / 60,
        counts=counts,
    )
    return survey if kept.all() else _keep(survey, kept)


def expand(
    survey: Survey,
    participation: npt.NDArray[np.float64],
    log_minutes: npt.NDArray[np.float64],
    seed: int,
    draw: str,
    purposes: dict[int, tuple[str, ...]] = PURPOSES,
) -> npt.NDArray[np.int8]:
    """Draw a type for every stop and lay the days out in slots.

    Parameters
    ----------
    survey
        N persons.
    participation
        Shape (13, 15): share of persons of a group who do a type away from home on a day.
    log_minutes
        Shape (15, 2): mean and standard deviation of the natural log of a type's minutes.
    seed
        Root of the draws.
    draw
        Name of the stream; another name gives another expansion.
    purposes
        Activity types that a code of ``survey.purpose`` can stand for, codes from 1 on.

    Returns
    -------
    chains
        Shape (N, 96). Each day starts and ends at home; equal neighbours merge.
    """
    types = len(ACTIVITY_TYPES)
    allowed = np.zeros((max(purposes) + 1, types))
    for code, words in purposes.items():
        allowed[code, [ACTIVITY_TYPES.index(word) for word in words]] = 1.0
    owner = np.repeat(np.arange(len(survey.row)), np.diff(survey.first_stop))
    hour = np.minimum(survey.arrival // 4, 23)
    stay = np.log(np.maximum(np.nan_to_num(survey.stay_min, nan=60.0), 5.0))
    z = (stay[:, None] - log_minutes[None, :, 0]) / log_minutes[None, :, 1]
    duration = np.exp(-0.5 * z * z) / log_minutes[None, :, 1]
    score = participation[survey.row[owner]] * (duration + 1e-6) * _hour_factors()[hour]
    score = allowed[survey.purpose] * (score + 1e-9)
    edges = np.cumsum(score, axis=1)
    uniform = seeds.stream(seed, f"survey-types:{draw}").random(len(owner))
    kind = (edges < (uniform * edges[:, -1])[:, None]).sum(axis=1).astype(np.int8)
    chains = np.zeros((len(survey.row), SLOTS), np.int8)
    mark = np.full((len(survey.row), SLOTS), -1, np.int64)
    mark[:, 0] = -2
    mark[owner, survey.arrival] = np.arange(len(owner))
    position = np.maximum.accumulate(np.where(mark == -1, 0, np.arange(SLOTS)), axis=1)
    stop = np.take_along_axis(mark, position, axis=1)
    chains[stop >= 0] = kind[stop[stop >= 0]]
    return chains


def _columns(path: Path, names: list[str]) -> dict[str, npt.NDArray[np.generic]]:
    try:
        table = pq.read_table(path)
    except (OSError, ArrowException) as error:
        msg = f"{path}: cannot be read as Parquet: {error}"
        raise DataError(msg) from None
    missing = [name for name in names if name not in table.schema.names]
    if missing:
        msg = f"{path}: columns are missing: {missing}, got {table.schema.names}"
        raise DataError(msg)
    return {name: table.column(name).to_numpy() for name in names}


def _check_days(
    directory: Path, first: npt.NDArray[np.int64], purpose: npt.NDArray[np.int64]
) -> None:
    empty = np.flatnonzero(np.diff(first) == 0)
    if len(empty):
        msg = f"{directory / 'persons.parquet'}: {len(empty)} persons have no trip, row {empty[0]}"
        raise DataError(msg)
    away = np.flatnonzero(purpose[first[1:] - 1] != _HOME_PURPOSE)
    if len(away):
        msg = f"{directory / 'trips.parquet'}: {len(away)} days do not end at home, "
        msg += f"first of person row {away[0]}"
        raise DataError(msg)


def arrival_slots(
    arrive: npt.NDArray[np.int64], first: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], int, npt.NDArray[np.bool_]]:
    """Round arrivals to slots, strictly increasing within a day, the last at 95 at most.

    Parameters
    ----------
    arrive
        Seconds after midnight, rising within a day, shape (S,).
    first
        Person n has stops first[n] … first[n + 1] - 1, one at least, shape (N + 1,).

    Returns
    -------
    slot
        Shape (S,).
    shifted
        How many are not in the nearest slot.
    kept
        Whether the day has a slot for each of its stops, shape (N,).
    """
    rounded = np.clip((arrive + SLOT_S // 2) // SLOT_S, 1, SLOTS - 1)
    slot = rounded.copy()
    sizes = np.diff(first)
    sequence = np.arange(len(slot)) - np.repeat(first[:-1], sizes)
    left = np.repeat(first[1:], sizes) - 1 - np.arange(len(slot))
    for step in range(1, int(sizes.max())):
        here = np.flatnonzero(sequence == step)
        slot[here] = np.maximum(slot[here], slot[here - 1] + 1)
    # Late days are pushed back from slot 95, each stop keeping one slot for each that follows.
    slot = np.minimum(slot, SLOTS - 1 - left)
    kept = np.minimum.reduceat(slot, first[:-1]) >= 1
    return slot, int((slot != rounded).sum()), kept


def _students(
    persons: dict[str, npt.NDArray[np.generic]],
    owner: npt.NDArray[np.int64],
    purpose: npt.NDArray[np.int64],
    stay_s: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    long_school = (purpose == _SCHOOL_PURPOSE) & (stay_s >= _SHORT_SCHOOL_S)
    attends = np.bincount(owner[long_school], minlength=len(persons["AgeGroup"])) > 0
    studies = (persons["ActivityCzechiaHTS"] == _STUDENT) | attends
    age = persons["AgeGroup"].astype(np.int64)
    return np.where(studies, np.where(age <= 2, 1, 2), 0)  # noqa: PLR2004 - groups 1, 2: to 18


def _groups(
    persons: dict[str, npt.NDArray[np.generic]],
    student: npt.NDArray[np.int64],
    worked: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the row of tables by group and the demographic group."""
    age = persons["AgeGroup"].astype(np.int64)
    activity = persons["ActivityCzechiaHTS"].astype(np.int64)
    uniform = seeds.stream(0, "survey-age").random(len(age))
    under = np.where(student > 0, 1.0, _UNDER_25)
    over = np.where(activity == _PENSIONER, _PENSIONER_OVER_65, _OTHER_OVER_65)
    young = (age <= 2) | ((age == 3) & (uniform < under))  # noqa: PLR2004
    old = (age == 8) | ((age == 7) & (uniform < over))  # noqa: PLR2004
    band = np.where(young, 0, np.where(old, 2, 1))
    employed = np.isin(activity, _EMPLOYED) | worked
    sex = persons["Gender"].astype(np.int64) - 1
    group = 6 * ~employed + 2 * band + sex
    return np.where(age == 1, CHILD_ROW, group), group


def _split(persons: int) -> npt.NDArray[np.int64]:
    """Return 0 for 70 %, 1 for 15 %, 2 for 15 % of the persons, by the hash of their number."""
    uniform = seeds.uniforms(0, "survey-split", np.arange(persons), 1)[:, 0]
    return np.digitize(uniform, [0.7, 0.85])


def _hour_factors() -> npt.NDArray[np.float64]:
    factor = np.ones((24, len(ACTIVITY_TYPES)))
    for word, windows in _HOURS.items():
        for start, stop, times in windows:
            factor[start:stop, ACTIVITY_TYPES.index(word)] = times
    return factor


def _keep(survey: Survey, kept: npt.NDArray[np.bool_]) -> Survey:
    """Drop the persons whose day holds more stops than slots."""
    sizes = np.diff(survey.first_stop)
    stops = np.repeat(kept, sizes)
    return Survey(
        person_id=survey.person_id[kept],
        weight=survey.weight[kept],
        row=survey.row[kept],
        group=survey.group[kept],
        student=survey.student[kept],
        split=survey.split[kept],
        first_stop=np.concatenate([[0], np.cumsum(sizes[kept])]),
        purpose=survey.purpose[stops],
        arrival=survey.arrival[stops],
        stay_min=survey.stay_min[stops],
        counts=survey.counts,
    )
