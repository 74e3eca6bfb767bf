"""Days of which only parts are known, compared by their transitions.

DataFusion compares incomplete GPS days with complete synthetic ones by activity type, start and end
(Ma et al., arXiv:2503.15779, Table 4) and does not say how a chain with holes is counted. Here what
counts are transitions: slots that are known, with another type known in the slot before. One hides
about as often as the other, whatever its type, so that holes do not bias the histograms; on whole
days they are those of ``raygen.metrics`` but for the activity that begins the day.

type        of the activity that begins, 15 bins
start_time  of activities away from home, by hours
end_time    of activities away from home that another follows, by hours
"""

import numpy as np
import numpy.typing as npt

from raygen.metrics import jsd
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SLOTS

Chains = npt.NDArray[np.int8]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

UNKNOWN = -1

COMPARED = ("type", "start_time", "end_time")
"""The columns of DataFusion's Tables 4 and 7."""

_HOUR = 4  # slots


def transition_histograms(
    chains: Chains, counted: BoolArray, weight: FloatArray | None = None
) -> dict[str, FloatArray]:
    """Count the transitions of days.

    Parameters
    ----------
    chains
        Activity types or ``UNKNOWN``, shape (N, 96).
    counted
        Slots at which a transition counts, shape (96,).
    weight
        Of the days (N); equal where not given.

    Returns
    -------
    histograms
        By name of ``COMPARED``.
    """
    days = np.ones(len(chains)) if weight is None else weight
    before, after = chains[:, :-1], chains[:, 1:]
    changes = (before != after) & (before != UNKNOWN) & (after != UNKNOWN) & counted[1:]
    day, slot = np.nonzero(changes)
    old, new, each = before[day, slot], after[day, slot], days[day]
    starts, ends = new != HOME, old != HOME
    hours = SLOTS // _HOUR
    counts = {
        "type": np.bincount(new, each, len(ACTIVITY_TYPES)),
        "start_time": np.bincount((slot[starts] + 1) // _HOUR, each[starts], hours),
        "end_time": np.bincount(slot[ends] // _HOUR, each[ends], hours),
    }
    return {name: values.astype(np.float64) for name, values in counts.items()}


def transition_divergences(
    real: Chains,
    generated: Chains,
    counted: BoolArray,
    weights: tuple[FloatArray | None, FloatArray | None] = (None, None),
) -> dict[str, float]:
    """Return the JSD of each of ``COMPARED``, base 2; chains (N, 96) and (M, 96) and their weights.

    Raises
    ------
    ValueError
        If either side shows no transition away from home.
    """
    left = transition_histograms(real, counted, weights[0])
    right = transition_histograms(generated, counted, weights[1])
    return {name: jsd(left[name], right[name]) for name in COMPARED}
