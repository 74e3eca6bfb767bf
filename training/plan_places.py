"""POI distributions for the planner's training: what a place looks like where people do something.

The survey says why people stop and not where. A stop's POI distribution is drawn from an ensemble
of synthesised regions (Dirichlet around assumed shares of an ordinary city, from mixed to single
use). A region attracts an activity type as its POIs do: P(region | type) ∝ Σ_c poi(region, c) ·
P(type | c). Half of a purpose's places are such regions; half are semantic plans as the fusion
makes them, poi ⊙ P(c | type) renormalised, since the planner is asked with those next.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.city_files.poi_types import type_given_category
from raygen.models.codebook import Codebook
from raygen.survey import PURPOSES
from raygen.taxonomy import ACTIVITY_TYPES, POI_CATEGORIES

FloatArray = npt.NDArray[np.float64]

SHARES: dict[str, float] = {
    "transportation": 0.09,
    "companies": 0.16,
    "residential": 0.14,
    "automotive": 0.05,
    "education": 0.06,
    "sports": 0.03,
    "financial": 0.03,
    "leisure": 0.06,
    "healthcare": 0.05,
    "tourism": 0.02,
    "life_services": 0.09,
    "shopping": 0.12,
    "hotels": 0.02,
    "dining": 0.08,
}
"""Share of each category among the POIs of an ordinary city (assumed); they sum to 1."""

_REGIONS = 4000  # synthesised regions of the ensemble
_PLACES = 2000  # places drawn for a purpose
_SHARPNESS = (2.0, 80.0)  # Dirichlet concentrations, log-uniform between a hamlet's and a centre's


@dataclass(frozen=True)
class Places:
    """POI distributions by purpose of the survey (1 to 6, at index 0 to 5)."""

    ensemble: FloatArray
    """The regions, shape (E, 14)."""

    of_purpose: FloatArray
    """Places of a purpose, shape (6, P, 14): regions first, then semantic plans."""

    @property
    def mean(self) -> FloatArray:
        """Mean POI distribution of a purpose's places, shape (6, 14): the POI target."""
        return self.of_purpose.mean(axis=1)


def shares() -> FloatArray:
    """Return SHARES as a vector in the order of POI_CATEGORIES, shape (14,)."""
    return np.array([SHARES[word] for word in POI_CATEGORIES])


def category_given_type() -> FloatArray:
    """Return P(POI category | activity type) by Bayes from the tag table and SHARES, (15, 14)."""
    joint = type_given_category().T * shares()
    return joint / joint.sum(axis=1, keepdims=True)


def places(seed: int) -> Places:
    """Draw the ensemble and the places of every purpose from the seed."""
    rng = seeds.stream(seed, "plan-places")
    ensemble = _synthesise(rng)
    given = type_given_category()
    by_type = category_given_type()
    found: list[FloatArray] = []
    for words in PURPOSES.values():
        types = [ACTIVITY_TYPES.index(word) for word in words]
        attraction = ensemble @ given[:, types].sum(axis=1)
        drawn = ensemble[rng.choice(_REGIONS, size=_PLACES, p=attraction / attraction.sum())]
        plans = drawn[_PLACES // 2 :] * by_type[rng.choice(types, size=_PLACES - _PLACES // 2)]
        plans /= plans.sum(axis=1, keepdims=True)
        found.append(np.concatenate([drawn[: _PLACES // 2], plans]))
    return Places(ensemble=ensemble, of_purpose=np.stack(found))


def code_shares(places: FloatArray, codebook: Codebook) -> FloatArray:
    """Return P(code | purpose), shape (6, K), rows sum to 1."""
    codes = codebook.nearest(places.reshape(-1, places.shape[2])).reshape(len(places), -1)
    counts = np.stack([np.bincount(row, minlength=len(codebook.codes)) for row in codes])
    return counts / counts.sum(axis=1, keepdims=True)


def _synthesise(rng: np.random.Generator) -> FloatArray:
    low, high = np.log(_SHARPNESS)
    sharpness = np.exp(rng.uniform(low, high, size=_REGIONS))
    gamma = rng.gamma(sharpness[:, None] * shares(), size=(_REGIONS, len(POI_CATEGORIES)))
    gamma += 1e-6
    return gamma / gamma.sum(axis=1, keepdims=True)
