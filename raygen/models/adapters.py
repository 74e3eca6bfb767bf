"""Demographic adapters: a vector a_g per group, added to the reconstruction's logits.

DataFusion (Ma et al., arXiv:2503.15779), Eq. 1: P_g = softmax(Y + a_g), fitted by Algorithm 2 to
the time use D_g of the 12 groups (Eq. 7–10). ``fit_open_loop`` is that algorithm. It compares D_g
with the network's mean probability on given inputs, and so misses what the adapter does to a
generated day; ours, ``training.adapters``, generates days and corrects a_g by log D_g - log P_g
until the generated minutes agree. Both fit the same tensor, which may have a time dimension: a
vector for each of S equal parts of the day, where the activity begins.

The table has a row for each group and one for children under 15 (not in time use), for weekdays
and weekends, and the shares of people who stay at home, drawn before a day is generated.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raygen.config import Section
from raygen.survey import GROUP_ROWS
from raygen.taxonomy import ACTIVITY_TYPES

FloatArray = npt.NDArray[np.float64]

_FEW_STARTS = 0.2  # share of both tables' mean that is mixed in: rare types have noisy hours


class AdapterConfig(Section):
    """Shape of the table."""

    day_kinds: int = 2
    """Weekday and weekend."""

    rows: int = GROUP_ROWS

    segments: int = 1
    """Equal parts of the day with a vector of their own; 1 is the paper's adapter."""

    types: int = len(ACTIVITY_TYPES)


@dataclass(frozen=True)
class Adapters:
    """What the groups add."""

    shift: Tensor
    """a_g: added to the logits, float32 (2, 13, segments, 15)."""

    stay_home: Tensor
    """Share of days without leaving home, float32 (2, 13)."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name, as a checkpoint holds them."""
        return {"shift": self.shift, "stay_home": self.stay_home}


class AlgorithmSection(Section):
    """Algorithm 2's constants (6.1.3)."""

    learning_rate: float = 0.01
    """η."""

    alpha: float = 1.0
    """α of the reward's exponential; not printed in the paper."""

    beta: float = 1.0
    """β of the reward's divergence; not printed in the paper."""

    lowest: float = 0.01
    """ε: least weight."""

    highest: float = 10.0
    """M: greatest weight; not printed in the paper."""

    tolerance: float = 0.01
    """δ: Euclidean distance of P_g and D_g at which to stop."""

    max_iterations: int = 1000
    start: float = 1.0
    """First weight of every type."""


def reward(found: FloatArray, target: FloatArray, alpha: float, beta: float) -> float:
    """Return Eq. 7: exp(-α · RMSE(P, D)) + β · KL(P ‖ D), for P and D of shape (15,)."""
    rmse = float(np.sqrt(np.mean((found - target) ** 2)))
    ratio = np.log(np.maximum(found, 1e-12)) - np.log(np.maximum(target, 1e-12))
    return float(np.exp(-alpha * rmse) + beta * np.sum(found * ratio))


def fit_open_loop(
    logits: Tensor, target: FloatArray, config: AlgorithmSection
) -> tuple[FloatArray, int, float]:
    """Fit one group's adapter by Algorithm 2.

    Parameters
    ----------
    logits
        Y of the group's days, (B, L, 15); -inf for types that a person cannot do.
    target
        D_g as shares of the day (15,).
    config
        Constants.

    Returns
    -------
    adapter, iterations, distance
        a_g (15,), iterations used, and ‖P_g - D_g‖₂ at the end.
    """
    flat = logits.flatten(0, 1).double()
    weight = np.full(len(target), config.start)
    distance = np.inf
    for iteration in range(config.max_iterations):
        found = torch.softmax(flat + torch.from_numpy(weight), dim=-1).mean(0).numpy()
        distance = float(np.linalg.norm(found - target))
        if distance <= config.tolerance:
            return weight, iteration, distance
        scale = reward(found, target, config.alpha, config.beta)
        weight = weight + config.learning_rate * scale * (target - found)  # Eq. 8
        weight = np.clip(weight, config.lowest, config.highest)  # Eq. 9
    return weight, config.max_iterations, distance


def fit_log_ratio(
    logits: Tensor, target: FloatArray, config: AlgorithmSection
) -> tuple[FloatArray, int, float]:
    """Fit one group's adapter by a_g += log D_g - log P_g; see ``fit_open_loop``.

    The fixed point is the same, P_g = D_g, and the step does not shrink with the shares: Eq. 8
    moves a type that takes 1 % of the day by at most η · 0.01 a round.
    """
    flat = logits.flatten(0, 1).double()
    weight = np.zeros(len(target))
    distance = np.inf
    for iteration in range(config.max_iterations):
        found = torch.softmax(flat + torch.from_numpy(weight), dim=-1).mean(0).numpy()
        distance = float(np.linalg.norm(found - target))
        if distance <= config.tolerance:
            return weight, iteration, distance
        step = np.log(np.maximum(target, 1e-6)) - np.log(np.maximum(found, 1e-6))
        weight = np.clip(weight + step, -config.highest, config.highest)
    return weight, config.max_iterations, distance


def correct_hours(
    shift: FloatArray, found: FloatArray, target: FloatArray, rate: float, bound: float
) -> FloatArray:
    """Return the adapter moved towards the hours at which types begin, their minutes aside.

    Parameters
    ----------
    shift
        Present a_g (S, 15).
    found, target
        Starts a day by slot and type (96, 15), generated and observed.
    rate
        η.
    bound
        Greatest absolute value of an entry.

    Returns
    -------
    shift
        Shape (S, 15): for each type, η · (log of the observed share of its starts in a segment -
        log of the generated one), less its mean over the observed starts, which is ``correct``'s.
    """
    parts = len(shift)
    real, made = (table.reshape(parts, -1, table.shape[1]).sum(1) for table in (target, found))
    some = _FEW_STARTS * (real + made) / 2 + 1e-4
    real, made = real + some, made + some
    share = real / real.sum(0)
    step = np.log(share) - np.log(made / made.sum(0))
    step -= (share * step).sum(0)
    moved = shift + rate * step
    return np.clip(moved - moved[:, :1], -bound, bound)


def correct(
    shift: FloatArray, found: FloatArray, target: FloatArray, rate: float, bound: float
) -> FloatArray:
    """Return the adapter after one closed-loop step: a_g + η · (log D_g - log P_g).

    Parameters
    ----------
    shift
        Present a_g (15,), or (S, 15) by segment.
    found
        Minutes of generated days by type (15,).
    target
        Minutes wanted (15).
    rate
        η.
    bound
        Greatest absolute value of an entry.

    Returns
    -------
    shift
        Of the same shape, home's entry 0 (softmax knows differences alone). A minute is added on
        both sides so that rare types do not run away.
    """
    step = np.log(target + 1.0) - np.log(found + 1.0)
    moved = shift + rate * (step - step[0])
    return np.clip(moved - moved[..., :1], -bound, bound)
