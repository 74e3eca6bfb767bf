"""Tasks of transfer in the shared loop: a network with given weights, and Algorithm 1's loss."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raygen import seeds
from raygen.errors import ConfigError
from raygen.models.chain_decoder import LikelihoodObjective
from raygen.models.masks import paper_mask
from raygen.models.slot_network import SlotObjective
from training import chain_decoder, slot_network
from training.chain_decoder import DecoderTask, views
from training.slot_network import SlotTask

_HIDDEN = 0.7


@dataclass(frozen=True)
class StartedTask:
    """Another task, begun with given weights; see ``training.loop``."""

    task: DecoderTask | SlotTask
    start: dict[str, Tensor]

    def model(self) -> LikelihoodObjective | SlotObjective:
        """Return the objective of the task with the network's weights."""
        objective = self.task.model()
        objective.model.load_state_dict(self.start)
        return objective

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield the task's batches."""
        return self.task.batches(epoch, rank, world)

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        """Return the task's metrics."""
        return self.task.validate(model)


@dataclass(frozen=True)
class AdaptationTask:
    """Training of M^n on A_{n-1} with masking, real slots weighed against synthetic ones."""

    task: DecoderTask | SlotTask
    start: dict[str, Tensor]
    """Weights of M^{n-1}."""
    real: npt.NDArray[np.bool_]
    """Which slots of the task's training days were observed, shape (D, 96)."""
    weights: tuple[float, float]
    """w_l of real slots and w_s of synthetic ones (Eq. 6)."""

    def model(self) -> LikelihoodObjective | SlotObjective:
        """Return the objective of the task with the network's weights."""
        return StartedTask(self.task, self.start).model()

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield an epoch's batches: masked days with the importance of their slots."""
        draw = seeds.stream(self.task.seed, "adaptation-views", epoch, rank)
        task = self.task
        if isinstance(task, DecoderTask):
            size, steps = task.section.batch, task.section.steps
        else:
            size, steps = task.loss.batch, task.loss.steps or -(-len(self.real) // task.loss.batch)
        for _ in range(steps):
            entries = task.train.sample(-(-size // world), draw)
            chains = task.train.chains[task.train.day[entries]]
            if isinstance(task, DecoderTask):
                hidden = views(chains, task.section, draw)
                batch = chain_decoder.batch_of(task.train, entries, hidden, draw)
            else:
                hidden = paper_mask(chains, _HIDDEN, draw)
                batch = slot_network.batch_of(task.train, entries, hidden, draw)
            seen = self.real[task.train.day[entries]]
            yield batch | {"importance": torch.from_numpy(importance(seen, self.weights))}

    def validate(self, model: torch.nn.Module) -> dict[str, float]:
        """Return the task's metrics."""
        return self.task.validate(model)


def importance(
    real: npt.NDArray[np.bool_], weights: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Return weights of slots such that their mean loss is w_l · L_real + w_s · L_synthetic.

    Eq. 4 and 5 take the means over real and synthetic slots apart, so a slot counts w · N / N_r or
    w · N / N_s of N. A batch without slots of one kind has the other's mean alone.

    Parameters
    ----------
    real
        Which slots were observed, shape (B, 96).
    weights
        w_l, w_s.
    """
    shares = np.array([real.mean(), 1 - real.mean()])
    each = np.divide(weights, shares, out=np.zeros(2), where=shares > 0)
    return np.where(real, each[0], each[1]).astype(np.float32)


def check_weights(weights: tuple[float, float]) -> None:
    """Raise ConfigError unless both weights are >= 0 and one is above 0."""
    if min(weights) < 0 or max(weights) <= 0:
        msg = f"iteration.weights: both must be >= 0 and one > 0, got {weights}"
        raise ConfigError(msg)
