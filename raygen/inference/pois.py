"""P(place | type): what the POIs around a point say.

A place that people visit for type T is a POI with probability c_T, and then POI j with probability
P(T | j) / N_T, where N_T = Σ_j P(T | j) over the city: with each POI visited alike, that is Bayes'
P(j | T). Else it is none of the POIs, and anywhere in the A square metres of the city that are
built up. Where the person is seen scatters about the place, so that distance decays as a Gaussian
in the plane, whose scale is the GPS noise and the extent of a POI together:

    P(x | T) = c_T · Σ_j P(T | j)/N_T · exp(−r_j²/2σ²)/2πσ² + (1 − c_T)/A,   σ² = gps²/n + extent²

The mean point of n visits has 1/n of the noise's variance. The second term is the background: with
no POI in reach, the place says nothing but that the type may be done away from POIs. N_T is what
distinguishes this from Σ P(T | j)·decay alone: one hospital next door says more than one of ten
thousand shops.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import shapely
from numba import njit
from scipy.spatial import KDTree

from raygen.city_fields import AT_HOMES
from raygen.city_files.projection import to_metres
from raygen.city_files.rules import annotation
from raygen.errors import DataError
from raygen.inference.settings import InferenceConfig
from raygen.taxonomy import ACTIVITY_TYPES, HOME

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ESCORTS_AT_HOMES = 0.19
"""Share of escorts' stops at other people's homes, where ``AT_HOMES`` has the children whom they
take there; of the stops of 2,000 generated people of Los Angeles County (seed 11), synthesised."""

_CELL_M = 500.0
_BATCH = 16_384  # points that are looked up at once


@dataclass(frozen=True)
class PoiIndex:
    """P POIs of a city in projected metres, made to be asked what is near a point."""

    tree: KDTree
    types: npt.NDArray[np.int8]
    """Top three activity types of each POI, shape (P, 3)."""
    probability: FloatArray
    """Their probabilities, shape (P, 3)."""
    mass: FloatArray
    """N_T, shape (15,)."""
    area_m2: float
    """A: of the squares of 500 m with a POI."""
    crs: str
    """Projected CRS in metres."""

    @property
    def count(self) -> int:
        """Number of POIs."""
        return len(self.types)


def poi_index(
    xy: FloatArray, types: npt.NDArray[np.int8], probability: FloatArray, crs: str
) -> PoiIndex:
    """Index POIs.

    Parameters
    ----------
    xy
        Metres in ``crs``, shape (P, 2).
    types, probability
        Top three activity types and their probabilities, shape (P, 3).
    crs
        Projected CRS.

    Raises
    ------
    DataError
        If there is no POI.
    """
    if len(xy) == 0:
        msg = "pois: activity inference needs a POI at least, got none"
        raise DataError(msg)
    mass = np.bincount(types.ravel(), probability.ravel(), len(ACTIVITY_TYPES)).astype(np.float64)
    squares = np.unique(np.floor(xy / _CELL_M).astype(np.int64), axis=0)
    # A built-up area of less than the reach of a POI would make the background a POI.
    return PoiIndex(KDTree(xy), types, probability, mass, len(squares) * _CELL_M**2, crs)


@lru_cache(maxsize=2)
def city_index(city: Path, crs: str) -> PoiIndex:
    """Return the index of the POIs of a city directory whose card names this CRS.

    Raises
    ------
    DataError
        If the city has no POIs.
    """
    table = pq.read_table(
        city / "pois.parquet", columns=["activity_types", "activity_probabilities", "geometry"]
    )
    if table.num_rows == 0:
        msg = f"{city / 'pois.parquet'}: activity inference needs a POI at least, got none"
        raise DataError(msg)
    types, probability = annotation(table)
    points = shapely.get_coordinates(shapely.from_wkb(table.column("geometry").to_numpy()))
    return poi_index(to_metres(points, crs), types, probability, crs)


def covered(index: PoiIndex, config: InferenceConfig) -> FloatArray:
    """Return c_T, shape (15,): how often a place visited for a type is one of the POIs."""
    share = np.full(len(ACTIVITY_TYPES), config.completeness)
    for word, at_homes in (*AT_HOMES.items(), ("pickup_drop", ESCORTS_AT_HOMES)):
        share[ACTIVITY_TYPES.index(word)] *= 1 - at_homes
    share[HOME] = config.home_pois
    share[index.mass <= 0] = 0.0
    return share


def log_place(
    index: PoiIndex, xy: FloatArray, visits: FloatArray, config: InferenceConfig
) -> FloatArray:
    """Return ln P(x | T) of points.

    Parameters
    ----------
    index
        POIs.
    xy
        Metres in the index's CRS, shape (M, 2).
    visits
        n of each point, shape (M,): how many positions it is the mean of.
    config
        Noise, extent, reach, completeness.

    Returns
    -------
    log_place
        Shape (M, 15), per square metre.
    """
    found = np.empty((len(xy), len(ACTIVITY_TYPES)))
    share = covered(index, config)
    weight = share / np.maximum(index.mass, 1e-12)
    variance = config.gps_noise_m**2 / visits + config.poi_extent_m**2
    reach = config.reach_sigmas * float(np.sqrt(config.gps_noise_m**2 + config.poi_extent_m**2))
    nearest = min(config.neighbours, index.count)
    for first in range(0, len(xy), _BATCH):
        part = slice(first, first + _BATCH)
        distance, poi = index.tree.query(xy[part], k=nearest, distance_upper_bound=reach)
        shape = (-1, nearest)
        found[part] = _mixture(
            np.reshape(distance, shape),
            np.reshape(poi, shape).astype(np.int64),
            (index.types, index.probability),
            (weight, (1 - share) / index.area_m2),
            variance[part],
        )
    return np.log(found)


@njit(cache=True, nogil=True)
def _mixture(
    distance: FloatArray,
    poi: IntArray,
    annotated: tuple[npt.NDArray[np.int8], FloatArray],
    factors: tuple[FloatArray, FloatArray],
    variance: FloatArray,
) -> FloatArray:
    """Return P(x | T), shape (M, 15); a POI that is not there has an infinite distance."""
    types, probability = annotated
    weight, background = factors
    out = np.empty((len(distance), len(weight)))
    for row in range(len(distance)):
        out[row] = background
        for near in range(distance.shape[1]):
            metres = distance[row, near]
            if not np.isfinite(metres):
                break
            decay = np.exp(-0.5 * metres * metres / variance[row])
            decay /= 2 * np.pi * variance[row]
            for rank in range(types.shape[1]):
                kind = types[poi[row, near], rank]
                out[row, kind] += weight[kind] * probability[poi[row, near], rank] * decay
    return out
