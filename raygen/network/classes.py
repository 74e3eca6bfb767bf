"""Classes of roads: OSM's words, and what is assumed of a road that does not say its speed."""

import re

import numpy as np
import numpy.typing as npt

from raygen.network.graph import FloatArray

MILE_KM = 1.609344

SPEED_KPH = {
    "motorway": 110.0,
    "trunk": 90.0,
    "primary": 60.0,
    "secondary": 50.0,
    "tertiary": 45.0,
    "unclassified": 40.0,
    "residential": 30.0,
    "motorway_link": 60.0,
    "trunk_link": 50.0,
    "primary_link": 40.0,
    "secondary_link": 40.0,
    "tertiary_link": 35.0,
    "living_street": 15.0,
    "road": 40.0,
}
"""Assumed speeds at free flow where a road does not tell its own; its keys are the classes that
cars may use through, and that the OSM reader keeps."""

LANES = {"motorway": 3, "trunk": 2, "primary": 2, "secondary": 2}
"""Assumed lanes in one direction where a road does not tell; 1 for all other classes."""

DEFAULT_KPH = 40.0
"""Assumed for a class that is not in SPEED_KPH."""

MAX_KPH = 250.0
"""A faster road is an error of its file: a wrong unit, most likely."""

_LIMIT = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(mph|km/h|kmh|kph)?\s*(?:;.*)?$")


def assumed_speed(highway: npt.NDArray[np.str_]) -> FloatArray:
    """Return the assumed speed of each class, in km/h."""
    kinds, at = np.unique(highway, return_inverse=True)
    return np.array([SPEED_KPH.get(str(kind), DEFAULT_KPH) for kind in kinds])[at]


def assumed_lanes(highway: npt.NDArray[np.str_]) -> npt.NDArray[np.int8]:
    """Return the assumed lanes in one direction of each class."""
    kinds, at = np.unique(highway, return_inverse=True)
    return np.array([LANES.get(str(kind), 1) for kind in kinds], dtype=np.int8)[at]


def limit_kph(text: str) -> float:
    """Return what an OSM ``maxspeed`` says in km/h; NaN where it is a word or nothing.

    ``50``, ``30 mph`` and ``50;30`` (the first counts) are read; ``none``, ``signals`` and
    ``PT:urban`` are left to the class. A limit below 5 km/h is a slip of the mapper, not a speed.
    """
    found = _LIMIT.match(text)
    if found is None:
        return float("nan")
    value = float(found[1]) * (MILE_KM if found[2] == "mph" else 1.0)
    return value if 5 <= value <= MAX_KPH else float("nan")  # noqa: PLR2004


def lane_count(text: str) -> int:
    """Return what an OSM ``lanes`` says; 0 where it is no number from 1 to 20."""
    first = text.split(";")[0].strip()
    value = int(float(first)) if re.fullmatch(r"\d+(\.\d+)?", first) else 0
    return value if 1 <= value <= 20 else 0  # noqa: PLR2004
