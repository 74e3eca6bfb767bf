import numpy as np
import pytest
import torch

from raygen.models.adapters import (
    AlgorithmSection,
    correct,
    correct_hours,
    fit_log_ratio,
    fit_open_loop,
    reward,
)

D = np.array([0.6, 0.3, 0.1])


def test_reward_is_equation_7():
    p = np.array([0.5, 0.4, 0.1])
    rmse = np.sqrt(((p - D) ** 2).mean())
    kl = (p * np.log(p / D)).sum()
    assert reward(p, D, 2.0, 0.5) == pytest.approx(np.exp(-2 * rmse) + 0.5 * kl)
    assert reward(D, D, 2.0, 0.5) == pytest.approx(1.0)


def test_algorithm_2_makes_one_step_of_equation_8_and_clips():
    logits = torch.zeros(1, 1, 3)
    config = AlgorithmSection(learning_rate=0.5, max_iterations=1, tolerance=0.0)
    found, iterations, _ = fit_open_loop(logits, D, config)
    third = np.full(3, 1 / 3)
    wanted = 1.0 + 0.5 * reward(third, D, 1.0, 1.0) * (D - third)
    assert found == pytest.approx(wanted)
    assert iterations == 1
    low = AlgorithmSection(learning_rate=50.0, max_iterations=1, tolerance=0.0)
    assert fit_open_loop(logits, D, low)[0].min() == 0.01


def test_algorithm_2_stops_at_the_tolerance():
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 4, 3)))
    config = AlgorithmSection(learning_rate=1.0)
    found, iterations, distance = fit_open_loop(logits, D, config)
    assert distance <= 0.01
    assert 0 < iterations < 1000
    shares = torch.softmax(logits + torch.from_numpy(found), -1).mean((0, 1)).numpy()
    assert np.linalg.norm(shares - D) == pytest.approx(distance)


def test_barred_types_keep_their_zero():
    logits = torch.zeros(1, 1, 3)
    logits[..., 2] = -torch.inf
    found, _, _ = fit_open_loop(logits, np.array([0.7, 0.3, 0.0]), AlgorithmSection())
    assert np.isfinite(found).all()


def test_closed_loop_step_moves_towards_the_target_and_keeps_home_at_zero():
    shift = np.zeros(3)
    found = correct(shift, np.array([1000.0, 340.0, 100.0]), D * 1440, 0.5, 3.0)
    assert found[0] == 0
    assert found[1] == pytest.approx(0.5 * (np.log(433 / 341) - np.log(865 / 1001)))
    far = correct(shift, np.array([1440.0, 0.0, 0.0]), np.array([0.0, 1440.0, 0.0]), 5.0, 3.0)
    assert far[1] == 3.0
    assert correct(shift, D * 1440, D * 1440, 0.5, 3.0) == pytest.approx(shift)


def test_log_ratio_reaches_what_algorithm_2_reaches_in_fewer_rounds():
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 4, 3)))
    _, slow, _ = fit_open_loop(logits, D, AlgorithmSection(learning_rate=0.1))
    found, rounds, distance = fit_log_ratio(logits, D, AlgorithmSection())
    assert distance <= 0.01
    assert rounds < slow / 5
    shares = torch.softmax(logits + torch.from_numpy(found), -1).mean((0, 1)).numpy()
    assert np.linalg.norm(shares - D) == pytest.approx(distance)


def test_hours_move_to_the_observed_and_leave_the_mean():
    target, found = np.zeros((96, 2)), np.zeros((96, 2))
    target[:48, 1], target[48:, 1] = 3 / 48, 1 / 48
    found[:48, 1], found[48:, 1] = 1 / 48, 3 / 48
    moved = correct_hours(np.zeros((4, 2)), found, target, 1.0, 3.0)
    assert (moved[:2, 1] > 0.2).all()
    assert (moved[2:, 1] < -0.2).all()
    assert not moved[:, 0].any()
    share = np.array([3, 3, 1, 1]) / 8
    assert share @ moved[:, 1] == pytest.approx(0.0, abs=0.1)
    assert correct_hours(np.zeros((4, 2)), target, target, 1.0, 3.0) == pytest.approx(0.0)
