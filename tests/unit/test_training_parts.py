import csv
import math
from pathlib import Path

import pytest
import torch
from ray.exceptions import ActorDiedError

from raygen.config import load, parse
from raygen.errors import ConfigError, StageError
from training import state as states
from training.engine import learning_rate
from training.failures import is_loss
from training.model_card import ModelCard, write_card, write_curve
from training.recipe import LoopConfig, Recipe
from training.state import State


def loop(**values: object) -> LoopConfig:
    return LoopConfig.model_validate({"learning_rate": 0.5, **values})


@pytest.mark.parametrize(
    ("schedule", "progress", "rate"),
    [
        ("constant", 0.0, 0.5),
        ("constant", 1.0, 0.5),
        ("linear", 0.25, 0.375),
        ("linear", 1.0, 0.0),
        ("cosine", 0.0, 0.5),
        ("cosine", 1 / 3, 0.375),
        ("cosine", 1.0, 0.0),
    ],
)
def test_schedule(schedule, progress, rate):
    assert learning_rate(loop(schedule=schedule), progress) == pytest.approx(rate, abs=1e-12)


def test_warm_up_rises_to_the_peak_and_the_rest_falls_to_zero():
    config = loop(schedule="linear", warmup=0.2)
    found = [learning_rate(config, progress) for progress in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert found == pytest.approx([0.0, 0.25, 0.5, 0.25, 0.0])


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("dtype", "float16", "loop.dtype must be 'float32' or 'bfloat16', got 'float16'"),
        ("zero_stage", 4, "loop.zero_stage must be 0, 1, 2 or 3, got 4"),
        ("schedule", "step", "loop.schedule must be 'constant', 'cosine' or 'linear', got 'step'"),
        ("warmup", 1.0, "loop.warmup must be less than 1, got 1.0"),
        ("learning_rat", 1.0, "unknown key 'loop.learning_rat'; did you mean 'learning_rate'"),
    ],
)
def test_a_wrong_loop_is_refused(key, value, rule):
    with pytest.raises(ConfigError, match=rule):
        parse({"output": "x", "loop": {key: value}}, Recipe, "recipe.toml")


def test_the_recipes_seed_is_the_loops_unless_it_has_its_own(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text('seed = 7\noutput = "weights"\n[loop]\nepochs = 3\n')
    assert load(path, Recipe).loop.seed == 7
    path.write_text('seed = 7\noutput = "weights"\n[loop]\nseed = 8\n')
    assert load(path, Recipe).loop.seed == 8


def test_state_keeps_the_best_epoch_and_loses_patience():
    state = State()
    better = [state.add({"validation_total": value}, 2) for value in (3.0, 1.0, 2.0)]
    assert better == [True, True, False]
    assert (state.best_epoch, state.best_total, state.stopped) == (1, 1.0, "")
    assert not state.add({"validation_total": 1.0}, 2)  # as good is not better
    assert state.stopped == "patience"


def test_a_stopped_training_goes_on_under_wider_limits():
    state = State(epoch=4, best_epoch=1, seconds=50.0, stopped="patience")
    state.go_on(2, 0.0)
    assert state.stopped == "patience"
    state.go_on(3, 0.0)
    assert state.stopped == ""
    state.stopped = "max_seconds"
    state.go_on(0, 50.0)
    assert state.stopped == "max_seconds"
    state.go_on(0, 51.0)
    assert state.stopped == ""


def test_without_validation_the_last_epoch_is_the_best():
    state = State()
    assert all(state.add({"epoch": float(epoch)}, 0) for epoch in range(3))
    assert state.best_epoch == 2
    assert math.isinf(state.best_total)


def test_state_survives_the_disk(tmp_path: Path):
    state = State(epoch=2, step=9, seconds=1.5, curve=[{"a": 1.0}, {"a": math.inf}])
    states.write(tmp_path, state, {"w": torch.arange(6.0).reshape(2, 3).T})
    again, tensors = states.read(tmp_path)
    assert again == state
    assert torch.equal(tensors["w"], torch.arange(6.0).reshape(2, 3).T)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ActorDiedError(), True),
        (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"), True),
        (ConnectionResetError("reset"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (6x3 and 4x8)"), False),
        (KeyError("x"), False),
        (StageError("losses must be finite"), False),
    ],
)
def test_only_a_lost_worker_is_worth_a_restart(error, lost):
    assert is_loss(error) is lost


def test_model_card_and_curve(tmp_path: Path):
    card = ModelCard(
        model="reconstruction",
        summary="Completes a day chain.",
        data={"chains": "czechia_hts, train split: observed"},
        architecture=loop(epochs=12),
        results=[("JSD of types", "test split", 0.01234567), ("floor", "two halves", 0.002)],
        limits=["One country."],
        command="raygen train reconstruction training/recipes/reconstruction.toml",
    )
    text = write_card(tmp_path, card).read_text()
    assert "* chains: czechia_hts, train split: observed\n" in text
    assert "| JSD of types | test split | 0.01235 |\n| floor | two halves | 0.002 |\n" in text
    assert "| epochs | 12 |" in text
    assert "## Training" not in text
    path = write_curve(tmp_path, [{"epoch": 0.0, "total": 1 / 3}, {"epoch": 1.0, "late": 2.0}])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"epoch": "0", "total": "0.3333333", "late": ""},
        {"epoch": "1", "total": "", "late": "2"},
    ]
