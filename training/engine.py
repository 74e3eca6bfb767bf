"""DeepSpeed around one objective: a step of the optimiser, the full tensors, the checkpoint.

Runs inside a training worker, where ``DS_ACCELERATOR`` is set before DeepSpeed is imported.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raygen.errors import ConfigError, StageError
from training.recipe import LoopConfig

Batch = dict[str, Tensor]

SHARDED = 3
"""ZeRO stage from which a worker holds only a part of the parameters."""

# Elements of a communication bucket. DeepSpeed's 5e8 would reserve 2 GB for a model of any size.
_BUCKET = 2**24


def learning_rate(config: LoopConfig, progress: float) -> float:
    """Return the learning rate at a share of the training.

    Parameters
    ----------
    config
        Peak rate, schedule and warm-up.
    progress
        Optimiser steps done / all steps, in [0, 1].

    Returns
    -------
    rate
        Rises linearly over the warm-up, then stays, or falls to zero on a half cosine or a line.
    """
    if progress < config.warmup:
        return config.learning_rate * progress / config.warmup
    rest = (progress - config.warmup) / (1.0 - config.warmup)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * rest))
    if config.schedule == "linear":
        return config.learning_rate * (1.0 - rest)
    return config.learning_rate


def opening(config: LoopConfig, name: str) -> float:
    """Return the share of the training from which on a parameter is trained.

    It is the greatest of ``config.unfreeze`` whose key is the name or the beginning of it, up to a
    dot; 0 where there is none.
    """
    shares = (share for key, share in config.unfreeze.items() if f"{name}.".startswith(f"{key}."))
    return max(shares, default=0.0)


class Engine:
    """The objective on this worker, sharded as the ZeRO stage says."""

    def __init__(self, model: nn.Module, config: LoopConfig, device: torch.device) -> None:
        import deepspeed
        import deepspeed.ops

        if device.type == "cpu":
            # DeepSpeed would compile its shared-memory collectives, and fails where there is no
            # g++; gloo needs none of them.
            deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        for name, tensor in model.named_parameters():
            if tensor.dim() == 0:  # DeepSpeed 0.19 views each as bytes to broadcast it
                msg = f"objective: parameter {name!r} must have a dimension, e.g. shape (1,)"
                raise StageError(msg)
        self._config = config
        self._device = device
        groups = parameter_groups(model, config)
        self._opens = list(groups)
        # betas and epsilon are PyTorch's defaults.
        optimizer = torch.optim.AdamW(
            [{"params": parameters} for parameters in groups.values()],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        deepspeed.init_distributed(
            dist_backend="nccl" if device.type == "cuda" else "gloo", auto_mpi_discovery=False
        )
        self._engine: Any = deepspeed.initialize(
            model=model.to(device), optimizer=optimizer, config=_deepspeed_config(config)
        )[0]

    @property
    def module(self) -> nn.Module:
        """The objective itself; with ZeRO 3 its parameters are empty outside of a step."""
        return self._engine.module

    def learn(self, batches: list[Batch], progress: float) -> dict[str, Tensor]:
        """Take one optimiser step.

        Parameters
        ----------
        batches
            This worker's batches of the step; the gradient is their mean over all workers.
        progress
            Optimiser steps done / all steps; sets the learning rate and goes to the objective.

        Returns
        -------
        losses
            Mean of each loss over the batches of this worker, detached scalars in float32.
        """
        rate = learning_rate(self._config, progress)
        for group, opens in zip(self._engine.optimizer.param_groups, self._opens, strict=True):
            # A rate of 0 freezes to the bit under any ZeRO stage: it scales the decay, too.
            group["lr"] = rate if progress >= opens else 0.0
        means: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
            self._engine.set_gradient_accumulation_boundary(index == len(batches) - 1)
            losses: dict[str, Tensor] = self._engine(self._move(batch), progress)
            # Divided here and not by DeepSpeed: an epoch's last step may have fewer batches.
            self._engine.backward(losses["total"] / len(batches), scale_wrt_gas=False)
            for name, loss in losses.items():
                part = loss.detach().float() / len(batches)
                means[name] = means[name] + part if name in means else part
        self._engine.step()
        return means

    def tensors(self) -> dict[str, Tensor]:
        """Gather the trained tensors on the CPU; every worker must call it.

        Returns
        -------
        tensors
            By name in the objective: each parameter that requires a gradient, whole and in float32,
            and each persistent buffer. Frozen parameters are left out, as their source has them.
        """
        from deepspeed.utils import safe_get_full_fp32_param

        tensors: dict[str, Tensor] = {}
        for name, parameter in self.module.named_parameters():
            if not parameter.requires_grad:
                continue
            full: Tensor | None = safe_get_full_fp32_param(
                parameter
            )  # None where nothing is sharded
            tensors[name] = (parameter if full is None else full).detach().float().cpu().clone()
        kept = self.module.state_dict().keys()
        for name, buffer in self.module.named_buffers():
            if name in kept:
                tensors[name] = buffer.detach().cpu().clone()
        return tensors

    def save(self, directory: Path) -> None:
        """Write this worker's part of the checkpoint; every worker must call it."""
        self._engine.save_checkpoint(str(directory), tag=_TAG, exclude_frozen_parameters=True)

    def load(self, directory: Path) -> None:
        """Read a checkpoint that the same number of workers wrote; every worker must call it."""
        self._engine.load_checkpoint(str(directory), tag=_TAG, load_module_strict=False)

    def _move(self, batch: Batch) -> Batch:
        return {name: tensor.to(self._device) for name, tensor in batch.items()}


_TAG = "deepspeed"


def parameter_groups(model: nn.Module, config: LoopConfig) -> dict[float, list[nn.Parameter]]:
    """Return the trainable parameters by the share of the training from which on they are trained.

    Raises
    ------
    ConfigError
        If a key of ``config.unfreeze`` names no parameter.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    names: list[str] = []
    for name, parameter in model.named_parameters():
        names.append(f"{name}.")
        if parameter.requires_grad:
            groups.setdefault(opening(config, name), []).append(parameter)
    for key in config.unfreeze:
        if not any(name.startswith(f"{key}.") for name in names):
            msg = f"loop.unfreeze: no parameter's name begins with {key!r}"
            raise ConfigError(msg)
    return groups


def _deepspeed_config(config: LoopConfig) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": 1,  # of no effect: the task makes the batches
        "gradient_accumulation_steps": config.gradient_accumulation,
        "gradient_clipping": config.clip,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": config.zero_stage,
            "reduce_bucket_size": _BUCKET,
            "allgather_bucket_size": _BUCKET,
            "overlap_comm": config.device == "cuda",
        },
        "torch_autocast": {"enabled": config.dtype == "bfloat16", "dtype": "bfloat16"},
        "steps_per_print": 2**31,
    }
