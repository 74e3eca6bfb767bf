"""The invariants of trajectories, on one shard: which rows break them.

They hold where the run's configuration asks for trajectories: ``trajectories.share``.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from raygen import seeds
from raygen.invariants import Rule
from raygen.shards import BoolArray, Int64Array, Shard, rows, whole
from raygen.taxonomy import MODES

SAMPLE = "trajectories:sample"
"""Name of the stream that draws the trips with a trajectory."""

ROAD_M, ON_ROAD = 20.0, 0.99
"""Metres from the road, and the least share of a shard's points that lie within them."""

_CAR = MODES.index("car_driver")
_SLACK_S = 0.001  # timestamps are whole milliseconds
_HEAD, _POINT = 9, 16  # bytes of a WKB line string's head, and of a point
_POINTS = (20, 200)


def sampled(trip_id: Int64Array, share: float, seed: int) -> BoolArray:
    """Return which trips are in the sample, by their ids alone."""
    return seeds.uniforms(seed, SAMPLE, trip_id, 1)[:, 0] < share


def _trip(s: Shard) -> Int64Array:
    """Return the row of each trajectory's trip, -1 where there is none."""
    return rows(s.trips["trip_id"], s.trajectories["trip_id"])


def _count(s: Shard) -> Int64Array:
    return np.diff(s.trajectories["timestamps_at"].astype(np.int64))


def _missing(s: Shard, share: float, seed: int) -> BoolArray:
    """Return the sampled car trips without a trajectory, and others with one."""
    trip_id = whole(s.trips["trip_id"])
    wanted = sampled(trip_id, share, seed) & (whole(s.trips["mode"]) == _CAR)
    return wanted != (rows(s.trajectories["trip_id"], trip_id) >= 0)


def _unordered(s: Shard) -> BoolArray:
    ids = whole(s.trajectories["trip_id"])
    falls = np.zeros(len(ids), dtype=np.bool_)
    falls[1:] = ids[1:] <= ids[:-1]
    return falls | (_trip(s) < 0)


def _points(s: Shard) -> BoolArray:
    """Return the rows whose lists do not have a geometry's number of points, from 20 to 200."""
    count = _count(s)
    size = np.array([len(line) for line in s.trajectories["geometry"]], dtype=np.int64)
    told = np.diff(s.trajectories["off_road_m_at"].astype(np.int64))
    few = (count < _POINTS[0]) | (count > _POINTS[1])
    return few | (size != _HEAD + _POINT * count) | (told != count)


def _time(s: Shard) -> BoolArray:
    """Return the rows whose points are out of order, or out of the trip's times."""
    at = s.trajectories["timestamps_at"].astype(np.int64)
    clock = s.trajectories["timestamps"].astype("datetime64[ms]").astype(np.int64) / 1000.0
    step = np.diff(clock, prepend=clock[:1])
    falls = step <= 0
    falls[at[:-1][np.diff(at) > 0]] = False
    wrong = np.zeros(len(at) - 1, dtype=np.bool_)
    wrong[np.searchsorted(at, np.flatnonzero(falls), side="right") - 1] = True
    some = np.diff(at) > 0
    if not some.all():
        return wrong | ~some
    trip = np.maximum(_trip(s), 0)
    start = s.trajectories["start_s"].astype(np.float64)
    end = start + clock[at[1:] - 1] - clock[at[:-1]]
    early = start < whole(s.trips["depart_s"])[trip] - _SLACK_S
    return wrong | early | (end > whole(s.trips["arrive_s"])[trip] + _SLACK_S)


def _off_road(s: Shard) -> BoolArray:
    """Return the rows with points off their road, where too many of the shard's points are."""
    far = s.trajectories["off_road_m"].astype(np.float64)
    off = ~(far <= ROAD_M)
    broken = np.zeros(len(_count(s)), dtype=np.bool_)
    if len(off) and off.mean() > 1 - ON_ROAD:
        at = s.trajectories["off_road_m_at"].astype(np.int64)
        broken[np.searchsorted(at, np.flatnonzero(off), side="right") - 1] = True
    return broken


def trajectory_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules that a run of this configuration promises; none without trajectories."""
    share = float(config.get("trajectories", {}).get("share", 0.0))
    seed = int(config.get("seed", 0))
    if share == 0:
        return ()
    show = ("trip_id", "start_s")
    return (
        Rule(
            "the trips of the sample that go by car have a trajectory, and no others",
            "trips",
            lambda s: _missing(s, share, seed),
            ("trip_id", "mode"),
        ),
        Rule("trajectories are of trips, in their order", "trajectories", _unordered, show),
        Rule("trajectories have 20 to 200 points and as many times", "trajectories", _points, show),
        Rule("points rise in time, within their trip's times", "trajectories", _time, show),
        Rule(
            f"{ON_ROAD:.0%} of points lie within {ROAD_M:.0f} m of their road",
            "trajectories",
            _off_road,
            show,
        ),
    )
