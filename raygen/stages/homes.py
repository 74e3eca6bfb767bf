"""Homes moved between sub-regions, so that flows begin where an observed matrix has them begin.

The population of a zone is a control, met by the fit. Where a run is refined to flows with
``assignment.refinement.origins``, a household of a sub-region that has too many people for the
flows moves with the chance that leaves the right number, to one that has too few: as few move as
can. Its zone there is drawn in proportion to the zones' households. Who it is does not change.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen import schema, seeds
from raygen.city import City
from raygen.errors import DataError

FloatArray = npt.NDArray[np.float64]

_BELOW_ONE = np.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class HomeMoves:
    """Chances to move; S sub-regions."""

    chance: FloatArray
    """Where a household of a sub-region (row) lives afterwards, shape (S, S); rows sum to 1."""

    @property
    def moved(self) -> FloatArray:
        """Return the share of each sub-region's households that leave it, shape (S,)."""
        return 1.0 - np.diag(self.chance)


def home_moves(city: City, factor: FloatArray) -> HomeMoves:
    """Return the moves that multiply the people of each sub-region.

    Parameters
    ----------
    city
        Its households by zone tell how many there are.
    factor
        By sub-region, shape (S,), >= 0; scaled so that nobody is lost.

    Raises
    ------
    DataError
        If a factor is negative or not finite, or nobody would be left.
    """
    size = len(city.subregion_names)
    here = np.bincount(city.subregion, city.households, size).astype(np.float64)
    if not (np.isfinite(factor).all() and (factor >= 0).all() and (here * factor).sum() > 0):
        msg = f"homes: factors must be finite and >= 0, not all zero, got {factor.tolist()}"
        raise DataError(msg)
    wanted = here * factor * (here.sum() / (here * factor).sum())
    stay = np.where(here > 0, np.minimum(1.0, wanted / np.maximum(here, 1e-300)), 1.0)
    lack = np.maximum(wanted - here, 0.0)
    chance = (1.0 - stay)[:, None] * (lack / max(lack.sum(), 1e-300))[None, :]
    return HomeMoves(chance + np.diag(1.0 - chance.sum(axis=1)))


def move_homes(households: pa.Table, city: City, moves: HomeMoves, seed: int) -> pa.Table:
    """Return households of which some live elsewhere.

    Parameters
    ----------
    households
        Schema HOUSEHOLDS; not changed.
    city, moves
        The city and its moves.
    seed
        The run's seed. The draws belong to the household's id, whatever else is in the table.
    """
    ids = households.column("household_id").to_numpy()
    order = np.argsort(city.zone_id)
    zone = order[np.searchsorted(city.zone_id[order], households.column("home_zone_id").to_numpy())]
    draws = seeds.uniforms(seed, "homes", ids, 5)
    before = city.subregion[zone].astype(np.int64)
    after = _drawn(np.cumsum(moves.chance, axis=1)[before], draws[:, 0])
    gone = np.flatnonzero(after != before)
    zone = zone[gone]
    for number in np.unique(after[gone]):
        rows = np.flatnonzero(after[gone] == number)
        there = np.flatnonzero(city.subregion == number)
        rank = np.cumsum(city.households[there].astype(np.float64))
        zone[rows] = there[_drawn(rank[None] / rank[-1], draws[gone[rows], 1])]
    lon, lat = city.to_lonlat(city.sample_points(zone.astype(np.int32), draws[gone, 2:]))
    new = {"home_zone_id": city.zone_id[zone], "home_lon": lon, "home_lat": lat}
    for name, values in new.items():
        column = households.column(name).to_numpy().copy()
        column[gone] = values
        at = schema.HOUSEHOLDS.get_field_index(name)
        households = households.set_column(at, schema.HOUSEHOLDS.field(name), pa.array(column))
    return households


def _drawn(cumulated: FloatArray, uniform: FloatArray) -> npt.NDArray[np.int64]:
    """Return the first column of each row that passes a draw."""
    draw = np.minimum(uniform, _BELOW_ONE) * cumulated[:, -1]
    return (cumulated <= draw[:, None]).sum(axis=1)
