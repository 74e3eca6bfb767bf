"""One shard of a population as arrays, and how its tables' rows refer to each other."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[np.generic]]

_DAYS, _SEQUENCES = 8, 2**16  # radix of a key; a run has at most 7 days


@dataclass(frozen=True)
class Shard:
    """One shard's tables as arrays by column; dictionaries as codes of the taxonomy."""

    households: Columns
    persons: Columns
    activities: Columns
    trips: Columns
    trajectories: Columns
    """Empty where the run has none; see ``columns`` for its lists."""
    days: int
    zone_ids: Int64Array
    """All zones of the city, sorted."""
    first: dict[str, int]
    """By id column, the smallest id that this shard may have; absent where not known."""

    @cached_property
    def household_row(self) -> Int64Array:
        """Row of each person's household, -1 where there is none."""
        return rows(self.households["household_id"], self.persons["household_id"])

    @cached_property
    def activity_person(self) -> Int64Array:
        """Row of each activity's person, -1 where there is none."""
        return rows(self.persons["person_id"], self.activities["person_id"])

    @cached_property
    def same_day(self) -> BoolArray:
        """Whether an activity follows another of the same person and day; shape (A,)."""
        return follows(self.activities, "person_id", "day")

    @cached_property
    def same_person(self) -> BoolArray:
        """Whether an activity follows another of the same person; shape (A,)."""
        return follows(self.activities, "person_id")

    @cached_property
    def home_zone(self) -> Int64Array:
        """Home zone of each activity's person, -1 where it does not resolve."""
        household = np.where(
            self.activity_person >= 0, self.household_row[self.activity_person], -1
        )
        return np.where(household >= 0, whole(self.households["home_zone_id"])[household], -1)

    @cached_property
    def trip_activity(self) -> Int64Array:
        """Row of the activity that each trip leads to, -1 where there is none."""
        return rows(key(self.activities), key(self.trips))

    @cached_property
    def arrived(self) -> BoolArray:
        """Whether a trip leads to an activity; shape (A,)."""
        arrived = np.zeros(len(self.activities["person_id"]), dtype=np.bool_)
        arrived[self.trip_activity[self.trip_activity >= 0]] = True
        return arrived


def columns(table: pa.Table) -> Columns:
    """Return a table's columns as arrays; a dictionary column as its codes.

    A column of lists becomes its values under its name, and where each row's begin under its name
    with ``_at``, one more than rows.
    """
    found: Columns = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if pa.types.is_dictionary(column.type):
            column = column.indices
        if pa.types.is_list(column.type):
            at = column.offsets.to_numpy()
            found[f"{name}_at"] = at - at[0]
            column = column.flatten()
        found[name] = column.to_numpy(zero_copy_only=False)
    return found


def whole(values: npt.NDArray[np.generic]) -> Int64Array:
    """Return integers as int64, whatever their width."""
    return values.astype(np.int64)


def rows(ids: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic]) -> Int64Array:
    """Return the row of each wanted id among ids, -1 where it is not there."""
    if len(ids) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids, wanted, sorter=order), len(ids) - 1)
    row = order[place]
    return np.where(ids[row] == wanted, row, -1)


def key(table: Columns) -> Int64Array:
    """Return (person_id, day, sequence) as one integer that sorts the same."""
    person, day, sequence = (whole(table[name]) for name in ("person_id", "day", "sequence"))
    return (person * _DAYS + day) * _SEQUENCES + sequence


def follows(table: Columns, *names: str) -> BoolArray:
    """Return whether a row has the values of the row before it in all the columns."""
    same = np.ones(len(table[names[0]]), dtype=np.bool_)
    same[:1] = False
    for name in names:
        same[1:] &= table[name][1:] == table[name][:-1]
    return same


def before(values: npt.NDArray[np.generic]) -> Int64Array:
    """Return each row's predecessor; the first row's is itself."""
    numbers = whole(values)
    return np.concatenate([numbers[:1], numbers[:-1]])


def last(same: BoolArray) -> BoolArray:
    """Return whether a row is the last of its group, from whether it follows another."""
    return np.append(~same[1:], np.True_)[: len(same)]
