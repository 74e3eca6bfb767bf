"""Mobility of a city as data: its regions, and person-days as sequences of arrivals.

A day is a run-length code: entry 0 is the region where it starts, entry k the region that the k-th
arrival leads to, each with the half-hour slot of arrival. Observed days come from
``raygen.geolife``, synthesised ones from ``raygen.mobility_synthesis``.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from raygen.errors import DataError
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES

PADDING = -1
"""Region and slot of an entry beyond the end of a day."""


@dataclass(frozen=True)
class Regions:
    """R regions of one city, as far as the mobility models need them."""

    name: str
    """Name of the city."""
    region_id: npt.NDArray[np.uint64]
    """H3 cells, shape (R,)."""
    poi: npt.NDArray[np.float32]
    """POI distributions, shape (R, 14), rows sum to 1."""
    xy: npt.NDArray[np.float64]
    """Centres in projected metres, shape (R, 2)."""
    mass: npt.NDArray[np.float64]
    """How much goes on in a region, > 0, shape (R,): the prior of the decoder, up to a factor."""
    provenance: dict[str, str]
    """Word of ``raygen.taxonomy.PROVENANCE`` and source, by column."""

    @property
    def digest(self) -> str:
        """SHA-256 of the region ids, in order."""
        return regions_digest(self.region_id)


@dataclass(frozen=True)
class Days:
    """N person-days of at most K entries."""

    region: npt.NDArray[np.int32]
    """Region row of each entry, shape (N, K); ``PADDING`` beyond the end."""
    slot: npt.NDArray[np.int8]
    """Half hours from the day's beginning to the arrival, 0 … 47, rising; shape (N, K);
    ``PADDING`` beyond the end."""
    kind: npt.NDArray[np.int8]
    """Activity type of each entry, shape (N, K); -1 where it is unknown or beyond the end."""
    cut: int
    """Days that had more than K entries and lost the last ones."""
    begins: int = 0
    """Half hour of the city's clock at which the days begin."""

    @property
    def clock(self) -> npt.NDArray[np.int8]:
        """Half-hour slot of the city's clock of each arrival, shape (N, K), as ``slot``."""
        told = (self.slot + self.begins) % PLAN_SLOTS
        return np.where(self.slot >= 0, told, PADDING).astype(np.int8)

    @property
    def length(self) -> npt.NDArray[np.int64]:
        """Entries of each day, shape (N,)."""
        return (self.region >= 0).sum(axis=1)

    def take(self, rows: npt.NDArray[np.int64]) -> "Days":
        """Return the days of these rows."""
        return replace(self, region=self.region[rows], slot=self.slot[rows], kind=self.kind[rows])


def regions_digest(region_id: npt.NDArray[np.uint64]) -> str:
    """Return the SHA-256 of a city's region ids, in order."""
    return hashlib.sha256(np.ascontiguousarray(region_id, dtype="<u8").tobytes()).hexdigest()


def check_regions(regions: Regions) -> None:
    """Raise DataError unless shapes agree and POI distributions and masses are what they say."""
    count = len(regions.region_id)
    if regions.poi.shape != (count, len(POI_CATEGORIES)):
        msg = f"regions of {regions.name}: poi must be ({count}, {len(POI_CATEGORIES)}), "
        msg += f"got {regions.poi.shape}"
        raise DataError(msg)
    wrong = np.flatnonzero(~np.isclose(regions.poi.sum(axis=1), 1.0, atol=1e-3))
    if len(wrong):
        msg = f"regions of {regions.name}: poi: {len(wrong)} rows do not sum to 1, first {wrong[0]}"
        raise DataError(msg)
    if not (regions.mass > 0).all():
        msg = f"regions of {regions.name}: mass must be > 0, got {regions.mass.min()}"
        raise DataError(msg)


def runs(
    codes: npt.NDArray[np.integer], entries: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Run-length code rows of clock slots.

    Parameters
    ----------
    codes
        Place, region or type under way in each slot, shape (N, T).
    entries
        Most runs to keep of a row, K.

    Returns
    -------
    code, start, cut
        Code and first slot of each run, shape (N, K), ``PADDING`` beyond the last; rows that had
        more runs.
    """
    first = np.ones(codes.shape, dtype=bool)
    first[:, 1:] = codes[:, 1:] != codes[:, :-1]
    order = first.cumsum(axis=1) - 1
    row, column = np.nonzero(first & (order < entries))
    place = order[row, column]
    code = np.full((len(codes), entries), PADDING, dtype=np.int64)
    start = np.full((len(codes), entries), PADDING, dtype=np.int64)
    code[row, place] = codes[row, column]
    start[row, place] = column
    return code, start, int((order[:, -1] >= entries).sum())


def by_slot(days: Days) -> Days:
    """Return days with an entry for each of the 48 slots, as UniMob has them, not each arrival."""
    region = expand(days)
    slot = np.broadcast_to(np.arange(PLAN_SLOTS, dtype=np.int8), region.shape).copy()
    slots = np.where(days.slot < 0, PLAN_SLOTS, days.slot).astype(np.int64)
    entry = (slots[:, :, None] <= np.arange(PLAN_SLOTS)).sum(axis=1).clip(min=1) - 1
    kind = np.take_along_axis(days.kind, entry, axis=1)
    return Days(region, slot, kind, days.cut, days.begins)


def expand(days: Days) -> npt.NDArray[np.int32]:
    """Return the region under way in each of the 48 slots, shape (N, 48); undoes ``runs``."""
    clock = np.arange(PLAN_SLOTS)
    slot = np.where(days.slot < 0, PLAN_SLOTS, days.slot).astype(np.int64)
    slot[:, 0] = 0
    entry = (slot[:, :, None] <= clock).sum(axis=1) - 1
    return np.take_along_axis(days.region, entry, axis=1)
