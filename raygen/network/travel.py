"""When a vehicle enters each segment of its route, under speeds that change while it drives.

The flow speed model of Sung, Bell, Seong and Park, "Shortest paths in a network with
time-dependent flow speeds", EJOR 121 (2000): the speed on a segment changes as the clock passes
into a new period, so nobody overtakes by leaving later.
"""

from typing import Any

import numpy as np
from numba import njit

from raygen.network.graph import FloatArray, IntArray, RoadNetwork, RowArray
from raygen.network.speeds import SpeedProfile
from raygen.taxonomy import DAY_S


def enter_times(
    network: RoadNetwork,
    profile: SpeedProfile,
    route_at: IntArray,
    segments: RowArray,
    depart_s: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return when each segment is entered, and when each route ends.

    Parameters
    ----------
    network, profile
        Lengths and speeds.
    route_at
        Route i is ``segments[route_at[i]:route_at[i + 1]]``; shape (N + 1,).
    segments
        Segment rows of all routes.
    depart_s
        Seconds after midnight of day 0, shape (N,).

    Returns
    -------
    enter_s, arrive_s
        In the same seconds; shapes of ``segments`` and (N,).
    """
    ends = np.append(profile.start_s[1:], DAY_S)
    length = network.length_m.astype(np.float64)
    return _drive(
        (profile.start_s, ends, profile.state, profile.speed_kph),
        length,
        route_at,
        segments,
        depart_s,
    )


@njit(cache=True, nogil=True)
def _drive(clock: Any, length: Any, route_at: Any, segments: Any, depart: Any) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    start, ends, state, speed = clock
    enter = np.empty(len(segments), np.float64)
    arrive = np.empty(len(depart), np.float64)
    for route in range(len(depart)):
        now = depart[route]
        midnight = np.floor(now / DAY_S) * DAY_S
        period = np.searchsorted(start, now - midnight, side="right") - 1
        for k in range(route_at[route], route_at[route + 1]):
            enter[k] = now
            left = length[segments[k]]
            while True:
                metres_a_second = speed[state[period], segments[k]] / 3.6
                until = midnight + ends[period]
                if now + left / metres_a_second <= until:
                    break
                left = max(0.0, left - (until - now) * metres_a_second)
                now = until
                period += 1
                if period == len(start):
                    period = 0
                    midnight += DAY_S
            now += left / metres_a_second
        arrive[route] = now
    return enter, arrive
