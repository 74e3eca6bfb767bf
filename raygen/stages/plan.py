"""Travel plans: the day chain says when and what, the planner says what kind of place.

UniMob's plan of an arrival k is a distribution over its slot (M_k) and one over the POI categories
of its place (D_k). Fusion with the day chain is ours. The recursion follows the chain: for arrival
k with activity type a, from a place with POI distribution p_{k-1} where the person arrived in
half-hour s, the planner is asked (traveller, s, code of p_{k-1}), and

    D_k ∝ P_LLM(category) · P(category | a)                 P(category | a) of the city's POIs
    M_k ∝ P_LLM(slot) · exp(−(slot − s_k)² / 2σ²) + ε·[slot = s_k]     s_k: the chain's half-hour
    p_0 = POI distribution of the home region, s = 0;  p_k = D_k

σ is half an hour (one slot); ε = 1e-6 keeps M_k defined where the planner rules the hour out.
UniMob alone, without a chain, is ``raygen.stages.recursion``.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen import schema
from raygen.city import City
from raygen.errors import DataError
from raygen.models.planner import Planner
from raygen.taxonomy import ACTIVITY_TYPES, PLAN_SLOTS, POI_CATEGORIES, ROLES, SLOTS

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_SIGMA = 1.0  # slots
_FLOOR = 1e-6
_QUARTERS = SLOTS // PLAN_SLOTS
_TINY = 1e-12
_CATEGORIES = len(POI_CATEGORIES)


@dataclass(frozen=True)
class PlanResult:
    """Plans of a shard, and what they cost."""

    plans: pa.Table
    """Schema ``raygen.schema.PLANS``."""

    arrivals: int
    """Arrivals planned."""

    states: IntArray
    """Distinct plan states among them, sorted: (traveller · 48 + departure slot) · K + place, with
    K = ``Planner.span``."""

    asked: int
    """States that no table held and the language model was asked for."""


@dataclass(frozen=True)
class _Activities:
    """Runs of equal slots of a shard's chains, in order of (person, slot); A of them."""

    person: IntArray
    kind: IntArray
    start: IntArray
    end: IntArray
    sequence: IntArray


@dataclass(frozen=True)
class _Answers:
    """What the planner said of each activity's arrival; rows of a day's first are not set."""

    slots: FloatArray
    semantic: FloatArray
    states: IntArray
    asked: int


def travel_plans(
    persons: pa.Table,
    households: pa.Table,
    chains: npt.NDArray[np.int8],
    day: int,
    city: City,
    planner: Planner,
) -> PlanResult:
    """Plan every arrival of a shard's day chains.

    Parameters
    ----------
    persons, households
        Tables of schema PERSONS (N rows) and HOUSEHOLDS.
    chains
        Activity type in each quarter hour, shape (N, 96), row i of person i.
    day
        Day of the run, 0 the first.
    city
        Gives the home regions' POI distributions and P(category | type).
    planner
        Answers plan states; asks its language model for states that no table holds.

    Returns
    -------
    result
        Plans ordered as ``persons``, without companions (``raygen.stages.households`` writes
        them). A person's plans depend on the person, the chain, the city and
        the planner alone, whatever the shard.

    Raises
    ------
    DataError
        If shapes or columns are wrong, a household is missing, or a type is out of range.
    """
    schema.check(persons, schema.PERSONS, "persons")
    schema.check(households, schema.HOUSEHOLDS, "households")
    _check_chains(chains, persons.num_rows)
    group = persons.column("demographic_group").to_numpy().astype(np.int64)
    traveller = planner.travellers(_roles(persons), group)
    home = city.region_poi[city.home_region[_home_zones(persons, households, city)]]
    activities = _activities(chains)
    answers = _recurse(activities, traveller, home, city, planner)
    temporal = _sharpen(answers.slots, activities)
    first = activities.sequence == 0
    answers.semantic[first] = home[activities.person[first]]
    person_id = persons.column("person_id").to_numpy()
    nobody = pa.array(np.full(len(first), -1, np.int64))
    plans = pa.table(
        [
            pa.array(person_id[activities.person], pa.int64()),
            pa.array(np.full(len(first), day), pa.int8()),
            pa.array(activities.sequence, pa.int16()),
            pa.array(activities.kind, pa.int8()),
            pa.array(activities.start, pa.int8()),
            pa.array(activities.end, pa.int8()),
            nobody,
            nobody,
            _lists(temporal),
            _lists(answers.semantic),
        ],
        schema=schema.PLANS,
    )
    return PlanResult(
        plans=plans,
        arrivals=int((~first).sum()),
        states=np.unique(answers.states[~first]),
        asked=answers.asked,
    )


def _recurse(
    activities: _Activities, traveller: IntArray, home: FloatArray, city: City, planner: Planner
) -> _Answers:
    """Ask for every arrival, one round for each sequence number."""
    rows = len(activities.kind)
    slots = np.zeros((rows, PLAN_SLOTS), dtype=np.float32)
    semantic = np.zeros((rows, _CATEGORIES), dtype=np.float32)
    states = np.full(rows, -1, dtype=np.int64)
    asked = 0
    span = planner.span
    place = planner.places(home)  # (N,): where a person is
    here = np.flatnonzero(activities.sequence == 1)
    while len(here):
        person = activities.person[here]
        departure = np.where(
            activities.sequence[here] == 1, 0, activities.start[here - 1] // _QUARTERS
        )
        states[here] = (traveller[person] * PLAN_SLOTS + departure) * span + place[person]
        # Equal states with equal types have equal plans: fuse and quantise each once.
        found, which = np.unique(states[here], return_inverse=True)
        pairs, inverse = np.unique(
            which * len(ACTIVITY_TYPES) + activities.kind[here], return_inverse=True
        )
        state, kind = found[pairs // len(ACTIVITY_TYPES)], pairs % len(ACTIVITY_TYPES)
        arrivals, categories, new = planner.answers(
            city.name, state // (PLAN_SLOTS * span), state // span % PLAN_SLOTS, state % span
        )
        asked += new
        fused = _fuse(categories, city.category_given_type[kind])
        slots[here] = arrivals[inverse]
        semantic[here] = fused[inverse]
        place[person] = planner.places(fused)[inverse]
        following = here + 1
        following = following[following < rows]
        here = following[activities.sequence[following] > 1]
    return _Answers(slots=slots, semantic=semantic, states=states, asked=asked)


def _fuse(places: FloatArray, given: FloatArray) -> FloatArray:
    """Return D ∝ P_LLM(category) · P(category | a); P(category | a) where they share nothing."""
    product = places.astype(np.float64) * given
    total = product.sum(axis=1, keepdims=True)
    fused = np.where(total > _TINY, product / np.maximum(total, _TINY), given)
    return fused.astype(np.float32)


def _sharpen(slots: FloatArray, activities: _Activities) -> FloatArray:
    """Return M: the planner's slots around the chain's arrival, renormalised; shape (A, 48)."""
    clock = np.arange(PLAN_SLOTS)
    kernel = np.exp(-((clock[:, None] - clock[None, :]) ** 2) / (2 * _SIGMA**2))
    at = activities.start // _QUARTERS
    sharpened = slots * kernel[at].astype(np.float32)
    sharpened[np.arange(len(at)), at] += np.float32(_FLOOR)  # alone in a day's first row: one-hot
    return sharpened / sharpened.sum(axis=1, keepdims=True)


def _activities(chains: npt.NDArray[np.int8]) -> _Activities:
    begins = np.ones(chains.shape, dtype=bool)
    begins[:, 1:] = chains[:, 1:] != chains[:, :-1]
    person, start = np.nonzero(begins)
    count = begins.sum(axis=1)
    first = np.cumsum(count) - count
    end = np.append(start, SLOTS)[1:]
    end[end == 0] = SLOTS
    return _Activities(
        person=person,
        kind=chains[person, start].astype(np.int64),
        start=start,
        end=end,
        sequence=np.arange(len(person)) - first[person],
    )


def _roles(persons: pa.Table) -> IntArray:
    """Return indices into ROLES whatever the order of the column's dictionary."""
    column = persons.column("role")
    role = np.zeros(persons.num_rows, dtype=np.int64)
    start = 0
    for chunk in column.chunks:
        words = chunk.dictionary.to_pylist()
        unknown = sorted(set(words) - set(ROLES))
        if unknown:
            msg = f"persons.role: must be one of {list(ROLES)}, got {unknown}"
            raise DataError(msg)
        coded = np.array([ROLES.index(word) for word in words], dtype=np.int64)
        role[start : start + len(chunk)] = coded[chunk.indices.to_numpy()]
        start += len(chunk)
    return role


def _home_zones(persons: pa.Table, households: pa.Table, city: City) -> IntArray:
    """Return the zone row of each person's home."""
    ids = households.column("household_id").to_numpy()
    row = _rows_of(ids, persons.column("household_id").to_numpy(), "persons.household_id")
    zone = households.column("home_zone_id").to_numpy()[row]
    return _rows_of(city.zone_id, zone, "households.home_zone_id")


def _rows_of(
    known: npt.NDArray[np.integer], wanted: npt.NDArray[np.integer], name: str
) -> IntArray:
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    row = order[place] if len(known) else np.zeros(len(wanted), dtype=np.int64)
    unknown = np.flatnonzero(known[row] != wanted) if len(known) else np.arange(len(wanted))
    if len(unknown):
        msg = f"{name}: {len(unknown)} of {len(wanted)} rows name no known id, first "
        msg += f"{wanted[unknown[0]]} in row {unknown[0]}"
        raise DataError(msg)
    return row


def _check_chains(chains: npt.NDArray[np.int8], persons: int) -> None:
    if chains.shape != (persons, SLOTS):
        msg = f"chains: shape must be ({persons}, {SLOTS}), got {chains.shape}"
        raise DataError(msg)
    if persons and not 0 <= int(chains.min()) <= int(chains.max()) < len(ACTIVITY_TYPES):
        msg = f"chains: types must be in 0 to {len(ACTIVITY_TYPES) - 1}, "
        msg += f"got {chains.min()} to {chains.max()}"
        raise DataError(msg)


def _lists(rows: FloatArray) -> pa.Array:
    flat = pa.array(rows.astype(np.float32, copy=False).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
