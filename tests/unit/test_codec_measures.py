"""What an autoencoder leaves open, and how its points lie beside the observed ones."""

import numpy as np
import pytest
import tinytrajectories
from trips_on_grid import grid_roads, grid_trips

from raygen.models.trajectory_batches import trajectory_data
from raygen.models.trajectory_model import NOISE, decoded
from raygen.models.trajectory_planner import Patterns
from raygen.models.trajectory_rest import FASTEST
from raygen.trajectories.routes import routes_of
from training.codec_measures import fit_rest, held_out
from training.codec_task import with_codes


@pytest.fixture(scope="module")
def data():
    made = grid_trips(40, seed=3, low=20, high=64)
    return trajectory_data(made, routes_of(made, grid_roads()))


@pytest.fixture(scope="module")
def fitted(data):
    made = tinytrajectories.codec()
    fit_rest(made, [data])
    return made


def test_drawn_points_stand_as_observed_ones_whatever_the_codes_say(fitted, data):
    """An autoencoder of random weights knows nothing: the tables alone make cars stand."""
    value = {
        (measure, where): figure for measure, where, figure in held_out(fitted, {"grid": data})
    }
    observed = value["share of points that stand, observed", "grid"]
    assert observed > 0.2
    assert value["share of points that stand, of the codes", "grid"] < 0.5 * observed
    assert value["share of points that stand, drawn", "grid"] == pytest.approx(observed, abs=0.1)
    miss = value["place on the route, m, median", "grid"]
    assert 0 < miss < value["place on the route, m, root of the mean square", "grid"]


def test_no_step_is_faster_than_free_flow_allows(fitted, data):
    rows = np.arange(12)
    batch = data.batch(rows)
    said = Patterns(batch["length"].numpy(), fitted.codes(batch).numpy())
    noise = 3.0 * np.random.default_rng(0).normal(size=(12, NOISE))
    made = decoded(fitted, said, batch, noise)
    for row, length in enumerate(said.length.tolist()):
        step = np.diff(made.share[row, :length], prepend=0.0)
        most = FASTEST * float(batch["interval_s"][row] / batch["route_s"][row])
        assert step.max() <= 1.06 * max(most, step.sum() / (step > 0).sum()) * 1.05
        assert (step >= 0).all()
    assert (made.ahead != made.offset).all()


def test_kept_codes_are_those_of_the_autoencoder(fitted, data):
    kept = with_codes(data, fitted)
    rows = np.array([5, 0, 9])
    batch = kept.batch(rows)
    fresh = fitted.codes(data.batch(rows))
    for row, codes in enumerate(kept.codes[r] for r in rows):
        np.testing.assert_array_equal(batch["codes"][row, : len(codes)], codes)
        np.testing.assert_array_equal(fresh[row, : len(codes)], codes)
    assert (batch["codes"].sum(dim=2)[0, len(kept.codes[5]) :] == 0).all()
