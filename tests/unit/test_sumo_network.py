"""A road graph as a SUMO network: what goes out comes back, and lanes lie on their segments."""

import numpy as np
import pytest
from gridroads import grid, network
from sumo_installed import needs_sumo

from raygen.errors import DataError
from raygen.network.sumo import read_sumo
from raygen.trajectories.plane import plane_roads
from raygen.trajectories.sumo_network import (
    on_segments,
    program,
    read_lanes,
    run_program,
    turns,
    write_plain,
    write_sumo,
)


@pytest.fixture(scope="module")
def roads():
    return plane_roads(grid(6))


@pytest.fixture(scope="module")
def built(roads, tmp_path_factory):
    path = tmp_path_factory.mktemp("sumo") / "city.net.xml"
    write_sumo(roads, path, signals=np.arange(roads.network.nodes) % 7 == 0)
    return path


@needs_sumo
def test_what_is_written_is_read_back(roads, built):
    back = plane_roads(read_sumo(built))
    rows = np.array([int(name[1:]) for name in back.network.source_id.to_pylist()])
    assert sorted(rows) == list(range(roads.segments))
    assert back.crs == roads.crs
    np.testing.assert_allclose(back.network.length_m, roads.line_m[rows], atol=1.0)
    np.testing.assert_allclose(back.network.speed_kph, roads.network.speed_kph[rows], atol=0.05)
    assert (back.network.lanes == roads.network.lanes[rows]).all()
    kinds = roads.network.highway.take(rows).to_pylist()
    assert back.network.highway.to_pylist() == kinds
    for mine, row in enumerate(rows[:20].tolist()):
        np.testing.assert_allclose(back.line(mine), roads.line(row), atol=0.05)


@needs_sumo
def test_lanes_lie_on_their_segments_and_ways_between_them(roads, built):
    lanes = read_lanes(built, roads)
    own = lanes.behind < 0
    assert set(lanes.segment[own]) == set(range(roads.segments))
    line = roads.line_m[lanes.segment]
    assert (lanes.begin >= 0).all()
    assert (lanes.end >= lanes.begin).all()
    assert (lanes.end[own] <= line[own] + 1e-6).all()
    inner = np.flatnonzero(~own)
    ways = set(zip(lanes.segment[inner].tolist(), lanes.behind[inner].tolist(), strict=True))
    wanted = set(zip(*(each.tolist() for each in turns(roads)), strict=True))
    assert ways == wanted
    # The end of a way through a junction is on the segment behind, where its lanes begin.
    segment, metres = on_segments(lanes, inner, lanes.length[inner], roads)
    past = segment == lanes.behind[inner]
    assert past.mean() > 0.5
    assert (metres <= roads.line_m[segment]).all()


@needs_sumo
def test_a_failing_program_tells_why(tmp_path):
    with pytest.raises(DataError, match=r"netconvert: ended with 1: .*no\.xml"):
        run_program("netconvert -n no.xml -e no.xml -o x.net.xml".split(), tmp_path)


def test_a_program_that_is_not_there_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match=r"sumo: no such program.*pip install 'raygen\[sumo\]'"):
        program("sumo")


def test_loops_and_their_turns_are_left_out(tmp_path):
    roads = plane_roads(network([(0, 1), (1, 0), (1, 1)], [100, 100, 50]))
    write_plain(roads, tmp_path)
    edges = (tmp_path / "plain.edg.xml").read_text()
    assert 'id="e1"' in edges
    assert 'id="e2"' not in edges
    before, after = turns(roads)
    assert sorted(zip(before.tolist(), after.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_a_file_that_is_no_network_is_refused(tmp_path, roads):
    path = tmp_path / "x.net.xml"
    path.write_text('<net><edge id="street"><lane id="street_0" length="5"/></edge></net>')
    with pytest.raises(DataError, match=r"x.net.xml: not a SUMO network of this graph"):
        read_lanes(path, roads)
