import numpy as np
import pytest

from raygen.models.masks import MASK_DRAWS, keyed_mask, masked_share, paper_mask
from raygen.taxonomy import SLOTS


def days(rows: int) -> np.ndarray:
    chains = np.zeros((rows, SLOTS), np.int8)
    chains[:, 30:62] = 1
    chains[:, 70:76] = 4
    return chains


def test_phases_of_the_paper():
    shares = [masked_share(p) for p in (0.0, 0.09, 0.1, 0.39, 0.4, 0.99, 1.0)]
    assert shares == [0.0, 0.0, 0.4, 0.4, 0.7, 0.7, 0.7]


@pytest.mark.parametrize("share", [0.0, 0.4, 0.7])
def test_masks_hide_about_their_share(share):
    hidden = paper_mask(days(3000), share, np.random.default_rng(0))
    # Whole activities overshoot: the run that reaches the share is hidden to its end.
    assert share - 0.03 <= hidden.mean() <= share + 0.2 * (share > 0)


def test_each_of_the_three_maskings_occurs():
    hidden = paper_mask(days(600), 0.4, np.random.default_rng(0))
    chains = days(600)
    changes = (hidden[:, 1:] != hidden[:, :-1]).sum(1)
    inside = chains[:, 1:] == chains[:, :-1]
    by_activity = ~((hidden[:, 1:] != hidden[:, :-1]) & inside).any(1)
    scattered = changes > 25
    periods = ~by_activity & ~scattered
    for kind in (by_activity, scattered, periods):
        assert 130 < kind.sum() < 270  # a third of 600, sd 11.5, and a few that look alike


def test_a_mask_depends_on_its_own_draws_alone():
    uniform = np.random.default_rng(0).random((30, MASK_DRAWS))
    whole = keyed_mask(days(30), 0.7, uniform)
    assert np.array_equal(whole[7:19], keyed_mask(days(12), 0.7, uniform[7:19]))
