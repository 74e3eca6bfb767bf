"""When people do what, and for how long: P(S, d | T) and P(T), from the surveys.

``temporal.json`` is made by ``python -m training.activity_times`` from the train split of the
travel survey (starts and durations: observed; types within a purpose and weekends: calibrated to
time use, see ``raygen.survey`` and ``training.chain_data``). The hour of the start and the duration
are jointly distributed: a meal out at noon is shorter than one at night.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FILE = Path(__file__).with_name("temporal.json")

HOURS = 24
DURATION_EDGES_MIN = (10, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 600)
"""Upper edges of the duration classes, in minutes; the last class has none."""

DURATIONS = len(DURATION_EDGES_MIN) + 1
DAY_KINDS = 2
"""Weekday and weekend (Saturday and Sunday)."""

PROFILE_CLASSES = ("worker", "student", "neither")
"""Whom the rules of DataFusion 6.1.1 tell apart: seen at school is a student, else seen at work a
worker, else neither."""

_SATURDAY = 5
_THURSDAY = 3  # 1970-01-01
_DAY_S, _HOUR_S = 86_400, 3600


@dataclass(frozen=True)
class Temporal:
    """Tables of the surveys, with K = 2 kinds of day, T = 15 types, H hours, D durations."""

    prior: FloatArray
    """P(T) of stays by kind of day, shape (K, T)."""
    likelihood: FloatArray
    """P(S, d | T) by kind of day, shape (K, T, H, D); sums to 1 over H and D."""
    profiles: npt.NDArray[np.int64]
    """Demographic group, student status, child under 15: shape (R, 3)."""
    profile_shares: FloatArray
    """Share of each profile in a class of ``PROFILE_CLASSES``, shape (3, R)."""
    sources: dict[str, str]
    """What it was made from, with labels."""


@cache
def load_temporal(path: Path = FILE) -> Temporal:
    """Read the tables.

    Raises
    ------
    DataError
        If the file cannot be read, or its tables have other shapes or do not sum to 1.
    """
    try:
        text = json.loads(path.read_text())
        tables = Temporal(
            np.array(text["prior"], float),
            np.array(text["likelihood"], float),
            np.array(text["profiles"], np.int64),
            np.array(text["profile_shares"], float),
            text["sources"],
        )
    except (OSError, ValueError, KeyError) as error:
        msg = f"{path}: not readable as temporal likelihoods: {error}"
        raise DataError(msg) from None
    types, rows = len(ACTIVITY_TYPES), len(tables.profiles)
    shapes = {
        "prior": (DAY_KINDS, types),
        "likelihood": (DAY_KINDS, types, HOURS, DURATIONS),
        "profiles": (rows, 3),
        "profile_shares": (len(PROFILE_CLASSES), rows),
    }
    for name, shape in shapes.items():
        if getattr(tables, name).shape != shape:
            msg = f"{path}: {name}: shape must be {shape}, got {getattr(tables, name).shape}"
            raise DataError(msg)
    sums = {"prior": (1,), "likelihood": (2, 3), "profile_shares": (1,)}
    for name, axes in sums.items():
        total: FloatArray = getattr(tables, name).sum(axis=axes)
        if getattr(tables, name).min() < 0 or np.abs(total - 1).max() > 1e-3:  # noqa: PLR2004
            msg = f"{path}: {name}: must be >= 0 and sum to 1, got {total.min()} to {total.max()}"
            raise DataError(msg)
    return tables


def duration_class(seconds: IntArray) -> IntArray:
    """Return the duration class of each stay, same shape."""
    edges = 60 * np.array(DURATION_EDGES_MIN)
    return np.searchsorted(edges, seconds, side="right")


def day_kind(clock_s: IntArray) -> IntArray:
    """Return 1 where a time on the city's clock (seconds since 1970) is in a weekend, else 0."""
    weekday = (clock_s // _DAY_S + _THURSDAY) % 7
    return (weekday >= _SATURDAY).astype(np.int64)


def log_tables(
    tables: Temporal, start_s: IntArray, end_s: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Return ln P(T) and ln P(S, d | T) of stays.

    Parameters
    ----------
    tables
        See ``load_temporal``.
    start_s, end_s
        Seconds on the city's clock since 1970-01-01 00:00 there, shape (S,).

    Returns
    -------
    prior, likelihood
        Shape (S, 15) each; never -inf, as the tables are smoothed.
    """
    kind = day_kind(start_s)
    hour = start_s % _DAY_S // _HOUR_S
    length = duration_class(end_s - start_s)
    return np.log(tables.prior[kind]), np.log(tables.likelihood[kind, :, hour, length])
