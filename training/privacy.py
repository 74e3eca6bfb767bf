"""What generated days give away of the training days: UniMob 4.5, Figure 8.

Uniqueness. Similarity of a generated day to the training days nearest to it, 1 − Levenshtein
distance / 48, averaged over the nearest 1, 3 and 5. The floor: real held-out days in place of
the generated ones. Nobody copied those, so that a generator which does not copy either is as near.

Membership inference, in the form of Yuan et al., "Generating daily activities with need dynamics",
ACM TIST 15, 2024, and Cao et al., "STAGE", IJGIS 2024: random forest, multi-layer perceptron and
logistic regression tell training days (members) from held-out days by how they relate to the
generated ones. Neither paper prints its features. Ours, of a candidate day against the generated
days: its similarity to the nearest, 3 and 5 nearest of them; their share of the same place in the
same half-hour (mean, least); how common its places and its moves are among theirs (mean and least
logarithm); and of the day alone, its places and moves. The attacker is given the membership of half
of the candidates, more than any outsider has, and attacks the other half; as many of each kind.
Success is the share told right; 0.5 is guessing. The floor is the same attack on days of the held
-out part that are no candidates, the ceiling that on the training days themselves.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from raygen import seeds
from raygen.edit_distance import nearest_similarities
from raygen.errors import DataError
from raygen.taxonomy import PLAN_SLOTS

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Clock = npt.NDArray[np.int32]

NEAREST = (1, 3, 5)
"""Numbers of nearest days that similarities are averaged over."""

CLASSIFIERS = ("RF", "MLP", "LR")

_LEAST_CANDIDATES = 20
_FOLDS = 3
_SEEN = 1e-6


@dataclass(frozen=True)
class Attack:
    """Success of one classifier."""

    accuracy: float
    """Share of attacked candidates told right; half of them are members."""
    area: float
    """Area under the receiver operating characteristic."""


def uniqueness(generated: Clock, train: Clock) -> FloatArray:
    """Return the mean similarity of each day to its nearest 1, 3 and 5 training days.

    Parameters
    ----------
    generated, train
        Region row of each half-hour, shapes (M, 48) and (N, 48), N ≥ 5.

    Returns
    -------
    similarity
        Shape (M, 3), in 0…1.
    """
    near = nearest_similarities(generated, train, max(NEAREST)).astype(np.float64)
    return np.column_stack([near[:, :count].mean(axis=1) for count in NEAREST])


def membership(train: Clock, held_out: Clock, generated: Clock, seed: int) -> dict[str, Attack]:
    """Attack generated days by telling which candidates they were fitted to.

    Parameters
    ----------
    train, held_out
        Members and others, shapes (N, 48) and (H, 48); as many of each are drawn, at least 20.
    generated
        What the attacker sees, shape (M, 48), M ≥ 5.
    seed
        Root of the draw of candidates and of the classifiers.

    Returns
    -------
    attacks
        By name of ``CLASSIFIERS``: means over three splits of the candidates into halves.

    Raises
    ------
    DataError
        If there are too few days for candidates.
    """
    count = min(len(train), len(held_out))
    if count < _LEAST_CANDIDATES:
        msg = f"membership: at least {_LEAST_CANDIDATES} members and others, got {count}"
        raise DataError(msg)
    rng = seeds.stream(seed, "membership")
    members = train[rng.permutation(len(train))[:count]]
    others = held_out[rng.permutation(len(held_out))[:count]]
    given = features(np.concatenate([members, others]), generated)
    label = np.arange(2 * count) < count
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CLASSIFIERS}
    for fold in range(_FOLDS):
        known = _half(count, rng)
        for name, model in _classifiers(int(rng.integers(2**31)), fold).items():
            model.fit(given[known], label[known])
            chance = model.predict_proba(given[~known])[:, 1]
            told = ((chance > 0.5) == label[~known]).mean()  # noqa: PLR2004 - the likelier of two
            found[name].append((float(told), float(roc_auc_score(label[~known], chance))))
    return {name: Attack(*np.mean(values, axis=0).tolist()) for name, values in found.items()}


def features(days: Clock, generated: Clock) -> FloatArray:
    """Return what the attacker computes of days (N, 48) against generated ones, shape (N, 11)."""
    near = nearest_similarities(days, generated, max(NEAREST)).astype(np.float64)
    places = 1 + max(int(days.max()), int(generated.max()))
    at_slot = _shares(_at_slot(generated), _at_slot(days))
    visited = np.log(_shares(generated, days) + _SEEN)
    moved = np.log(_shares(_moves(generated, places), _moves(days, places)) + _SEEN)
    ordered = np.sort(days, axis=1)
    return np.column_stack(
        [
            *(near[:, :count].mean(axis=1) for count in NEAREST),
            at_slot.mean(axis=1),
            at_slot.min(axis=1),
            visited.mean(axis=1),
            visited.min(axis=1),
            moved.mean(axis=1),
            moved.min(axis=1),
            (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1),
            (days[:, 1:] != days[:, :-1]).sum(axis=1),
        ]
    ).astype(np.float64)


def _half(count: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Return which of ``count`` members and as many others are known to the attacker."""
    parts = [rng.permutation(count) < count // 2 for _ in range(2)]
    return np.concatenate(parts)


def _classifiers(seed: int, fold: int) -> dict[str, Pipeline]:
    found = {
        "RF": RandomForestClassifier(100, min_samples_leaf=5, random_state=seed + fold),
        "MLP": MLPClassifier(
            (32,),
            alpha=1e-2,
            learning_rate_init=1e-2,
            early_stopping=True,
            random_state=seed + fold,
        ),
        "LR": LogisticRegression(max_iter=1000),
    }
    return {name: make_pipeline(StandardScaler(), model) for name, model in found.items()}


def _at_slot(days: Clock) -> IntArray:
    return days.astype(np.int64) * PLAN_SLOTS + np.arange(PLAN_SLOTS)


def _moves(days: Clock, places: int) -> IntArray:
    """Return a code of each pair of consecutive places, shape (N, 47)."""
    return days[:, :-1].astype(np.int64) * places + days[:, 1:]


def _shares(known: npt.NDArray[np.integer], asked: npt.NDArray[np.integer]) -> FloatArray:
    """Return how many of ``known``'s days' codes are the asked one, over its days."""
    codes, counts = np.unique(known, return_counts=True)
    place = np.minimum(np.searchsorted(codes, asked), len(codes) - 1)
    return np.where(codes[place] == asked, counts[place], 0) / len(known)
