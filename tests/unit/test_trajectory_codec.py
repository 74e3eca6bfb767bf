"""Travel-pattern tokens: lengths, padding, quantisation, what is learned."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trips_on_grid import grid_roads, grid_trips

from raygen.models.residual_quantizer import ResidualQuantizer, code_use, nearest
from raygen.models.road_encoder import RoadEncoderConfig
from raygen.models.trajectory_batches import padded, trajectory_data
from raygen.models.trajectory_codec import (
    CodecConfig,
    TrajectoryCodec,
    groups_of,
    length_tokens,
    lengths_of,
)
from raygen.trajectories.routes import routes_of
from training.codec_task import CodecTask, Split
from training.in_process import fit_here
from training.recipe import LoopConfig

TINY = CodecConfig(
    widths=(8, 8, 8, 16),
    head=8,
    quantised=8,
    codebooks=(4, 8),
    roads=RoadEncoderConfig(width=8, heads=2),
)


@pytest.fixture(scope="module")
def data():
    made = grid_trips(40, seed=3, low=20, high=64)
    return trajectory_data(made, routes_of(made, grid_roads()))


@pytest.fixture(scope="module")
def codec():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TrajectoryCodec(TINY).eval()


def test_every_length_is_told_by_its_groups_and_record():
    length = torch.arange(20, 201)
    token = length_tokens(length)
    assert set(token.tolist()) == set(range(8))
    assert torch.equal(lengths_of(groups_of(length), token), length)
    # the paper's example: 26 (0) → 13 (1) → 7 (1) → 4
    assert length_tokens(torch.tensor([26])).item() == 0b011
    assert groups_of(torch.tensor([26])).item() == 4
    # a length of 8 k + 1 has three odd halvings on the way to k + 1: <t_7>
    assert length_tokens(torch.tensor([25])).item() == 0b111


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 200), st.integers(0, 70), st.integers(0, 2**31 - 1))
def test_padding_changes_nothing(codec, length, more, seed):
    """A trajectory alone, and beside others in a longer batch with garbage behind its end."""
    rng = np.random.default_rng(seed)
    segments = int(rng.integers(1, 30))

    def batch(points, roads):
        step = rng.random((1, points))
        return {
            "share": torch.from_numpy(np.cumsum(step, axis=1) / (step.sum() + 1)).float(),
            "offset": torch.from_numpy(rng.normal(size=(1, points))).float(),
            "points": torch.from_numpy(rng.normal(size=(1, points, 2))).float(),
            "length": torch.tensor([points]),
            "roads": torch.from_numpy(rng.normal(size=(1, roads, 11))).float(),
            "kinds": torch.from_numpy(rng.integers(0, 9, (1, roads))),
            "roads_length": torch.tensor([roads]),
            "route_s": torch.tensor([400.0]),
        }

    alone, other = batch(length, segments), batch(min(200, length + more), segments + more)
    both = {}
    for name, value in alone.items():
        rows = other[name].clone().repeat(2, *[1] * (value.dim() - 1))
        rows[0, ...] = 0.5  # garbage where the first row is shorter
        if value.dim() > 1:
            rows[0, : value.shape[1]] = value[0]
        else:
            rows[0] = value[0]
        both[name] = rows
    with torch.no_grad():
        one, two = codec.encode(alone), codec.encode(both)
        groups = one.shape[1]
        torch.testing.assert_close(two[:1, :groups], one, atol=2e-5, rtol=1e-4)
        made, wide = codec.decode(one, alone), codec.decode(two, both)
    torch.testing.assert_close(wide.share[:1, :length], made.share, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(wide.offset[:1, :length], made.offset, atol=5e-5, rtol=1e-4)
    assert made.share.shape == (1, length)


def test_places_never_fall_and_stay_on_the_route(codec, data):
    batch = data.batch(np.arange(12))
    with torch.no_grad():
        made = codec.decode(codec.encode(batch), batch)
    for row, length in enumerate(batch["length"].tolist()):
        share = made.share[row, :length]
        assert (share.diff() >= 0).all()
        assert share[0] > 0
        assert share[-1] < 1


def test_the_nearest_code_is_chosen():
    rng = np.random.default_rng(1)
    vectors, codes = (
        torch.from_numpy(rng.normal(size=(50, 3))),
        torch.from_numpy(rng.normal(size=(9, 3))),
    )
    plain = torch.cdist(vectors, codes).argmin(dim=1)
    assert torch.equal(nearest(vectors, codes), plain)


def test_quantisation_is_straight_through_and_ignores_padding():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer((4, 8), 3, 0.25)
    vectors = torch.randn(5, 6, 3, requires_grad=True)
    mask = torch.arange(6) < torch.tensor([6, 3, 1, 6, 2])[:, None]
    for _ in range(20):
        found = quantizer(vectors, mask)
    assert found.codes[..., 0].max() < 4
    summed = quantizer.eval()(vectors, mask)
    torch.testing.assert_close(
        summed.vectors[mask], quantizer.embed(summed.codes)[mask], atol=1e-6, rtol=1e-5
    )
    summed.vectors[mask].sum().backward()
    assert torch.equal(vectors.grad[mask], torch.ones_like(vectors.grad[mask]))
    with torch.no_grad():
        vectors[~mask] = 1e6
    assert torch.equal(quantizer(vectors, mask).codes[mask], summed.codes[mask])


def test_a_second_layer_comes_nearer_and_dead_codes_revive():
    torch.manual_seed(0)
    vectors = torch.randn(1, 400, 4)
    mask = torch.ones(1, 400, dtype=torch.bool)
    quantizer = ResidualQuantizer((8, 16), 4, 0.25)
    quantizer(vectors, mask)
    with torch.no_grad():
        quantizer.book(0)[3] = 1e4  # nobody chooses it
        quantizer.get_buffer("count_0")[3] = 0.0
    for _ in range(200):
        quantizer(vectors, mask)
    found = quantizer.eval()(vectors, mask)
    one = (vectors - quantizer.book(0)[found.codes[..., 0]]).square().mean()
    two = (vectors - quantizer.embed(found.codes)).square().mean()
    assert two < 0.7 * one
    assert code_use(found.codes[..., 0], 8) == 1.0
    assert code_use(found.codes[..., 1], 16) > 0.9


def test_a_little_training_reconstructs_better_than_even_steps(data):
    task = CodecTask(TINY, (Split(data, data),), 20, 12, 1)
    result = fit_here(task, LoopConfig(epochs=4, learning_rate=4e-3, schedule="constant"))
    even = fit_here(task, LoopConfig(epochs=1, learning_rate=1e-9)).curve[0]["validation_percent"]
    assert result.curve[-1]["validation_percent"] < 0.8 * even
    assert 0 < result.curve[-1]["validation_use_b"] <= 1
    assert result.curve[0]["validation_total"] > 1000  # no codes yet, not to be chosen
    assert result.best_epoch > 0


def test_padded_lists():
    first = np.array([0, 2, 2, 5])
    values = np.arange(5)
    assert padded(values, first, np.array([2, 0, 1])).tolist() == [[2, 3, 4], [0, 1, 0], [0, 0, 0]]
