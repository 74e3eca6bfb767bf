"""The population of a city and its day, generated on Ray."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("raygen")
except PackageNotFoundError:  # a working directory shipped by `ray job submit`, not an install
    __version__ = "0.1.0"
