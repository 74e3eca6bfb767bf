"""Trajectories as tensors for the models that draw points in free space."""

from dataclasses import dataclass

import numpy as np
import torch

from raygen.network.graph import FloatArray, IntArray
from raygen.seeds import key
from raygen.trajectories.conditions import Conditions, conditions_of
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories

CONDITIONS = 8
"""Figures that a model is told of a trajectory."""


@dataclass(frozen=True)
class Frame:
    """Where points and conditions are centred, and how they are scaled."""

    centre: FloatArray
    scale: float

    def told(self, conditions: Conditions, graph: PlaneRoads) -> torch.Tensor:
        """Return what free-space models are conditioned on, shape (N, 8).

        Middles of the first and the last road, hour of day, numbers of points, distance: as in
        DiffTraj, whose start and end are cells.
        """
        first = conditions.route_first
        ends = conditions.route[first[:-1]], conditions.route[first[1:] - 1]
        middle = [(graph.xy[graph.at[e]] + graph.xy[graph.at[e + 1] - 1]) / 2 for e in ends]
        hour = 2 * np.pi * conditions.start_s / 86_400
        others = [
            np.sin(hour),
            np.cos(hour),
            np.log(conditions.points / 45),
            np.log(np.maximum(conditions.distance_m, 100) / 4000),
        ]
        both = np.concatenate([(m - self.centre) / self.scale for m in middle], axis=1)
        return torch.tensor(np.column_stack([both, *others]), dtype=torch.float32)


def framed(
    train: RoadTrajectories, graph: PlaneRoads
) -> tuple[Frame, list[FloatArray], torch.Tensor]:
    """Return the frame, each trajectory's points in it, and their conditions."""
    xy = train.points(graph)
    centre = xy.mean(axis=0)
    frame = Frame(centre, float((xy - centre).std()))
    lines = np.split((xy - centre) / frame.scale, train.first[1:-1])
    gap = float(np.median(np.diff(train.time)))
    return frame, lines, frame.told(conditions_of(train, graph, gap), graph)


def batches(count: int, size: int, steps: int, rng: np.random.Generator) -> list[IntArray]:
    """Return rows of as many batches as asked for, passing through all rows in new orders."""
    passes = -(-steps * size // count)
    order = np.concatenate([rng.permutation(count) for _ in range(passes)])
    return [order[k * size : (k + 1) * size] for k in range(steps)]


def torch_seed(seed: int, stage: str) -> torch.Generator:
    """Return torch's generator of a stage, and set its global one alike."""
    word = int(key(seed, stage)[0]) % 2**63
    torch.manual_seed(word)
    return torch.Generator().manual_seed(word)
