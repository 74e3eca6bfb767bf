"""Time use as targets: minutes away from home by activity type and demographic group.

Input is the American Time Use Survey 2003–2016 in the layout of the R package ``atus``: minutes by
activity code and respondent, without place or clock time. ``CODES`` maps its codes to the 15
types of DataFusion (Ma et al., arXiv:2503.15779, Table 1 and 4.2.3). Where a minute was spent is
told by the travel codes (tier 18): a type counts as away from home on days with travel for its
purpose, else its minutes are spent at home (work without a trip to work is telework). Travel is
halved between home (the way there, travel counts to the activity being left) and the type.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import ArrowException

from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES, DEMOGRAPHIC_GROUPS, HOME, STUDENT, WORK

CODES: tuple[tuple[str, str, str], ...] = (
    ("01", "home", ""),
    ("02", "home", ""),
    ("03", "home", ""),
    ("030110", "caregiving", "1803"),  # attending a child's events
    ("030111", "caregiving", "1803"),  # waiting for or with a child
    ("030112", "pickup_drop", "1803"),
    ("030202", "caregiving", "1803"),  # school meetings
    ("0303", "caregiving", "1803"),  # health care of a child
    ("0304", "caregiving", "1803"),
    ("030503", "pickup_drop", "1803"),
    ("04", "caregiving", "1804"),
    ("040112", "pickup_drop", "1804"),
    ("040507", "pickup_drop", "1804"),
    ("05", "work", "1805"),
    ("0504", "other", "1805"),  # job search
    ("06", "school", "1806"),
    ("0603", "home", ""),  # homework
    ("07", "shop_goods", "1807"),
    ("070102", "errands", "1807"),  # fuel
    ("070103", "meals_out", "1807"),  # food that is no groceries
    ("08", "shop_services", "1808"),
    ("0801", "pickup_drop", "1808"),  # paid child care
    ("0802", "errands", "1808"),  # bank
    ("0804", "healthcare", "1808"),
    ("09", "shop_services", "1809"),
    ("10", "errands", "1810"),
    ("11", "meals_out", "1811"),
    ("1201", "social", "181201"),
    ("1202", "social", "181202"),
    ("1203", "home", ""),  # television, reading, computer
    ("120301", "leisure", "181283"),  # relaxing, thinking
    ("120307", "leisure", "181283"),  # games
    ("1204", "leisure", "181204"),
    ("12", "home", ""),
    ("1301", "exercise", "181301"),
    ("1302", "leisure", "181302"),
    ("13", "exercise", "181301"),
    ("14", "worship", "1814"),
    ("15", "other", "1815"),
    ("16", "home", ""),
    ("18", "home", ""),  # travel is shared out by its purpose
    ("50", "home", ""),
)
"""Prefix of the activity code (the longest that fits counts), type, and the travel code whose
presence puts the minutes away from home (empty: always at home)."""

DAY_KINDS = ("weekday", "weekend")
"""Monday to Friday without holidays; Saturdays, Sundays and holidays, as BLS tables have it."""

_RELAX_TRAVEL = ("181203", "181283")  # renamed between the years
_LUNCH_MIN = 30.0  # eaten at work on a day of 6 h there without a trip for a meal (assumed)
_LONG_WORK_MIN = 360.0
_HOME_MEALS = 2 / 3  # of the usual eating that stays at home on a day with a meal out (assumed)
_DAY_MIN = 1440.0


@dataclass(frozen=True)
class TimeUse:
    """Targets by kind of day (``DAY_KINDS``), demographic group (12) and activity type (15)."""

    minutes: npt.NDArray[np.float64]
    """D_g in minutes a day, shape (2, 12, 15), rows sum to 1440; stay-at-home days included."""
    stay_home: npt.NDArray[np.float64]
    """Share of days without any travel, shape (2, 12)."""
    participation: npt.NDArray[np.float64]
    """Share of days with a type away from home, shape (2, 12, 15)."""
    log_minutes: npt.NDArray[np.float64]
    """Mean and standard deviation of the natural log of a type's minutes, shape (15, 2)."""
    respondents: npt.NDArray[np.int64]
    """Respondents behind each row, shape (2, 12)."""
    minutes_anywhere: npt.NDArray[np.float64]
    """As ``minutes``, but each code's minutes go to its type wherever they were spent, as
    DataFusion's Table 6 has it: (2, 12, 15)."""
    student_stay_home: npt.NDArray[np.float64]
    """Share of days without travel of non-working pupils of 15 to 17, shape (2,)."""
    students: npt.NDArray[np.float64]
    """Shares of a group by ``raygen.taxonomy.STUDENT``, shape (12, 3): those under 18 are at
    school, as in the population (assumed), of the others those enrolled are at college."""


def read_time_use(directory: Path, state: str = "CA", half: int | None = None) -> TimeUse:
    """Compute the time-use targets of a state.

    Parameters
    ----------
    directory
        Holds ``respondents.parquet``, ``cps.parquet`` and ``minutes.parquet``.
    state
        Two-letter code, or "" for the whole country.
    half
        0 or 1 takes every second respondent, for a real-against-real floor.

    Returns
    -------
    time_use
        Weighted by the respondents' person-day weights.

    Raises
    ------
    DataError
        If a file or column is missing, the state is unknown, or a group has no respondent.
    """
    people = _respondents(directory, state, half)
    minutes = _read(directory / "minutes.parquet", ["tucaseid", "tiercode", "dur"])
    ids = people["tucaseid"].astype(np.int64)
    order = np.argsort(ids)
    case = minutes["tucaseid"].astype(np.int64)
    where = np.minimum(np.searchsorted(ids[order], case), len(ids) - 1)
    known = ids[order][where] == case
    owner = order[where[known]]
    code = minutes["tiercode"][known].astype(np.int64)
    spent = minutes["dur"][known].astype(np.float64)
    travelled = np.bincount(owner[code // 10_000 == 18], minlength=len(ids)) > 0  # noqa: PLR2004
    group = _group(people)
    weekend = _is_weekend(people)
    weight = people["wt"].astype(np.float64)
    located, anywhere = _minutes(owner, code, spent, group, weight)
    shape = (len(DAY_KINDS), len(DEMOGRAPHIC_GROUPS))
    cell = weekend * shape[1] + group
    respondents = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    if respondents.min() == 0:
        day, row = np.argwhere(respondents == 0)[0]
        msg = f"{directory}: state {state!r}: no respondent in group {DEMOGRAPHIC_GROUPS[row]}, "
        raise DataError(msg + f"{DAY_KINDS[day]}")
    log = np.log(np.maximum(located, 1.0))
    away = located > 0
    n = np.maximum((weight[:, None] * away).sum(0), 1e-9)
    mean = (weight[:, None] * away * log).sum(0) / n
    spread = np.sqrt((weight[:, None] * away * (log - mean) ** 2).sum(0) / n)
    pupil = (people["age"].astype(np.int64) <= 17) & (group >= 6)  # noqa: PLR2004
    return TimeUse(
        minutes=_mean(located, cell, weight, shape),
        stay_home=_mean(~travelled[:, None], cell, weight, shape)[..., 0],
        participation=_mean(away, cell, weight, shape),
        log_minutes=np.stack([mean, np.maximum(spread, 0.3)], axis=1),
        respondents=respondents,
        minutes_anywhere=_mean(anywhere, cell, weight, shape),
        student_stay_home=np.array(
            [
                np.average(
                    ~travelled[pupil & (weekend == d)], weights=weight[pupil & (weekend == d)]
                )
                for d in (0, 1)
            ]
        ),
        students=_students(people, group, weight),
    )


def _students(
    people: dict[str, npt.NDArray[np.generic]],
    group: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Return the shares of each group without a place of study, at school and at college."""
    under_age = people["age"].astype(np.int64) <= 17  # noqa: PLR2004
    enrolled = people["student_status"].astype(str) == "yes"
    status = np.where(under_age, 1, np.where(enrolled, 2, 0))
    cell = group * len(STUDENT) + status
    sums = np.bincount(cell, weight, len(DEMOGRAPHIC_GROUPS) * len(STUDENT))
    table = sums.reshape(len(DEMOGRAPHIC_GROUPS), len(STUDENT))
    return (table / table.sum(1, keepdims=True)).astype(np.float64)


def _minutes(
    owner: npt.NDArray[np.int64],
    code: npt.NDArray[np.int64],
    spent: npt.NDArray[np.float64],
    group: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return minutes by respondent and type, located by the travel codes and wherever."""
    people = len(group)
    rule = _rule_of(code)
    by_rule = np.zeros((people, len(CODES)))
    np.add.at(by_rule, (owner, rule), spent)
    to_type = np.zeros((len(CODES), len(ACTIVITY_TYPES)))
    for row, (_, word, _) in enumerate(CODES):
        to_type[row, ACTIVITY_TYPES.index(word)] = 1.0
    keys = sorted({key for _, _, key in CODES if key})
    travel = np.zeros((people, len(keys)))
    for column, key in enumerate(keys):
        wanted = _RELAX_TRAVEL if key in _RELAX_TRAVEL else (key,)
        fits = np.any([code // 10 ** (6 - len(k)) == int(k) for k in wanted], axis=0)
        travel[:, column] = np.bincount(owner[fits], spent[fits], minlength=people)
    anywhere = by_rule @ to_type
    key_of = np.array([keys.index(key) if key else -1 for _, _, key in CODES])
    away = by_rule * np.where(key_of >= 0, travel[:, key_of] > 0, 0)
    _share_meals(away, by_rule, CODES.index(("11", "meals_out", "1811")), group, weight)
    # Half of the travel of a purpose belongs to the types it served, by their minutes.
    for column in range(len(keys)):
        rows = np.flatnonzero(key_of == column)
        total = away[:, rows].sum(1, keepdims=True)
        away[:, rows] *= 1 + 0.5 * travel[:, column, None] / np.maximum(total, 1.0)
    located = away @ to_type
    _lunch_at_work(located, by_rule[:, CODES.index(("11", "meals_out", "1811"))])
    located[:, HOME] = 0
    located *= np.minimum(1.0, _DAY_MIN / np.maximum(located.sum(1), 1.0))[:, None]
    for table in (located, anywhere):
        table[:, HOME] = 0
        table[:, HOME] = np.maximum(_DAY_MIN - table.sum(1), 0.0)
    return located, anywhere


def _share_meals(
    away: npt.NDArray[np.float64],
    by_rule: npt.NDArray[np.float64],
    column: int,
    group: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
) -> None:
    """Keep at home what is usually eaten there, on days with a trip for a meal; in place."""
    eating = by_rule[:, column]
    out = away[:, column] > 0
    usual = np.zeros(len(DEMOGRAPHIC_GROUPS))
    for row in range(len(usual)):
        here = (group == row) & ~out
        usual[row] = np.average(eating[here], weights=weight[here]) if here.any() else 0.0
    kept = np.maximum(eating / 3, eating - _HOME_MEALS * usual[group])
    away[:, column] = np.where(out, kept, 0.0)


def _lunch_at_work(located: npt.NDArray[np.float64], eating: npt.NDArray[np.float64]) -> None:
    long_day = (located[:, WORK] >= _LONG_WORK_MIN) & (eating >= 2 * _LUNCH_MIN)
    no_meal_out = located[:, ACTIVITY_TYPES.index("meals_out")] == 0
    located[:, WORK] += np.where(long_day & no_meal_out, _LUNCH_MIN, 0.0)


def _rule_of(code: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return for each activity code the row of ``CODES`` with the longest prefix that fits."""
    distinct, back = np.unique(code, return_inverse=True)
    rule = np.empty(len(distinct), np.int64)
    for row, value in enumerate(distinct.tolist()):
        text = f"{value:06d}"
        fits = [i for i, (prefix, _, _) in enumerate(CODES) if text.startswith(prefix)]
        if not fits:
            msg = f"time use: activity code {text} has no type"
            raise DataError(msg)
        rule[row] = max(fits, key=lambda i: len(CODES[i][0]))
    return rule[back]


def _mean(
    values: npt.NDArray[np.generic],
    cell: npt.NDArray[np.int64],
    weight: npt.NDArray[np.float64],
    shape: tuple[int, int],
) -> npt.NDArray[np.float64]:
    """Return weighted means by cell, shape (*shape, columns)."""
    sums = np.zeros((shape[0] * shape[1], values.shape[1]))
    np.add.at(sums, cell, values.astype(np.float64) * weight[:, None])
    total = np.bincount(cell, weight, minlength=len(sums))
    return (sums / np.maximum(total, 1e-9)[:, None]).reshape(*shape, -1)


def _respondents(
    directory: Path, state: str, half: int | None
) -> dict[str, npt.NDArray[np.generic]]:
    left = ["tucaseid", "tuyear", "diary_mo", "diary_day", "holiday", "labor_status", "wt"]
    left += ["student_status"]
    people = _read(directory / "respondents.parquet", left)
    cps = _read(directory / "cps.parquet", ["tucaseid", "state", "sex", "age"])
    if not np.array_equal(people["tucaseid"], cps["tucaseid"]):
        order = np.argsort(cps["tucaseid"])
        place = order[np.searchsorted(cps["tucaseid"][order], people["tucaseid"])]
        cps = {name: column[place] for name, column in cps.items()}
    table = people | cps
    here = np.ones(len(table["state"]), bool) if not state else table["state"] == state
    if not here.any():
        msg = f"{directory / 'cps.parquet'}: state: no respondent in {state!r}"
        raise DataError(msg)
    if half is not None:
        here &= np.cumsum(here) % 2 == half
    return {name: column[here] for name, column in table.items()}


def _read(path: Path, names: list[str]) -> dict[str, npt.NDArray[np.generic]]:
    try:
        table = pq.read_table(path, columns=names)
    except (OSError, ArrowException) as error:
        msg = f"{path}: cannot be read as Parquet with columns {names}: {error}"
        raise DataError(msg) from None
    plain: dict[str, npt.NDArray[np.generic]] = {}
    for name in names:
        column = table.column(name)
        if pa.types.is_dictionary(column.type):
            column = pc.cast(column, pa.string())
        plain[name] = column.to_numpy()
    return plain


def _group(people: dict[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.int64]:
    band = np.digitize(people["age"].astype(np.int64), [25, 65])
    labour = people["labor_status"].astype(str)
    non_worker = ~np.char.startswith(labour, "employed")
    return (6 * non_worker + 2 * band + (people["sex"] == "female")).astype(np.int64)


def _is_weekend(people: dict[str, npt.NDArray[np.generic]]) -> npt.NDArray[np.int64]:
    months = (people["tuyear"].astype(np.int64) - 1970) * 12 + people["diary_mo"].astype(np.int64)
    date = (months - 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    date += people["diary_day"].astype(np.int64) - 1
    weekday = (date + 3) % 7  # 1970-01-01 was a Thursday
    return ((weekday >= 5) | (people["holiday"] == "yes")).astype(np.int64)  # noqa: PLR2004
