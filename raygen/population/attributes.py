"""Employment, school, income and vehicles of the seed's households and persons."""

import numpy as np
import numpy.typing as npt
from scipy.special import expit, ndtri

from raygen.population.members import SHARED, SLOTS, Households
from raygen.population.seed_tables import (
    ADULTS,
    ALONE,
    DECILES,
    HEAD_BANDS,
    PERSON_BANDS,
    SeedTables,
    band,
)
from raygen.taxonomy import EMPLOYMENT, ROLES, STUDENT

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

EMPLOYED, UNEMPLOYED, NOT_IN_LABOUR_FORCE = range(len(EMPLOYMENT))
NO_STUDENT, SCHOOL_PUPIL, COLLEGE = range(len(STUDENT))
ROLE = {name: code for code, name in enumerate(ROLES)}

WORKING_AGE, SCHOOL_AGE, ADULT_AGE, SENIOR_AGE = 16, 5, 18, 65

# Calibrated: median household income of Los Angeles County 2018-2022 and the spreads of log income
# below and above it that leave 15.4 % under $25,000 and 14.9 % over $200,000 (ACS, la_zips).
_MEDIAN_INCOME, _SPREAD_BELOW, _SPREAD_ABOVE = 83_000.0, 1.177, 0.845
_INCOME_BOUNDS = (1_000.0, 2_000_000.0)

# Assumed: a further member at work moves the household up this much in normal scores of income.
_FURTHER_WORKER = 0.3

# Assumed: unemployment of 2018-2022 over that of the survey's years.
_UNEMPLOYMENT = 0.7

_STILL_AT_SCHOOL = 0.35  # assumed: of the enrolled of 18, those in grade 12


def employment(tables: SeedTables, households: Households, rng: np.random.Generator) -> IntArray:
    """Draw the employment status of each member, (N, SLOTS), from the labour tables.

    Under 16 all are out of the labour force. The partner's work is drawn given the head's, the
    rest of the partner's status by the labour tables.
    """
    age, female, couple = households.age, households.female, households.couple
    small = np.any((age >= 0) & (age < 6), axis=1)  # noqa: PLR2004  # context of the labour tables
    context = np.zeros_like(age)
    context[couple, :2] = (1 + small[couple])[:, None]
    person_band = band(age, PERSON_BANDS)
    chance = tables.labour[context, female, person_band].copy()  # (N, SLOTS, 3)
    found = (1 - _UNEMPLOYMENT) * chance[..., UNEMPLOYED]
    chance[..., EMPLOYED] += found
    chance[..., UNEMPLOYED] -= found
    draws = rng.random(age.shape)
    status = (draws[..., None] >= np.cumsum(chance, axis=-1)[..., :2]).sum(axis=-1)
    head_works = (status[:, 0] == EMPLOYED).astype(np.int64)
    head_band = band(age[:, 0], HEAD_BANDS)
    works = rng.random(len(age)) < tables.partner_employed[female[:, 0], head_works, head_band]
    jobless = chance[:, 1, 1] / np.maximum(chance[:, 1, 1:].sum(axis=1), 1e-12)
    idle = np.where(draws[:, 1] < jobless, UNEMPLOYED, NOT_IN_LABOUR_FORCE)
    status[couple, 1] = np.where(works, EMPLOYED, idle)[couple]
    return np.where(age >= WORKING_AGE, status, NOT_IN_LABOUR_FORCE)


def student(
    tables: SeedTables, households: Households, status: IntArray, rng: np.random.Generator
) -> IntArray:
    """Draw the student status of each member, (N, SLOTS).

    Assumed: all of 5 to 17 are at school; the young of shared student homes are at college.
    """
    age = households.age
    chance = tables.college[status, band(age, PERSON_BANDS)]
    sharers = (households.kind == SHARED)[:, None] & (age[:, :1] < 25)  # noqa: PLR2004
    chance = np.where(sharers & (households.age.max(axis=1) < 25)[:, None], 0.95, chance)  # noqa: PLR2004
    enrolled = (age >= ADULT_AGE) & (rng.random(age.shape) < chance)
    finishing = (age == ADULT_AGE) & (rng.random(age.shape) < _STILL_AT_SCHOOL) & ~sharers
    at_school = ((age >= SCHOOL_AGE) & (age < ADULT_AGE)) | (enrolled & finishing)
    return np.select([at_school, enrolled], [SCHOOL_PUPIL, COLLEGE], NO_STUDENT)


def role(
    tables: SeedTables, age: IntArray, status: IntArray, enrolled: IntArray, uniform: FloatArray
) -> IntArray:
    """Return the role of each member, by the first rule that fits.

    Under 5: young child. At school: pupil. At college and not working full time: college student.
    Employed: worker. 65 or over: retiree. Otherwise homemaker.
    """
    full_time = (status == EMPLOYED) & (uniform < tables.full_time[band(age, PERSON_BANDS)])
    return np.select(
        [
            age < SCHOOL_AGE,
            enrolled == SCHOOL_PUPIL,
            (enrolled == COLLEGE) & ~full_time,
            status == EMPLOYED,
            age >= SENIOR_AGE,
        ],
        [
            ROLE["young_child"],
            ROLE["school_pupil"],
            ROLE["college_student"],
            ROLE["worker"],
            ROLE["retiree"],
        ],
        ROLE["homemaker"],
    )


def income(
    tables: SeedTables, households: Households, status: IntArray, rng: np.random.Generator
) -> FloatArray:
    """Draw household income in dollars a year, (N,).

    The decile follows from kind, head and partner at work, and age of the head; the dollars from
    the weighted rank among all households by a log-normal with its own spread on each side of the
    county's median.
    """
    kind = np.where(households.kind == SHARED, ADULTS, households.kind)
    kind = np.where(households.size == 1, ALONE, kind)
    workers = (status[:, 0] == EMPLOYED).astype(np.int64)
    workers += households.couple & (status[:, 1] == EMPLOYED)
    head_age = np.digitize(households.age[:, 0], [35, SENIOR_AGE])
    edges = np.cumsum(tables.income_decile[kind, workers, head_age], axis=1)
    count = len(kind)
    decile = (rng.random((count, 1)) * edges[:, -1:] >= edges).sum(axis=1)
    rank = (np.minimum(decile, DECILES - 1) + rng.random(count)) / DECILES
    further = (status == EMPLOYED).sum(axis=1) - workers
    rank = ndtri(np.clip(rank, 1e-6, 1 - 1e-6)) + _FURTHER_WORKER * further
    order = np.argsort(rank, kind="stable")
    weight = households.weight[order]
    rank[order] = (
        np.cumsum(weight) - weight / 2
    ) / weight.sum()  # the county's, whatever the kinds
    score = ndtri(rank)
    spread = np.where(score < 0, _SPREAD_BELOW, _SPREAD_ABOVE)
    return np.clip(_MEDIAN_INCOME * np.exp(spread * score), *_INCOME_BOUNDS)


def vehicles(households: Households, dollars: FloatArray, rng: np.random.Generator) -> IntArray:
    """Draw the vehicles of each household, (N,).

    Assumed, as the survey has none: the chance of no vehicle falls with income and with members of
    driving age, to the county's 8.7 % (ACS, la_zips); beyond the first, each further member
    of driving age has one with a chance that rises with income.
    """
    drivers = (households.age >= WORKING_AGE).sum(axis=1)
    wealth = np.log(dollars / _MEDIAN_INCOME)
    none = rng.random(len(dollars)) < expit(-2.5 - 1.25 * wealth - 0.75 * (drivers - 1))
    more = rng.random((len(dollars), SLOTS)) < expit(0.35 + 0.6 * wealth)[:, None]
    further = (more & (np.arange(SLOTS) < (drivers - 1)[:, None])).sum(axis=1)
    spare = rng.random(len(dollars)) < expit(-1.8 + 0.6 * wealth)
    return np.where(none, 0, np.minimum(1 + further + spare, 6))
