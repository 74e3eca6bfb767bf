import numpy as np
import pytest

from raygen.population.kernels import Zone, balance, integerise


def zone(incidence, target, stiffness=1e6, known=None):
    target = np.asarray(target, dtype=np.float64)
    known = np.ones(len(target)) if known is None else np.asarray(known, dtype=np.float64)
    incidence = np.ascontiguousarray(incidence, dtype=np.float64)
    return Zone(incidence, target, stiffness * known, known)


def test_balancing_a_table_gives_the_fit_of_proportional_fitting():
    prior = np.array([[1.0, 2, 3], [4, 1, 2]])
    rows, columns = np.array([8.0, 5]), np.array([3.0, 6, 4])
    fitted = prior.copy()
    for _ in range(500):
        fitted *= (rows / fitted.sum(axis=1))[:, None]
        fitted *= columns / fitted.sum(axis=0)
    incidence = np.zeros((6, 4))  # the third column follows from the rest
    for i in range(2):
        for j in range(3):
            incidence[3 * i + j, i] = 1
            if j < 2:
                incidence[3 * i + j, 2 + j] = 1
    weight = balance(zone(incidence, [8, 5, 3, 6], 1e7), prior.ravel())
    assert weight.reshape(2, 3) == pytest.approx(fitted, rel=1e-4)


def test_a_met_prior_is_left_alone():
    prior = np.array([3.0, 5.0])
    weight = balance(zone([[1, 1], [1, 2]], [8, 13]), prior)
    assert weight == pytest.approx(prior)


def test_a_control_left_out_changes_nothing():
    prior = np.array([3.0, 5.0, 2.0])
    incidence = np.array([[1.0, 4], [1, 2], [1, 0]])
    weight = balance(zone(incidence, [20, 777], known=[1, 0]), prior)
    assert weight == pytest.approx(2 * prior, rel=1e-5)


def test_controls_at_odds_settle_between():
    weight = balance(zone([[1, 1], [1, 1]], [10, 20], 1e4), np.array([5.0, 5.0]))
    assert weight.sum() == pytest.approx(15, rel=1e-3)


def test_zero_targets_empty_their_types():
    weight = balance(zone([[1, 0], [1, 1]], [10, 0], 1e5), np.array([5.0, 5.0]))
    assert weight == pytest.approx([10, 0], abs=0.01)


@pytest.mark.parametrize("uniform", [0.0, 0.37, 0.999999])
def test_integers_sum_to_the_households_and_stay_beside_their_weights(uniform):
    rng = np.random.default_rng(5)
    incidence = np.column_stack([np.ones(200), rng.integers(1, 6, 200), rng.integers(0, 3, 200)])
    weight = rng.random(200) * 1.5
    households = 150
    scaled = weight * households / weight.sum()
    target = scaled @ incidence
    count = integerise(zone(incidence, target), weight, households, uniform)
    assert count.sum() == households
    assert (count >= np.floor(scaled)).all()
    assert (count <= np.floor(scaled) + 1).all()
    assert np.abs(count @ incidence - target).max() <= 1


def test_weights_that_fall_short_by_rounding_still_fill_the_zone():
    weight = np.full(7, 1 / 7)  # 7 · (1/7) sums to less than 1 in floating point
    incidence = np.ones((7, 1))
    assert integerise(zone(incidence, [1]), weight, 1, 0.0).sum() == 1
