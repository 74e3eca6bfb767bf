"""Households and persons of a shard, from the fitted population."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen import schema, seeds
from raygen.errors import DataError
from raygen.population.fit import HIGH_INCOME, LOW_INCOME, PopulationFit
from raygen.population.sample import PopulationIndex
from raygen.taxonomy import EMPLOYMENT, ROLES, SEXES, STUDENT

if TYPE_CHECKING:
    from raygen.city import City

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]
IntArray = npt.NDArray[np.int64]

_JITTER = 0.05
"""Income is spread this far around the seed household's, as a share of it."""


def populate(
    fit: PopulationFit, index: PopulationIndex, shard: int, city: "City", seed: int
) -> tuple[pa.Table, pa.Table]:
    """Make the households and persons of a shard.

    Parameters
    ----------
    fit
        The city's population.
    index
        The run's households and shards.
    shard
        Which, 0 to ``index.shards`` - 1.
    city
        Gives each household a home, uniform in its zone.
    seed
        The run's seed.

    Returns
    -------
    households, persons
        Of schema HOUSEHOLDS and PERSONS, ids ascending; no work or school zones yet. A household
        does not depend on where the shards are cut.

    Raises
    ------
    DataError
        If there is no such shard.
    """
    if not 0 <= shard < index.shards:
        msg = f"populate: shard must be 0 … {index.shards - 1}, got {shard}"
        raise DataError(msg)
    first, last = index.household_start[shard], index.household_start[shard + 1]
    position = index.position[first:last]
    row = fit.row[position]
    zone = np.searchsorted(fit.zone_start, position, side="right") - 1
    household_id = np.arange(first, last)
    size = fit.seeds.size[row]
    draws = seeds.uniforms(seed, "populate", household_id, 4)
    homes = city.sample_points(zone.astype(np.int32), draws[:, :3])
    lon, lat = city.to_lonlat(homes)
    income = spread_income(fit.seeds.income[row], fit.median_income[zone], draws[:, 3])
    columns = [household_id, fit.zone_id[zone], lon, lat, size.astype(np.int8)]
    columns += [income, fit.seeds.vehicles[row]]
    households = pa.Table.from_arrays(
        [pa.array(column) for column in columns], schema=schema.HOUSEHOLDS
    )
    person_id = np.arange(index.person_start[shard], index.person_start[shard + 1])
    return households, _persons(fit, row, person_id, np.repeat(household_id, size))


def _persons(
    fit: PopulationFit, row: npt.NDArray[np.int32], person_id: IntArray, household_id: IntArray
) -> pa.Table:
    """Return the members of the seed households ``row``, household by household."""
    sample = fit.seeds
    size = sample.size[row]
    before = np.cumsum(size) - size
    member = np.arange(len(person_id)) + np.repeat(sample.start[row] - before, size)
    nowhere = np.full(len(person_id), -1, dtype=np.int32)

    def coded(codes: Int8Array, words: tuple[str, ...]) -> pa.DictionaryArray:
        return schema.category(pa.array(codes[member]), words)

    columns = [
        pa.array(person_id),
        pa.array(household_id),
        pa.array(sample.age[member]),
        coded(sample.sex, SEXES),
        coded(sample.employment, EMPLOYMENT),
        coded(sample.student, STUDENT),
        coded(sample.role, ROLES),
        pa.array(sample.group[member]),
        pa.array(nowhere),
        pa.array(nowhere),
    ]
    return pa.Table.from_arrays(columns, schema=schema.PERSONS)


def spread_income(income: FloatArray, median: FloatArray, uniform: FloatArray) -> Float32Array:
    """Return an income near each seed household's that meets the same controls.

    Parameters
    ----------
    income
        Of the seed household, dollars a year, (N,).
    median
        Of the household's zone, (N,).
    uniform
        Draws in [0, 1), (N,).

    Returns
    -------
    income
        Even in logarithm within 5 % of ``income``, on the same side of $25,000, of $200,000 and
        of the median as ``income``; (N,).
    """
    low, high = income / (1 + _JITTER), income * (1 + _JITTER)
    for bound in (LOW_INCOME, HIGH_INCOME, median):
        low = np.where(income >= bound, np.maximum(low, bound), low)
        high = np.where(income < bound, np.minimum(high, bound), high)
    spread = (low * (high / low) ** uniform).astype(np.float32)
    # Rounding to 32 bits may carry a value across the bound it is to stay below.
    below = np.nextafter(high.astype(np.float32), np.float32(0))
    return np.where(spread >= high, below, spread)
