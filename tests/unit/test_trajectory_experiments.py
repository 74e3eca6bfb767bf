"""The arms of HTP's Table 2, points without patterns, and the tables of the experiments."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from trips_on_grid import grid_roads, grid_trips

from raygen.config import load
from raygen.errors import ConfigError
from raygen.models.trajectory_batches import trajectory_data
from raygen.results import Row
from raygen.trajectories.records import check_traces
from raygen.trajectories.routes import routes_of
from training.codec_task import Split
from training.in_process import fit_here
from training.point_transformer import MIXTURE, PointTask, PointTransformer, mixture_likelihood
from training.recipe import LoopConfig
from training.trajectory_arms import ARMS, ArmSettings, digest, in_the_open
from training.trajectory_experiments import ExperimentsRecipe, paper_table_2
from training.trajectory_language import conditions_told

RECIPE = Path(__file__).parents[2] / "training" / "recipes" / "trajectory_experiments.toml"


@pytest.fixture(scope="module")
def data():
    made = grid_trips(24, seed=3, low=20, high=40)
    return trajectory_data(made, routes_of(made, grid_roads()))


def test_the_likelihood_is_that_of_a_mixture():
    torch.manual_seed(0)
    told, step = 0.5 * torch.randn(7, 5 * MIXTURE), torch.randn(7, 2)
    weight, mean, spread = told.split([MIXTURE, 2 * MIXTURE, 2 * MIXTURE], dim=1)
    parts = Normal(mean.reshape(7, MIXTURE, 2), spread.reshape(7, MIXTURE, 2).exp())
    mixed = MixtureSameFamily(Categorical(logits=weight), Independent(parts, 1))
    torch.testing.assert_close(mixture_likelihood(told, step), mixed.log_prob(step))


def test_a_little_training_says_points_better(data):
    task = PointTask((Split(data, data),), 12, 5, 1)
    curve = fit_here(task, LoopConfig(epochs=4, learning_rate=2e-3, schedule="constant")).curve
    assert curve[-1]["validation_total"] < curve[0]["validation_total"] - 0.3


def test_what_is_said_depends_on_the_draws_alone(data):
    torch.manual_seed(0)
    network = PointTransformer().eval()
    draws = np.random.default_rng(1).normal(size=(4, 3, 40))
    draws[:, 0] = np.random.default_rng(2).random((4, 40))
    every = network.say(data.batch(np.arange(4)), draws)
    alone = network.say(data.batch(np.array([2])), draws[2:3])
    length = int(data.length[2])
    torch.testing.assert_close(every[2, :length], alone[0, :length], atol=1e-5, rtol=1e-4)


def test_points_in_the_open_keep_rows_and_frames(data):
    trips = grid_trips(9, seed=2, low=20, high=50)
    roads = grid_roads()
    told = conditions_told(trips, roads)
    routes = routes_of(trips, roads)
    local = routes.local(trips.first, trips.points(roads)).astype(np.float64)

    def say(batch, rows):
        made = np.zeros((len(rows), int(batch["length"].max()), 2))
        for at, row in enumerate(rows.tolist()):
            made[at, : trips.length[row]] = local[trips.first[row] : trips.first[row + 1]]
        return made

    traces = in_the_open(say, told, roads)
    check_traces(traces, "made")
    assert traces.length.tolist() == trips.length.tolist()
    np.testing.assert_allclose(traces.xy, trips.points(roads), atol=0.02)


def test_an_arms_folder_depends_on_how_it_is_trained():
    one = ArmSettings()
    names = {digest(arm, one, 1) for arm in ARMS}
    assert len(names) == len(ARMS)
    assert digest(ARMS[0], one.model_copy(update={"batch": 16}), 1) not in names
    assert digest(ARMS[0], one, 2) not in names


def test_the_shipped_recipe_is_valid():
    recipe = load(RECIPE, ExperimentsRecipe)
    assert recipe.codebooks.model.codebooks == (32, 64, 128, 256)
    assert {len(sizes) for sizes in recipe.codebooks.layers} == {1, 2, 3}


def test_an_unknown_case_is_refused(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('output = "x"\ncases = ["w/o wheels"]\n')
    with pytest.raises(ConfigError, match="cases: must be of whole, w/o LLM"):
        load(path, ExperimentsRecipe)


def test_table_2_has_floors_arms_and_the_papers_lines():
    rows = [
        Row(case=f"porto: {name}", metric=f"htp: {metric}", value=value, floor=0.5)
        for name, value in (("whole", 0.25), ("w/o R-loss", None))
        for metric in ("t_dist", "g_pat", "r_pat")
    ]
    table = paper_table_2(rows, ("porto",))
    lines = {line[0]: line[1:] for line in table.rows}
    assert lines["*porto: real against real*"] == ["0.50000"] * 3
    assert lines["porto: whole"] == ["0.25000"] * 3
    assert lines["porto: w/o R-loss"] == ["–"] * 3
    assert lines["paper, Porto: w/o LLM"] == ["0.00354", "0.69058", "0.81690"]
