import numpy as np
import pytest

from raygen.taxonomy import SLOTS
from training.chain_masks import dyadic_views, masked_share, paper_mask


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


def test_views_are_the_states_of_generation():
    views = dyadic_views()
    assert [len(slots) for slots, _ in views] == [3, 5, 9, 17, 33, 65, 96]
    for (slots, asked), (coarser, _) in zip(views[1:], views, strict=False):
        assert slots[~asked].tolist() == coarser.tolist()
