"""TAZ location assignment: compiled kernels over arrays; knows nothing of Ray."""

from raygen import __version__  # first of all: raygen names the folder of compiled functions

__all__ = ["__version__"]
