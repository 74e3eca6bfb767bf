"""Perturbed costs, so that not everyone takes the same road.

Stochastic route choice by simulated perception (Sheffi, "Urban Transportation Networks", 1985,
chapter 11): each traveller minimises the time that they believe a road takes. Costs of one's own
for every trip would need a hierarchy for every trip; here there are ``flavours`` beliefs, one
hierarchy each, and a trip holds the one that its id draws. Flavour 0 knows the true times.
"""

from dataclasses import dataclass

import numpy as np

from raygen.errors import DataError
from raygen.network.graph import FloatArray, IntArray, RoadNetwork
from raygen.seeds import normals, uniforms

_MAX_FLAVOURS = 64


@dataclass(frozen=True)
class Taste:
    """How much travellers differ in what they believe of roads."""

    flavours: int = 8
    """Different beliefs, the true one included; 1: everyone takes the fastest road."""

    by_segment: float = 0.25
    """Standard deviation of the log of the belief's error, drawn for each segment. Assumed."""

    by_class: float = 0.1
    """The same, drawn for each class of road: some avoid motorways. Assumed."""

    stretch: float = 1.5
    """No route takes longer than this multiple of the fastest, at the speeds of its departure."""

    def __post_init__(self) -> None:
        """Refuse figures that mean nothing."""
        rules = {
            f"flavours must be 1 to 64, got {self.flavours}": 1 <= self.flavours <= _MAX_FLAVOURS,
            f"by_segment must be 0 to 2, got {self.by_segment}": 0 <= self.by_segment <= 2,  # noqa: PLR2004
            f"by_class must be 0 to 2, got {self.by_class}": 0 <= self.by_class <= 2,  # noqa: PLR2004
            f"stretch must be 1 to 10, got {self.stretch}": 1 <= self.stretch <= 10,  # noqa: PLR2004
        }
        for rule, kept in rules.items():
            if not kept:
                msg = f"taste: {rule}"
                raise DataError(msg)


def believed(network: RoadNetwork, taste: Taste, seed: int, flavour: int) -> FloatArray:
    """Return the factor on each segment's time that a flavour believes in, shape (E,).

    Factors lie between 1/√stretch and √stretch. A route that is the fastest under them takes at
    most ``stretch`` times as long as the fastest route: each end of the comparison loses one √.
    """
    if flavour == 0:
        return np.ones(network.segments)
    rows = np.arange(network.segments)
    own = normals(seed, f"network:taste:{flavour}:segment", rows, 1)[:, 0]
    kinds = network.highway.dictionary.to_pylist()
    # By word, not by number: a class has the same draw in every network. Its first seven letters
    # count, so that a class and its links share theirs.
    words = np.array([int.from_bytes(str(kind).encode()[:7], "big") for kind in kinds])
    of_class = normals(seed, f"network:taste:{flavour}:class", words, 1)[:, 0]
    shared = of_class[network.highway.indices.to_numpy()]
    bound = np.sqrt(taste.stretch)
    factor = np.exp(taste.by_segment * own + taste.by_class * shared)
    return np.clip(factor, 1 / bound, bound)


def flavour_of(trip_id: IntArray, taste: Taste, seed: int) -> IntArray:
    """Return the flavour of each trip: by its id alone, whatever else is in the batch."""
    ids, at = np.unique(trip_id, return_inverse=True)
    drawn = uniforms(seed, "network:flavour", ids, 1)[:, 0]
    return (drawn * taste.flavours).astype(np.int64)[at]
