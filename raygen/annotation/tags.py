"""The tag heuristic: OSM tags to a distribution over the activity types, by one published table.

DataFusion 6.2.1 names such a heuristic as its baseline: "a fixed priority and mapping scheme"
that gives a POI up to three types. The table is ``osm_tags.txt`` beside this file; it says where
its rows come from. It also gives UniMob's category (Table 2) of a tag.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES, POI_CATEGORIES

FloatArray = npt.NDArray[np.float64]
Tags = dict[str, str]

TABLE = "osm_tags.txt"
"""Name of the published table, a file of this package."""

ANY = "*"
"""Value of a row that stands for every other value of its key."""

_TOLERANCE = 1e-9
_HSTORE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*=>\s*"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class TagTable:
    """The published table, R rows; rows of earlier keys win over later ones."""

    row: dict[tuple[str, str], int]
    """Row of a (key, value); the value may be ``ANY``."""
    keys: tuple[str, ...]
    """Keys in the order of the table, which is their priority."""
    category: npt.NDArray[np.int8]
    """Shape (R,): index into POI_CATEGORIES."""
    distribution: FloatArray
    """Shape (R, 15): P(activity type | tag), three entries a row, rows sum to 1."""
    digest: str
    """SHA-256 of the file."""

    def find(self, tags: Tags) -> tuple[int, bool]:
        """Return the row of a POI's tags and whether its value is in the table.

        A value of several, ``bar;restaurant``, is taken by the first one that the table has. A
        POI without any key of the table has row -1.
        """
        for key in self.keys:
            for value in tags.get(key, "").split(";"):
                row = self.row.get((key, value.strip()), -1)
                if row >= 0 and value.strip() != ANY:
                    return row, True
        known = [self.row[key, ANY] for key in self.keys if key in tags and (key, ANY) in self.row]
        return (known[0] if known else -1), False

    def tag_of(self, value: str) -> Tags:
        """Return the tag that a bare value stands for, e.g. ``hotel``; an unknown one is kept.

        Where several keys have the value, the first of the table wins; ``a;b`` goes by ``a``.
        """
        for part in value.split(";"):
            for key in self.keys:
                if (key, part.strip()) in self.row:
                    return {key: part.strip()}
        return {"type": value.strip()} if value.strip() else {}


@dataclass(frozen=True)
class TagAnnotation:
    """What the table says of N POIs."""

    distribution: FloatArray
    """Shape (N, 15); uniform where no tag is known."""
    category: npt.NDArray[np.int8]
    """Shape (N,): index into POI_CATEGORIES, -1 where no tag is known."""
    exact: npt.NDArray[np.bool_]
    """Shape (N,): the tag's value is in the table, not its key alone."""


@cache
def tag_table() -> TagTable:
    """Return the published table.

    Raises
    ------
    DataError
        If a row of the file is malformed; the message names the line.
    """
    content = (resources.files("raygen.annotation") / TABLE).read_bytes()
    return parse_table(content.decode(), hashlib.sha256(content).hexdigest())


def parse_table(text: str, digest: str) -> TagTable:
    """Read a table in the form of ``osm_tags.txt``; see ``tag_table``."""
    row: dict[tuple[str, str], int] = {}
    category: list[int] = []
    distribution: list[FloatArray] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        tag, kind, shares = _parse_row(line, f"{TABLE}: line {number}")
        if tag in row:
            msg = f"{TABLE}: line {number}: tag {'='.join(tag)} is in the table twice"
            raise DataError(msg)
        row[tag] = len(row)
        category.append(kind)
        distribution.append(shares)
    return TagTable(
        row=row,
        keys=tuple(dict.fromkeys(key for key, _ in row)),
        category=np.array(category, dtype=np.int8),
        distribution=np.array(distribution),
        digest=digest,
    )


def _parse_row(line: str, place: str) -> tuple[tuple[str, str], int, FloatArray]:
    tag, *words = line.split()
    key, _, value = tag.partition("=")
    types, shares = words[1::2], words[2::2]
    shares_of = np.zeros(len(ACTIVITY_TYPES))
    try:
        category = POI_CATEGORIES.index(words[0])
        for name, share in zip(types, shares, strict=True):
            shares_of[ACTIVITY_TYPES.index(name)] += float(share)
    except (ValueError, IndexError) as error:
        msg = f"{place}: needs tag, category and pairs of type and probability: {error}"
        raise DataError(msg) from None
    if not value or abs(shares_of.sum() - 1) > _TOLERANCE:
        msg = f"{place}: needs key=value and probabilities that sum to 1, got {shares_of.sum():g}"
        raise DataError(msg)
    return (key, value), category, shares_of


def parse_tags(text: str) -> Tags:
    """Read tags written as ``key=value;key=value`` or as PostgreSQL's hstore.

    Raises
    ------
    DataError
        If a part has no ``=``.
    """
    if "=>" in text:
        return dict(_HSTORE.findall(text))
    tags: Tags = {}
    last = ""
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, equals, value = part.partition("=")
        if not equals:
            if not last:
                msg = f"tags: must be key=value joined by ';', got {text!r}"
                raise DataError(msg)
            tags[last] += f";{part}"  # a value of several: amenity=bar;restaurant
            continue
        last = key.strip()
        tags[last] = value.strip()
    return tags


def annotate_tags(tags: list[Tags]) -> TagAnnotation:
    """Annotate POIs by their tags.

    Parameters
    ----------
    tags
        Of N POIs.

    Returns
    -------
    annotation
        Assumed, as the table is.
    """
    table = tag_table()
    found = [table.find(each) for each in tags]
    row = np.array([row for row, _ in found], dtype=np.int64).reshape(-1)
    known = row >= 0
    uniform = np.full((1, len(ACTIVITY_TYPES)), 1 / len(ACTIVITY_TYPES))
    return TagAnnotation(
        distribution=np.where(known[:, None], table.distribution[row], uniform),
        category=np.where(known, table.category[row], -1).astype(np.int8),
        exact=np.array([exact for _, exact in found], dtype=bool).reshape(-1),
    )
