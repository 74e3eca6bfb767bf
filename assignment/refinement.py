"""Distribution refinement: DataFusion 4.3.3, D ← D + η·(F_target − F_current) over sub-regions.

F are shares of trips by activity type and by sub-region of origin and destination
(``assignment.frequencies``), F_target those of the city's flows (``raygen.flow_target``), F_current
those of a calibration sample that is placed anew in each round. A type whose flows the target knows
goes by them; where it counts all types as one, each type goes by their sum; other types stay. What
the paper calls the reference distributions D are here, for each sub-region of origin r:

* the distance distributions D_nmd(type, r): the mass of distance class b moves by
  η · Σ_s (F_target − F_current)[r, s] · P(b | r, s): to the distances that lead where visits lack;
* the pull of sub-region s in the cost of a visit, by log F_target / F_current: distance alone
  cannot tell two sub-regions that are equally far;
* the shares of D_md, the work places of the people of r, by the same ratio; then each zone of a
  sub-region is filled alike again (``assignment.rebalance``), for the people who live there now;
* with ``origins``, how many people live in each sub-region (``raygen.stages.homes``): the
  paper's "Home TAZ assignments H" are an input, and where they are not those of the flows, no D can
  make up for it.

It ends when max |F_target − F_current| < ε, or after a number of rounds; the best round is kept. A
round that is farther from the flows than the best one went too far: the next goes from the best
again, with half the η (ours: with homes that move, the paper's constant η swings around the flows).
All draws are those of the assignment, so that the same sample, city and target give the same
tables on any machine, and the tables are data of a run: the run stays independent of sharding.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from assignment.anchors import AnchorTables, persons_by_zone
from assignment.frequencies import (
    CLASSES,
    TYPES,
    Frequencies,
    Round,
    Shard,
    compare,
    gap_by_type,
    measure,
)
from assignment.rebalance import even_fill
from raygen.city import City
from raygen.config import AssignmentConfig, RefinementConfig
from raygen.flow_target import FlowTarget
from raygen.taxonomy import DEMOGRAPHIC_GROUPS, HOME, SCHOOL, WORK

FloatArray = npt.NDArray[np.float64]

_LEAST_SHARE = 1e-5
_MOST_STEP = 1.0  # of a log ratio in one round
_MOST_WORK = 20.0  # factor of a work share, and its inverse
_MOST_MASS = 8.0  # factor of a distance class's mass, and its inverse
_MOST_HOMES = 4.0  # factor of a sub-region's homes, and its inverse
_HOME_STEPS = 50
_BACK = 0.5  # factor of the step after a round that went too far
_FEW_TRIPS = 10.0  # a cell of a type with so few trips moves half a step: the rest may be chance


@dataclass(frozen=True)
class Refined:
    """Refined distributions, as factors of the unrefined; S sub-regions."""

    mass: FloatArray
    """Mass of each distance class over the unrefined, shape (S, 15, CLASSES); rows average 1."""

    pull: FloatArray
    """Cost that a visit saves by type, sub-region of origin and of the visit, shape (15, S, S)."""

    work: FloatArray
    """Factor of the work shares, home sub-region by work sub-region, shape (S, S)."""

    homes: FloatArray
    """Factor of the people who live in each sub-region, shape (S,); 1 without ``origins``."""

    history: tuple[Round, ...] = ()
    """Every round, the unrefined first."""

    best: int = 0
    """The round that these tables gave."""

    before: FloatArray | None = None
    after: FloatArray | None = None
    """F of the unrefined and of the best round: trips by type, origin and destination,
    shape (15, S, S)."""


def refine(  # noqa: PLR0913, PLR0917 - the inputs of ``place``, the target and the settings
    sample: list[Shard],
    city: City,
    tables: AnchorTables,
    config: AssignmentConfig,
    target: FlowTarget,
    settings: RefinementConfig,
    seed: int,
) -> Refined:
    """Refine the distributions of a city to its flows on a calibration sample.

    Parameters
    ----------
    sample
        Shards of persons as ``assignment.place.place`` takes them; DataFusion 6.3 has 100,000.
    city, tables, config
        As for ``place``; not changed. Distances and pulls of ``tables`` are where it starts.
    target
        Flows to meet.
    settings
        η, ε and the number of rounds.
    seed
        Of the draws.

    Returns
    -------
    refined
        The tables of the round of least largest gap.

    Raises
    ------
    DataError
        If the sample makes no trips that the target counts.
    """
    state = unrefined(len(city.subregion_names))
    history: list[Round] = []
    kept, kept_found, least = state, None, np.inf
    rate = settings.rate
    before: FloatArray | None = None
    for number in range(settings.rounds + 1):
        found = measure(sample, city, apply(tables, state, city), config, target, seed)
        before = found.by_type() if before is None else before
        if settings.origins and number > 0:
            state = replace(state, homes=_homes(state.homes, target, found, sample, city))
        current = found.by_type(state.homes)
        history.append(_round(target, current))
        if history[-1].largest_gap < least:
            kept, least = replace(state, best=number, after=current), history[-1].largest_gap
            kept_found = found
        else:
            rate *= _BACK
        if history[-1].largest_gap < settings.tolerance:
            break
        state = _step(kept, target, kept_found or found, config, rate)
    return replace(kept, history=tuple(history), before=before)


def unrefined(size: int) -> Refined:
    """Return tables for a number of sub-regions that move nothing."""
    return Refined(
        mass=np.ones((size, TYPES, CLASSES)),
        pull=np.zeros((TYPES, size, size)),
        work=np.ones((size, size)),
        homes=np.ones(size),
    )


def _round(target: FlowTarget, found: FloatArray) -> Round:
    """Return how near a round is, its gap by type where the target knows types."""
    whole = compare(target.subregion, found.sum(axis=0))
    if target.by_type is None:
        return whole
    return replace(whole, largest_gap=gap_by_type(target.by_type, found))


def apply(tables: AnchorTables, refined: Refined, city: City) -> AnchorTables:
    """Return a city's tables with refined distributions."""
    groups, size = len(DEMOGRAPHIC_GROUPS), len(city.subregion_names)
    km = tables.distance_km.reshape(size, groups, *tables.distance_km.shape[1:])
    moved = np.empty_like(km)
    for cell in np.ndindex(*km.shape[:3]):
        moved[cell] = _reweighted(km[cell], refined.mass[cell[0], cell[2]])
    return replace(
        tables,
        distance_km=moved.reshape(tables.distance_km.shape),
        pull=(tables.pull + refined.pull).astype(np.float32),
        work=_work(tables, refined, city),
    )


def _work(tables: AnchorTables, refined: Refined, city: City) -> npt.NDArray[np.float32]:
    """Return the cumulated shares of work zones, refined; zones of a sub-region filled alike."""
    if (refined.work == 1).all() and (refined.homes == 1).all():
        return tables.work
    order, subregion = tables.order.astype(np.int64), city.subregion.astype(np.int64)
    share = np.empty(order.shape)
    near = np.diff(tables.work, axis=1, prepend=np.float32(0.0))
    np.put_along_axis(share, order, np.maximum(near, 0.0), axis=1)
    share *= refined.work[subregion[:, None], subregion[None, :]]
    share /= share.sum(axis=1, keepdims=True)
    workers = persons_by_zone(city)["work"] * refined.homes[subregion]
    places = city.jobs.sum(axis=1, dtype=np.float64)
    near = np.take_along_axis(even_fill(share, workers, places, subregion), order, axis=1)
    cumulated = np.cumsum(near, axis=1)
    last = near.shape[1] - 1 - np.argmax(near[:, ::-1] > 0, axis=1)
    cumulated[np.arange(near.shape[1]) >= last[:, None]] = 1.0
    return cumulated.astype(np.float32)


def _reweighted(curve: npt.NDArray[np.float32], mass: FloatArray) -> npt.NDArray[np.floating]:
    """Return a quantile curve whose classes of equal mass have these masses."""
    rank = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
    points = np.linspace(0.0, 1.0, len(curve))
    old = np.interp(points, rank, np.linspace(0.0, 1.0, len(rank)))
    return np.interp(old, points, curve)


def _step(
    state: Refined,
    target: FlowTarget,
    found: Frequencies,
    config: AssignmentConfig,
    rate: float,
) -> Refined:
    """Return the tables after one step of 4.3.3, of η ``rate``."""
    current = found.by_type(state.homes)
    share = found.classes / np.maximum(found.classes.sum(axis=2, keepdims=True), 1.0)  # P(b | r, s)
    mass, pull, work = state.mass.copy(), state.pull.copy(), state.work
    # One unit of log ratio is γ in the cost of a draw at γ; of a least cost it is a kilometre.
    unit = config.gamma if config.gamma > 0 else config.alpha
    for kind in range(TYPES):
        flows = _flows_of(kind, target, current)
        if flows is None:
            continue
        difference, step = _changes(*flows, rate)
        if kind == WORK:
            work = np.clip(work * np.exp(step), 1.0 / _MOST_WORK, _MOST_WORK)
        elif kind not in (HOME, SCHOOL):
            moved = np.einsum("rs,rsb->rb", difference, share)
            mass[:, kind] += rate * CLASSES * moved / len(moved)
            pull[kind] += unit * step
    mass = np.clip(mass, 1.0 / _MOST_MASS, _MOST_MASS)
    mass /= mass.mean(axis=2, keepdims=True)
    pull -= pull.mean(axis=2, keepdims=True)
    return Refined(mass, pull, work, state.homes)


def _flows_of(
    kind: int, target: FlowTarget, current: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """Return target and current flows that a type goes by, (S, S); None where there are none."""
    if target.by_type is None:
        return target.subregion, current.sum(axis=0)
    if target.by_type[kind].sum() <= 0 or current[kind].sum() <= 0:
        return None
    return target.by_type[kind], current[kind]


def _changes(target: FloatArray, found: FloatArray, rate: float) -> tuple[FloatArray, FloatArray]:
    """Return F_target − F_current of each origin, and the step of its log ratio, (S, S).

    Where each origin's trips end is compared: how many begin there is the people's homes.
    """
    wanted, got = target / target.sum(), found / found.sum()
    rows = wanted / np.maximum(wanted.sum(axis=1, keepdims=True), _LEAST_SHARE)
    own = got / np.maximum(got.sum(axis=1, keepdims=True), _LEAST_SHARE)
    ratio = np.log(np.maximum(rows, _LEAST_SHARE * 10) / np.maximum(own, _LEAST_SHARE * 10))
    expected = rows * found.sum(axis=1, keepdims=True)
    sure = expected / (expected + _FEW_TRIPS)
    return rows - own, rate * sure * np.clip(ratio, -_MOST_STEP, _MOST_STEP)


def _homes(
    homes: FloatArray, target: FlowTarget, found: Frequencies, sample: list[Shard], city: City
) -> FloatArray:
    """Return factors of the people by sub-region of home that give the target's origins.

    Richardson–Lucy (maximum likelihood of the origins as a mixture over homes); the people stay as
    many as they are.
    """
    wanted = target.subregion.sum(axis=1) / target.subregion.sum()
    trips = found.trips.sum(axis=(1, 3))  # home, origin
    rows = trips / np.maximum(trips.sum(axis=1, keepdims=True), 1.0)
    people = _people_by_home(sample, city)
    some = (people > 0) & (trips.sum(axis=1) > 0)
    for _ in range(_HOME_STEPS):
        got = homes @ trips
        lack = wanted / np.maximum(got / got.sum(), _LEAST_SHARE)
        homes = np.where(some, homes * (rows @ lack), homes)
        homes = np.clip(homes * people.sum() / (homes @ people), 1.0 / _MOST_HOMES, _MOST_HOMES)
    return homes


def _people_by_home(sample: list[Shard], city: City) -> FloatArray:
    """Return the sample's people by sub-region of home, shape (S,)."""
    size, order = len(city.subregion_names), np.argsort(city.zone_id)
    out = np.zeros(size)
    for households, *_ in sample:
        zone = order[
            np.searchsorted(city.zone_id[order], households.column("home_zone_id").to_numpy())
        ]
        out += np.bincount(city.subregion[zone], households.column("size").to_numpy(), size)
    return out
