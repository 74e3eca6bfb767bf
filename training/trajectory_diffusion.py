"""Diffusion of trajectories in the style of DiffTraj (Zhu et al., NeurIPS 2023), at small size.

A one-dimensional UNet denoises trajectories of a fixed number of points, told the conditions and
the diffusion step; a trajectory is stretched to that number of points and back, as in the paper.
Schedules are those of ``diffusers``. Free space: it knows nothing of roads.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from raygen.network.graph import FloatArray
from raygen.seeds import stream
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces
from training.trajectory_frames import CONDITIONS, Frame, batches, framed, torch_seed

LENGTH, WIDTH, BATCH, STEPS, RATE = 64, 48, 64, 500, 1e-3
DIFFUSION_STEPS, SAMPLING_STEPS = 500, 25
_EMBED = 96
_SEED = 0


class Block(nn.Module):
    """Two convolutions with the embedding added between them, and a way past both."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, into), nn.SiLU(), nn.Conv1d(into, out, 3, padding=1)
        )
        self.told = nn.Linear(_EMBED, out)
        self.second = nn.Sequential(
            nn.GroupNorm(8, out), nn.SiLU(), nn.Conv1d(out, out, 3, padding=1)
        )
        self.past = nn.Conv1d(into, out, 1)

    def forward(self, x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Return (B, out, L) of (B, into, L) and (B, 96)."""
        return self.past(x) + self.second(self.first(x) + self.told(told)[..., None])


class SmallUnet(nn.Module):
    """Three levels of halving length; predicts the noise."""

    def __init__(self) -> None:
        super().__init__()
        w = WIDTH
        self.told = nn.Sequential(
            nn.Linear(CONDITIONS + 32, _EMBED), nn.SiLU(), nn.Linear(_EMBED, _EMBED), nn.SiLU()
        )
        self.into = nn.Conv1d(4, w, 3, padding=1)
        self.down = nn.ModuleList([Block(w, w), Block(w, 2 * w), Block(2 * w, 2 * w)])
        self.up = nn.ModuleList([Block(4 * w, 2 * w), Block(3 * w, w)])
        self.out = nn.Conv1d(w, 2, 3, padding=1)

    def forward(self, x: torch.Tensor, time: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Return the noise (B, 2, LENGTH) in ``x`` at steps (B,) under conditions (B, 8)."""
        wave = time[:, None] * torch.exp(-torch.arange(16) * 0.55)
        embed = self.told(torch.cat([told, wave.sin(), wave.cos()], dim=1))
        share = torch.linspace(0, 1, LENGTH)
        line = told[:, :2, None] + share * (told[:, 2:4] - told[:, :2])[..., None]
        one = self.down[0](self.into(torch.cat([x, line], dim=1)), embed)
        two = self.down[1](nn.functional.avg_pool1d(one, 2), embed)
        low = self.down[2](nn.functional.avg_pool1d(two, 2), embed)
        two = self.up[0](torch.cat([nn.functional.interpolate(low, scale_factor=2), two], 1), embed)
        one = self.up[1](torch.cat([nn.functional.interpolate(two, scale_factor=2), one], 1), embed)
        return self.out(one)


def diffusion(train: RoadTrajectories, conditions: Conditions, graph: PlaneRoads) -> Traces:
    """Train on some trajectories and return one trace for each condition."""
    return diffusion_sampler(train, graph, STEPS)(conditions)


def diffusion_sampler(
    train: RoadTrajectories, graph: PlaneRoads, steps: int
) -> Callable[[Conditions], Traces]:
    """Train on some trajectories; what is returned makes one trace for each condition."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    frame, lines, told = framed(train, graph)
    generator = torch_seed(_SEED, "baseline:diffusion")
    clean = torch.tensor(np.stack([_stretched(x, LENGTH).T for x in lines]), dtype=torch.float32)
    schedule = DDIMScheduler(DIFFUSION_STEPS, beta_start=1e-4, beta_end=0.05, clip_sample_range=6.0)
    model = _trained(clean, told, schedule, steps)
    how = (schedule, generator)
    return lambda conditions: _draw(model, frame, conditions, graph, how)


def _draw(
    model: SmallUnet,
    frame: Frame,
    conditions: Conditions,
    graph: PlaneRoads,
    how: tuple[Any, torch.Generator],
) -> Traces:
    schedule, generator = how
    wanted, count = frame.told(conditions, graph), conditions.points
    x = torch.randn(len(count), 2, LENGTH, generator=generator)
    schedule.set_timesteps(SAMPLING_STEPS)
    with torch.inference_mode():
        for step in schedule.timesteps:
            noise = model(x, torch.full((len(x),), int(step), dtype=torch.float32), wanted)
            x = schedule.step(noise, int(step), x, generator=generator, return_dict=False)[0]
    drawn = x.numpy().transpose(0, 2, 1).astype(np.float64) * frame.scale + frame.centre
    xy = [_stretched(line, n) for line, n in zip(drawn, count.tolist(), strict=True)]
    time = [
        start + gap * np.arange(n)
        for start, gap, n in zip(conditions.start_s, conditions.interval_s, count, strict=True)
    ]
    first = np.concatenate([[0], np.cumsum(count)])
    return Traces(first, np.concatenate(xy), np.concatenate(time))


def _trained(clean: torch.Tensor, told: torch.Tensor, schedule: object, steps: int) -> SmallUnet:
    """Return a UNet trained to tell the noise at random steps."""
    model = SmallUnet()
    adam = torch.optim.AdamW(model.parameters(), RATE)
    slowing = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for rows in batches(len(clean), BATCH, steps, stream(_SEED, "baseline:diffusion:batches")):
        x, step = clean[rows], torch.randint(0, DIFFUSION_STEPS, (len(rows),))
        noise = torch.randn_like(x)
        seen = schedule.add_noise(x, noise, step)  # pyright: ignore[reportAttributeAccessIssue]
        adam.zero_grad()
        loss = ((model(seen, step.float(), told[rows]) - noise) ** 2).mean()
        loss.backward()
        adam.step()
        slowing.step()
    return model.eval()


def _stretched(line: FloatArray, count: int) -> FloatArray:
    """Return a line of points resampled to another number, evenly in its points."""
    at, own = np.linspace(0, 1, count), np.linspace(0, 1, len(line))
    return np.column_stack([np.interp(at, own, line[:, axis]) for axis in (0, 1)])
