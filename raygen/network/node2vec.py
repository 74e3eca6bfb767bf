"""Node2vec on the graph of segments: vectors that are alike where segments are near each other.

Grover and Leskovec, "node2vec: scalable feature learning for networks", KDD 2016; HTP (Zhou et al.,
KDD 2026) takes it for the embedding of road segments. Walks go from a segment to one that begins
where it ends, biased by p and q; skip-gram with negative samples learns from them. One thread and
numbers hashed from a key: the same network, settings and seed give the same bytes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from raygen import seeds
from raygen.errors import DataError
from raygen.network.graph import IntArray, RoadNetwork, RowArray

Float32Array = npt.NDArray[np.float32]

_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_POWER = 0.75  # of the counts by which negative samples are drawn (Mikolov et al. 2013)


@dataclass(frozen=True)
class Node2vecSettings:
    """Walks and skip-gram."""

    width: int = 128
    """Of a vector."""
    walks: int = 4
    """From each segment."""
    steps: int = 20
    """Segments of a walk."""
    window: int = 3
    """Segments before and behind that are context."""
    negatives: int = 4
    """Negative samples of each pair."""
    p: float = 1.0
    """Return parameter."""
    q: float = 1.0
    """In-out parameter."""
    rate: float = 0.025
    """Learning rate at the begin; falls to a hundredth."""

    def __post_init__(self) -> None:
        """Refuse what cannot be walked."""
        whole = (self.width, self.walks, self.steps, self.window, self.negatives)
        if min(whole) < 1 or min(self.p, self.q, self.rate) <= 0:
            msg = f"node2vec: all settings must be positive, got {self}"
            raise DataError(msg)


def successors(network: RoadNetwork) -> tuple[IntArray, RowArray]:
    """Return the segments that follow each one: those of e are ``rows[at[e]:at[e + 1]]``."""
    order = np.argsort(network.tail, kind="stable").astype(np.int32)
    begin = np.searchsorted(network.tail[order], np.arange(network.nodes + 1))
    count = np.diff(begin)[network.head]
    at = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    where = np.repeat(begin[:-1][network.head] - at[:-1], count) + np.arange(at[-1])
    return at, order[where]


def node2vec(network: RoadNetwork, settings: Node2vecSettings, seed: int) -> Float32Array:
    """Return a vector for each segment, shape (E, width).

    Parameters
    ----------
    network
        E segments.
    settings
        Walks and skip-gram.
    seed
        Of the walks, the first vectors and the negative samples.
    """
    at, rows = successors(network)
    word = int(seeds.key(seed, "network:node2vec")[0])
    walked = _walks(at, rows, (settings.walks, settings.steps, settings.p, settings.q), word)
    count = np.bincount(walked[walked >= 0], minlength=network.segments).astype(np.float64)
    chance = np.cumsum(count**_POWER)
    begin = seeds.stream(seed, "network:node2vec:begin")
    vectors = (begin.random((network.segments, settings.width)) - 0.5) / settings.width
    trained = vectors.astype(np.float32)
    numbers = (settings.window, settings.negatives, settings.rate)
    _skip_gram(walked, chance / chance[-1], numbers, word, trained)
    return trained


@njit(cache=True, nogil=True)
def _uniform(word: Any, counter: Any) -> float:  # noqa: ANN401  (compiled: uint64)
    """Return a number in [0, 1) by a key and a counter: splitmix64 (Steele et al. 2014)."""
    mixed = np.uint64(word) + np.uint64(counter) * np.uint64(_MIX[0])
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(_MIX[1])
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(_MIX[2])
    mixed ^= mixed >> np.uint64(31)
    return float(mixed >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def _walks(at: Any, rows: Any, numbers: Any, word: int) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    """Walk from every segment in turn; -1 behind a dead end; (walks · E, steps)."""
    walks, steps, p, q = numbers
    segments = len(at) - 1
    found = np.full((walks * segments, steps), -1, np.int32)
    for walk in range(walks * segments):
        now, before = walk % segments, -1
        found[walk, 0] = now
        for step in range(1, steps):
            low, high = at[now], at[now + 1]
            if low == high:
                break
            total = 0.0
            for k in range(low, high):
                total += _bias(at, rows, before, rows[k], p, q)
            mark = _uniform(word, walk * steps + step) * total
            k = low
            mark -= _bias(at, rows, before, rows[k], p, q)
            while mark >= 0.0 and k + 1 < high:
                k += 1
                mark -= _bias(at, rows, before, rows[k], p, q)
            before, now = now, rows[k]
            found[walk, step] = now
    return found


@njit(cache=True, nogil=True)
def _bias(at: Any, rows: Any, before: int, to: int, p: float, q: float) -> float:  # noqa: ANN401  (compiled: NumPy arrays)
    """Return the weight of a step: 1 / p back, 1 to what also follows the one before, 1 / q on."""
    if before < 0:
        return 1.0
    if to == before:
        return 1.0 / p
    for k in range(at[before], at[before + 1]):
        if rows[k] == to:
            return 1.0
    return 1.0 / q


@njit(cache=True, nogil=True)
def _skip_gram(walked: Any, chance: Any, numbers: Any, word: int, vectors: Any) -> None:  # noqa: ANN401  (compiled: NumPy arrays)
    """Learn the vectors in place, by stochastic gradient descent in the order of the walks."""
    window, negatives, rate = numbers
    context = np.zeros_like(vectors)
    change = np.empty(vectors.shape[1], np.float32)
    counter = np.uint64(1) << np.uint64(62)
    for walk in range(len(walked)):
        now = np.float32(rate * max(0.01, 1.0 - walk / len(walked)))
        for middle in range(walked.shape[1]):
            centre = walked[walk, middle]
            if centre < 0:
                break
            for other in range(max(0, middle - window), min(walked.shape[1], middle + window + 1)):
                if other == middle or walked[walk, other] < 0:
                    continue
                change[:] = 0.0
                for sample in range(negatives + 1):
                    to, wanted = walked[walk, other], np.float32(1.0)
                    if sample > 0:
                        counter += np.uint64(1)
                        to = np.searchsorted(chance, _uniform(word, counter), side="right")
                        wanted = np.float32(0.0)
                        if to == walked[walk, other]:
                            continue
                    _learn(vectors[centre], context[to], change, wanted, now)
                vectors[centre] += change


@njit(cache=True, nogil=True)
def _learn(vector: Any, context: Any, change: Any, wanted: Any, rate: Any) -> None:  # noqa: ANN401  (compiled: NumPy arrays)
    product = np.float32(0.0)
    for k in range(len(vector)):
        product += vector[k] * context[k]
    slope = rate * (wanted - np.float32(1.0) / (np.float32(1.0) + np.exp(-product)))
    for k in range(len(vector)):
        change[k] += slope * context[k]
        context[k] += slope * vector[k]
