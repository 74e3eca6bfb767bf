"""D_nmd of DataFusion's Algorithm 3: distance by type, sub-region of home and demographic group.

The pooled curve of a type and the differences between groups come from the travel survey
(``assignment.reference``: calibrated, the differences observed). How sub-regions of the city differ
no survey of the city tells: it follows from the destinations in reach (assumed), until
``assignment.refinement`` moves it to a target.
"""

import numpy as np
import numpy.typing as npt

from assignment.reference import Reference
from raygen.city import City

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

REACH_POWER, REACH_S = -0.2, 900.0
"""Elasticity of distance to the destinations within reach by car, and the decay of reach, seconds.
Assumed: −0.20 is the mean elasticity of vehicle distance to jobs in reach by car in Ewing and
Cervero, "Travel and the built environment", JAPA 76 (2010)."""


def distance_curves(city: City, reference: Reference, circuity: float) -> Float32Array:
    """Return P(D | type, sub-region of home, demographic group), shape (12 S, 15, Q), network km.

    The pooled curve of the type at the group's ranks (observed differences), times the sub-region's
    factor (``subregion_factors``: assumed) and the circuity.
    """
    points = np.linspace(0.0, 1.0, reference.distance_m.shape[1])
    known = np.linspace(0.0, 1.0, reference.group_rank.shape[2])
    by_group = np.empty((*reference.group_rank.shape[:2], len(points)))
    for group, kind in np.ndindex(*by_group.shape[:2]):
        rank = np.interp(points, known, reference.group_rank[group, kind])
        by_group[group, kind] = np.interp(rank, points, reference.distance_m[kind])
    factor = subregion_factors(city)
    km = factor[:, None, :, None] * by_group[None] * (circuity / 1000.0)
    return km.reshape(-1, *by_group.shape[1:]).astype(np.float32)


def subregion_factors(city: City) -> FloatArray:
    """Return how much longer the trips of a sub-region's people are for each type, shape (S, 15).

    Distance falls with the destinations in reach: factor = (reach / mean reach)^``REACH_POWER``,
    reach of a home zone being its attraction within ``REACH_S`` of decay by car. Mean over people
    is 1. Factors are kept within a half and double.
    """
    people = city.population.astype(np.float64)
    decay = np.exp(-city.free_time_s.astype(np.float64) / REACH_S)
    reach = np.maximum(decay @ city.attraction.T.astype(np.float64), 1e-12)
    member = np.eye(len(city.subregion_names))[city.subregion.astype(np.int64)]
    inhabited = np.maximum(member.T @ people, 1e-12)
    power = (member.T @ (people[:, None] * reach**REACH_POWER)) / inhabited[:, None]
    mean = (inhabited[:, None] * power).sum(axis=0) / inhabited.sum()
    empty = (member.T @ people) <= 0
    return np.clip(np.where(empty[:, None], 1.0, power / mean), 0.5, 2.0)


def group_ranks(ranks: FloatArray, group: Int64Array, uniform: FloatArray) -> FloatArray:
    """Return draws as ranks among all persons: a group of short commutes draws low ranks."""
    known, out = np.linspace(0.0, 1.0, ranks.shape[1]), uniform.copy()
    for g in range(len(ranks)):
        mine = group == g
        out[mine] = np.interp(uniform[mine], known, ranks[g])
    return out
