"""The language model's words for trajectories, and answers that always decode."""

from dataclasses import replace

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
from raygen.models.trajectory_language import TrajectoryLanguage, TrajectoryLanguageConfig
from raygen.models.trajectory_padded import answer, left_padded
from raygen.models.trajectory_questions import (
    LEFT_GROUPS,
    Question,
    countdown,
    encode,
)
from raygen.models.trajectory_tokens import Grammar, Successors, Vocabulary
from raygen.models.trajectory_words import known_of
from raygen.network.node2vec import successors
from raygen.trajectories.records import joined
from training.in_process import fit_here
from training.recipe import LoopConfig
from training.trajectory_language import LanguageTask, how_often, in_turn, packed
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


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31 - 1), st.floats(300.0, 4000.0))
def test_a_route_is_as_long_as_asked(roads, seed, metres):
    rng = np.random.default_rng(seed)
    length_m = roads.network.length_m.astype(np.float64)
    follows = Successors(*successors(roads.network), length_m)
    grammar = Grammar(Vocabulary(roads.segments, BOOKS), 2, None, follows, np.array([metres, 0.0]))
    while not grammar.done.all():
        grammar.advance(np.array([rng.choice(np.flatnonzero(row)) for row in grammar.allowed()]))
    route = length_m[grammar.roads[0]]
    assert route.sum() >= 0.9 * metres
    assert route[:-1].sum() < metres or len(route) == 2
    assert len(grammar.roads[1]) > 1  # of any length


def test_questions_and_answers(pairs, language, roads):
    own = 256
    question, told = pairs.questions[0].ids, pairs.answers[0]
    new = question[question >= own]
    route = grid_trips(12, seed=3, low=20, high=40).take(np.array([0])).route
    words = pairs.words
    assert (new - own).tolist() == [*route.tolist(), told[0] - own]  # the length token is told
    assert words.length_at <= told[0] - own < words.boundary_at
    text = language.tokenizer.decode(question[question < own])
    assert "start time " in text
    assert "sampling interval 15 s, " in text
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


def masked_nats(model, pair, words, follows=None):
    """Nats of one answer by its words, from the grammar's own masks, read in one piece."""
    question, told = pair
    ids = torch.from_numpy(np.concatenate([question.ids, told]))[None]
    length_m = None if follows is None else follows.length_m
    left = countdown(words, question, told - model.own, length_m)
    left = torch.from_numpy(np.concatenate([np.full(len(question), -1), left]))[None]
    out = model.decoder(inputs_embeds=model.embedded(ids, left))
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


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("plus", [False, True])
def test_the_loss_is_of_what_the_grammar_leaves_open(config, folder, roads, language, plus, extra):
    own = load_language_model(str(folder), torch.float32, "cpu")
    shape = config.model_copy(update={"roads_first": plus, "bias": extra, "countdown": extra})
    often = np.random.default_rng(0).standard_normal(config.roads + 40, dtype=np.float32)
    words = Vocabulary(shape.roads, shape.codebooks)
    model = TrajectoryLanguage(shape, own, 1, None, often[: words.size]).eval()
    made = grid_trips(3, seed=3, low=20, high=40)
    some = pairs_of(
        made, conditions_told(made, roads), roads, tinytrajectories.codec(), (words, language, plus)
    )
    batch = some.batch(np.arange(3))
    told = []
    with torch.no_grad():
        total = model(batch, 0.0)["total"].item()
        sums, counts = model.nats(batch)
        for row in range(3):
            pair = some.questions[row], some.answers[row]
            told += masked_nats(model, pair, words, some.follows)
    assert total == pytest.approx(np.mean(told), rel=1e-4)
    assert sum(counts.values()) == len(told)
    assert ("roads" in sums) == plus
    assert counts["length"] == 3


def drives_of_one_route(count):
    """Trips on one route at other times and intervals, and a trip on another."""
    one = grid_trips(2, seed=3, low=24, high=40)
    first = one.take(np.array([0]))
    later = [
        replace(
            first, time=first.time[0] + (1.0 + 0.2 * k) * (first.time - first.time[0]) + 600 * k
        )
        for k in range(count)
    ]
    return joined([*later, one.take(np.array([1]))])


def test_drives_of_one_route_share_its_text(model, roads, config, language):
    words = Vocabulary(config.roads, config.codebooks)
    made = drives_of_one_route(5)
    how = words, language, False
    pairs = pairs_of(made, conditions_told(made, roads), roads, tinytrajectories.codec(), how)
    assert pairs.route.tolist() == [0] * 5 + [1]
    assert len({pair.own.tobytes() for pair in pairs.questions}) == 6
    batch = pairs.batch(np.arange(6))
    assert batch["shared"].shape[0] == 2
    assert batch["of"].tolist() == [0] * 5 + [1]
    with torch.no_grad():
        together, count = model.nats(batch)
        alone = [model.nats(pairs.batch(np.array([row]))) for row in range(6)]
    for name, value in together.items():
        assert value.item() == pytest.approx(sum(a[0][name].item() for a in alone), rel=1e-5)
        assert count[name] == sum(a[1][name] for a in alone)


def test_gradients_of_a_shared_route_are_those_of_single_pairs(config, folder, roads, language):
    words = Vocabulary(config.roads, config.codebooks)
    made = drives_of_one_route(3)
    how = words, language, False
    pairs = pairs_of(made, conditions_told(made, roads), roads, tinytrajectories.codec(), how)

    def gradients(groups):
        own = load_language_model(str(folder), torch.float32, "cpu")
        model = TrajectoryLanguage(config, own, 1).train()
        for rows in groups:
            sum(model.nats(pairs.batch(np.array(rows)))[0].values()).backward()
        return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}

    together, alone = gradients([[0, 1, 2, 3]]), gradients([[0], [1], [2], [3]])
    route = int(made.route[0])
    assert together["new.weight"][route].abs().sum() > 0  # the route learns from its drives
    for name, found in together.items():
        assert torch.allclose(found, alone[name], rtol=1e-3, atol=1e-4 * float(found.abs().max()))


def test_the_countdown_by_hand():
    words = Vocabulary(3, (2, 2))
    asked = Question(np.array([0]), np.array([0]), 3, 450.0)
    answer_ = words.answer(6, np.zeros((4, 2), dtype=np.int64), np.array([2, 0, 1]))
    found = countdown(words, asked, answer_, np.array([100.0, 250.0, 130.0]))
    metres = [LEFT_GROUPS + x for x in (4, 3, 2, 0)]  # 450, 320, 220 and -30 m to come
    assert found.tolist() == [*metres, -1, 3, 3, 2, 2, 1, 1, 0, 0, 0, 0, -1]
    begun = countdown(words, asked, answer_[:9])
    assert begun.tolist()[5:] == [3, 3, 2, 2]


def test_a_batch_is_of_whole_routes():
    rng = np.random.default_rng(0)
    groups = [np.arange(at, at + n) for at, n in ((0, 3), (3, 1), (4, 9), (13, 2), (15, 1))]
    found = packed(groups, np.full(16, 50), 4, rng)
    assert all(len(batch) >= 2 for batch in found)
    rows = np.concatenate(found)
    assert len(rows) == len(set(rows.tolist()))
    for batch in found:
        for group in (groups[0], groups[3]):
            assert np.isin(group, batch).sum() in (0, len(group))


def test_what_comes_last_in_the_data_is_learned_from_last():
    groups = [np.arange(2 * at, 2 * at + 2) for at in range(60)]
    parts = in_turn(groups, np.full(120, 50), 4, 1)
    rows = [np.concatenate(part) for part in parts]
    assert sorted(np.concatenate(rows).tolist()) == list(range(120))
    assert all(len(part) == 15 for part in parts)
    assert rows[0].mean() < rows[1].mean() < rows[2].mean() < rows[3].mean()
    assert rows[0].max() > rows[1].min()  # neighbours are mixed


def test_how_often_words_are_said(pairs):
    often = how_often(pairs)
    said = np.concatenate(pairs.answers) - pairs.own
    most = np.bincount(said, minlength=pairs.words.size).argmax()
    assert often.argmax() == most
    assert (often[: pairs.words.roads] == 0).all()


def test_ordinary_words_are_the_language_models_own(config, folder, roads):
    own = load_language_model(str(folder), torch.float32, "cpu")
    table = own.decoder.get_input_embeddings().weight.detach().clone()
    model = TrajectoryLanguage(config.model_copy(update={"ordinary": True}), own, 1)
    assert not model.new.weight.requires_grad
    same = (model.new.weight[:, None] == table[None]).all(dim=2)
    assert same.any(dim=1).all()


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
