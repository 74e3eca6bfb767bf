"""A mark for tests that run SUMO's programs."""

import pytest

from raygen.errors import DataError
from raygen.trajectories.sumo_network import program


def _missing() -> bool:
    try:
        program("netconvert")
    except DataError:
        return True
    return False


needs_sumo = pytest.mark.skipif(_missing(), reason="SUMO is not installed: raygen[sumo]")
