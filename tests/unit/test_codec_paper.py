"""The preset ``paper`` of the autoencoder: it starts, learns, is saved and comes back."""

from pathlib import Path

import numpy as np
import torch
from trips_on_grid import grid_roads, grid_trips

from raygen.config import load
from raygen.models.trajectory_codec import TrajectoryCodec, groups_of
from raygen.models.trajectory_model import load_codec
from raygen.network.node2vec import Node2vecSettings
from training.codec import CodecRecipe, write_weights
from training.codec_data import NetworkTrips, splits
from training.codec_task import CodecTask
from training.in_process import fit_here
from training.recipe import LoopConfig

RECIPES = Path(__file__).parents[2] / "training/recipes"


def test_the_papers_architecture_takes_a_step_and_comes_back(tmp_path):
    recipe = load(RECIPES / "codec_paper.toml", CodecRecipe)
    model = recipe.model
    assert (model.widths, model.head, model.quantised) == ((64, 128, 128, 256), 64, 64)
    assert (model.codebooks, model.commitment) == ((32, 64, 128, 256), 0.25)
    assert (model.roads.layers, model.roads.node2vec) == (4, 128)
    assert (recipe.batch, recipe.loop.epochs, recipe.loop.learning_rate) == (256, 100, 1e-4)
    roads = grid_roads()
    trips = NetworkTrips("grid", "synthesised", roads, grid_trips(48, seed=3, low=20, high=60))
    parts = splits([trips], 0.2, Node2vecSettings(width=model.roads.node2vec), recipe.seed)
    task = CodecTask(model, parts, 4, 2, recipe.seed)
    loop = LoopConfig(epochs=1, learning_rate=recipe.loop.learning_rate, schedule="cosine")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = TrajectoryCodec(model).state_dict()
    result = fit_here(task, loop)
    assert np.isfinite(result.curve[0]["train_total"])
    assert result.curve[0]["validation_total"] < 100  # the codes are there
    assert all(each.isfinite().all() for each in result.tensors.values())
    assert before.keys() == result.tensors.keys()
    count = sum(each.numel() for each in TrajectoryCodec(model).parameters())
    assert 4_500_000 < count < 6_000_000
    write_weights(recipe, [trips], parts, result, tmp_path / "codec")
    back, _ = load_codec(tmp_path / "codec")
    assert back.config == model
    batch = parts[0].validation.batch(np.arange(4))
    with torch.no_grad():
        codes = back.codes(batch)
        made = back.decode(back.quantizer.embed(codes), batch)
    assert codes.shape == (4, int(groups_of(batch["length"]).max()), 4)
    assert made.share.isfinite().all()
    assert (made.share.diff(dim=1) >= 0).all()
