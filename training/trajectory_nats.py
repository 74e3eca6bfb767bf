"""Nats a word of travel patterns: the language model beside the Transformer and beside counting.

A word is a length token, a code or an end; what an answer could not be otherwise is no word. The
Transformer says the same words, but for one point: it gives the end a chance where it cannot be.
"""

from dataclasses import dataclass

import numpy as np
import torch

from raygen.models.trajectory_batches import TrajectoryData
from raygen.models.trajectory_codec import groups_of
from raygen.models.trajectory_planner import PatternTransformer
from raygen.models.trajectory_tokens import (
    CODE,
    FORCED,
    LENGTH,
    LENGTHS,
    NEXT_ROAD,
    ROAD,
    next_roads,
)
from raygen.models.trajectory_tokens import kinds as kinds_of
from raygen.network.graph import IntArray
from training.codec_task import chunks
from training.trajectory_pairs import Pairs


@dataclass(frozen=True)
class Nats:
    """Nats of some answers and their words, by what the words are: length, codes (with ends)."""

    sums: dict[str, float]
    counts: dict[str, int]

    @property
    def words(self) -> int:
        """Words of a pattern: length, codes and ends."""
        return sum(count for name, count in self.counts.items() if name != "roads")

    @property
    def a_word(self) -> float:
        """Nats a word of the patterns."""
        return sum(each for name, each in self.sums.items() if name != "roads") / self.words

    @property
    def a_road(self) -> float:
        """Nats a road of HTP+."""
        return self.sums["roads"] / self.counts["roads"]


@torch.no_grad()
def of_transformer(model: PatternTransformer, data: TrajectoryData) -> Nats:
    """Return the nats of trajectories under the Transformer without a language model."""
    sums = {"length": 0.0, "codes": 0.0}
    counts = {"length": 0, "codes": 0}
    layers = len(model.sizes)
    for rows in chunks(data):
        batch = data.batch(rows)
        found = model(batch, 1.0)
        groups = int(groups_of(batch["length"]).sum())
        sums["length"] += float(found["length"]) * len(rows)
        sums["codes"] += float(found["codes"]) * groups * layers + float(found["end"]) * len(rows)
        counts["length"] += len(rows)
        counts["codes"] += groups * layers + len(rows)
    return Nats(sums, counts)


def of_counting(known: Pairs, told: Pairs) -> Nats:
    """Return the nats of answers by how often each word was said elsewhere, one added to each.

    Roads that follow a road are drawn evenly.
    """
    size = known.words.size
    seen: dict[int, IntArray] = {}
    for answer in known.answers:
        said = answer - known.own
        kinds = kinds_of(known.words, said)
        for kind in np.unique(kinds).tolist():
            here = np.bincount(said[kinds == kind], minlength=size)
            seen[kind] = seen[kind] + here if kind in seen else here
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for answer in told.answers:
        said = answer - told.own
        kinds = kinds_of(told.words, said)
        for kind in np.unique(kinds[kinds != FORCED]).tolist():
            words = said[kinds == kind]
            lost = _even(told, said) if kind == NEXT_ROAD else _counted(known, kind, seen, words)
            name = "length" if kind == LENGTH else "codes" if kind >= CODE else "roads"
            sums[name] = sums.get(name, 0.0) + lost
            counts[name] = counts.get(name, 0) + len(words)
    return Nats(sums, counts)


def _even(told: Pairs, said: IntArray) -> float:
    """Return the nats of a route whose next road is any that follows."""
    if told.follows is None:
        return 0.0
    return float(sum(np.log(len(some)) for some in next_roads(told.words, said, told.follows)))


def _counted(known: Pairs, kind: int, seen: dict[int, IntArray], words: IntArray) -> float:
    """Return the nats of words of a kind by their counts."""
    vocabulary = known.words
    if kind == LENGTH:
        allowed = vocabulary.length_at + np.arange(LENGTHS)
    elif kind == ROAD:
        allowed = np.arange(vocabulary.roads)
    else:
        layer = (kind - CODE) // 2
        allowed = vocabulary.code_at[layer] + np.arange(vocabulary.codebooks[layer])
        if kind == CODE + 1:
            allowed = np.append(allowed, vocabulary.boundary_at + 3)
    counts = seen.get(kind, np.zeros(vocabulary.size, dtype=np.int64)) + 1
    return -float(np.log(counts[words] / counts[allowed].sum()).sum())
