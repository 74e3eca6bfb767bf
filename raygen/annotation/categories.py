"""From activity types to UniMob's POI categories, through one published table.

P(category | type) follows by Bayes' rule from P(type | category) of
``raygen.city_files.poi_types`` with equal prior shares of the categories; both are assumed. So a
POI's categories come from the same annotation as its types: P(c | POI) = Σ_t P(t | POI) P(c | t).
"""

import numpy as np
import numpy.typing as npt

from raygen.city_files.poi_types import type_given_category

FloatArray = npt.NDArray[np.float64]


def category_given_type(prior: FloatArray | None = None) -> FloatArray:
    """Return P(POI category | activity type), shape (15, 14), rows sum to 1.

    Parameters
    ----------
    prior
        Shares of the categories, shape (14,); equal where none is given.
    """
    likelihood = type_given_category()  # (14, 15)
    joint = likelihood if prior is None else likelihood * prior[:, None]
    return (joint / joint.sum(axis=0)).T


def categories(distribution: FloatArray, prior: FloatArray | None = None) -> FloatArray:
    """Return P(POI category | POI), shape (N, 14), of P(type | POI), shape (N, 15)."""
    return distribution @ category_given_type(prior)
