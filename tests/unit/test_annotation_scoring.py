import numpy as np
import pytest
import tinyannotation
import tinyplanner
import torch
import torch.nn.functional as F

from raygen import checkpoints
from raygen.annotation import prompts
from raygen.annotation.command import SHIPPED
from raygen.annotation.model import AnnotationArchitecture, load_annotator
from raygen.annotation.scoring import batches, probabilities
from raygen.annotation.tags import tag_table
from raygen.config import ComputeConfig, PlannerConfig
from raygen.errors import WeightsError
from raygen.models.language import load_language_model, weights_digest
from raygen.taxonomy import ACTIVITY_TYPES

TEXTS = ["Café Zoë", "中国银行", "Bar", "Bus", "Farmácia São João; amenity pharmacy", ""]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tinyannotation.language(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def brief(monkeypatch):
    """A short instruction: the tiny model reads bytes, and the real one has two thousand."""
    monkeypatch.setattr(prompts, "instruction", lambda examples: f"Task {examples}:\n")


@pytest.fixture(scope="module")
def bytewise(tmp_path_factory):
    return tinyannotation.language(tmp_path_factory.mktemp("bytes"), whole=False)


def load(base, weights=None, batch=64):
    config = PlannerConfig(base_model=str(base), dtype="float32", batch=batch)
    return load_annotator(weights, config, ComputeConfig())


@torch.no_grad()
def plain(language, text, examples=True):
    """Score by one whole prompt and label at a time, without cache or batch."""
    head = language.decoder.embed_tokens.weight
    start = [language.tokens(prompts.instruction(examples)), language.tokens(prompts.poi(text))]
    found = []
    for label in map(language.tokens, prompts.LABELS):
        ids = torch.cat([*start, label], dim=1)
        logits = F.linear(language.decoder(ids).last_hidden_state[0], head)
        log_p = F.log_softmax(logits, dim=-1)[-label.shape[1] - 1 : -1]
        found.append(float(log_p.gather(1, label.T).sum()))
    return found


@pytest.mark.parametrize("kind", ["base", "bytewise"])
def test_likelihoods_equal_those_of_whole_prompts(brief, kind, request):
    folder = request.getfixturevalue(kind)
    language = load_language_model(str(folder), torch.float32, "cpu")
    found = load(folder).scorer.log_likelihoods(TEXTS)
    for row in (0, 1, 5):
        np.testing.assert_allclose(found[row], plain(language, TEXTS[row]), atol=2e-4)


def test_likelihoods_do_not_depend_on_the_batch(brief, base):
    one, many = load(base, batch=1), load(base, batch=64)
    np.testing.assert_allclose(
        one.scorer.log_likelihoods(TEXTS), many.scorer.log_likelihoods(TEXTS), atol=1e-4
    )


def test_batches_are_of_equal_length_and_hold_every_text_once(base):
    language = load_language_model(str(base), torch.float32, "cpu")
    cut = list(batches(language, [*TEXTS, "Zug", "Tor"], 2))
    assert sorted(np.concatenate([batch.index for batch in cut]).tolist()) == list(range(8))
    assert [len(batch.index) for batch in cut[:3]] == [2, 2, 1]  # Bar, Bus, N/A, Zug, Tor
    lengths = [batch.tokens.shape[1] for batch in cut]
    assert lengths == sorted(lengths)


def test_an_answer_is_a_distribution_and_calibration_divides_the_taste_for_labels_out():
    likelihood = np.log(np.array([[0.6, 0.2, 0.1], [0.3, 0.3, 0.1]]))
    np.testing.assert_allclose(probabilities(likelihood, None)[0], np.array([6, 2, 1]) / 9)
    even = probabilities(likelihood, likelihood[0])
    np.testing.assert_allclose(even[0], 1 / 3)
    np.testing.assert_allclose(even[1], np.array([0.5, 1.5, 1]) / 3)


def test_a_prompt_without_content_is_uniform_once_calibrated(brief, base):
    annotator = load(base)
    scores = annotator.scorer.log_likelihoods(list(prompts.CONTENT_FREE)).mean(axis=0)
    np.testing.assert_allclose(probabilities(scores[None], annotator.content_free), 1 / 15)
    np.testing.assert_allclose(annotator.annotate(TEXTS).sum(axis=1), 1)
    assert annotator.label == "assumed"


def adapter(directory, base, **changes):
    rng = np.random.default_rng(0)
    shapes = {"q_proj.a": (2, 32), "q_proj.b": (32, 2)}
    tensors = {
        f"lora.layers.2.self_attn.{name}": torch.from_numpy(rng.normal(size=shape)).float()
        for name, shape in shapes.items()
    }
    settings = {
        "base_digest": weights_digest(base),
        "prompt_digest": prompts.digest(False),
        "upper_layers": 1,
        "rank": 2,
    }
    config = AnnotationArchitecture(**(settings | changes))
    checkpoints.save(directory / "annotation", "annotation", config, tensors, {})
    return directory


def test_an_adapter_changes_the_answers_and_is_calibrated(brief, base, tmp_path):
    fitted = load(base, adapter(tmp_path, base))
    assert fitted.label == "calibrated"
    assert fitted.content_free is None
    language = load_language_model(str(base), torch.float32, "cpu")
    bare = plain(language, TEXTS[0], examples=False)
    assert np.abs(fitted.scorer.log_likelihoods(TEXTS[:1]) - bare).max() > 0.01
    assert fitted.digest != load(base).digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_digest": "f" * 64}, r"fitted to another language model \(ffff"),
        ({"prompt_digest": "e" * 64}, r"fitted to another prompt \(eeee"),
    ],
)
def test_an_adapter_of_another_model_or_prompt_is_refused(brief, base, tmp_path, changes, message):
    with pytest.raises(WeightsError, match=message):
        load(base, adapter(tmp_path, base, **changes))


def test_a_model_without_a_vocabulary_head_is_refused(brief, tmp_path):
    with pytest.raises(WeightsError, match=r"neither tied embeddings nor lm_head\.weight"):
        load(tinyplanner.language(tmp_path))


def test_the_instruction_says_every_type_and_ends_before_the_poi():
    text = prompts.instruction(False)
    assert all(f"\n{label.strip()}: " in text for label in prompts.LABELS)
    assert len(prompts.LABELS) == len(set(prompts.LABELS)) == len(ACTIVITY_TYPES)
    shown = prompts.instruction(True)
    assert shown.startswith(text)
    assert shown.count("Activity: ") == 15


def test_a_poi_is_told_by_name_and_tags():
    keys = tag_table().keys
    tags = {"amenity": "fast_food", "cuisine": "pizza;kebab", "addr:street": "Main", "source": "x"}
    assert (
        prompts.describe(" Bella  Pizza ", tags, keys)
        == "Bella Pizza; amenity fast food; cuisine pizza, kebab"
    )
    assert prompts.describe("Bella Pizza", {}, keys) == "Bella Pizza"
    assert prompts.describe("", {"type": "kiosk"}, keys) == "type kiosk"
    assert (
        prompts.describe("Station No. 12", {}, ())
        == prompts.describe("Station #7", {}, ())
        == "Station"
    )
    assert prompts.describe("24 Hour Gym", {}, ()) == "24 Hour Gym"
    assert len(prompts.describe("x" * 500, {}, ())) == 160
    assert prompts.poi("") == "POI: N/A\nActivity:"


def test_the_shipped_adapter_is_small_and_of_the_present_prompt():
    folder = SHIPPED / "annotation"
    config, tensors, _ = checkpoints.load(folder, "annotation", AnnotationArchitecture)
    assert config.prompt_digest == prompts.digest(config.examples), "fit it anew"
    assert config.base_model == "smollm2"
    assert sum(path.stat().st_size for path in folder.glob("*.*")) < 3_000_000
    assert len(tensors) == 2 * 7 * config.upper_layers


@pytest.mark.slow
def test_the_real_model_reads_names_in_many_languages():
    asked = ["Pizza Hut; amenity fast food", "Iglesia Bautista", "中国银行", "Escola Primária"]
    found = load_annotator(SHIPPED, PlannerConfig(), ComputeConfig()).annotate(asked)
    kinds = [ACTIVITY_TYPES[index] for index in found.argmax(axis=1)]
    assert kinds == ["meals_out", "worship", "errands", "school"]


def test_each_label_is_one_token_of_the_real_tokenizer():
    from raygen.models.language import cache_directory

    folders = sorted((cache_directory() / "models").glob("smollm2-*/tokenizer.json"))
    if not folders:
        pytest.skip("SmolLM2 is not unpacked on this machine")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folders[0].parent)
    ids = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in prompts.LABELS]
    assert {len(row) for row in ids} == {1}
    assert len({row[0] for row in ids}) == 15
