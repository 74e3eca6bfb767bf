"""One data-parallel worker of the shared loop; Ray Train runs ``work`` on each."""

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from raygen import seeds
from raygen.errors import ConfigError, StageError
from training import state as states
from training.engine import SHARDED, Batch, Engine
from training.recipe import LoopConfig
from training.state import State

PROGRESS = "progress.json"
"""File of the first worker's progress, for the driver: step, steps, epoch, epochs, the last loss,
and the curve's last row."""

_PROGRESS_S = 0.5  # seconds between two writes of it


class Task(Protocol):
    """What is fitted, to what. Plain data: it is pickled to every worker."""

    def model(self) -> nn.Module:
        """Return the objective: ``forward(batch, progress) -> {"total": loss, part: loss, …}``.

        ``progress`` is the share of the training that is done, in [0, 1]. Random initial values may
        come from PyTorch's global generator, which is seeded.
        """
        ...

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[Batch]:
        """Yield the batches of one worker; every worker gets the same number, of CPU tensors."""
        ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return metrics on held-out data; ``total``, if there is one, picks the best epoch.

        Called on the first worker after each epoch, in evaluation mode and without gradients.
        """
        ...


@dataclass
class Worker:
    """What one worker holds during a training."""

    task: Task
    config: LoopConfig
    storage: Path
    rank: int
    world: int
    device: torch.device
    engine: Engine
    steps: int  # optimiser steps of an epoch
    begun: float = 0.0  # clock at which the training would have begun without interruption
    shown: float = 0.0  # clock of the last write of the progress


def work(settings: dict[str, Any]) -> None:
    """Train on this worker, from the last checkpoint where there is one.

    Parameters
    ----------
    settings
        ``task``: reference of the task; ``config``: the loop's; ``storage``: the run's directory.
    """
    from training.failures import keep_traceback

    try:
        _work(settings)
    except Exception as error:
        keep_traceback(error)
        raise


def _work(settings: dict[str, Any]) -> None:
    import ray
    import ray.train
    import ray.train.torch

    config: LoopConfig = settings["config"]
    task: Task = ray.get(settings["task"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(config.threads)
    device = torch.device("cpu")
    if config.device == "cuda":
        device = ray.train.torch.get_device()
        torch.cuda.set_device(device)
    _seed(config, -1, 0)  # the same initial weights on every worker
    engine = Engine(task.model(), config, device)
    worker = Worker(task, config, settings["storage"], rank, world, device, engine, 0)
    worker.steps = _count_steps(worker)
    state, best = State(), dict[str, Tensor]()
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            engine.load(Path(directory))
            state, best = states.read(Path(directory))
        state.go_on(config.patience, config.max_seconds)
    worker.begun = time.monotonic() - state.seconds
    while state.epoch < config.epochs and not state.stopped:
        best = _epoch(worker, state, best)


def _epoch(worker: Worker, state: State, best: dict[str, Tensor]) -> dict[str, Tensor]:
    """Train one epoch, validate, report a checkpoint; return the best tensors so far."""
    _seed(worker.config, state.epoch, worker.rank)
    losses = _train(worker, state)
    tensors = worker.engine.tensors()
    row = {"epoch": float(state.epoch), "step": float(state.step)}
    if worker.rank == 0:
        row |= losses | _validate(worker, tensors)
        row["seconds"] = time.monotonic() - worker.begun
    row = _from_first(row)  # and wait for the validation
    if worker.config.patience and "validation_total" not in row:
        msg = "loop.patience: needs a validation total, and the task's validate() returns none"
        raise ConfigError(msg)
    state.seconds = row["seconds"]
    if state.add(row, worker.config.patience):
        best = tensors
    _report(worker, state, best)
    _show(worker, state, row["train_total"])
    return best


def _train(worker: Worker, state: State) -> dict[str, float]:
    """Take an epoch's steps; return the mean losses over steps and workers."""
    worker.engine.module.train()
    total = worker.steps * worker.config.epochs
    sums: dict[str, Tensor] = {}
    taken = 0
    for group in _groups(worker, state.epoch):
        losses = worker.engine.learn(group, min(state.step / total, 1.0))
        sums = {name: sums[name] + loss if sums else loss for name, loss in losses.items()}
        state.step += 1
        taken += 1
        if time.monotonic() - worker.shown > _PROGRESS_S:
            _show(worker, state, float(losses["total"]))
        if worker.config.max_seconds and _late(worker):
            state.stopped = "max_seconds"
            break
    names = sorted(sums)
    means = torch.stack([sums[name] for name in names]) / (taken * worker.world)
    torch.distributed.all_reduce(means)
    found = {f"train_{name}": value for name, value in zip(names, means.tolist(), strict=True)}
    if not all(math.isfinite(value) for value in found.values()):
        msg = f"training, epoch {state.epoch}: losses must be finite, got {found}"
        raise StageError(msg)
    return found


def _validate(worker: Worker, tensors: dict[str, Tensor]) -> dict[str, float]:
    model = worker.engine.module
    if worker.config.zero_stage == SHARDED:  # its parameters lie in parts on all workers
        model = worker.task.model().to(worker.device)
        model.load_state_dict(tensors, strict=False)
    model.eval()
    bfloat16 = worker.config.dtype == "bfloat16"
    with torch.no_grad(), torch.autocast(worker.device.type, torch.bfloat16, enabled=bfloat16):
        found = worker.task.validate(model)
    return {f"validation_{name}": float(value) for name, value in found.items()}


def _report(worker: Worker, state: State, best: dict[str, Tensor]) -> None:
    """Hand this worker's part of the checkpoint to Ray Train, which merges the parts."""
    import ray.train

    directory = Path(tempfile.mkdtemp(prefix="raygen-checkpoint-"))
    try:
        worker.engine.save(directory)
        if worker.rank == 0:
            states.write(directory, state, best)
        torch.distributed.barrier()
        checkpoint = ray.train.Checkpoint.from_directory(str(directory))
        ray.train.report(dict(state.curve[-1]), checkpoint=checkpoint)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _groups(worker: Worker, epoch: int) -> Iterator[list[Batch]]:
    """Yield the batches of one optimiser step after the other."""
    batches = iter(worker.task.batches(epoch, worker.rank, worker.world))
    while group := list(islice(batches, worker.config.gradient_accumulation)):
        yield group


def _count_steps(worker: Worker) -> int:
    """Return the optimiser steps of an epoch, from a pass over the first epoch's batches.

    Raises
    ------
    StageError
        If a worker has another number of batches, which would hang the training, or none.
    """
    batches = sum(1 for _ in worker.task.batches(0, worker.rank, worker.world))
    counts = torch.tensor([batches, -batches], device=worker.device)
    torch.distributed.all_reduce(counts, torch.distributed.ReduceOp.MAX)
    most, least = int(counts[0]), -int(counts[1])
    if most != least or most == 0:
        msg = f"training: every worker must have the same number of batches > 0, got {least}–{most}"
        raise StageError(msg)
    return -(-batches // worker.config.gradient_accumulation)


def _seed(config: LoopConfig, epoch: int, rank: int) -> None:
    # The one place that seeds PyTorch globally: this process only trains, layers initialise
    # themselves and draw dropout from the global generator, and a resumed epoch must draw the same.
    word = seeds.key(config.seed, "training", epoch + 1, rank)[0]
    torch.manual_seed(int(word) % 2**63)


def _late(worker: Worker) -> bool:
    """Return whether any worker's time is up, the same answer on all."""
    late = time.monotonic() - worker.begun > worker.config.max_seconds
    flag = torch.tensor([float(late)], device=worker.device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


def _from_first(row: dict[str, float]) -> dict[str, float]:
    """Return the first worker's row on every worker."""
    rows: list[Any] = [row]
    torch.distributed.broadcast_object_list(rows, src=0)
    return rows[0]


def _show(worker: Worker, state: State, loss: float) -> None:
    if worker.rank != 0:
        return
    worker.shown = time.monotonic()
    text = {
        "step": state.step,
        "steps": worker.steps * worker.config.epochs,
        "epoch": state.epoch,
        "epochs": worker.config.epochs,
        "loss": loss,
        "row": state.curve[-1] if state.curve else {},
    }
    scratch = worker.storage / f"{PROGRESS}.tmp"
    scratch.write_text(json.dumps(text))
    os.replace(scratch, worker.storage / PROGRESS)
