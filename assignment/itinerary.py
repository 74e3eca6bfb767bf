"""Tables of a shard as arrays, checked: the people, their day chains, the region priors."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assignment.cost import Prior, read_only
from assignment.draws import KeyArray, person_keys
from assignment.times import Plan, arrivals
from raygen import schema
from raygen.city import City
from raygen.errors import DataError
from raygen.taxonomy import HOME

FloatArray = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class People:
    """N persons with what their households give them."""

    person_id: Int64Array
    age: Int64Array
    employment: Int64Array
    student: Int64Array
    home_zone: Int32Array
    """Zone row of the home."""

    home_lon: FloatArray
    home_lat: FloatArray
    vehicles: Int64Array
    """Of the household."""

    household: Int64Array
    """Row in the table of households."""

    group: Int64Array
    """Index into DEMOGRAPHIC_GROUPS."""

    keys: KeyArray
    """Key of each person's draws."""


def read_people(households: pa.Table, persons: pa.Table, city: City, seed: int) -> People:
    """Join persons to households.

    Raises
    ------
    DataError
        If a table breaks its schema, ids are not in increasing order, a household or a zone is
        unknown.
    """
    schema.check(households, schema.HOUSEHOLDS, "households")
    schema.check(persons, schema.PERSONS, "persons")
    person_id = integers(persons, "person_id")
    _check_increasing(person_id, "persons.person_id")
    row = lookup(
        integers(households, "household_id"),
        integers(persons, "household_id"),
        "persons.household_id",
    )
    zone = lookup(
        city.zone_id.astype(np.int64),
        integers(households, "home_zone_id"),
        "households.home_zone_id",
    )
    return People(
        person_id=person_id,
        age=integers(persons, "age"),
        employment=codes(persons, "employment"),
        student=codes(persons, "student"),
        home_zone=zone[row].astype(np.int32),
        home_lon=households.column("home_lon").to_numpy()[row],
        home_lat=households.column("home_lat").to_numpy()[row],
        vehicles=integers(households, "vehicles")[row],
        household=row,
        group=integers(persons, "demographic_group"),
        keys=person_keys(seed, "assignment", person_id),
    )


def read_plan(plans: pa.Table, people: People) -> tuple[Plan, Int64Array]:
    """Return the day chains with planned arrivals, and the person row of each activity.

    Raises
    ------
    DataError
        If the table breaks its schema or is not by person, day and sequence, a person has no day
        chain, or a day does not start and end at home.
    """
    schema.check(plans, schema.PLANS, "plans")
    day, sequence = integers(plans, "day"), integers(plans, "sequence")
    kind, slot = integers(plans, "type"), integers(plans, "start_slot")
    owner_id = integers(plans, "person_id")
    owner = lookup(people.person_id, owner_id, "plans.person_id")
    rank = (owner * 128 + day) * 128 + sequence
    if (np.diff(rank) <= 0).any():
        row = int(np.flatnonzero(np.diff(rank) <= 0)[0]) + 1
        msg = f"plans: rows must be ordered by person_id, day, sequence, row {row} is not"
        raise DataError(msg)
    counts = np.bincount(owner, minlength=len(people.person_id))
    if (counts == 0).any():
        first = people.person_id[np.flatnonzero(counts == 0)[0]]
        msg = f"plans: every person needs a day chain, {int((counts == 0).sum())} have none, "
        msg += f"the first is person {first}"
        raise DataError(msg)
    starts = sequence == 0
    ends = np.concatenate([starts[1:], [True]])
    away = (starts | ends) & (kind != HOME)
    if away.any():
        msg = f"plans.type: a day must start and end at home, {int(away.sum())} rows do not; "
        msg += f"the first is of person {owner_id[np.flatnonzero(away)[0]]}"
        raise DataError(msg)
    person_start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    planned = arrivals(person_start, day, sequence, slot, people.keys)
    return Plan(person_start, day, sequence, kind, planned), owner


def read_prior(priors: pa.Table, rows: int) -> Prior:
    """Return the region priors as arrays.

    Raises
    ------
    DataError
        If the table breaks its schema or has not one row per plan row.
    """
    schema.check(priors, schema.PRIORS, "priors")
    if priors.num_rows != rows:
        msg = f"priors: one row for each of the {rows} plans, got {priors.num_rows}"
        raise DataError(msg)
    width = schema.PRIORS.field("zones").type.list_size
    flat = {
        name: priors.column(name).combine_chunks().flatten().to_numpy().reshape(-1, width)
        for name in ("zones", "log_probability")
    }
    return Prior(
        read_only(flat["zones"]),
        read_only(flat["log_probability"]),
        read_only(priors.column("log_floor").to_numpy()),
    )


def integers(table: pa.Table, column: str) -> Int64Array:
    """Return an integer column as int64."""
    return table.column(column).to_numpy().astype(np.int64)


def codes(table: pa.Table, column: str) -> Int64Array:
    """Return the codes of a dictionary column over its whole vocabulary."""
    return table.column(column).combine_chunks().indices.to_numpy().astype(np.int64)


def lookup(known: Int64Array, wanted: Int64Array, where: str) -> Int64Array:
    """Return the row of each wanted id among the known ones.

    Raises
    ------
    DataError
        If an id is not known.
    """
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known, wanted, sorter=order)
    missing = place == len(known)
    place[missing] = 0
    if not missing.all():
        missing |= known[order][place] != wanted
    if missing.any():
        first = wanted[np.flatnonzero(missing)[0]]
        msg = f"{where}: {int(missing.sum())} of {len(wanted)} rows are unknown ids, "
        msg += f"the first is {first}"
        raise DataError(msg)
    return order[place]


def _check_increasing(ids: Int64Array, where: str) -> None:
    if (np.diff(ids) <= 0).any():
        row = int(np.flatnonzero(np.diff(ids) <= 0)[0]) + 1
        msg = f"{where}: ids must increase, row {row} does not"
        raise DataError(msg)
