"""Baselines of trajectories, their data and results, on a grid."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import shapely
from gridroads import grid

import training.trajectory_diffusion as diffusing
import training.trajectory_results as results
import training.trajectory_vae as recurrent
from raygen.errors import DataError
from raygen.matching.match import Matcher, Settings
from raygen.matching.nearest import roads_of
from raygen.results import Row
from raygen.trajectories.conditions import conditions_of
from raygen.trajectories.plane import plane_roads
from raygen.trajectories.records import Traces, check_traces
from training.driven_again import driven_again, known_drives
from training.simulated_trips import TaxiCity, TaxiWorld
from training.trajectory_baselines import (
    along_route,
    constant_speed,
    matched_profile,
    mechanistic,
    neural,
    shortest_constant,
)
from training.trajectory_sets import Part, TrajectorySet
from training.trajectory_speeds import speed_rows, speed_table, speeds
from training.trajectory_tables import COLUMNS, SPREAD, table_1


@pytest.fixture(scope="module")
def data():
    graph = plane_roads(grid(12))
    city = TaxiCity(graph, TaxiWorld(distance_m=600.0, points=(8, 200)), 0)
    made = city.simulate(np.arange(160))
    told = Matcher(graph, Settings(sigma_m=5.0)).match(made.traces)
    cut = len(told.rows) - 20
    parts = [
        Part(told.trajectories.take(rows), made.traces.take(told.rows[rows]))
        for rows in (np.arange(cut), np.arange(cut, cut + 20))
    ]
    box = (*graph.network.points.min(axis=0), *graph.network.points.max(axis=0))
    drives = known_drives(city, made, told.rows[cut : cut + 20])
    return TrajectorySet(
        "porto-simulated", graph, box, 15.0, *parts, "synthesised", "a grid", drives
    )


@pytest.fixture(scope="module")
def conditions(data):
    return conditions_of(data.test.roads, data.graph, 15.0)


def test_every_baseline_makes_one_trace_of_the_asked_length_for_each_condition(
    data, conditions, monkeypatch
):
    monkeypatch.setattr(recurrent, "STEPS", 3)
    monkeypatch.setattr(diffusing, "STEPS", 3)
    monkeypatch.setattr(diffusing, "SAMPLING_STEPS", 3)
    baselines = {
        name: one[0] if isinstance(one, list) else one
        for name, one in (mechanistic() | neural()).items()
    }
    for name, model in baselines.items():
        traces = model(data.train.roads, conditions, data.graph)
        check_traces(traces, name)
        assert traces.length.tolist() == data.test.roads.length.tolist()
        assert traces.time[traces.first[:-1]] == pytest.approx(conditions.start_s)


def test_constant_speed_is_even_along_the_given_roads(data, conditions):
    traces = constant_speed(data.train.roads, conditions, data.graph)
    count = traces.length
    share = np.concatenate([np.linspace(0, 1, n) for n in count])
    half = np.full((len(count), 2), 0.5)
    segment, along = along_route(conditions, data.graph, count, share, half)
    for row in range(3):
        route = conditions.route[conditions.route_first[row] : conditions.route_first[row + 1]]
        points = slice(traces.first[row], traces.first[row + 1])
        step = np.array([np.flatnonzero(route == one)[0] for one in segment[points]])
        at = np.concatenate([[0], np.cumsum(data.graph.line_m[route])])[step] + along[points]
        if len(set(route.tolist())) == len(route):
            assert np.diff(at) == pytest.approx(np.diff(at).mean(), rel=1e-6)
    near, _ = roads_of(Matcher(data.graph, Settings(sigma_m=5.0)), traces)
    assert len(near) == len(traces.xy)


def test_matched_speeds_stand_still_as_real_cars_do(data, conditions):
    steps = []
    for made in (constant_speed, matched_profile):
        traces = made(data.train.roads, conditions, data.graph)
        gone = np.hypot(*np.diff(traces.xy, axis=0).T)
        steps.append(np.delete(gone, traces.first[1:-1] - 1))
    assert (steps[1] < 15).mean() > 2 * (steps[0] < 15).mean()


def test_shortest_paths_join_the_same_roads(data, conditions):
    traces = shortest_constant(data.train.roads, conditions, data.graph)
    first = data.graph.xy[data.graph.at[conditions.route[conditions.route_first[:-1]]]]
    gap = np.hypot(*(traces.xy[traces.first[:-1]] - first).T)
    assert gap.max() < 130  # segments are up to 120 m long


def test_measured_rows_have_floors_and_the_table_their_best(data):
    rows, made = results.measure_set(
        data, {"given roads": matched_profile, "shortest": shortest_constant}
    )
    assert set(made) == {"given roads", "shortest"}
    by = {(row.case, row.metric): row for row in rows}
    good = by["porto-simulated: given roads", "htp: r_den"]
    assert 0.8 < good.value <= 1
    assert good.floor is not None
    assert by["porto-simulated: given roads", "points within 20 m of their road"].value > 0.95
    assert good.value > by["porto-simulated: shortest", "htp: r_den"].value
    table = table_1(rows, "porto-simulated", "htp")
    assert [line[0] for line in table.rows] == ["*real against real*", "given roads", "shortest"]
    assert any(cell.startswith("**") for cell in table.rows[1])


def test_draws_are_averaged_and_their_spread_is_told(data):
    rows, made = results.measure_set(
        data,
        {
            "drawn": mechanistic(3)["given roads, matched speeds"],
            **{f"one {seed}": partial(matched_profile, seed=seed) for seed in range(3)},
        },
    )
    value = {(row.case.split(": ")[1], row.metric): row.value for row in rows}
    single = [value[f"one {seed}", "htp: s_dist"] for seed in range(3)]
    assert len(set(single)) == 3
    assert value["drawn", "htp: s_dist"] == pytest.approx(np.mean(single))
    assert value["drawn", "htp: s_dist" + SPREAD] == pytest.approx(np.std(single, ddof=1))
    assert ("one 0", "htp: s_dist" + SPREAD) not in value
    assert np.array_equal(made["drawn"].xy, made["one 0"].xy)
    line = table_1(rows, "porto-simulated", "htp").rows[1]
    assert line[0] == "drawn"
    assert all("±" in cell for cell in line[1:])


def test_trips_driven_again_are_others_on_the_same_roads(data, conditions):
    one, nearest = (driven_again(data.drives, 0, tries) for tries in (1, 6))
    made = one(data.train.roads, conditions, data.graph)
    check_traces(made, "driven again")
    assert len(made) == len(conditions)
    assert made.time[made.first[:-1]] == pytest.approx(conditions.start_s)
    assert not np.array_equal(made.length, data.test.traces.length)
    lines = data.graph.lines()
    for row in range(len(made)):
        route = conditions.route[conditions.route_first[row] : conditions.route_first[row + 1]]
        points = shapely.points(made.xy[made.first[row] : made.first[row + 1]])
        assert np.median(shapely.distance(points, shapely.union_all(lines[route]))) < 10
    gap = [
        np.abs(model(data.train.roads, conditions, data.graph).length - conditions.points).mean()
        for model in (one, nearest)
    ]
    assert gap[1] < 0.5 * gap[0]
    other = driven_again(data.drives, 1)(data.train.roads, conditions, data.graph)
    assert not np.array_equal(other.length, made.length)
    assert set(results.ceilings(data, 1)) == set(results.AGAIN)
    assert results.ceilings(replace(data, drives=None), 1) == {}


def test_the_table_s_best_is_no_ceiling():
    rows = [
        Row(case=f"porto: {name}", metric=f"htp: {metric}", value=value)
        for name, value in (("a", 0.2), ("given roads, driven again", 0.1))
        for metric in COLUMNS
    ]
    lines = {line[0]: line for line in table_1(rows, "porto", "htp").rows}
    assert lines["a"][1] == "**0.20000**"
    assert lines["given roads, driven again"][1] == "0.10000"


def test_rows_of_other_models_are_kept(tmp_path):
    path = tmp_path / "x.json"
    rows = [{"case": f"porto: {name}", "metric": "m", "value": 1.0} for name in "ab"]
    told = ["porto (observed): a", "porto-simulated (synthesised): b", "Floor: c"]
    path.write_text(json.dumps({"rows": rows, "notes": told}))
    kept, lines = results.kept(path, ["porto"], ["a"])
    assert kept == [Row(case="porto: b", metric="m", value=1.0)]
    assert lines == told[1:2]
    assert results.measured_sets(kept) == ["porto"]
    assert results.kept(tmp_path / "none.json", ["porto"], ["a"]) == ([], [])


def test_models_are_named_by_module_and_function():
    assert results.model_of("training.trajectory_baselines:constant_speed") is constant_speed
    with pytest.raises(DataError, match="must be module:function"):
        results.model_of("training.trajectory_baselines:none")
    with pytest.raises(DataError, match="must be module:function"):
        results.model_of("nowhere:none")


def test_a_model_that_answers_too_little_is_refused(data, conditions):
    def lazy(train, conditions, graph):
        return constant_speed(train, conditions.take(np.arange(3)), graph)

    with pytest.raises(DataError, match="generated traces: must be 20, one a condition, got 3"):
        results.generated(lazy, data, conditions)


def test_speeds_are_within_traces_alone():
    traces = Traces(
        np.array([0, 2, 4]),
        np.array([[0.0, 0], [10, 0], [500, 0], [500, 20]]),
        np.array([0.0, 1, 5, 7]),
    )
    metres, seconds = speeds(traces)
    assert metres.tolist() == [10, 20]
    assert seconds.tolist() == [1, 2]


def test_speeds_of_a_set_are_in_their_table(data):
    rows = speed_rows(data)
    value = {row.metric: row.value for row in rows}
    assert value["share of steps under 15 m"] == pytest.approx(0.2, abs=0.15)
    line = speed_table(rows, ["porto-simulated", "porto"]).rows
    assert line[0][3] == f"{value['speed between points, km/h, 50th percentile']:.1f}"
    assert line[1] == ["porto", *"–" * 7]
