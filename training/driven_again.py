"""What simulated sets allow at best: the same trips, driven once more by the same simulator.

A perfect generator that is told roads and start time can do no better than that: it meets other
reds, has another driver and another error of the GPS. One that is told the travel time too, as ours
are, can be nearer: of several drives the nearest in travel time stands for it.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from raygen.errors import DataError
from raygen.network.graph import FloatArray, IntArray, RowArray
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces, taken
from training.simulated_trips import SimulatedTrips, TaxiCity
from training.trajectory_baselines import Model

TRIES = 8
"""Drives among which the nearest in travel time is sought."""

_TURN = 1_000_000_000  # ids of a turn's drivers begin at a multiple of it
_ROOM = (2, 600)  # points of a drive: nearly any, so that none is lost


@dataclass(frozen=True)
class KnownDrives:
    """N simulated trips by what they were driven from."""

    city: TaxiCity
    trip_id: IntArray
    first: IntArray
    route: RowArray
    depart_s: FloatArray
    ends: FloatArray
    """Where the first and the last segment are entered and left, 0 to 1, (N, 2)."""

    @cached_property
    def _free(self) -> TaxiCity:
        """The city, which keeps trips of nearly any length."""
        city = self.city
        return TaxiCity(city.roads, replace(city.world, points=_ROOM), city.seed)

    def again(self, turn: int) -> Traces:
        """Return all trips driven anew, turn by turn with other drivers.

        Raises
        ------
        DataError
            If a drive takes too long.
        """
        made = self._free.drive_routes(
            self.trip_id + turn * _TURN, (self.first, self.route), self.depart_s, self.ends
        )
        if made.lost:
            msg = f"driven again: {made.lost} of {len(self.trip_id)} drives have over {_ROOM[1]} "
            raise DataError(msg + "points")
        return made.traces


def known_drives(city: TaxiCity, made: SimulatedTrips, rows: IntArray) -> KnownDrives:
    """Return some trips of ``TaxiCity.simulate`` by what they were driven from.

    Parameters
    ----------
    city
        Of the trips.
    made
        All of them.
    rows
        Of those that are wanted; the whole trip where a stretch of it is.
    """
    truth = made.truth
    first, of = taken(truth.route_first, rows)
    ids = made.trip_id[rows]
    ends = city.trips(ids)[1]
    return KnownDrives(city, ids, first, truth.route[of], truth.time[truth.first[rows]], ends)


def driven_again(drives: KnownDrives, draw: int, tries: int = 1) -> Model:
    """Return the drives of a draw as a model; of ``tries`` the nearest in the number of points."""

    def model(_: RoadTrajectories, told: Conditions, graph: PlaneRoads) -> Traces:
        del graph
        turns = [drives.again(draw * tries + turn + 1) for turn in range(tries)]
        gap = np.array([np.abs(turn.length - told.points) for turn in turns])
        count = np.concatenate([turn.length for turn in turns])
        every = Traces(
            np.concatenate([[0], np.cumsum(count)]),
            np.concatenate([turn.xy for turn in turns]),
            np.concatenate([turn.time for turn in turns]),
        )
        return every.take(gap.argmin(axis=0) * len(told) + np.arange(len(told)))

    return model
