import numpy as np
import pytest

from raygen.errors import DataError
from training.privacy import CLASSIFIERS, features, membership, uniqueness
from training.utility import PredictorFit, accuracies, fit_predictor

PLACES = 60


def days(seed, count=300):
    """Days of a home, a work place and an outing, all drawn anew for each day."""
    rng = np.random.default_rng(seed)
    home, work, other = rng.integers(0, PLACES, (3, count, 1))
    leave, back, out = rng.integers((14, 30, 38), (20, 36, 46), (count, 3)).T[:, :, None]
    clock = np.arange(48)
    found = np.where((clock >= leave) & (clock < back), work, home)
    return np.where(clock >= out, other, found).astype(np.int32)


def test_copies_are_unique_to_nobody_and_new_days_are_apart():
    train = days(1)
    copies = uniqueness(train[:40], train)
    assert (copies[:, 0] == 1.0).all()
    assert (np.diff(copies, axis=1) <= 0).all()
    fresh = uniqueness(days(2, 40), train)
    assert fresh[:, 0].mean() < 0.95
    assert uniqueness(days(2, 40) + PLACES, train).max() == 0.0


def test_members_of_copied_days_are_found_and_others_are_not():
    train, held_out = days(1, 160), days(2, 160)
    copied = membership(train, held_out, train, 1)
    assert set(copied) == set(CLASSIFIERS)
    assert min(attack.area for attack in copied.values()) > 0.85
    assert copied["RF"].accuracy > 0.9
    free = membership(train, held_out, days(3, 160), 1)
    assert max(abs(attack.area - 0.5) for attack in free.values()) < 0.12


def test_attacks_are_repeated_exactly():
    given = days(1, 30), days(2, 30), days(3, 30)
    assert membership(*given, 1) == membership(*given, 1)


def test_features_by_hand():
    day = np.zeros((1, 48), np.int32)
    day[0, 40:] = 1
    same = features(day, np.repeat(day, 6, axis=0))[0]
    assert same[:5].tolist() == [1.0] * 5
    assert same[-2:].tolist() == [1, 1]
    unseen = features(day + 5, np.repeat(day, 6, axis=0))[0]
    assert unseen[:5].tolist() == [0.0] * 5


def test_too_few_candidates_are_refused():
    with pytest.raises(DataError, match="at least 20 members and others, got 7"):
        membership(days(1), days(2, 7), days(3), 1)


def cycle(count, seed):
    """Days that go round six places: what comes next is certain."""
    start = np.random.default_rng(seed).integers(0, 6, (count, 1))
    return ((start + np.arange(48) // 8) % 6).astype(np.int32)


@pytest.mark.parametrize("kind", ["LSTM", "Transformer"])
def test_predictors_learn_what_can_be_told(kind):
    how = PredictorFit(width=16, steps=80, batch=32, learning_rate=1e-2, dropout=0.0)
    told = accuracies(fit_predictor(kind, cycle(200, 1), 20, 1, how), cycle(50, 2))
    assert told[1] > 0.95
    noise = np.random.default_rng(3).integers(0, 20, (200, 6)).repeat(8, axis=1).astype(np.int32)
    chance = accuracies(fit_predictor(kind, noise, 20, 1, how), noise[::-1][:50])
    assert chance[1] < chance[5] < 0.7


def test_days_without_arrivals_are_refused():
    with pytest.raises(DataError, match="must have arrivals"):
        fit_predictor("LSTM", np.zeros((5, 48), np.int32), 3, 1, PredictorFit())
