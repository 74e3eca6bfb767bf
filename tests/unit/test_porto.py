"""Reading Porto's taxi trips."""

import json

import numpy as np
import pytest
from gridroads import grid

from raygen.errors import DataError
from raygen.trajectories.plane import plane_roads
from raygen.trajectories.porto import read_porto, split
from raygen.trajectories.records import check_traces


@pytest.fixture(scope="module")
def roads():
    return plane_roads(grid(30))


def write(path, rows):
    lines = ["TRIP_ID,TIMESTAMP,MISSING_DATA,POLYLINE"]
    for trip, stamp, missing, line in rows:
        text = line if isinstance(line, str) else json.dumps(line)
        lines.append(f'{trip},{stamp},{missing},"{text}"')
    path.write_text("\n".join(lines) + "\n")
    return path


def line(roads, count, step=1.0):
    """Points along the south of the grid, some 92 m apart."""
    low = roads.network.points.min(axis=0)
    return [[low[0] + 1e-5 + step * k * 1e-3, low[1] + 1e-5] for k in range(count)]


JULY = 1372636853  # 1 July 2013, 00:00:53 UTC: 01:00:53 in Porto


def test_trips_are_cleaned_and_counted(roads, tmp_path):
    good = line(roads, 22)
    far = [*good[:-1], [0.0, 0.0]]
    jump = [[good[0][0], good[0][1]], [good[21][0] + 9e-3, good[0][1]]] * 10
    rows = [
        (1, JULY, False, good),
        (2, JULY, True, good),
        (3, JULY, False, good[:19]),
        (4, JULY, False, []),
        (5, JULY, False, far),
        (6, JULY, False, jump),
        (7, JULY + 3600, False, good),
    ]
    told = read_porto(write(tmp_path / "t.csv", rows), roads)
    assert told.trip_id.tolist() == [1, 7]
    assert list(told.dropped.values()) == [1, 2, 1, 1]
    check_traces(told.traces, "porto")
    assert told.traces.time[:2].tolist() == [3653.0, 3668.0]
    assert roads.to_degrees(told.traces.xy[:22]) == pytest.approx(np.array(good), abs=1e-9)


@pytest.mark.parametrize("text", ["[[1, 2, 3]]", "[1, 2]", "nothing", "[[1, null]]"])
def test_a_wrong_polyline_is_refused(roads, tmp_path, text):
    path = write(tmp_path / "t.csv", [(1, JULY, False, text)])
    with pytest.raises(DataError, match=r"t\.csv: column POLYLINE: row 0: must be a list"):
        read_porto(path, roads)


def test_a_doubled_id_is_refused(roads, tmp_path):
    path = write(tmp_path / "t.csv", [(1, JULY, False, []), (1, JULY, False, [])])
    with pytest.raises(DataError, match="column TRIP_ID: an id occurs twice"):
        read_porto(path, roads)


def test_the_split_is_by_the_id_alone():
    ids = 1372636858620000589 + 7 * np.arange(4000)
    train, test = split(ids)
    assert sorted([*train, *test]) == list(range(4000))
    assert len(test) / 4000 == pytest.approx(0.1, abs=0.02)
    turned_train, turned_test = split(ids[::-1].copy())
    assert set(ids[::-1][turned_test]) == set(ids[test])
    assert len(turned_train) == len(train)
