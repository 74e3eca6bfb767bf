"""Ages and sexes of the members of the seed's households.

The survey gives a household's size, its head, a partner and the youngest child; the other members
follow from rules that are assumed, each stated beside its number.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.population.seed_tables import (
    COUPLE,
    HEAD_BANDS,
    LIVING,
    LONE_WITH_CHILD,
    SIZES,
    SeedTables,
)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SLOTS = 10
"""Most members of a seed household."""

SHARED = len(LIVING)
"""Kind of household beside ``LIVING``: unrelated people who share a home (flat shares, student
housing, homes for the elderly), which the survey does not tell apart."""

OLDEST = 97

# Assumed figures.
_SHARED_WEIGHT = 0.03  # share of shared households in the prior
_SHARED_DECAY = 0.6  # of their prior with each further member
_LARGE = (0.6, 0.27, 0.13)  # of 8, 9 and 10 members among households of 8 or more
_SHARED_SEEDS = 0.08  # and among the seeds, so that zones of students or of the old can be fitted
_SHARED_AGES = ((18, 24), (20, 45), (66, 88))  # students, flat shares, homes for the elderly
_EVEN = 0.4  # share of the seeds drawn evenly over the cells of the tables
_OTHER_RELATIVE = 0.15  # of the further members of a household with children
_FEWER_BIRTHS = 0.06  # tilt of the youngest child's age, a year: births fell from 2003-2016 on
_ADULT_CHILD, _PARENT = 0.65, 0.15  # of the further members where the head is 42 or older
_YOUNG_PARENT = 0.2  # parent of a head under 42, among the further members
_SAME_SEX = 0.02  # couples
_OLDER_HEAD = 42
_ADULT = 18


@dataclass(frozen=True)
class Households:
    """Skeletons of N households; members in slots, the head first, then the partner."""

    weight: FloatArray
    """Prior weight, (N,), mean 1."""

    kind: IntArray
    """Index into LIVING, or SHARED; (N,)."""

    size: IntArray
    """(N,), 1 to SLOTS."""

    age: IntArray
    """(N, SLOTS), -1 beyond the size."""

    female: IntArray
    """(N, SLOTS), 1 for female."""

    @property
    def couple(self) -> BoolArray:
        """Return which households have a head with a partner in slot 1."""
        return _couples(self.kind)


def draw(tables: SeedTables, households: int, rng: np.random.Generator) -> Households:
    """Draw the skeletons of households.

    Parameters
    ----------
    tables
        Aggregates of the survey.
    households
        How many, N.
    rng
        Source of randomness.

    Returns
    -------
    households
        A sample that over-represents rare kinds; ``weight`` restores the shares of the tables.
    """
    shared = round(households * _SHARED_SEEDS)
    weight, kind, size, head_band = _structures(tables, households - shared, rng)
    members = np.arange(shared) % (SLOTS - 1) + 2
    rarity = _SHARED_DECAY**members
    weight = np.concatenate([weight, _SHARED_WEIGHT * rarity / rarity.sum()])
    kind = np.concatenate([kind, np.full(shared, SHARED)])
    size = np.concatenate([size, members])
    head_band = np.concatenate([head_band, np.zeros(shared, dtype=np.int64)])
    head, female = _heads(tables, kind, head_band, rng)
    age = _others(tables, kind, head, head_band, rng)
    sexes = (rng.random((households, SLOTS)) < 0.5).astype(np.int64)  # noqa: PLR2004
    sexes[:, 0] = female
    couple = _couples(kind)
    partner = np.where(rng.random(households) < _SAME_SEX, female, 1 - female)
    sexes[couple, 1] = partner[couple]
    age = np.where(np.arange(SLOTS) < size[:, None], age, -1)
    return Households(weight / weight.mean(), kind, size, age, sexes)


def _couples(kind: IntArray) -> BoolArray:
    return (kind >= COUPLE) & (kind < SHARED)


def _structures(
    tables: SeedTables, count: int, rng: np.random.Generator
) -> tuple[FloatArray, IntArray, IntArray, IntArray]:
    """Draw (kind, size, head band) systematically; the weight is the table's share over ours."""
    share = tables.households.ravel()
    cells = share > 0
    chance = (1 - _EVEN) * share + _EVEN * cells / cells.sum()
    edges = np.cumsum(chance)
    picks = (np.arange(count) + rng.random()) / count * edges[-1]
    cell = np.minimum(np.searchsorted(edges, picks, side="right"), len(share) - 1)
    kind, size, head_band = np.unravel_index(cell, tables.households.shape)
    size = size.astype(np.int64) + 1
    largest = size == SIZES  # 8 or more
    size[largest] += rng.choice(len(_LARGE), largest.sum(), p=_LARGE)
    weight = share[cell] / chance[cell]
    weight *= (1 - _SHARED_WEIGHT) / weight.sum()
    return weight, kind.astype(np.int64), size, head_band.astype(np.int64)


def _heads(
    tables: SeedTables, kind: IntArray, head_band: IntArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Draw the head's age, even within the band (80 and over: 4.5 years beyond, on average)."""
    count = len(head_band)
    first = np.array(HEAD_BANDS)[head_band]
    width = np.diff(np.array([*HEAD_BANDS, HEAD_BANDS[-1]]))[head_band]
    age = first + (rng.random(count) * width).astype(np.int64)
    oldest = head_band == len(HEAD_BANDS) - 1
    age = np.where(oldest, first + rng.exponential(4.5, count).astype(np.int64), age)
    chance = np.concatenate([tables.head_female, np.full((1, len(HEAD_BANDS)), 0.5)])
    female = rng.random(count) < chance[kind, head_band]
    return np.minimum(age, OLDEST), female.astype(np.int64)


def _others(
    tables: SeedTables,
    kind: IntArray,
    head: IntArray,
    head_band: IntArray,
    rng: np.random.Generator,
) -> IntArray:
    """Draw the ages of all members, (N, SLOTS)."""
    couple = _couples(kind)
    with_child = np.isin(kind, (LONE_WITH_CHILD, COUPLE + 1))
    age = _adults(head, rng)
    age[with_child] = _families(
        tables, head[with_child], couple[with_child], head_band[with_child], rng
    )
    age[:, 0] = head
    # Assumed: the man is 2.3 years older, give or take 4.5; the head is either.
    partner = head + np.rint(rng.normal(0.0, 4.8, len(head))).astype(np.int64)
    age[couple, 1] = _adult(partner)[couple]
    shared = kind == SHARED
    age[shared] = _sharers(int(shared.sum()), rng)
    return age


def _adults(head: IntArray, rng: np.random.Generator) -> IntArray:
    """Draw further members of households without children: adult children, parents, peers."""
    shape = (len(head), SLOTS)
    older = (head >= _OLDER_HEAD)[:, None]
    which = rng.random(shape)
    # A child at home is 18 or more, the likelier the younger, and no more than the head less 18.
    most = np.clip(head[:, None] - _ADULT, _ADULT, 50) - (_ADULT - 1)
    child = _ADULT + (rng.random(shape) ** 1.7 * most).astype(np.int64)
    parent = head[:, None] + 20 + (rng.random(shape) * 15).astype(np.int64)
    peer = head[:, None] + np.rint(rng.normal(0.0, 6.0, shape)).astype(np.int64)
    is_child = older & (which < _ADULT_CHILD)
    bound = np.where(older, 1 - _PARENT, 1 - _YOUNG_PARENT)
    is_parent = (which >= bound) & (parent <= OLDEST)
    return _adult(np.select([is_child, is_parent], [child, parent], peer))


def _adult(age: IntArray) -> IntArray:
    """Mirror ages below 18 at 18, so that they do not pile up there."""
    return np.minimum(np.where(age < _ADULT, 2 * _ADULT - age, age), OLDEST)


def _families(
    tables: SeedTables,
    head: IntArray,
    couple: BoolArray,
    head_band: IntArray,
    rng: np.random.Generator,
) -> IntArray:
    """Draw the members of households with children: the youngest, siblings, other relatives.

    The youngest child stands in the slot after the adults; each sibling is 1 to 5 years older than
    the one before.
    """
    count = len(head)
    chance = tables.youngest_child[couple.astype(np.int64), head_band]  # (N, 18)
    edges = np.cumsum(chance * np.exp(_FEWER_BIRTHS * np.arange(chance.shape[1])), axis=1)
    youngest = (rng.random((count, 1)) * edges[:, -1:] >= edges).sum(axis=1)
    youngest = np.clip(youngest, 0, head - 16)
    first = 1 + couple.astype(np.int64)
    rank = np.maximum(np.arange(SLOTS) - first[:, None], 0)
    spacing = rng.integers(1, 6, (count, SLOTS)) * (rank > 0)
    age = youngest[:, None] + np.cumsum(spacing, axis=1)
    # Assumed: who would be over 24, or born before the head was 16, is another relative.
    relative = rng.random((count, SLOTS)) < _OTHER_RELATIVE
    relative |= (age > 24) | (age > (head - 16)[:, None])  # noqa: PLR2004
    return np.where(relative & (rank > 0), _adults(head, rng), age)


def _sharers(count: int, rng: np.random.Generator) -> IntArray:
    """Draw the members of shared households; kinds and sizes cycle together evenly."""
    low, high = np.array(_SHARED_AGES).T[:, (np.arange(count) // (SLOTS - 1)) % len(_SHARED_AGES)]
    span = (high - low + 1)[:, None]
    return low[:, None] + (rng.random((count, SLOTS)) * span).astype(np.int64)
