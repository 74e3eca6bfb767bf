"""Caches are named by the code that filled them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from raygen import city as city_module
from raygen.sources import compiled_sources, source_digest
from tests import tinycity


def test_digest_follows_names_and_contents(tmp_path):
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("a = 1\n")
    other.write_text("a = 1\n")
    before = source_digest([one])
    assert before == source_digest([one]) != source_digest([other])
    one.write_text("a = 2\n")
    assert before != source_digest([one])


def test_every_compiled_file_counts():
    root = Path(__file__).parents[2]
    counted = set(compiled_sources())
    for path in root.glob("**/*.py"):
        if {"tests", ".venv"} & set(path.relative_to(root).parts):
            continue
        text = path.read_text()
        if "import njit" in text or "import numba" in text:
            assert path in counted, path


def test_compiled_functions_go_to_a_folder_of_these_sources(tmp_path):
    code = "import assignment.ring, numba; print(numba.config.CACHE_DIR)"
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = tmp_path / ".cache" / "raygen" / "kernels"
    assert Path(found.stdout.strip()) == wanted / source_digest(compiled_sources())[:16]


def test_two_first_opens_leave_one_whole_city(tmp_path):
    place = tmp_path / "tiny"

    def slower(output: Path) -> None:
        tinycity.build(output)
        if not place.exists():  # another process finishes while this one writes
            tinycity.build(place)
            (place / "theirs").touch()

    city_module._build_once(slower, place)
    assert (place / "theirs").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_city_that_cannot_be_built_leaves_nothing(tmp_path):
    def broken(output: Path) -> None:
        output.mkdir()
        (output / "half").touch()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        city_module._build_once(broken, tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []
