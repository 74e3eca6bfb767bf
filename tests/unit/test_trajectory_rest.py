"""What codes leave open: tables of steps and offsets, their memory, speeds that are bounded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raygen.errors import WeightsError
from raygen.models.trajectory_rest import Rest, capped
from raygen.models.trajectory_tables import load_tables, save_tables


def _observed(rows=300, points=40, seed=0):
    """Said steps about one; observed ones stand in runs, and move the more the more is said."""
    rng = np.random.default_rng(seed)
    said = rng.uniform(0.2, 1.8, (rows, points))
    stands = np.repeat(rng.random((rows, points // 4)) < 0.2, 4, axis=1)
    seen = np.where(stands, 0.0, 1.25 * said * rng.uniform(0.8, 1.2, said.shape))
    off = np.zeros_like(said)
    for at in range(1, points):
        off[:, at] = 0.7 * off[:, at - 1] + rng.normal(size=rows)
    return said, seen, off, np.arange(points) < rng.integers(20, points + 1, rows)[:, None]


@pytest.fixture(scope="module")
def fitted():
    rest = Rest()
    rest.fit(*_observed())
    return rest


def test_drawn_steps_stand_as_often_as_observed_ones(fitted):
    said, seen, _, there = _observed(seed=1)
    normal = np.random.default_rng(2).normal(size=said.shape)
    made = fitted.drawn_steps(said, there, normal)
    inner = there.copy()
    inner[:, 0] = False
    still = lambda steps: (steps[inner] < 1e-3).mean()  # noqa: E731
    assert still(seen) == pytest.approx(0.2, abs=0.02)
    assert still(made) == pytest.approx(0.2, abs=0.03)
    twice = lambda steps: ((steps[:, 1:] < 1e-3) & (steps[:, :-1] < 1e-3))[inner[:, 1:]].mean()  # noqa: E731
    assert twice(made) > 1.5 * still(made) ** 2  # runs, not points here and there
    np.testing.assert_allclose(
        np.quantile(made[inner], 0.95), np.quantile(seen[inner], 0.95), rtol=0.1
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_drawn_steps_are_no_less_than_zero_and_keep_the_way(fitted, seed, points):
    rng = np.random.default_rng(seed)
    said = rng.uniform(0.01, 3.0, (3, points))
    there = np.arange(points) < rng.integers(2, points + 1, 3)[:, None]
    made = fitted.drawn_steps(said, there, rng.normal(size=said.shape))
    assert (made >= 0).all()
    assert (made[~there] == 0).all()
    np.testing.assert_array_equal(made[:, 0], said[:, 0])
    moves = made[:, 1:].sum(axis=1) > 0  # all may stand: then nothing is left to scale
    np.testing.assert_allclose(
        made.sum(axis=1)[moves], (said * there).sum(axis=1)[moves], rtol=1e-9
    )


def test_offsets_have_the_observed_spread_and_memory(fitted):
    _, _, off, there = _observed(seed=3)
    made = fitted.drawn_offsets(np.random.default_rng(4).normal(size=(400, 40)))
    assert made.std() == pytest.approx(off[there].std(), rel=0.06)
    lag = np.corrcoef(made[:, :-1].ravel(), made[:, 1:].ravel())[0, 1]
    assert lag == pytest.approx(0.7, abs=0.05)


def test_planned_steps_become_as_uneven_as_observed_ones():
    rng = np.random.default_rng(11)
    even, uneven = rng.gamma(8, 1 / 8, 20_000), rng.gamma(1.5, 1 / 1.5, 20_000)
    rest = Rest()
    said, there = rng.gamma(8, 1 / 8, (50, 40)), np.arange(40) < rng.integers(20, 41, 50)[:, None]
    np.testing.assert_array_equal(rest.as_observed(said, there), said)
    rest.fit_planned(even, uneven)
    made = rest.as_observed(said, there)
    inner = there.copy()
    inner[:, 0] = False
    assert made[inner].std() == pytest.approx(uneven.std(), rel=0.15)
    np.testing.assert_allclose((made * inner).sum(axis=1), (said * inner).sum(axis=1))
    np.testing.assert_array_equal(made[:, 0], said[:, 0])
    row = said[0][inner[0]]
    assert (np.argsort(row) == np.argsort(made[0][inner[0]])).all()


def test_tables_go_to_their_file_and_back(fitted, tmp_path):
    fitted.ahead.fill_(0.0)
    digests = {"codec": "a" * 64, "patterns": "c" * 64}
    save_tables(tmp_path, {"all": Rest(), "observed": fitted}, digests, {"x": "observed"})
    back = load_tables(tmp_path, "observed", "a" * 64)
    for name, each in fitted.named_buffers():
        np.testing.assert_allclose(dict(back.named_buffers())[name], each, atol=5e-3)
    fitted.ahead.fill_(1.0)
    with pytest.raises(WeightsError, match="tables must be one of all, observed, got 'porto'"):
        load_tables(tmp_path, "porto", "a" * 64)
    with pytest.raises(WeightsError, match="measured with autoencoder aaaaaaaaaaaa, but"):
        load_tables(tmp_path, "observed", "b" * 64)


def test_a_row_does_not_depend_on_those_beside_it(fitted):
    said, _, _, there = _observed(seed=5)
    normal = np.random.default_rng(6).normal(size=said.shape)
    every = fitted.drawn_steps(said, there, normal)
    alone = fitted.drawn_steps(said[7:8], there[7:8], normal[7:8])
    np.testing.assert_array_equal(alone[0], every[7])


def test_without_a_fit_steps_are_nearly_as_said():
    said = np.random.default_rng(7).uniform(0.3, 2.5, (5, 24))
    made = Rest().drawn_steps(said, np.ones_like(said, dtype=bool), np.zeros_like(said))
    assert np.abs(made - said).max() < 0.2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.2, 6.0))
def test_capped_steps_keep_their_sums(seed, most):
    rng = np.random.default_rng(seed)
    step = rng.exponential(size=(4, 30)) * (rng.random((4, 30)) < 0.7)
    made = capped(step, np.full(4, most))
    np.testing.assert_allclose(made.sum(axis=1), step.sum(axis=1), rtol=1e-6, atol=1e-9)
    top = np.maximum(most, 1.05 * step.sum(axis=1) / np.maximum((step > 0).sum(axis=1), 1))
    assert (made.max(axis=1) <= 1.05 * top + 1e-9).all()
    assert (made[step == 0] == 0).all()
