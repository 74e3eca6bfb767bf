"""The autoencoder's training task: batches of trajectories of one network at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from raygen import seeds
from raygen.models.residual_quantizer import code_use
from raygen.models.trajectory_batches import TrajectoryData
from raygen.models.trajectory_codec import CodecConfig, TrajectoryCodec, groups_of
from raygen.network.graph import IntArray

_CHUNK = 256
_UNREADY = 1000.0  # added to the loss before there are codes, so that no such epoch is the best


@dataclass(frozen=True)
class Split:
    """Trajectories of one network to learn from and to validate on."""

    train: TrajectoryData
    validation: TrajectoryData
    weight: float = 1.0
    """Share of the batches, with the other splits'."""


@dataclass(frozen=True)
class CodecTask:
    """A ``training.worker.Task``."""

    config: CodecConfig
    splits: tuple[Split, ...]
    batch: int
    batches_per_epoch: int
    seed: int

    def model(self) -> TrajectoryCodec:
        """Return the objective."""
        return TrajectoryCodec(self.config)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield this worker's batches of an epoch."""
        share = self.batches_per_epoch // world
        for index in range(rank * share, (rank + 1) * share):
            rng = seeds.stream(self.seed, "codec-batch", epoch, index)
            split = drawn_split(self.splits, rng)
            yield split.train.batch(alike(split.train, self.batch, rng))

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the losses on held-out trajectories, and the share of each codebook in use."""
        return reconstruction_losses(model, [split.validation for split in self.splits])


def drawn_split(splits: tuple[Split, ...], rng: np.random.Generator) -> Split:
    """Draw a split by the weights."""
    weight = np.array([split.weight for split in splits])
    return splits[int(rng.choice(len(splits), p=weight / weight.sum()))]


def alike(data: TrajectoryData, count: int, rng: np.random.Generator) -> IntArray:
    """Draw trajectories of about one length and number of segments, so that little is padded."""
    size = data.length + np.diff(data.routes.first)
    some = rng.integers(0, len(size), 4 * count)
    order = some[np.argsort(size[some], kind="stable")]
    begin = int(rng.integers(0, 4)) * count
    return order[begin : begin + count]


def reconstruction_losses(model: nn.Module, sets: list[TrajectoryData]) -> dict[str, float]:
    """Return mean losses over trajectories, and ``use_a`` … : shares of the codebooks in use."""
    codec = _codec(model)
    sums: dict[str, float] = {}
    met: list[Tensor] = []
    device = codec.embed.weight.device
    for data, rows in ((each, rows) for each in sets for rows in chunks(each)):
        batch = {name: each.to(device) for name, each in data.batch(rows).items()}
        for name, loss in codec(batch, 1.0).items():
            sums[name] = sums.get(name, 0.0) + float(loss) * len(rows)
        codes = codec.codes(batch)
        there = (
            torch.arange(codes.shape[1], device=codes.device) < groups_of(batch["length"])[:, None]
        )
        met.append(codes[there])
    count = sum(len(data.length) for data in sets)
    found = {name: total / count for name, total in sums.items()}
    if not codec.quantizer.ready.item():
        found["total"] += _UNREADY
    codes = torch.cat(met)
    for layer, size in enumerate(codec.config.codebooks):
        found[f"use_{'abcdefgh'[layer]}"] = code_use(codes[:, layer], size)
    return found


def with_codes(data: TrajectoryData, codec: TrajectoryCodec) -> TrajectoryData:
    """Return trajectories with the codes that an autoencoder says of them."""
    found: list[IntArray] = [np.zeros((0, 0), dtype=np.int64)] * len(data.length)
    for rows in chunks(data):
        batch = data.batch(rows)
        with torch.no_grad():
            codes = codec.codes(batch).numpy()
        for at, groups in enumerate(groups_of(batch["length"]).tolist()):
            found[int(rows[at])] = codes[at, :groups]
    return replace(data, codes=found)


def chunks(data: TrajectoryData) -> list[IntArray]:
    """Return all rows in parts, the like ones together."""
    order = np.argsort(data.length + np.diff(data.routes.first), kind="stable")
    return [order[begin : begin + _CHUNK] for begin in range(0, len(order), _CHUNK)]


def _codec(model: nn.Module) -> TrajectoryCodec:
    if not isinstance(model, TrajectoryCodec):
        msg = f"codec: must be validated as itself, got {type(model).__name__}"
        raise TypeError(msg)
    return model
