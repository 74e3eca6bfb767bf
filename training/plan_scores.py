"""How well the planner knows what comes next, on held-out pairs, beside baselines and floors.

Figures are of cells (traveller, slot of arrival): the observed distribution of the next arrival's
slot and the mean POI distribution of its place, against the planner's answers averaged over the
codes that people left from. JSD, base 2, is averaged over cells by weight; ``nll`` is the mean
−log probability (nats) that a state's answer gave to the arrival that came. Baselines: the marginal
of the training pairs, their distribution by slot of arrival, and their counts by state, smoothed
(what the planner is fitted to: it can win where a state is new). Floor: the JSD between two parts
of the held-out people, the best that can be had with so many.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.models.codebook import jsd
from training.plan_states import Smoothing, States

FloatArray = npt.NDArray[np.float64]

_SMOOTHING = 20.0  # weight of the marginal in the distribution by slot
_TINY = 1e-12


@dataclass(frozen=True)
class Answers:
    """What a planner says of each state; the axes of ``States``."""

    slots: FloatArray
    """Shape (V, K, 48, 48), or what broadcasts to it."""

    categories: FloatArray
    """Shape (V, K, 48, 14), or what broadcasts to it."""


@dataclass(frozen=True)
class Score:
    """Figures of one planner on one held-out set."""

    time_nll: float
    time_jsd: float
    poi_jsd: float


def score(held: States, answers: Answers) -> Score:
    """Return the figures of a planner's answers on held-out states."""
    share = held.weight / held.weight.sum()
    slots = np.broadcast_to(answers.slots, held.slots.shape)
    log_q = np.log(np.maximum(slots, _TINY))
    nll = -(held.slots * log_q).sum() / held.weight.sum()
    time, poi = _cells(held)
    categories = np.broadcast_to(answers.categories, held.categories.shape)
    weight = held.weight[..., None]
    return Score(
        time_nll=float(nll),
        time_jsd=_mean_jsd(time, (weight * slots).sum(axis=1), share),
        poi_jsd=_mean_jsd(poi, (weight * categories).sum(axis=1), share),
    )


def floor(one: States, other: States) -> Score:
    """Return the JSDs between two held-out parts of the same people, over cells that both have."""
    both = (one.weight.sum(axis=1) > 0) & (other.weight.sum(axis=1) > 0)
    share = one.weight * both[:, None]
    share = share / share.sum()
    (time, poi), (time_other, poi_other) = _cells(one), _cells(other)
    return Score(
        time_nll=float("nan"),
        time_jsd=_mean_jsd(time, time_other, share),
        poi_jsd=_mean_jsd(poi, poi_other, share),
    )


def baselines(train: States) -> dict[str, Answers]:
    """Return what the training pairs say without a language model."""
    marginal = _normalise(train.slots.sum(axis=(0, 1, 2)))
    marginal_poi = _normalise(train.categories.sum(axis=(0, 1, 2)))
    slots = _normalise(train.slots.sum(axis=(0, 1)) + _SMOOTHING * marginal)
    categories = _normalise(train.categories.sum(axis=(0, 1)) + _SMOOTHING * marginal_poi)
    return {
        "marginal": Answers(marginal[None, None, None], marginal_poi[None, None, None]),
        "by slot": Answers(slots[None, None], categories[None, None]),
        "smoothed counts": Answers(*train.distributions(Smoothing())),
    }


def take(states: States, travellers: slice) -> States:
    """Return the states of some travellers."""
    return States(
        states.weight[travellers], states.slots[travellers], states.categories[travellers]
    )


def heaviest(states: States, share: float) -> States:
    """Return the states of the heaviest places that hold a share of all weight."""
    mass = states.weight.sum(axis=2).ravel()
    order = np.argsort(-mass, kind="stable")
    count = int(np.searchsorted(np.cumsum(mass[order]), share * mass.sum() * (1 - 1e-9))) + 1
    kept = np.zeros(len(mass))
    kept[order[:count]] = 1.0
    kept = kept.reshape(states.weight.shape[:2])[:, :, None]
    return States(
        kept * states.weight, kept[..., None] * states.slots, kept[..., None] * states.categories
    )


def _cells(states: States) -> tuple[FloatArray, FloatArray]:
    return states.slots.sum(axis=1), states.categories.sum(axis=1)


def _mean_jsd(one: FloatArray, other: FloatArray, share: FloatArray) -> float:
    """Average the JSD of cells (V, 48, ·), given as unnormalised sums, by the states' share."""
    weight = share.sum(axis=1).reshape(-1)
    width = one.shape[2]
    used = weight > 0
    pairs = (_normalise(array.reshape(-1, width)[used]) for array in (one, other))
    return float((weight[used] * jsd(*pairs)).sum())


def _normalise(weights: FloatArray) -> FloatArray:
    return weights / np.maximum(weights.sum(axis=-1, keepdims=True), _TINY)
