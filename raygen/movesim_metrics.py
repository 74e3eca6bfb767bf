"""How far generated days are from observed: the metrics of MoveSim, as its authors' code has them.

Feng et al., "Learning to simulate human mobility", KDD 2020, and the code published with it
(FIBLAB/MoveSim, ``evaluations.py``). Days are 48 half-hour slots of location ids; the divergence
is Jensen–Shannon in nats. The histograms have quirks that a comparison with other work of this
preset must keep: N "bins" from 0 to the top have N − 1 bins, and what lies above the last is
dropped, a day with 48 places or a place with all visits among it.

distance   squared step between consecutive slots, in square degrees, 47 of a day
radius     mean squared distance from a day's mean point, in square degrees
duration   runs of equal slots over 48; the last run of a day is not counted
daily_loc  different locations of a day over 48
g_rank     histogram of the visit shares of the 100 most visited locations
i_rank     histogram of the mean shares of a day's k-th most visited location, k = 1…100

Visit shares are small, so that all may fall into the first bin of ``g_rank``: it is then 0 whatever
was generated. ``g_rank_l1`` stands beside it and is ours: Σ |p_k − q_k| over the 100 ranks.
"""

import numpy as np
import numpy.typing as npt

from raygen.taxonomy import PLAN_SLOTS

FloatArray = npt.NDArray[np.float64]
Clock = npt.NDArray[np.integer]

QUANTITIES = ("distance", "radius", "duration", "daily_loc", "g_rank", "i_rank", "g_rank_l1")

MAX_DISTANCE = 247.3
"""Top of the distances of GeoLife in the authors' code, degrees."""

_FINE, _RANKS = 10_000, 100


def movesim_divergences(
    real: Clock, generated: Clock, where: FloatArray, max_distance: float = MAX_DISTANCE
) -> dict[str, float]:
    """Return the divergence of each of ``QUANTITIES``, in nats.

    Parameters
    ----------
    real, generated
        Location id of each slot, shapes (N, 48) and (M, 48).
    where
        Latitude and longitude of each location, degrees, shape (L, 2).
    max_distance
        Top of the distances' histogram.
    """
    both = (real, generated)
    shares = [_visit_shares(days, len(where)) for days in both]
    pairs = {
        "distance": [_histogram(_steps(days, where), max_distance, _FINE) for days in both],
        "radius": [_histogram(_radius(days, where), max_distance**2, _FINE) for days in both],
        "duration": [_histogram(_durations(days) / PLAN_SLOTS, 1.0, PLAN_SLOTS) for days in both],
        "daily_loc": [_histogram(_places(days) / PLAN_SLOTS, 1.0, PLAN_SLOTS) for days in both],
        "g_rank": [_histogram(share, 1.0, _RANKS) for share in shares],
        "i_rank": [_histogram(_day_ranks(days), 1.0, _RANKS) for days in both],
    }
    found = {name: _divergence(*pair) for name, pair in pairs.items()}
    return found | {"g_rank_l1": float(np.abs(shares[0] - shares[1]).sum())}


def _divergence(real: FloatArray, generated: FloatArray) -> float:
    p, q = (counts / (counts.sum() + 1e-14) for counts in (real, generated))
    m = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(share > 0, share * np.log(share / m), 0.0) for share in (p, q)]
    return float(0.5 * (terms[0].sum() + terms[1].sum()))


def _histogram(values: FloatArray, top: float, bins: int) -> FloatArray:
    return np.histogram(values, np.arange(0.0, top, top / bins))[0].astype(np.float64)


def _steps(days: Clock, where: FloatArray) -> FloatArray:
    step = np.diff(where[days], axis=1)
    return (step**2).sum(axis=2).ravel()


def _radius(days: Clock, where: FloatArray) -> FloatArray:
    gap = where[days] - where[days].mean(axis=1, keepdims=True)
    return (gap**2).sum(axis=2).mean(axis=1)


def _durations(days: Clock) -> FloatArray:
    """Return the slots of every run but the last of each day."""
    first = np.ones(days.shape, dtype=bool)
    first[:, 1:] = days[:, 1:] != days[:, :-1]
    row, slot = np.nonzero(first)
    same = row[1:] == row[:-1]
    return (slot[1:] - slot[:-1])[same].astype(np.float64)


def _places(days: Clock) -> FloatArray:
    ordered = np.sort(days, axis=1)
    return 1.0 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)


def _visit_shares(days: Clock, count: int) -> FloatArray:
    """Return the shares of the 100 most visited locations, most first."""
    visits = np.bincount(days.ravel(), minlength=max(count, _RANKS)) / days.size
    return np.sort(visits)[::-1][:_RANKS]


def _day_ranks(days: Clock) -> FloatArray:
    """Return the mean share of a day's k-th most visited location, k = 1…100, summing to 1."""
    ordered = np.sort(days, axis=1)
    first = np.ones(days.shape, dtype=bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = np.cumsum(first, axis=1) - 1
    flat = np.arange(len(days))[:, None] * PLAN_SLOTS + group
    counts = np.bincount(flat.ravel(), minlength=days.size).reshape(days.shape)
    mean = np.sort(counts, axis=1)[:, ::-1].mean(axis=0) / PLAN_SLOTS
    return np.append(mean / mean.sum(), np.zeros(_RANKS - PLAN_SLOTS))
