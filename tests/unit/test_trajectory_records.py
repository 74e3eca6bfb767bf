"""Traces and road trajectories: rebuilding points, taking rows, checks, Parquet."""

from dataclasses import replace

import numpy as np
import pytest
import shapely
from gridroads import grid

from raygen.errors import DataError
from raygen.trajectories.plane import plane_roads
from raygen.trajectories.records import (
    RoadTrajectories,
    Traces,
    check,
    check_traces,
    joined,
    read_trajectories,
    write_trajectories,
)


@pytest.fixture(scope="module")
def roads():
    return plane_roads(bent(grid(5)))


def bent(network):
    """Lines of four points, the inner two moved aside."""
    ends = network.points.reshape(-1, 2, 2)
    share = np.array([0, 0.3, 0.7, 1])[None, :, None]
    lines = ends[:, :1] + share * (ends[:, 1:] - ends[:, :1])
    lines[:, 1] += 0.0001
    lines[:, 2] -= 0.00005
    count = network.segments
    return replace(network, point_at=4 * np.arange(count + 1), points=lines.reshape(-1, 2))


def some(roads, lists=4, points=25, seed=0):
    rng = np.random.default_rng(seed)
    route = [int(rng.integers(roads.segments))]
    starts, routes = [0], []
    for _ in range(lists):
        while len(route) < 6:
            route.append(
                int(rng.choice(np.flatnonzero(roads.network.tail == roads.network.head[route[-1]])))
            )
        routes += route
        starts.append(len(routes))
        route = [int(rng.integers(roads.segments))]
    drawn = np.array(routes, dtype=np.int32)
    segment = np.concatenate([np.sort(rng.integers(a, a + 6, points)) for a in starts[:-1]])
    return RoadTrajectories(
        np.arange(lists + 1) * points,
        drawn[segment],
        rng.random(lists * points).astype(np.float32),
        rng.normal(0, 8, lists * points).astype(np.float32),
        np.tile(15.0 * np.arange(points), lists) + 7 * 3600,
        np.array(starts),
        drawn,
    )


def test_points_equal_shapely_interpolation_and_offset(roads):
    made = some(roads)
    made = replace(
        made, percent=np.where(np.arange(100) % 7 == 0, 0, made.percent).astype(np.float32)
    )
    made = replace(
        made, percent=np.where(np.arange(100) % 11 == 1, 1, made.percent).astype(np.float32)
    )
    lines = roads.lines()
    wanted = []
    for segment, percent, offset in zip(made.segment, made.percent, made.offset, strict=True):
        line = lines[segment]
        at = float(percent) * line.length
        on = shapely.get_coordinates(line.interpolate(at))[0]
        # Direction by two near points of the same piece.
        low, high = (at, at + 1e-3) if at < line.length - 1e-3 else (at - 1e-3, at)
        a, b = (shapely.get_coordinates(line.interpolate(x))[0] for x in (low, high))
        unit = (b - a) / np.hypot(*(b - a))
        wanted.append(on + offset * np.array([-unit[1], unit[0]]))
    assert np.abs(made.points(roads) - np.array(wanted)).max() < 1e-4


def test_lengths_are_those_of_shapely(roads):
    assert roads.line_m == pytest.approx(shapely.length(roads.lines()))


def test_metres_and_degrees_are_inverse(roads):
    assert roads.to_degrees(roads.xy) == pytest.approx(roads.network.points, abs=1e-9)
    assert roads.crs == "EPSG:32611"


def test_a_doubled_point_keeps_the_direction_before_it(roads):
    twice = np.repeat(roads.network.points.reshape(-1, 4, 2), [1, 1, 2, 1], axis=1)
    network = replace(
        roads.network, point_at=5 * np.arange(roads.segments + 1), points=twice.reshape(-1, 2)
    )
    made = some(roads)
    assert np.isfinite(made.points(plane_roads(network))).all()
    assert made.points(plane_roads(network)) == pytest.approx(made.points(roads), abs=1e-6)


def test_take_and_join_give_back_the_same(roads):
    made = some(roads)
    again = joined([made.take(np.array([0, 1])), made.take(np.array([2, 3]))])
    for field in made.__dataclass_fields__:
        assert np.array_equal(getattr(again, field), getattr(made, field))
    turned = made.take(np.array([3, 0]))
    assert np.array_equal(turned.time[:25], made.time[75:])
    assert np.array_equal(turned.route[6:], made.route[:6])


def test_take_of_traces(roads):
    traces = some(roads).traces(roads)
    taken = traces.take(np.array([2]))
    assert np.array_equal(taken.xy, traces.xy[50:75])
    assert taken.length.tolist() == [25]


def test_parquet_round_trip(roads, tmp_path):
    made = some(roads)
    write_trajectories(made, tmp_path / "made.parquet")
    again = read_trajectories(tmp_path / "made.parquet", roads)
    for field in made.__dataclass_fields__:
        assert np.array_equal(getattr(again, field), getattr(made, field))
        assert getattr(again, field).dtype == getattr(made, field).dtype


def test_other_parquet_is_refused(roads, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x\.parquet: not a file of road trajectories"):
        read_trajectories(tmp_path / "x.parquet", roads)


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("segment", lambda x: x + 1000, r"made: segment: row 0: must be 0 to 79"),
        ("percent", lambda x: x + 1, r"made: percent: row \d+: must be 0 to 1"),
        ("offset", lambda x: x * np.nan, r"made: offset: row 0: must be finite"),
        ("time", lambda x: -x, r"made: time: row 1: must not fall"),
        ("first", lambda x: x + 1, r"made: first: must rise from 0 to 100"),
        ("route", lambda x: x[::-1].copy(), r"made: route: row \d+: must begin where"),
        ("percent", lambda x: x[:-1], r"made: segment, percent, offset and time must be equally"),
    ],
)
def test_check_names_what_is_wrong(roads, field, change, message):
    made = some(roads)
    check(made, roads, "made")
    with pytest.raises(DataError, match=message):
        check(replace(made, **{field: change(getattr(made, field))}), roads, "made")


def test_check_of_traces():
    good = Traces(np.array([0, 2]), np.zeros((2, 2)), np.array([0.0, 15.0]))
    check_traces(good, "traces")
    with pytest.raises(DataError, match="traces: xy: row 0: must be finite"):
        check_traces(replace(good, xy=good.xy + np.inf), "traces")
    with pytest.raises(DataError, match="traces: xy must be"):
        check_traces(replace(good, time=good.time[:1]), "traces")
