"""``raygen evaluate``: how close a population's days are to what was observed.

Preset ``data-fusion`` (Ma et al., arXiv:2503.15779, 6.2): Jensen–Shannon divergence of chain
length, duration, type, start and end time against a travel survey (Table 3), and minutes a day of
12 demographic groups against time use (Table 6); with GPS day chains, transitions against theirs
(Table 4). Definitions: ``raygen.metrics``, ``raygen.transitions``.

Each figure stands beside two floors. *Real against real*: the survey's held-out persons against
its other persons; the time use of two halves of the respondents. *Baseline*: a Markov chain by slot
and group fitted to the survey; the survey's own minutes, without an adapter.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.dataset as ds

from raygen import manifest, schema, seeds, trace_days
from raygen.errors import ConfigError, DataError
from raygen.markov import fit_markov
from raygen.metrics import QUANTITIES, chain_divergences, jsd, minutes_by_type
from raygen.paper_tables import (
    PAPER_TABLE_3,
    PAPER_TABLE_5,
    PAPER_TABLE_6,
    PAPER_TYPES,
    TABLE_5_METRICS,
    table_3,
    table_4,
    table_5,
    table_6,
)
from raygen.results import PaperTable, Results, Row
from raygen.storage import Store
from raygen.survey import CHILD_ROW, GROUP_ROWS, Survey, expand, read_survey
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S, DEMOGRAPHIC_GROUPS, HOME, SLOT_S, SLOTS
from raygen.timeuse import DAY_KINDS, TimeUse, read_time_use
from raygen.trace_days import trace_rows

PRESETS = ("data-fusion",)

_DATA = "Česko v pohybu 2017–2019; American Time Use Survey 2003–2016, California"
_TRAVELLERS = "population, weekday travellers"
_CHILD_AGE = 15
_SATURDAY = 5
_DAY_MIN = 1440.0


@dataclass(frozen=True)
class PopulationDays:
    """Day chains of a population; N person-days."""

    chains: npt.NDArray[np.int8]
    """Shape (N, 96)."""
    row: npt.NDArray[np.int64]
    """Demographic group, or ``CHILD_ROW`` (N)."""
    weekend: npt.NDArray[np.bool_]
    """Whether the day is a Saturday or Sunday (N)."""


def evaluate(
    preset: str,
    generated: Path,
    reference: Path,
    city: Path | None = None,
    traces: Path | None = None,
) -> Results:
    """Compare a population with what was observed.

    Parameters
    ----------
    preset
        One of ``PRESETS``.
    generated
        Population directory.
    reference
        Directory with the folders ``czechia_hts`` and ``atus``.
    city
        The population's city, for where people go; left out without it.
    traces
        Folder of GPS day chains, for Table 4 (``raygen.trace_days``); left out without it.

    Returns
    -------
    results
        See the module.

    Raises
    ------
    ConfigError
        If there is no such preset.
    DataError
        If the population, a survey or the traces cannot be read.
    """
    if preset not in PRESETS:
        msg = f"evaluate: preset must be one of {list(PRESETS)}, got {preset!r}"
        raise ConfigError(msg)
    survey = read_survey(reference / "czechia_hts")
    time_use = read_time_use(reference / "atus")
    days = population_days(generated)
    rows = survey_rows(days, survey, time_use) + group_rows(days, survey, time_use)
    halves = tuple(read_time_use(reference / "atus", half=half) for half in (0, 1))
    kinds: list[str] = []
    for kind in (0, 1):
        here = days.weekend == bool(kind)
        if here.any():
            rows += minutes_rows(days.chains[here], days.row[here], kind, time_use, halves)
            rows += stay_home_rows(days.chains[here], days.row[here], kind, time_use)
            kinds.append(DAY_KINDS[kind])
    if city is not None:
        rows += place_rows(generated, city)
    tables: list[PaperTable] = []
    if DAY_KINDS[0] in kinds:
        tables += [table_3(rows, {_TRAVELLERS: "Generated days"}, _DATA)]
        tables += [table_5(rows, DAY_KINDS[0], _DATA)]
    tables += [table_6(rows, kind, _DATA) for kind in kinds]
    if traces is not None and DAY_KINDS[0] in kinds:
        rows += trace_rows(days.chains[~days.weekend], weekdays_of(survey, time_use), traces)
        tables.append(table_4(rows, {trace_days.CASE: "Generated days"}, f"GPS of {traces}"))
    return Results(
        name="data-fusion-population",
        command=f"raygen evaluate data-fusion --generated {generated} --reference {reference}",
        data=_DATA,
        rows=rows,
        tables=tables,
        notes=[
            "Survey rows: those who leave home on a weekday, the survey reweighted to the "
            "population's groups. The survey is Czech, the population is not: with adapters, "
            "minutes follow time use and the divergences from the survey cannot reach the floor.",
            "Children under 15 are not in time use and not in the rows of minutes.",
        ],
    )


def population_days(directory: Path) -> PopulationDays:
    """Read a population's activities as day chains.

    A slot belongs to an activity from its arrival on, rounded to the quarter hour; travel counts
    to the activity being left.

    Raises
    ------
    DataError
        If a table or the manifest is missing or a column differs from the schema.
    """
    persons = _table(directory, "persons", ["person_id", "age", "demographic_group"])
    activities = _table(
        directory, "activities", ["person_id", "day", "sequence", "type", "start_s"]
    )
    config = manifest.load(Store(str(directory))).identity.config
    first_day = int(config["chains"]["day_of_week"])
    ids = activities.column("person_id").to_numpy()
    day = activities.column("day").to_numpy().astype(np.int64)
    order = np.lexsort((activities.column("sequence").to_numpy(), day, ids))
    ids, day = ids[order], day[order]
    kind = _codes(activities, "type", ACTIVITY_TYPES)[order]
    start = activities.column("start_s").to_numpy()[order].astype(np.int64) - day * DAY_S
    fresh = np.append(True, (np.diff(ids) != 0) | (np.diff(day) != 0))[: len(ids)]
    person_day = np.cumsum(fresh) - 1
    slot = np.clip((start + SLOT_S // 2) // SLOT_S, 0, SLOTS - 1)
    slot[fresh] = 0
    chains = np.zeros((int(fresh.sum()), SLOTS), np.int8)
    mark = np.full(chains.shape, -1, np.int64)
    mark[person_day, slot] = np.arange(len(ids))  # of two in one slot the later one stays
    position = np.maximum.accumulate(np.where(mark == -1, 0, np.arange(SLOTS)), axis=1)
    chains[:] = kind[np.take_along_axis(mark, position, axis=1)]
    person_ids = persons.column("person_id").to_numpy()
    sorter = np.argsort(person_ids)
    where = sorter[np.searchsorted(person_ids[sorter], ids[fresh])]
    group = persons.column("demographic_group").to_numpy().astype(np.int64)
    age = persons.column("age").to_numpy()
    row = np.where(age < _CHILD_AGE, CHILD_ROW, group)[where]
    return PopulationDays(chains, row, (first_day + day[fresh]) % 7 >= _SATURDAY)


def weekdays_of(survey: Survey, time_use: TimeUse) -> npt.NDArray[np.int8]:
    """Return the survey's persons' weekdays as chains of activity types, shape (N, 96)."""
    shares = np.concatenate(
        [time_use.participation[0], time_use.participation[0][6:8].mean(0, keepdims=True)]
    )
    return expand(survey, shares, time_use.log_minutes, 0, "evaluate")


def survey_rows(days: PopulationDays, survey: Survey, time_use: TimeUse) -> list[Row]:
    """Return the five divergences of those who leave home on weekdays, against the survey."""
    leaves = (days.chains != HOME).any(1) & ~days.weekend
    chains, row = days.chains[leaves], days.row[leaves]
    if len(chains) == 0:
        return []
    observed = weekdays_of(survey, time_use)
    size = np.bincount(survey.row, survey.weight, GROUP_ROWS)
    weight = (
        survey.weight
        * (np.bincount(row, minlength=GROUP_ROWS) / np.maximum(size, 1e-9))[survey.row]
    )
    test = survey.take("test")
    rest = np.setdiff1d(np.arange(len(survey.row)), test)
    markov = fit_markov(observed[rest], survey.row[rest], survey.weight[rest], GROUP_ROWS)
    uniform = seeds.uniforms(0, "evaluate-markov", np.arange(len(row)), SLOTS)
    found = chain_divergences(observed, chains, weight)
    floor = chain_divergences(observed[rest], observed[test], weight[rest], weight[test])
    baseline = chain_divergences(observed, markov.sample(row, uniform), weight)
    return [
        Row(
            case=_TRAVELLERS, metric=f"{name}_jsd", value=found[name],
            n=len(chains), floor=floor[name], baseline=baseline[name],
            baseline_name="Markov by slot and group", paper=PAPER_TABLE_3[name], mode="free",
        )
        for name in QUANTITIES
    ]  # fmt: skip


def group_rows(days: PopulationDays, survey: Survey, time_use: TimeUse) -> list[Row]:
    """Return Table 5's columns with the survey, of weekday travellers by group."""
    leaves = (days.chains != HOME).any(1) & ~days.weekend
    shares = np.concatenate(
        [time_use.participation[0], time_use.participation[0][6:8].mean(0, keepdims=True)]
    )
    observed = expand(survey, shares, time_use.log_minutes, 0, "evaluate")
    home = time_use.stay_home[0][:, None]
    away = time_use.minutes[0].copy()
    away[:, HOME] -= home[:, 0] * _DAY_MIN
    away /= 1 - home
    rows: list[Row] = []
    for group, name in enumerate(DEMOGRAPHIC_GROUPS):
        mine, theirs = leaves & (days.row == group), survey.row == group
        if not mine.any() or not theirs.any():
            continue
        output = minutes_by_type(days.chains[mine])
        answers = minutes_by_type(observed[theirs], survey.weight[theirs])
        paper = PAPER_TABLE_5[name]
        rows += [
            Row(
                case=f"{name}, {DAY_KINDS[0]}", metric=metric, value=value, n=int(mine.sum()),
                paper=figure,
            )
            for metric, value, figure in (
                (TABLE_5_METRICS[0], jsd(answers, output), paper[0]),
                (TABLE_5_METRICS[2], jsd(away[group], answers), paper[2]),
            )
        ]  # fmt: skip
    return rows


def place_rows(generated: Path, city: Path) -> list[Row]:
    """Return where people go: flows against the city's ``od.parquet``, visits by sub-region."""
    from raygen.city import open_city
    from raygen.flow_target import has_target
    from raygen.flows import activity_rows, od_rows

    place = open_city(str(city))
    flows = od_rows(generated, place) if has_target(place) else []
    return flows + activity_rows(generated, place)


def minutes_rows(
    chains: npt.NDArray[np.int8],
    row: npt.NDArray[np.int64],
    kind: int,
    time_use: TimeUse,
    halves: tuple[TimeUse, ...],
) -> list[Row]:
    """Return, for each group, the JSD of minutes against time use, and the minutes by type.

    Parameters
    ----------
    chains, row
        Days of one kind, stay-at-home days included, (N, 96) and (N).
    kind
        0 weekday, 1 weekend.
    time_use
        Targets; ``target`` of a row of minutes is D_g.
    halves
        The same of two halves of the respondents, for the floor.
    """
    rows: list[Row] = []
    for group, name in enumerate(DEMOGRAPHIC_GROUPS):
        mine = row == group
        if not mine.any():
            continue
        found, wanted = minutes_by_type(chains[mine]), time_use.minutes[kind, group]
        paper, printed = PAPER_TABLE_6[name]
        case = f"{name}, {DAY_KINDS[kind]}"
        rows.append(
            Row(
                case=case, metric="minutes_jsd", value=jsd(wanted, found), n=int(mine.sum()),
                floor=jsd(*(half.minutes[kind, group] for half in halves)), paper=paper,
                target=0.006, mode="free",
            )
        )  # fmt: skip
        rows += [
            Row(
                case=case, metric=f"minutes_{ACTIVITY_TYPES[t]}", value=float(found[t]),
                n=int(mine.sum()), paper=float(minutes), target=float(wanted[t]),
            )
            for t, minutes in zip(PAPER_TYPES, printed, strict=True)
        ]  # fmt: skip
    return rows


def stay_home_rows(
    chains: npt.NDArray[np.int8], row: npt.NDArray[np.int64], kind: int, time_use: TimeUse
) -> list[Row]:
    """Return each group's share of days at home beside time use's share without travel."""
    rows: list[Row] = []
    for group, name in enumerate(DEMOGRAPHIC_GROUPS):
        mine = row == group
        if mine.any():
            share = float((chains[mine] == HOME).all(1).mean())
            rows.append(
                Row(
                    case=f"{name}, {DAY_KINDS[kind]}", metric="stay_home_share", value=share,
                    n=int(mine.sum()), target=float(time_use.stay_home[kind, group]),
                )
            )  # fmt: skip
    return rows


def _table(directory: Path, name: str, columns: list[str]) -> pa.Table:
    """Read columns of one of a population's tables, all shards."""
    files = sorted((directory / name).glob("part-*.parquet"))
    if not files:
        msg = f"{directory / name}: no part-*.parquet; not a population directory"
        raise DataError(msg)
    table = ds.dataset([str(file) for file in files]).to_table(columns=columns)
    wanted = pa.schema([schema.POPULATION[name].field(column) for column in columns])
    for field in wanted:
        if table.schema.field(field.name).type != field.type:
            msg = f"{directory / name}.{field.name}: type must be {field.type}, got "
            raise DataError(msg + f"{table.schema.field(field.name).type}")
    return table


def _codes(table: pa.Table, name: str, words: tuple[str, ...]) -> npt.NDArray[np.int8]:
    """Return the codes of a dictionary column in the order of ``words``."""
    column = table.column(name).unify_dictionaries().combine_chunks()
    known = [words.index(word) for word in column.dictionary.to_pylist()]
    codes = column.indices.to_numpy(zero_copy_only=False)
    return np.array(known, np.int8)[codes]
