"""Several drives of one route, and stretches of observed trips."""

import numpy as np
import pytest
from trips_on_grid import grid_roads, grid_trips

from training import trajectory_branches
from training.codec_data import TrajectorySources
from training.trajectory_branches import simulated_branches, stretches


@pytest.fixture(scope="module")
def driven():
    """Six drives of each of some routes on a grid that is read from nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectory_branches, "read_network", lambda _: grid_roads().network)
        sources = TrajectorySources(networks=("grid",), simulated=120, intervals=(5.0, 3.0))
        return simulated_branches("grid", sources, 6, 1)


def routes(made):
    return [made.route[a:b].tobytes() for a, b in zip(made.route_first, made.route_first[1:])]  # noqa: B905


def test_drives_of_a_route_share_it_and_nothing_else(driven):
    made, of = driven.trips.made, driven.of
    assert len(made) == len(of) > 30
    assert (np.diff(of) >= 0).all()
    ways = np.array(routes(made))
    shared = [np.flatnonzero(of == route) for route in np.unique(of)]
    assert max(map(len, shared)) > 3
    for rows in shared:
        assert len(set(ways[rows].tolist())) == 1
    many = max(shared, key=len)
    start = made.time[made.first[:-1]][many]
    assert len(set(start.tolist())) == len(many)
    interval = np.array([np.diff(made.time[made.first[row] :][:2])[0] for row in range(len(made))])
    assert set(np.round(interval, 6).tolist()) == {3.0, 5.0}
    assert ((made.length >= 20) & (made.length <= 200)).all()
    assert made.offset.std() > 1.0  # what the GPS says lies across from the road


def test_stretches_lie_on_their_own_part_of_the_route():
    roads = grid_roads()
    whole = grid_trips(8, seed=2, low=20, high=60)
    made, of = stretches(whole, 2, 1)
    assert (np.diff(of) >= 0).all()
    assert len(made) > len(whole)
    assert (np.bincount(of) <= 3).all()
    assert (made.steps() >= 0).all()
    xy, all_xy = made.points(roads), whole.points(roads)
    for row, source in enumerate(of.tolist()):
        points = xy[made.first[row] : made.first[row + 1]]
        from_ = all_xy[whole.first[source] : whole.first[source + 1]]
        times = made.time[made.first[row] : made.first[row + 1]]
        at = np.searchsorted(whole.time[whole.first[source] : whole.first[source + 1]], times)
        assert np.allclose(points, from_[at])
        route = made.route[made.route_first[row] : made.route_first[row + 1]]
        if row and of[row] == of[row - 1]:  # a stretch, not the whole
            assert route[0] == made.segment[made.first[row]]
            assert route[-1] == made.segment[made.first[row + 1] - 1]
        assert roads.follows(route[:-1], route[1:]).all()
        assert made.length[row] >= 20
    again, _ = stretches(whole, 2, 1)
    assert np.array_equal(again.first, made.first)
