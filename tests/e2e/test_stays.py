"""``raygen stays`` on Ray: the command, the same bytes on any workers, resume, faults by name."""

import json

import pyarrow.parquet as pq
import pytest
import tinycity
from trails import day, table

from actors import stays as module
from actors.stays import Session, follow_traces
from cluster.session import connect
from raygen import cli
from raygen.errors import ConfigError, DataError
from raygen.inference.settings import TraceConfig
from raygen.stay_points.shuffle import SCRATCH

pytestmark = pytest.mark.slow

CONFIG = TraceConfig(bucket_fixes=2000)
TABLES = (
    "stay_points.parquet",
    "person_days.parquet",
    "stay_activities.parquet",
    "day_chains.parquet",
    "stays.json",
)


@pytest.fixture(scope="module")
def cluster():
    with connect("local", workers=2):
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The tiny city, and traces of twelve persons in files that share them."""
    directory = tmp_path_factory.mktemp("stays")
    tinycity.build(directory / "city")
    fixes = table({n: day(n) for n in range(12)})
    (directory / "traces").mkdir()
    for part in range(3):
        rows = list(range(part, fixes.num_rows, 3))
        pq.write_table(
            fixes.take(rows), directory / "traces" / f"{part}.parquet", row_group_size=700
        )
    return directory


def run(place, output, **session):
    return follow_traces(
        str(place / "traces"), str(place / "city"), str(output), CONFIG, session=Session(**session)
    )


def contents(output):
    assert sorted(path.name for path in output.iterdir()) == sorted(TABLES)
    return {name: (output / name).read_bytes() for name in TABLES}


def test_the_same_bytes_again_and_resumed(place, cluster, tmp_path, monkeypatch):
    told = []
    outcome = run(place, tmp_path / "one", watch=lambda *step: told.append(step))
    assert outcome.counts["persons"] == 12
    assert outcome.counts["stays"] >= 12 * 5
    assert told[-1][1] == told[-1][2] > 1

    def stop(step, done, total):
        if step == "completing days" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(place, tmp_path / "two", watch=stop)
    assert not (tmp_path / "two" / "stay_points.parquet").exists()
    again = []
    run(place, tmp_path / "two", resume=True, watch=lambda *step: again.append(step))
    for done in ("reading traces", "finding stays", "inferring activities"):
        assert [step for step in again if step[0] == done] == [(done, 0, 0)]
    rest, whole = (
        [step for step in steps if step[0] == "completing days"] for steps in (again, told)
    )
    assert 1 < len(rest) < len(whole)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    # A finished run is left as it is.
    monkeypatch.setattr(module, "connect", None)
    assert run(place, tmp_path / "one", resume=True).counts == outcome.counts


def test_the_command_on_one_worker_gives_the_same_bytes(place, cluster, tmp_path, capsys):
    run(place, tmp_path / "api")
    (tmp_path / "stays.toml").write_text("bucket_fixes = 2000\n")
    arguments = ["stays", str(place / "traces"), "--city", str(place / "city")]
    arguments += ["--output", str(tmp_path / "cli"), "--config", str(tmp_path / "stays.toml")]
    assert cli.run(arguments) == 0
    assert "12 persons" in capsys.readouterr().out
    assert contents(tmp_path / "cli") == contents(tmp_path / "api")
    assert cli.run(arguments) == cli.BAD_INPUT
    assert "holds stay points already; continue them with --resume" in capsys.readouterr().err


def test_a_fault_in_a_worker_is_raised_as_it_is(place, cluster, tmp_path):
    bad = table({n: day(n) for n in range(3)})
    bad = bad.set_column(3, "lat", [[34.0] * (bad.num_rows - 1) + [95.0]])
    pq.write_table(bad, tmp_path / "bad.parquet")
    message = rf"bad\.parquet: column lat: row {bad.num_rows}: must be in \[-90, 90\]"
    with pytest.raises(DataError, match=message):
        follow_traces(
            str(tmp_path / "bad.parquet"), str(place / "city"), str(tmp_path / "o"), CONFIG
        )


def test_the_output_of_other_settings_is_not_resumed(place, cluster, tmp_path):
    run(place, tmp_path / "out")
    with pytest.raises(ConfigError, match="belongs to a run of other settings"):
        follow_traces(
            str(place / "traces"),
            str(place / "city"),
            str(tmp_path / "out"),
            CONFIG.model_copy(update={"radius_m": 200.0}),
            session=Session(resume=True),
        )


def test_the_record_tells_the_run(place, cluster, tmp_path):
    run(place, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "stays.json").read_text())
    assert record["settings"]["radius_m"] == 300.0
    assert record["time_zone"] == "America/Los_Angeles"
    assert record["counts"]["fixes"] == sum(len(day(n).fixes) for n in range(12))
    assert not (tmp_path / "out" / SCRATCH).exists()
