import numpy as np
import pytest
import torch

from raygen.models.observed import TYPES
from raygen.models.warping import banded_cost, by_diagonals, warping_loss
from raygen.taxonomy import SLOTS


def soft_dtw(p: np.ndarray, y: np.ndarray, band: int, gamma: float) -> float:
    """The recursion as it is written in textbooks."""
    size = len(y)
    table = np.full((size + 1, size + 1), np.inf)
    table[0, 0] = 0
    for i in range(size):
        for j in range(max(0, i - band), min(size, i + band + 1)):
            before = np.array([table[i, j], table[i, j + 1], table[i + 1, j]])
            least = before.min()
            soft = least - gamma * np.log(np.exp(-(before - least) / gamma).sum())
            table[i + 1, j + 1] = 1 - p[i, y[j]] + soft
    return table[size, size] / size


@pytest.mark.parametrize("band", [0, 1, 4])
def test_warping_loss_is_the_recursion_of_soft_dtw(band):
    rng = np.random.default_rng(2)
    p = torch.softmax(torch.from_numpy(rng.normal(size=(3, 14, TYPES))), -1)
    y = rng.integers(0, TYPES, (3, 14))
    wanted = np.mean([soft_dtw(p[i].numpy(), y[i], band, 0.1) for i in range(3)])
    found = warping_loss(p, torch.from_numpy(y), band, 0.1)
    assert float(found) == pytest.approx(wanted, rel=1e-6)


def test_kernel_and_tensors_agree_in_value_and_gradient():
    rng = np.random.default_rng(3)
    y = torch.from_numpy(rng.integers(0, 3, (4, 20)))
    raw = torch.from_numpy(rng.normal(size=(4, 20, TYPES)))
    found = []
    for tensors in (False, True):
        p = torch.softmax(raw, -1).requires_grad_()
        loss = by_diagonals(banded_cost(p, y, 3), 0.1).mean() / 20 if tensors else None
        loss = warping_loss(p, y, 3, 0.1) if loss is None else loss
        loss.backward()
        found.append((float(loss.detach()), p.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-9)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-9)
    assert found[0][1].abs().max() > 0


def test_warping_forgives_a_shift():
    day = torch.zeros(1, SLOTS, dtype=torch.long)
    day[0, 30:60] = 1
    late = torch.nn.functional.one_hot(torch.roll(day, 2, dims=1), TYPES).float()
    assert warping_loss(late, day) < warping_loss(late, day, band=0)
