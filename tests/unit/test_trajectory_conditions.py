"""Conditions of trajectories: figures, text, travel times."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from gridroads import network

from raygen.errors import DataError
from raygen.network.speeds import free_flow, hourly
from raygen.trajectories.conditions import (
    conditions_of,
    fitted_speeds,
    main_names,
    planned,
    travel_error,
)
from raygen.trajectories.plane import plane_roads
from raygen.trajectories.records import RoadTrajectories

RING = [(0, 1), (1, 2), (2, 3), (3, 0)]


@pytest.fixture(scope="module")
def roads():
    made = network(RING, [360.0] * 4, [36.0] * 4)
    names = pa.array(["Main Street", "", "Second Street", "Main Street"]).dictionary_encode()
    return plane_roads(replace(made, name=names))


def two(start=8 * 3600.0, took=90.0):
    count = 7
    time = np.concatenate([s + np.linspace(0, took, count) for s in (start, start + 3600)])
    return RoadTrajectories(
        np.array([0, count, 2 * count]),
        np.repeat([0, 1], [count, count]).astype(np.int32),
        np.tile(np.linspace(0, 1, count), 2).astype(np.float32),
        np.zeros(2 * count, dtype=np.float32),
        time,
        np.array([0, 3, 5]),
        np.array([0, 1, 2, 1, 2], dtype=np.int32),
    )


def test_conditions_of_real_trajectories(roads):
    told = conditions_of(two(), roads, 15.0)
    assert told.start_s.tolist() == [8 * 3600, 9 * 3600]
    assert told.travel_s.tolist() == [90, 90]
    assert told.points.tolist() == [7, 7]
    assert told.distance_m == pytest.approx(
        roads.line_m[[0, 1]] @ [1, 1]
        + np.array([roads.line_m[2], roads.line_m[2] - roads.line_m[0]])
    )
    second = told.take(np.array([1]))
    assert second.route.tolist() == [1, 2]
    assert len(second) == 1


def test_main_names_are_in_the_order_of_driving_and_never_empty(roads):
    assert main_names(roads.network, np.array([2, 3], dtype=np.int32)) == [
        "Second Street",
        "Main Street",
    ]
    assert main_names(roads.network, np.array([1], dtype=np.int32)) == []


def test_planned_travel_times_grow_in_the_peak(roads):
    route_first, route = np.array([0, 2]), np.array([0, 1], dtype=np.int32)
    free = planned(
        roads.network, free_flow(roads.network), route_first, route, np.array([3600.0]), 15.0
    )
    assert free.travel_s == pytest.approx([72.0])  # 720 m at 10 m/s
    assert free.points.tolist() == [6]
    weight = np.zeros(24)
    weight[8] = 1.0
    profile = hourly(roads.network, weight, 2.0)
    peak = planned(roads.network, profile, route_first, route, np.array([8 * 3600.0]), 15.0)
    assert peak.travel_s == pytest.approx([144.0])


def test_fitted_speeds_bring_back_observed_times(roads):
    made = two(took=216.0)  # free flow: 108 and 72 s
    profile = fitted_speeds(made, roads)
    told = conditions_of(made, roads, 15.0)
    guess = planned(roads.network, profile, told.route_first, told.route, told.start_s, 15.0)
    assert guess.travel_s.sum() == pytest.approx(told.travel_s.sum(), rel=0.05)
    assert travel_error(guess.travel_s, told.travel_s) < 0.25
    assert (profile.speed_kph < 36).all()


def test_bad_input_is_refused(roads):
    with pytest.raises(DataError, match="interval must be > 0"):
        conditions_of(two(), roads, 0)
    empty = replace(two(), route_first=np.array([0, 0, 5]))
    with pytest.raises(DataError, match="trajectory 0: has no points or no route"):
        conditions_of(empty, roads, 15.0)
