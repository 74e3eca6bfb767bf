"""Labelled POIs: names shown, tags hidden, and the tags' types as the truth (DataFusion 6.2.1).

Two kinds of source. A POI file (``raygen.annotation.pois``) gives POIs of one place. The
name-suggestion-index of OpenStreetMap (BSD-3-Clause; ``npm pack name-suggestion-index``) gives
names of chains in many languages with their tags and countries. The label is the published table's
distribution for the tags: assumed, as the table is.

A name's split depends on the name alone, so that no name is in two splits, whatever its source.
"""

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from raygen.annotation import prompts
from raygen.annotation.pois import read_pois
from raygen.annotation.tags import Tags, tag_table
from raygen.config import Section
from raygen.errors import DataError

FloatArray = npt.NDArray[np.float64]

SPLITS = ("train", "validation", "test")
_TENTHS = (5, 6, 10)  # first tenth of the names after each split

LANGUAGES = {
    "Chinese": ("cn", "tw", "hk", "mo"),
    "Portuguese": ("pt", "br"),
    "Spanish": ("es", "mx", "ar", "cl", "co", "pe", "ec", "gt", "uy", "ve", "cr", "pa", "do"),
    "French": ("fr",),
    "German": ("de", "at"),
    "Japanese": ("jp",),
    "Russian": ("ru",),
    "Arabic": ("eg", "sa", "ae", "jo", "kw", "iq"),
    "English": ("us", "gb", "au", "nz", "ie"),
}
"""Countries of the name-suggestion-index whose names are taken to be in a language."""

_WHOLE_KEYS = ("shop", "healthcare", "craft", "office", "club", "historic")
"""Keys that say enough whatever their value."""

_OPERATED = (
    "school", "kindergarten", "childcare", "college", "university", "library", "hospital",
    "clinic", "social_facility", "nursing_home", "community_centre", "fire_station", "police",
)  # fmt: skip
"""Amenities whose operators' names read like names of POIs."""


class AnnotationData(Section):
    """Labelled POIs of a training."""

    names: Path = Path("runs/name-suggestion-index/package/dist/json/nsi.min.json")
    """The name-suggestion-index."""

    pois: tuple[Path, ...] = (Path("data/la_basin/pois_osm_2012.csv"),)
    """POI files with names and tags."""

    per_type: Annotated[int, Field(ge=1)] = 500
    """Most training names of the index with one most probable type."""

    validation: Annotated[int, Field(ge=1)] = 600
    """Most validation names."""

    shown: Annotated[int, Field(ge=1)] = 4
    """One training name in so many is told with its tag, as POIs are when they are annotated."""


@dataclass(frozen=True)
class Labelled:
    """Names with the distribution over the types that their tags stand for, N of them."""

    text: list[str]
    """As ``prompts.describe`` tells a POI without tags."""
    target: FloatArray
    """Shape (N, 15), rows sum to 1."""
    country: list[str]
    """ISO code of the index's first country, empty where there is none."""
    shown: list[str]
    """The same POI told with a tag."""
    category: list[int]
    """Index into POI_CATEGORIES by the tag."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.text)

    def take(self, rows: npt.NDArray[np.int64]) -> "Labelled":
        """Return some rows, by index."""
        at = rows.tolist()
        return Labelled(
            [self.text[i] for i in at],
            self.target[rows],
            [self.country[i] for i in at],
            [self.shown[i] for i in at],
            [self.category[i] for i in at],
        )

    def with_tags(self, one_in: int = 1) -> "Labelled":
        """Return the same POIs, one in so many of them told with its tag."""
        text = [
            shown if _hash(text, "shown") % one_in == 0 else text
            for text, shown in zip(self.text, self.shown, strict=True)
        ]
        return replace(self, text=text)

    def first(self, count: int) -> "Labelled":
        """Return a fixed sample of at most ``count`` rows, the same for the same names."""
        order = np.argsort([_hash(text, "sample") for text in self.text], kind="stable")
        return self.take(np.sort(order[:count]))

    def split(self, name: str) -> "Labelled":
        """Return the rows of one of SPLITS: five tenths of the names, one, and four."""
        index = SPLITS.index(name)
        tenth = np.array([_hash(text, "split") % 10 for text in self.text], dtype=np.int64)
        least = _TENTHS[index - 1] if index else 0
        return self.take(np.flatnonzero((tenth >= least) & (tenth < _TENTHS[index])))


def training_set(data: AnnotationData) -> tuple[Labelled, Labelled]:
    """Return the training and validation names of every source, balanced over the types.

    Raises
    ------
    DataError
        See ``read_names`` and ``read_pois``.
    """
    every = [read_names(data.names), *(read_labelled(path) for path in data.pois)]
    train = [balanced(part.split("train"), data.per_type) for part in every]
    held = joined([part.split("validation") for part in every]).first(data.validation)
    return joined(train).with_tags(data.shown), held


def balanced(labelled: Labelled, per_type: int) -> Labelled:
    """Return at most ``per_type`` names of each most probable type, the same for the same names."""
    best = labelled.target.argmax(axis=1)
    parts = [
        labelled.take(np.flatnonzero(best == kind)).first(per_type) for kind in np.unique(best)
    ]
    return joined(parts)


def joined(parts: list[Labelled]) -> Labelled:
    """Return parts in a row."""
    return Labelled(
        [text for part in parts for text in part.text],
        np.concatenate([np.empty((0, 15)), *(part.target for part in parts)]),
        [code for part in parts for code in part.country],
        [text for part in parts for text in part.shown],
        [index for part in parts for index in part.category],
    )


def read_labelled(path: Path) -> Labelled:
    """Return the named POIs of a file whose tags the table knows, each name once."""
    pois = read_pois(path)
    return _label(list(zip(pois.name, pois.tags, [""] * len(pois), strict=True)))


def read_names(path: Path) -> Labelled:
    """Return the chains of the name-suggestion-index whose tags the table knows, each name once.

    Raises
    ------
    DataError
        If the file is missing or not the index; the message says how to get it.
    """
    try:
        index: dict[str, Any] = json.loads(path.read_bytes())["nsi"]
    except FileNotFoundError:
        msg = f"{path}: no such file; `npm pack name-suggestion-index` and unpack it, or set "
        msg += "data.names"
        raise DataError(msg) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path}: not the JSON of the name-suggestion-index: {error!r}"
        raise DataError(msg) from None
    rows: list[tuple[str, Tags, str]] = []
    for where, group in index.items():
        tree, key, value = where.split("/")[:3]
        if tree == "brands" or (tree == "operators" and value in _OPERATED):
            rows += [_named(item, {key: value}) for item in group.get("items", [])]
    return _label(rows)


def _named(item: dict[str, Any], tags: Tags) -> tuple[str, Tags, str]:
    place = str((item.get("locationSet", {}).get("include") or [""])[0])
    country = place.split("-")[0].removesuffix(".geojson")
    # Two letters are a country; 001 is the world.
    return (
        str(item["tags"].get("name", item["displayName"])),
        tags,
        country if country.isalpha() else "",
    )


def _label(rows: list[tuple[str, Tags, str]]) -> Labelled:
    """Label each distinct name by the mean of its tags' distributions."""
    table = tag_table()
    found: dict[str, list[int]] = defaultdict(list)
    country: dict[str, str] = {}
    shown: dict[str, str] = {}
    for name, tags, code in rows:
        text = prompts.describe(name, {}, ())
        row, exact = table.find(tags)
        if text and row >= 0 and (exact or any(key in tags for key in _WHOLE_KEYS)):
            found[text].append(row)
            country.setdefault(text, code)
            shown.setdefault(text, prompts.describe(name, tags, table.keys))
    texts = sorted(found)
    mean = [table.distribution[found[text]].mean(axis=0) for text in texts]
    return Labelled(
        texts,
        np.array(mean).reshape(-1, 15),
        [country[text] for text in texts],
        [shown[text] for text in texts],
        [int(table.category[found[text][0]]) for text in texts],
    )


def _hash(text: str, use: str) -> int:
    """Return a number of a name that depends on nothing else, whatever its case."""
    digest = hashlib.blake2b(f"{use}:{text.casefold()}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1  # fits int64
