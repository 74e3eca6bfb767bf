"""A simple planner, to measure the generator without the language model: next arrivals by look-up.

State: the half-hour slot and the POI code of the place. The next (slot, code), or the day's end, is
drawn from the training days' transitions out of the same code and slot, or the nearest slot that
has one. It recurs like UniMob's Algorithm 1 and knows nothing of the days that it is
measured against but their start region.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.mobility import PADDING, Days
from raygen.taxonomy import PLAN_SLOTS

IntArray = npt.NDArray[np.int64]

_SLOTS = 64  # slots of a key: above 48


@dataclass(frozen=True)
class Arrivals:
    """Transitions sorted by key = code · 64 + slot."""

    key: IntArray
    next_slot: IntArray
    """48 where the day ends."""
    next_code: IntArray


def fit_arrivals(days: Days, code: IntArray) -> Arrivals:
    """Collect the transitions of days; ``code`` is the POI code of each region, shape (R,)."""
    held = days.region >= 0
    here = code[np.maximum(days.region, 0)]
    later = np.full(days.region.shape, PLAN_SLOTS, dtype=np.int64)
    later[:, :-1] = np.where(held[:, 1:], days.slot[:, 1:], PLAN_SLOTS)
    then = np.roll(here, -1, axis=1)
    key = (here * _SLOTS + days.slot)[held]
    order = np.argsort(key, kind="stable")
    return Arrivals(key[order], later[held][order], then[held][order])


def plan_days(
    model: Arrivals, start_code: IntArray, entries: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
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
    slot, code
        Shape (N, K); ``PADDING`` beyond a day's end.
    """
    slot = np.full((len(start_code), entries), PADDING, dtype=np.int64)
    code = np.full((len(start_code), entries), PADDING, dtype=np.int64)
    slot[:, 0], code[:, 0] = 0, start_code
    going = np.arange(len(start_code))
    for entry in range(1, entries):
        key = code[going, entry - 1] * _SLOTS + slot[going, entry - 1]
        chosen = _choose(model.key, key, rng.random(len(going)))
        arrive, then = model.next_slot[chosen], model.next_code[chosen]
        goes = (arrive < PLAN_SLOTS) & (arrive > slot[going, entry - 1])
        going = going[goes]
        slot[going, entry], code[going, entry] = arrive[goes], then[goes]
    return slot, code


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
