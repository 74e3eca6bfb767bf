from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raygen.config import load
from raygen.errors import DataError
from raygen.models.reconstruction import (
    MASK,
    Objective,
    Reconstruction,
    ReconstructionConfig,
)
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
from training.reconstruction import (
    LossSection,
    ReconstructionRecipe,
    ReconstructionTask,
    day_likelihood,
    write_curve,
)

RECIPES = Path(__file__).parents[2] / "training/recipes"
TINY = ReconstructionConfig(width=16, layers=1, heads=2, feedforward=16, dropout=0.0)


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


def task(**change) -> ReconstructionTask:
    loss = LossSection(batch=8, paper_batches=2, dyadic_batches=2, validation_days=40)
    settings = {
        "config": TINY, "loss": loss, "train": pool(), "validation": pool(), "seed": 3, "epochs": 10,
    } | change  # fmt: skip
    return ReconstructionTask(**settings)


@pytest.mark.parametrize(
    ("name", "model"), [("reconstruction", ReconstructionRecipe), ("adapters", AdapterRecipe)]
)
def test_shipped_recipes_are_valid(name, model):
    assert load(RECIPES / f"{name}.toml", model).output.parts[-1] == name


def test_batches_are_equal_in_number_on_every_worker_and_differ_in_content():
    first, second = (list(task().batches(0, rank, 2)) for rank in (0, 1))
    assert len(first) == len(second) == 8
    assert [b["tokens"].shape for b in first] == [b["tokens"].shape for b in second]
    assert not all(
        torch.equal(a["target"], b["target"]) for a, b in zip(first, second, strict=True)
    )
    again = list(task().batches(0, 0, 2))
    assert all(torch.equal(a["tokens"], b["tokens"]) for a, b in zip(first, again, strict=True))


def test_batches_hide_by_phase_and_show_the_right_slots():
    for epoch, share in ((0, 0.0), (2, 0.4), (9, 0.7)):
        for batch in task().batches(epoch, 0, 1):
            hidden = batch["tokens"] == MASK
            assert torch.equal(batch["tokens"][~hidden], batch["target"][~hidden])
            assert batch["tokens"].shape[1] == len(batch["slots"])
            per_row = hidden.float().mean(1)
            if len(batch["slots"]) == SLOTS and not torch.equal(hidden[0], hidden[1]):
                assert (per_row >= share - 0.25).all()


def test_class_weights_follow_the_training_days():
    weight = task(loss=LossSection(class_weight_power=0.5)).model().model.log_class_weight
    share = (pool().chains == WORK).mean()
    assert float(weight[WORK] - weight[HOME]) == pytest.approx(
        -0.5 * np.log(share / (1 - share)), rel=1e-4
    )


def test_validation_is_the_likelihood_of_a_day_and_falls_with_training():
    torch.manual_seed(0)
    made = task()
    objective = made.model()
    before = made.validate(objective.eval())
    assert set(before) == {"total", "weekend"}
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.01)
    for epoch in range(2):
        for batch in made.batches(epoch, 0, 1):
            loss = objective(batch, 0.0)["total"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert made.validate(objective.eval())["total"] < 0.8 * before["total"]


def test_validation_needs_the_objective():
    with pytest.raises(TypeError, match="validate needs an Objective, got Linear"):
        task().validate(torch.nn.Linear(1, 1))


def test_likelihood_of_an_even_network_is_that_of_the_dice():
    torch.manual_seed(0)
    network = Reconstruction(TINY).eval()
    for parameter in (network.head.weight, network.head.bias, network.copy):
        torch.nn.init.zeros_(parameter)
    found = day_likelihood(network, pool(), 40, 0)
    assert found["total"] == pytest.approx(94 * np.log(15), rel=1e-5)


def test_likelihood_needs_a_weekday():
    weekends = replace(pool(), kind=np.ones(40, np.int64))
    with pytest.raises(DataError, match="20 held-out days hold no weekday"):
        day_likelihood(Reconstruction(TINY).eval(), weekends, 20, 0)


def test_closed_loop_brings_the_minutes_to_the_target():
    torch.manual_seed(0)
    network = Objective(Reconstruction(TINY), (1.0, 0.0, 0.0)).model.eval()
    size = 60
    target = np.full(15, 20.0)
    target[WORK], target[HOME] = 300.0, 1440.0 - 300.0 - 13 * 20.0
    target[2], target[HOME] = 0.0, target[HOME] + 20.0
    group = Group(2, 0, np.tile([2, 0, 0], (size, 1)), np.ones(size, bool), target)
    config = FitSection(rounds=6, people=size, average=2)
    shift, curve = fit_closed_loop(network, [group], config, 0)
    assert len(curve) == 6
    before = generated_error(network, [group], np.zeros_like(shift), 1)
    assert generated_error(network, [group], shift, 1) < 0.5 * before
    assert not shift[1].any()
    assert shift[0, 2, HOME] == 0
    barred = np.zeros_like(shift)
    barred[:, :, 1:] = -np.inf
    assert idle_share(network, [group], barred, 0)[0, 2] == 1


def test_drawn_and_idle_days_together_are_the_observed_share():
    stay, idle = np.array([0.3, 0.3, 0.01]), np.array([0.0, 0.1, 0.05])
    drawn = without_idle(stay, idle)
    assert (drawn + (1 - drawn) * idle).tolist() == pytest.approx([0.3, 0.3, 0.05])


def test_curve_has_all_columns(tmp_path):
    write_curve(tmp_path / "curve.csv", [{"epoch": 0, "a": 0.5}, {"epoch": 1, "b": 2.0}])
    assert (tmp_path / "curve.csv").read_text().splitlines() == ["epoch,a,b", "0,0.5,", "1,,2"]
