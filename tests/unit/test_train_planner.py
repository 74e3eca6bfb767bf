from pathlib import Path

import numpy as np
import pytest
import tinyplanner

from raygen.config import ComputeConfig, PlannerConfig, load
from raygen.models.plan_net import PlannerArchitecture
from raygen.models.planner import load_planner
from training.plan_data import PlannerData
from training.planner import PlannerRecipe, train
from training.recipe import LoopConfig

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared/data"


def test_the_shipped_recipe_is_valid():
    recipe = load(ROOT / "training/recipes/planner.toml", PlannerRecipe)
    assert recipe.output == Path("raygen/weights/planner")
    assert recipe.loop.seed == recipe.seed


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="needs the survey and the phone days in shared/data")
def test_training_writes_a_planner_that_needs_no_language_model(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = tinyplanner.language(tmp_path / "language")
    recipe = PlannerRecipe(
        output=tmp_path / "planner",
        data=PlannerData(survey=DATA / "czechia_hts", phone=DATA / "beijing_geolife", coverage=0.3),
        model=PlannerArchitecture(base_model=str(base), upper_layers=1, rank=2, codes=6),
        draws=4,
        validation_coverage=0.2,
        table_cities=("a city",),
        loop=LoopConfig(epochs=1, learning_rate=1e-4, zero_stage=0),
    )
    output = train(recipe, recipe.output)
    written = {path.name for path in output.iterdir() if path.suffix != ".tmp"}
    assert {
        "weights.safetensors",
        "config.json",
        "MODEL_CARD.md",
        "curve.csv",
        "scores.json",
    } <= written
    assert "activations.safetensors" not in written
    planner = load_planner(tmp_path, PlannerConfig(), ComputeConfig())
    role, code = (part.ravel() for part in np.indices((6, 6)))
    slots, _, asked = planner.answers("Tiny City", role, np.full(36, 17), code)
    assert asked == 0
    np.testing.assert_allclose(slots.sum(axis=1), 1, atol=1e-5)
