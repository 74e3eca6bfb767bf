"""What the TOML of every training shares: the seed, the output and the ``[loop]`` table."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from raygen.config import Section


class LoopConfig(Section):
    """How the shared loop runs: optimiser, schedule, sharding and when to stop."""

    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the task's batches."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate of AdamW."""

    schedule: Literal["constant", "cosine", "linear"] = "cosine"
    """Course of the learning rate after the warm-up; the last two fall to zero."""

    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all optimiser steps over which the learning rate rises from zero."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of AdamW."""

    gradient_accumulation: Annotated[int, Field(ge=1)] = 1
    """Batches of one worker in an optimiser step; an epoch's last step takes what is left."""

    clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of the gradient; 0 is off."""

    zero_stage: Literal[0, 1, 2, 3] = 2
    """DeepSpeed ZeRO: what is sharded over the workers (1 optimiser, 2 gradients, 3 parameters)."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the matrix products; parameters, losses and the optimiser stay in float32."""

    workers: Annotated[int, Field(ge=1)] = 1
    """Data-parallel workers, each with ``threads`` CPUs and, on ``cuda``, one GPU."""

    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of one worker."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Where the workers compute."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the initial weights and of dropout; in a recipe it defaults to the top-level seed."""

    patience: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better validation ``total`` after which to stop; 0 is off."""

    max_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Time of training after which to stop, resumed parts included; 0 is off."""

    restarts: Annotated[int, Field(ge=0)] = 2
    """Lost workers from which to resume before the training fails."""

    unfreeze: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    """Share of the training from which on parameters are trained, by a dotted part of their names'
    beginning (``model.blocks.0``); 1 is never. Others are trained from the start."""


class Recipe(Section):
    """The part of a recipe that every model has; each model adds ``[data]`` and ``[model]``."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Root of every random stream of the training."""

    output: Path
    """Directory of the fitted weights, their model card and their curve."""

    loop: LoopConfig = LoopConfig()

    @model_validator(mode="before")
    @classmethod
    def _hand_down_seed(cls, table: Any) -> Any:  # noqa: ANN401
        if isinstance(table, dict) and "seed" in table:
            loop: Any = table.get("loop", {})  # pyright: ignore[reportUnknownVariableType]
            if isinstance(loop, dict):
                return {**table, "loop": {"seed": table["seed"], **loop}}
        return table  # pyright: ignore[reportUnknownVariableType]
