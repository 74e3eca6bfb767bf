"""How good an annotation is: DataFusion, Table 2.

The paper's Accuracy@1, @2, @3 fall from 82.5 % over 15.4 % to 1.9 % and in one column sum to 119 %:
Accuracy@k is the share of POIs whose k-th type is right, not of those with a right one among the
first k, and a POI may have more than one right type. Both readings are here; ``hit_rate`` is the
usual one.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def ranking(distribution: FloatArray, top: int = 3) -> IntArray:
    """Return the most probable types of each POI, shape (N, top); ties go to the lower index."""
    return np.argsort(-distribution, axis=1, kind="stable")[:, :top]


def rank_accuracy(ranked: IntArray, right: Mask, k: int) -> float:
    """Return the paper's Accuracy@k: the share of POIs whose k-th type is right.

    Parameters
    ----------
    ranked
        Shape (N, K), K >= k: types, most probable first.
    right
        Shape (N, 15): the types that are right for a POI.
    k
        From 1.
    """
    return float(np.take_along_axis(right, ranked[:, k - 1 : k], axis=1).mean())


def hit_rate(ranked: IntArray, right: Mask, k: int) -> float:
    """Return the share of POIs with a right type among the first k; see ``rank_accuracy``."""
    return float(np.take_along_axis(right, ranked[:, :k], axis=1).any(axis=1).mean())


def weighted_f1(predicted: IntArray, truth: IntArray, types: int) -> float:
    """Return the F1 score of each type, averaged by the types' shares of the truth.

    Parameters
    ----------
    predicted, truth
        Shape (N,): one type of each POI, 0 to ``types`` - 1.
    types
        How many types there are. A type that is never predicted has an F1 of 0.
    """
    right = np.bincount(truth[predicted == truth], minlength=types)
    support = np.bincount(truth, minlength=types)
    both = np.bincount(predicted, minlength=types) + support
    f1 = 2 * right / np.maximum(both, 1)
    return float((f1 * support).sum() / support.sum())


def macro_recall(predicted: IntArray, truth: IntArray, types: int) -> float:
    """Return the mean share of right answers over the types that occur in the truth."""
    right = np.bincount(truth[predicted == truth], minlength=types)
    support = np.bincount(truth, minlength=types)
    return float((right[support > 0] / support[support > 0]).mean())
