"""Which of UniMob's 14 POI categories a Foursquare venue belongs to, by one published table."""

from functools import cache
from importlib import resources

from raygen.errors import DataError
from raygen.taxonomy import POI_CATEGORIES

TABLE = "foursquare_categories.txt"
"""Name of the published table, a file of this package."""


@cache
def venue_categories() -> tuple[dict[str, int], dict[str, int]]:
    """Return the category, an index into POI_CATEGORIES, of root categories and of single ones.

    Raises
    ------
    DataError
        If a line of the table names no category of UniMob, or an entry stands in two lines.
    """
    text = (resources.files("raygen") / TABLE).read_text()
    roots: dict[str, int] = {}
    single: dict[str, int] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, entries = line.partition(" = ")
        if name not in POI_CATEGORIES:
            msg = f"{TABLE}: a line must begin with a POI category, got {name!r}"
            raise DataError(msg)
        for entry in filter(None, map(str.strip, entries.split(";"))):
            table = roots if entry.startswith("*") else single
            word = entry.removeprefix("*")
            if word in table:
                msg = f"{TABLE}: an entry may stand once, got {word!r} twice"
                raise DataError(msg)
            table[word] = POI_CATEGORIES.index(name)
    return roots, single


def category_of(root: str, kind: str) -> int:
    """Return the index into POI_CATEGORIES of a venue.

    Raises
    ------
    DataError
        If neither its own category nor its root category is in the table.
    """
    roots, single = venue_categories()
    found = single.get(kind, roots.get(root))
    if found is None:
        msg = f"{TABLE}: must have the root category {root!r} or {kind!r}, has neither"
        raise DataError(msg)
    return found
