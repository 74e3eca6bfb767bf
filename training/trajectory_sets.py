"""Sets of trajectories to train and test on: road graph, parts, what the GPS said.

Observed and simulated sets go the same way: traces, map matching, a split by the hash of the id.
Those by SUMO take minutes to make and are kept in a folder.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from raygen.errors import DataError
from raygen.matching.match import Matcher, Settings
from raygen.matching.pieces import match_pieces
from raygen.network.graph import IntArray
from raygen.network.read import read_roads
from raygen.trajectories.plane import PlaneRoads, plane_roads
from raygen.trajectories.porto import INTERVAL_S, POINTS, read_porto, split
from raygen.trajectories.records import RoadTrajectories, Traces
from raygen.trajectory_metrics import PORTO_BOX
from training.driven_again import KnownDrives, known_drives
from training.simulated_trips import TaxiCity, TaxiWorld
from training.sumo_traffic import Traffic
from training.sumo_trips import kept_trips

SETS = ("porto", "porto-simulated", "porto-sumo", "la_basin-simulated", "la_basin-sumo")
"""Names that ``load`` knows."""

_FIRST_ID = 1_000_000  # models learn from simulated trips of lower ids
_LA_WORLD = TaxiWorld(distance_m=3000.0)
_LA_TRAFFIC = Traffic(cars=1500.0, hours=(2, 8, 13))
_PORTO_TRAFFIC = Traffic(
    cars=6000.0, hours=(2, 8, 18), after_s=2100, signals=1.0, cycle_s=120
)  # at eight as fast as the observed trips of the training part between 6 and 10 h
_SUMO = Path("runs/sumo")


@dataclass(frozen=True)
class Part:
    """The same trajectories on roads and as the GPS has them."""

    roads: RoadTrajectories
    traces: Traces


@dataclass(frozen=True)
class TrajectorySet:
    """A set with its graph, split into 90 % to train on and 10 % to test on."""

    name: str
    graph: PlaneRoads
    box: tuple[float, float, float, float]
    """West, south, east, north of the grid of the measures, in degrees."""
    interval_s: float
    train: Part
    test: Part
    kind: str
    """Word of ``raygen.taxonomy.PROVENANCE``."""
    told: str
    """What was read, left out and matched, in one line."""
    drives: KnownDrives | None = None
    """What the test trips were driven from, where ``training.simulated_trips`` drove them."""


def load(name: str, data: Path, count: int = 2000, seed: int = 0) -> TrajectorySet:
    """Return a set by its name.

    Parameters
    ----------
    name
        One of ``SETS``. ``porto`` is observed: whole trips, and of trips that leave the roads
        their stretches of 20 or more points; all stretches of a trip are in the same part.
    data
        Directory with ``porto`` and ``la_basin``.
    count
        Simulated trips to ask for; their ids begin at a million.
    seed
        Of the simulated city and its trips.

    Raises
    ------
    DataError
        If the name is unknown, or as the readers.
    """
    if name not in SETS:
        msg = f"trajectory set: must be one of {', '.join(SETS)}, got {name!r}"
        raise DataError(msg)
    la = name.startswith("la_basin")
    network, _ = read_roads(data / ("la_basin" if la else "porto/roads.csv"))
    graph = plane_roads(network)
    matcher = Matcher(graph, Settings(sigma_m=5.0, beta_m=30.0))
    drives = None
    if name == "porto":
        trips = read_porto(data / "porto" / "train_1000.csv", graph)
        trip_id, traces, lost = trips.trip_id, trips.traces, str(trips.dropped)
    else:
        city = TaxiCity(graph, _LA_WORLD if la else TaxiWorld(), seed)
        ids = _FIRST_ID + np.arange(count)
        if name.endswith("-sumo"):
            made, lost = kept_trips(city, _LA_TRAFFIC if la else _PORTO_TRAFFIC, ids, _SUMO)
        else:
            made = city.simulate(ids)
            drives = partial(known_drives, city, made)
            lost = f"{made.lost} of other lengths"
        trip_id, traces = made.trip_id, made.traces
    pieces = match_pieces(matcher, traces, POINTS[0])
    train, test = split(trip_id[pieces.rows])
    west, south = network.points.min(axis=0).tolist()
    east, north = network.points.max(axis=0).tolist()
    told = f"left out: {lost}; {pieces.whole}; {len(pieces.rows)} stretches in all"
    return TrajectorySet(
        name,
        graph,
        (west, south, east, north) if la else PORTO_BOX,
        INTERVAL_S,
        _part(pieces.trajectories, pieces.traces, train),
        _part(pieces.trajectories, pieces.traces, test),
        "observed" if name == "porto" else "synthesised",
        f"{told}: {len(train)} to train on, {len(test)} to test on",
        None if drives is None else drives(pieces.rows[test]),
    )


def _part(roads: RoadTrajectories, traces: Traces, rows: IntArray) -> Part:
    return Part(roads.take(rows), traces.take(rows))
