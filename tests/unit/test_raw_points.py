"""A language model that says the digits of GPS points: the ablation "w/o RQ-VAE"."""

import numpy as np
import pytest
import tinyplanner
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from trips_on_grid import grid_roads, grid_trips

from raygen import checkpoints
from raygen.errors import DataError, WeightsError
from raygen.models.language import load_language_model
from raygen.models.trajectory_language import TrajectoryLanguageConfig
from raygen.models.trajectory_words import network_digest
from raygen.network.graph import RoadNetwork
from training.codec_data import NetworkTrips
from training.in_process import fit_here
from training.raw_points import (
    WORDS,
    Corner,
    RawLanguage,
    RawTask,
    corner_of,
    say_points,
    spelling_of,
)
from training.raw_points_arm import MODEL, load_raw, raw_pairs
from training.recipe import LoopConfig
from training.trajectory_branches import Driven
from training.trajectory_pairs import conditions_told

WEST = Corner(np.array([-8.7, 41.1]))


@pytest.fixture(scope="module")
def roads():
    return grid_roads()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tinyplanner.language(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="module")
def language(folder):
    return load_language_model(str(folder), torch.float32, "cpu")


@pytest.fixture(scope="module")
def config(folder, roads, language):
    return TrajectoryLanguageConfig(
        base_model=str(folder), base_digest=language.digest, roads=roads.segments, codebooks=(1,),
        rank=2, network_digest=network_digest(roads.network),
    )  # fmt: skip


@pytest.fixture(scope="module")
def driven(roads):
    made = grid_trips(12, seed=3, low=20, high=26)
    return Driven(NetworkTrips("grid", "synthesised", roads, made), np.arange(len(made)))


@pytest.fixture(scope="module")
def pairs(driven, config, language):
    return raw_pairs(driven, config, language, (8, 2000))


@pytest.fixture(scope="module")
def model(config, folder):
    return RawLanguage(config, load_language_model(str(folder), torch.float32, "cpu"), 1).eval()


@settings(max_examples=50, deadline=None)
@given(arrays(np.int64, (7, 2), elements=st.integers(0, 99_999)))
def test_points_come_back_from_their_digits(fifth):
    points = np.array([-8.7, 41.1]) + fifth / 1e5
    digits = WEST.digits(points)
    assert digits.shape == (7, 10)
    assert ((digits >= 0) & (digits <= 9)).all()
    assert np.abs(WEST.points(digits) - points).max() < 1e-9


@pytest.mark.parametrize("point", [(-7.699, 41.2), (-8.701, 41.2), (-8.6, 42.11), (-8.6, 41.09)])
def test_points_elsewhere_are_refused(point):
    with pytest.raises(DataError, match=f"within a degree of .*got {point[0]:.5f}, {point[1]:.5f}"):
        WEST.digits(np.array([(-8.6, 41.2), point]))


def test_a_corner_is_south_west_of_all_points():
    corner = corner_of(np.array([(-8.6123, 41.2), (-8.5, 41.1499)])).lon_lat
    assert corner == pytest.approx([-8.63, 41.13])


def test_answers_are_digits_with_separators(language):
    spelling = spelling_of(language)
    told = spelling.answer(WEST.digits(np.array([(-8.08766, 41.24532), (-8.1, 41.1)])))
    assert language.tokenizer.decode(told) == "61234,14532;60000,00000;"
    assert len(told) == 2 * WORDS


def test_pairs_tell_where_the_trips_were(pairs, driven, roads, language):
    train, held = pairs
    assert (len(train), len(held)) == (8, 1)
    truth = roads.to_degrees(driven.trips.made.points(roads))
    every = np.split(corner_of(roads.network.points).digits(truth), driven.trips.made.first[1:-1])
    assert all(np.array_equal(a, b) for a, b in zip(train.digits, every, strict=False))
    assert train.size[0] == len(train.questions[0]) + WORDS * len(train.digits[0])
    told = train.batch(np.array([0, 1]))
    own, said = len(train.questions[1].own), len(train.digits[1]) * WORDS
    text = language.tokenizer.decode(told["ids"][1, own : own + said])
    assert text.count(",") == text.count(";") == len(train.digits[1])
    assert "".join(c for c in text if c.isdigit()) == "".join(map(str, train.digits[1].ravel()))
    assert (told["digit"] >= 0).sum(dim=1).tolist() == [10 * len(d) for d in train.digits[:2]]


@torch.no_grad()
def test_the_loss_is_that_of_the_digits_alone(model, pairs):
    batch = pairs[0].batch(np.array([0, 1, 2]))
    lost, count = model.digit_nats(batch)
    assert count == 10 * sum(len(digits) for digits in pairs[0].digits[:3])
    alone = sum(float(model.digit_nats(pairs[0].batch(np.array([k])))[0]) for k in range(3))
    assert float(lost) == pytest.approx(alone, rel=1e-4)
    ids = torch.from_numpy(
        np.concatenate([pairs[0].questions[0].ids, pairs[0].spelling.answer(pairs[0].digits[0])])
    )
    hidden = model.decoder(inputs_embeds=model.embedded(ids[None])).last_hidden_state[0]
    logits = hidden[:-1] @ model.decoder.get_input_embeddings().weight.T
    digit = torch.from_numpy(pairs[0].spelling.digit)
    right = torch.isin(ids[1:], digit) & (torch.arange(1, len(ids)) >= len(pairs[0].questions[0]))
    among = logits[right][:, digit]
    target = (ids[1:][right][:, None] == digit).long().argmax(dim=1)
    by_hand = F.cross_entropy(among, target, reduction="sum")
    first = float(model.digit_nats(pairs[0].batch(np.array([0])))[0])
    assert float(by_hand) == pytest.approx(first, rel=1e-4)


def test_answers_have_the_points_asked_for_whatever_their_batch(model, pairs):
    points = np.array([3, 5])
    uniform = np.random.default_rng(0).random((2, 50))
    both = say_points(model, pairs[0].questions[:2], points, uniform)
    assert both.shape == (2, 5, 10)
    alone = say_points(model, pairs[0].questions[:1], points[:1], uniform[:1])
    assert np.array_equal(alone[0], both[0, :3])
    assert len(np.unique(both)) > 5  # drawn, not one digit for ever


def test_saying_draws_by_the_chances_of_the_loss(model, pairs):
    """The likeliest digits, said one by one over the cache, are those of one reading."""
    question = pairs[0].questions[0]
    said = say_points(model, [question], np.array([2]), np.full((1, 20), 0.5))[0]
    told = type(pairs[0])([question], [said], pairs[0].spelling).batch(np.array([0]))
    spoken = told["digit"][0, 1:] >= 0
    logits = model.digit_logits(model.hidden(told)[0, :-1][spoken])
    chance = logits.double().softmax(dim=1).cumsum(dim=1)
    median = (chance < 0.5).sum(dim=1)
    assert median.tolist() == said.ravel().tolist()


def test_it_learns_and_comes_back(model, pairs, config, roads, tmp_path, driven):
    task = RawTask(config, pairs[0], pairs[1], 4, 1)
    with torch.no_grad():
        begun = task.validate(task.model().eval())["total"]
    found = fit_here(task, LoopConfig(epochs=6, learning_rate=1e-2, zero_stage=0))
    assert found.curve[-1]["validation_total"] < begun - 0.1
    checkpoints.save(tmp_path, MODEL, config, found.tensors, {"grid": "synthesised"})
    arm = load_raw(tmp_path, roads)
    told = conditions_told(driven.trips.made, roads).take(np.arange(2))
    traces = arm(driven.trips.made, told, roads)
    assert np.diff(traces.first).tolist() == told.points.tolist()
    back = roads.to_degrees(traces.xy) - corner_of(roads.network.points).lon_lat
    assert ((back > -1e-6) & (back < 1.0)).all()
    rows = {row.metric: row.value for row in arm.rows("grid")}
    assert rows["answer tokens a trajectory"] == WORDS * told.points.mean()
    other = grid_roads(5)
    assert isinstance(other.network, RoadNetwork)
    with pytest.raises(WeightsError, match="fitted to other roads"):
        load_raw(tmp_path, other)
