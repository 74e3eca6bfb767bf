"""Day chains of observed people: observed slots stay, ways are the activity left, gaps are filled."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
import tinyweights
from inferring import POIS, ZONE, table

from raygen.checkpoints import SHIPPED
from raygen.config import ComputeConfig
from raygen.inference.completion import (
    chain_schema,
    complete_chains,
    slot_types,
    with_ways,
)
from raygen.inference.infer import infer_activities
from raygen.inference.settings import TraceConfig
from raygen.inference.temporal import load_temporal
from raygen.stages.chains import load_chain_models
from raygen.stay_points.days import person_days
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SLOTS, WORK

CONFIG = TraceConfig(min_coverage=0.1)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    weights = tmp_path_factory.mktemp("weights")
    tinyweights._chains(weights)
    return load_chain_models(weights, ComputeConfig())


def chains(stays, models, config=CONFIG):
    activities = infer_activities(stays, ZONE, POIS, load_temporal(), config.inference)
    days, _ = person_days(stays, config, ZONE)
    return complete_chains(days, activities, ZONE, (models, load_temporal()), config)


STAYS = table(
    *[(9, 3, 0, 8), (0, 3, 9, 10), (9, 3, 11, 30), (1, 4, 12, 13), (9, 4, 18, 24)],
    *[(7, 3, 0, 7), (4, 3, 8, 17), (7, 3, 18, 24), (7, 5, 0, 7), (4, 5, 8, 17)],
    ids=[1] * 5 + [2] * 5,
)


def test_observed_slots_are_kept(models):
    found = chains(STAYS, models)
    assert found.schema.equals(chain_schema(pa.int64()))
    assert found.column("person_id").to_pylist() == [1, 1, 2, 2]
    assert found.column("date").to_pylist() == [dt.date(2024, 6, d) for d in (3, 4, 3, 5)]
    monday = found.to_pylist()[0]
    seen = np.array(monday["observed"])
    slots = np.array(monday["slots"])
    assert seen.tolist() == [True] * 32 + [False] * 4 + [True] * 4 + [False] * 4 + [True] * 52
    assert (slots[:32] == HOME).all()
    assert (slots[36:40] == ACTIVITY_TYPES.index("worship")).all()
    assert (slots[44:] == HOME).all()
    assert monday["coverage"] == pytest.approx(88 / 96)
    # The second day begins with the stay that went over midnight.
    tuesday = np.array(found.to_pylist()[1]["slots"])
    assert (tuesday[:24] == HOME).all()
    assert (tuesday[48:52] == ACTIVITY_TYPES.index("meals_out")).all()
    assert slots.min() >= 0
    assert slots.max() < len(ACTIVITY_TYPES)


def test_who_is_seen_at_work_is_a_worker(models):
    found = chains(STAYS, models)
    assert found.column("profile").to_pylist() == ["unclassified"] * 2 + ["worker"] * 2
    group = found.column("demographic_group").to_pylist()
    assert group[0] == group[1]
    assert group[2] == group[3] < 6


def test_the_seed_decides_what_is_filled_in_and_nothing_else(models):
    one, two = (chains(STAYS, models, CONFIG.model_copy(update={"seed": s})) for s in (1, 2))
    assert one.equals(chains(STAYS, models, CONFIG.model_copy(update={"seed": 1})))
    seen = np.array(one.column("observed").to_pylist())
    slots = [np.array(t.column("slots").to_pylist()) for t in (one, two)]
    assert (slots[0] == slots[1])[seen].all()
    assert not (slots[0] == slots[1])[~seen].all()


def test_a_day_does_not_depend_on_who_else_is_there(models):
    whole = chains(STAYS, models)
    alone = chains(STAYS.slice(5), models)
    assert alone.equals(whole.slice(2).combine_chunks())


def test_the_shipped_network_completes_a_workers_day():
    models = load_chain_models(SHIPPED, ComputeConfig())
    stays = table((7, 3, 0, 6), (4, 3, 8, 17), (7, 3, 17.5, 24))
    (day,) = chains(stays, models).to_pylist()
    slots = np.array(day["slots"])
    assert (slots[:24] == HOME).all()
    assert (slots[24:32] >= 0).all()  # the network's
    assert (slots[32:70] == WORK).all()  # the way home counts to work
    assert (slots[70:] == HOME).all()
    assert np.flatnonzero(~np.array(day["observed"])).tolist() == [*range(24, 32), 68, 69]


def test_no_days_have_no_chains(models):
    assert chains(table(), models).num_rows == 0


def test_ways_up_to_the_longest():
    chain = np.full((1, SLOTS), -1, np.int8)
    chain[0, 4:10], chain[0, 12:20], chain[0, 23:30] = HOME, WORK, HOME
    filled = with_ways(chain, 2)
    assert (filled[0, 10:12] == HOME).all()
    assert (filled[0, 20:23] == -1).all()
    assert (filled[0, :4] == -1).all()
    assert (filled[0, 30:] == -1).all()
    assert (with_ways(chain, 3)[0, 20:23] == WORK).all()
    assert np.array_equal(with_ways(chain, 0), chain)


def test_slots_of_the_right_stays():
    """Person 1 has three stays; the second goes over midnight and begins the next day."""
    last = np.array([10, 11, 11, 11])
    kind = np.array([HOME, WORK, 5, 9], np.int8)
    stay = np.full((3, SLOTS), -1, np.int16)
    stay[0, :2], stay[0, 90:] = 0, 1
    stay[1, :5], stay[1, 50:60] = 0, 1
    stay[2, 7] = 0
    found = slot_types(
        stay,
        (np.array([0, 0, 1]), np.array([10, 11, 11])),
        np.array([0, 3, 4]),
        (last, kind),
    )
    assert (found[0, :2] == HOME).all()
    assert (found[0, 90:] == WORK).all()
    assert (found[1, :5] == WORK).all()
    assert (found[1, 50:60] == 5).all()
    assert found[2, 7] == 9
    assert (found == -1).sum() == 3 * SLOTS - (2 + 6 + 5 + 10 + 1)
