"""Days of raw GPS as the incomplete days of Algorithm 1: which are taken, and how they are split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raygen.errors import DataError
from raygen.inference.completion import KnownDays
from raygen.models.chain_decoder import ChainDecoder, ChainDecoderConfig
from raygen.stages.chains import UNKNOWN
from raygen.taxonomy import HOME, SLOTS, WORK
from training.geolife_traces import TRACES, of_split, read_trace_days, weekdays
from training.iteration import IterationSection, Round, raw_days, recur
from training.transfer_data import Target

TINY = ChainDecoderConfig(width=16, layers=3, heads=2, feedforward=16, dropout=0.0)
MONDAY = 4  # days since 1970, a Thursday
WEEKS = 6


def told() -> KnownDays:
    """Six weeks of a worker of whom what is after 14 h is not known."""
    size = 7 * WEEKS
    known = np.full((size, SLOTS), UNKNOWN, np.int8)
    known[:, :34], known[:, 34:50], known[:, 50:56] = HOME, WORK, HOME
    known[::7, 34:50] = HOME  # Mondays are spent at home
    who = np.tile([2, 0, 0], (size, 1))
    return KnownDays(
        known, known, np.full(size, 9), MONDAY + np.arange(size), np.zeros(size, np.int8), who
    )


def test_weekdays_with_more_than_home_are_taken_as_they_are():
    days = weekdays(told())
    assert len(days.chains) == 4 * WEEKS  # Tuesdays to Fridays
    assert days.users == 1
    assert ((days.chains == WORK).sum(axis=1) == 16).all()
    assert ((days.chains == UNKNOWN).sum(axis=1) == SLOTS - 56).all()


def test_days_of_a_week_end_alone_are_refused():
    week_end = told()
    keep = week_end.week_day >= 5
    parts = {name: getattr(week_end, name)[keep] for name in ("observed", "known", "keys", "date")}
    with pytest.raises(DataError, match="no weekday passes the quality filter"):
        weekdays(replace(week_end, **parts, people=week_end.people[keep]))


def test_splits_share_no_day_and_leave_none_out():
    days = weekdays(told())
    rows = [of_split(days, split) for split in ("train", "validation", "test")]
    assert [len(part) for part in rows] == [12, 6, 6]
    assert sorted(np.concatenate(rows).tolist()) == list(range(24))


def test_algorithm_1_keeps_what_the_traces_tell():
    days = weekdays(told())
    targets: dict[str, Target] = {}
    for split in ("train", "validation"):
        rows = of_split(days, split)
        who = days.people[rows]
        targets[split] = Target(days.chains[rows], who, who[:, 0], len(rows), np.ones(SLOTS, bool))
    section = IterationSection(iterations=2, hidden=0.0)
    known = raw_days(targets, section, 1)
    np.testing.assert_array_equal(known.train.chains, targets["train"].chains)
    torch.manual_seed(0)
    rounds: list[Round] = []

    def fit(round_: Round, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        rounds.append(round_)
        return weights

    found, _ = recur(ChainDecoder(TINY).eval(), known, section, fit, 1)
    assert len(found.curve) == 3
    first = rounds[0]
    real = first.real
    assert real.mean() == pytest.approx(56 / SLOTS)
    np.testing.assert_array_equal(first.chains[real], known.train.chains[real])
    assert (first.chains != UNKNOWN).all()


def test_a_folder_without_traces_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=rf"{TRACES}: is missing"):
        read_trace_days(tmp_path)
