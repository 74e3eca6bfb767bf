"""POI distributions as a few codes, so that the planner's state is small.

The nearest code is taken in the Hellinger distance, which is Euclidean between square roots of
distributions: H²(p, q) = 1 − Σ √(pᵢ qᵢ). Codes are fitted by k-means on the square roots
(k-means++ seeding: Arthur and Vassilvitskii, SODA 2007), so that a code is a distribution too.
The error is stated as the Jensen-Shannon divergence, base 2, between distributions and their codes.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.errors import DataError
from raygen.taxonomy import POI_CATEGORIES

FloatArray = npt.NDArray[np.float64]
CodeArray = npt.NDArray[np.int64]

_CATEGORIES = len(POI_CATEGORIES)
_CHUNK = 8192  # rows of one distance matrix: 4 MB at 64 codes
_ITERATIONS = 40


@dataclass(frozen=True)
class Codebook:
    """K POI distributions."""

    codes: FloatArray
    """Shape (K, 14), rows sum to 1."""

    @property
    def digest(self) -> str:
        """SHA-256 of the codes as float32, the type that they are stored in."""
        return hashlib.sha256(self.codes.astype("<f4").tobytes()).hexdigest()

    def nearest(self, distributions: npt.NDArray[np.floating]) -> CodeArray:
        """Return the code of each distribution, shape (N,); the lowest of equally near ones.

        Parameters
        ----------
        distributions
            Shape (N, 14), rows sum to 1. A row's code depends on the row alone, whatever else is
            asked with it: sums run over categories in order, without BLAS.
        """
        found = np.empty(len(distributions), dtype=np.int64)
        roots = np.sqrt(self.codes)
        for start in range(0, len(distributions), _CHUNK):
            rows = np.sqrt(distributions[start : start + _CHUNK].astype(np.float64))
            found[start : start + _CHUNK] = _affinity(rows, roots).argmax(axis=1)
        return found

    def error(self, distributions: npt.NDArray[np.floating]) -> FloatArray:
        """Return the JSD (base 2) between each distribution and its code, shape (N,)."""
        return jsd(distributions.astype(np.float64), self.codes[self.nearest(distributions)])


def fit(samples: FloatArray, codes: int, seed: int) -> Codebook:
    """Fit a codebook to sampled POI distributions.

    Parameters
    ----------
    samples
        Shape (N, 14), rows sum to 1, N >= codes.
    codes
        Number of codes, K.
    seed
        Seed of the first centres.

    Returns
    -------
    codebook
        Codes ordered by their entries, so that equal fits have equal digests.

    Raises
    ------
    DataError
        If there are fewer samples than codes, or a row is not a distribution.
    """
    if len(samples) < codes:
        msg = f"codebook: needs at least {codes} samples for {codes} codes, got {len(samples)}"
        raise DataError(msg)
    if samples.shape[1] != _CATEGORIES or not np.allclose(samples.sum(axis=1), 1, atol=1e-4):
        msg = f"codebook: samples must be (N, {_CATEGORIES}) with rows that sum to 1, "
        msg += f"got shape {samples.shape}"
        raise DataError(msg)
    roots = np.sqrt(samples)
    centres = _spread(roots, codes, seeds.stream(seed, "codebook"))
    for _ in range(_ITERATIONS):
        nearest = _affinity(roots, centres).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, roots)
        held = np.bincount(nearest, minlength=codes) > 0
        centres[held] = sums[held] / np.linalg.norm(sums[held], axis=1, keepdims=True)
    # Kept to float32, as it is stored, so that a loaded codebook gives the same prompts.
    squares = (centres**2).astype(np.float32).astype(np.float64)
    return Codebook(squares[np.lexsort(squares.T[::-1])])


def jsd(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return the Jensen-Shannon divergence, base 2, of the rows of p and q, shape (N,)."""
    middle = (p + q) / 2
    return np.maximum((_relative(p, middle) + _relative(q, middle)) / 2, 0.0)


def _relative(p: FloatArray, q: FloatArray) -> FloatArray:
    """Return Σ p·log2(p/q) over rows, with 0·log 0 = 0."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return (p * np.log2(ratio)).sum(axis=1)


def _affinity(rows: FloatArray, centres: FloatArray) -> FloatArray:
    """Return Σ √(p q), shape (N, K), summed category by category."""
    total = np.zeros((len(rows), len(centres)))
    for column in range(rows.shape[1]):
        total += rows[:, column, None] * centres[None, :, column]
    return total


def _spread(roots: FloatArray, codes: int, rng: np.random.Generator) -> FloatArray:
    """Choose the first centres by k-means++."""
    centres = np.empty((codes, roots.shape[1]))
    centres[0] = roots[rng.integers(len(roots))]
    far = np.full(len(roots), np.inf)
    for k in range(1, codes):
        far = np.minimum(far, ((roots - centres[k - 1]) ** 2).sum(axis=1))
        total = np.cumsum(far)
        pick = np.searchsorted(total, rng.random() * total[-1], side="right")
        centres[k] = roots[min(int(pick), len(roots) - 1)]
    return centres
