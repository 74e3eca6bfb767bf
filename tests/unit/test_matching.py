"""Map matching: tables, candidates, matched traces, broken ones."""

from itertools import pairwise

import numpy as np
import pytest
import shapely
from gridroads import broken, driven, grid
from scipy.sparse.csgraph import dijkstra

from raygen.errors import DataError
from raygen.matching.candidates import near, piece_grid
from raygen.matching.match import Matcher, Settings
from raygen.matching.nearest import roads_of
from raygen.matching.pieces import match_pieces
from raygen.matching.reach import find, reach
from raygen.matching.viterbi import EMPTY, NO_WAY, OFF_ROAD, WHOLE
from raygen.trajectories.plane import plane_roads
from raygen.trajectories.records import check


@pytest.fixture(scope="module")
def roads():
    return plane_roads(grid(8))


@pytest.fixture(scope="module")
def matcher(roads):
    return Matcher(roads, Settings(sigma_m=5.0))


def test_reach_equals_dijkstra_and_leads_back(roads):
    table = reach(roads, 450.0)
    network = roads.network
    matrix = network.graph().adjacency(roads.line_m)
    cost = dijkstra(matrix)
    for source in range(0, network.nodes, 7):
        row = slice(table.at[source], table.at[source + 1])
        assert table.target[row].tolist() == np.flatnonzero(cost[source] <= 450).tolist()
        assert table.metres[row] == pytest.approx(cost[source][table.target[row]], abs=0.01)
        for k in range(row.start, row.stop):
            node, metres = int(table.target[k]), 0.0
            while node != source:
                into = table.last[find(table.at, table.target, source, node)]
                metres += roads.line_m[into]
                assert network.head[into] == node
                node = int(network.tail[into])
            assert metres == pytest.approx(table.metres[k], abs=0.01)
            if table.target[k] != source:
                assert network.tail[table.first[k]] == source


def test_candidates_equal_shapely(roads):
    pieces, lines = piece_grid(roads), roads.lines()
    rng = np.random.default_rng(3)
    low, high = roads.xy.min(axis=0), roads.xy.max(axis=0)
    for x, y in rng.uniform(low - 30, high + 30, (40, 2)):
        out = np.empty((64, 4))
        count = near(pieces, x, y, 70.0, out)
        far = shapely.distance(lines, shapely.Point(x, y))
        assert set(out[:count, 0].astype(int)) == set(np.flatnonzero(far <= 70))
        assert (np.diff(out[:count, 3]) >= 0).all()
        for segment, metres, side, distance in out[:count]:
            assert distance == pytest.approx(far[int(segment)])
            assert metres == pytest.approx(
                shapely.line_locate_point(lines[int(segment)], shapely.Point(x, y))
            )
            assert abs(side) == distance
        few = np.empty((5, 4))
        assert near(pieces, x, y, 70.0, few) == min(5, count)
        assert few[: min(5, count), 3] == pytest.approx(out[: min(5, count), 3])


def test_noisy_traces_come_back_to_the_roads_that_were_driven(roads, matcher):
    traces, truth, routes = driven(roads)
    told = matcher.match(traces)
    check(told.trajectories, roads, "matched")
    assert (told.status == WHOLE).all()
    # Points near a corner may fall on the segment beside; whole routes must hold.
    assert (told.trajectories.segment == truth).mean() > 0.9
    at = told.trajectories.route_first
    found = [told.trajectories.route[a:b].tolist() for a, b in pairwise(at)]
    same = [
        f == r or f == r[1:] or f == r[:-1] or f == r[1:-1]
        for f, r in zip(found, routes, strict=True)
    ]
    assert np.mean(same) >= 0.6


def test_directions_of_a_street_are_told_apart(roads, matcher):
    traces, truth, _ = driven(roads, noise=0.01)
    told = matcher.match(traces).trajectories
    assert (told.segment == truth).mean() > 0.99


def test_labels_rebuild_points_beside_their_segment(roads, matcher):
    traces, _, _ = driven(roads)
    told = matcher.match(traces).trajectories
    inside = (told.percent > 0) & (told.percent < 1)
    gap = np.hypot(*(told.points(roads) - traces.xy).T)
    assert gap[inside].max() < 0.01
    assert (gap <= 1.5 * np.abs(told.offset) + 0.01).all()


def test_steps_are_those_of_the_matcher(roads, matcher):
    told = matcher.match(driven(roads)[0])
    assert (told.trajectories.steps() == told.step).mean() > 0.99


def test_a_trace_is_matched_alike_alone_and_in_company(roads, matcher):
    traces, _, _ = driven(roads)
    told = matcher.match(traces).trajectories.take(np.array([7]))
    alone = matcher.match(traces.take(np.array([7]))).trajectories
    for field in told.__dataclass_fields__:
        assert np.array_equal(getattr(told, field), getattr(alone, field))


def test_broken_traces_are_reported_and_the_others_kept(roads, matcher):
    told = matcher.match(broken(roads))
    assert told.status.tolist() == [OFF_ROAD, NO_WAY, WHOLE, WHOLE, EMPTY]
    assert told.where[0] == 5
    assert told.rows.tolist() == [2, 3]
    assert str(told).startswith("2 of 5 traces matched; 1 a point has no road near it, 1 no way")


def test_pieces_of_broken_traces(roads, matcher):
    traces = broken(roads)
    told = match_pieces(matcher, traces, least=5)
    check(told.trajectories, roads, "pieces")
    assert told.rows[:2].tolist() == [2, 3]
    assert told.rows.tolist().count(0) == 2  # before and behind the point off the road
    assert (told.trajectories.length >= 5).all()
    assert np.array_equal(told.trajectories.first, told.traces.first)
    assert np.array_equal(told.trajectories.time, told.traces.time)
    assert (told.rows[2:] < 2).all()


def test_points_of_broken_traces_get_the_nearest_road(roads, matcher):
    traces = broken(roads)
    segment, told = roads_of(matcher, traces)
    lines = roads.lines()
    here = slice(traces.first[0], traces.first[1])
    far = shapely.distance(lines[segment[here]], shapely.points(traces.xy[here]))
    least = [shapely.distance(lines, point).min() for point in shapely.points(traces.xy[here])]
    assert far == pytest.approx(least)
    whole = slice(traces.first[2], traces.first[3])
    count = told.trajectories.first[1]
    assert np.array_equal(segment[whole], told.trajectories.segment[:count])


def test_wrong_settings_are_refused():
    with pytest.raises(DataError, match="sigma_m must be > 0"):
        Settings(sigma_m=0)
    with pytest.raises(DataError, match="candidates must be 1 to 1000"):
        Settings(candidates=0)
