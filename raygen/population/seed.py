"""The seed sample: households with all their members, from which every zone's are taken."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.errors import DataError
from raygen.population import attributes, members
from raygen.population.seed_tables import SeedTables
from raygen.taxonomy import AGE_BANDS, SEXES

FloatArray = npt.NDArray[np.float64]
Int8Array = npt.NDArray[np.int8]
Int64Array = npt.NDArray[np.int64]

HOUSEHOLDS = 12_000
"""Seed households by default."""

_MIN_HOUSEHOLDS = 100
_ELDERLY = 65
_MID_AGED = 25


@dataclass(frozen=True)
class SeedSample:
    """H households and P persons; household h has the persons start[h] to start[h + 1].

    Codes index the tuples of ``raygen.taxonomy``. Every household has an adult.
    """

    weight: FloatArray
    """Prior weight of each household, (H,), mean 1."""

    income: FloatArray
    """Dollars a year, (H,)."""

    vehicles: Int8Array
    """(H,)."""

    start: Int64Array
    """(H + 1,)."""

    age: Int8Array
    """(P,), years."""

    sex: Int8Array
    """(P,)."""

    employment: Int8Array
    """(P,)."""

    student: Int8Array
    """(P,)."""

    role: Int8Array
    """(P,)."""

    group: Int8Array
    """(P,), index into DEMOGRAPHIC_GROUPS."""

    @property
    def size(self) -> Int64Array:
        """Return the persons of each household, (H,)."""
        return np.diff(self.start)


def draw(tables: SeedTables, seed: int, households: int = HOUSEHOLDS) -> SeedSample:
    """Draw the seed sample.

    Parameters
    ----------
    tables
        Aggregates of household composition.
    seed
        The run's seed.
    households
        How many; at least 100.

    Returns
    -------
    sample
        Depends on the arguments alone.

    Raises
    ------
    DataError
        If fewer than 100 households are asked for.
    """
    if households < _MIN_HOUSEHOLDS:
        msg = f"seed sample: households must be >= {_MIN_HOUSEHOLDS}, got {households}"
        raise DataError(msg)
    rng = seeds.stream(seed, "population/seed")
    skeletons = members.draw(tables, households, rng)
    status = attributes.employment(tables, skeletons, rng)
    enrolled = attributes.student(tables, skeletons, status, rng)
    roles = attributes.role(tables, skeletons.age, status, enrolled, rng.random(status.shape))
    dollars = attributes.income(tables, skeletons, status, rng)
    cars = attributes.vehicles(skeletons, dollars, rng)
    there = skeletons.age >= 0  # (H, SLOTS), in row order: household by household
    age, sex, work = skeletons.age[there], skeletons.female[there], status[there]
    return SeedSample(
        weight=skeletons.weight,
        income=dollars,
        vehicles=cars.astype(np.int8),
        start=np.concatenate([[0], np.cumsum(skeletons.size)]),
        age=age.astype(np.int8),
        sex=sex.astype(np.int8),
        employment=work.astype(np.int8),
        student=enrolled[there].astype(np.int8),
        role=roles[there].astype(np.int8),
        group=demographic_group(age, sex, work).astype(np.int8),
    )


def demographic_group(age: Int64Array, sex: Int64Array, employment: Int64Array) -> Int64Array:
    """Return the index of each person's group in ``taxonomy.DEMOGRAPHIC_GROUPS``."""
    age_band = (age >= _MID_AGED).astype(np.int64) + (age >= _ELDERLY)
    non_worker = employment != attributes.EMPLOYED
    return len(AGE_BANDS) * len(SEXES) * non_worker + len(SEXES) * age_band + sex
