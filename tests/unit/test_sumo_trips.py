"""Taxis driven by SUMO on a grid: whole, on their routes, the same again, slower among others."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from gridroads import grid
from sumo_installed import needs_sumo

from raygen.errors import DataError
from raygen.trajectories.plane import plane_roads
from raygen.trajectories.records import check, check_traces
from training.simulated_trips import TaxiCity, TaxiWorld
from training.sumo_traffic import Tally, Traffic
from training.sumo_trips import SumoCity, kept_trips

WORLD = TaxiWorld(distance_m=600.0, interval_s=5.0, points=(5, 200))
QUIET = Traffic(cars=60, hours=(8,), warm_s=120, after_s=600)


@pytest.fixture(scope="module")
def city():
    return TaxiCity(plane_roads(grid(8)), WORLD, seed=3)


@pytest.fixture(scope="module")
def driven(city):
    return SumoCity(city, QUIET).simulate(np.arange(40))


@needs_sumo
def test_trips_are_whole_and_on_their_routes(city, driven):
    made, told = driven
    check(made.truth, city.roads, "truth")
    check_traces(made.traces, "traces")
    assert (made.truth.steps() >= 0).all()
    assert told.asked == 40
    lost = told.no_way + told.waiting + told.unfinished + told.teleported + told.other_lengths
    assert len(made.trip_id) + lost == 40
    assert made.lost == lost
    assert len(made.trip_id) > 20
    inside = np.diff(made.traces.time)[
        np.diff(np.repeat(np.arange(len(made.truth)), made.truth.length)) == 0
    ]
    assert (inside == 5).all()
    gap = np.hypot(*(made.traces.xy - made.truth.points(city.roads)).T)
    assert np.sqrt((gap**2).mean() / 2) == pytest.approx(WORLD.noise_m, rel=0.15)


@needs_sumo
def test_places_along_the_route_never_fall_and_cars_keep_to_the_speed(city, driven):
    truth = driven[0].truth
    total = np.concatenate([[0.0], np.cumsum(city.roads.line_m[truth.route])])
    step = np.repeat(truth.route_first[:-1], truth.length) + truth.steps()
    at = total[step] + truth.percent * city.roads.line_m[truth.segment]
    move = np.delete(np.diff(at), truth.first[1:-1] - 1)
    assert (move >= -0.01).all()
    assert move.max() / 5 < 1.3 * city.roads.network.speed_kph.max() / 3.6


@needs_sumo
def test_the_same_again_and_from_the_file(city, driven, tmp_path):
    made, told = kept_trips(city, QUIET, np.arange(40), tmp_path)
    assert np.array_equal(made.traces.xy, driven[0].traces.xy)
    assert np.array_equal(made.trip_id, driven[0].trip_id)
    assert told == str(driven[1])
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    again, _ = kept_trips(city, QUIET, np.arange(40), tmp_path)
    assert path.stat().st_mtime_ns == before
    assert np.array_equal(again.traces.xy, made.traces.xy)


@needs_sumo
def test_other_cars_make_trips_slower(city, driven):
    crowded, told = SumoCity(city, replace(QUIET, cars=2600, after_s=300)).simulate(np.arange(40))
    assert told.cars > 20 * driven[1].cars
    both = np.intersect1d(crowded.trip_id, driven[0].trip_id)
    times = [
        np.mean(each.truth.length[np.isin(each.trip_id, both)]) for each in (driven[0], crowded)
    ]
    assert times[1] > 1.08 * times[0]


@needs_sumo
def test_no_trip_left_is_an_error(city):
    none = replace(WORLD, points=(150, 200))
    with pytest.raises(DataError, match=r"sumo trips: none is left; 5 taxis: .* of other lengths"):
        SumoCity(TaxiCity(city.roads, none, 3), QUIET).simulate(np.arange(5))


def test_volumes_follow_the_hour_and_tallies_add_up():
    traffic = Traffic(cars=1000, least=0.2)
    assert traffic.volume(8) == 1000
    assert traffic.volume(3) == 200
    assert 200 < traffic.volume(12) < 1000
    assert Tally(asked=2, cars=5) + Tally(asked=1, teleported=1) == Tally(3, teleported=1, cars=5)


@needs_sumo
def test_signals_and_their_programmes_are_the_traffic_s(city, tmp_path):
    found: list[set[str]] = []
    for share, cycle in ((0.0, 90), (1.0, 100)):
        traffic = replace(QUIET, signals=share, cycle_s=cycle)
        SumoCity(city, traffic, tmp_path)
        root = ElementTree.parse(tmp_path / "city.net.xml").getroot()
        lit = root.findall("tlLogic")
        assert len(lit) == city.signals(share).sum()
        found.append({str(sum(float(p.attrib["duration"]) for p in one)) for one in lit})
    assert found == [set(), {"100.0"}]
