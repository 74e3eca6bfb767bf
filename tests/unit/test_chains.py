import numpy as np
import pyarrow as pa
import pytest
import torch

from raygen import checkpoints
from raygen.config import ChainConfig, ComputeConfig
from raygen.errors import DataError, WeightsError
from raygen.models.adapters import AdapterConfig, Adapters
from raygen.models.chain_decoder import ChainDecoder, ChainDecoderConfig
from raygen.schema import category
from raygen.stages.chains import (
    DRAWS,
    UNKNOWN,
    ChainModels,
    complete_days,
    day_chains,
    load_chain_models,
)
from raygen.stages.passes import week_of_days
from raygen.taxonomy import EMPLOYMENT, HOME, SCHOOL, SLOTS, STUDENT, WORK

TINY = ChainDecoderConfig(width=16, layers=1, heads=2, feedforward=16, dropout=0.0)


def network() -> ChainDecoder:
    torch.manual_seed(0)
    return ChainDecoder(TINY).eval()


def models(stay: float = 0.0) -> ChainModels:
    table = Adapters(torch.zeros(2, 13, 1, 15), torch.full((2, 13), stay))
    return ChainModels(network(), table, "cpu")


def persons(rows: int, **change) -> pa.Table:
    """Half employed men of 40 (group 2), half unemployed women of 20 at college (group 7)."""
    worker = np.arange(rows) % 2 == 0
    columns = {
        "person_id": np.arange(rows, dtype=np.int64) + 7,
        "age": np.where(worker, 40, 20).astype(np.int8),
        "employment": category(pa.array(np.where(worker, 0, 1)), EMPLOYMENT),
        "student": category(pa.array(np.where(worker, 0, 2)), STUDENT),
        "demographic_group": np.where(worker, 2, 7).astype(np.int8),
    } | change
    return pa.table(columns)


def test_days_start_and_end_at_home_and_respect_what_a_person_can_do():
    days = day_chains(persons(100), 0, models(), ChainConfig(), 0)
    assert days.shape == (100, SLOTS)
    assert days.dtype == np.int8
    assert (days[:, [0, -1]] == HOME).all()
    assert not (days[0::2] == SCHOOL).any()
    assert not (days[1::2] == WORK).any()
    assert (days[0::2] == WORK).any()
    assert (days[1::2] == SCHOOL).any()


def test_a_person_has_the_same_day_in_any_shard_and_other_days_differ():
    table = persons(60)
    whole = day_chains(table, 0, models(), ChainConfig(), 5)
    assert np.array_equal(
        whole[20:40], day_chains(table.slice(20, 20), 0, models(), ChainConfig(), 5)
    )
    shuffled = np.random.default_rng(0).permutation(60)
    again = day_chains(table.take(shuffled), 0, models(), ChainConfig(), 5)
    assert np.array_equal(again, whole[shuffled])
    assert not np.array_equal(whole, day_chains(table, 1, models(), ChainConfig(), 5))
    assert not np.array_equal(whole, day_chains(table, 0, models(), ChainConfig(), 6))


def test_stay_at_home_has_its_share():
    days = day_chains(persons(600), 0, models(0.3), ChainConfig(), 0)
    share = (days == HOME).all(1).mean()
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 600)
    assert (day_chains(persons(50), 0, models(1.0), ChainConfig(), 0) == HOME).all()


def test_weekend_and_children_take_their_own_row_of_the_table():
    stay = torch.zeros(2, 13)
    stay[1, 2] = 1.0  # weekend, mid-aged male workers
    stay[0, 12] = 1.0  # weekday, children
    chosen = ChainModels(network(), Adapters(torch.zeros(2, 13, 1, 15), stay), "cpu")
    config = ChainConfig(day_of_week=4)
    friday = day_chains(persons(40), 0, chosen, config, 0)
    saturday = day_chains(persons(40), 1, chosen, config, 0)
    assert (saturday[0::2] == HOME).all()
    assert not (friday[0::2] == HOME).all(1).all()
    children = persons(40, age=np.full(40, 10, np.int8))
    assert (day_chains(children, 0, chosen, config, 0) == HOME).all()


def test_adapter_shifts_the_minutes_of_its_group_alone():
    shift = torch.zeros(2, 13, 1, 15)
    shift[0, 2, 0, WORK] = 4.0
    chosen = ChainModels(network(), Adapters(shift, torch.zeros(2, 13)), "cpu")
    plain = day_chains(persons(60), 0, models(), ChainConfig(), 0)
    moved = day_chains(persons(60), 0, chosen, ChainConfig(), 0)
    assert (moved[0::2] == WORK).mean() > 2 * (plain[0::2] == WORK).mean()
    assert np.array_equal(moved[1::2], plain[1::2])


def test_a_group_that_contradicts_employment_is_refused():
    wrong = persons(4, demographic_group=np.array([2, 7, 8, 7], np.int8))
    with pytest.raises(DataError, match="1 of 4 rows contradict employment, first row 2"):
        day_chains(wrong, 0, models(), ChainConfig(), 0)
    with pytest.raises(DataError, match="must be 0 to 11, got 2 to 12"):
        day_chains(
            persons(2, demographic_group=np.array([2, 12], np.int8)), 0, models(), ChainConfig(), 0
        )


def test_no_persons_no_days():
    assert day_chains(persons(0), 0, models(), ChainConfig(), 0).shape == (0, SLOTS)


def test_models_load_as_saved_and_misfits_are_named(tmp_path):
    checkpoints.save(
        tmp_path / "reconstruction", "reconstruction", TINY, network().state_dict(), {}
    )
    with pytest.raises(WeightsError, match=r"adapters/config\.json: cannot be read"):
        load_chain_models(tmp_path, ComputeConfig())
    table = {"shift": torch.zeros(2, 13, 1, 15), "stay_home": torch.zeros(2, 13)}
    checkpoints.save(tmp_path / "adapters", "adapters", AdapterConfig(), table, {})
    loaded = load_chain_models(tmp_path, ComputeConfig())
    days = day_chains(persons(10), 0, loaded, ChainConfig(), 0)
    assert np.array_equal(days, day_chains(persons(10), 0, models(), ChainConfig(), 0))
    checkpoints.save(
        tmp_path / "adapters", "adapters", AdapterConfig(), {"shift": table["shift"]}, {}
    )
    with pytest.raises(WeightsError, match="needs 'shift'"):
        load_chain_models(tmp_path, ComputeConfig())
    wide = TINY.model_copy(update={"width": 32})
    checkpoints.save(
        tmp_path / "reconstruction", "reconstruction", wide, network().state_dict(), {}
    )
    with pytest.raises(WeightsError, match="tensors do not fit"):
        load_chain_models(tmp_path, ComputeConfig())


def observed(rows: int) -> np.ndarray:
    days = np.full((rows, SLOTS), UNKNOWN, np.int8)
    days[:, :20], days[:, 40:50], days[1::2, 60:62] = HOME, WORK, 4
    return days


def test_completion_keeps_observed_slots_and_takes_each_persons_day_of_the_week():
    days, who = observed(30), np.tile([2, 0, 0], (30, 1))
    uniform = np.random.default_rng(0).random((30, DRAWS))
    week_day = np.arange(30) % 7
    whole = complete_days(models(), days, who, week_day, uniform)
    assert np.array_equal(whole[days != UNKNOWN], days[days != UNKNOWN])
    assert (whole != UNKNOWN).all()
    part = complete_days(models(), days[5:9], who[5:9], week_day[5:9], uniform[5:9])
    assert np.array_equal(whole[5:9], part)


def test_completion_refuses_what_is_no_day():
    who, uniform = np.tile([2, 0, 0], (3, 1)), np.zeros((3, DRAWS))
    with pytest.raises(DataError, match=r"observed: shape must be \(3, 96\), got \(2, 96\)"):
        complete_days(models(), observed(2), who, np.zeros(3, int), uniform)
    wrong = observed(3)
    wrong[0, 3] = 15
    with pytest.raises(DataError, match="types must be in -1 to 14, got -1 to 15"):
        complete_days(models(), wrong, who, np.zeros(3, int), uniform)


def test_passes_differ_keep_what_they_show_and_belong_to_the_person():
    days = day_chains(persons(30), 0, models(), ChainConfig(), 0)
    who, ids = np.tile([2, 0, 0], (30, 1)), np.arange(30) + 100
    week = week_of_days(models(), days, who, ids, 3)
    assert week.shape == (30, 7, SLOTS)
    assert not np.array_equal(week[:, 0], week[:, 1])
    assert np.array_equal(week[4:9], week_of_days(models(), days[4:9], who[4:9], ids[4:9], 3))
    assert np.array_equal(
        week_of_days(models(), days, who, ids, 3, share=0.0), np.repeat(days[:, None], 7, 1)
    )


def test_every_pass_has_a_mask_and_draws_of_its_own(monkeypatch):
    seen = []

    def shown(_, days, who, week_day, uniform):
        seen.append((week_day[0], uniform))
        return days

    monkeypatch.setattr("raygen.stages.passes.complete_days", shown)
    days, who = np.zeros((20, SLOTS), np.int8), np.tile([2, 0, 0], (20, 1))
    week = week_of_days(models(), days, who, np.arange(20), 3)
    hidden = (week == UNKNOWN).transpose(1, 0, 2)
    assert abs(hidden.mean() - 0.8) < 0.12
    assert [day for day, _ in seen] == list(range(7))
    for earlier in range(6):
        assert not np.array_equal(hidden[earlier], hidden[6])
        assert not np.array_equal(seen[earlier][1], seen[6][1])
