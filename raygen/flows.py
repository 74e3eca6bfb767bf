"""Flows of a population between sub-regions, and how near they are to a target.

DataFusion 6.3 compares origin–destination matrices over eight sub-regions by cosine similarity:
Σ T·G / (|T|·|G|) over all S² cells, T the target's flows and G the population's, each divided by
its sum (which the cosine does not see). The diagonal holds most trips and makes the cosine high by
itself, so that it is reported with the diagonal and without it, and beside

*floor*: the cosine of the target with a sample of as many independent trips drawn from it, mean of
draws: what sampling alone costs;
*two halves*: the population's persons in two random halves, against each other;
*baseline*: a doubly constrained gravity model that has the target's row and column sums and its
mean distance: what is known without knowing any pair.

CPC (common part of commuters) is Σ min(T, G) over shares.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from raygen import seeds
from raygen.city import City
from raygen.errors import DataError
from raygen.flow_target import (
    ALL,
    COMMUTE,
    OD_FILE,
    Counted,
    FlowTarget,
    has_target,
    read_target,
    region_matrix,
)
from raygen.results import Row
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S, HOME

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

PAPER_COSINE = 0.997
"""DataFusion 6.3: its trips against SCAG's model, eight sub-regions of Los Angeles County."""

_DRAWS = 50
_GRAVITY_ROUNDS, _DECAY_STEPS = 60, 40


def cosine(target: FloatArray, found: FloatArray, diagonal: bool = True) -> float:
    """Return the cosine similarity of two matrices of one shape, with or without the diagonal.

    NaN where one of them is all zero.
    """
    keep = np.ones(target.shape, dtype=bool)
    if not diagonal:
        np.fill_diagonal(keep, False)
    a, b = target[keep], found[keep]
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else float("nan")


def common_part(target: FloatArray, found: FloatArray) -> float:
    """Return Σ min(T, G) over shares, 1 for equal matrices (CPC of equal totals)."""
    return float(np.minimum(target / target.sum(), found / found.sum()).sum())


def population_pairs(
    directory: Path, city: City, counted: Counted
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return person id, origin and destination zone row of its trips, shape (T,) each.

    ``counted`` chooses the trips; of purpose ``commute``, one pair for each person
    with a work zone.

    Raises
    ------
    DataError
        If a table is missing, or names zones that the city does not have.
    """
    if counted.purpose == COMMUTE:
        households = _table(directory, "households", ["household_id", "home_zone_id"])
        persons = _table(directory, "persons", ["person_id", "household_id", "work_zone_id"])
        workers = persons.filter(pc.field("work_zone_id") >= 0)
        ids = households.column("household_id").to_numpy()
        order = np.argsort(ids)
        at = order[np.searchsorted(ids[order], workers.column("household_id").to_numpy())]
        home = households.column("home_zone_id").to_numpy()[at]
        person, ends = workers.column("person_id").to_numpy(), [home, workers["work_zone_id"]]
    else:
        names = ["person_id", "origin_zone_id", "destination_zone_id"]
        trips = _table(directory, "trips", [*names, "depart_s", "purpose", "mode"])
        trips = trips.filter(pa.array(chosen(trips, counted)))
        person, ends = trips.column("person_id").to_numpy(), [trips[names[1]], trips[names[2]]]
    rows = [_zone_rows(city, np.asarray(end), directory) for end in ends]
    return person.astype(np.int64), rows[0], rows[1]


def chosen(trips: pa.Table, counted: Counted) -> npt.NDArray[np.bool_]:
    """Return which rows of a table of schema TRIPS a target counts, shape (T,)."""
    clock = trips.column("depart_s").to_numpy() % DAY_S
    keep = (clock >= counted.start_s) & (clock < counted.end_s)
    words = {"purpose": counted.types or (counted.purpose,), "mode": (counted.mode,)}
    for name, wanted in words.items():
        if wanted != (ALL,):
            keep &= np.isin(trips.column(name).cast(pa.string()).to_numpy().astype(str), wanted)
    return keep


def sample_floor(share: FloatArray, count: int, diagonal: bool, draws: int = _DRAWS) -> float:
    """Return the mean cosine of a matrix with samples of ``count`` trips drawn from it."""
    rng = seeds.stream(0, "flow-floor", count, int(diagonal))
    flat = (share / share.sum()).ravel()
    samples = rng.multinomial(count, flat, size=draws).reshape(draws, *share.shape)
    return float(np.mean([cosine(share, sample.astype(float), diagonal) for sample in samples]))


def halves(
    person: Int64Array, origin: Int64Array, destination: Int64Array, size: int, diagonal: bool
) -> float:
    """Return the cosine of the flows of two random halves of the persons."""
    people, row = np.unique(person, return_inverse=True)
    first = (seeds.uniforms(0, "flow-halves", people, 1)[:, 0] < 0.5)[row]  # noqa: PLR2004
    parts = [region_matrix(origin[keep], destination[keep], size) for keep in (first, ~first)]
    return cosine(parts[0], parts[1], diagonal)


def gravity(flow: FloatArray, cost: FloatArray) -> FloatArray:
    """Return the doubly constrained gravity flows with a target's sums and mean cost.

    Parameters
    ----------
    flow
        Target, shape (Z, Z).
    cost
        Shape (Z, Z), > 0.

    Returns
    -------
    flows
        Shape (Z, Z): A·B·O·D·exp(−β·cost), β by bisection so that the mean cost is the target's.
    """
    rows, columns = flow.sum(axis=1), flow.sum(axis=0)
    wanted = float((flow * cost).sum() / flow.sum())
    low, high = -2.0 / wanted, 20.0 / wanted
    found = flow
    for _ in range(_DECAY_STEPS):
        middle = 0.5 * (low + high)
        found = _balanced(rows, columns, np.exp(-middle * (cost - cost.min())))
        if float((found * cost).sum() / found.sum()) > wanted:
            low = middle
        else:
            high = middle
    return found


def _balanced(rows: FloatArray, columns: FloatArray, weight: FloatArray) -> FloatArray:
    """Return a Furness balancing: columns are met exactly, rows nearly."""
    a, b = np.ones(len(rows)), np.ones(len(columns))
    for _ in range(_GRAVITY_ROUNDS):
        a = rows / np.maximum(weight @ b, 1e-300)
        b = columns / np.maximum(weight.T @ a, 1e-300)
    return a[:, None] * b[None, :] * weight


def gravity_by_subregion(target: FlowTarget, city: City) -> FloatArray:
    """Return ``gravity`` of a target over sub-regions, shape (S, S).

    Between zones where the target knows zones; else between sub-regions, whose distance is the mean
    over their zones by population.
    """
    size = len(city.subregion_names)
    region = city.subregion.astype(np.int64)
    distance = city.distance_m.astype(np.float64)
    if target.by_zone:
        found = gravity(target.zones(len(region)), distance)
        return _by_region(found, region, size)
    weight = city.population / np.maximum(np.bincount(region, city.population, size)[region], 1.0)
    return gravity(target.subregion, _by_region(weight[:, None] * distance * weight, region, size))


def _by_region(matrix: FloatArray, region: Int64Array, size: int) -> FloatArray:
    member = np.eye(size)[region]
    return member.T @ matrix @ member


def od_rows(generated: Path, city: City) -> list[Row]:
    """Return how near a population's flows are to its city's ``od.parquet``.

    Parameters
    ----------
    generated
        Population directory.
    city
        Its city; opened from a directory.

    Returns
    -------
    rows
        Cosine over sub-regions with and without the diagonal, CPC, the two halves; over zones too
        where the target knows them. Empty where the city has no flows.
    """
    if not has_target(city):
        return []
    target = read_target(Path(city.path) / OD_FILE, city)
    person, origin, destination = population_pairs(generated, city, target.counted)
    if len(person) == 0:
        msg = f"{generated}: has no trips that {OD_FILE} counts ({target.counted})"
        raise DataError(msg)
    return flow_rows(target, city, person, origin, destination)


def flow_rows(
    target: FlowTarget, city: City, person: Int64Array, origin: Int64Array, destination: Int64Array
) -> list[Row]:
    """Return the rows of ``od_rows`` for pairs of zone rows."""
    size, region = len(city.subregion_names), city.subregion.astype(np.int64)
    ends = region[origin], region[destination]
    found, wanted = region_matrix(*ends, size), target.subregion
    baseline = gravity_by_subregion(target, city)
    people = len(np.unique(person))
    case = f"{target.counted}, {size} sub-regions ({target.provenance})"
    rows: list[Row] = []
    for diagonal, name in ((True, "od_cosine"), (False, "od_cosine_without_diagonal")):
        rows.append(
            Row(
                case=case, metric=name, value=cosine(wanted, found, diagonal), n=people,
                floor=sample_floor(wanted, len(person), diagonal),
                baseline=cosine(wanted, baseline, diagonal), baseline_name="gravity",
                paper=PAPER_COSINE if diagonal else None,
                target=PAPER_COSINE if diagonal else None,
            )
        )  # fmt: skip
        halved = halves(person, *ends, size, diagonal)
        metric = name.replace("od_cosine", "od_cosine_of_two_halves")
        rows.append(Row(case=case, metric=metric, value=halved, n=people))
    shares = common_part(wanted, found), common_part(wanted, baseline)
    rows.append(
        Row(case=case, metric="od_common_part", value=shares[0], n=people, baseline=shares[1],
            baseline_name="gravity")
    )  # fmt: skip
    return rows + (_zone_rows_of(target, city, person, origin, destination))


def _zone_rows_of(
    target: FlowTarget, city: City, person: Int64Array, origin: Int64Array, destination: Int64Array
) -> list[Row]:
    """Return the figures over zones, where the target knows them."""
    if not target.by_zone:
        return []
    count = len(city.zone_id)
    wanted, found = target.zones(count), region_matrix(origin, destination, count)
    baseline = gravity(wanted, city.distance_m.astype(np.float64))
    case = f"{target.counted}, {count} zones ({target.provenance})"
    people = len(np.unique(person))
    return [
        Row(case=case, metric="od_cosine", value=cosine(wanted, found), n=people,
            floor=sample_floor(wanted, len(person), True, draws=5),
            baseline=cosine(wanted, baseline), baseline_name="gravity"),
        Row(case=case, metric="od_common_part", value=common_part(wanted, found), n=people,
            baseline=common_part(wanted, baseline), baseline_name="gravity"),
    ]  # fmt: skip


def activity_shares(kind: Int64Array, region: Int64Array, size: int) -> FloatArray:
    """Return F, the share of each activity type's visits by sub-region, shape (15, size).

    Rows of types without visits are zero.
    """
    count = np.bincount(kind * size + region, minlength=len(ACTIVITY_TYPES) * size)
    by_type = count.reshape(len(ACTIVITY_TYPES), size).astype(np.float64)
    return by_type / np.maximum(by_type.sum(axis=1, keepdims=True), 1.0)


def attraction_shares(city: City) -> FloatArray:
    """Return the share of a city's attraction for each type by sub-region, shape (15, S)."""
    size = len(city.subregion_names)
    member = np.eye(size)[city.subregion.astype(np.int64)]
    total = city.attraction.astype(np.float64) @ member
    return total / np.maximum(total.sum(axis=1, keepdims=True), 1e-300)


def activity_rows(generated: Path, city: City) -> list[Row]:
    """Return, by activity type away from home, the cosine of visits with attraction by sub-region.

    The attraction is what the city was built with (its provenance is in the case), not a count of
    visits; DataFusion 4.3.3 compares activity frequencies across sub-regions in this way.
    """
    table = _table(generated, "activities", ["type", "zone_id"])
    column = table.column("type").unify_dictionaries().combine_chunks()
    code = np.array([ACTIVITY_TYPES.index(word) for word in column.dictionary.to_pylist()])
    kind = code[column.indices.to_numpy(zero_copy_only=False)].astype(np.int64)
    zone = _zone_rows(city, table.column("zone_id").to_numpy(), generated)
    size = len(city.subregion_names)
    shares = activity_shares(kind, city.subregion[zone].astype(np.int64), size)
    wanted, count = attraction_shares(city), np.bincount(kind, minlength=len(ACTIVITY_TYPES))
    label = city.provenance.get("pois", city.provenance.get("zones", "assumed"))
    return [
        Row(case=f"visits by sub-region against attraction ({label})", metric=f"{word}_cosine",
            value=cosine(wanted[t], shares[t]), n=int(count[t]))
        for t, word in enumerate(ACTIVITY_TYPES) if t != HOME and count[t] > 0
    ]  # fmt: skip


def _zone_rows(city: City, zone_id: npt.NDArray[np.int32], directory: Path) -> Int64Array:
    order = np.argsort(city.zone_id)
    place = np.minimum(np.searchsorted(city.zone_id[order], zone_id), len(order) - 1)
    rows = order[place]
    if (strange := city.zone_id[rows] != zone_id).any():
        msg = f"{directory}: {int(strange.sum())} zone ids are not of city {city.name}, the first "
        raise DataError(msg + f"is {zone_id[strange][0]}")
    return rows.astype(np.int64)


def _table(directory: Path, name: str, columns: list[str]) -> pa.Table:
    """Read columns of one of a population's tables, all shards."""
    files = sorted((directory / name).glob("part-*.parquet"))
    if not files:
        msg = f"{directory / name}: no part-*.parquet; not a population directory"
        raise DataError(msg)
    table = ds.dataset([str(file) for file in files])
    if missing := [column for column in columns if column not in table.schema.names]:
        msg = f"{directory / name}: columns {', '.join(missing)} are missing"
        raise DataError(msg)
    return table.to_table(columns=columns)
