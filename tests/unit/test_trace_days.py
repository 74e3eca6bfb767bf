import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen import seeds
from raygen.errors import DataError
from raygen.taxonomy import SLOTS
from raygen.trace_days import read_trace_days, trace_rows
from raygen.transitions import UNKNOWN, transition_divergences

MONDAY = datetime.date(2024, 1, 1)


def days(count, seed=0, leave=32, kind=1):
    """Home, out from about ``leave`` for eight hours, home."""
    rng = seeds.stream(seed, "trace-days-test")
    chains = np.zeros((count, SLOTS), np.int8)
    for row, start in zip(chains, leave + rng.integers(-8, 9, count), strict=True):
        row[start : start + 32] = kind
    return chains


def write(folder, chains, observed=None, dates=None, people=7):
    count = len(chains)
    observed = np.ones(chains.shape, bool) if observed is None else observed
    dates = dates or [MONDAY + datetime.timedelta(days=day % 5) for day in range(count)]
    folder.mkdir(exist_ok=True)
    pq.write_table(
        pa.table(
            {
                "person_id": [f"p{row % people}" for row in range(count)],
                "date": pa.array(dates, pa.date32()),
                "slots": list(chains),
                "observed": list(observed),
            }
        ),
        folder / "day_chains.parquet",
    )
    return folder


def test_only_what_was_observed_of_weekdays_is_read(tmp_path):
    chains, observed = days(3), np.ones((3, SLOTS), bool)
    observed[0, 40:50] = False
    saturday = [MONDAY, MONDAY + datetime.timedelta(days=5), MONDAY]
    read, person = read_trace_days(write(tmp_path, chains, observed, saturday))
    assert read.shape == (2, SLOTS)
    assert (read[0] == UNKNOWN).sum() == 10
    assert (read[1] == chains[2]).all()
    assert person.tolist() == [0, 2]


def test_days_like_the_traces_are_at_the_floor_and_others_are_not(tmp_path):
    observed = seeds.stream(1, "trace-days-test").random((400, SLOTS)) < 0.8
    folder = write(tmp_path, days(400), observed)
    alike = {row.metric: row for row in trace_rows(days(500, 2), days(300, 3, 60, 5), folder)}
    assert set(alike) == {"type_jsd", "start_time_jsd", "end_time_jsd"}
    for row in alike.values():
        assert row.n == 400
        assert row.value < 0.02 + (row.floor or 0)
        assert row.baseline > 0.2
        assert row.paper is not None


def test_hours_when_phones_are_silent_do_not_count(tmp_path):
    """Nothing is seen after 15:00: generated days are cut as the traced ones are."""
    observed = np.tile(np.arange(SLOTS) < 60, (200, 1))
    folder = write(tmp_path, days(200, leave=24), observed)
    rows = trace_rows(days(300, 2), days(300, 3, 24), folder)
    cut = days(300, 2)
    cut[:, 60:] = UNKNOWN
    want = transition_divergences(read_trace_days(folder)[0], cut, np.ones(SLOTS, bool))[
        "start_time"
    ]
    starts = next(row for row in rows if row.metric == "start_time_jsd")
    assert starts.value == pytest.approx(want)


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(DataError, match=r"day_chains\.parquet: not there; `raygen stays TRACES"):
        read_trace_days(tmp_path)
    with pytest.raises(DataError, match="must hold a weekday, got 2 days"):
        read_trace_days(write(tmp_path, days(2), dates=[datetime.date(2024, 1, 6)] * 2))
    with pytest.raises(DataError, match="slots: must be in 0 to 14, got 15"):
        read_trace_days(write(tmp_path, days(2, kind=15)))
    with pytest.raises(DataError, match="must show a start and an end"):
        read_trace_days(write(tmp_path, np.zeros((3, SLOTS), np.int8)))
    with pytest.raises(DataError, match="no generated weekday leaves home"):
        trace_rows(np.zeros((9, SLOTS), np.int8), days(9), write(tmp_path, days(9)))
    pq.write_table(pa.table({"person_id": [1]}), tmp_path / "day_chains.parquet")
    with pytest.raises(DataError, match="must hold"):
        read_trace_days(tmp_path)
