"""What a training carries from epoch to epoch beside the weights, and its form on disk."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

_STATE = "state.json"
_BEST = "best.safetensors"


@dataclass
class State:
    """Progress of a training after its last whole epoch."""

    epoch: int = 0
    """Epochs done."""

    step: int = 0
    """Optimiser steps done."""

    seconds: float = 0.0
    """Time spent, resumed parts included."""

    best_epoch: int = -1
    """Epoch with the least validation total; the last where there is no validation."""

    best_total: float = math.inf
    """That total."""

    stopped: str = ""
    """Why the training ended before its last epoch: ``patience``, ``max_seconds`` or nothing."""

    curve: list[dict[str, float]] = field(default_factory=lambda: [])
    """One row an epoch."""

    def add(self, row: dict[str, float], patience: int) -> bool:
        """Add an epoch's row; return whether it is the best so far.

        Parameters
        ----------
        row
            ``epoch`` and losses; ``validation_total`` decides, where there is one.
        patience
            Epochs without a better total after which ``stopped`` is set; 0 is off.
        """
        self.curve.append(row)
        self.epoch += 1
        total = row.get("validation_total")
        better = total is None or total < self.best_total
        if better:
            self.best_epoch = self.epoch - 1
            self.best_total = math.inf if total is None else total
        elif self._impatient(patience):
            self.stopped = "patience"
        return better

    def go_on(self, patience: int, max_seconds: float) -> None:
        """Take back the stop of an earlier run where the limits now allow to go on."""
        if self.stopped == "patience" and not self._impatient(patience):
            self.stopped = ""
        if self.stopped == "max_seconds" and (not max_seconds or self.seconds < max_seconds):
            self.stopped = ""

    def _impatient(self, patience: int) -> bool:
        return 0 < patience <= self.epoch - 1 - self.best_epoch


def write(directory: Path, state: State, best: dict[str, Tensor]) -> None:
    """Write the state and the best tensors beside a checkpoint."""
    save_file({name: tensor.contiguous() for name, tensor in best.items()}, directory / _BEST)
    (directory / _STATE).write_text(json.dumps(asdict(state)) + "\n")


def read(directory: Path) -> tuple[State, dict[str, Tensor]]:
    """Read what ``write`` wrote."""
    state = State(**json.loads((directory / _STATE).read_text()))
    return state, load_file(directory / _BEST)
