import math
from collections.abc import Iterator
from pathlib import Path

import fitting_task
import pytest
import torch
from fitting_task import LOOP, regression
from ray import cloudpickle

from cluster.session import connect
from raygen import seeds
from raygen.errors import ClusterError, ConfigError, StageError
from training.engine import learning_rate
from training.in_process import fit_here
from training.loop import FitResult, fit

cloudpickle.register_pickle_by_value(fitting_task)  # workers have no tests/ on their path


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    with connect("local", workers=2):
        yield


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    config = LOOP.model_copy(update={"workers": 2, "gradient_accumulation": 2})
    return fit(regression(), config, tmp_path_factory.mktemp("two"))


def by_hand() -> tuple[list[float], list[float], dict[str, torch.Tensor]]:
    """Train in plain PyTorch on the global batches of 2 workers with 2 batches each."""
    task = regression()
    torch.manual_seed(int(seeds.key(LOOP.seed, "training", 0, 0)[0]) % 2**63)
    model = task.model()
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, weight_decay=LOOP.weight_decay)
    train, validation = [], []
    for epoch in range(LOOP.epochs):
        batches = list(task.batches(epoch, 0, 1))
        losses = []
        for step in range(3):
            # Worker 0 has the even batches and worker 1 the odd ones, so a step has four in a row.
            group = batches[4 * step : 4 * step + 4]
            progress = (3 * epoch + step) / (3 * LOOP.epochs)
            optimizer.param_groups[0]["lr"] = learning_rate(LOOP, progress)
            loss = torch.stack([model(batch, progress)["total"] for batch in group]).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainable, LOOP.clip)
            optimizer.step()
            losses.append(loss.item())
        train.append(sum(losses) / 3)
        with torch.no_grad():
            validation.append(task.validate(model)["total"])
    return train, validation, dict(model.named_parameters())


def test_two_workers_with_accumulation_equal_plain_pytorch(fitted):
    train, validation, parameters = by_hand()
    assert [row["train_total"] for row in fitted.curve] == pytest.approx(train, rel=1e-4)
    found = [row["validation_total"] for row in fitted.curve]
    assert found == pytest.approx(validation, rel=1e-4)
    assert validation[-1] < 0.5 * validation[0]
    assert fitted.best_epoch == min(range(LOOP.epochs), key=validation.__getitem__)
    assert fitted.best_epoch == LOOP.epochs - 1
    for name in ("layer.weight", "layer.bias", "out.weight", "out.bias"):
        torch.testing.assert_close(
            fitted.tensors[name], parameters[name].data, rtol=1e-3, atol=1e-5
        )


def test_frozen_parameters_are_left_out_and_buffers_kept(fitted):
    want = {"layer.weight", "layer.bias", "out.weight", "out.bias", "last"}
    assert set(fitted.tensors) == want


def test_progress_reaches_the_objective(fitted):
    # 15 optimiser steps; the last begins with 14 of them done.
    assert float(fitted.tensors["last"]) == pytest.approx(14 / 15)


def test_curve_has_a_row_an_epoch_with_every_loss(fitted):
    assert [row["epoch"] for row in fitted.curve] == [0, 1, 2, 3, 4]
    assert [row["step"] for row in fitted.curve] == [3, 6, 9, 12, 15]
    want = {"epoch", "step", "seconds", "train_total", "train_absolute", "validation_total"}
    assert all(set(row) == want for row in fitted.curve)
    seconds = [row["seconds"] for row in fitted.curve]
    assert seconds == sorted(seconds)
    assert fitted.seconds == seconds[-1]


def test_workers_that_the_cluster_cannot_hold_are_refused(tmp_path):
    config = LOOP.model_copy(update={"workers": 500, "threads": 2})
    with pytest.raises(ClusterError, match=r"500 workers need 1000 CPUs, the cluster has \d+$"):
        fit(regression(), config, tmp_path)
    config = LOOP.model_copy(update={"device": "cuda"})
    with pytest.raises(ClusterError, match="1 workers need 1 GPUs, the cluster has 0"):
        fit(regression(), config, tmp_path)


def test_resume_refuses_another_configuration(tmp_path):
    config = LOOP.model_copy(update={"workers": 500})
    with pytest.raises(ClusterError):
        fit(regression(), config, tmp_path)
    other = config.model_copy(update={"learning_rate": 0.2})
    with pytest.raises(ConfigError, match=r"another loop.learning_rate: was 0.1, got 0.2"):
        fit(regression(), other, tmp_path, resume=True)
    longer = config.model_copy(update={"max_seconds": 9.0})
    with pytest.raises(ClusterError, match="500 workers"):
        fit(regression(), longer, tmp_path, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 3])
def test_every_zero_stage_finds_the_same(stage, fitted, tmp_path):
    config = LOOP.model_copy(update={"workers": 2, "gradient_accumulation": 2, "zero_stage": stage})
    found = fit(regression(), config, tmp_path)
    for name, tensor in fitted.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_one_worker_finds_the_same(fitted, tmp_path):
    config = LOOP.model_copy(update={"gradient_accumulation": 4})
    found = fit(regression(), config, tmp_path)
    for name, tensor in fitted.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_comes_close_and_returns_float32(fitted, tmp_path):
    config = LOOP.model_copy(update={"workers": 2, "gradient_accumulation": 2, "dtype": "bfloat16"})
    found = fit(regression(), config, tmp_path)
    assert found.tensors["layer.weight"].dtype == torch.float32
    exact = fitted.curve[-1]["validation_total"]
    rounded = found.curve[-1]["validation_total"]
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.25)


@pytest.mark.slow
def test_an_exception_ends_the_training_at_once(tmp_path):
    with pytest.raises(StageError, match="training: KeyError: 'the third epoch is bad'"):
        fit(regression(fault="raise"), LOOP, tmp_path)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    with pytest.raises(StageError, match="epoch 2: losses must be finite, got"):
        fit(regression(fault="nan"), LOOP, tmp_path)


@pytest.mark.slow
def test_patience_needs_a_validation_total(tmp_path):
    config = LOOP.model_copy(update={"patience": 1})
    with pytest.raises(ConfigError, match=r"loop.patience: needs a validation total"):
        fit(regression(fault="no total"), config, tmp_path)


@pytest.mark.slow
def test_stops_when_the_time_is_up_and_goes_on_with_more(tmp_path: Path):
    config = LOOP.model_copy(update={"max_seconds": 1e-6, "gradient_accumulation": 4})
    found = fit(regression(), config, tmp_path)
    assert len(found.curve) == 1
    assert found.curve[0]["step"] == 1
    more = config.model_copy(update={"max_seconds": 600.0})
    again = fit(regression(), more, tmp_path, resume=True)
    assert [row["epoch"] for row in again.curve] == [0, 1, 2, 3, 4]
    assert again.curve[0] == found.curve[0]
    assert math.isfinite(again.curve[-1]["validation_total"])
    finished = fit(regression(), more, tmp_path, resume=True)
    assert finished.curve == again.curve
    assert finished.tensors["out.weight"].equal(again.tensors["out.weight"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_cuda_comes_close_to_the_cpu(stage, fitted, tmp_path):
    config = LOOP.model_copy(
        update={"gradient_accumulation": 4, "device": "cuda", "zero_stage": stage}
    )
    found = fit(regression(), config, tmp_path)
    want = [row["validation_total"] for row in fitted.curve]
    assert [row["validation_total"] for row in found.curve] == pytest.approx(want, rel=1e-2)


@pytest.mark.slow
def test_parts_open_when_the_recipe_says_under_sharding(tmp_path):
    config = LOOP.model_copy(update={"workers": 2, "unfreeze": {"layer": 1.0, "out.bias": 0.6}})
    found = fit(regression(), config, tmp_path).tensors
    torch.manual_seed(int(seeds.key(LOOP.seed, "training", 0, 0)[0]) % 2**63)
    start = regression().model().state_dict()
    for name in ("layer.weight", "layer.bias"):
        torch.testing.assert_close(found[name], start[name], rtol=0, atol=0)
    for name in ("out.weight", "out.bias"):
        assert not torch.equal(found[name], start[name])


@pytest.mark.slow
def test_steps_in_this_process_are_those_of_one_worker(tmp_path):
    config = LOOP.model_copy(update={"unfreeze": {"layer.bias": 0.5}})
    shared, here = fit(regression(), config, tmp_path), fit_here(regression(), config)
    for name, value in shared.tensors.items():
        torch.testing.assert_close(here.tensors[name], value, rtol=1e-4, atol=1e-6)
    assert [row["validation_total"] for row in here.curve] == pytest.approx(
        [row["validation_total"] for row in shared.curve], rel=1e-4
    )
    assert here.best_epoch == shared.best_epoch
