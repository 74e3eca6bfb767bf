"""The population of a city and its day, generated on Ray."""

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from raygen.sources import compiled_sources, source_digest

try:
    __version__ = version("raygen")
except PackageNotFoundError:  # a working directory shipped by `ray job submit`, not an install
    __version__ = "0.1.0"

# Numba keeps compiled functions by the time stamp of their own file, and would run on with what it
# had when a function that they call has changed in another file. One folder for each state of the
# sources mends that; it must be named before Numba is imported.
os.environ.setdefault(
    "NUMBA_CACHE_DIR",
    str(Path.home() / ".cache" / "raygen" / "kernels" / source_digest(compiled_sources())[:16]),
)
