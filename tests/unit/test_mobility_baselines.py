import numpy as np
import pytest

from training.mobility_baselines import (
    GAMMA,
    LEAST_WAIT_H,
    RHO,
    Explorers,
    density_epr_days,
    ditras_days,
    fit_diary,
    waits,
)

XY = np.stack(np.meshgrid(np.arange(6.0), np.arange(5.0)), -1).reshape(-1, 2) * 1000.0
MASS = np.random.default_rng(0).random(30) + 0.1


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_waits_follow_the_truncated_power_law():
    drawn = waits(40_000, rng())
    assert drawn.min() >= LEAST_WAIT_H
    grid = np.geomspace(LEAST_WAIT_H, 400, 20_000)
    density = grid**-1.8 * np.exp(-grid / 17.0)
    mass = np.append(0, np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid)))
    for hours in (0.5, 1.0, 3.0, 10.0):
        assert (drawn <= hours).mean() == pytest.approx(
            np.interp(hours, grid, mass / mass[-1]), abs=0.01
        )


def test_exploration_follows_gravity_and_the_number_of_known_places():
    start = np.full(20_000, 7)
    people = Explorers(start, MASS, XY)
    first = people.move(np.arange(20_000), rng())
    assert not (first == 7).any()  # nobody knows another place yet: all explore
    pull = MASS / np.maximum(((XY - XY[7]) ** 2).sum(1), 1.0)
    pull[7] = 0.0
    found = np.bincount(first, minlength=30) / 20_000
    assert found == pytest.approx(pull / pull.sum(), abs=0.012)
    second = people.move(np.arange(20_000), rng())
    back = (second == 7).mean()  # the only other known place, or explored anew
    assert 1 - RHO * 2**-GAMMA - 0.02 < back < 1 - RHO * 2**-GAMMA + 0.25


def test_density_epr_days_start_where_they_should_and_move():
    start = np.arange(30).repeat(20)
    days = density_epr_days(start, MASS, XY, rng())
    assert days.shape == (600, 48)
    assert (days[:, 0] == start).mean() > 0.5  # a wait may be shorter than a slot
    assert ((days[:, 1:] != days[:, :-1]).sum(1) > 0).mean() > 0.8


def test_ditras_keeps_the_diary_and_comes_home():
    train = np.zeros((50, 48), np.int32)
    train[:, 16:34] = 4
    diary = fit_diary(train)
    start = np.arange(30)
    days = ditras_days(diary, start, MASS, XY, rng())
    at_home = days == start[:, None]
    assert at_home[:, :16].all()
    assert at_home[:, 34:].all()
    assert not at_home[:, 16:34].any()
    assert (days[:, 16:34] == days[:, 16:17]).all()
