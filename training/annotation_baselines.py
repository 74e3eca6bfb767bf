"""Baselines of the annotation that need no language model: the majority, and naive Bayes on names.

Naive Bayes counts character n-grams of the lower-cased name with its word limits, the usual choice
for short texts in many languages (Cavnar and Trenkle, 1994; McCallum and Nigam, 1998).
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from training.annotation_data import Labelled

FloatArray = npt.NDArray[np.float64]

_LONGEST = 5  # characters of an n-gram
_SMOOTHING = (0.003, 0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class NaiveBayes:
    """Multinomial naive Bayes over the n-grams of the training names."""

    grams: dict[str, int]
    log_prior: FloatArray
    """Shape (15,)."""
    log_likelihood: FloatArray
    """Shape (G, 15): log P(n-gram | type)."""

    def annotate(self, texts: list[str]) -> FloatArray:
        """Return P(activity type | name), shape (N, 15), rows sum to 1."""
        score = _counts(texts, self.grams) @ self.log_likelihood + self.log_prior
        grown = np.exp(score - score.max(axis=1, keepdims=True))
        return grown / grown.sum(axis=1, keepdims=True)


def fit_naive_bayes(train: Labelled, validation: Labelled) -> NaiveBayes:
    """Fit naive Bayes, with the smoothing that is right most often on the validation names."""
    names = sorted({gram for text in train.text for gram in _grams(text)})
    grams = {gram: index for index, gram in enumerate(names)}
    counts = _counts(train.text, grams).T @ train.target  # (G, 15)
    log_prior = np.log(np.maximum(train.target.mean(axis=0), 1e-6))
    truth = validation.target.argmax(axis=1)

    def fitted(smoothing: float) -> NaiveBayes:
        share = counts + smoothing
        return NaiveBayes(grams, log_prior, np.log(share / share.sum(axis=0)))

    def right(model: NaiveBayes) -> float:
        return float((model.annotate(validation.text).argmax(axis=1) == truth).mean())

    return max(map(fitted, _SMOOTHING), key=right)


def majority(train: Labelled, count: int) -> FloatArray:
    """Return the training names' shares of the types, for each of ``count`` POIs."""
    return np.repeat(train.target.mean(axis=0)[None], count, axis=0)


def _grams(text: str) -> Counter[str]:
    words = [f" {word} " for word in text.casefold().split()]
    return Counter(
        word[start : start + size]
        for word in words
        for size in range(1, _LONGEST + 1)
        for start in range(len(word) - size + 1)
        if word[start : start + size] != " "
    )


def _counts(texts: list[str], grams: dict[str, int]) -> csr_array:
    """Return how often each text has each known n-gram, shape (N, G)."""
    found = [
        [(grams[gram], count) for gram, count in _grams(text).items() if gram in grams]
        for text in texts
    ]
    indptr = np.cumsum([0, *(len(row) for row in found)])
    column = [index for row in found for index, _ in row]
    value = [float(count) for row in found for _, count in row]
    return csr_array((value, column, indptr), shape=(len(texts), len(grams)))
