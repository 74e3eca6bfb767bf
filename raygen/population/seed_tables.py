"""Tables of household composition that the seed sample is drawn from.

No public-use microdata can be shipped, so the seed is a model: aggregates of the American Time Use
Survey 2003-2016 (BLS, public data), of its Californian respondents where they are enough and drawn
towards the national figures where they are few. ``seed_tables.json`` holds the shipped aggregates;
``python -m raygen.population.seed_tables ATUS_DIR`` makes it again.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from raygen.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SHIPPED = Path(__file__).with_name("seed_tables.json")
"""The aggregates that come with raygen."""

LIVING = ("alone", "adults", "lone_with_child", "couple", "couple_with_child")
"""Kinds of household by its head: alone; with adults and no partner; with a child under 18 and no
partner; with a partner; with both."""

ALONE, ADULTS, LONE_WITH_CHILD, COUPLE, COUPLE_WITH_CHILD = range(5)

SIZES = 8
"""Household sizes told apart: 1 to 7, and 8 or more."""

HEAD_BANDS = (18, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80)
"""First year of each age band of a head; the survey gives 80 or more as one."""

PERSON_BANDS = (16, 18, 20, 22, *HEAD_BANDS[1:])
"""First year of each age band of a person in the labour tables."""

DECILES = 10

_PRIOR = 50.0  # respondents: weight of the national figure in a Californian cell

# Assumed: share of non-partnered respondents living with others, by head band, who head their
# household (the rest live with parents, children or flatmates who do). The survey does not say.
_HEADS = np.array([0.2, 0.35, 0.5, 0.55, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.55, 0.5])

_INCOME_ORDER = tuple(
    "< 5000|5000-7499|7500-9999|10000-12499|12500-14999|15000-19999|20000-24999|25000-29999|"
    "30000-34999|35000-39999|40000-49999|50000-59999|60000-74999|75000-99999|100000-149999|"
    "150000+".split("|")
)


@dataclass(frozen=True)
class SeedTables:
    """Aggregates; each probability table sums to 1 over its last axis where it has outcomes.

    L = kinds of household, H = head bands, P = person bands.
    """

    households: FloatArray
    """Share of households, (L, SIZES, H); sums to 1 over all."""

    head_female: FloatArray
    """P(head is female), (L, H)."""

    youngest_child: FloatArray
    """P(age of the youngest child = 0..17), (2, H, 18); first axis: without or with a partner."""

    labour: FloatArray
    """P(employed, unemployed, not in the labour force), (3, 2, P, 3): context, sex, band. Context:
    no partner; partner and no child under 6; partner and child under 6."""

    partner_employed: FloatArray
    """P(the partner works), (2, 2, H): head's sex, head employed (no, yes)."""

    college: FloatArray
    """P(enrolled), (3, P): employment status, band; 0 from 50 years on, where it is not asked."""

    full_time: FloatArray
    """P(full time | employed and enrolled), (P,)."""

    income_decile: FloatArray
    """P(decile of household income), (L, 3, 3, 10): kind, head and partner at work, head's age
    (under 35, 35-64, 65 and over)."""


def load(path: Path = SHIPPED) -> SeedTables:
    """Read the aggregates.

    Raises
    ------
    DataError
        If the file cannot be read or a table is missing or of the wrong shape.
    """
    try:
        text = json.loads(path.read_text())["tables"]
        tables = {name: np.asarray(text[name], dtype=np.float64) for name in _shapes()}
    except (OSError, ValueError, KeyError) as error:
        msg = f"{path}: not a file of seed tables: {error!r}"
        raise DataError(msg) from None
    for name, shape in _shapes().items():
        if tables[name].shape != shape:
            msg = f"{path}: {name}: shape must be {shape}, got {tables[name].shape}"
            raise DataError(msg)
    return SeedTables(**tables)


def _shapes() -> dict[str, tuple[int, ...]]:
    kinds, heads, persons = len(LIVING), len(HEAD_BANDS), len(PERSON_BANDS)
    return {
        "households": (kinds, SIZES, heads),
        "head_female": (kinds, heads),
        "youngest_child": (2, heads, 18),
        "labour": (3, 2, persons, 3),
        "partner_employed": (2, 2, heads),
        "college": (3, persons),
        "full_time": (persons,),
        "income_decile": (kinds, 3, 3, DECILES),
    }


def band(age: npt.NDArray[np.integer], edges: tuple[int, ...]) -> IntArray:
    """Return the band of each age; ages below the first edge get band 0."""
    return np.maximum(np.searchsorted(np.array(edges), age, side="right") - 1, 0)


@dataclass(frozen=True)
class _Respondents:
    """Respondents of 16 and over, R of them."""

    weight: FloatArray
    californian: BoolArray
    age: IntArray
    female: IntArray
    employment: IntArray
    student: IntArray  # -1 where not asked
    full_time: BoolArray
    couple: BoolArray
    partner_works: BoolArray
    size: IntArray
    youngest: IntArray  # -1 where no child under 18
    living: IntArray
    household_weight: FloatArray  # 0 where the respondent does not stand for a household
    income_low: FloatArray  # share of households below the bracket and up to its end
    income_high: FloatArray


def fit(directory: Path) -> SeedTables:
    """Fit the aggregates to the respondents of the American Time Use Survey.

    Parameters
    ----------
    directory
        Holds ``respondents.parquet`` and ``cps.parquet`` of the package cran/atus.

    Returns
    -------
    tables
        Weighted by the survey; a household's weight is its respondent's over the number of
        members that could have stood for it.
    """
    r = _read(directory)
    head, person = band(r.age, HEAD_BANDS), band(r.age, PERSON_BANDS)
    shapes = _shapes()
    heads = r.household_weight > 0
    weight = r.household_weight
    young = (r.youngest >= 0) & (r.youngest < 6)  # noqa: PLR2004  # school age
    context = np.where(r.couple, 1 + young, 0)
    enrolled = r.student >= 0
    at_school = (r.employment == 0) & (r.student == 1)
    partnered = r.couple & heads
    with_child = heads & (r.youngest >= 0)
    works = (r.employment == 0).astype(np.int64)
    students = np.stack([context * 0 + r.employment, person, r.student], axis=1)[enrolled]
    college = _share(r, r.weight, students, (3, len(PERSON_BANDS), 2), enrolled)[..., 1]
    return SeedTables(
        households=_household_shares(r, head),
        head_female=_share(r, weight, _rows(heads, r.living, head, r.female), (5, 13, 2), heads)[
            ..., 1
        ],
        youngest_child=_share(
            r,
            weight,
            _rows(with_child, r.couple.astype(np.int64), head, r.youngest),
            shapes["youngest_child"],
            with_child,
        ),
        labour=_share(
            r,
            r.weight,
            _rows(r.age > 0, context, r.female, person, r.employment),
            shapes["labour"],
            r.age > 0,
        ),
        partner_employed=_share(
            r,
            weight,
            _rows(partnered, r.female, works, head, r.partner_works.astype(np.int64)),
            (2, 2, 13, 2),
            partnered,
        )[..., 1],
        college=np.where(np.array(PERSON_BANDS) < 50, college, 0.0),  # noqa: PLR2004
        full_time=_share(
            r,
            r.weight,
            _rows(at_school, person, r.full_time.astype(np.int64)),
            (len(PERSON_BANDS), 2),
            at_school,
        )[..., 1],
        income_decile=_income_deciles(r),
    )


def _rows(mask: BoolArray, *columns: IntArray) -> IntArray:
    return np.stack(columns, axis=1)[mask]


def _share(
    r: _Respondents, weight: FloatArray, cells: IntArray, shape: tuple[int, ...], mask: BoolArray
) -> FloatArray:
    """Return P(last axis | others), the state's cells drawn towards the nation's.

    A cell that the nation lacks too takes the mean over all cells.
    """
    flat = np.ravel_multi_index(tuple(cells.T), shape)
    size = int(np.prod(shape))
    nation = np.bincount(flat, weight[mask], size).reshape(shape)
    state = np.bincount(flat, weight[mask] * r.californian[mask], size).reshape(shape)
    count = np.bincount(flat, r.californian[mask], size).reshape(shape).sum(axis=-1, keepdims=True)
    overall = nation.reshape(-1, shape[-1]).sum(axis=0)
    mean = nation.mean() * 1e-6
    nation = nation + mean * overall / overall.sum()
    nation /= nation.sum(axis=-1, keepdims=True)
    state = state / np.maximum(state.sum(axis=-1, keepdims=True), 1e-300)
    return (count * state + _PRIOR * nation) / (count + _PRIOR)


def _household_shares(r: _Respondents, head: IntArray) -> FloatArray:
    """Return the share of each (kind, size, head band), state and nation mixed by kind."""
    shape = _shapes()["households"]
    flat = np.ravel_multi_index((r.living, np.minimum(r.size, SIZES) - 1, head), shape)
    cells = [
        np.bincount(flat, r.household_weight * keep, int(np.prod(shape)))
        for keep in (r.californian, np.ones(len(flat)))
    ]
    state, nation = (cell / cell.sum() for cell in cells)
    count = np.bincount(flat, r.californian, len(state))
    mixed = (count * state + _PRIOR / 10 * nation) / (count + _PRIOR / 10)
    return (mixed / mixed.sum()).reshape(shape)


def _income_deciles(r: _Respondents) -> FloatArray:
    """Spread each household's income bracket over the deciles of its survey year."""
    edges = np.arange(DECILES + 1) / DECILES
    width = np.maximum(r.income_high - r.income_low, 1e-12)
    overlap = np.minimum(r.income_high[:, None], edges[1:]) - np.maximum(
        r.income_low[:, None], edges[:-1]
    )
    spread = np.maximum(overlap, 0) / width[:, None]  # (R, 10)
    workers = (r.employment == 0).astype(np.int64) + (r.couple & r.partner_works)
    age = np.digitize(r.age, [35, 65])
    shape = _shapes()["income_decile"]
    flat = np.ravel_multi_index((r.living, workers, age), shape[:3])
    known = (r.household_weight > 0) & (r.income_low >= 0)
    parts = [
        np.stack(
            [
                np.bincount(flat, r.household_weight * keep * s, int(np.prod(shape[:3])))
                for s in spread.T
            ],
            axis=1,
        )
        for keep in (known & r.californian, known)
    ]
    state, nation = parts
    count = np.bincount(flat, known & r.californian, len(state))[:, None]
    nation = nation + nation.sum(axis=0) * 1e-6
    nation /= nation.sum(axis=1, keepdims=True)
    state = state / np.maximum(state.sum(axis=1, keepdims=True), 1e-300)
    return ((count * state + _PRIOR * nation) / (count + _PRIOR)).reshape(shape)


def _read(directory: Path) -> _Respondents:
    answers = pq.read_table(directory / "respondents.parquet").sort_by("tucaseid")
    people = pq.read_table(directory / "cps.parquet").sort_by("tucaseid")

    def words(table: object, name: str) -> npt.NDArray[np.str_]:
        return table.column(name).cast("string").fill_null("").to_numpy().astype(str)  # pyright: ignore[reportAttributeAccessIssue]

    age = people.column("age").to_numpy().astype(np.int64)
    labour = words(answers, "labor_status")
    employment = np.select(
        [np.char.startswith(labour, "employed"), np.char.startswith(labour, "unemployed")],
        [0, 1],
        2,
    )
    student = words(answers, "student_status")
    couple = words(answers, "partner_hh") != "none"
    size = answers.column("hh_size").to_numpy().astype(np.int64)
    youngest = answers.column("hh_child_youngest_age").fill_null(-1).to_numpy().astype(np.int64)
    child = youngest >= 0
    living = np.select(
        [couple & child, couple, child, size > 1],
        [COUPLE_WITH_CHILD, COUPLE, LONE_WITH_CHILD, ADULTS],
        ALONE,
    )
    size = np.maximum(size, 1 + couple + child)
    weight = answers.column("wt").to_numpy()
    household_weight = np.where(couple, weight / 2, weight)
    household_weight[(living == ADULTS) | (living == LONE_WITH_CHILD)] *= _HEADS[
        band(age, HEAD_BANDS)
    ][(living == ADULTS) | (living == LONE_WITH_CHILD)]
    household_weight[living == ADULTS] /= 1.2  # assumed: some of these share the headship
    household_weight[age < HEAD_BANDS[0]] = 0
    year = answers.column("tuyear").to_numpy().astype(np.int64)
    low, high = _income_ranks(words(people, "famincome"), year, household_weight)
    everyone = _Respondents(
        weight=weight,
        californian=words(people, "state") == "CA",
        age=age,
        female=(words(people, "sex") == "female").astype(np.int64),
        employment=employment.astype(np.int64),
        student=np.select([student == "yes", student == "no"], [1, 0], -1).astype(np.int64),
        full_time=words(answers, "ptft") == "FT",
        couple=couple,
        partner_works=words(answers, "partner_works") == "yes",
        size=size,
        youngest=youngest,
        living=living.astype(np.int64),
        household_weight=household_weight,
        income_low=low,
        income_high=high,
    )
    keep = age >= PERSON_BANDS[0]
    return _Respondents(**{name: column[keep] for name, column in vars(everyone).items()})


def _income_ranks(
    bracket: npt.NDArray[np.str_], year: IntArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the share of the year's households below each bracket and to its end, or -1."""
    low, high = np.full(len(year), -1.0), np.full(len(year), -1.0)
    for one in np.unique(year):
        shares = np.array(
            [weight[(year == one) & (bracket == name)].sum() for name in _INCOME_ORDER]
        )
        edges = np.concatenate([[0.0], np.cumsum(shares) / shares.sum()])
        for position, name in enumerate(_INCOME_ORDER):
            rows = (year == one) & (bracket == name)
            low[rows], high[rows] = edges[position], edges[position + 1]
    return low, high


def save(tables: SeedTables, path: Path) -> None:
    """Write the aggregates as JSON, four significant digits each."""
    text = {
        "label": "calibrated: ATUS 2003-2016, BLS public data",
        "source": "American Time Use Survey, Bureau of Labor Statistics; weighted aggregates of "
        "Californian respondents, drawn towards the nation's where a cell is thin",
        "tables": {
            name: np.reshape([float(f"{x:.4g}") for x in table.ravel()], table.shape).tolist()
            for name, table in vars(tables).items()
        },
    }
    path.write_text(json.dumps(text, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    save(fit(Path(sys.argv[1])), SHIPPED)
