"""Mechanistic baselines of the mobility generator: DensityEPR and DITRAS, for days of 48 slots.

DensityEPR (Pappalardo, Rinzivillo, Simini, "Human mobility modelling: exploration and preferential
return meet the gravity model", KDD 2016): after a wait, a person who knows S places explores with
probability ρ·S^−γ, going from i to j with probability ∝ m_i·m_j / r_ij²; else it returns to a known
place ∝ the visits so far. DITRAS (Pappalardo and Simini, "Data-driven generation of spatio-temporal
routines in human mobility", Data Mining and Knowledge Discovery 32, 2018): a diary of being at the
typical place or elsewhere by the hour, fitted to data as a Markov model, says when; DensityEPR says
where. UniMob's tables call this model DRTISA and cite the same paper: there is no other. Constants
as published (and as in scikit-mobility): ρ = 0.6, γ = 0.21, waits from
P(t) ∝ t^−(1 + 0.8)·e^(−t / 17 h), at least 20 minutes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.taxonomy import PLAN_SLOTS

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Clock = npt.NDArray[np.int32]

RHO, GAMMA = 0.6, 0.21
WAIT_EXPONENT, WAIT_CUT_H, LEAST_WAIT_H = 0.8, 17.0, 1 / 3

_DAY_H = 24.0
_SLOT_H = _DAY_H / PLAN_SLOTS


@dataclass(frozen=True)
class Diary:
    """DITRAS's Markov diary: what follows a stay, by the slot where it began and whether at home.

    ``edges[slot, home]`` cumulates the chances of (next slot, at home), flattened to 98: 2 · slot +
    home, slot 48 is the day's end.
    """

    edges: FloatArray


class Explorers:
    """Where M people go by exploration and preferential return."""

    def __init__(self, start: IntArray, mass: FloatArray, xy: FloatArray) -> None:
        apart = ((xy[:, None] - xy[None]) ** 2).sum(-1)
        np.fill_diagonal(apart, np.inf)
        pull = mass[None] / np.maximum(apart, 1.0)
        self._gravity = np.cumsum(pull / pull.sum(1, keepdims=True), axis=1)
        self.place = start.copy()
        self._visits = np.zeros((len(start), len(mass)))
        self._visits[np.arange(len(start)), start] = 1.0

    def move(
        self, who: IntArray, rng: np.random.Generator, avoid: IntArray | None = None
    ) -> IntArray:
        """Move people and return their new places; they do not return to ``avoid``."""
        known = self._visits[who]
        known[np.arange(len(who)), self.place[who]] = 0.0
        if avoid is not None:
            known[np.arange(len(who)), avoid] = 0.0
        places = (self._visits[who] > 0).sum(1)
        explores = rng.random(len(who)) < RHO * places**-GAMMA
        explores |= known.sum(1) == 0
        draw = rng.random(len(who))
        edges = np.cumsum(known, axis=1)
        back = (edges <= (draw * edges[:, -1])[:, None]).sum(1)
        away = (self._gravity[self.place[who]] <= draw[:, None]).sum(1)
        places_now = np.minimum(np.where(explores, away, back), edges.shape[1] - 1)
        self.go(who, places_now)
        return places_now

    def go(self, who: IntArray, place: IntArray) -> None:
        """Put people in places and count the visits."""
        self.place[who] = place
        self._visits[who, place] += 1.0


def waits(count: int, rng: np.random.Generator) -> FloatArray:
    """Draw waiting times in hours, by rejection from the power law without its cut-off."""
    found = np.empty(count)
    left = np.arange(count)
    while len(left):
        time = LEAST_WAIT_H * (1 - rng.random(len(left))) ** (-1 / WAIT_EXPONENT)
        kept = rng.random(len(left)) < np.exp(-(time - LEAST_WAIT_H) / WAIT_CUT_H)
        found[left[kept]] = time[kept]
        left = left[~kept]
    return found


def density_epr_days(
    start: IntArray, mass: FloatArray, xy: FloatArray, rng: np.random.Generator
) -> Clock:
    """Draw days by DensityEPR.

    Parameters
    ----------
    start
        Region where each day starts, shape (M,).
    mass
        Relevance of the regions, > 0, shape (R,): the visits of the training days.
    xy
        Centres in metres, shape (R, 2).
    rng
        Source of the draws.

    Returns
    -------
    days
        Region of each half-hour, shape (M, 48).
    """
    days = np.repeat(start[:, None], PLAN_SLOTS, axis=1).astype(np.int32)
    people = Explorers(start, mass, xy)
    clock = waits(len(start), rng)
    going = np.flatnonzero(clock < _DAY_H)
    while len(going):
        place = people.move(going, rng)
        _fill(days, going, clock[going] / _SLOT_H, place)
        clock[going] += waits(len(going), rng)
        going = going[clock[going] < _DAY_H]
    return days


def fit_diary(train: Clock) -> Diary:
    """Fit the diary to days (N, 48); home is the region where a day starts."""
    counts = np.zeros((PLAN_SLOTS, 2, 2 * (PLAN_SLOTS + 1)))
    begins = np.ones(train.shape, bool)
    begins[:, 1:] = train[:, 1:] != train[:, :-1]
    day, slot = np.nonzero(begins)
    home = (train[day, slot] == train[day, 0]).astype(np.int64)
    last = np.append(day[1:] != day[:-1], True)
    then_slot = np.where(last, PLAN_SLOTS, np.append(slot[1:], PLAN_SLOTS))
    then_home = np.where(last, 0, np.append(home[1:], 0))
    np.add.at(counts, (slot, home, 2 * then_slot + then_home), 1.0)
    counts[..., -2] += counts.sum(-1) == 0  # never seen: stay to the end
    return Diary(np.cumsum(counts / counts.sum(-1, keepdims=True), axis=-1))


def ditras_days(
    diary: Diary,
    start: IntArray,
    mass: FloatArray,
    xy: FloatArray,
    rng: np.random.Generator,
) -> Clock:
    """Draw days by DITRAS; parameters as ``density_epr_days``."""
    days = np.repeat(start[:, None], PLAN_SLOTS, axis=1).astype(np.int32)
    people = Explorers(start, mass, xy)
    slot, home = np.zeros(len(start), np.int64), np.ones(len(start), np.int64)
    going = np.arange(len(start))
    while len(going):
        edges = diary.edges[slot[going], home[going]]
        then = (edges <= rng.random(len(going))[:, None]).sum(1)
        slot[going], home[going] = then // 2, then % 2
        going = going[slot[going] < PLAN_SLOTS]
        back = going[home[going] == 1]
        people.go(back, start[back])
        _fill(days, back, slot[back], start[back])
        out = going[home[going] == 0]
        _fill(days, out, slot[out], people.move(out, rng, start[out]))
    return days


def _fill(
    days: Clock, who: IntArray, since: npt.NDArray[np.floating] | IntArray, place: IntArray
) -> None:
    """Write the place of people from a slot on."""
    later = np.arange(PLAN_SLOTS) >= np.asarray(since)[:, None]
    days[who] = np.where(later, place[:, None], days[who])
