"""The language model's words for trajectories, and answers that always decode."""

import numpy as np
import pytest
import tinyplanner
import tinytrajectories
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trips_on_grid import grid_roads, grid_trips

from raygen.errors import DataError
from raygen.models.language import load_language_model
from raygen.models.trajectory_codec import groups_of, length_tokens
from raygen.models.trajectory_language import (
    TrajectoryLanguage,
    TrajectoryLanguageConfig,
    answer,
    encode,
    left_padded,
)
from raygen.models.trajectory_tokens import Grammar, Successors, Vocabulary
from raygen.models.trajectory_words import known_of
from raygen.network.node2vec import successors
from training.in_process import fit_here
from training.recipe import LoopConfig
from training.trajectory_language import LanguageTask
from training.trajectory_pairs import PairSettings, conditions_told, kept_pairs, pairs_of

BOOKS = tinytrajectories.CODEC.codebooks


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
def config(folder, roads):
    return TrajectoryLanguageConfig(
        base_model=str(folder), roads=roads.segments, codebooks=BOOKS, rank=2
    )


@pytest.fixture(scope="module")
def model(config, folder):
    own = load_language_model(str(folder), torch.float32, "cpu")
    return TrajectoryLanguage(config, own, 1).eval()


@pytest.fixture(scope="module")
def pairs(roads, config, language):
    made = grid_trips(12, seed=3, low=20, high=40)
    words = Vocabulary(config.roads, config.codebooks)
    told = conditions_told(made, roads)
    return pairs_of(made, told, roads, tinytrajectories.codec(), (words, language, False))


def test_every_new_word_has_its_number():
    words = Vocabulary(7, (2, 3, 4, 5))
    text = [f"<road_{i}>" for i in range(7)]
    text += [
        f"<{layer}_{i}>"
        for layer, size in zip("abcd", (2, 3, 4, 5), strict=True)
        for i in range(size)
    ]
    text += [f"<t_{i}>" for i in range(8)]
    text += ["<|t_begin|>", "<|t_end|>", "<|p_begin|>", "<|p_end|>"]
    assert words.size == 7 + 14 + 8 + 4 == len(text)
    assert [words.number(word) for word in text] == list(range(words.size))
    assert words.pieces("on <road_3><road_0> at 7") == ["on ", 3, 0, " at 7"]
    for wrong in ("<road_7>", "<a_2>", "<e_0>"):
        with pytest.raises(DataError, match=f"no word {wrong}"):
            words.pieces(f"x {wrong}")


def test_an_answer_in_words():
    words = Vocabulary(5, (2, 3))
    codes = np.array([[1, 2], [0, 0]])
    told = words.answer(6, codes, np.array([4, 1]))
    text = ["<|t_begin|>", "<road_4>", "<road_1>", "<|t_end|>", "<t_6>", "<|p_begin|>",
            "<a_1>", "<b_2>", "<a_0>", "<b_0>", "<|p_end|>"]  # fmt: skip
    assert told.tolist() == [words.number(word) for word in text]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1), st.booleans(), st.booleans())
def test_whatever_the_grammar_allows_decodes(roads, seed, plus, asked):
    """A speaker that picks any allowed word at random."""
    rng = np.random.default_rng(seed)
    words = Vocabulary(roads.segments, BOOKS)
    follows = Successors(*successors(roads.network)) if plus else None
    points = rng.integers(20, 201, 4) if asked else None
    grammar = Grammar(words, 4, points, follows)
    for _ in range(400):
        if grammar.done.all():
            break
        allowed = grammar.allowed()
        assert allowed.any(axis=1).all()
        assert allowed[grammar.done].sum() == grammar.done.sum()
        grammar.advance(np.array([rng.choice(np.flatnonzero(row)) for row in allowed]))
    made = grammar.patterns()
    assert ((made.length >= 20) & (made.length <= 200)).all()
    length = torch.from_numpy(made.length)
    assert length_tokens(length).tolist() == grammar.token.tolist()
    assert groups_of(length).tolist() == grammar.groups.tolist()
    assert (made.codes >= 0).all()
    assert (made.codes < np.array(BOOKS)).all()
    if asked:
        assert made.length.tolist() == points.tolist()
    for route in grammar.roads if plus else []:
        assert len(route) > 1
        head, tail = roads.network.head[route[:-1]], roads.network.tail[route[1:]]
        assert (head == tail).all()


def test_questions_and_answers(pairs, language, roads):
    own = 256
    question, told = pairs.questions[0], pairs.answers[0]
    new = question[question >= own]
    route = grid_trips(12, seed=3, low=20, high=40).take(np.array([0])).route
    assert (new - own).tolist() == route.tolist()
    text = language.tokenizer.decode(question[question < own])
    assert "start time is" in text
    assert "sampling interval is 15 seconds" in text
    assert (told >= own).all()
    assert len(told) % 4 == 3  # length token, two boundaries, four codes a group


def test_only_lora_and_the_new_words_are_trained(model):
    trained = [name for name, each in model.named_parameters() if each.requires_grad]
    assert all("lora" in name or name == "new.weight" for name in trained)
    assert model.new.weight.shape[0] == model.words.size
    assert sum("lora" in name for name in trained) == 3 * 7 * 2


def test_answers_do_not_depend_on_their_batch(model, pairs):
    uniform = np.random.default_rng(0).random((6, 120))
    points = np.array([20, 24, 31, 32, 33, 40])
    together = answer(model, pairs.questions[:6], uniform, points)
    assert together.patterns.length.tolist() == points.tolist()
    assert together.answer_tokens == sum(3 + 4 * -(-n // 8) for n in points)
    assert together.prompt_tokens == sum(len(q) for q in pairs.questions[:6])
    for row in (0, 5):
        alone = answer(model, [pairs.questions[row]], uniform[[row]], points[[row]])
        groups = alone.patterns.codes.shape[1]
        assert np.array_equal(alone.patterns.codes[0], together.patterns.codes[row, :groups])


def test_htp_plus_says_a_connected_route(model, pairs, roads):
    follows = Successors(*successors(roads.network))
    said = answer(
        model, pairs.questions[:2], np.random.default_rng(1).random((2, 800)), None, follows
    )
    for route in said.roads:
        assert (roads.network.head[route[:-1]] == roads.network.tail[route[1:]]).all()
    assert (said.patterns.length >= 20).all()


def masked_nats(model, ids, mask, pair, words, follows=None):
    """Nats of one answer by its words, from the grammar's own masks."""
    question, told = pair
    out = model.decoder(inputs_embeds=model.embedded(ids), attention_mask=mask.long())
    logits = model.logits(out.last_hidden_state[0])
    grammar = Grammar(words, 1, None, follows)
    found = []
    for index, word in enumerate((told - model.own).tolist()):
        allowed = grammar.allowed()[0]
        assert allowed[word]
        if allowed.sum() > 1:
            said = logits[len(question) + index - 1].masked_fill(~torch.from_numpy(allowed), -1e30)
            found.append(-said.log_softmax(0)[word].item())
        grammar.say(0, word)
    assert grammar.done.all()
    return found


@pytest.mark.parametrize("plus", [False, True])
def test_the_loss_is_of_what_the_grammar_leaves_open(config, folder, roads, language, plus):
    own = load_language_model(str(folder), torch.float32, "cpu")
    shape = config.model_copy(update={"roads_first": plus})
    model = TrajectoryLanguage(shape, own, 1).eval()
    made = grid_trips(3, seed=3, low=20, high=40)
    words = Vocabulary(shape.roads, shape.codebooks)
    some = pairs_of(
        made, conditions_told(made, roads), roads, tinytrajectories.codec(), (words, language, plus)
    )
    batch = some.batch(np.arange(3))
    told = []
    with torch.no_grad():
        total = model(batch, 0.0)["total"].item()
        sums, counts = model.nats(batch)
        for row in range(3):
            end = int(batch["mask"][row].sum())
            ids, mask = batch["ids"][[row], :end], batch["mask"][[row], :end]
            pair = some.questions[row], some.answers[row]
            told += masked_nats(model, ids, mask, pair, words, some.follows)
    assert total == pytest.approx(np.mean(told), rel=1e-4)
    assert sum(counts.values()) == len(told)
    assert ("roads" in sums) == plus
    assert counts["length"] == 3


def test_like_words_begin_alike(config, folder, roads):
    codec = tinytrajectories.codec()
    known = known_of(roads, codec)
    assert known.shape[0] == Vocabulary(config.roads, BOOKS).size
    length = np.linalg.norm(known, axis=1)
    assert np.allclose(length[:-12], 1, atol=1e-5)
    assert (length[-12:] == 0).all()
    own = load_language_model(str(folder), torch.float32, "cpu")
    begun = TrajectoryLanguage(config, own, 1, known).new.weight.detach().numpy()
    middle = (roads.xy[roads.at[:-1]] + roads.xy[roads.at[1:] - 1]) / 2
    far = np.linalg.norm(middle[:, None] - middle[None], axis=2)
    apart = np.linalg.norm(begun[: config.roads, None] - begun[None, : config.roads], axis=2)
    off = ~np.eye(config.roads, dtype=bool)
    assert apart[off & (far < np.quantile(far, 0.1))].mean() < 0.9 * apart[off].mean()


def test_training_lowers_the_loss(config, pairs):
    short = kept_pairs(pairs, PairSettings(most_tokens=2000, pairs=8))
    task = LanguageTask(config, short, short, 4, 1)
    curve = fit_here(task, LoopConfig(epochs=4, learning_rate=2e-2, schedule="constant")).curve
    assert curve[-1]["validation_total"] < 0.9 * curve[0]["validation_total"]


def test_left_padding():
    ids, mask = left_padded([np.array([5, 6]), np.array([7])])
    assert ids.tolist() == [[5, 6], [0, 7]]
    assert mask.tolist() == [[True, True], [False, True]]


def test_texts_are_encoded_in_order(language):
    words = Vocabulary(3, (2,))
    ids = encode(language, 256, words, "a<road_2>b")
    assert ids.tolist() == [
        *language.tokens("a")[0].tolist(),
        258,
        *language.tokens("b")[0].tolist(),
    ]
