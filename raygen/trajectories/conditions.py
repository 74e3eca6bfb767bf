"""What a trajectory is generated from (HTP, A.1): roads, times, distance, interval."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.errors import DataError
from raygen.network.graph import FloatArray, IntArray, RoadNetwork, RowArray
from raygen.network.routing import summed
from raygen.network.speeds import HOURS, SpeedProfile
from raygen.network.travel import enter_times
from raygen.taxonomy import DAY_S
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, taken

MAIN_NAMES = 3
"""Street names that are told at most."""

_SHRINK = 20.0  # trips of the whole day that every hour's speed borrows


@dataclass(frozen=True)
class Conditions:
    """Conditions of N trajectories on a road graph."""

    route_first: IntArray
    """Trajectory i drives ``route[route_first[i]:route_first[i + 1]]``; shape (N + 1,)."""
    route: RowArray
    """Connected segments, shape (Q,)."""
    start_s: FloatArray
    """Seconds since local midnight, shape (N,)."""
    travel_s: FloatArray
    """From the first to the last point, shape (N,)."""
    distance_m: FloatArray
    """Length of the route, shape (N,)."""
    interval_s: FloatArray
    """Between two points, shape (N,)."""

    def __len__(self) -> int:
        """Return the number of trajectories, N."""
        return len(self.start_s)

    @property
    def points(self) -> IntArray:
        """Points of each trajectory: as many as fit into its travel time, at least 2."""
        return np.maximum(np.rint(self.travel_s / self.interval_s).astype(np.int64) + 1, 2)

    def take(self, rows: IntArray) -> "Conditions":
        """Return some conditions, in the order of ``rows``."""
        first, driven = taken(self.route_first, rows)
        others = (self.start_s, self.travel_s, self.distance_m, self.interval_s)
        return Conditions(first, self.route[driven], *(x[rows] for x in others))


def conditions_of(
    trajectories: RoadTrajectories, graph: PlaneRoads, interval_s: float
) -> Conditions:
    """Return the conditions that real trajectories meet, as the paper's evaluation gives them.

    Raises
    ------
    DataError
        If a trajectory has no points or no route, or the interval is not positive.
    """
    made = trajectories
    if not interval_s > 0:
        msg = f"conditions: interval must be > 0 s, got {interval_s}"
        raise DataError(msg)
    empty = (made.length == 0) | (np.diff(made.route_first) == 0)
    if empty.any():
        msg = f"conditions: trajectory {int(empty.argmax())}: has no points or no route"
        raise DataError(msg)
    start = made.time[made.first[:-1]]
    return Conditions(
        made.route_first,
        made.route,
        start,
        made.time[made.first[1:] - 1] - start,
        summed(graph.line_m[made.route], made.route_first),
        np.full(len(made), float(interval_s)),
    )


def planned(
    network: RoadNetwork,
    profile: SpeedProfile,
    route_first: IntArray,
    route: RowArray,
    start_s: FloatArray,
    interval_s: float,
) -> Conditions:
    """Return the conditions of routes of which nobody has told the travel time.

    Travel times are sums over the segments, at the speeds of the period in which each is entered.

    Parameters
    ----------
    network
        The roads.
    profile
        Their speeds: ``raygen.network.speeds.hourly``, or ``fitted_speeds`` of observed trips.
    route_first, route
        As in ``Conditions``.
    start_s
        Seconds since local midnight, shape (N,).
    interval_s
        Seconds between two points.
    """
    _, arrive = enter_times(network, profile, route_first, route, start_s)
    metres = summed(network.length_m[route].astype(np.float64), route_first)
    every = np.full(len(start_s), float(interval_s))
    return Conditions(route_first, route, start_s, arrive - start_s, metres, every)


def fitted_speeds(trajectories: RoadTrajectories, graph: PlaneRoads) -> SpeedProfile:
    """Return speeds by hour at which observed trajectories take as long as they took.

    One factor on the free-flow speeds for each hour: free-flow seconds over observed ones of all
    trajectories that begin in it, with twenty trips of the whole day added to each.

    Raises
    ------
    DataError
        As ``conditions_of``, or if the trajectories take no time.
    """
    told = conditions_of(trajectories, graph, 1.0)
    free = summed(graph.network.free_s[told.route], told.route_first)
    if not told.travel_s.sum() > 0:
        msg = "conditions: trajectories must take some time"
        raise DataError(msg)
    hour = (told.start_s % DAY_S // 3600).astype(np.int64)
    free_of = np.bincount(hour, free, minlength=HOURS) + _SHRINK * free.mean()
    took_of = np.bincount(hour, told.travel_s, minlength=HOURS) + _SHRINK * told.travel_s.mean()
    factor = np.clip(free_of / took_of, 0.05, 1.5)
    speed = np.minimum(graph.network.speed_kph[None, :] * factor[:, None], 250.0)
    hours = np.arange(HOURS)
    return SpeedProfile(hours * 3600, hours, speed.astype(np.float32))


def main_names(network: RoadNetwork, route: RowArray) -> list[str]:
    """Return the streets on which most of a route lies, in the order of driving."""
    words = network.name.dictionary.to_pylist()
    index = network.name.indices.to_numpy()[route]
    metres = np.bincount(index, network.length_m[route], minlength=len(words))
    named = [k for k in np.argsort(-metres, kind="stable").tolist() if words[k] and metres[k] > 0]
    first_seen = {k: int((index == k).argmax()) for k in named[:MAIN_NAMES]}
    return [str(words[k]) for k in sorted(first_seen, key=first_seen.__getitem__)]


def travel_error(estimated_s: FloatArray, observed_s: npt.NDArray[np.float64]) -> float:
    """Return the mean absolute error of travel times over their mean."""
    return float(np.abs(estimated_s - observed_s).mean() / observed_s.mean())
