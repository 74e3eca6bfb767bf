"""The trajectory models as functions of conditions: traces on the roads that are given."""

import numpy as np
import pytest
import shapely
import tinyspeaker
import tinytrajectories
from trips_on_grid import grid_roads, grid_trips

from raygen.config import ComputeConfig
from raygen.errors import WeightsError
from raygen.models.trajectory_model import load_trajectory_model
from raygen.trajectories.records import check_traces
from training.trajectory_language import answered
from training.trajectory_models import generated
from training.trajectory_pairs import conditions_told


@pytest.fixture(scope="module")
def roads():
    return grid_roads()


@pytest.fixture(scope="module")
def told(roads):
    return conditions_told(grid_trips(9, seed=2, low=20, high=50), roads)


def test_traces_meet_their_conditions(tmp_path, told, roads):
    tinytrajectories.build(tmp_path)
    model = load_trajectory_model(tmp_path, ComputeConfig())
    traces = generated(model, told, roads, told.points)
    check_traces(traces, "made")
    assert traces.length.tolist() == told.points.tolist()
    assert traces.time[traces.first[:-1]].tolist() == told.start_s.tolist()
    lines = roads.lines()
    far = []
    for row in range(len(told)):
        route = lines[told.route[told.route_first[row] : told.route_first[row + 1]]]
        points = shapely.points(traces.xy[traces.first[row] : traces.first[row + 1]])
        far += shapely.distance(points, shapely.union_all(route)).tolist()
    assert np.quantile(far, 0.99) < 20
    free = generated(model, told, roads, None)
    assert ((free.length >= 20) & (free.length <= 200)).all()


def test_a_fitted_language_model_answers(tmp_path, told, roads):
    folder = tinyspeaker.build(tmp_path, roads, "c")
    found = list(answered(folder, "c", told, roads, slots=4))
    assert np.concatenate([rows for rows, _ in found]).tolist() == list(range(9))
    for _, said in found:
        assert ((said.patterns.length >= 20) & (said.patterns.length <= 200)).all()
        assert said.answer_tokens > 0
    with pytest.raises(WeightsError, match="fitted to another autoencoder"):
        list(answered(folder, "d", told, roads))
