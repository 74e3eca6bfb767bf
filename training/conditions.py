"""The travel plan (M, D) of sequences with known places, made as vague as a planner's.

At generation the plan comes from the planner: a sharpened slot and a distribution over POI
categories that knows the kind of place, not the place. Training on a region's exact distribution
would teach the generator to read the answer off D, so D is blended, in random measure, with
what is typical: the mean distribution of the activity type, or the code of the region's own.

    D ∝ ((1 − u²) · typical + u² · p_region)^τ · e^(0.2 ε),  u ~ U(0, 1),  ln τ ~ N(0.15, 0.35²)
    M ∝ e^(−|slot − arrival| / w),  w ~ U(0.01, 1) slots of the clock: from one-hot to about ± 1 h
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.mobility import Days
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES

FloatArray = npt.NDArray[np.float32]

_TEMPER_MEAN, _TEMPER_DEVIATION = 0.15, 0.35
_RIPPLE = 0.2


@dataclass(frozen=True)
class Vagueness:
    """How far a plan is blurred; all zero gives the exact ("oracle") plan."""

    typical: float = 1.0
    """Largest weight of the typical distribution."""
    temper: float = 1.0
    """Scale of the deviation of ln τ and of its mean."""
    ripple: float = 1.0
    """Scale of the noise on ln D."""
    width: float = 1.0
    """Largest width w of M, in slots; 0 is one-hot."""


TRAINING = Vagueness()
ORACLE = Vagueness(typical=0.0, temper=0.0, ripple=0.0, width=0.0)


def temporal_plan(days: Days, how: Vagueness, rng: np.random.Generator) -> FloatArray:
    """Return M, shape (N, K, 48); zero beyond the end of a day; one-hot at entry 0."""
    width = np.maximum(how.width * rng.random(days.slot.shape), 0.01)
    width[:, 0] = 0.01
    gap = np.abs(np.arange(PLAN_SLOTS) - np.maximum(days.clock, 0)[:, :, None])
    gap = np.minimum(gap, PLAN_SLOTS - gap)
    plan = np.exp(-gap / width[:, :, None]) * (days.slot >= 0)[:, :, None]
    return (plan / np.maximum(plan.sum(axis=2, keepdims=True), 1e-12)).astype(np.float32)


def semantic_plan(
    days: Days, poi: FloatArray, typical: FloatArray, how: Vagueness, rng: np.random.Generator
) -> FloatArray:
    """Return D, shape (N, K, 14); zero beyond the end of a day; exact at entry 0.

    Parameters
    ----------
    days
        N days.
    poi
        POI distributions of the regions, shape (R, 14).
    typical
        Typical distribution of each entry, shape (N, K, 14).
    how
        How vague.
    rng
        Source of the draws.
    """
    held = (days.region >= 0)[:, :, None]
    exact = poi[np.maximum(days.region, 0)]
    weight = 1.0 - how.typical * (1.0 - rng.random(days.region.shape) ** 2)[:, :, None]
    blend = (1.0 - weight) * typical + weight * exact
    drawn = rng.normal(size=days.region.shape)[:, :, None]
    power = np.exp(how.temper * (_TEMPER_MEAN + _TEMPER_DEVIATION * drawn))
    ripple = how.ripple * _RIPPLE * rng.normal(size=(*days.region.shape, len(POI_CATEGORIES)))
    plan = np.exp(power * np.log(np.maximum(blend, 1e-9)) + ripple)
    plan[:, 0] = exact[:, 0]
    plan = plan * held
    return (plan / np.maximum(plan.sum(axis=2, keepdims=True), 1e-12)).astype(np.float32)
