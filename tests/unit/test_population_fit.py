import numpy as np
import pyarrow as pa
import pytest

from raygen.errors import DataError
from raygen.population import seed, seed_tables
from raygen.population.fit import CONTROLS, fit_controls, seed_incidence

ZONES = np.array([7, 3, 9], dtype=np.int32)


@pytest.fixture(scope="module")
def sample():
    return seed.draw(seed_tables.load(), 0, 1500)


def controls(**changes):
    homes = np.array([400.0, 0.0, 90.0])
    people = np.array([1150.0, 0.0, 170.0])
    columns = {
        "zone_id": ZONES,
        "households": homes,
        "population": people,
        "age_under_18": 0.21 * people,
        "age_18_24": 0.09 * people,
        "age_65_plus": 0.14 * people,
        "labour_force": 0.53 * people,
        "income_under_25k": 0.15 * homes,
        "income_over_200k": 0.15 * homes,
        "income_below_median": 0.5 * homes,
        "no_vehicles": 0.1 * homes,
        "median_income": np.array([83e3, 0, 110e3]),
    }
    return pa.table(columns | changes)


def errors(fit, zone_id=7):
    rows = fit.report.to_pylist()
    return {row["control"]: row["error"] for row in rows if row["zone_id"] == zone_id}


def test_every_control_is_met_within_a_household_or_so(sample):
    fit = fit_controls(controls(), ZONES, sample, 0)
    assert np.diff(fit.zone_start).tolist() == [400, 0, 90]
    for zone_id in (7, 9):
        found = errors(fit, zone_id)
        assert found["households"] == 0
        assert max(map(abs, found.values())) <= 2
    assert fit.persons == pytest.approx(1320, abs=2)


def test_the_report_counts_the_households_it_reports(sample):
    fit = fit_controls(controls(), ZONES, sample, 0)
    row = fit.row[:400]
    found = {r["control"]: r["fitted"] for r in fit.report.to_pylist() if r["zone_id"] == 7}
    assert found["population"] == sample.size[row].sum()
    assert found["income_under_25k"] == (sample.income[row] < 25e3).sum()
    assert found["income_over_200k"] == (sample.income[row] >= 200e3).sum()
    assert found["income_below_median"] == (sample.income[row] < 83e3).sum()
    assert found["no_vehicles"] == (sample.vehicles[row] == 0).sum()


def test_a_null_control_is_not_fitted_nor_reported(sample):
    unknown = pa.array([None, 0.0, 13.0], pa.float64())
    fit = fit_controls(controls(income_over_200k=unknown), ZONES, sample, 0)
    assert "income_over_200k" not in errors(fit, 7)
    assert "income_over_200k" in errors(fit, 9)


def test_a_zone_without_a_median_has_no_control_below_it(sample):
    median = pa.array([None, 0.0, 110e3], pa.float64())
    fit = fit_controls(controls(median_income=median), ZONES, sample, 0)
    assert "income_below_median" not in errors(fit, 7)
    assert np.isinf(fit.median_income[0])


def test_a_zone_that_cannot_be_met_is_reported_and_the_rest_are_as_ever(sample):
    crowded = controls(population=np.array([1150.0, 0.0, 90.0 * 600]))
    fit = fit_controls(crowded, ZONES, sample, 0)
    assert errors(fit, 9)["population"] < -50_000
    assert np.array_equal(fit.row[:400], fit_controls(controls(), ZONES, sample, 0).row[:400])


def test_a_zone_does_not_depend_on_the_others(sample):
    everything = fit_controls(controls(), ZONES, sample, 0)
    one = controls().slice(0, 1)
    alone = fit_controls(one, ZONES[:1], sample, 0)
    assert np.array_equal(alone.row, everything.row[:400])


def test_controls_may_come_in_any_order(sample):
    shuffled = controls().take(pa.array([2, 0, 1]))
    fit = fit_controls(shuffled, ZONES, sample, 0)
    assert fit.row.tobytes() == fit_controls(controls(), ZONES, sample, 0).row.tobytes()


def test_the_order_within_a_zone_is_not_that_of_the_seed(sample):
    row = fit_controls(controls(), ZONES, sample, 0).row[:400]
    assert abs(np.corrcoef(np.arange(400), sample.income[row])[0, 1]) < 0.2
    assert abs(np.corrcoef(np.arange(400), row)[0, 1]) < 0.2


def test_incidence_counts_the_labour_force_with_the_unemployed(sample):
    incidence = seed_incidence(sample)
    names = list(CONTROLS)
    assert incidence[:, names.index("population")].sum() == len(sample.age)
    assert incidence[:, names.index("labour_force")].sum() == (sample.employment < 2).sum()
    assert incidence[:, names.index("households")].tolist() == [1] * 1500


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"population": [-1.0, 0, 3]}, r"controls.population: must be finite and >= 0, .*\[7\]"),
        ({"no_vehicles": [1.0, 0, np.inf]}, r"controls.no_vehicles: must be finite.*\[9\]"),
        ({"households": pa.array([4, None, 2])}, r"controls.households: null in zones \[3\]"),
        ({"zone_id": [7, 3, 8]}, "controls.zone_id: must be the city's 3 zones, once each"),
        ({"zone_id": [7, 3, 3]}, "controls.zone_id: must be the city's 3 zones, once each"),
    ],
)
def test_bad_controls_are_named(sample, changes, match):
    with pytest.raises(DataError, match=match):
        fit_controls(controls(**changes), ZONES, sample, 0)


def test_missing_columns_are_named(sample):
    with pytest.raises(DataError, match=r"controls: missing columns \['no_vehicles'\]"):
        fit_controls(controls().drop_columns(["no_vehicles"]), ZONES, sample, 0)
