"""Joined days of random households keep the rules, whatever was drawn."""

from itertools import pairwise

import householdrules
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raygen.households.kernel import COUNTERS, join
from raygen.stages.households import parts

HOUSEHOLDS = 40


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(1, 7))
def test_children_are_escorted_and_minded(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    size = rng.integers(1, most + 1, HOUSEHOLDS)
    start = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    age = rng.choice([1, 6, 9, 11, 13, 16, 17, 30, 40, 70], start[-1]).astype(np.int64)
    part = parts(age, start)
    chains = householdrules.random_days(age, rng)
    drawn = chains.copy()
    place, escort, counts = join(start, part, chains, rng.gumbel(size=chains.shape))
    assert counts[COUNTERS.index("unsolved")] == 0
    for first, stop in pairwise(start.tolist()):
        rows = range(first, stop)
        assert not householdrules.faults(part, chains, place, escort, rows)
        if not (part[rows] == 0).any():
            np.testing.assert_array_equal(chains[rows], drawn[rows])
