"""The one distributed loop that fits every model: Ray Train's TorchTrainer with DeepSpeed inside.

``fit`` starts the workers, shows the progress, survives lost workers, and returns the best tensors.
Everything of a run lies in ``output/training``: Ray's checkpoint of the last epoch, the progress
and the configuration; ``resume`` goes on from there.
"""

import json
import logging
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import ray
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from cluster.session import connect, worker_environment
from raygen.errors import ClusterError, ConfigError, RaygenError, StageError
from training import state as states
from training.recipe import LoopConfig
from training.worker import PROGRESS, Task, work

log = logging.getLogger(__name__)

_DIRECTORY = "training"
_RUN = "run"
_CONFIG = "loop.json"
_POLL_S = 0.5
# These may change between a run and its resumption.
_FREE = {"max_seconds", "threads", "restarts", "patience"}


@dataclass(frozen=True)
class FitResult:
    """What a training found."""

    tensors: dict[str, Tensor]
    """Of the best epoch, by name in the objective: trainable parameters in float32 and persistent
    buffers, on the CPU. Frozen parameters are not in it."""

    curve: list[dict[str, float]]
    """One row an epoch: epoch, step, ``train_*``, ``validation_*``, seconds."""

    best_epoch: int
    """Row of the curve that ``tensors`` are of: least validation total, else the last."""

    seconds: float
    """Time of training."""


def fit(
    task: Task,
    config: LoopConfig,
    output: Path,
    resume: bool = False,
    address: str | None = None,
) -> FitResult:
    """Fit a task's objective.

    Parameters
    ----------
    task
        Model, batches and validation.
    config
        The loop's part of the recipe.
    output
        Directory of the run, seen by all nodes; ``output/training`` is the loop's.
    resume
        Go on from the last whole epoch in ``output``; without one, start anew. ``False`` deletes
        what an earlier run left in ``output/training``.
    address
        Ray's address; see ``cluster.session.connect``. A session that is up is used as it is.

    Returns
    -------
    result
        Tensors of the best epoch and the curve.

    Raises
    ------
    ConfigError
        If a run is resumed with another configuration.
    ClusterError
        If Ray cannot be reached or has fewer CPUs or GPUs than the workers need.
    StageError
        If the training fails, or more workers are lost than ``config.restarts``.
    """
    storage = output.resolve() / _DIRECTORY
    _prepare(storage, config, resume)
    with connect(address, config.workers, config.threads):
        _require_resources(config)
        trainer = _trainer(task, config, storage)
        return _result(_run(trainer, storage), storage)


def _prepare(storage: Path, config: LoopConfig, resume: bool) -> None:
    """Make the run's directory; refuse to resume another configuration."""
    now = config.model_dump(mode="json")
    path = storage / _CONFIG
    if resume and path.is_file():
        before = json.loads(path.read_text())
        for key in now.keys() - _FREE:
            if before.get(key) != now[key]:
                msg = f"{path}: resumed with another loop.{key}: was {before.get(key)!r}, "
                msg += f"got {now[key]!r}"
                raise ConfigError(msg)
    elif storage.exists():
        shutil.rmtree(storage)
    storage.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(now, indent=2) + "\n")
    (storage / PROGRESS).unlink(missing_ok=True)


def _require_resources(config: LoopConfig) -> None:
    """Raise where Ray Train would wait for ever."""
    has = ray.cluster_resources()
    needs = {"CPU": config.workers * config.threads}
    if config.device == "cuda":
        needs["GPU"] = config.workers
    for resource, count in needs.items():
        if has.get(resource, 0) < count:
            msg = f"loop.workers: {config.workers} workers need {count} {resource}s, "
            msg += f"the cluster has {has.get(resource, 0):g}"
            raise ClusterError(msg)


def _trainer(task: Task, config: LoopConfig, storage: Path) -> Any:  # noqa: ANN401
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.config import LoggingConfig

    from training.failures import StopOnError

    cuda = config.device == "cuda"
    environment = worker_environment(config.threads) | {"DS_ACCELERATOR": config.device}
    resources = {"CPU": config.threads} | ({"GPU": 1} if cuda else {})
    return TorchTrainer(
        work,
        train_loop_config={"task": ray.put(task), "config": config, "storage": storage},
        torch_config=TorchConfig(backend="nccl" if cuda else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.workers, use_gpu=cuda, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=_RUN,
            storage_path=str(storage),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=config.restarts),
            callbacks=[StopOnError()],
            worker_runtime_env={"env_vars": environment},
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )


def _run(trainer: Any, storage: Path) -> Any:  # noqa: ANN401
    """Run Ray Train in a thread, so that Ctrl-C stays ours, and show the progress meanwhile."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(trainer.fit())
        except BaseException as error:  # handed to the caller below
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    with Progress(
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        transient=True,
    ) as progress:
        bar = progress.add_task("training", total=None, text="starting the workers")
        logged = 0
        while thread.is_alive():
            thread.join(_POLL_S)
            logged = _update(progress, bar, storage / PROGRESS, logged)
    if errors:
        _raise(errors[0])
    return results[0].checkpoint


def _raise(error: BaseException) -> NoReturn:
    """Raise the worker's own exception, as ours."""
    from training.failures import cause

    found = cause(error)
    if isinstance(found, RaygenError):
        raise found from None
    line = (str(found).strip().splitlines() or [""])[0]
    msg = f"training: {type(found).__name__}: {line}"
    raise StageError(msg) from found


def _update(progress: Progress, bar: TaskID, path: Path, logged: int) -> int:
    """Show the workers' progress and log a new epoch's row; return the epochs logged."""
    try:
        now = json.loads(path.read_text())
    except FileNotFoundError:  # the workers are starting
        return logged
    text = f"{now['epoch']} of {now['epochs']} epochs, loss {now['loss']:.4g}"
    progress.update(bar, total=now["steps"], completed=now["step"], text=text)
    if now["epoch"] > logged:
        values = {k: v for k, v in now["row"].items() if k not in ("epoch", "step")}
        line = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        log.info("epoch %d of %d: %s", now["epoch"], now["epochs"], line)
    return now["epoch"]


def _result(checkpoint: Any, storage: Path) -> FitResult:  # noqa: ANN401
    if checkpoint is None:
        msg = f"training: no epoch was finished, {storage / _RUN} holds no checkpoint"
        raise StageError(msg)
    with checkpoint.as_directory() as directory:
        state, tensors = states.read(Path(directory))
    return FitResult(tensors, state.curve, state.best_epoch, state.seconds)
