"""How far generated days are from observed ones: Jensen–Shannon divergences over fixed bins.

DataFusion (Ma et al., arXiv:2503.15779, Eq. 11) compares five quantities of day chains; it prints
neither the base of its logarithm nor its bins. Ours is base 2, so that it lies in 0…1, without an
epsilon (0 · log 0 = 0), as a divergence (no square root), over these bins:

length    activities of a day, 1 to 19, and 20 or more: 20 bins
duration  length of each activity, by half hours: 48 bins
type      the 15 activity types, counted by activity
start     start of each activity away from home, by hours: 24 bins
end       end of each activity away from home, by hours: 24 bins

An activity is a run of equal slots; days without leaving home have one. A chain has no gaps, so the
ends of all activities are the starts of the next: counted over all, the last two would be one.
"""

import numpy as np
import numpy.typing as npt

from raygen.taxonomy import ACTIVITY_TYPES, HOME, SLOTS

FloatArray = npt.NDArray[np.float64]
Chains = npt.NDArray[np.int8]

QUANTITIES = ("length", "duration", "type", "start_time", "end_time")
"""The columns of DataFusion's Table 3."""

_LONGEST = 20
_HALF_HOUR, _HOUR = 2, 4  # slots
_SLOT_MIN = 15.0


def jsd(real: FloatArray, generated: FloatArray) -> float:
    """Return the Jensen–Shannon divergence of two histograms, base 2.

    Parameters
    ----------
    real, generated
        Counts or shares over the same bins, >= 0, with a positive sum.

    Returns
    -------
    divergence
        1/2 KL(P ‖ M) + 1/2 KL(Q ‖ M) with M = (P + Q) / 2, in 0…1.

    Raises
    ------
    ValueError
        If a histogram is empty or the shapes differ.
    """
    if real.shape != generated.shape or real.sum() <= 0 or generated.sum() <= 0:
        msg = f"jsd: two histograms of one shape with mass are needed, got {real.shape} with "
        msg += f"{real.sum():g} and {generated.shape} with {generated.sum():g}"
        raise ValueError(msg)
    p, q = real.ravel() / real.sum(), generated.ravel() / generated.sum()
    m = (p + q) / 2
    return _entropy_bits(m) - (_entropy_bits(p) + _entropy_bits(q)) / 2


def chain_histograms(chains: Chains, weight: FloatArray | None = None) -> dict[str, FloatArray]:
    """Count the five quantities of day chains.

    Parameters
    ----------
    chains
        Activity types, shape (N, 96).
    weight
        Of the days (N); equal where not given.

    Returns
    -------
    histograms
        By name of ``QUANTITIES``, over the bins of this module.
    """
    days = np.ones(len(chains)) if weight is None else weight
    day, start, end = activity_runs(chains)
    each = days[day]
    length = np.minimum(np.bincount(day, minlength=len(chains)), _LONGEST) - 1
    kind = chains[day, start]
    away = kind != HOME
    half_hours, hours = SLOTS // _HALF_HOUR, SLOTS // _HOUR
    counts = {
        "length": np.bincount(length, days, _LONGEST),
        "duration": np.bincount((end - start - 1) // _HALF_HOUR, each, half_hours),
        "type": np.bincount(kind, each, len(ACTIVITY_TYPES)),
        "start_time": np.bincount(start[away] // _HOUR, each[away], hours),
        "end_time": np.bincount((end[away] - 1) // _HOUR, each[away], hours),
    }
    return {name: values.astype(np.float64) for name, values in counts.items()}


def chain_divergences(
    real: Chains,
    generated: Chains,
    real_weight: FloatArray | None = None,
    generated_weight: FloatArray | None = None,
) -> dict[str, float]:
    """Return the JSD of each of ``QUANTITIES``; chains (N, 96) and (M, 96), weights (N) and (M)."""
    left = chain_histograms(real, real_weight)
    right = chain_histograms(generated, generated_weight)
    return {name: jsd(left[name], right[name]) for name in QUANTITIES}


def activity_runs(
    chains: Chains,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return day, first slot and end slot (exclusive) of each activity, in order."""
    first = np.ones(chains.shape, bool)
    first[:, 1:] = chains[:, 1:] != chains[:, :-1]
    day, start = np.nonzero(first)
    end = np.append(start[1:], SLOTS)
    last = np.append(day[1:] != day[:-1], True) if len(day) else np.zeros(0, bool)
    return day, start, np.where(last, SLOTS, end)


def minutes_by_type(chains: Chains, weight: FloatArray | None = None) -> FloatArray:
    """Return the mean minutes a day of each activity type, shape (15,); they sum to 1440."""
    days = np.ones(len(chains)) if weight is None else weight
    counts = np.bincount(
        chains.ravel(), np.repeat(days, chains.shape[1]), minlength=len(ACTIVITY_TYPES)
    )
    return (counts * _SLOT_MIN / days.sum()).astype(np.float64)


def type_profile(chains: Chains, weight: FloatArray | None = None) -> FloatArray:
    """Return the share of people in each type at each slot, shape (96, 15)."""
    days = np.ones(len(chains)) if weight is None else weight
    types = len(ACTIVITY_TYPES)
    cell = np.arange(SLOTS)[None] * types + chains
    counts = np.bincount(cell.ravel(), np.repeat(days, SLOTS), minlength=SLOTS * types)
    return (counts.reshape(SLOTS, types) / days.sum()).astype(np.float64)


def recurring_share(chains: Chains, known: Chains) -> float:
    """Return the share of ``chains`` that occur, slot for slot, in ``known`` (memorised days)."""
    seen = {row.tobytes() for row in np.ascontiguousarray(known)}
    return float(np.mean([row.tobytes() in seen for row in np.ascontiguousarray(chains)]))


def _entropy_bits(p: FloatArray) -> float:
    positive = p[p > 0]
    return float(-(positive * np.log2(positive)).sum())
