from pathlib import Path

import numpy as np
import pytest

from raygen.taxonomy import ACTIVITY_TYPES
from training.chain_data import (
    WEEKEND,
    DataSection,
    balance,
    load_chains,
    travellers_minutes,
    type_minutes,
)

SHARED = Path(__file__).parents[2].parent / "shared/data"


def test_balance_meets_the_target_by_hand():
    minutes = np.zeros((3, 15))
    minutes[:, 0] = [1440, 1340, 1240]
    minutes[:, 8] = [0, 100, 200]
    weight = np.array([1.0, 2.0, 1.0])
    target = np.zeros(15)
    target[8] = 130.0
    tilted = balance(minutes, weight, target)
    assert tilted.sum() == pytest.approx(1)
    assert tilted @ minutes[:, 8] == pytest.approx(130, abs=1.0)
    # Exponential tilting: the ratio of the outer two is the square of the ratio to the middle.
    assert tilted[2] / tilted[0] == pytest.approx((2 * tilted[2] / tilted[1]) ** 2, rel=1e-3)


def test_minutes_of_a_chain():
    chains = np.zeros((2, 96), np.int8)
    chains[1, 10:14] = 3
    assert type_minutes(chains)[:, 3].tolist() == [0, 60]


def test_weekends_have_the_minutes_of_time_use_and_nobody_works_without_a_job():
    if not (SHARED / "czechia_hts").is_dir():
        pytest.skip("the surveys are not there")
    section = DataSection(survey=SHARED / "czechia_hts", time_use=SHARED / "atus", draws=1)
    data = load_chains(section, 0)
    pool = data.pool("train", 0.35)
    weekend = pool.kind == WEEKEND
    assert pool.probability[weekend].sum() == pytest.approx(0.35)
    target = travellers_minutes(data.time_use, WEEKEND)
    minutes = type_minutes(pool.chains)
    for group in (2, 3, 9, 11):
        mine = weekend & (pool.person[:, 0] == group) & (pool.person[:, 2] == 0)
        share = pool.probability[mine] / pool.probability[mine].sum()
        found = share @ minutes[pool.day[mine]]
        common = target[group] > 20
        assert found[common] == pytest.approx(target[group][common], rel=0.1)
    worker = pool.person[:, 0] < 6
    works = minutes[pool.day][:, ACTIVITY_TYPES.index("work")] > 0
    assert not (works & ~worker).any()
    rng = np.random.default_rng(0)
    entries = pool.sample(4000, rng)
    assert abs((pool.kind[entries] == WEEKEND).mean() - 0.35) < 0.001
    week_day = pool.week_days(entries, rng)
    assert ((week_day >= 5) == (pool.kind[entries] == WEEKEND)).all()
