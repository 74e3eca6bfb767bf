"""A simple planner, to measure the generator without the language model: next arrivals by look-up.

State: the half-hour slot, the POI code of the place, and whether it is the one where the day began.
The next (slot, code), or the day's end, is drawn from the training days' transitions out of the
same state, or of the nearest slot that has one. A transition back to a place of the same day (the
first one, or the one so many entries ago) is one to that place's code again: codes alone would
forget that people return. It recurs like UniMob's Algorithm 1 and knows nothing of the days that it
is measured against but their start region.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.mobility import PADDING, Days
from raygen.taxonomy import PLAN_SLOTS

IntArray = npt.NDArray[np.int64]

_SLOTS = 64  # slots of a key: above 48
_NEW, _START = 0, -1  # places that a transition leads to; else how many entries ago it was seen


@dataclass(frozen=True)
class Arrivals:
    """Transitions sorted by key = (code · 2 + whether it is the start's place) · 64 + slot."""

    key: IntArray
    next_slot: IntArray
    """48 where the day ends."""
    next_code: IntArray
    back: IntArray
    """Entries to go back to the place that it leads to; -1: the start's, 0: none of the day's."""


def fit_arrivals(days: Days, code: IntArray) -> Arrivals:
    """Collect the transitions of days; ``code`` is the POI code of each region, shape (R,)."""
    held = days.region >= 0
    here = code[np.maximum(days.region, 0)]
    later = np.full(days.region.shape, PLAN_SLOTS, dtype=np.int64)
    later[:, :-1] = np.where(held[:, 1:], days.slot[:, 1:], PLAN_SLOTS)
    then = np.roll(here, -1, axis=1)
    started = days.region == days.region[:, :1]
    key = ((here * 2 + started) * _SLOTS + days.slot)[held]
    order = np.argsort(key, kind="stable")
    back = np.roll(_back(days.region), -1, axis=1)
    return Arrivals(key[order], later[held][order], then[held][order], back[held][order])


def _back(region: npt.NDArray[np.int32]) -> IntArray:
    """Return how many entries ago each place was seen last (N, K); see ``Arrivals.back``."""
    back = np.zeros(region.shape, dtype=np.int64)
    for ago in range(region.shape[1] - 1, 0, -1):
        back[:, ago:][region[:, ago:] == region[:, :-ago]] = ago
    back[:, 1:][region[:, 1:] == region[:, :1]] = _START
    return back


def plan_days(
    model: Arrivals, start_code: IntArray, entries: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray, IntArray]:
    """Draw arrival slots and POI codes of days.

    Parameters
    ----------
    model
        Fitted transitions.
    start_code
        POI code of each day's start region, shape (N,).
    entries
        Most entries of a day, K.
    rng
        Source of the draws.

    Returns
    -------
    slot, code, place
        Shape (N, K); ``PADDING`` beyond a day's end. ``place`` is the entry at which the day was
        first where it is now: 0 is the start.
    """
    slot = np.full((len(start_code), entries), PADDING, dtype=np.int64)
    code, place = slot.copy(), slot.copy()
    slot[:, 0], code[:, 0], place[:, 0] = 0, start_code, 0
    going = np.arange(len(start_code))
    for entry in range(1, entries):
        last = entry - 1
        state = code[going, last] * 2 + (place[going, last] == 0)
        key = state * _SLOTS + slot[going, last]
        chosen = _choose(model.key, key, rng.random(len(going)))
        arrive = model.next_slot[chosen]
        goes = (arrive < PLAN_SLOTS) & (arrive > slot[going, last])
        going, chosen = going[goes], chosen[goes]
        back = model.back[chosen]
        now = np.where(back == _START, 0, place[going, np.clip(entry - back, 0, last)])
        # A transition of another day may lead to where there is no entry, or to the very place.
        known = (back != _NEW) & (back <= entry) & (now != place[going, last])
        now = np.where(known, now, entry)
        slot[going, entry], place[going, entry] = arrive[goes], now
        code[going, entry] = np.where(now == entry, model.next_code[chosen], code[going, now])
    return slot, code, place


def _choose(keys: IntArray, wanted: IntArray, uniform: npt.NDArray[np.float64]) -> IntArray:
    """Return a row of ``keys`` equal to each wanted key, or else of the nearest key."""
    after = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(keys[before] - wanted) < np.abs(keys[after] - wanted)
    found = keys[np.where(nearer, before, after)]
    low, high = np.searchsorted(keys, found), np.searchsorted(keys, found, side="right")
    return low + (uniform * (high - low)).astype(np.int64)


def markov_days(
    clock: npt.NDArray[np.int32], start: IntArray, regions: int, rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Draw days by a Markov chain of regions in half-hour slots: the baseline.

    Parameters
    ----------
    clock
        Training days, region of each slot, shape (N, 48).
    start
        Start regions, shape (M,).
    regions
        Regions of the city, R.
    rng
        Source of the draws.

    Returns
    -------
    days
        Shape (M, 48): from each slot by the transitions seen from that region in that slot, or
        in the nearest one.
    """
    days = np.empty((len(start), PLAN_SLOTS), dtype=np.int32)
    days[:, 0] = start
    slot = np.broadcast_to(np.arange(PLAN_SLOTS - 1), clock[:, 1:].shape)
    key = (clock[:, :-1].astype(np.int64) * _SLOTS + slot).ravel()
    order = np.argsort(key, kind="stable")
    keys, then = key[order], clock[:, 1:].ravel()[order]
    for now in range(PLAN_SLOTS - 1):
        wanted = days[:, now].astype(np.int64) * _SLOTS + now
        days[:, now + 1] = then[_choose(keys, wanted, rng.random(len(start)))]
    return days
