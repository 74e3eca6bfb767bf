"""An LSTM-VAE in the style of TrajVAE (Chen et al., Neurocomputing 428, 2021), at small size.

An LSTM reads a trajectory into a Gaussian latent; another, given latent, conditions and how much
of the trajectory is behind, writes its points. Free space: it knows nothing of roads.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from raygen.network.graph import IntArray
from raygen.seeds import stream
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces
from training.trajectory_frames import CONDITIONS, Frame, batches, framed, torch_seed

LATENT, HIDDEN, BATCH, STEPS, RATE = 32, 96, 64, 350, 3e-3
_KL = 1e-3  # weight of the prior: larger values give one mean trajectory for each condition
_SEED = 0


class RecurrentVae(nn.Module):
    """Encoder and decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.LSTM(2 + CONDITIONS, HIDDEN, batch_first=True)
        self.latent = nn.Linear(HIDDEN, 2 * LATENT)
        self.writer = nn.LSTM(LATENT + CONDITIONS + 1, HIDDEN, batch_first=True)
        self.point = nn.Linear(HIDDEN, 2)

    def encode(
        self, xy: torch.Tensor, told: torch.Tensor, last: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log variance of the latent, each (B, LATENT); ``last`` are end rows."""
        wide = told[:, None].expand(-1, xy.shape[1], -1)
        hidden, _ = self.reader(torch.cat([xy, wide], dim=2))
        mean, log_variance = self.latent(hidden[torch.arange(len(xy)), last]).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latent: torch.Tensor, told: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Return points (B, T, 2) at shares (B, T) of the trajectory."""
        wide = torch.cat([latent, told], dim=1)[:, None].expand(-1, share.shape[1], -1)
        hidden, _ = self.writer(torch.cat([wide, share[..., None]], dim=2))
        # The straight line is what the conditions alone tell; the LSTM writes what differs.
        line = told[:, None, :2] + share[..., None] * (told[:, None, 2:4] - told[:, None, :2])
        return line + self.point(hidden)


def recurrent_vae(train: RoadTrajectories, conditions: Conditions, graph: PlaneRoads) -> Traces:
    """Train on some trajectories and return one trace for each condition."""
    return vae_sampler(train, graph, STEPS)(conditions)


def vae_sampler(
    train: RoadTrajectories, graph: PlaneRoads, steps: int
) -> Callable[[Conditions], Traces]:
    """Train on some trajectories; what is returned makes one trace for each condition."""
    frame, lines, told = framed(train, graph)
    generator = torch_seed(_SEED, "baseline:vae")
    model = RecurrentVae()
    adam = torch.optim.Adam(model.parameters(), RATE)
    length = np.array([len(line) for line in lines])
    for rows in batches(len(lines), BATCH, steps, stream(_SEED, "baseline:vae:batches")):
        adam.zero_grad()
        loss = _loss(model, [lines[row] for row in rows], told[rows], length[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
    return lambda conditions: _draw(model, frame, conditions, graph, generator)


def _draw(
    model: RecurrentVae,
    frame: Frame,
    conditions: Conditions,
    graph: PlaneRoads,
    generator: torch.Generator,
) -> Traces:
    wanted, count = frame.told(conditions, graph), conditions.points
    latent = torch.randn(len(count), LATENT, generator=generator)
    with torch.inference_mode():
        drawn = model.eval().decode(latent, wanted, _shares(count)).numpy().astype(np.float64)
    inside = np.arange(drawn.shape[1]) < count[:, None]
    first = np.concatenate([[0], np.cumsum(count)])
    step = np.nonzero(inside)[1] * np.repeat(conditions.interval_s, count)
    time = np.repeat(conditions.start_s, count) + step
    return Traces(first, drawn[inside] * frame.scale + frame.centre, time)


def _shares(count: IntArray) -> torch.Tensor:
    share = np.arange(count.max()) / (count[:, None] - 1)
    return torch.tensor(np.minimum(share, 1.0), dtype=torch.float32)


def _loss(
    model: RecurrentVae, lines: list[np.ndarray], told: torch.Tensor, length: IntArray
) -> torch.Tensor:
    xy = np.zeros((len(lines), length.max(), 2), dtype=np.float32)
    for row, line in enumerate(lines):
        xy[row, : len(line)] = line
    points = torch.from_numpy(xy)
    mean, log_variance = model.encode(points, told, torch.from_numpy(length - 1))
    latent = mean + torch.exp(log_variance / 2) * torch.randn_like(mean)
    drawn = model.decode(latent, told, _shares(length))
    inside = torch.from_numpy(np.arange(length.max()) < length[:, None])
    error = ((drawn - points)[inside] ** 2).mean()
    prior = (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
    return error + _KL * prior
