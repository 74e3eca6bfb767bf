"""Travel patterns without a language model: lengths, ends, caches, batches."""

import numpy as np
import pytest
import tinytrajectories
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trips_on_grid import grid_roads, grid_trips

from raygen.config import ComputeConfig
from raygen.errors import WeightsError
from raygen.models.trajectory_batches import trajectory_data
from raygen.models.trajectory_codec import groups_of, length_tokens
from raygen.models.trajectory_model import NOISE, decoded, load_trajectory_model
from raygen.models.trajectory_planner import (
    DRAWS,
    Answer,
    drawn,
    expected_groups,
    generate,
    token_shortfall,
)
from raygen.trajectories.routes import routes_of
from training.codec_task import Split
from training.in_process import fit_here
from training.patterns import PatternTask
from training.recipe import LoopConfig


@pytest.fixture(scope="module")
def data():
    made = grid_trips(30, seed=3, low=20, high=64)
    return trajectory_data(made, routes_of(made, grid_roads()))


@pytest.fixture(scope="module")
def model():
    return tinytrajectories.patterns()


def uniform(rows, seed=0):
    return np.random.default_rng(seed).random((rows, DRAWS))


def test_shortfalls_are_those_of_the_lengths():
    length = torch.arange(20, 201)
    assert torch.equal(8 * groups_of(length) - token_shortfall(length_tokens(length)), length)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_every_answer_decodes(model, data, seed):
    batch = data.batch(np.arange(12))
    made = generate(model, batch, uniform(12, seed))
    assert made.length.min() >= 20
    assert made.length.max() <= 200
    for layer, size in enumerate(model.sizes):
        assert 0 <= made.codes[:, :, layer].min() <= made.codes[:, :, layer].max() < size
    groups = groups_of(torch.from_numpy(made.length))
    assert made.codes.shape[1] == groups.max()
    found = decoded(model.codec, made, batch, np.zeros((12, NOISE)))
    for row, length in enumerate(made.length):
        assert np.isfinite(found.offset[row, :length]).all()
        assert (np.diff(found.share[row, :length]) >= 0).all()


def test_the_number_of_points_can_be_asked_for(model, data):
    wanted = np.array([20, 21, 27, 64, 65, 200])
    made = generate(model, data.batch(np.arange(6)), uniform(6), wanted)
    assert made.length.tolist() == wanted.tolist()


def test_the_longest_end(model, data):
    """A network that never wants to end is ended at 200 points."""
    batch = data.batch(np.arange(4))
    bias = model.heads[0].bias.detach().clone()
    try:
        model.heads[0].bias.data[-1] = -1e4
        made = generate(model, batch, uniform(4))
        model.heads[0].bias.data[-1] = 1e4
        short = generate(model, batch, uniform(4))
    finally:
        model.heads[0].bias.data.copy_(bias)
    assert (groups_of(torch.from_numpy(made.length)) == 25).all()
    assert ((short.length >= 20) & (short.length < 28)).all()


def test_the_cache_gives_what_the_whole_sequence_gives(model, data):
    batch = data.batch(np.arange(8))
    codes, groups = model.codec.codes(batch), groups_of(batch["length"])
    token = length_tokens(batch["length"])
    with torch.no_grad():
        whole = model.hidden(token, codes, batch)
        pairs, mask, state = model.context(batch)
        answer = Answer(pairs, mask, state, expected_groups(batch))
        past = [None] * len(model.layers)
        steps = [model.step(model.spoken(None, None, 8), 0, answer, past)]
        steps.append(model.step(model.spoken(token, None, 8), 1, answer, past))
        for group in range(int(groups.max())):
            steps.append(
                model.step(model.spoken(None, codes[:, group], 8), group + 2, answer, past)
            )
    for row, count in enumerate(groups.tolist()):
        for at in range(count + 2):
            torch.testing.assert_close(steps[at][row], whole[row, at], atol=2e-4, rtol=1e-3)


def test_a_trip_does_not_depend_on_its_batch(model, data):
    draws = uniform(12)
    together = generate(model, data.batch(np.arange(12)), draws)
    for row in (0, 5, 11):
        alone = generate(model, data.batch(np.array([row])), draws[[row]])
        groups = alone.codes.shape[1]
        assert alone.length[0] == together.length[row]
        assert np.array_equal(alone.codes[0], together.codes[row, :groups])


@given(st.integers(0, 2**31 - 1))
def test_draws_follow_the_chances(seed):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(1, 5)))
    logits[0, 2] = -torch.inf
    mark = torch.linspace(0, 1, 2001)[:-1].double()
    found = drawn(logits.expand(2000, -1), mark)
    share = np.bincount(found, minlength=5) / 2000
    np.testing.assert_allclose(share, logits.softmax(1)[0], atol=2e-3)
    assert share[2] == 0


def test_training_lowers_the_loss(tmp_path, data):
    tinytrajectories.build(tmp_path)
    config = tinytrajectories.patterns(24).config
    task = PatternTask(config, tmp_path / "trajectories" / "codec", (Split(data, data),), 16, 12, 1)
    result = fit_here(task, LoopConfig(epochs=3, learning_rate=1e-2))
    assert result.curve[-1]["validation_total"] < 0.97 * result.curve[0]["validation_total"]
    assert result.curve[-1]["validation_end"] < result.curve[0]["validation_end"]


def test_weights_of_another_autoencoder_are_refused(tmp_path):
    tinytrajectories.build(tmp_path)
    load_trajectory_model(tmp_path, ComputeConfig())
    path = tmp_path / "trajectories" / "patterns" / "config.json"
    digest = load_trajectory_model(tmp_path, ComputeConfig()).digests["codec"]
    path.write_text(path.read_text().replace(digest, "f" * 64))
    with pytest.raises(WeightsError, match="says codes of autoencoder ffffffffffff, but"):
        load_trajectory_model(tmp_path, ComputeConfig())
