from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raygen.config import load
from raygen.errors import DataError
from raygen.models.chain_decoder import ChainDecoder, ChainDecoderConfig
from raygen.models.observed import MASK
from raygen.models.slot_network import SlotNetworkConfig
from raygen.taxonomy import HOME, SLOTS, WORK
from training.adapters import (
    AdapterRecipe,
    FitSection,
    Group,
    fit_closed_loop,
    generated_error,
    idle_share,
    without_idle,
)
from training.chain_data import ChainPool
from training.chain_decoder import DecoderTask, LikelihoodSection, day_likelihood, views
from training.reconstruction import ReconstructionRecipe, write_curve
from training.slot_network import LossSection, SlotTask

RECIPES = Path(__file__).parents[2] / "training/recipes"
TINY = ChainDecoderConfig(width=16, layers=1, heads=2, feedforward=16, dropout=0.0)
TINY_SLOTS = SlotNetworkConfig(
    width=16, encoder_layers=1, decoder_layers=1, heads=2, feedforward=16, dropout=0.0
)


def pool(days: int = 40) -> ChainPool:
    rng = np.random.default_rng(0)
    chains = np.zeros((days, SLOTS), np.int8)
    for day in range(days):
        start = rng.integers(24, 36)
        chains[day, start : start + 32] = WORK
    return ChainPool(
        chains=chains,
        day=np.arange(days),
        person=np.tile([2, 0, 0], (days, 1)),
        kind=np.arange(days) % 2,
        probability=np.full(days, 1 / days),
    )


def decoder_task(**change) -> DecoderTask:
    section = LikelihoodSection(batch=8, steps=4, parts=2, validation_days=40)
    settings = {
        "config": TINY, "section": section, "train": pool(), "validation": pool(), "seed": 3,
    } | change  # fmt: skip
    return DecoderTask(**settings)


def slot_task(**change) -> SlotTask:
    loss = LossSection(batch=8, steps=4, validation_days=40)
    settings = {
        "config": TINY_SLOTS, "loss": loss, "train": pool(), "validation": pool(), "seed": 3,
        "epochs": 10,
    } | change  # fmt: skip
    return SlotTask(**settings)


@pytest.mark.parametrize(
    ("name", "model", "output"),
    [
        ("reconstruction", ReconstructionRecipe, "reconstruction"),
        ("reconstruction_slots", ReconstructionRecipe, "reconstruction-slots"),
        ("reconstruction_paper", ReconstructionRecipe, "reconstruction-paper"),
        ("adapters", AdapterRecipe, "adapters"),
    ],
)
def test_shipped_recipes_are_valid(name, model, output):
    assert load(RECIPES / f"{name}.toml", model).output.parts[-1] == output


def test_the_paper_recipe_has_the_settings_of_the_paper():
    recipe = load(RECIPES / "reconstruction_paper.toml", ReconstructionRecipe)
    assert (recipe.loss.batch, recipe.loop.learning_rate, recipe.loop.epochs) == (512, 1e-3, 120)
    assert recipe.loss.weights == (0.7, 0.15, 0.15)
    assert recipe.loop.patience > 0


@pytest.mark.parametrize("task", [decoder_task(), slot_task()], ids=["decoder", "slots"])
def test_batches_are_equal_in_number_on_every_worker_and_differ_in_content(task):
    first, second = (list(task.batches(5, rank, 2)) for rank in (0, 1))
    assert len(first) == len(second) == 4
    assert (
        [b["tokens"].shape for b in first] == [b["tokens"].shape for b in second] == [(4, 96)] * 4
    )
    pairs = list(zip(first, second, strict=True))
    assert not all(torch.equal(a["tokens"], b["tokens"]) for a, b in pairs)
    again = list(task.batches(5, 0, 2))
    assert all(torch.equal(a["tokens"], b["tokens"]) for a, b in zip(first, again, strict=True))


def test_slot_batches_hide_by_phase():
    for epoch, share in ((0, 0.0), (2, 0.4), (9, 0.7)):
        for batch in slot_task().batches(epoch, 0, 1):
            hidden = batch["tokens"] == MASK
            assert torch.equal(batch["tokens"][~hidden], batch["target"][~hidden])
            assert abs(float(hidden.float().mean()) - share) < 0.25


def test_views_leave_the_ends_or_what_the_maskings_leave():
    chains = np.repeat(pool().chains, 20, axis=0)
    section = LikelihoodSection(free=0.5, shares=(0.4,), any_share=0.0)
    hidden = views(chains, section, np.random.default_rng(0))
    free = hidden.sum(1) == SLOTS - 2
    assert abs(free.mean() - 0.5) < 0.08
    assert (~hidden[free][:, [0, -1]]).all()
    assert abs(hidden[~free].mean() - 0.4) < 0.15


def test_class_weights_follow_the_training_days():
    made = slot_task(loss=LossSection(class_weight_power=0.5))
    weight = made.model().model.log_class_weight
    share = (pool().chains == WORK).mean()
    assert float(weight[WORK] - weight[HOME]) == pytest.approx(
        -0.5 * np.log(share / (1 - share)), rel=1e-4
    )


@pytest.mark.parametrize(
    ("task", "keys"),
    [(decoder_task(), {"total", "free", "masked", "weekend"}), (slot_task(), {"total"})],
    ids=["decoder", "slots"],
)
def test_validation_falls_with_training(task, keys):
    torch.manual_seed(0)
    objective = task.model()
    before = task.validate(objective.eval())
    assert set(before) == keys
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.02)
    for epoch in (8, 9):
        for batch in task.batches(epoch, 0, 1):
            loss = objective(batch, 0.0)["total"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert task.validate(objective.eval())["total"] < 0.9 * before["total"]


@pytest.mark.parametrize("task", [decoder_task(), slot_task()], ids=["decoder", "slots"])
def test_validation_needs_the_objective(task):
    with pytest.raises(TypeError, match=r"validate needs a \w+Objective, got Linear"):
        task.validate(torch.nn.Linear(1, 1))


def test_likelihood_needs_a_weekday():
    weekends = replace(pool(), kind=np.ones(40, np.int64))
    with pytest.raises(DataError, match="20 held-out days hold no weekday"):
        day_likelihood(ChainDecoder(TINY).eval(), weekends, 20, 0)


def test_closed_loop_brings_the_minutes_to_the_target():
    torch.manual_seed(0)
    network = ChainDecoder(TINY).eval()
    size = 200
    target = np.full(15, 20.0)
    target[WORK], target[HOME] = 300.0, 1440.0 - 300.0 - 13 * 20.0
    target[2], target[HOME] = 0.0, target[HOME] + 20.0
    starts = np.full((SLOTS, 15), 0.01)
    group = Group(2, 0, np.tile([2, 0, 0], (size, 1)), np.ones(size, bool), target, starts)
    config = FitSection(rounds=6, people=size, average=2)
    shift, curve = fit_closed_loop(network, [group], config, 0)
    assert len(curve) == 6
    before = generated_error(network, [group], np.zeros_like(shift), 1)
    assert generated_error(network, [group], shift, 1) < 0.5 * before
    assert not shift[1].any()
    assert (shift[0, 2, :, HOME] == 0).all()
    barred = np.zeros_like(shift)
    barred[..., 1:] = -np.inf
    assert idle_share(network, [group], barred, 0)[0, 2] == 1


def test_drawn_and_idle_days_together_are_the_observed_share():
    stay, idle = np.array([0.3, 0.3, 0.01]), np.array([0.0, 0.1, 0.05])
    drawn = without_idle(stay, idle)
    assert (drawn + (1 - drawn) * idle).tolist() == pytest.approx([0.3, 0.3, 0.05])


def test_curve_has_all_columns(tmp_path):
    write_curve(tmp_path / "curve.csv", [{"epoch": 0, "a": 0.5}, {"epoch": 1, "b": 2.0}])
    assert (tmp_path / "curve.csv").read_text().splitlines() == ["epoch,a,b", "0,0.5,", "1,,2"]
