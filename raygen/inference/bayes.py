"""Types of visits to one place, together: the Bayesian part of DataFusion 4.1.1; compiled.

A place has a type U for the person, with P(U) ∝ P(T)·P(x̄ | T). A visit v is of that type with
probability ρ (``consistency``), else of a type of its own, with P(T)·P(x_v | T); its start
and duration follow L_v(T) = P(S_v, d_v | T). So a visit alone has

    P(T | POI, S, d) ∝ P(S, d | T) · P(T) · P(x | T)

and of many visits each says something of the others: a person who spends every Sunday morning at a
place is at worship there also on the one Sunday that was short, while the lunch at the gym's
café can still be a meal. The graph is a star, so the sums over all combinations are exact
(Pearl's belief propagation), with m_v(U) = ρ·L_v(U) + (1 − ρ)·Σ_T π_v(T)·L_v(T) the message of a
visit and π_v(T) ∝ P(T)·P(x_v | T):

    P(T_v | all) ∝ L_v(T) · Σ_U P(U) · Π_{w≠v} m_w(U) · [ρ·1(T = U) + (1 − ρ)·π_v(T)]

Visits are taken as independent given the type, which habits are not; ρ < 1 bounds what they add.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Evidence(NamedTuple):
    """What is known of S stays in Q places; natural logarithms."""

    prior: FloatArray
    """ln P(T) of the stay's kind of day and its person, shape (S, 15)."""
    time: FloatArray
    """ln P(S, d | T), shape (S, 15)."""
    place: FloatArray
    """ln P(x̄ | T) of places, shape (Q, 15)."""
    visit: FloatArray
    """ln P(x | T) of stays, shape (S, 15)."""


def visits_by_place(of_stay: IntArray, places: int) -> tuple[IntArray, IntArray]:
    """Return the stays by place, in their order, and where each place's begin, shape (Q + 1,)."""
    start = np.zeros(places + 1, np.int64)
    np.cumsum(np.bincount(of_stay, minlength=places), out=start[1:])
    return np.argsort(of_stay, kind="stable"), start


@njit(cache=True, nogil=True)
def posteriors(
    evidence: Evidence, order: IntArray, start: IntArray, consistency: float
) -> FloatArray:
    """Return P(T | all visits to the place) of each stay, shape (S, 15); rows sum to 1.

    Parameters
    ----------
    evidence
        Of stays and places.
    order, start
        See ``visits_by_place``.
    consistency
        ρ.
    """
    stays, types = evidence.time.shape
    out = np.empty((stays, types))
    for place in range(len(start) - 1):
        rows = order[start[place] : start[place + 1]]
        own = np.empty((len(rows), types))
        message = np.empty((len(rows), types))
        belief = evidence.place[place].copy()
        for at in range(len(rows)):
            row = rows[at]
            own[at] = _shares(evidence.prior[row] + evidence.visit[row])
            belief += evidence.prior[row] / len(rows)
            likelihood = np.exp(evidence.time[row])
            free = (own[at] * likelihood).sum()
            message[at] = np.log(consistency * likelihood + (1 - consistency) * free)
            belief += message[at]
        for at in range(len(rows)):
            row = rows[at]
            others = _shares(belief - message[at])
            mixed = consistency * others + (1 - consistency) * own[at]
            weight = np.exp(evidence.time[row]) * mixed
            out[row] = weight / weight.sum()
    return out


@njit(cache=True, nogil=True)
def _shares(log_weight: FloatArray) -> FloatArray:
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum()


@njit(cache=True, nogil=True)
def place_scores(evidence: Evidence, order: IntArray, start: IntArray) -> FloatArray:
    """Return ln P(T)·P(x̄ | T)·Π P(S_v, d_v | T) of places, shape (Q, 15): one type for all visits.

    P(T) is the geometric mean over the visits.
    """
    places, types = evidence.place.shape
    out = evidence.place.copy()
    for place in range(places):
        count = start[place + 1] - start[place]
        for at in range(start[place], start[place + 1]):
            row = order[at]
            for kind in range(types):
                out[place, kind] += evidence.time[row, kind] + evidence.prior[row, kind] / count
    return out
