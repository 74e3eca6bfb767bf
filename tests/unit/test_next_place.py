import numpy as np
import pytest
import torch

from training.next_place import NextPlaceFit, been, fit_next_place, next_place_days

XY = np.random.default_rng(5).random((20, 2)) * 3000.0
HOW = NextPlaceFit(embedding=16, hidden=24, epochs=16, batch=32, learning_rate=2e-2, dropout=0.0)


def commuters(count, seed):
    """Leave home at slot 16 for place home + 10, and come home at slot 36."""
    home = np.random.default_rng(seed).integers(0, 10, (count, 1))
    clock = np.arange(48)
    return np.where((clock >= 16) & (clock < 36), home + 10, home).astype(np.int32)


@pytest.fixture(scope="module")
def network():
    return fit_next_place(commuters(240, 1), XY, 1, HOW)


def test_places_of_the_day_so_far():
    found = been(np.array([[3, 3, 5, 3, 7]]))
    assert found[0, 0].tolist() == [3, -1, -1, -1, -1]
    assert found[0, 3].tolist() == [3, 5, -1, -1, -1]
    assert found[0, 4].tolist() == [3, 5, 7, -1, -1]


def test_sampled_days_keep_the_hours_and_places_of_training(network):
    start = np.arange(200) % 10
    days = next_place_days(network, start, np.random.default_rng(0))
    assert (days[:, 0] == start).all()
    real = commuters(200, 2)
    leaves = [(sample[:, 15] != sample[:, 16]).mean() for sample in (days, real)]
    assert leaves[0] == pytest.approx(leaves[1], abs=0.15)
    moved = days[:, 16] != days[:, 0]
    assert (days[moved, 16] == days[moved, 0] + 10).mean() > 0.5
    assert (days[moved, 40] == days[moved, 0]).mean() > 0.5


def test_a_move_leads_elsewhere_and_draws_are_kept(network):
    start = np.zeros(50, np.int64)
    one, other = (next_place_days(network, start, np.random.default_rng(7)) for _ in range(2))
    assert (one == other).all()
    assert (one != next_place_days(network, start, np.random.default_rng(8))).any()


def test_fits_are_repeated_exactly():
    short = NextPlaceFit(embedding=8, hidden=8, epochs=1)
    one, other = (fit_next_place(commuters(60, 1), XY, 5, short).state_dict() for _ in range(2))
    assert all((one[name] == other[name]).all() for name in one)


def test_distance_and_visits_are_known_from_the_start():
    still = np.zeros((60, 48), np.int32)
    still[:, 24:] = np.random.default_rng(3).integers(1, 3, (60, 1))
    short = NextPlaceFit(embedding=8, hidden=8, epochs=1, learning_rate=1e-6)
    network = fit_next_place(still, np.array([[0.0, 0.0], [500.0, 0.0], [9e6, 0.0]]), 1, short)
    state, nobody = torch.zeros(1, 8), torch.full((1, 48), -1)
    chance = network.next_places(state, torch.tensor([0]), nobody).exp()[0]
    assert chance[0] == 0
    assert chance[1] > 0.99
