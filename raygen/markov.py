"""A baseline for day chains: a Markov chain whose transitions depend on the slot and the group.

P(next type | type, slot, group) by weighted counts, shrunk to the transitions of all groups and
these to staying in the same type, each with the weight of one observation.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.taxonomy import ACTIVITY_TYPES, HOME, SLOTS

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MarkovDays:
    """Fitted transitions, cumulated over the next type: shape (G, 95, 15, 15)."""

    edges: FloatArray

    def sample(self, row: npt.NDArray[np.int64], uniform: FloatArray) -> npt.NDArray[np.int8]:
        """Draw days from home on.

        Parameters
        ----------
        row
            Group of each day (N).
        uniform
            Draws in [0, 1), shape (N, 96); the first column is not used.

        Returns
        -------
        chains
            Shape (N, 96); a day need not end at home.
        """
        chains = np.full((len(row), SLOTS), HOME, np.int8)
        for slot in range(SLOTS - 1):
            edges = self.edges[row, slot, chains[:, slot]]
            below = (edges <= uniform[:, slot + 1, None]).sum(1)
            chains[:, slot + 1] = np.minimum(below, edges.shape[1] - 1)
        return chains


def fit_markov(
    chains: npt.NDArray[np.int8], row: npt.NDArray[np.int64], weight: FloatArray, groups: int
) -> MarkovDays:
    """Fit the transitions of days.

    Parameters
    ----------
    chains
        Shape (N, 96).
    row
        Group of each day, below ``groups`` (N).
    weight
        Of the days, mean about 1 (N).
    groups
        G.
    """
    types = len(ACTIVITY_TYPES)
    slot = np.arange(SLOTS - 1)[None]
    cell = ((row[:, None] * (SLOTS - 1) + slot) * types + chains[:, :-1]) * types + chains[:, 1:]
    counts = np.bincount(
        cell.ravel(),
        np.repeat(weight, SLOTS - 1),
        minlength=groups * (SLOTS - 1) * types * types,
    ).reshape(groups, SLOTS - 1, types, types)
    pooled = counts.sum(0) + np.eye(types)
    pooled /= pooled.sum(-1, keepdims=True)
    shares = counts + pooled
    edges = np.cumsum(shares / shares.sum(-1, keepdims=True), axis=-1)
    return MarkovDays(edges)
