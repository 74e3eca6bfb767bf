"""Differentiable dynamic time warping of a predicted and a true day.

Soft-DTW of Cuturi and Blondel (ICML 2017), Algorithms 1 and 2, in a Sakoe–Chiba band: on the CPU a
compiled kernel with its own gradient, elsewhere anti-diagonal by anti-diagonal in tensors. The
latter takes 191 small steps a day, which costs a GPU little and a CPU more than the network.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional as F

# B = batch, L = slots

FloatArray = npt.NDArray[np.float64]

_WALL = 1e6  # cost of a cell outside the band; finite, so that gradients are


def warping_loss(probability: Tensor, target: Tensor, band: int = 4, gamma: float = 0.1) -> Tensor:
    """Return the soft-DTW distance of the predicted and the true day, per slot.

    The cost of matching slot i with slot j is 1 - p_i(y_j); paths stay within ``band`` slots of
    the diagonal. The smoothing's constant part is not taken out.

    Parameters
    ----------
    probability
        Of the types, (B, L, 15).
    target
        True types, int64 (B, L).
    band
        Half-width of the band, in slots.
    gamma
        Smoothing, > 0; 0 would be the hard minimum.

    Returns
    -------
    loss
        Scalar: mean over B of the distance, divided by L.
    """
    cost = banded_cost(probability, target, band)
    if cost.device.type == "cpu":
        distance = _Compiled.apply(cost, gamma)
    else:
        distance = by_diagonals(cost, gamma)
    return distance.mean() / target.shape[1]


def banded_cost(probability: Tensor, target: Tensor, band: int) -> Tensor:
    """Return 1 - p_i(y_j) at [i, j - i + band], (B, L, 2 · band + 1); a wall beyond the day."""
    length = target.shape[1]
    slot = torch.arange(length, device=target.device)
    other = slot[:, None] + torch.arange(-band, band + 1, device=target.device)
    inside = (other >= 0) & (other < length)
    kind = target[:, other.clamp(0, length - 1)]
    return torch.where(inside, 1 - probability.gather(2, kind), _WALL)


def by_diagonals(cost: Tensor, gamma: float) -> Tensor:
    """Return the soft-DTW distances (B,) of banded costs, in tensors."""
    batch, length, width = cost.shape
    band = width // 2
    offset = torch.arange(-band, band + 1, device=cost.device)  # i - j on an anti-diagonal i + j
    walls = cost.new_full((batch, width), _WALL)
    before, last = walls.clone(), walls
    before[:, band] = 0.0  # on anti-diagonal -2: the cell before (0, 0)
    for diagonal in range(2 * length - 1):
        i, j = (diagonal + offset) // 2, (diagonal - offset) // 2
        inside = ((diagonal + offset) % 2 == 0) & (i >= 0) & (j >= 0)
        inside &= (i < length) & (j < length)
        column = torch.nonzero(inside)[:, 0]
        here = cost[:, i[column], (j - i)[column] + band]
        wide = F.pad(last, (1, 1), value=_WALL)
        steps = torch.stack([wide[:, column], wide[:, column + 2], before[:, column]])
        fresh = walls.clone()
        fresh[:, column] = here - gamma * torch.logsumexp(-steps / gamma, dim=0)
        before, last = last, fresh
    return last[:, band]


class _Compiled(torch.autograd.Function):
    """The same by a compiled kernel, with the gradient of Algorithm 2."""

    @staticmethod
    def forward(ctx: Any, cost: Tensor, gamma: float) -> Tensor:  # noqa: ANN401 - torch's context
        """Return the distances (B,)."""
        table, gradient = _warp(cost.detach().double().numpy(), gamma)
        ctx.save_for_backward(torch.from_numpy(gradient).to(cost.dtype))
        return torch.from_numpy(table).to(cost.dtype)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        """Return the gradient of the cost."""
        (gradient,) = ctx.saved_tensors
        return gradient * outer[0][:, None, None], None


@njit(cache=True, nogil=True)
def _warp(cost: FloatArray, gamma: float) -> tuple[FloatArray, FloatArray]:
    """Return the distances (B,) of banded costs (B, L, W) and their gradients (B, L, W)."""
    batch, length, width = cost.shape
    distance, gradient = np.empty(batch), np.zeros(cost.shape)
    # Cell (i, j) is at [i + 1, j - i + 1 + band]; a row and two columns of walls around.
    reach, flow = np.empty((length + 2, width + 2)), np.empty((length + 2, width + 2))
    for day in range(batch):
        reach[:] = np.inf
        reach[0, width // 2 + 1] = 0.0
        for i in range(length):
            for k in range(width):
                least = min(reach[i, k + 1], reach[i, k + 2], reach[i + 1, k])
                if cost[day, i, k] >= _WALL or least == np.inf:
                    continue
                mass = np.exp((least - reach[i, k + 1]) / gamma)
                mass += np.exp((least - reach[i, k + 2]) / gamma)
                mass += np.exp((least - reach[i + 1, k]) / gamma)
                reach[i + 1, k + 1] = cost[day, i, k] + least - gamma * np.log(mass)
        distance[day] = reach[length, width // 2 + 1]
        flow[:] = 0.0
        flow[length, width // 2 + 1] = 1.0
        for i in range(length - 1, -1, -1):
            for k in range(width - 1, -1, -1):
                if reach[i + 1, k + 1] == np.inf:
                    continue
                flow[i + 1, k + 1] += _passed(cost, reach, flow, (day, i + 1, k), (i, k), gamma)
                flow[i + 1, k + 1] += _passed(cost, reach, flow, (day, i + 1, k - 1), (i, k), gamma)
                flow[i + 1, k + 1] += _passed(cost, reach, flow, (day, i, k + 1), (i, k), gamma)
                gradient[day, i, k] = flow[i + 1, k + 1]
    return distance, gradient


@njit(cache=True, nogil=True)
def _passed(
    cost: FloatArray,
    reach: FloatArray,
    flow: FloatArray,
    onward: tuple[int, int, int],
    here: tuple[int, int],
    gamma: float,
) -> float:
    """Return the share of a later cell's gradient that comes back to this one."""
    day, i, k = onward
    if i >= cost.shape[1] or k < 0 or k >= cost.shape[2] or reach[i + 1, k + 1] == np.inf:
        return 0.0
    slack = reach[i + 1, k + 1] - reach[here[0] + 1, here[1] + 1] - cost[day, i, k]
    return flow[i + 1, k + 1] * np.exp(slack / gamma)
