"""Origin–destination flows of days, and their common part: UniMob's Figure 7.

A trip is a change of region between consecutive slots. The common part of commuters of two
matrices T and T', Lenormand et al., "A universal model of commuting networks", PLOS ONE 7, 2012, is
2 Σ min(T_ij, T'_ij) / (Σ T + Σ T'); both are brought to one total first, so that 1 means equal
shares. Between regions there is no diagonal; between squares of a grid there is one, of trips
that stay inside, and the figure is given with and without it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Clock = npt.NDArray[np.integer]

SIDES_M = (2000.0, 5000.0)
"""Sides of the squares of the coarser grids."""


@dataclass(frozen=True)
class Flows:
    """Trips between pairs of places, those without any left out."""

    origin: IntArray
    destination: IntArray
    trips: FloatArray

    @property
    def off_diagonal(self) -> "Flows":
        """Flows between different places."""
        kept = self.origin != self.destination
        return Flows(self.origin[kept], self.destination[kept], self.trips[kept])


def flows_of(days: Clock, place: IntArray) -> Flows:
    """Count the trips of days.

    Parameters
    ----------
    days
        Region row of each slot, shape (N, 48).
    place
        Place that each region belongs to, ≥ 0, shape (R,); ``numpy.arange(R)`` for the regions.
    """
    row, slot = np.nonzero(days[:, 1:] != days[:, :-1])
    origin, destination = place[days[row, slot]], place[days[row, slot + 1]]
    places = int(place.max()) + 1
    pair, trips = np.unique(origin * places + destination, return_counts=True)
    return Flows(pair // places, pair % places, trips.astype(np.float64))


def squares(xy: FloatArray, side: float) -> IntArray:
    """Return the square of each region (R,), by its centre in metres; squares count from 0."""
    cell = ((xy - xy.min(axis=0)) // side).astype(np.int64)
    return np.unique(cell, axis=0, return_inverse=True)[1].ravel().astype(np.int64)


def common_part(real: Flows, generated: Flows) -> float:
    """Return the common part of commuters of two sets of flows, each with a total of 1.

    Raises
    ------
    ValueError
        If one of them has no trips.
    """
    totals = [float(flows.trips.sum()) for flows in (real, generated)]
    if min(totals) <= 0:
        msg = f"common part of commuters: both sides must have trips, got {totals}"
        raise ValueError(msg)
    places = 1 + max(int(flows.destination.max()) for flows in (real, generated))
    keys = [flows.origin * places + flows.destination for flows in (real, generated)]
    _, here, there = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    return float(np.minimum(real.trips[here] / totals[0], generated.trips[there] / totals[1]).sum())


def common_part_of_commuters(real: Clock, generated: Clock, xy: FloatArray) -> dict[str, float]:
    """Return the common part between regions, and between squares with and without the diagonal.

    Parameters
    ----------
    real, generated
        Region row of each slot, shapes (N, 48) and (M, 48).
    xy
        Centres of the regions in metres, shape (R, 2).

    Returns
    -------
    parts
        ``regions``, ``2 km``, ``2 km off diagonal``, ``5 km`` …
    """
    whole = [flows_of(days, np.arange(len(xy))) for days in (real, generated)]
    parts = {"regions": common_part(whole[0], whole[1])}
    for side in SIDES_M:
        place = squares(xy, side)
        coarse = [flows_of(days, place) for days in (real, generated)]
        name = f"{side / 1000:.0f} km"
        parts[name] = common_part(coarse[0], coarse[1])
        parts[f"{name} off diagonal"] = common_part(coarse[0].off_diagonal, coarse[1].off_diagonal)
    return parts
