"""Distribution refinement: DataFusion 4.3.3, D ← D + η·(F_target − F_current) over sub-regions.

F are shares of trips by sub-region of origin and destination, F_target those of the city's flows
(``raygen.flow_target``), F_current those of a calibration sample that is placed anew in each round.
What the paper calls the reference distributions D are here, for each sub-region of origin r:

* the distance distributions D_nmd(type, r): the mass of distance class b moves by
  η · Σ_s (F_target − F_current)[r, s] · P(b | r, s): to the distances that lead where visits lack;
* the pull of sub-region s in the cost of a visit, by log F_target / F_current: distance alone
  cannot tell two sub-regions that are equally far;
* the shares of D_md, the work places of the people of r, by the same ratio; work places stay
  scaled to people, and their fill is reported.

It ends when max |F_target − F_current| < ε, or after a number of rounds; the best round is kept.
All draws are those of the assignment, so that the same sample, city and target give the same
tables on any machine, and the tables are data of a run: the run stays independent of sharding.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assignment.anchors import AnchorTables
from assignment.place import place
from raygen.city import City
from raygen.config import AssignmentConfig, RefinementConfig
from raygen.errors import DataError
from raygen.flow_target import COMMUTE, FlowTarget, region_matrix
from raygen.flows import chosen, common_part, cosine
from raygen.taxonomy import ACTIVITY_TYPES, DEMOGRAPHIC_GROUPS, HOME, SCHOOL, WORK

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
Shard = tuple[pa.Table, pa.Table, pa.Table, pa.Table]

CLASSES = 24
"""Distance classes of equal mass of D_nmd before refinement."""

_LEAST_SHARE = 1e-5
_MOST_STEP = 1.0  # of a log ratio in one round
_MOST_WORK = 20.0  # factor of a work share, and its inverse
_MOST_MASS = 8.0  # factor of a distance class's mass, and its inverse


@dataclass(frozen=True)
class Round:
    """How near one round came."""

    cosine: float
    cosine_without_diagonal: float
    largest_gap: float
    """max |F_target − F_current|."""

    common_part: float
    given_origins: float
    """Cosine with the target's rows scaled to the sample's: homes are not refined."""


@dataclass(frozen=True)
class Refined:
    """Refined distributions, as factors of the unrefined; S sub-regions."""

    mass: FloatArray
    """Mass of each distance class over the unrefined, shape (S, 15, CLASSES); rows average 1."""

    pull: FloatArray
    """Cost that a visit saves by type, sub-region of origin and of the visit, shape (15, S, S)."""

    work: FloatArray
    """Factor of the work shares, home sub-region by work sub-region, shape (S, S)."""

    history: tuple[Round, ...]
    """Every round, the unrefined first."""

    best: int
    """The round that these tables gave."""


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
    size = len(city.subregion_names)
    mass = np.ones((size, len(ACTIVITY_TYPES), CLASSES))
    state = Refined(mass, np.zeros((15, size, size)), np.ones((size, size)), (), 0)
    history: list[Round] = []
    kept, least = state, np.inf
    for number in range(settings.rounds + 1):
        refined_tables = apply(tables, state, city)
        found, classes = _measure(sample, city, refined_tables, config, target, seed)
        history.append(compare(target.subregion, found))
        if history[-1].largest_gap < least:
            kept, least = replace(state, best=number), history[-1].largest_gap
        if history[-1].largest_gap < settings.tolerance:
            break
        state = _step(state, target.subregion, found, classes, config, settings)
    return replace(kept, history=tuple(history))


def compare(target: FloatArray, found: FloatArray) -> Round:
    """Return how near flows between sub-regions are to a target."""
    wanted, got = target / target.sum(), found / found.sum()
    rows = wanted / np.maximum(wanted.sum(axis=1, keepdims=True), 1e-300)
    return Round(
        cosine=cosine(wanted, got),
        cosine_without_diagonal=cosine(wanted, got, diagonal=False),
        largest_gap=float(np.abs(wanted - got).max()),
        common_part=common_part(wanted, got),
        given_origins=cosine(rows * got.sum(axis=1, keepdims=True), got),
    )


def apply(tables: AnchorTables, refined: Refined, city: City) -> AnchorTables:
    """Return a city's tables with refined distributions."""
    groups, size = len(DEMOGRAPHIC_GROUPS), len(city.subregion_names)
    km = tables.distance_km.reshape(size, groups, *tables.distance_km.shape[1:])
    moved = np.empty_like(km)
    for cell in np.ndindex(*km.shape[:3]):
        moved[cell] = _reweighted(km[cell], refined.mass[cell[0], cell[2]])
    share = np.diff(tables.work, axis=1, prepend=np.float32(0.0)).astype(np.float64)
    subregion = city.subregion.astype(np.int64)
    share *= refined.work[subregion[:, None], subregion[tables.order]]
    cumulated = np.cumsum(share, axis=1) / share.sum(axis=1, keepdims=True)
    last = share.shape[1] - 1 - np.argmax(share[:, ::-1] > 0, axis=1)
    cumulated[np.arange(share.shape[1]) >= last[:, None]] = 1.0
    return replace(
        tables,
        distance_km=moved.reshape(tables.distance_km.shape),
        pull=(tables.pull + refined.pull).astype(np.float32),
        work=cumulated.astype(np.float32),
    )


def _reweighted(curve: npt.NDArray[np.float32], mass: FloatArray) -> npt.NDArray[np.floating]:
    """Return a quantile curve whose classes of equal mass have these masses."""
    rank = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
    points = np.linspace(0.0, 1.0, len(curve))
    old = np.interp(points, rank, np.linspace(0.0, 1.0, len(rank)))
    return np.interp(old, points, curve)


def _measure(
    sample: list[Shard],
    city: City,
    tables: AnchorTables,
    config: AssignmentConfig,
    target: FlowTarget,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Return the sample's flows (S, S), and of its visits P(class | r, s) as counts (S, S, C)."""
    size, region = len(city.subregion_names), city.subregion.astype(np.int64)
    flows, classes = np.zeros((size, size)), np.zeros((size, size, CLASSES))
    edges = _class_edges(tables, size)
    for shard in sample:
        placed = place(*shard, city, tables, config, seed)
        ends = _pairs(placed.persons, placed.trips, shard[0], city, target)
        flows += region_matrix(region[ends[0]], region[ends[1]], size)
        km = city.distance_m[ends[0], ends[1]] / 1000.0
        kind = np.minimum(np.searchsorted(edges, km), CLASSES - 1)
        np.add.at(classes, (region[ends[0]], region[ends[1]], kind), 1.0)
    if flows.sum() == 0:
        msg = f"refinement: the sample makes no trips that the target counts ({target.counted})"
        raise DataError(msg)
    return flows, classes


def _class_edges(tables: AnchorTables, size: int) -> FloatArray:
    """Return the inner edges of the distance classes of all visits, km, shape (CLASSES − 1,)."""
    km = tables.distance_km.reshape(size, -1, *tables.distance_km.shape[1:])
    away = [k for k in range(len(ACTIVITY_TYPES)) if k not in (HOME, WORK, SCHOOL)]
    return np.quantile(km[:, :, away].astype(np.float64), np.arange(1, CLASSES) / CLASSES)


def _pairs(
    persons: pa.Table, trips: pa.Table, households: pa.Table, city: City, target: FlowTarget
) -> tuple[Int64Array, Int64Array]:
    """Return origin and destination zone rows of what a target counts."""
    if target.counted.purpose == COMMUTE:
        rows = np.searchsorted(
            households.column("household_id").to_numpy(), persons.column("household_id").to_numpy()
        )
        work = persons.column("work_zone_id").to_numpy()
        ends = households.column("home_zone_id").to_numpy()[rows][work >= 0], work[work >= 0]
    else:
        keep = chosen(trips, target.counted)
        ends = tuple(
            trips.column(f"{end}_zone_id").to_numpy()[keep] for end in ("origin", "destination")
        )
    order = np.argsort(city.zone_id)
    found = [order[np.searchsorted(city.zone_id[order], end)] for end in ends]
    return found[0], found[1]


def _step(
    state: Refined,
    target: FloatArray,
    found: FloatArray,
    classes: FloatArray,
    config: AssignmentConfig,
    settings: RefinementConfig,
) -> Refined:
    """Return the tables after one step of 4.3.3."""
    wanted, got = target / target.sum(), found / found.sum()
    # Origins are the people's homes, which no step moves: compare where each origin's trips end.
    rows = wanted / np.maximum(wanted.sum(axis=1, keepdims=True), _LEAST_SHARE)
    own = got / np.maximum(got.sum(axis=1, keepdims=True), _LEAST_SHARE)
    ratio = np.log(np.maximum(rows, _LEAST_SHARE * 10) / np.maximum(own, _LEAST_SHARE * 10))
    step = settings.rate * np.clip(ratio, -_MOST_STEP, _MOST_STEP)
    share = classes / np.maximum(classes.sum(axis=2, keepdims=True), 1.0)  # P(b | r, s)
    moved = np.einsum("rs,rsb->rb", rows - own, share)
    mass = state.mass + settings.rate * CLASSES * moved[:, None, :] / len(rows)
    mass = np.clip(mass, 1.0 / _MOST_MASS, _MOST_MASS)
    # One unit of log ratio is γ in the cost of a draw at γ; of a least cost it is a kilometre.
    unit = config.gamma if config.gamma > 0 else config.alpha
    pull = state.pull + unit * step[None]
    pull -= pull.mean(axis=2, keepdims=True)
    pull[[HOME, WORK, SCHOOL]] = 0.0
    work = np.clip(state.work * np.exp(step), 1.0 / _MOST_WORK, _MOST_WORK)
    return Refined(mass / mass.mean(axis=2, keepdims=True), pull, work, (), 0)
