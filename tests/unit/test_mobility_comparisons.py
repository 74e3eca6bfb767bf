"""MoveSim's metrics, flows between regions, and edit distances of days."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raygen import movesim_metrics
from raygen.edit_distance import distances, nearest_similarities
from raygen.errors import DataError
from raygen.mobility_flows import (
    Flows,
    common_part,
    common_part_of_commuters,
    flows_of,
    squares,
)
from raygen.movesim_metrics import movesim_divergences

XY = np.stack(np.meshgrid(np.arange(8.0), np.arange(6.0)), -1).reshape(-1, 2) * 1500.0
WHERE = np.random.default_rng(0).random((200, 2)) * 3 + 39


def days(seed, count=300, places=200):
    """Days that change place about six times."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, places, (count, 48))
    moves = rng.random((count, 48)) < 1 / 8
    moves[:, 0] = True
    at = np.maximum.accumulate(np.where(moves, np.arange(48), 0), axis=1)
    return np.take_along_axis(drawn, at, axis=1)


def as_published(real, generated):
    """MoveSim's metrics by the plainest loops, from their description."""

    def divergence(p, q):
        p, q = p / (p.sum() + 1e-14), q / (q.sum() + 1e-14)
        m = (p + q) / 2
        return sum(
            0.5 * a * np.log(a / b)
            for side in (p, q)
            for a, b in zip(side, m, strict=True)
            if a > 0
        )

    def histogram(values, top, bins):
        edges = np.arange(0, top, top / bins)
        counts = np.zeros(len(edges) - 1)
        for value in values:
            if 0 <= value <= edges[-1]:
                counts[min(np.searchsorted(edges, value, side="right") - 1, len(counts) - 1)] += 1
        return counts

    def duration(day):
        found, run = [], 1
        for before, now in itertools.pairwise(day):
            if before == now:
                run += 1
            else:
                found.append(run / 48)
                run = 1
        return found

    top = movesim_metrics.MAX_DISTANCE
    both = (real, generated)
    steps = [
        [((WHERE[a] - WHERE[b]) ** 2).sum() for day in side for a, b in itertools.pairwise(day)]
        for side in both
    ]
    ranks = []
    for side in both:
        rows = [np.sort(np.unique(day, return_counts=True)[1])[::-1] / 48 for day in side]
        mean = np.mean([np.pad(row, (0, 100 - len(row))) for row in rows], axis=0)
        ranks.append(mean / mean.sum())
    return {
        "distance": divergence(*(histogram(v, top, 10_000) for v in steps)),
        "duration": divergence(
            *(histogram([d for day in s for d in duration(day)], 1, 48) for s in both)
        ),
        "daily_loc": divergence(
            *(histogram([len(set(day)) / 48 for day in s.tolist()], 1, 48) for s in both)
        ),
        "i_rank": divergence(*(histogram(rank, 1, 100) for rank in ranks)),
    }


def test_movesim_metrics_are_those_of_the_plain_loops():
    real, generated = days(1, 60), days(2, 50)
    found = movesim_divergences(real, generated, WHERE)
    for name, value in as_published(real, generated).items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


def test_movesim_metrics_of_equal_and_other_days():
    real = days(1)
    assert set(movesim_divergences(real, real, WHERE).values()) == {0.0}
    still = np.repeat(real[:, :1], 48, axis=1)
    other = movesim_divergences(real, still, WHERE)
    # Whoever stays all day has no run that ends: their histogram is empty.
    assert other["daily_loc"] > 0.5
    assert other["duration"] > 0.3
    assert other["g_rank_l1"] > 0.0


def plain_distance(one, other):
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int64, st.tuples(st.integers(1, 3), st.integers(1, 64)), elements=st.integers(0, 4)),
    arrays(np.int64, st.tuples(st.integers(1, 3), st.integers(1, 70)), elements=st.integers(0, 5)),
)
def test_edit_distances_are_those_of_the_table(one, other):
    expected = [[plain_distance(a, b) for b in other.tolist()] for a in one.tolist()]
    assert distances(one, other).tolist() == expected


def test_nearest_days_come_first():
    train = days(3, 400)
    shifted = np.roll(train[:20], 1, axis=1)
    similar = nearest_similarities(np.concatenate([train[:20], shifted]), train, 5)
    assert (similar[:20, 0] == 1.0).all()
    assert (similar[20:, 0] >= 1 - 2 / 48 - 1e-6).all()
    assert (np.diff(similar, axis=1) <= 0).all()


def test_edit_distances_refuse_what_they_cannot_do():
    with pytest.raises(DataError, match="1 to 64 slots, got 65"):
        distances(np.zeros((1, 65), int), np.zeros((1, 3), int))
    with pytest.raises(DataError, match="5 nearest days need as many, got 2"):
        nearest_similarities(np.zeros((1, 3), int), np.zeros((2, 3), int), 5)


def test_flows_by_hand():
    clock = np.array([[0, 0, 1, 1, 0], [2, 2, 2, 2, 2]])
    flows = flows_of(clock, np.arange(48))
    assert (flows.origin.tolist(), flows.destination.tolist()) == ([0, 1], [1, 0])
    inside = flows_of(clock, np.zeros(48, int))
    assert inside.trips.tolist() == [2.0]
    assert len(inside.off_diagonal.trips) == 0


def test_common_part_by_hand():
    one = Flows(np.array([0, 0]), np.array([1, 2]), np.array([3.0, 1.0]))
    other = Flows(np.array([0, 5]), np.array([1, 6]), np.array([10.0, 10.0]))
    assert common_part(one, other) == pytest.approx(0.5)
    nothing = Flows(np.array([], int), np.array([], int), np.array([]))
    with pytest.raises(ValueError, match="both sides must have trips"):
        common_part(one, nothing)


def test_common_part_rises_with_the_size_of_places():
    one, other = days(5, 400, 48), days(6, 400, 48)
    parts = common_part_of_commuters(one, other, XY)
    assert parts["regions"] < parts["2 km"] < parts["5 km"]
    same = common_part_of_commuters(one, np.concatenate([one, one]), XY)
    assert all(value == pytest.approx(1.0) for value in same.values())


def test_squares_hold_what_is_near():
    cell = squares(XY, 2000.0)
    assert set(cell) == set(range(cell.max() + 1))
    for place in range(cell.max() + 1):
        assert np.ptp(XY[cell == place], axis=0).max() < 2000.0
