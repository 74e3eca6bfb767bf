"""Days of a generated population, shard by shard: a city for the mobility models.

A day's entries are its activities, each with the region where it takes place, its half-hour of
arrival and its type. Everything here is *synthesised*, by whatever made the population.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raygen import manifest, shards
from raygen.city import City, open_city
from raygen.errors import DataError
from raygen.manifest import Manifest
from raygen.mobility import PADDING, Days
from raygen.storage import Store
from raygen.taxonomy import DAY_S, PLAN_SLOTS

IntArray = npt.NDArray[np.int64]

_SLOT_S = DAY_S // PLAN_SLOTS
_ACTIVITIES = ("person_id", "day", "sequence", "type", "start_s", "region_id")
_PERSONS = ("person_id", "household_id")


@dataclass(frozen=True)
class ShardDays:
    """Person-days of one shard."""

    days: Days
    household: IntArray
    """Household of each day's person, shape (N,)."""
    persons: int
    """Persons of the shard."""


def open_population(location: str, city: str | None = None) -> tuple[Store, Manifest, City]:
    """Open a population and its city.

    Parameters
    ----------
    location
        Directory or URI of the population.
    city
        Directory or name of its city; None for the one that its ``run.json`` names.

    Raises
    ------
    DataError
        If the population is not complete, or the city is not the one that it was made with.
    """
    store = Store(location)
    book = manifest.load(store)
    if city is None:
        try:
            city = str(json.loads(store.read(manifest.RUN))["config"]["city"])
        except (OSError, KeyError, ValueError) as error:
            msg = f"{store.path(manifest.RUN)}: does not name the population's city: {error!r}"
            raise DataError(msg) from None
    opened = open_city(city)
    if opened.digest != book.identity.city.digest:
        msg = f"{location}: was made with another version of its city: {city} has the digest "
        msg += f"{opened.digest[:12]}, the manifest {book.identity.city.digest[:12]}"
        raise DataError(msg)
    return store, book, opened


def population_days(store: Store, book: Manifest, city: City, entries: int) -> Iterator[ShardDays]:
    """Yield the person-days of each shard, by person and day; one shard is in memory.

    Parameters
    ----------
    store, book, city
        The population, its manifest and its city.
    entries
        Most entries of a day, K.

    Raises
    ------
    DataError
        If a file cannot be read, or an activity lies in no region of the city.
    """
    for shard in range(book.identity.shards):
        name = f"{manifest.part(shard)}.parquet"
        activities = _read(store, f"activities/{name}", _ACTIVITIES)
        people = _read(store, f"persons/{name}", _PERSONS)
        place = f"{store.path('activities')}/{name}"
        if len(activities["person_id"]):
            yield _shard_days(activities, people, city, entries, place)


def _shard_days(
    activities: shards.Columns, people: shards.Columns, city: City, entries: int, place: str
) -> ShardDays:
    region = shards.rows(city.region_id, activities["region_id"])
    if (region < 0).any():
        msg = f"{place}: region_id must be a region of {city.name}, "
        msg += f"got {activities['region_id'][region < 0][0]}"
        raise DataError(msg)
    same = shards.follows(activities, "person_id", "day")
    row = np.cumsum(~same) - 1
    first = np.flatnonzero(~same)
    entry = np.arange(len(row)) - first[row]
    kept = entry < entries
    shape = (len(first), entries)
    since = shards.whole(activities["start_s"]) - shards.whole(activities["day"]) * DAY_S
    slot = np.clip(since // _SLOT_S, 0, PLAN_SLOTS - 1)
    values = {"region": region, "slot": slot, "kind": shards.whole(activities["type"])}
    held: dict[str, IntArray] = {}
    for name, value in values.items():
        held[name] = np.full(shape, PADDING, dtype=np.int64)
        held[name][row[kept], entry[kept]] = value[kept]
    days = Days(
        region=held["region"].astype(np.int32),
        slot=held["slot"].astype(np.int8),
        kind=held["kind"].astype(np.int8),
        cut=int((np.bincount(row) > entries).sum()),
    )
    person = shards.rows(people["person_id"], activities["person_id"][first])
    return ShardDays(days, shards.whole(people["household_id"])[person], len(people["person_id"]))


def _read(store: Store, name: str, columns: tuple[str, ...]) -> shards.Columns:
    try:
        table = pq.read_table(pa.BufferReader(store.read(name)), columns=list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{store.path(name)}: cannot be read: {error}; see `raygen validate`"
        raise DataError(msg) from None
    return shards.columns(table)
