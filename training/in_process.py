"""The shared loop's steps in this process: for many short trainings of small networks.

Starting the workers of Ray and DeepSpeed takes longer than an iteration of Algorithm 1 on a small
network. These are the same steps as ``training.loop`` takes with one worker in float32, without
checkpoints, resumption or sharding; a test holds both to the same tensors.
"""

import time

import torch

from raygen import seeds
from raygen.errors import ConfigError
from training.engine import learning_rate, parameter_groups
from training.loop import FitResult
from training.recipe import LoopConfig
from training.worker import Task


def fit_here(task: Task, config: LoopConfig) -> FitResult:
    """Fit a task's objective on this process's CPU.

    Parameters
    ----------
    task
        Model, batches and validation.
    config
        One worker, float32, one batch a step, no patience and no time limit.

    Returns
    -------
    result
        As ``training.loop.fit`` finds it.

    Raises
    ------
    ConfigError
        If ``config`` asks for what only the shared loop does.
    """
    plain = LoopConfig(
        epochs=config.epochs, learning_rate=config.learning_rate, schedule=config.schedule,
        warmup=config.warmup, weight_decay=config.weight_decay, clip=config.clip,
        seed=config.seed, unfreeze=config.unfreeze, zero_stage=config.zero_stage,
        restarts=config.restarts,
    )  # fmt: skip
    if plain != config:
        msg = "loop: in this process only one worker in float32 on the CPU, got "
        raise ConfigError(msg + str(config.model_dump(exclude_defaults=True)))
    with torch.random.fork_rng():
        return _fit(task, config)


def _fit(task: Task, config: LoopConfig) -> FitResult:
    begun = time.monotonic()
    _seed(config, -1)
    model = task.model()
    groups = parameter_groups(model, config)
    optimizer = torch.optim.AdamW(
        [{"params": parameters} for parameters in groups.values()],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    trained = [parameter for parameters in groups.values() for parameter in parameters]
    steps = config.epochs * sum(1 for _ in task.batches(0, 0, 1))
    curve: list[dict[str, float]] = []
    best, tensors = 0, dict[str, torch.Tensor]()
    step = 0
    for epoch in range(config.epochs):
        _seed(config, epoch)
        model.train()
        totals: list[float] = []
        for batch in task.batches(epoch, 0, 1):
            progress = step / steps
            for group, opens in zip(optimizer.param_groups, groups, strict=True):
                group["lr"] = learning_rate(config, progress) if progress >= opens else 0.0
            optimizer.zero_grad()
            loss = model(batch, progress)["total"]
            loss.backward()
            if config.clip:
                torch.nn.utils.clip_grad_norm_(trained, config.clip)
            optimizer.step()
            totals.append(loss.item())
            step += 1
        now = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.eval()
        with torch.no_grad():
            found = task.validate(model)
        row = {"epoch": float(epoch), "step": float(step), "train_total": sum(totals) / len(totals)}
        curve.append(row | {f"validation_{name}": value for name, value in found.items()})
        if not tensors or found["total"] < curve[best]["validation_total"]:
            best, tensors = epoch, now
    return FitResult(tensors, curve, best, time.monotonic() - begun)


def _seed(config: LoopConfig, epoch: int) -> None:
    # As the shared loop's worker does; the caller's generator is restored.
    torch.manual_seed(int(seeds.key(config.seed, "training", epoch + 1, 0)[0]) % 2**63)
