import numpy as np
import pytest

from raygen.metrics import (
    activity_runs,
    chain_divergences,
    chain_histograms,
    jsd,
    minutes_by_type,
    recurring_share,
    type_profile,
)
from raygen.taxonomy import SLOTS


def chain(*runs: tuple[int, int]) -> np.ndarray:
    """Runs of (type, slots); home fills the day."""
    slots = [kind for kind, length in runs for _ in range(length)]
    return np.array(slots + [0] * (SLOTS - len(slots)), np.int8)


def test_jsd_by_hand():
    assert jsd(np.array([1.0, 0.0]), np.array([0.0, 5.0])) == pytest.approx(1.0)
    assert jsd(np.array([2.0, 2.0]), np.array([1.0, 1.0])) == 0
    # p = (1, 0), q = (1/2, 1/2): H(3/4, 1/4) - 1/2.
    wanted = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25)) - 0.5
    assert jsd(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(wanted)


@pytest.mark.parametrize(("p", "q"), [(np.zeros(2), np.ones(2)), (np.ones(2), np.ones(3))])
def test_jsd_refuses_empty_and_unlike_histograms(p, q):
    with pytest.raises(ValueError, match="two histograms of one shape with mass"):
        jsd(p, q)


def test_histograms_of_a_day_by_hand():
    day = chain((0, 32), (1, 36), (6, 1))  # home to 8:00, work to 17:00, a meal to 17:15, home
    found = chain_histograms(day[None], np.array([2.0]))
    assert np.flatnonzero(found["length"]).tolist() == [3]  # 4 activities
    assert found["length"].sum() == 2
    # 8 h, 9 h, 15 min and 6 h 45 min: half-hour bins 15, 17, 0, 13.
    assert np.flatnonzero(found["duration"]).tolist() == [0, 13, 15, 17]
    assert found["type"].tolist() == [4, 2, 0, 0, 0, 0, 2] + [0] * 8
    # Work from 8:00, the meal from 17:00; they end at 17:00 (bin 16) and 17:15.
    assert np.flatnonzero(found["start_time"]).tolist() == [8, 17]
    assert np.flatnonzero(found["end_time"]).tolist() == [16, 17]
    assert found["end_time"].sum() == found["start_time"].sum() == 4


def test_runs_do_not_join_across_days():
    day, start, end = activity_runs(np.stack([chain(), chain((0, 10), (2, 5))]))
    assert day.tolist() == [0, 1, 1, 1]
    assert start.tolist() == [0, 0, 10, 15]
    assert end.tolist() == [SLOTS, 10, 15, SLOTS]


def test_equal_days_have_no_divergence_and_weights_count():
    days = np.stack([chain((0, 30), (1, 30)), chain((0, 50), (4, 3))])
    assert max(chain_divergences(days, days[::-1]).values()) == pytest.approx(0, abs=1e-12)
    weighted = chain_divergences(days, days, np.array([1.0, 3.0]), np.array([3.0, 1.0]))
    assert weighted["type"] > 0.01


def test_minutes_and_profile():
    days = np.stack([chain((0, 30), (1, 4)), chain()])
    assert minutes_by_type(days)[1] == 30
    assert minutes_by_type(days, np.array([3.0, 1.0]))[1] == 45
    profile = type_profile(days)
    assert profile[31].tolist()[:2] == [0.5, 0.5]
    assert profile.sum(1) == pytest.approx(np.ones(SLOTS))


def test_recurring_share_counts_equal_days():
    days = np.stack([chain((0, 30), (1, 4)), chain()])
    assert recurring_share(days, days[1:]) == 0.5
