"""UniMob alone: Algorithm 1, which plans a day by asking for one arrival after the other."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.models.planner import Planner
from raygen.models.prompts import CHECK_IN, PHONE
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_TINY = 1e-12
_CATEGORIES = len(POI_CATEGORIES)


@dataclass(frozen=True)
class RecursivePlan:
    """Algorithm 1's M̂ and D̂ for N starts, of at most L steps."""

    temporal: FloatArray
    """M̂: distribution of each arrival's clock slot, shape (N, L, 48); 0 beyond the end."""

    semantic: FloatArray
    """D̂: POI distribution of each destination, shape (N, L, 14); 0 beyond the end."""

    slots: IntArray
    """Slots of arrival after midnight of the first day, shape (N, L); -1 beyond the end."""

    length: IntArray
    """Arrivals of each start, shape (N,)."""


def plan_recursive(
    planner: Planner,
    city: str,
    start: tuple[IntArray, IntArray, FloatArray],
    horizon: int = PLAN_SLOTS,
    uniforms: npt.NDArray[np.float64] | None = None,
) -> RecursivePlan:
    """Plan whole days by UniMob's Algorithm 1, without a day chain.

    Parameters
    ----------
    planner
        Answers plan states.
    city
        Name of the city, as the prompt says it.
    start
        Travellers (N,), indices into TRAVELLERS, start slots t0 (N,) in 0 … 47, and POI
        distributions of the start regions (N, 14); not changed.
    horizon
        Mobility length K in slots: arrivals after ``t0 + K`` are not planned.
    uniforms
        In [0, 1), shape (N, horizon + 1): the next arrival of step l is drawn with column l.
        Without them it is the likeliest slot.

    Returns
    -------
    plan
        An arrival is at least a slot later than the one before, so that the loop ends; a slot
        that is not later on the clock is tomorrow's.
    """
    traveller, place = start[0], start[2].copy()
    now = start[1].astype(np.int64)
    latest = now + horizon
    active = np.arange(len(traveller))
    steps: list[tuple[IntArray, IntArray, FloatArray, FloatArray]] = []
    for step in range(horizon + 1):
        clock = now[active] % PLAN_SLOTS
        where = planner.places(place[active])
        arrivals, places, _ = planner.answers(city, traveller[active], clock, where)
        # Within the half hour for the survey's travellers, and time must go on; for phones, whose
        # arrivals are a slot apart, a day later: no more arrivals.
        at_once = ~np.isin(traveller[active], (PHONE, CHECK_IN))
        arrivals[at_once, clock[at_once]] = 0.0
        arrivals /= np.maximum(arrivals.sum(axis=1, keepdims=True), _TINY)
        draw = None if uniforms is None else uniforms[active, step]
        ahead = (_pick(arrivals, draw) - clock) % PLAN_SLOTS
        now[active] += np.where(ahead == 0, PLAN_SLOTS, ahead)
        place[active] = places
        kept = now[active] <= latest[active]
        active = active[kept]
        if len(active) == 0:
            break
        steps.append((active, now[active], arrivals[kept], places[kept]))
    return _gather(steps, len(traveller))


def _gather(
    steps: list[tuple[IntArray, IntArray, FloatArray, FloatArray]], count: int
) -> RecursivePlan:
    """Lay the steps' rows (who, slot, M, D) out in arrays over all starts."""
    slots = np.full((count, len(steps)), -1, dtype=np.int64)
    temporal = np.zeros((count, len(steps), PLAN_SLOTS), dtype=np.float32)
    semantic = np.zeros((count, len(steps), _CATEGORIES), dtype=np.float32)
    for step, (who, slot, arrivals, places) in enumerate(steps):
        slots[who, step] = slot
        temporal[who, step] = arrivals
        semantic[who, step] = places
    return RecursivePlan(
        temporal=temporal, semantic=semantic, slots=slots, length=(slots >= 0).sum(axis=1)
    )


def _pick(chances: FloatArray, uniforms: npt.NDArray[np.float64] | None) -> IntArray:
    """Return the likeliest column of each row, or the one that the uniform draws."""
    if uniforms is None:
        return chances.argmax(axis=1)
    edges = np.cumsum(chances.astype(np.float64), axis=1)
    return (edges <= (uniforms * edges[:, -1])[:, None]).sum(axis=1).clip(max=PLAN_SLOTS - 1)
