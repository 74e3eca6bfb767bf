"""Nats a word by counting and under the Transformer, and pairs as batches."""

import numpy as np
import pytest
import tinyplanner
import tinytrajectories
import torch
from trips_on_grid import grid_roads, grid_trips

from raygen.models.language import load_language_model
from raygen.models.trajectory_batches import trajectory_data
from raygen.models.trajectory_questions import Question
from raygen.models.trajectory_tokens import (
    CODE,
    FORCED,
    LENGTH,
    NEXT_ROAD,
    ROAD,
    Successors,
    Vocabulary,
    kinds,
    next_roads,
)
from raygen.trajectories.routes import routes_of
from training.trajectory_nats import Nats, of_counting, of_transformer
from training.trajectory_pairs import (
    Pairs,
    PairSettings,
    conditions_told,
    joined,
    kept_pairs,
    pairs_of,
)

WORDS = Vocabulary(4, (2, 3))


def pair(codes, token=0, roads=None, follows=None):
    """One pair of no question; 24 points and more in whole groups."""
    said = WORDS.answer(token, np.array(codes), None if roads is None else np.array(roads))
    nothing = np.zeros(1, dtype=np.int64)
    asked = Question(nothing, nothing, len(codes), 0.0)
    return Pairs([asked], [10 + said], WORDS, 10, follows)


@pytest.fixture(scope="module")
def ring():
    """Segment 0 leads to 1 and 2, all others to the next one."""
    return Successors(np.array([0, 2, 3, 4, 5]), np.array([1, 2, 2, 3, 0], dtype=np.int32))


def test_kinds_of_the_words_of_an_answer(ring):
    codes = [[0, 1], [1, 2], [1, 0], [0, 0]]
    one = pair(codes, 0, [0, 1, 2], ring)
    expected = [FORCED, ROAD, NEXT_ROAD, NEXT_ROAD, NEXT_ROAD, LENGTH, FORCED,
                CODE, CODE + 2, CODE, CODE + 2, CODE, CODE + 2, CODE + 1, CODE + 2, CODE + 1]  # fmt: skip
    assert kinds(WORDS, one.answers[0] - 10).tolist() == expected
    end = WORDS.boundary_at + 1
    options = next_roads(WORDS, one.answers[0] - 10, ring)
    assert [some.tolist() for some in options] == [[1, 2], [2, end], [3, end]]


def test_counting_gives_what_is_counted_by_hand(ring):
    known = pair([[0, 1], [0, 1], [0, 2]], 0, [0, 1], ring)
    told = pair([[0, 1], [1, 1], [0, 1]], 0, [0, 2], ring)
    found = of_counting(known, told)
    assert found.sums["length"] == pytest.approx(-np.log(2 / 9))
    first = -np.log(4 / 5) * 2 - np.log(1 / 5)  # 0 was said thrice, 1 never
    second = -3 * np.log(3 / 6)
    end = -np.log(2 / 4)
    assert found.sums["codes"] == pytest.approx(first + second + end)
    roads = -np.log(2 / 5) + np.log(2) + np.log(2)  # the first by count; two that follow 0; an end
    assert found.sums["roads"] == pytest.approx(roads)
    assert found.counts == {"roads": 3, "length": 1, "codes": 7}
    assert found.words == 8
    assert found.a_road == pytest.approx(roads / 3)


def test_words_are_counted_as_the_transformer_counts_them():
    made, roads = grid_trips(5, seed=3, low=20, high=40), grid_roads()
    data = trajectory_data(made, routes_of(made, roads))
    model = tinytrajectories.patterns()
    found = of_transformer(model, data)
    groups = -(-made.length // 8)
    assert found.words == int((2 + 4 * groups).sum())
    with torch.no_grad():
        total = model(data.batch(np.arange(5)), 1.0)["total"].item()
    assert found.a_word == pytest.approx(total, rel=1e-4)


def test_joined_pairs_keep_their_order(tmp_path):
    language = load_language_model(str(tinyplanner.language(tmp_path)), torch.float32, "cpu")
    made, roads = grid_trips(4, seed=3, low=20, high=30), grid_roads()
    words = Vocabulary(roads.segments, tinytrajectories.CODEC.codebooks)
    told = conditions_told(made, roads)
    every = pairs_of(made, told, roads, tinytrajectories.codec(), (words, language, False))
    parts = [every.take(np.array([2])), every.take(np.array([0, 3]))]
    both = joined(parts)
    assert len(both) == 3
    assert both.size.tolist() == every.size[[2, 0, 3]].tolist()
    batch = both.batch(np.array([1, 0]))
    assert (batch["kinds"] != FORCED).sum(dim=1).tolist() == [
        int((kinds(words, every.answers[row] - every.own) != FORCED).sum()) for row in (0, 2)
    ]


def test_routes_of_one_road_are_no_answers_of_htp_plus(ring):
    codes = [[0, 1], [1, 2], [1, 0]]
    every = joined([pair(codes, 0, roads, ring) for roads in ([0], [0, 1], [2, 3, 0])])
    kept = kept_pairs(every, PairSettings())
    assert [len(answer) for answer in kept.answers] == [13, 14]
    batch = kept.batch(np.arange(2))
    assert int((batch["kinds"] == NEXT_ROAD).sum()) == len(batch["options"]) == 5
    without = joined([pair(codes), pair(codes)])
    assert len(kept_pairs(without, PairSettings(pairs=1))) == 1


def test_nats_leave_routes_out_of_patterns():
    nats = Nats({"roads": 8.0, "codes": 6.0, "length": 2.0}, {"roads": 4, "codes": 3, "length": 1})
    assert nats.a_word == 2.0
    assert nats.a_road == 2.0
