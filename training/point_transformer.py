"""HTP's Table 2 "w/o RQ-VAE", without a language model: a Transformer that says points one by one.

The paper lets the language model write raw coordinates; here the Transformer of the travel patterns
writes them, given the same route and conditions, as mixtures of Gaussians over the next step in the
route's frame. Nothing keeps its points on the road, and its errors add up.
"""

# Shape suffixes: B = batch, T = points, W = width, M = parts of a mixture.

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from raygen import seeds
from raygen.models.attention import KeysValues, Layer, valid, waves
from raygen.models.road_encoder import RoadEncoder, RoadEncoderConfig, route_waves
from raygen.models.trajectory_planner import condition_columns
from raygen.network.graph import FloatArray
from training.codec_task import Split, alike, chunks, drawn_split

MIXTURE = 6
STEP_KM = 0.1
"""Unit of steps."""

_WAVES = 16
_STATE = 9
_LEAST = -5.0  # of the log of a part's deviation, in units of STEP_KM


class PointTransformer(nn.Module):
    """Causal Transformer over points, with attention to the route's segments."""

    def __init__(self, width: int = 64, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.width = width
        self.roads = RoadEncoder(RoadEncoderConfig())
        self.state = nn.Linear(_STATE, width)
        self.read = nn.Linear(4, width)
        self.progress = nn.Linear(_WAVES, width)
        self.layers = nn.ModuleList(
            Layer(width, heads, context=self.roads.config.width) for _ in range(layers)
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 5 * MIXTURE))

    def context(self, batch: dict[str, Tensor]) -> tuple[list[KeysValues], Tensor, Tensor]:
        """Return each layer's keys and values of the route, their mask, and the state (B, W)."""
        embedded, mask = self.roads(batch)
        pairs = [x.context_pair(embedded) for x in self.layers if isinstance(x, Layer)]
        return pairs, mask[:, None, None, :], self.state(condition_columns(batch))

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total``: nats a point of observed trajectories, in units of STEP_KM."""
        del progress
        points, length = batch["points"], batch["length"]
        before = torch.cat([torch.zeros_like(points[:, :1]), points[:, :-1]], dim=1)
        step = (points - before) / STEP_KM
        last = torch.cat([torch.zeros_like(step[:, :1]), step[:, :-1]], dim=1)
        pairs, mask, state = self.context(batch)
        place = torch.arange(points.shape[1], device=points.device)[None].expand(len(points), -1)
        x = self.embedded(before, last, place, length) + state[:, None]
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        for layer, pair in zip(self.layers, pairs, strict=True):
            x, _ = layer(x, causal[None, None], pair, mask)
        there = valid(length, points.shape[1])
        return {"total": -mixture_likelihood(self.head(x), step)[there].mean()}

    def embedded(self, before: Tensor, last: Tensor, place: Tensor, length: Tensor) -> Tensor:
        """Return embeddings of positions: where the last point was, its step, how much is done."""
        told = route_waves(place / length[:, None], _WAVES)
        order = waves(place.float(), self.width)
        return self.read(torch.cat([before, last], dim=2)) + self.progress(told) + order

    @torch.no_grad()
    def say(self, batch: dict[str, Tensor], draws: FloatArray) -> Tensor:
        """Return points (B, T, 2) in kilometres in the routes' frames, ``length`` of each.

        Parameters
        ----------
        batch
            Routes, CONDITIONS and ``length``.
        draws
            Uniforms and two standard normals for each point, (B, 3, T).
        """
        pairs, mask, state = self.context(batch)
        length = batch["length"]
        told = torch.from_numpy(draws).float()
        past: list[KeysValues | None] = [None] * len(self.layers)
        at, last = torch.zeros(len(length), 1, 2), torch.zeros(len(length), 1, 2)
        said: list[Tensor] = []
        for order in range(int(length.max())):
            place = torch.full((len(length), 1), order)
            x = self.embedded(at, last, place, length) + state[:, None]
            for index, layer in enumerate(self.layers):
                x, past[index] = layer(x, None, pairs[index], mask, past[index])
            last = _drawn(self.head(x[:, 0]), told[:, :, order])[:, None]
            at = at + STEP_KM * last
            said.append(at)
        return torch.cat(said, dim=1)


def _parts(told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log weights (…, M), means (…, M, 2) and log deviations (…, M, 2)."""
    weight, mean, spread = told.split([MIXTURE, 2 * MIXTURE, 2 * MIXTURE], dim=-1)
    shape = (*told.shape[:-1], MIXTURE, 2)
    spread = spread.reshape(shape).clamp(_LEAST, 3.0)
    return weight.log_softmax(dim=-1), mean.reshape(shape), spread


def mixture_likelihood(told: Tensor, step: Tensor) -> Tensor:
    """Return the log density of steps (…, 2) in the mixtures that a head tells, (…,)."""
    weight, mean, spread = _parts(told)
    error = (step[..., None, :] - mean) / spread.exp()
    each = (-0.5 * error.square() - spread - 0.5 * float(np.log(2 * np.pi))).sum(dim=-1)
    return torch.logsumexp(weight + each, dim=-1)


def _drawn(told: Tensor, draws: Tensor) -> Tensor:
    weight, mean, spread = _parts(told)
    part = (weight.exp().cumsum(dim=1) < draws[:, :1]).sum(dim=1).clamp(max=MIXTURE - 1)
    rows = torch.arange(len(part))
    return mean[rows, part] + spread[rows, part].exp() * draws[:, 1:]


@dataclass(frozen=True)
class PointTask:
    """A ``training.worker.Task``."""

    splits: tuple[Split, ...]
    batch: int
    batches_per_epoch: int
    seed: int

    def model(self) -> PointTransformer:
        """Return the objective."""
        return PointTransformer()

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield this worker's batches of an epoch."""
        share = self.batches_per_epoch // world
        for index in range(rank * share, (rank + 1) * share):
            rng = seeds.stream(self.seed, "points-batch", epoch, index)
            split = drawn_split(self.splits, rng)
            yield split.train.batch(alike(split.train, self.batch, rng))

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return nats a point on held-out trajectories."""
        total, count = 0.0, 0
        for data in (split.validation for split in self.splits):
            for rows in chunks(data):
                total += float(model(data.batch(rows), 1.0)["total"]) * len(rows)
                count += len(rows)
        return {"total": total / count}
