"""Trajectories of a shard's car trips: who is traced, where, when; and what validation sees."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
import shapely
import tinycity
import tinyspeaker
import tinytrajectories
from smallpopulation import failed, table, tables

from assignment.times import CONGESTION
from raygen import schema
from raygen.city import open_city
from raygen.config import ComputeConfig, SpeakerConfig, TrajectoryConfig
from raygen.models.trajectory_fitted import load_speaker
from raygen.models.trajectory_model import load_trajectory_model
from raygen.stages.road_trips import RoadTrips, TripEnds, city_roads
from raygen.stages.trajectories import midnight, points_of, trace
from raygen.stages.trajectory_planners import LanguagePlanner, PatternPlanner
from raygen.trajectory_rules import sampled
from raygen.validation import validate

SEED = 3
MIDNIGHT = midnight(1, "America/Los_Angeles")


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))


@pytest.fixture(scope="module")
def roads(city):
    return RoadTrips(city_roads(city, CONGESTION.astype(float)), SEED)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    weights = tmp_path_factory.mktemp("weights")
    tinytrajectories.build(weights)
    return PatternPlanner(load_trajectory_model(weights, ComputeConfig()))


def day(count=60, seed=0):
    """Trips there and back between random points; every third one on foot."""
    rng = np.random.default_rng(seed)
    activities, trips = [], []
    for person in range(count):
        home, out = rng.uniform([-118.23, 33.98], [-118.15, 34.02], (2, 2)).tolist()
        leave = int(rng.integers(20_000, 40_000))
        arrive = leave + int(rng.integers(200, 3600))
        activities += [
            (person, 0, 0, "home", 0, leave, 11, 1, *home),
            (person, 0, 1, "work", arrive, 86_400, 12, 1, *out),
        ]
        mode = "walk" if person % 3 == 0 else "car_driver"
        trips.append((person * 896 + 1, person, 0, 1, 11, 12, leave, arrive, "work", mode, 5000.0))
    return table("trips", trips), table("activities", activities)


@pytest.fixture(scope="module")
def made(roads, model):
    return trace(*day(), roads, model, TrajectoryConfig(share=0.5), (SEED, MIDNIGHT))


def test_sampled_car_trips_and_no_others(made):
    trips = day()[0]
    found, counters = made
    ids = trips.column("trip_id").to_numpy()
    drawn = sampled(ids, 0.5, SEED)
    car = np.array(trips.column("mode").to_pylist()) == "car_driver"
    assert found.column("trip_id").to_pylist() == ids[drawn & car].tolist()
    assert counters["trips_sampled"] == drawn.sum()
    assert counters["trips_sampled_not_by_car"] == (drawn & ~car).sum() > 0
    assert 0.3 < drawn.mean() < 0.7


def test_points_lie_on_the_roads_between_the_activities(made, city, roads):
    found = made[0]
    trips, activities = day()
    at = {row["person_id"]: row for row in activities.to_pylist() if row["sequence"] == 0}
    plane = roads.roads
    edges = dict(zip(roads.segment_id.tolist(), plane.lines(), strict=True))
    person = dict(
        zip(trips.column("trip_id").to_pylist(), trips.column("person_id").to_pylist(), strict=True)
    )
    off = []
    for row in found.to_pylist():
        line = shapely.from_wkb(row["geometry"])
        points = shapely.points(plane.to_metres(shapely.get_coordinates(line)))
        route = shapely.multilinestrings([edges[segment] for segment in row["segment_ids"]])
        far = shapely.distance(points, route)
        np.testing.assert_allclose(far, row["off_road_m"], atol=0.01)
        off += far.tolist()
        home = at[person[row["trip_id"]]]
        door = shapely.Point(*plane.to_metres(np.array([[home["lon"], home["lat"]]]))[0])
        nearest = shapely.distance(door, plane.lines()).min()
        assert shapely.distance(points[0], door) < nearest + 30
    assert np.mean(np.array(off) < 20) > 0.99


def test_times_run_from_departure_to_arrival(made):
    trips = {row["trip_id"]: row for row in day()[0].to_pylist()}
    for row in made[0].to_pylist():
        trip, stamps = trips[row["trip_id"]], row["timestamps"]
        assert row["start_s"] == trip["depart_s"]
        seconds = [(stamp - MIDNIGHT).total_seconds() for stamp in stamps]
        assert seconds[0] == pytest.approx(trip["depart_s"], abs=1e-3)
        assert seconds[-1] == pytest.approx(trip["arrive_s"], abs=1e-3)
        assert (np.diff(seconds) > 0).all()
        assert 20 <= len(stamps) <= 200


def test_batches_and_neighbours_change_nothing(made, roads, model):
    trips, activities = day()
    small = TrajectoryConfig(share=0.5)
    model = replace(model, batch=3)
    again = trace(trips, activities, roads, model, small, (SEED, MIDNIGHT))[0]
    assert again.column("trip_id").equals(made[0].column("trip_id"))
    for one, other in zip(again.to_pylist(), made[0].to_pylist(), strict=True):
        a, b = (shapely.get_coordinates(shapely.from_wkb(x["geometry"])) for x in (one, other))
        np.testing.assert_allclose(a, b, atol=1e-5)
    half = trace(trips.slice(0, 30), activities, roads, model, small, (SEED, MIDNIGHT))[0]
    assert (
        half.column("segment_ids").to_pylist()
        == made[0].column("segment_ids").to_pylist()[: len(half)]
    )


def test_a_shard_without_car_trips(roads, model):
    trips, activities = day(3)
    none = trace(
        trips.slice(0, 1), activities, roads, model, TrajectoryConfig(share=1), (SEED, MIDNIGHT)
    )
    assert none[0].equals(schema.TRAJECTORIES.empty_table())
    assert none[1]["trips_sampled_not_by_car"] == 1


def test_both_ends_on_one_segment(roads):
    """There and back along one street: two directions, and only the part between the ends."""
    plane = roads.roads
    segment = int(np.argmax(plane.line_m))
    line = plane.lines()[segment]
    a, b = (
        shapely.get_coordinates(line.interpolate(share, normalized=True)) for share in (0.3, 0.6)
    )
    here, there = plane.to_degrees(a), plane.to_degrees(b)
    ends = TripEnds(np.array([1, 2]), np.concatenate([here, there]), np.concatenate([there, here]),
                    np.array([0.0, 0.0]), np.array([60.0, 60.0]))  # fmt: skip
    routes, span = roads.routes(ends)
    assert routes.count.tolist() == [1, 1]
    network = plane.network
    one, other = routes.segment.tolist()
    assert (network.tail[one], network.head[one]) == (network.head[other], network.tail[other])
    np.testing.assert_allclose(span[:, 1] - span[:, 0], 0.3, atol=0.01)


def test_points_and_intervals():
    count, interval = points_of(np.array([60.0, 600.0, 605.0, 9000.0]), 15.0)
    assert count.tolist() == [20, 41, 41, 200]
    np.testing.assert_allclose(interval * (count - 1), [60, 600, 605, 9000])


def test_midnight_is_the_city_s():
    assert datetime(2024, 1, 2, 8, tzinfo=UTC) == MIDNIGHT
    assert midnight(0, "UTC") == datetime(2024, 1, 1, tzinfo=UTC)


def test_geoparquet(made, tmp_path):
    import geopandas

    from actors.writer import parquet_bytes

    (tmp_path / "t.parquet").write_bytes(parquet_bytes(made[0], "trajectories"))
    frame = geopandas.read_parquet(tmp_path / "t.parquet")
    assert "WGS 84" in frame.crs.name
    assert set(frame.geom_type) == {"LineString"}
    assert len(frame) == made[0].num_rows


BREAKAGES = {
    "the trips of the sample that go by car have a trajectory, and no others":
        lambda t: t.slice(1),
    "trajectories are of trips, in their order":
        lambda t: t.take(pa.array(np.arange(len(t))[::-1])),
    "trajectories have 20 to 200 points and as many times":
        lambda t: cells(t, "off_road_m", lambda x: x[:-1]),
    "points rise in time, within their trip's times":
        lambda t: cells(t, "start_s", lambda x: x + 1),
    "99% of points lie within 20 m of their road":
        lambda t: cells(t, "off_road_m", lambda x: [30.0] * len(x)),
}  # fmt: skip


def cells(made, column, change):
    at = made.schema.get_field_index(column)
    values = [change(x) for x in made.column(column).to_pylist()]
    return made.set_column(at, made.schema.field(at), pa.array(values, made.schema.field(at).type))


def write(directory, trips, activities, made):
    """Write a population whose persons are the trips'."""
    from actors.parcels import Finished
    from actors.writer import Writer
    from raygen import manifest
    from raygen.config import RunConfig
    from raygen.storage import Store

    config = RunConfig.model_validate(
        {"city": "unused", "seed": SEED, "trajectories": {"share": 0.5},
         "chains": {"households": False}, "assignment": {"cars": False}}
    )  # fmt: skip
    store = Store(str(directory))
    city = manifest.SourceEntry(name="c", digest="aa", provenance={})
    run = manifest.identify(config, city, (), (11, 12), 1)
    every = {
        "households": tables()["households"],
        "persons": tables()["persons"],
        "activities": activities,
        "trips": trips,
        "trajectories": made,
    }
    receipt = Writer(store, run.digest).write(Finished(0, every, np.array([0]), {}, ()))
    manifest.finish(store, run, {0: receipt}, {})
    return str(directory)


def test_sound_trajectories_pass(tmp_path, made):
    checks = {check.name: check for check in validate(write(tmp_path / "p", *day(), made[0]))}
    for rule in BREAKAGES:
        assert checks[rule].violations == 0
        assert checks[rule].checked >= made[0].num_rows


@pytest.mark.parametrize("rule", BREAKAGES)
def test_a_breakage_is_seen(tmp_path, made, rule):
    broken = BREAKAGES[rule](made[0])
    assert rule in failed(write(tmp_path / "p", *day(), broken))


def test_nobody_begins_or_ends_by_turning_round(roads):
    """Who would turn back along the first or last segment could have taken the other direction."""
    rng = np.random.default_rng(1)
    where = rng.uniform([-118.23, 33.98], [-118.15, 34.02], (2, 40, 2))
    zero = np.zeros(40)
    routes, _ = roads.routes(TripEnds(np.arange(40), where[0], where[1], zero, zero + 600))
    network = roads.roads.network
    begin, end = routes.first[:-1], routes.first[1:] - 1
    some = routes.count > 1
    for one, other in ((begin[some], begin[some] + 1), (end[some] - 1, end[some])):
        a, b = routes.segment[one], routes.segment[other]
        back = (network.tail[a] == network.head[b]) & (network.head[a] == network.tail[b])
        assert not back.any()


@pytest.fixture(scope="module")
def speaking(tmp_path_factory, roads):
    """The other planner: a language model with random weights."""
    folder = tinyspeaker.build(tmp_path_factory.mktemp("language"), roads.roads, "c")
    how = SpeakerConfig(folder=folder, slots=4)
    speaker = load_speaker(how, "c", roads.roads.network, ComputeConfig())
    return LanguagePlanner(speaker, tinytrajectories.codec(), roads.roads.network)


def test_a_language_model_has_the_same_interface(roads, speaking):
    trips, activities = day(12)
    config = TrajectoryConfig(share=1)
    run = (SEED, MIDNIGHT)
    found, counters = trace(trips, activities, roads, speaking, config, run)
    assert found.schema == schema.TRAJECTORIES
    assert found.num_rows == 8
    points = [len(stamps) for stamps in found.column("timestamps").to_pylist()]
    assert counters["language_answer_tokens"] == sum(3 + 4 * -(-n // 8) for n in points)
    assert counters["language_prompt_tokens"] > 50 * 8
    assert counters["trajectory_points"] == sum(points)
    off = np.concatenate(found.column("off_road_m").to_numpy())
    assert (off < 20).mean() > 0.99
    # Other trips of the shard, and batches of the decoder, change nothing.
    few = trace(trips.slice(0, 5), activities, roads, replace(speaking, batch=1), config, run)[0]
    assert few.num_rows == 3
    for one, other in zip(few.to_pylist(), found.to_pylist(), strict=False):
        a, b = (shapely.get_coordinates(shapely.from_wkb(x["geometry"])) for x in (one, other))
        np.testing.assert_allclose(a, b, atol=1e-5)
    other = trace(trips, activities, roads, speaking, config, (SEED + 1, MIDNIGHT))[0]
    assert not other.column("geometry").equals(found.column("geometry"))
