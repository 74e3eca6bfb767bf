"""``raygen stays``: what is refused before any work starts."""

import pyarrow.parquet as pq
import pytest
import tinycity
from trails import Trail, table

from raygen import cli
from raygen.storage import Store


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stays")
    tinycity.build(directory / "city")
    pq.write_table(table({1: Trail().stay(600)}), directory / "traces.parquet")
    return directory


def failure(capsys, place, **changes):
    """Run the command, which must fail with 2 and one line; return the line."""
    given = {"traces": place / "traces.parquet", "city": place / "city", "output": place / "out"}
    given |= changes
    arguments = ["stays", str(given.pop("traces"))]
    for name, value in given.items():
        arguments += [f"--{name}", str(value)]
    assert cli.run(arguments) == cli.BAD_INPUT
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert not (place / "out" / ".stays").exists()
    return line


def test_missing_traces_are_named(capsys, place):
    line = failure(capsys, place, traces=place / "no")
    assert line == f"error: {place / 'no'}: no such file or directory of traces"


def test_a_missing_city_is_named(capsys, place):
    assert "no/city: no such city directory" in failure(capsys, place, city="no/city")


def test_an_unknown_threshold_gets_its_nearest(capsys, place):
    (place / "stays.toml").write_text("radius = 200\n")
    line = failure(capsys, place, config=place / "stays.toml")
    assert "stays.toml: unknown key 'radius'; did you mean 'radius_m'?" in line


def test_an_unknown_last_step_is_named(capsys, place):
    line = failure(capsys, place, until="activity")
    assert line == "error: until: must be stays, activities, chains, got 'activity'"


def test_missing_weights_are_named(capsys, place):
    (place / "weights.toml").write_text(f"weights = '{place / 'none'}'\n")
    line = failure(capsys, place, config=place / "weights.toml")
    assert "none/reconstruction" in line


def test_a_city_without_pois_is_named(capsys, place, tmp_path):
    tinycity.build(tmp_path / "bare")
    pois = pq.read_table(tmp_path / "bare" / "pois.parquet")
    pq.write_table(pois.slice(0, 0), tmp_path / "bare" / "pois.parquet")
    line = failure(capsys, place, city=tmp_path / "bare")
    assert "pois.parquet: activities are inferred from POIs, got none" in line


def test_an_unknown_threshold_of_the_inference_gets_its_nearest(capsys, place):
    (place / "rules.toml").write_text("[inference]\nwork = 2\n")
    line = failure(capsys, place, config=place / "rules.toml")
    assert "unknown key 'inference.work'; did you mean 'work_h'?" in line


def test_an_output_that_cannot_be_written_is_named(capsys, place):
    (place / "file").touch()
    assert "file/out: cannot be written" in failure(capsys, place, output=place / "file" / "out")


def test_a_disk_without_room_is_found_first(capsys, place, monkeypatch):
    monkeypatch.setattr(Store, "free_bytes", lambda store: 100)
    assert "needs about 0 MB while it works, the disk has 0 MB free" in failure(capsys, place)
