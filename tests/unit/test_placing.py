"""The second pass of map matching: places along a route that is known."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from gridroads import broken, driven, grid, network
from hypothesis import given, settings
from hypothesis import strategies as st

from raygen.errors import DataError
from raygen.matching.halts import Halting, steps_on
from raygen.matching.match import Matched, Matcher, Settings
from raygen.matching.pieces import match_pieces
from raygen.matching.placing import PlacingSettings, placed, placed_pieces
from raygen.matching.viterbi import WHOLE
from raygen.trajectories.plane import place, plane_roads
from raygen.trajectories.records import RoadTrajectories, Traces, check

SIDE = 8
NOISE = 15.0


@pytest.fixture(scope="module")
def roads():
    return plane_roads(grid(SIDE))


@pytest.fixture(scope="module")
def matcher(roads):
    return Matcher(roads, Settings(sigma_m=5.0))


def on_route(roads, route, route_m, xy=None, time=None):
    """A matched trace of points at some metres along a route."""
    route = np.array(route, dtype=np.int32)
    ends = np.cumsum(roads.line_m[route])
    step = np.minimum(np.searchsorted(ends, route_m, side="right"), len(route) - 1)
    metres = np.clip(route_m - (ends - roads.line_m[route])[step], 0, roads.line_m[route[step]])
    true = place(roads, route[step], metres, np.zeros(len(step)))
    many = len(step)
    times = 15.0 * np.arange(many) if time is None else time
    made = RoadTrajectories(
        np.array([0, many]),
        route[step],
        (metres / roads.line_m[route[step]]).astype(np.float32),
        np.zeros(many, dtype=np.float32),
        times,
        np.array([0, len(route)]),
        route,
    )
    told = Matched(
        made, np.array([0]), step.astype(np.int32), np.zeros(1, np.int8), np.zeros(1, np.int64)
    )
    return told, Traces(np.array([0, many]), true if xy is None else xy, times)


def straight(roads, row=3):
    """The segments of a street from west to east, through all junctions of a row."""
    nodes = SIDE * row + np.arange(SIDE)
    tail, head = roads.network.tail, roads.network.head
    return [int(np.flatnonzero((tail == a) & (head == b))[0]) for a, b in pairwise(nodes)]


def queue(roads, seed, points=4):
    """A car that stands 8 m before a junction for four points; the GPS' errors are wide."""
    end = roads.line_m[straight(roads)[:3]].sum()
    true = np.concatenate([[20.0, 120.0], np.full(points, end - 8.0), [end + 110.0, end + 210.0]])
    told, traces = on_route(roads, straight(roads), true)
    error = np.random.default_rng(seed).normal(0, NOISE, traces.xy.shape)
    return told, replace(traces, xy=traces.xy + error), true


def test_standing_cars_are_found_before_the_junction(roads):
    own = PlacingSettings(sigma_m=NOISE, crossing_s=30.0, giving_way_s=30.0, other_s=30.0)
    none = replace(own, crossing_s=0.0, giving_way_s=0.0, other_s=0.0)
    right = {"queues": 0.0, "none": 0.0, "nearest": 0.0}
    for seed in range(40):
        told, traces, _ = queue(roads, seed)
        stands = slice(2, 6)
        for name, chosen in (("queues", own), ("none", none)):
            step = placed(told, traces, roads, chosen).step
            right[name] += float((step[stands] == 2).mean()) / 40
        line = roads.line(straight(roads)[2])
        right["nearest"] += float((traces.xy[stands, 0] < line[-1, 0]).mean()) / 40
    # The nearest place knows the junction too late for about a third of the points.
    assert right["nearest"] < 0.8
    assert right["queues"] > 0.9
    assert right["queues"] > right["none"] + 0.1


def test_points_of_a_standing_car_are_averaged(roads):
    own = PlacingSettings(sigma_m=NOISE)
    gaps, single = [], []
    for seed in range(30):
        told, traces, true = queue(roads, seed, points=12)
        made = placed(told, traces, roads, own)
        ends = np.cumsum(roads.line_m[straight(roads)])
        at = made.trajectories.percent * roads.line_m[made.trajectories.segment]
        along = (
            at
            + np.concatenate([[0], ends])[
                [straight(roads).index(s) for s in made.trajectories.segment]
            ]
        )
        gaps.append(np.abs(along - true)[2:14].mean())
        single.append(np.abs(traces.xy[2:14, 0] - told.trajectories.points(roads)[2:14, 0]).mean())
    assert np.mean(gaps) < 0.5 * np.mean(single)


def test_true_places_without_error_stay(roads):
    true = np.array([20.0, 55.0, 130.0, 160.0, 240.0, 350.0, 420.0])
    told, traces = on_route(roads, straight(roads), true)
    made = placed(told, traces, roads, PlacingSettings(sigma_m=2.0, cell_m=1.0))
    assert np.array_equal(made.trajectories.segment, told.trajectories.segment)
    gap = np.hypot(*(made.trajectories.points(roads) - traces.xy).T)
    assert gap.max() < 2.0


def forward(made):
    """Whether steps, and places on one step, never fall."""
    own = np.repeat(np.arange(len(made.trajectories)), made.trajectories.length)
    same = own[1:] == own[:-1]
    step, percent = made.step, made.trajectories.percent
    on = same & (step[1:] == step[:-1])
    return bool((np.diff(step)[same] >= 0).all() and (percent[1:][on] >= percent[:-1][on]).all())


def invariants(made, roads):
    check(made.trajectories, roads, "placed")
    own = np.repeat(np.arange(len(made.trajectories)), made.trajectories.length)
    at = made.trajectories.route_first
    assert np.array_equal(made.trajectories.route[at[own] + made.step], made.trajectories.segment)
    assert forward(made)
    # Routes begin and end where the points do.
    some = made.trajectories.length > 0
    assert (made.step[made.trajectories.first[:-1][some]] == 0).all()
    last = made.step[made.trajectories.first[1:][some] - 1]
    assert np.array_equal(last + 1, np.diff(at)[some])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    noise=st.floats(0.5, 25.0),
    own=st.builds(
        PlacingSettings,
        sigma_m=st.floats(1.0, 30.0),
        cell_m=st.floats(1.0, 30.0),
        crossing_s=st.floats(0.0, 100.0),
        other_s=st.floats(0.0, 100.0),
    ),
)
def test_any_trace_gets_connected_routes_and_places_that_never_fall(
    roads, matcher, seed, noise, own
):
    traces, _, _ = driven(roads, count=3, noise=noise, seed=seed)
    told = matcher.match(traces)
    made = placed(told, traces, roads, own)
    invariants(made, roads)
    assert np.array_equal(made.rows, told.rows)
    again = placed(told, traces, roads, own)
    assert made.trajectories.percent.tobytes() == again.trajectories.percent.tobytes()
    assert made.step.tobytes() == again.step.tobytes()


@settings(max_examples=25, deadline=None)
@given(
    back=st.lists(st.floats(-40.0, 60.0), min_size=1, max_size=60),
    gaps=st.floats(0.0, 100.0),
)
def test_traces_that_go_back_are_placed_forward(roads, back, gaps):
    total = float(roads.line_m[straight(roads)].sum())
    true = np.clip(300.0 + np.cumsum(back), 0.0, total - 1e-6)
    told, traces = on_route(
        roads, straight(roads), true, time=gaps * np.arange(len(true), dtype=float)
    )
    made = placed(told, traces, roads, PlacingSettings(sigma_m=4.0))
    invariants(made, roads)


def test_offsets_are_signed_distances_to_the_line(roads):
    told, traces = on_route(roads, straight(roads), np.arange(20.0, 600.0, 70.0))
    side = np.where(np.arange(len(traces.xy)) % 2, 6.0, -9.0)
    made = told.trajectories
    along = made.percent.astype(float) * roads.line_m[made.segment]
    moved = replace(traces, xy=place(roads, made.segment, along, side))
    got = placed(told, moved, roads, PlacingSettings()).trajectories
    assert got.offset == pytest.approx(side, abs=0.05)


def test_one_point_none_and_no_trace_at_all(roads, matcher):
    told, traces = on_route(roads, straight(roads), np.array([130.0]))
    invariants(placed(told, traces, roads), roads)
    gone = Traces(np.array([0, 0]), np.zeros((0, 2)), np.zeros(0))
    made = placed(matcher.match(gone), gone, roads)
    assert len(made.trajectories) == 0
    assert made.status.tolist() == matcher.match(gone).status.tolist()
    nothing = Traces(np.array([0]), np.zeros((0, 2)), np.zeros(0))
    assert len(placed(matcher.match(nothing), nothing, roads).trajectories) == 0


def test_a_trace_is_placed_alike_alone_and_in_company(roads, matcher):
    traces, _, _ = driven(roads)
    told = placed(matcher.match(traces), traces, roads).trajectories.take(np.array([7]))
    one = traces.take(np.array([7]))
    alone = placed(matcher.match(one), one, roads).trajectories
    for field in told.__dataclass_fields__:
        assert np.array_equal(getattr(told, field), getattr(alone, field))


def test_pieces_are_placed_as_their_wholes(roads, matcher):
    traces = broken(roads)
    pieces = match_pieces(matcher, traces, least=5)
    made = placed_pieces(pieces, roads)
    check(made.trajectories, roads, "pieces")
    whole = placed(pieces.whole, traces, roads)
    assert (made.whole.status == WHOLE).sum() == 2
    assert np.array_equal(made.whole.trajectories.percent, whole.trajectories.percent)
    assert np.array_equal(made.trajectories.time, pieces.trajectories.time)


def test_seconds_of_standing_by_kind_of_junction():
    # A major street from 1 by 0 to 2, joined by a minor one from 3; and a major one, from 4.
    ends = [(1, 0), (0, 2), (3, 0), (4, 2), (2, 1)]
    kinds = ["primary", "primary", "residential", "secondary", "residential"]
    roads = plane_roads(network(ends, [500.0] * 5, highway=kinds))
    route = np.arange(5, dtype=np.int32)
    told = steps_on(roads, np.arange(6), route, np.ones(5), Halting(9.0, 5.0, 2.0, 2.0, 8.0))
    assert told.stand.tolist() == [2.0, 2.0, 5.0, 2.0, 0.0]
    crossing = plane_roads(network(ends, [500.0] * 5, highway=["primary"] * 4 + ["residential"]))
    told = steps_on(crossing, np.arange(6), route, np.ones(5), Halting(9.0, 5.0, 2.0, 2.0, 8.0))
    assert told.stand.tolist() == [9.0, 2.0, 9.0, 2.0, 0.0]


def test_corners_are_slow_and_straight_ways_are_not(roads):
    route = [straight(roads)[0], straight(roads)[1]]
    tail, head = roads.network.tail, roads.network.head
    ahead = np.flatnonzero(tail == head[route[1]])
    bend = next(int(s) for s in ahead if abs(int(head[s]) - int(tail[s])) == SIDE)
    told = steps_on(
        roads,
        np.array([0, 3]),
        np.array([*route, bend], dtype=np.int32),
        np.ones(1),
        Halting(8.0, 4.0, 2.0, 2.0, 8.0),
    )
    assert told.corner[0] > 40
    assert told.corner[1] == pytest.approx(4.0, rel=0.05)  # an arc of 8 m
    assert told.corner[2] > 40


def test_wrong_input_is_refused(roads, matcher):
    with pytest.raises(DataError, match="placing: cell_m must be > 0 and finite, got 0"):
        PlacingSettings(cell_m=0)
    with pytest.raises(DataError, match="placing: other_s must be >= 0 and finite, got -1"):
        PlacingSettings(other_s=-1)
    with pytest.raises(DataError, match="placing: held must be below 1"):
        PlacingSettings(held=1.0)
    traces, _, _ = driven(roads, count=3)
    told = matcher.match(traces)
    with pytest.raises(DataError, match="3 traces were matched, got 2"):
        placed(told, traces.take(np.array([0, 1])), roads)
    first = np.minimum(traces.first, len(traces.xy) - 1)
    shorter = Traces(first, traces.xy[:-1], traces.time[:-1])
    with pytest.raises(DataError, match="as many points as what was matched"):
        placed(told, shorter, roads)
