import shutil

import pytest
import tinycity
import tinyweights
from smallpopulation import tables, write

from raygen import cli, pipeline
from raygen.city import open_city
from raygen.errors import StageError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The tiny city and its weights."""
    directory = tmp_path_factory.mktemp("place")
    city = tinycity.build(directory / "city")
    tinyweights.build(directory / "weights", open_city(str(city)))
    return directory


@pytest.fixture
def run_file(place, tmp_path, monkeypatch):
    """Return a function that writes a run's TOML, with keys of the test's own."""
    monkeypatch.setattr(pipeline, "CACHE", tmp_path / "cache")
    keys = {
        "city": f'"{place / "city"}"',
        "weights": f'"{place / "weights"}"',
        "output": f'"{tmp_path / "out"}"',
        "agents": "100",
    }

    def write_toml(**changes):
        path = tmp_path / "run.toml"
        lines = [f"{name} = {value}" for name, value in (keys | changes).items()]
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    return write_toml


def failure(capsys, *arguments):
    """Run a command that must fail with 2 and one line; return the line."""
    assert cli.run(list(arguments)) == cli.BAD_INPUT
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "error: " in line]
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    return lines[0]


def test_a_missing_file_is_named(capsys, tmp_path):
    line = failure(capsys, "generate", str(tmp_path / "no.toml"))
    assert line == f"error: {tmp_path / 'no.toml'}: cannot be read: No such file or directory"


def test_an_unknown_key_gets_its_nearest(capsys, run_file):
    line = failure(capsys, "generate", run_file(agnets="5"))
    assert "unknown key 'agnets'; did you mean 'agents'?" in line


def test_an_option_is_checked_as_its_key(capsys, run_file):
    line = failure(capsys, "generate", run_file(), "--agents", "-3")
    assert line == "error: command line: agents must be greater than or equal to 0, got -3"


def test_an_unknown_option_is_one_line(capsys, run_file):
    line = failure(capsys, "generate", run_file(), "--agnets", "3")
    assert "No such option: --agnets" in line
    assert line.endswith("(see --help)")


def test_a_missing_argument_is_one_line(capsys):
    assert "Missing argument 'RUN.toml'" in failure(capsys, "generate")


def test_a_missing_city_is_named(capsys, run_file, tmp_path):
    line = failure(capsys, "generate", run_file(city=f'"{tmp_path / "nowhere"}"'))
    assert str(tmp_path / "nowhere") in line


def test_missing_weights_are_named(capsys, run_file, tmp_path):
    line = failure(capsys, "generate", run_file(weights=f'"{tmp_path}"'))
    assert f"{tmp_path / 'reconstruction'}" in line


def test_truncated_weights_are_named(capsys, run_file, place, tmp_path):
    weights = shutil.copytree(place / "weights", tmp_path / "weights")
    file = weights / "generator/weights.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    line = failure(capsys, "generate", run_file(weights=f'"{weights}"'))
    assert f"{file}: truncated or altered" in line


def test_an_occupied_output_is_refused(capsys, run_file, tmp_path):
    write(tmp_path / "out", [tables()])
    line = failure(capsys, "generate", run_file())
    assert f"{tmp_path / 'out'}: holds a population already; continue it with --resume" in line


def test_resuming_another_run_is_refused(capsys, run_file, tmp_path):
    write(tmp_path / "out", [tables()])
    line = failure(capsys, "generate", run_file(), "--resume")
    assert "belongs to a run of another configuration, city, models or version" in line


def test_an_output_that_cannot_be_written_is_named(capsys, run_file, tmp_path):
    (tmp_path / "file").write_text("")
    line = failure(capsys, "generate", run_file(output=f'"{tmp_path / "file" / "out"}"'))
    assert f"output {tmp_path / 'file' / 'out'}: cannot be written: Not a directory" in line


def test_a_disk_without_room_is_found_before_the_start(capsys, run_file, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    line = failure(capsys, "generate", run_file(agents="5000"))
    assert "needs about" in line
    assert "the disk has 0.0 MB free" in line


def test_an_unreachable_cluster_is_named(capsys, run_file):
    line = failure(capsys, "generate", run_file(), "--address", "127.0.0.1:1")
    assert "127.0.0.1:1" in line


def test_a_stage_that_gives_up_is_one_line(capsys, run_file, monkeypatch):
    def fail(*arguments):
        msg = "shard 3: 3 attempts failed;\nlast: boom"
        raise StageError(msg)

    monkeypatch.setattr(pipeline, "generate", fail)
    assert failure(capsys, "generate", run_file()) == (
        "error: shard 3: 3 attempts failed; last: boom"
    )


def test_ctrl_c_is_130(capsys, run_file, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "generate", interrupt)
    assert cli.run(["generate", run_file()]) == 130
    assert "--resume continues" in capsys.readouterr().err


def test_options_change_the_run(run_file, monkeypatch):
    seen = []

    def remember(config, address, resume, _watch, _begins):
        seen.append((config.agents, config.seed, config.output, address, resume))
        seen.append(config.planner.llm)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "generate", remember)
    options = ["--agents", "7", "--seed", "9", "--output", "s3://bucket/x", "--address", "auto"]
    cli.run(["generate", run_file(), *options, "--resume", "--no-llm"])
    assert seen == [(7, 9, "s3://bucket/x", "auto", True), False]


def test_an_unknown_model_is_refused(capsys, tmp_path):
    line = failure(capsys, "train", "gnerator", str(tmp_path / "x.toml"))
    assert "model 'gnerator': must be one of reconstruction, adapters, planner" in line


def test_validate_says_ok_and_exits_with_0(capsys, tmp_path):
    assert cli.run(["validate", write(tmp_path, [tables()])]) == 0
    assert "31 of 31 checks passed" in capsys.readouterr().out


def test_validate_exits_with_1_where_a_rule_is_broken(capsys, tmp_path):
    population = write(tmp_path, [tables(), tables()])
    assert cli.run(["validate", population]) == cli.BROKEN
    out = capsys.readouterr().out
    assert "FAIL person ids are contiguous over the run (4 checked, 2 break it)" in out
    assert "persons/part-00001.parquet row 0: person_id 0" in out
    assert "28 of 31 checks passed" in out


def test_city_check_says_what_is_there(capsys, place):
    assert cli.run(["city", "check", str(place / "city")]) == 0
    assert "Tiny City: 6 zones" in capsys.readouterr().out


def test_estimate_says_persons_and_shards(capsys, run_file):
    assert cli.run(["estimate", run_file(agents="5000")]) == 0
    out = capsys.readouterr().out
    assert "persons                     5,000" in out
    assert "shards                      2" in out
    assert "plan states to ask, at most 0 (0:00:00)" in out
