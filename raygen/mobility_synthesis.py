"""Person-days of a city synthesised from day chains: who has no traces still has places.

The home region is drawn by population; a work or school region once a day, any other place anew,
from P(r | type, from s) ∝ w_type(r) · exp(−d(s, r) / L_type), the exploration step of DensityEPR
(Pappalardo et al., "Human mobility modelling: exploration and preferential return meet the gravity
model", KDD 2016) with an exponential decay. w spreads a zone's attraction over its regions by
their P(category | type). The decay lengths L are assumed. Everything here is *synthesised*.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.city import City
from raygen.mobility import PADDING, Days, Regions, runs
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SCHOOL, WORK

_DECAY_M = {"work": 12_000.0, "school": 3_000.0, "social": 8_000.0, "leisure": 8_000.0}
_OTHER_DECAY_M = 5_000.0
_MIDDAY_STOP, _SECOND_OUTING = 0.3, 0.6  # shares of days, assumed
_CHUNK = 512  # days drawn at once: one distance matrix of chunk × R
_FLOOR = 0.02  # share of a type's weight that a region without its categories keeps


def regions_of(city: City) -> Regions:
    """Return the regions of a city; their mass is the attraction of all types that they hold."""
    weight = region_attraction(city)
    share = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-12)
    trips = np.array([3.0 if kind in (HOME, WORK) else 1.0 for kind in range(len(ACTIVITY_TYPES))])
    mass = trips @ share
    return Regions(
        name=city.name,
        region_id=city.region_id,
        poi=city.region_poi,
        xy=city.region_xy,
        mass=mass + 0.01 * mass.mean(),
        provenance={"poi": city.provenance.get("regions", "synthesised"), "mass": "synthesised"},
    )


def region_attraction(city: City) -> npt.NDArray[np.float64]:
    """Return how much each region attracts each type, shape (15, R): the zones', shared out.

    A zone's attraction goes to the regions that it overlaps, by their share in it, the people who
    live there, and how well their POI distribution fits the type.
    """
    people = city.region_population.astype(np.float64)
    size = people + 0.1 * max(people.mean(), 1.0)
    fit = city.category_given_type.astype(np.float64) @ city.region_poi.T.astype(np.float64)
    weight = (fit + _FLOOR) * size
    weight[HOME] = people + 1e-3
    pair = weight[:, city.overlap_region] * city.overlap_share
    zones, regions = len(city.zone_id), len(city.region_id)
    spread = np.empty_like(weight)
    for kind, row in enumerate(pair):
        whole = np.bincount(city.overlap_zone, row, minlength=zones)
        part = row / np.maximum(whole[city.overlap_zone], 1e-12)
        held = part * city.attraction[kind, city.overlap_zone]
        spread[kind] = np.bincount(city.overlap_region, held, minlength=regions)
    return spread


def synthesise(city: City, chains: npt.NDArray[np.int8], entries: int, seed: int) -> Days:
    """Give places to day chains.

    Parameters
    ----------
    city
        The city.
    chains
        Activity type of each quarter hour, shape (N, 96), home at both ends.
    entries
        Most entries of a day, K.
    seed
        Root of the draws; a day's places depend on its row in ``chains`` and the seed.

    Returns
    -------
    days
        Consecutive activities may share a region; entries follow the chain, not the region.
    """
    kind, start, cut = runs(chains, entries)
    weight = region_attraction(city)
    region = np.full(kind.shape, PADDING, dtype=np.int64)
    for rows in _chunks(len(chains)):
        ids = np.arange(rows.start, rows.stop, dtype=np.int64)
        uniform = seeds.uniforms(seed, f"synthesise:{city.name}", ids, entries)
        region[rows] = _place(city, weight, kind[rows], uniform)
    slot = np.where(start < 0, PADDING, start // 2)
    return Days(region.astype(np.int32), slot.astype(np.int8), kind.astype(np.int8), cut)


def assumed_chains(days: int, seed: int) -> npt.NDArray[np.int8]:
    """Return simple day chains, shape (N, 96), for where no survey is at hand (assumed).

    Each day leaves home once or twice; the first outing is to work or school in half of them, and
    a midday stop interrupts it in a third.
    """
    rng = seeds.stream(seed, "assumed-chains")
    clock = np.arange(96)
    chains = np.zeros((days, 96), dtype=np.int8)
    kinds = np.arange(1, len(ACTIVITY_TYPES))
    share = np.where(kinds == WORK, 8.0, np.where(kinds == SCHOOL, 3.0, 1.0))
    main = rng.choice(kinds, days, p=share / share.sum())
    leave, back = rng.integers(26, 40, days), rng.integers(52, 74, days)
    chains = np.where((clock >= leave[:, None]) & (clock < back[:, None]), main[:, None], chains)
    noon = rng.integers(44, 50, days)
    stop = (
        (clock >= noon[:, None])
        & (clock < noon[:, None] + 4)
        & (rng.random(days) < _MIDDAY_STOP)[:, None]
    )
    chains = np.where(stop, rng.choice(kinds[2:], days)[:, None], chains)
    begin = back + rng.integers(0, 8, days)
    late = (clock >= begin[:, None]) & (clock < begin[:, None] + rng.integers(2, 10, days)[:, None])
    late &= (rng.random(days) < _SECOND_OUTING)[:, None]
    chains = np.where(late, rng.choice(kinds[2:], days)[:, None], chains).astype(np.int8)
    chains[:, -1] = HOME
    return chains


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, _CHUNK):
        yield slice(start, min(start + _CHUNK, count))


def _place(
    city: City,
    weight: npt.NDArray[np.float64],
    kind: npt.NDArray[np.int64],
    uniform: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """Return the region of each entry of a chunk of days, shape as ``kind``."""
    region = np.full(kind.shape, PADDING, dtype=np.int64)
    region[:, 0] = _draw(weight[HOME][None, :], uniform[:, 0])
    anchor = {HOME: region[:, 0].copy()}
    for entry in range(1, kind.shape[1]):
        for code in np.unique(kind[:, entry]).tolist():
            rows = np.flatnonzero(kind[:, entry] == code)
            if code == PADDING:
                continue
            if code in (WORK, SCHOOL) and code not in anchor:
                anchor[code] = np.full(len(kind), PADDING, dtype=np.int64)
            known = anchor[code][rows] if code in anchor else np.full(len(rows), PADDING)
            new = known == PADDING
            origin = region[rows[new], entry - 1]
            known[new] = _explore(city, weight[code], int(code), origin, uniform[rows[new], entry])
            region[rows, entry] = known
            if code in anchor:
                anchor[code][rows] = known
    return region


def _explore(
    city: City,
    weight_R: npt.NDArray[np.float64],
    code: int,
    origin: npt.NDArray[np.int64],
    uniform: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """Draw a region from w(r) · exp(−d / L), for each origin."""
    decay = _DECAY_M.get(ACTIVITY_TYPES[code], _OTHER_DECAY_M)
    gap = city.region_xy[origin, None, :] - city.region_xy[None, :, :]
    near = np.exp(-np.hypot(gap[:, :, 0], gap[:, :, 1]) / decay)
    return _draw(weight_R[None, :] * near + 1e-300, uniform)


def _draw(
    weight: npt.NDArray[np.float64], uniform: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Return one column for each uniform, by weight; one row of weights, or one for each."""
    edges = np.cumsum(weight, axis=1)
    return (edges <= uniform[:, None] * edges[:, -1:]).sum(axis=1).clip(0, weight.shape[1] - 1)
