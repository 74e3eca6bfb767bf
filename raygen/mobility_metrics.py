"""How far generated mobility is from observed: UniMob's metrics, as ``unimob-like``.

The paper (section 4.1.2) names Distance, Radius, LocNum and G-rank and prints no bins; its
repository has no code for them, so this is a reconstruction. Divergence: Jensen–Shannon, base 2,
no epsilon (``raygen.metrics.jsd``). Days are 48 half-hour slots.

distance   length of each move between regions' centres, all days pooled: 1 km bins to 50, and more
radius     radius of gyration over the 48 slots: 500 m bins to 25 km, and more
locations  different regions of a day ("LocNum"): 1 to 19, and 20 or more
g_rank     share of slots in the k-th most visited region, k = 1…100, each side by its own ranking,
           as two distributions over ranks
r_rank     the same for k = 1…50 among days from one start region, as the mean of the start regions,
           by their days; of each as many days on both sides, and five at least
g_region   share of slots in each of the 100 regions most visited in the reference, and in the rest;
           harder than the paper's: the regions themselves must agree
"""

import numpy as np
import numpy.typing as npt

from raygen.metrics import jsd

FloatArray = npt.NDArray[np.float64]
Clock = npt.NDArray[np.int32]

QUANTITIES = ("distance", "radius", "locations", "g_rank", "r_rank", "g_region")

_RANKS = 100
_ORIGIN_RANKS, _ORIGIN_DAYS = 50, 5


def mobility_divergences(real: Clock, generated: Clock, xy: FloatArray) -> dict[str, float]:
    """Return the divergence of each of ``QUANTITIES``.

    Parameters
    ----------
    real, generated
        Region row of each slot, shapes (N, 48) and (M, 48).
    xy
        Centres of the regions in metres, shape (R, 2).
    """
    visits = [
        np.bincount(days.ravel(), minlength=len(xy)).astype(np.float64)
        for days in (real, generated)
    ]
    top = np.argsort(-visits[0], kind="stable")[:_RANKS]
    pairs = {
        "distance": [_histogram(moves(days, xy), 1000.0, 50) for days in (real, generated)],
        "radius": [_histogram(gyration(days, xy), 500.0, 50) for days in (real, generated)],
        "locations": [_histogram(locations(days) - 1, 1.0, 19) for days in (real, generated)],
        "g_rank": [np.sort(count)[::-1][:_RANKS] for count in visits],
        "r_rank": list(origin_ranks(real, generated)),
        "g_region": [np.append(count[top], count.sum() - count[top].sum()) for count in visits],
    }
    return {name: jsd(*pair) for name, pair in pairs.items()}


def origin_ranks(real: Clock, generated: Clock) -> tuple[FloatArray, FloatArray]:
    """Return the share of slots in the k-th most visited region of a start region, k = 1…50.

    Parameters
    ----------
    real, generated
        Region row of each slot, shapes (N, 48) and (M, 48); a day's first is its start.

    Returns
    -------
    shares
        Of both sides, shape (50,) each: the mean over start regions that both have five days of,
        weighted by the days that are compared. Uniform where there is no such region.
    """
    total = np.full((2, _ORIGIN_RANKS), 1e-12)
    both = np.intersect1d(real[:, 0], generated[:, 0])
    for origin in both.tolist():
        sides = [days[days[:, 0] == origin] for days in (real, generated)]
        count = min(len(side) for side in sides)
        if count < _ORIGIN_DAYS:
            continue
        for side, days in enumerate(sides):
            visits = np.sort(np.unique(days[:count], return_counts=True)[1])[::-1][:_ORIGIN_RANKS]
            total[side, : len(visits)] += visits
    return total[0] / total[0].sum(), total[1] / total[1].sum()


def moves(days: Clock, xy: FloatArray) -> FloatArray:
    """Return the length in metres of each move of days (N, 48)."""
    row, slot = np.nonzero(days[:, 1:] != days[:, :-1])
    step = xy[days[row, slot + 1]] - xy[days[row, slot]]
    return np.hypot(step[:, 0], step[:, 1])


def gyration(days: Clock, xy: FloatArray) -> FloatArray:
    """Return the radius of gyration in metres of each day (N, 48)."""
    place = xy[days]
    gap = place - place.mean(axis=1, keepdims=True)
    return np.sqrt((gap**2).sum(axis=2).mean(axis=1))


def locations(days: Clock) -> FloatArray:
    """Return the number of different regions of each day (N, 48)."""
    ordered = np.sort(days, axis=1)
    return 1.0 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)


def _histogram(values: FloatArray, width: float, bins: int) -> FloatArray:
    """Count values ≥ 0 in ``bins`` bins and one more for what lies beyond."""
    column = np.minimum(values / width, bins).astype(np.int64)
    return np.bincount(column, minlength=bins + 1).astype(np.float64)
