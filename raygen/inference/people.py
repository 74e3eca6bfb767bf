"""Who an anonymous person may be: the rules of DataFusion 6.1.1.

Who is seen at school is a student, who is else seen at work a worker; others are unclassified. Seen
is who has the place by a rule (``rules``): a stay that Bayes takes for work makes no worker, as the
paper leaves people unclassified rather than wrongly classified. The rules say no more than that:
sex and age, and all of the unclassified, are drawn from the shares of the survey's persons of that
kind (``temporal.json``, ``profile_shares``), by the person's id alone. The output says which rule
there was, so that drawn profiles can be left out.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen import seeds
from raygen.inference.temporal import PROFILE_CLASSES, Temporal
from raygen.stay_points.buckets import hashed
from raygen.taxonomy import SCHOOL, WORK

IntArray = npt.NDArray[np.int64]

PROFILES = ("worker", "student", "unclassified")
"""By which rule a person has a profile, in the order of ``temporal.PROFILE_CLASSES``."""

_LEAST_S = 3600  # an errand at an office or a school makes no worker and no student


def person_keys(ids: pa.Array) -> IntArray:
    """Return a number >= 0 of each person for ``raygen.seeds``, by the id alone, shape (N,)."""
    return (hashed(ids) >> np.uint64(1)).astype(np.int64)


def classify(
    owner: IntArray, kind: npt.NDArray[np.int8], seconds: IntArray, persons: int
) -> npt.NDArray[np.int8]:
    """Return the class of each person, an index into ``PROFILES``.

    Parameters
    ----------
    owner, kind, seconds
        Person, activity type by a rule (-1 without one) and duration of each stay, shape (S,).
        Stays under an hour do not count.
    persons
        How many there are, N.
    """
    long = seconds >= _LEAST_S
    works = np.bincount(owner[long & (kind == WORK)], minlength=persons) > 0
    learns = np.bincount(owner[long & (kind == SCHOOL)], minlength=persons) > 0
    return np.where(learns, 1, np.where(works, 0, 2)).astype(np.int8)


def draw_profiles(
    kind: npt.NDArray[np.int8], keys: IntArray, temporal: Temporal, seed: int
) -> IntArray:
    """Draw the profile of each person.

    Parameters
    ----------
    kind
        See ``classify``, shape (N,).
    keys
        See ``person_keys``, shape (N,).
    temporal
        Profiles and their shares by class.
    seed
        Of the run.

    Returns
    -------
    people
        Demographic group, student status, 1 for children under 15: shape (N, 3).
    """
    uniform = seeds.uniforms(seed, "inferred people", keys, 1)[:, 0]
    edges = np.cumsum(temporal.profile_shares, axis=1)
    row = np.empty(len(kind), np.int64)
    for code in range(len(PROFILE_CLASSES)):
        mine = kind == code
        row[mine] = np.searchsorted(edges[code] / edges[code, -1], uniform[mine], side="right")
    return temporal.profiles[row]
