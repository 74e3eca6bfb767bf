"""What travel-pattern tokens leave open of a trajectory's points, measured once and drawn.

The decoder of HTP (Zhou et al., KDD 2026, Eq. 10 and 11) says the mean of all points that share
their codes: nobody then stands quite still, and steps are alike. Beside the weights is kept how
observed steps lie about the said ones (quantiles for classes of said steps, 0 among them) and
observed offsets about the said ones, and how much of it one point passes to the next. Draws are a
Gaussian copula with that memory. Steps of a group of eight keep the group's way, within bounds, so
that places stay where the codes have them. The first step, which is the way from the route's begin
to the first point, stays as it is said.
"""

# Shape suffixes: B = batch, N = points, K = classes of steps, Q = quantiles.

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor, nn

from raygen.network.graph import BoolArray, FloatArray

CLASSES = 24
"""Classes of said steps, of equal counts."""

LEVELS = np.concatenate([[0.001], np.arange(1, 32) / 32, [0.999]])
"""Quantiles that are kept."""

FASTEST = 1.6
"""Most of a step over free flow, or over the trip's own mean where that is faster. Assumed."""

ALL = "all"
"""Name of the tables of all sets together, which the autoencoder's own weights hold."""

_GROUP = 8
_SCALE = (0.6, 1.6)
_ROUNDS = 3


class Rest(nn.Module):
    """Tables of what is left open; without a fit nothing is."""

    steps: Tensor
    offsets: Tensor
    bounds: Tensor
    memory: Tensor
    ahead: Tensor
    planned: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bounds", torch.linspace(0.0, 3.0, CLASSES + 1)[1:-1])
        middle = (torch.linspace(0.0, 3.0, CLASSES + 1)[1:] - 1.5 / CLASSES)[:, None]
        self.register_buffer("steps", middle.expand(-1, len(LEVELS)).contiguous())
        self.register_buffer("offsets", torch.zeros(len(LEVELS)))
        self.register_buffer("memory", torch.zeros(2))
        # Not among an autoencoder's own weights, but in its tables (``trajectory_tables``).
        self.register_buffer("ahead", torch.ones(()), persistent=False)
        self.register_buffer("planned", torch.full((2, len(LEVELS)), torch.nan), persistent=False)

    def fit(self, said: FloatArray, seen: FloatArray, off: FloatArray, there: BoolArray) -> None:
        """Measure the tables.

        Parameters
        ----------
        said, seen
            Steps that a decoder says and those observed, in even steps, (B, N).
        off
            Observed offsets less the said ones, (B, N).
        there
            Which points there are, (B, N).
        """
        moves = there.copy()
        moves[:, 0] = False
        bounds = np.quantile(said[moves], np.linspace(0, 1, CLASSES + 1)[1:-1])
        kind = np.searchsorted(bounds, said)
        table = np.stack([np.quantile(seen[moves & (kind == k)], LEVELS) for k in range(CLASSES)])
        score = np.zeros(said.shape)
        for k in range(CLASSES):
            some = moves & (kind == k)
            score[some] = _scores(seen[some])
        error = np.zeros(said.shape)
        error[there] = _scores(off[there])
        memory = [_memory(score, moves), _memory(error, there)]
        self.bounds.copy_(torch.from_numpy(bounds))
        self.steps.copy_(torch.from_numpy(table))
        self.offsets.copy_(torch.from_numpy(np.quantile(off[there], LEVELS)))
        self.memory.copy_(torch.tensor(memory))

    def fit_planned(self, planned: FloatArray, said: FloatArray) -> None:
        """Measure how uneven the steps of planned codes are beside those of observed codes.

        Parameters
        ----------
        planned, said
            Steps of a decoder from the codes that a planner says for some trips, and from the
            trips' own codes, flat, in even steps.
        """
        both = np.stack([np.quantile(planned, LEVELS), np.quantile(said, LEVELS)])
        self.planned.copy_(torch.from_numpy(both))

    def as_observed(self, said: FloatArray, there: BoolArray) -> FloatArray:
        """Return steps of planned codes (B, N), as uneven as those of observed ones.

        A planner that learned from many sets says steps that are too even for the most uneven of
        them: each step becomes the one of equal rank. Sums stay, and so does the first step.
        """
        if bool(self.planned.isnan().any()):
            return said
        planned, own = self.planned.double().cpu().numpy()
        made = np.where(there, np.interp(said, planned, own), 0.0)
        made[:, 0] = 0.0
        moved = np.where(there, said, 0.0)
        moved[:, 0] = 0.0
        made = _whole_way(made, moved)
        made[:, 0] = said[:, 0]
        return np.where(there, made, said)

    def drawn_steps(self, said: FloatArray, there: BoolArray, normal: FloatArray) -> FloatArray:
        """Return steps drawn about said ones; (B, N), in even steps, their sums as said.

        Parameters
        ----------
        said
            Steps of the decoder, (B, N), in even steps.
        there
            Which points there are, (B, N).
        normal
            Standard normals, (B, N).
        """
        chance = ndtr(_remembering(normal, float(self.memory[0])))
        kind = np.searchsorted(self.bounds.double().cpu().numpy(), said)
        table = self.steps.double().cpu().numpy()
        said = np.where(there, said, 0.0)
        drawn = np.where(there, _looked_up(table[kind], chance), 0.0)
        drawn[:, 0] = 0.0
        moved = said.copy()
        moved[:, 0] = 0.0
        made = _whole_way(_group_ways(drawn, moved), moved)
        made[:, 0] = said[:, 0]
        return made

    def drawn_offsets(self, normal: FloatArray) -> FloatArray:
        """Return what is added to said offsets, in their unit; (B, N) of standard normals."""
        chance = ndtr(_remembering(normal, float(self.memory[1])))
        return np.interp(chance, LEVELS, self.offsets.double().cpu().numpy())


def capped(step: FloatArray, most: FloatArray) -> FloatArray:
    """Return steps (B, N) of which none is above the row's most (B,); their sums as they were.

    What is cut goes to the other steps in proportion to them. A row whose sum needs more than the
    most at every step keeps its sum, and its steps go up to an even share of it.
    """
    total = step.sum(axis=1)
    count = np.maximum((step > 0).sum(axis=1), 1)
    top = np.maximum(most, 1.05 * total / count)[:, None]
    for _ in range(8):
        step = np.minimum(step, top)
        room = np.where(step < top, step, 0.0)
        lacks = total - step.sum(axis=1)
        step = step + room * (lacks / np.maximum(room.sum(axis=1), 1e-12))[:, None]
    return _whole_way(np.minimum(step, top), total[:, None])


def _scores(values: FloatArray) -> FloatArray:
    """Return normal scores of values; equal ones share the middle of theirs."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    return ndtri(middle / len(values))[inverse]


def _memory(score: FloatArray, there: BoolArray) -> float:
    """Return the correlation of scores with those of the next points."""
    both = there[:, 1:] & there[:, :-1]
    return float(np.corrcoef(score[:, :-1][both], score[:, 1:][both])[0, 1])


def _remembering(normal: FloatArray, memory: float) -> FloatArray:
    """Return standard normals of which each has a correlation with the one before; (B, N)."""
    fresh = np.sqrt(1.0 - memory**2)
    found = normal.copy()
    for at in range(1, normal.shape[1]):
        found[:, at] = memory * found[:, at - 1] + fresh * normal[:, at]
    return found


def _looked_up(table_BNQ: FloatArray, chance: FloatArray) -> FloatArray:
    """Return quantiles at chances between the kept levels, (B, N)."""
    high = np.clip(np.searchsorted(LEVELS, chance), 1, len(LEVELS) - 1)
    low, top = LEVELS[high - 1], LEVELS[high]
    share = np.clip((chance - low) / (top - low), 0.0, 1.0)
    take = np.take_along_axis
    below = take(table_BNQ, (high - 1)[..., None], axis=2)[..., 0]
    above = take(table_BNQ, high[..., None], axis=2)[..., 0]
    return below + share * (above - below)


def _group_ways(drawn: FloatArray, said: FloatArray) -> FloatArray:
    """Return drawn steps whose sums over groups are nearer to the said ones."""
    points = drawn.shape[1]
    groups = -(-points // _GROUP)
    fill = ((0, 0), (0, groups * _GROUP - points))
    drawn_BGP = np.pad(drawn, fill).reshape(len(drawn), groups, _GROUP)
    said_BGP = np.pad(said, fill).reshape(drawn_BGP.shape)
    scale = said_BGP.sum(axis=2) / np.maximum(drawn_BGP.sum(axis=2), 1e-9)
    scaled = drawn_BGP * np.clip(scale, *_SCALE)[..., None]
    return scaled.reshape(len(drawn), -1)[:, :points]


def _whole_way(step: FloatArray, said: FloatArray) -> FloatArray:
    """Return steps whose sums are those of the said ones."""
    total, wanted = step.sum(axis=1), said.sum(axis=1)
    return step * (wanted / np.maximum(total, 1e-9))[:, None]
