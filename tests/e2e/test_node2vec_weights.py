"""An autoencoder that reads Node2vec, fitted on a city's roads, in a run of that city."""

from dataclasses import replace

import numpy as np
import pytest
import tinycity
import tinyrun
from tracedshards import digest, shard
from trips_on_grid import grid_roads, grid_routes, on_routes

from actors.tracer import Tracer
from assignment.times import CONGESTION
from cluster.session import connect
from raygen import checkpoints
from raygen.city import open_city
from raygen.config import ComputeConfig, RunConfig
from raygen.errors import WeightsError
from raygen.models.road_encoder import RoadEncoderConfig
from raygen.models.trajectory_codec import CodecConfig
from raygen.models.trajectory_model import load_codec, load_trajectory_model
from raygen.models.trajectory_places import AskedRoads, load_places
from raygen.models.trajectory_planner import PatternConfig
from raygen.network.node2vec import Node2vecSettings, node2vec
from raygen.stages.road_trips import city_network, city_roads
from raygen.stages.trajectory_planners import load_trip_planner, planner_folders
from raygen.trajectories.plane import plane_roads
from training import codec, patterns
from training.codec_data import NetworkTrips, TrajectorySources, splits
from training.codec_task import CodecTask
from training.in_process import fit_here
from training.recipe import LoopConfig

SHARDS, SEED, WIDTH = 3, 6, 8
MODEL = CodecConfig(
    widths=(8, 8, 8, 16), head=8, quantised=8, codebooks=(4, 8, 8, 8), continuous=0.0,
    roads=RoadEncoderConfig(width=8, heads=2, node2vec=WIDTH),
)  # fmt: skip
LOOP = LoopConfig(epochs=2, learning_rate=1e-3)


def fit(weights, network):
    """Fit both trajectory models on trips on a network, as the recipes do, in this process."""
    roads = plane_roads(network)
    made = on_routes(grid_routes(roads, 40, seed=2), 2, 20, 60)
    sets = [NetworkTrips("tiny", "simulated: synthesised", roads, made)]
    folder = weights / "trajectories"
    recipe = codec.CodecRecipe(seed=SEED, output=folder / "codec", model=MODEL)
    parts = splits(sets, 0.2, Node2vecSettings(width=WIDTH), SEED)
    result = fit_here(CodecTask(MODEL, parts, 8, 3, SEED), LOOP)
    codec.write_weights(recipe, sets, parts, result, recipe.output)
    second = patterns.PatternRecipe(
        seed=SEED,
        output=folder / "patterns",
        codec=folder / "codec",
        data=TrajectorySources(validation=0.2),
        model=PatternConfig(width=12, layers=1, heads=2),
    )
    task, shape = patterns.task_of(second, sets)
    patterns.write_weights(second, shape, sets, fit_here(task, LOOP), second.output)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Roads, time zone and configuration of a run whose weights are of its own roads."""
    directory = tmp_path_factory.mktemp("run")
    city = open_city(str(tinycity.build(directory / "city")))
    fit(directory / "weights", city_network(city))
    roads = city_roads(city, CONGESTION.astype(float))
    config = {
        "seed": 4,
        "city": city.path,
        "weights": directory / "weights",
        "trajectories": {"share": 1.0},
    }
    return roads, city.time_zone, RunConfig.model_validate(config)


def test_any_crew_gives_the_same_bytes(inputs):
    """Two tracers, each loaded anew, with the shards in another order."""
    one, other = Tracer(*inputs), Tracer(*inputs)
    made = [one.trace(shard(index)).tables["trajectories"] for index in range(SHARDS)]
    again = [other.trace(shard(index)).tables["trajectories"] for index in reversed(range(SHARDS))]
    assert [each.num_rows for each in made] == [4] * SHARDS
    assert all((np.concatenate(each.column("off_road_m").to_numpy()) < 50).all() for each in made)
    assert [digest(each) for each in made] == [digest(each) for each in again[::-1]]


def test_the_kept_vectors_are_the_trainings_and_are_read(inputs):
    roads, _, config = inputs
    network = roads.roads.network
    weights = config.weights
    model = load_trajectory_model(weights, ComputeConfig(), asked=AskedRoads("it", lambda: network))
    assert np.array_equal(model.places, node2vec(network, Node2vecSettings(width=WIDTH), SEED))
    assert "trajectories/codec/places" in planner_folders(config.trajectories, weights)
    tracer = Tracer(*inputs)
    made = tracer.trace(shard(0)).tables["trajectories"].column("geometry")
    planner = tracer._planner
    tracer._planner = replace(planner, model=replace(planner.model, places=-model.places))
    assert not tracer.trace(shard(0)).tables["trajectories"].column("geometry").equals(made)


def test_other_roads_are_refused_and_both_are_named(inputs):
    roads, _, config = inputs
    count = roads.roads.network.segments
    others = grid_roads().network
    message = rf"Node2vec of tiny \({count:,} segments, .*\) cannot read the roads of .*city "
    message += rf"\({others.segments:,} segments, "
    with pytest.raises(WeightsError, match=message):
        load_trip_planner(config, lambda: others)
    with pytest.raises(WeightsError, match="no roads are told"):
        load_trajectory_model(config.weights, ComputeConfig())


def test_vectors_of_another_training_are_refused(inputs, tmp_path):
    roads, _, config = inputs
    folder = config.weights / "trajectories" / "codec"
    _, tensors, _ = checkpoints.load(folder, "codec", CodecConfig)
    changed = tensors | {"rest.bias": tensors["rest.bias"] + 1}
    checkpoints.save(tmp_path, "codec", MODEL, changed, {})
    (tmp_path / "places").symlink_to(folder / "places")
    _, digest_ = load_codec(tmp_path)
    asked = AskedRoads("it", lambda: roads.roads.network)
    with pytest.raises(WeightsError, match=r"places: of autoencoder .* `raygen train codec` again"):
        load_places(tmp_path, (MODEL, digest_), asked)
    plain = MODEL.model_copy(update={"roads": RoadEncoderConfig()})
    assert load_places(tmp_path, (plain, digest_), None) is None


@pytest.mark.slow
def test_a_whole_run_with_any_number_of_workers(tmp_path):
    from raygen import pipeline

    cache, pipeline.CACHE = pipeline.CACHE, tmp_path / "cache"
    try:
        base = tinyrun.configure(tmp_path).model_copy(update={"agents": 150})
        fit(base.weights, city_network(open_city(base.city)))
        for workers in (1, 2):
            with connect("local", workers=workers):
                pipeline.generate(tinyrun.variant(base, tmp_path / str(workers), workers=workers))
    finally:
        pipeline.CACHE = cache
    found = [tinyrun.digests(tmp_path / str(workers)) for workers in (1, 2)]
    assert found[0] == found[1]
    assert any(name.startswith("trajectories") for name in found[0])
