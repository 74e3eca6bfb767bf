"""A linear regression as a task of the shared training loop, for its tests."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from raygen import seeds
from training.recipe import LoopConfig

# 72 rows in batches of 6: 12 batches an epoch, 6 on each of 2 workers.
LOOP = LoopConfig(
    epochs=5,
    learning_rate=0.1,
    schedule="cosine",
    warmup=0.2,
    weight_decay=0.01,
    clip=1.0,
    zero_stage=2,
    seed=5,
)


class Line(nn.Module):
    """Linear regression behind a frozen scale, with dropout, a buffer and a loss of two parts."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 8)
        self.out = nn.Linear(8, 1)
        self.scale = nn.Parameter(torch.tensor([2.0]), requires_grad=False)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("last", torch.zeros(()))

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        self.last.fill_(progress)
        hidden = self.dropout(torch.tanh(self.layer(batch["x"])))
        error = self.scale * self.out(hidden).squeeze(-1) - batch["y"]
        square = error.float().square().mean()
        return {"total": square, "absolute": error.detach().abs().mean()}


@dataclass(frozen=True)
class Regression:
    """Learn y from x, with faults in the third epoch.

    ``kill`` and ``stall`` name a file that is made when the worker kills itself, once, or halts.
    """

    x: np.ndarray
    y: np.ndarray
    dropout: float = 0.0
    kill: Path | None = None
    stall: Path | None = None
    fault: str = ""

    def model(self) -> nn.Module:
        return Line(self.dropout)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        order = seeds.stream(3, "test.order", epoch).permutation(len(self.x)).reshape(-1, 6)
        for index, rows in enumerate(order):
            if index % world != rank:
                continue
            self._disturb(epoch, index, rank)
            x = self.x[rows] * (np.nan if self.fault == "nan" and epoch == 2 else 1.0)
            yield {"x": torch.from_numpy(x.astype(np.float32)), "y": torch.from_numpy(self.y[rows])}

    def validate(self, model: nn.Module) -> dict[str, float]:
        if self.fault == "no total":
            return {}
        batch = {"x": torch.from_numpy(self.x.copy()), "y": torch.from_numpy(self.y.copy())}
        device = next(model.parameters()).device
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        return {"total": float(model(batch, 1.0)["total"])}

    def _disturb(self, epoch: int, index: int, rank: int) -> None:
        if epoch != 2 or index < 5 or rank != 0:
            return
        if self.fault == "raise":
            msg = "the third epoch is bad"
            raise KeyError(msg)
        if self.stall is not None:
            self.stall.touch()
            time.sleep(600.0)
        if self.kill is not None and not self.kill.exists():
            self.kill.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def regression(**faults: object) -> Regression:
    x = seeds.stream(1, "test.x").normal(size=(72, 3)).astype(np.float32)
    y = x @ np.float32([1.0, -2.0, 0.5]) + np.float32(0.3)
    return Regression(x, y, **faults)
