"""F of DataFusion 4.3.3: how often activities of each type take place where, in a placed sample.

The paper compares "activity frequencies across sub-regions" with ground truth. Here F are the trips
that a target counts, by activity type, sub-region of origin and sub-region of destination; its sum
over types is the matrix that 6.3 compares, its sum over origins the frequency of activities.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assignment.anchors import AnchorTables
from assignment.place import Placed, place
from raygen.city import City
from raygen.config import AssignmentConfig
from raygen.errors import DataError
from raygen.flow_target import COMMUTE, Counted, FlowTarget
from raygen.flows import chosen, common_part, cosine
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SCHOOL, WORK

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
Shard = tuple[pa.Table, pa.Table, pa.Table, pa.Table]

CLASSES = 24
"""Distance classes of equal mass of D_nmd before refinement."""

TYPES = len(ACTIVITY_TYPES)


@dataclass(frozen=True)
class Frequencies:
    """Trips of a sample that a target counts; S sub-regions."""

    trips: FloatArray
    """By home, activity type, origin and destination, shape (S, 15, S, S)."""

    classes: FloatArray
    """By origin, destination and distance class, shape (S, S, CLASSES)."""

    def by_type(self, homes: FloatArray | None = None) -> FloatArray:
        """Return F by type, origin and destination, (15, S, S); ``homes`` weighs the people's."""
        weight = np.ones(len(self.trips)) if homes is None else homes
        return np.einsum("h,htrs->trs", weight, self.trips)


@dataclass(frozen=True)
class Round:
    """How near one round came."""

    cosine: float
    cosine_without_diagonal: float
    largest_gap: float
    """max |F_target − F_current|, by type where the target knows types."""

    common_part: float
    given_origins: float
    """Cosine with the target's rows scaled to the sample's: what the homes leave to the rest."""


def measure(
    sample: list[Shard],
    city: City,
    tables: AnchorTables,
    config: AssignmentConfig,
    target: FlowTarget,
    seed: int,
) -> Frequencies:
    """Place a sample and count its trips.

    Raises
    ------
    DataError
        If the sample makes no trips that the target counts.
    """
    size, region = len(city.subregion_names), city.subregion.astype(np.int64)
    trips = np.zeros(size * TYPES * size * size)
    classes = np.zeros((size, size, CLASSES))
    edges = _class_edges(tables, size)
    for shard in sample:
        placed = place(*shard, city, tables, config, seed)
        home, kind, origin, destination = counted_trips(placed, shard[0], city, target.counted)
        ends = region[origin], region[destination]
        cell = ((region[home] * TYPES + kind) * size + ends[0]) * size + ends[1]
        trips += np.bincount(cell, minlength=len(trips))
        km = city.distance_m[origin, destination] / 1000.0
        step = np.minimum(np.searchsorted(edges, km), CLASSES - 1)
        np.add.at(classes, (*ends, step), 1.0)
    if trips.sum() == 0:
        msg = f"refinement: the sample makes no trips that the target counts ({target.counted})"
        raise DataError(msg)
    return Frequencies(trips.reshape(size, TYPES, size, size), classes)


def counted_trips(
    placed: Placed, households: pa.Table, city: City, counted: Counted
) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Return home zone row, activity type, origin and destination zone row of what is counted."""
    household_id = households.column("household_id").to_numpy()
    persons = placed.persons
    row = np.searchsorted(household_id, persons.column("household_id").to_numpy())
    home_id = households.column("home_zone_id").to_numpy()[row]
    if counted.purpose == COMMUTE:
        work = persons.column("work_zone_id").to_numpy()
        some = work >= 0
        home_id, ends = home_id[some], (home_id[some], work[some])
        kind = np.full(len(home_id), WORK, np.int64)
    else:
        trips = placed.trips.filter(pa.array(chosen(placed.trips, counted)))
        person_id = persons.column("person_id").to_numpy()
        home_id = home_id[np.searchsorted(person_id, trips.column("person_id").to_numpy())]
        kind = trips.column("purpose").combine_chunks().indices.to_numpy().astype(np.int64)
        names = ("origin_zone_id", "destination_zone_id")
        ends = (trips.column(names[0]).to_numpy(), trips.column(names[1]).to_numpy())
    order = np.argsort(city.zone_id)
    home, origin, destination = (
        order[np.searchsorted(city.zone_id[order], ids)] for ids in (home_id, *ends)
    )
    return home, kind, origin, destination


def compare(target: FloatArray, found: FloatArray) -> Round:
    """Return how near flows between sub-regions, shape (S, S), are to a target."""
    wanted, got = target / target.sum(), found / found.sum()
    rows = wanted / np.maximum(wanted.sum(axis=1, keepdims=True), 1e-300)
    return Round(
        cosine=cosine(wanted, got),
        cosine_without_diagonal=cosine(wanted, got, diagonal=False),
        largest_gap=float(np.abs(wanted - got).max()),
        common_part=common_part(wanted, got),
        given_origins=cosine(rows * got.sum(axis=1, keepdims=True), got),
    )


def gap_by_type(target: FloatArray, found: FloatArray) -> float:
    """Return max |F_target − F_current| by type, in shares of all trips of the types in both.

    How many trips a type has is the day chains' matter: each type's target is scaled to its trips.
    """
    got = found / found.sum()
    both = (target.sum(axis=(1, 2)) > 0) & (got.sum(axis=(1, 2)) > 0)
    if not both.any():
        return 0.0
    wanted = target[both] / target[both].sum(axis=(1, 2), keepdims=True)
    return float(np.abs(wanted * got[both].sum(axis=(1, 2), keepdims=True) - got[both]).max())


def _class_edges(tables: AnchorTables, size: int) -> FloatArray:
    """Return the inner edges of the distance classes of all visits, km, shape (CLASSES − 1,)."""
    km = tables.distance_km.reshape(size, -1, *tables.distance_km.shape[1:])
    away = [k for k in range(TYPES) if k not in (HOME, WORK, SCHOOL)]
    return np.quantile(km[:, :, away].astype(np.float64), np.arange(1, CLASSES) / CLASSES)
