"""Types of visits to one place, together: the Bayesian part of DataFusion 4.1.1; compiled.

A visit alone has

    P(T | POI, S, d) ∝ w(T) · P(x | T),   w(T) = P(T) · P(S, d | T)

and of many visits to a place each says something of the others: a person who spends every Sunday
morning at a place is at worship there also on the one Sunday that was short, while the lunch at
the gym's café can still be a meal. The place has a type U for the person, told by its mean point,
P(U) ∝ P(x̄ | U). A visit v is of that type with probability ρ (``consistency``), else of a type of
its own, π_v(T) ∝ P(x_v | T). Activities of type T come at the rate P(T), so that each visit counts
w_v(T): what is often visited is of types that are often done. The graph is a star, so the sums over
all combinations are exact (Pearl's belief propagation), with the message of a visit
m_v(U) = ρ·w_v(U) + (1 − ρ)·Σ_T π_v(T)·w_v(T):

    P(T_v | all) ∝ w_v(T) · [ρ·Q_v(T) + (1 − ρ)·π_v(T)],   Q_v(U) ∝ P(x̄ | U) · Π_{u≠v} m_u(U)

Visits are taken as independent given the type, which habits are not; ρ < 1 bounds what they add.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from raygen.taxonomy import SCHOOL, WORK

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
        rate = np.empty((len(rows), types))
        message = np.empty((len(rows), types))
        belief = evidence.place[place].copy()
        for at in range(len(rows)):
            row = rows[at]
            own[at] = _shares(evidence.visit[row])
            rate[at] = np.exp(evidence.prior[row] + evidence.time[row])
            free = (own[at] * rate[at]).sum()
            message[at] = np.log(consistency * rate[at] + (1 - consistency) * free)
            belief += message[at]
        for at in range(len(rows)):
            others = _shares(belief - message[at])
            weight = rate[at] * (consistency * others + (1 - consistency) * own[at])
            out[rows[at]] = weight / weight.sum()
    return out


@njit(cache=True, nogil=True)
def _shares(log_weight: FloatArray) -> FloatArray:
    weight = np.exp(log_weight - log_weight.max())
    return weight / weight.sum()


@njit(cache=True, nogil=True)
def place_scores(evidence: Evidence, order: IntArray, start: IntArray) -> FloatArray:
    """Return how well places fit one type for all their visits, ln of shape (Q, 15).

    P(x̄ | T)·Π P(T)·P(S_v, d_v | T): each visit has P(T), as types that recur are at places that do.
    Work and school have P(work) + P(school) for each visit and their own share of it once, as who
    goes to the one today does not choose between them tomorrow.
    """
    places, types = evidence.place.shape
    out = evidence.place.copy()
    for place in range(places):
        count = start[place + 1] - start[place]
        for at in range(start[place], start[place + 1]):
            row = order[at]
            prior = evidence.prior[row]
            either = np.log(np.exp(prior[WORK]) + np.exp(prior[SCHOOL]))
            for kind in range(types):
                out[place, kind] += evidence.time[row, kind]
                if kind in (WORK, SCHOOL):
                    out[place, kind] += either + (prior[kind] - either) / count
                else:
                    out[place, kind] += prior[kind]
    return out
