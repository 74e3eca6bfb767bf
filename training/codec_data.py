"""Trajectories that the trajectory models learn from: simulated trips, and observed taxi trips."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from raygen.city import EMBEDDED, open_city
from raygen.config import Section
from raygen.errors import DataError
from raygen.models.trajectory_batches import TrajectoryData, trajectory_data
from raygen.network.city_roads import read_city_roads
from raygen.network.connected import strongly_connected
from raygen.network.graph import RoadNetwork
from raygen.network.node2vec import Node2vecSettings, node2vec
from raygen.network.read import read_roads
from raygen.trajectories.plane import PlaneRoads, plane_roads
from raygen.trajectories.records import RoadTrajectories, joined
from raygen.trajectories.routes import Float32Array, routes_of
from training.codec_task import Split
from training.simulated_trips import SimulatedTrips, TaxiCity, TaxiWorld
from training.trajectory_sets import load

LOG = logging.getLogger(__name__)

LEAST, MOST = 20, 200
"""Points of a trajectory (HTP, A.2)."""


class TrajectorySources(Section):
    """Where trajectories come from."""

    networks: tuple[str, ...] = ("data/porto/roads.csv", "data/la_basin", "los_angeles")
    """Road networks on which trips are simulated: files, directories, or embedded cities."""

    simulated: Annotated[int, Field(ge=1)] = 6000
    """Trips to simulate on each network; the short and the long ones are left out."""

    intervals: tuple[Annotated[float, Field(gt=0)], ...] = (15.0, 5.0, 30.0)
    """Sampling intervals in seconds, each for an equal part of the trips."""

    porto: Path | None = None
    """Directory of data with the Porto taxi trips; the stretches of their training part that can be
    matched are learned from."""

    porto_weight: Annotated[float, Field(gt=0)] = 1.0
    """Share of the batches that Porto's trips get, where a simulated network's is 1."""

    validation: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of each set that is held out for validation."""


@dataclass(frozen=True)
class NetworkTrips:
    """Trajectories on one network."""

    name: str
    label: str
    """How they came to be: observed, or synthesised by what."""
    roads: PlaneRoads
    made: RoadTrajectories
    weight: float = 1.0


def read_network(name: str) -> RoadNetwork:
    """Return the strongly connected roads of a file, a directory or an embedded city."""
    if name in EMBEDDED:
        return strongly_connected(read_city_roads(Path(open_city(name).path)))[0]
    return read_roads(Path(name))[0]


def simulated(name: str, sources: TrajectorySources, seed: int) -> NetworkTrips:
    """Return simulated trips on a network, with every interval in turn."""
    roads = plane_roads(read_network(name))
    parts: list[RoadTrajectories] = []
    share = sources.simulated // len(sources.intervals)
    for index, interval in enumerate(sources.intervals):
        city = TaxiCity(roads, TaxiWorld(interval_s=interval), seed)
        ids = np.arange(index * share, (index + 1) * share)
        parts.append(with_gps_error(city, ids))
    # In turn, so that the last ones, which are held out, have all intervals.
    turn = np.argsort(np.concatenate([np.arange(len(part)) for part in parts]), kind="stable")
    made = joined(parts).take(turn)
    LOG.info("%s: %d simulated trips of %d", name, len(made), share * len(parts))
    return NetworkTrips(name, f"synthesised: {len(made)} simulated taxi trips", roads, made)


def porto_trips(data: Path) -> NetworkTrips:
    """Return the Porto taxi trips of the training part: stretches matched to the roads."""
    read = load("porto", data)
    made = kept(read.train.roads)
    LOG.info("porto: %s", read.told)
    label = f"ECML/PKDD 2015 taxi trips, training part, {len(made)} matched stretches: observed"
    return NetworkTrips("porto", label, read.graph, made)


def with_gps_error(city: TaxiCity, ids: np.ndarray) -> RoadTrajectories:
    """Return simulated trips whose points lie across from where the cars were, as the GPS says."""
    return as_the_gps_says(city.roads, city.simulate(ids))


def as_the_gps_says(roads: PlaneRoads, trips: SimulatedTrips) -> RoadTrajectories:
    """Return simulated trips with offsets that are the error of the GPS across the road."""
    truth = trips.truth
    along = truth.points(roads)
    ahead = replace(truth, offset=np.ones_like(truth.offset)).points(roads) - along
    error = trips.traces.xy - along
    offset = (error * ahead).sum(axis=1)
    return replace(truth, offset=offset.astype(np.float32))


def kept(made: RoadTrajectories) -> RoadTrajectories:
    """Return the trajectories of 20 to 200 points."""
    length = made.length
    return made.take(np.flatnonzero((length >= LEAST) & (length <= MOST)))


def splits(
    sets: list[NetworkTrips], validation: float, node2vec_of: Node2vecSettings | None, seed: int
) -> tuple[Split, ...]:
    """Return sets of trajectories as arrays, the last ones of each held out for validation.

    Raises
    ------
    DataError
        If a set has under twenty trajectories.
    """
    found: list[Split] = []
    for each in sets:
        count = len(each.made)
        if count < LEAST:
            msg = f"{each.name}: has {count} trajectories, needs {LEAST}"
            raise DataError(msg)
        places = None
        if node2vec_of is not None:
            places = node2vec(each.roads.network, node2vec_of, seed)
        cut = count - max(1, round(validation * count))
        rows = np.arange(count)
        found.append(
            Split(arrays(each, rows[:cut], places), arrays(each, rows[cut:], places), each.weight)
        )
    return tuple(found)


def arrays(each: NetworkTrips, rows: np.ndarray, places: Float32Array | None) -> TrajectoryData:
    """Return some trajectories of a network as arrays."""
    made = each.made.take(rows)
    return trajectory_data(made, routes_of(made, each.roads), places)


def read_sources(sources: TrajectorySources, seed: int) -> list[NetworkTrips]:
    """Return all sets of trajectories of a recipe.

    Raises
    ------
    DataError
        If a network or the trips cannot be read.
    """
    sets = [simulated(name, sources, seed) for name in sources.networks]
    if sources.porto is not None:
        sets.append(replace(porto_trips(sources.porto), weight=sources.porto_weight))
    return sets
