"""The trajectory models through the shared loop: Ray Train's workers with DeepSpeed inside."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tinyplanner
import tinytrajectories
import torch
from trips_on_grid import grid_roads, grid_trips

from cluster.session import connect
from raygen import checkpoints
from raygen.config import load
from raygen.models.language import load_language_model
from raygen.models.trajectory_language import TrajectoryLanguageConfig
from raygen.models.trajectory_planner import PatternConfig
from raygen.models.trajectory_tokens import Vocabulary
from raygen.models.trajectory_words import known_of
from training.codec_data import NetworkTrips, splits
from training.in_process import fit_here
from training.loop import fit
from training.patterns import PatternTask, coded
from training.recipe import LoopConfig
from training.trajectory_branches import Driven
from training.trajectory_language import LanguageTask, TrajectoryRecipe, prepared
from training.trajectory_pairs import Pairs, conditions_told, pairs_of

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
LOOP = LoopConfig(epochs=2, learning_rate=1e-2, schedule="constant", zero_stage=0, restarts=0)


def qwen(directory: Path) -> Path:
    """Write a Qwen3 of two layers with random weights, in the layout of Qwen3-1.7B."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tinyplanner.language(directory)  # its tokenizer of bytes
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tinyplanner.language(tmp_path_factory.mktemp("llm"))


def task_on(folder: Path, **changed: object) -> LanguageTask:
    roads = grid_roads()
    config = TrajectoryLanguageConfig(
        base_model=str(folder), roads=roads.segments, codebooks=tinytrajectories.CODEC.codebooks,
        rank=2, bias=True, countdown=True,
    ).model_copy(update=changed)  # fmt: skip
    language = load_language_model(str(folder), torch.float32, "cpu")
    words = Vocabulary(config.roads, config.codebooks)
    made = grid_trips(20, seed=3, low=20, high=28)
    told = conditions_told(made, roads)
    codec = tinytrajectories.codec()
    pairs = pairs_of(made, told, roads, codec, (words, language, config.roads_first))
    held: Pairs = pairs.take(np.arange(16, 20))
    known = known_of(roads, codec)
    return LanguageTask(config, pairs.take(np.arange(16)), held, 4, 1, known)


@pytest.fixture(scope="module")
def patterns(tmp_path_factory) -> PatternTask:
    root = tmp_path_factory.mktemp("weights")
    tinytrajectories.build(root)
    digest = checkpoints.label(root / "trajectories" / "codec")[0]
    trips = NetworkTrips("grid", "synthesised", grid_roads(), grid_trips(24, seed=1, high=28))
    parts = coded(splits([trips], 0.2, None, 1), tinytrajectories.codec())
    shape = PatternConfig(width=12, layers=2, heads=2, dropout=0.0, codec_digest=digest)
    return PatternTask(shape, root / "trajectories" / "codec", parts, 8, 2, 1)


@pytest.fixture(scope="module")
def session() -> Iterator[None]:
    with connect("local", workers=2):
        yield


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "workers"), [(0, 1), (2, 1), (2, 2)])
def test_the_loop_fits_a_language_model_as_one_process_does(
    session, folder, tmp_path, stage, workers
):
    """Two workers of batches of two take the steps of one with batches of four, but for order."""
    task = task_on(folder)
    config = LOOP.model_copy(update={"zero_stage": stage, "workers": workers})
    found = fit(task, config, tmp_path)
    assert {"bias", "left.weight", "new.weight"} < set(found.tensors)
    assert all(
        "lora" in name for name in set(found.tensors) - {"bias", "left.weight", "new.weight"}
    )
    if workers == 1:
        alone = fit_here(task, LOOP)
        for name, tensor in found.tensors.items():
            torch.testing.assert_close(tensor, alone.tensors[name], rtol=1e-2, atol=1e-4)
    first, last = (row["validation_total"] for row in found.curve)
    assert math.isfinite(last)
    assert last < first


@pytest.mark.slow
def test_bfloat16_and_htp_plus_through_the_loop(session, folder, tmp_path):
    task = task_on(folder, roads_first=True)
    config = LOOP.model_copy(update={"zero_stage": 2, "dtype": "bfloat16"})
    found = fit(task, config, tmp_path)
    assert all(tensor.dtype == torch.float32 for tensor in found.tensors.values())
    assert found.curve[-1]["validation_roads"] < found.curve[0]["validation_roads"]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "workers"), [(0, 1), (2, 2)])
def test_the_loop_fits_patterns(session, patterns, tmp_path, stage, workers):
    config = LOOP.model_copy(update={"zero_stage": stage, "workers": workers, "epochs": 3})
    found = fit(patterns, config, tmp_path)
    if workers == 1:
        alone = fit_here(patterns, config)
        for name, tensor in found.tensors.items():
            torch.testing.assert_close(tensor, alone.tensors[name], rtol=1e-2, atol=1e-4)
    assert found.curve[-1]["validation_total"] < found.curve[0]["validation_total"]


def test_the_papers_preset_takes_a_step_on_a_small_qwen3(tmp_path):
    """The recipe as it is, but for the size of the language model and where it runs."""
    recipe = load(RECIPES / "trajectory_paper.toml", TrajectoryRecipe)
    assert (recipe.batch, recipe.model.rank, recipe.loop.epochs) == (16, 16, 2)
    assert (recipe.loop.learning_rate, recipe.loop.schedule) == (5e-4, "linear")
    assert (recipe.model.bias, recipe.model.countdown) == (False, False)
    base = qwen(tmp_path / "qwen")
    weights = tmp_path / "weights"
    tinytrajectories.build(weights)
    recipe = recipe.model_copy(
        update={
            "codec": weights / "trajectories" / "codec",
            "model": recipe.model.model_copy(update={"base_model": str(base)}),
        }
    )
    trips = NetworkTrips("grid", "synthesised", grid_roads(), grid_trips(40, seed=1, high=28))
    config, parts = prepared(recipe, trips.roads, [Driven(trips, np.arange(40))])
    assert config.base_digest
    task = LanguageTask(config, *parts, recipe.batch, recipe.seed)
    loop = recipe.loop.model_copy(
        update={"device": "cpu", "workers": 1, "dtype": "float32", "epochs": 1, "zero_stage": 0}
    )
    found = fit_here(task, loop)
    assert sum("lora" in name and name.endswith("weight") for name in found.tensors) >= 2 * 7 * 2
    assert math.isfinite(found.curve[-1]["validation_total"])
