"""Days of a week from one observed day: generation in several passes (DataFusion 6.1.3).

The observed day is hidden anew for each pass, with another mask, and completed: five weekdays and
two weekend days. What a pass does not hide is kept; with nothing hidden, a pass only completes.
"""

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.models.masks import MASK_DRAWS, keyed_mask
from raygen.stages.chains import DRAWS, UNKNOWN, ChainModels, complete_days

WEEK = 7
"""Passes: five weekdays, then Saturday and Sunday."""

GENERATION_SHARE = 0.8
"""Share of a day that generation hides: the paper's "up to 80 %"."""


def week_of_days(
    models: ChainModels,
    observed: npt.NDArray[np.int8],
    people: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    seed: int,
    share: float = GENERATION_SHARE,
) -> npt.NDArray[np.int8]:
    """Generate a week from each person's observed day.

    Parameters
    ----------
    models
        See ``load_chain_models``.
    observed
        Activity types, ``UNKNOWN`` where not known, shape (N, 96); not changed.
    people
        Demographic group, student status, 1 for children under 15: shape (N, 3).
    ids
        Ids that the draws belong to, shape (N,).
    seed
        Root of the draws.
    share
        Share of the day that each pass hides; 0 completes only.

    Returns
    -------
    days
        Shape (N, 7, 96), Monday first.

    Raises
    ------
    DataError
        If shapes or types are wrong.
    """
    days = np.empty((len(observed), WEEK, observed.shape[1]), np.int8)
    for week_day in range(WEEK):
        hidden = keyed_mask(
            observed, share, seeds.uniforms(seed, f"pass-mask:{week_day}", ids, MASK_DRAWS)
        )
        days[:, week_day] = complete_days(
            models,
            np.where(hidden, np.int8(UNKNOWN), observed),
            people,
            np.full(len(observed), week_day),
            seeds.uniforms(seed, f"pass:{week_day}", ids, DRAWS),
        )
    return days
