"""Fit of the population to the controls of a city's zones.

Controls and their importance: ``CONTROLS``. The number of households is met exactly; all others as
closely as whole households from the seed can.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen import schema, seeds
from raygen.errors import DataError
from raygen.population import seed_tables
from raygen.population.attributes import ADULT_AGE, EMPLOYED, SENIOR_AGE, UNEMPLOYED
from raygen.population.seed import SeedSample, draw
from raygen.population.zones import Classes, Controls, Draws, fit_zones

if TYPE_CHECKING:
    from raygen.city import City

FloatArray = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

CONTROLS = {
    "households": 10.0,
    "population": 5.0,
    "age_under_18": 1.0,
    "age_18_24": 1.0,
    "age_65_plus": 1.0,
    "labour_force": 1.0,
    "income_under_25k": 1.0,
    "income_over_200k": 1.0,
    "income_below_median": 1.0,
    "no_vehicles": 1.0,
}
"""Column of controls.parquet by importance: the price of a relative error of the control. The
population counts more, as the shares of ages and of the labour force are shares of it."""

LOW_INCOME, HIGH_INCOME = 25_000.0, 200_000.0
"""Bounds of the income controls, dollars a year: below the first, from the second on."""

_COLLEGE_AGE_END = 25
_INCOME = ("income_under_25k", "income_over_200k", "income_below_median")

REPORT = pa.schema(
    [
        pa.field("zone_id", pa.int32(), nullable=False),
        pa.field("control", schema.CATEGORY, nullable=False),
        pa.field("target", pa.float64(), nullable=False),
        pa.field("balanced", pa.float64(), nullable=False),
        pa.field("fitted", pa.float64(), nullable=False),
        pa.field("error", pa.float64(), nullable=False),
    ]
)
"""One row per zone and known control: its target, the balanced weights' total, the whole
households' total, and the latter less the target."""


@dataclass(frozen=True)
class PopulationFit:
    """Every household of a city, as a row of the seed sample; zones in the city's order.

    Household ``i`` of zone row ``z`` is position ``zone_start[z] + i``; the order within a zone is
    random, so that any stride over the positions is a fair sample.
    """

    seeds: SeedSample
    zone_id: Int32Array
    """(Z,)."""

    median_income: FloatArray
    """(Z,), dollars a year; infinite where not known."""

    zone_start: Int64Array
    """(Z + 1,)."""

    row: Int32Array
    """Seed household at each position, (zone_start[Z],)."""

    report: pa.Table
    """Schema REPORT."""

    @property
    def households(self) -> int:
        """Return the number of households."""
        return len(self.row)

    @property
    def persons(self) -> int:
        """Return the number of persons."""
        return int(self.seeds.size[self.row].sum())


def fit_city(city: "City", seed: int) -> PopulationFit:
    """Fit the population of a city.

    Parameters
    ----------
    city
        With its controls.
    seed
        The run's seed.

    Returns
    -------
    fit
        Depends on the controls and the seed alone.

    Raises
    ------
    DataError
        If a control is missing, negative or infinite, or the zones are not the city's.
    """
    sample = draw(seed_tables.load(), seed)
    return fit_controls(city.controls, city.zone_id, sample, seed)


def fit_controls(
    controls: pa.Table, zone_id: Int32Array, sample: SeedSample, seed: int
) -> PopulationFit:
    """Fit the population to a table of controls; see ``fit_city``.

    Parameters
    ----------
    controls
        Columns ``zone_id``, those of ``CONTROLS`` and ``median_income``, Z rows in any order.
    zone_id
        Zones in the order that the fit is to have, (Z,).
    sample
        Seed households.
    seed
        The run's seed.
    """
    targets, median = _targets(controls, zone_id)
    households = targets[:, 0].astype(np.int64)
    zone_start = np.concatenate([[0], np.cumsum(households)])
    bounds = np.column_stack(
        [np.full(len(median), LOW_INCOME), np.full(len(median), HIGH_INCOME), median]
    )
    incidence = seed_incidence(sample)
    classes, order = _classes(sample, incidence)
    wanted = Controls(
        targets,
        np.array(list(CONTROLS.values())),
        bounds,
        np.array([list(CONTROLS).index(name) for name in _INCOME]),
        zone_start,
    )
    draws = Draws(
        seeds.uniforms(seed, "population/zones", zone_id.astype(np.int64), 2),
        seeds.uniforms(seed, "population/order", np.arange(zone_start[-1]), 1)[:, 0],
    )
    rows, balanced = fit_zones(classes, wanted, draws)
    row = order.astype(np.int32)[rows]
    fitted = _totals(sample, incidence, row, zone_start, bounds)
    report = _report(zone_id, targets, balanced, fitted)
    return PopulationFit(sample, zone_id, median, zone_start, row, report)


def seed_incidence(sample: SeedSample) -> FloatArray:
    """Return what each seed household adds to each control, (H, K); the income controls are 0.

    The labour force is the employed and the unemployed, all of 16 and over.
    """
    age, first = sample.age, sample.start[:-1]
    counts = {
        "population": age >= 0,
        "age_under_18": age < ADULT_AGE,
        "age_18_24": (age >= ADULT_AGE) & (age < _COLLEGE_AGE_END),
        "age_65_plus": age >= SENIOR_AGE,
        "labour_force": np.isin(sample.employment, (EMPLOYED, UNEMPLOYED)),
    }
    columns = {
        name: np.add.reduceat(mask.astype(np.float64), first) for name, mask in counts.items()
    }
    columns["households"] = np.ones(len(first))
    columns["no_vehicles"] = (sample.vehicles == 0).astype(np.float64)
    blank = np.zeros(len(first))
    return np.column_stack([columns.get(name, blank) for name in CONTROLS])


def _classes(sample: SeedSample, incidence: FloatArray) -> tuple[Classes, Int64Array]:
    """Return the seed ordered by class and income, and the order."""
    base, owner = np.unique(incidence, axis=0, return_inverse=True)
    order = np.lexsort((sample.income, owner))
    start = np.searchsorted(owner[order], np.arange(len(base) + 1))
    return Classes(base, start, sample.income[order], sample.weight[order]), order


def _targets(controls: pa.Table, zone_id: Int32Array) -> tuple[FloatArray, FloatArray]:
    """Return targets, (Z, K), NaN where not known, and medians, (Z,), infinite where not known."""
    needed = ["zone_id", *CONTROLS, "median_income"]
    if missing := [name for name in needed if name not in controls.column_names]:
        msg = f"controls: missing columns {missing}"
        raise DataError(msg)
    ids = controls.column("zone_id").to_numpy()
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids[order], zone_id), max(len(ids) - 1, 0))
    if len(ids) != len(zone_id) or not np.array_equal(ids[order][place], zone_id):
        msg = f"controls.zone_id: must be the city's {len(zone_id)} zones, once each"
        raise DataError(msg)
    rows = order[place]
    columns = {
        name: controls.column(name).cast(pa.float64()).to_numpy()[rows] for name in needed[1:]
    }
    for name, values in columns.items():
        if bad := zone_id[(values < 0) | np.isinf(values)].tolist():
            msg = f"controls.{name}: must be finite and >= 0, is not in zones {bad[:5]}"
            raise DataError(msg)
    if (unknown := np.isnan(columns["households"])).any():
        msg = f"controls.households: null in zones {zone_id[unknown][:5].tolist()}"
        raise DataError(msg)
    median = columns.pop("median_income")
    median = np.where(np.isnan(median) | (median <= 0), np.inf, median)
    below = columns["income_below_median"]
    columns["income_below_median"] = np.where(np.isinf(median), np.nan, below)
    targets = np.column_stack([columns[name] for name in CONTROLS])
    return targets, median


def _totals(
    sample: SeedSample,
    incidence: FloatArray,
    row: Int32Array,
    zone_start: Int64Array,
    bounds: FloatArray,
) -> FloatArray:
    """Return the controls of the fitted households by zone, (Z, K)."""
    zones = len(zone_start) - 1
    owner = np.repeat(np.arange(zones), np.diff(zone_start))
    income = sample.income[row]
    columns: list[FloatArray] = []
    for position, name in enumerate(CONTROLS):
        if name == "income_over_200k":
            each = (income >= HIGH_INCOME).astype(np.float64)
        elif name in _INCOME:
            bound = bounds[owner, _INCOME.index(name)]
            each = (income < bound).astype(np.float64)
        else:
            each = incidence[row, position]
        columns.append(np.bincount(owner, each, zones).astype(np.float64))
    return np.column_stack(columns)


def _report(
    zone_id: Int32Array, targets: FloatArray, balanced: FloatArray, fitted: FloatArray
) -> pa.Table:
    known = ~np.isnan(targets)
    zone, control = np.nonzero(known)
    columns = [
        pa.array(zone_id[zone]),
        schema.category(pa.array(control), tuple(CONTROLS)),
        pa.array(targets[known]),
        pa.array(balanced[known]),
        pa.array(fitted[known]),
        pa.array(fitted[known] - targets[known]),
    ]
    return pa.Table.from_arrays(columns, schema=REPORT)
