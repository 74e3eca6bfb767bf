import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.config import RunConfig
from raygen.errors import ConfigError, DataError
from raygen.evaluation import PAPER_TABLE_6, evaluate, minutes_rows, population_days
from raygen.manifest import Manifest, SourceEntry, identify
from raygen.results import Results, Row
from raygen.schema import ACTIVITIES, PERSONS, category
from raygen.survey import CHILD_ROW
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S, DEMOGRAPHIC_GROUPS, SLOTS
from raygen.timeuse import TimeUse


def population(directory: Path, days: dict[int, list[list[tuple[str, int]]]]) -> Path:
    """By person, days of (type, start in minutes of the day); two shards."""
    rows = []
    for person, each in days.items():
        for day, activities in enumerate(each):
            for sequence, (kind, start) in enumerate(activities):
                rows.append(
                    (person, day, sequence, ACTIVITY_TYPES.index(kind), day * DAY_S + start * 60)
                )
    table = {name: [] for name in ACTIVITIES.names}
    for person, day, sequence, kind, start in rows:
        values = (person, day, sequence, kind, start, start + 60, 0, 0, 0.0, 0.0)
        for name, value in zip(ACTIVITIES.names, values, strict=True):
            table[name].append(value)
    arrays = [
        category(pa.array(table[f.name]), ACTIVITY_TYPES)
        if f.name == "type"
        else pa.array(table[f.name], f.type)
        for f in ACTIVITIES
    ]
    activities = pa.Table.from_arrays(arrays, schema=ACTIVITIES)
    people = pa.Table.from_pylist(
        [
            {
                "person_id": person, "household_id": 0, "age": 40 if person else 9, "sex": "male",
                "employment": "employed", "student": "none", "role": "worker",
                "demographic_group": 2 if person else 6, "work_zone_id": -1, "school_zone_id": -1,
            }
            for person in days
        ],
        schema=PERSONS,
    )  # fmt: skip
    for name, whole in (("activities", activities), ("persons", people)):
        (directory / name).mkdir(parents=True)
        half = whole.num_rows // 2
        pq.write_table(whole.slice(0, half), directory / name / "part-00000.parquet")
        pq.write_table(whole.slice(half), directory / name / "part-00001.parquet")
    config = RunConfig.model_validate({"chains": {"day_of_week": 4, "days": 2}})
    city = SourceEntry(name="c", digest="aa", provenance={})
    run = identify(config, city, (), (0,), 1)
    book = Manifest(run=run.digest, identity=run, rows={}, files={})
    (directory / "manifest.json").write_text(book.model_dump_json())
    return directory


def test_population_days_are_chains_by_arrival(tmp_path):
    work = [("home", 0), ("work", 8 * 60 + 10), ("home", 17 * 60 + 20)]
    home = [("home", 0)]
    days = population_days(population(tmp_path, {0: [home, home], 5: [work, home]}))
    assert days.row.tolist() == [CHILD_ROW, CHILD_ROW, 2, 2]
    assert days.weekend.tolist() == [False, True, False, True]
    assert days.chains[2].tolist() == [0] * 33 + [1] * (69 - 33) + [0] * (SLOTS - 69)
    assert (days.chains[[0, 1, 3]] == 0).all()


def test_population_that_is_none_is_named(tmp_path):
    with pytest.raises(DataError, match=r"persons: no part-\*\.parquet; not a population"):
        population_days(tmp_path)
    population(tmp_path, {5: [[("home", 0)]]})
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"manifest\.json: not a manifest: run: Field required"):
        population_days(tmp_path)


def test_unknown_preset_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"preset must be one of \['data-fusion'\], got 'x'"):
        evaluate("x", tmp_path, tmp_path)


def time_use(home: float) -> TimeUse:
    minutes = np.zeros((2, 12, 15))
    minutes[..., 0], minutes[..., 1] = home, 1440 - home
    shares = np.zeros((2, 12))
    return TimeUse(
        minutes,
        shares,
        minutes > 0,
        np.ones((15, 2)),
        shares,
        minutes,
        np.zeros(2),
        np.zeros((12, 3)),
    )


def test_minutes_rows_compare_with_time_use_and_the_paper():
    chains = np.zeros((4, SLOTS), np.int8)
    chains[:, 32:64] = 1
    rows = minutes_rows(chains, np.array([2, 2, 2, 5]), 0, time_use(960.0), (time_use(960.0),) * 2)
    first = rows[0]
    assert (first.case, first.metric, first.n) == (
        "mid_aged_male_worker, weekday",
        "minutes_jsd",
        3,
    )
    assert first.value == pytest.approx(0, abs=1e-12)
    assert first.floor == pytest.approx(0, abs=1e-12)
    assert first.paper == 0.0189
    work = next(row for row in rows if row.metric == "minutes_work")
    assert (work.value, work.target, work.paper) == (480, 480, 380.8)
    assert len({row.case for row in rows}) == 2


def test_the_papers_table_has_every_group_and_sums_below_a_day():
    assert set(PAPER_TABLE_6) == set(DEMOGRAPHIC_GROUPS)
    for _, minutes in PAPER_TABLE_6.values():
        assert 1260 < sum(minutes) < 1440  # the eight types of the paper; its least sum is 1270.3


def test_results_are_written_twice(tmp_path):
    row = Row(
        case="a", metric="m", value=0.01, n=3, floor=None, baseline=0.2, baseline_name="Markov"
    )
    results = Results("r", "raygen x", "d", [row], ["a note"])
    page = results.write(tmp_path / "docs" / "r.json").read_text()
    assert "| a | m | 0.0100 | 3 | – | 0.2000 (Markov) |" in page
    read = json.loads((tmp_path / "docs" / "r.json").read_text())
    assert read["rows"][0]["floor"] is None
    assert set(read) >= {"name", "command", "data", "machine", "date", "rows"}


def test_evaluate_runs_on_a_small_population(tmp_path):
    reference = Path(__file__).parents[2].parent / "shared/data"
    if not (reference / "atus").is_dir():
        pytest.skip("the surveys are not there")
    work = [("home", 0), ("work", 8 * 60 + 10), ("home", 17 * 60 + 20)]
    results = evaluate(
        "data-fusion", population(tmp_path, {key: [work] for key in range(6)}), reference
    )
    found = {row.metric: row for row in results.rows}
    length = found["length_jsd"]
    assert length.baseline is not None
    assert length.value is not None
    assert 0 < (length.floor or 0) < length.value
    assert found["stay_home_share"].value == 0
