"""Work places filled evenly after flows between sub-regions have moved their workers.

Refinement multiplies the shares of work places by sub-region of home and of work, and homes may
move too, so that the places that the gravity model filled (``assignment.balance``) are no longer.
Here the shares T[i, j] are fitted again, by proportional steps in turn, to three margins:

* the workers of each zone, O[i];
* the workers who go from sub-region r to s, which are what was refined to the flows;
* of those who go to s, each zone's part of the places of s.

So every zone of a sub-region is filled alike. How full the sub-region is as a whole the flows say:
if they have more commuters than its places stand for, flows and places are at odds, and the flows
win.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

MAX_ROUNDS = 100
TOLERANCE = 5e-3
"""Largest relative difference of a zone's workers from its part at which the fitting stops."""

MAX_LOG_FACTOR = 3.0
"""Bound of a zone's factor, as in ``assignment.balance``: no place draws workers at any cost."""

_LEAST_WORKERS = 1e-6  # of a zone without any, so that its row still has shares


def even_fill(
    share: FloatArray, workers: FloatArray, places: FloatArray, subregion: Int64Array
) -> FloatArray:
    """Return shares of work places under which each zone of a sub-region is filled alike.

    Parameters
    ----------
    share
        Of work zones by home zone, shape (Z, Z), rows sum to 1; not changed.
    workers
        O: by home zone, shape (Z,), >= 0.
    places
        By work zone, shape (Z,), >= 0; zones without any get nobody.
    subregion
        Of each zone, shape (Z,).

    Returns
    -------
    share
        Shape (Z, Z), rows sum to 1; as many go from one sub-region to another as before.
    """
    member = np.eye(int(subregion.max()) + 1)[subregion]
    origins = np.maximum(workers, _LEAST_WORKERS)
    trips = share * origins[:, None] * (places > 0)
    flows = member.T @ (share * origins[:, None]) @ member
    part = places / np.maximum(member.T @ places, 1e-300)[subregion]
    goal = part * flows.sum(axis=0)[subregion]
    total = np.zeros(len(places))
    for _ in range(MAX_ROUNDS):
        columns = trips.sum(axis=0)
        some = (goal > 0) & (columns > 0)
        step = np.log(np.where(some, goal, 1.0) / np.where(some, columns, 1.0))
        if np.abs(step).max() < TOLERANCE:
            break
        moved = np.clip(total + step, -MAX_LOG_FACTOR, MAX_LOG_FACTOR)
        trips *= np.exp(moved - total)
        total = moved
        now = member.T @ trips @ member
        factor = flows / np.where(now > 0, now, 1.0)
        trips *= factor[subregion[:, None], subregion[None, :]]
        trips *= (origins / trips.sum(axis=1))[:, None]
    return trips / trips.sum(axis=1, keepdims=True)
