import importlib
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["raygen", "training", "actors", "assignment", "cluster"]


@pytest.mark.parametrize("name", PACKAGES)
def test_top_level_package_is_ours(name):
    """actors, assignment and cluster are also names on PyPI; ours must win."""
    assert Path(importlib.import_module(name).__file__).parents[1] == ROOT


@pytest.mark.parametrize("name", PACKAGES)
def test_top_level_package_is_typed(name):
    assert (ROOT / name / "py.typed").is_file()


def test_the_command_starts_without_the_heavy_libraries():
    """Every second of `raygen --help` is an import; the commands import what they need."""
    heavy = ("ray", "torch", "transformers", "diffusers", "deepspeed", "matplotlib", "geopandas")
    look = f"import sys, raygen.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_python_m_raygen_works_from_a_checkout_that_is_not_installed(tmp_path):
    """As on a node where `ray job submit --working-dir .` has put the checkout."""
    # -S: no .pth file is read, so an editable install of raygen is out of the path.
    start = "import runpy, sys; sys.path[:0] = [sys.argv.pop(1), sys.argv.pop(1)]; "
    start += "sys.argv = ['raygen', '--help']; runpy.run_module('raygen', run_name='__main__')"
    libraries = sysconfig.get_path("purelib")
    done = subprocess.run(
        [sys.executable, "-S", "-c", start, str(ROOT), libraries],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "generate" in done.stdout
