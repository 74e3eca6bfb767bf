"""SPEC.toml of ``raygen city build``."""

from typing import Literal

from raygen.config import Section


class CitySpec(Section):
    """Which city to build."""

    city: Literal["los_angeles"]
    """An embedded city."""
