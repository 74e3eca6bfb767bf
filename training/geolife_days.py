"""Incomplete day chains of Beijing, made of the half-hour days that MoveSim published.

Input: see ``raygen.geolife``. MoveSim's days count half hours of UTC: their movement ceases from
14 h to 23 h, the night of Beijing. A chain here is a day of Beijing's clock, whose hours before 8
come from the night after (*assumed*: one night is as the next); what is about 8 o'clock, the seam,
is not known. Consecutive half hours within 300 m are one stay; a single half hour between other
places is a way, or unknown where the ways go on. Days have no person and no date: each counts as a
weekday of a person of its own (*assumed*). MoveSim filled silences of the GPS with the place before
(Feng et al., KDD 2020), and they cannot be told from stays.

Types, by rules and Bayes as in ``raygen.inference``, but for one day alone:

home    where most of 22–6 h is spent, half of it at least; other days are left out: calibrated
work    of the other places the one with the most of 9–18 h, four hours at least: calibrated
others  drawn from P(T) · P(start hour, duration | T) over the other types of the surveys
        (``raygen.inference.temporal``): calibrated. The 982 POIs are of tourism alone and not used.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.errors import DataError
from raygen.geolife import BEGINS, read_days
from raygen.inference.completion import with_ways
from raygen.inference.people import draw_profiles
from raygen.inference.temporal import duration_class, load_temporal
from raygen.stages.chains import UNKNOWN
from raygen.taxonomy import HOME, PLAN_SLOTS, SLOTS, WORK

_SAME_M = 300.0
_EARTH_M = 6_371_000.0
_NIGHT, _NIGHT_SLOTS = (44, 12), 8  # 22 h to 6 h; the least of its 16 half hours at home
_DAY, _WORK_SLOTS = (18, 36), 8
_HALF_HOUR_S = 1800
_SEAM = (30, 34)  # slots of a chain, 7:30 to 8:30
_WAY_SLOTS = 2
_SPLITS = {"train": "train", "validation": "val", "test": "val"}

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class BeijingDays:
    """N days of persons of whom nothing else is known."""

    chains: npt.NDArray[np.int8]
    """Activity types, ``UNKNOWN`` where not known, shape (N, 96)."""
    people: IntArray
    """Drawn: demographic group, student status, child, shape (N, 3)."""
    left_out: int
    """Days without a home."""


def read_beijing(directory: Path, split: str) -> BeijingDays:
    """Read the days of a split.

    Parameters
    ----------
    directory
        Folder of ``days_*.txt.gz`` and ``locations.txt``.
    split
        ``train``: MoveSim's training days; ``validation`` and ``test``: the halves of its others,
        without those that occur among the training days. MoveSim split days, not persons.

    Raises
    ------
    DataError
        If a file is missing or malformed, or names a location that ``locations.txt`` lacks.
    """
    days = read_days(directory, _SPLITS[split])
    if split != "train":
        known = {row.tobytes() for row in read_days(directory, "train")}
        days = days[np.array([row.tobytes() not in known for row in days], bool)]
        days = days[int(split == "test") :: 2]
    where = _locations(directory / "locations.txt")
    if days.min() < 0 or days.max() >= len(where):
        msg = f"{directory}: location ids must be below {len(where)}, got {days.min()} to "
        raise DataError(msg + str(days.max()))
    return typed_days(np.roll(days, BEGINS, axis=1), where)


def typed_days(days: IntArray, where: npt.NDArray[np.float64]) -> BeijingDays:
    """Give days of places types.

    Parameters
    ----------
    days
        Location ids in half hours of the city's clock, shape (N, 48).
    where
        Latitude and longitude of each id, shape (L, 2).
    """
    seed = 0
    begins = np.ones(days.shape, bool)
    begins[:, 1:] = _metres(where[days[:, 1:]], where[days[:, :-1]]) > _SAME_M
    run = np.cumsum(begins, axis=1) - 1
    night = _within(_NIGHT)
    home = _most(days, night)
    at_home = _metres(where[days], where[home][:, None]) <= _SAME_M
    kept = (at_home & night).sum(1) >= _NIGHT_SLOTS
    days, run, at_home = days[kept], run[kept], at_home[kept]
    office = _most(days, _within(_DAY) & ~at_home)
    at_work = (_metres(where[days], where[office][:, None]) <= _SAME_M) & ~at_home
    spent = (at_work & _within(_DAY)).sum(axis=1, keepdims=True)
    at_work &= spent >= _WORK_SLOTS
    length = np.zeros((len(days), PLAN_SLOTS), np.int64)
    np.add.at(length, (np.arange(len(days))[:, None], run), 1)
    stay = np.take_along_axis(length, run, axis=1)
    types = np.where(at_home, HOME, np.where(at_work, WORK, _drawn(run, stay, at_work, seed)))
    types = np.where((stay == 1) & ~at_home & ~at_work, UNKNOWN, types)
    chains = with_ways(np.repeat(types.astype(np.int8), 2, axis=1), _WAY_SLOTS)
    chains[:, slice(*_SEAM)] = UNKNOWN
    works = np.where(at_work.any(1), 0, 2).astype(np.int8)
    people = draw_profiles(works, np.arange(len(days)), load_temporal(), seed)
    return BeijingDays(chains, people, int((~kept).sum()))


def counted_slots() -> BoolArray:
    """Return at which slots an activity's start tells something: not at the seam, shape (96,)."""
    counted = np.ones(SLOTS, bool)
    counted[_SEAM[0] : _SEAM[1] + 1] = False
    return counted


def _drawn(run: IntArray, stay: IntArray, at_work: BoolArray, seed: int) -> IntArray:
    """Draw a type for each stay by its start and duration: (N, 48), equal within a stay."""
    tables = load_temporal()
    slot = np.arange(PLAN_SLOTS)[None].repeat(len(run), 0)
    start = np.where(np.diff(run, axis=1, prepend=-1) > 0, slot, 0)
    start = np.maximum.accumulate(start, axis=1)
    length = duration_class(stay * _HALF_HOUR_S)
    score = tables.prior[0] * tables.likelihood[0][:, start // 2, length].transpose(1, 2, 0)
    score[..., HOME] = 0.0
    score[..., WORK] *= ~at_work.any(axis=1, keepdims=True)
    edges = np.cumsum(score, axis=-1)
    uniform = seeds.uniforms(seed, "beijing-types", np.arange(len(run)), PLAN_SLOTS)
    point = np.take_along_axis(uniform, run, axis=1)[..., None] * edges[..., -1:]
    return np.minimum((edges <= point).sum(-1), edges.shape[-1] - 1)


def _most(days: IntArray, counted: BoolArray) -> IntArray:
    """Return the place with the most of the half hours that count, the first such, shape (N,)."""
    weight = np.broadcast_to(counted, days.shape)
    same = days[:, :, None] == days[:, None, :]
    spent = (same & weight[:, None, :]).sum(2) * weight
    return np.take_along_axis(days, spent.argmax(1)[:, None], axis=1)[:, 0]


def _within(hours: tuple[int, int]) -> BoolArray:
    """Return which half hours are in a period, which may go over midnight, shape (48,)."""
    slot = np.arange(PLAN_SLOTS)
    first, last = hours
    return (slot - first) % PLAN_SLOTS < (last - first) % PLAN_SLOTS


def _metres(
    here: npt.NDArray[np.float64], there: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return distances of latitudes and longitudes, equirectangular, for a few kilometres."""
    gap = np.radians(here - there)
    east = gap[..., 1] * np.cos(np.radians(here[..., 0]))
    return _EARTH_M * np.hypot(gap[..., 0], east)


def _locations(path: Path) -> npt.NDArray[np.float64]:
    try:
        return np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read as latitudes and longitudes: {error}"
        raise DataError(msg) from None
