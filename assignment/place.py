"""The assignment stage: day chains and region priors in, placed activities and trips out.

Order of work: anchors (``assignment.anchors``), arrivals within their slots, zones of the other
activities (``assignment.kernel``), points, modes by tour, and the pass that fixes the clock
(``assignment.clock``). Every draw belongs to one person, so a household's days are the same
whatever the other households of the table are; households must be whole, for their vehicles and
their companions.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assignment.anchors import AnchorTables, draw_zones
from assignment.clock import Moves as Trips
from assignment.clock import schedule
from assignment.company import (
    Company,
    Homes,
    homes_of,
    pupils_key_row,
    read_company,
    same_arrivals,
)
from assignment.cost import Curves, Network, Weights, read_only
from assignment.distances import group_ranks
from assignment.itinerary import People, read_people, read_plan, read_prior
from assignment.kernel import Setting
from assignment.kernel import Travellers as Movers
from assignment.mode import (
    DRIVING_AGE,
    OLD_AGE,
    TRANSIT_FACTOR,
    YOUNG_AGE,
    Legs,
    Travellers,
    choose_modes,
)
from assignment.points import Points, activity_points, crow_fly_m, home_points
from assignment.times import CONGESTION, Plan
from assignment.together import place_together, share_points
from raygen import schema, seeds
from raygen.city import City
from raygen.config import AssignmentConfig
from raygen.errors import DataError
from raygen.taxonomy import (
    ACTIVITY_TYPES,
    DAY_S,
    DEMOGRAPHIC_GROUPS,
    HOME,
    MODES,
    SCHOOL,
    STUDENT,
    WORK,
)

FloatArray = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

_LEAST_TRIP_M = 50.0
_TRIP_DAYS, _TRIP_SEQUENCES = 7, 128  # trip_id = (person_id · 7 + day) · 128 + sequence


@dataclass(frozen=True)
class Placed:
    """What the assignment makes of a shard."""

    persons: pa.Table
    """schema.PERSONS with work and school zones."""

    activities: pa.Table
    """schema.ACTIVITIES, by person, day and sequence."""

    trips: pa.Table
    """schema.TRIPS, in the same order."""

    counters: dict[str, int]
    """``activities``, ``trips``; ``infeasible``: activities without a zone in time; ``returns``:
    activities at a place gone back to; ``shifted``, ``shift_s``: arrivals later than the day chain
    has them, and their delay in all, seconds."""


@dataclass(frozen=True)
class Moves:
    """Trips and clock of A activities; arrays of shape (A,)."""

    start: Int64Array
    end: Int64Array
    mode: npt.NDArray[np.int8]
    """Index into MODES of the trip to the activity; -1 for the first of a day."""

    metres: FloatArray
    shifted: int
    shift_s: int


def place(  # noqa: PLR0913, PLR0917 - the four tables of a shard, then what a run holds fixed
    households: pa.Table,
    persons: pa.Table,
    plans: pa.Table,
    priors: pa.Table,
    city: City,
    tables: AnchorTables,
    config: AssignmentConfig,
    seed: int,
) -> Placed:
    """Place the activities of a shard and make its trips.

    Parameters
    ----------
    households, persons
        Schemas HOUSEHOLDS and PERSONS, whole households, ids increasing; not changed.
    plans, priors
        Schemas PLANS and PRIORS, row by row; by person, day and sequence, every day from home to
        home. Several days of a person are consecutive.
    city, tables
        The city, and ``anchor_tables(city)``.
    config
        Weights of the cost and least stay.
    seed
        The run's seed. Draws depend on it and on person ids alone.

    Returns
    -------
    placed
        Persons with anchors, activities and trips in the order of the input, and counters.

    Raises
    ------
    DataError
        If a table breaks its schema or order, ids do not resolve, a day does not start and end at
        home, or a person without a job or school place goes to work or school.
    """
    people = read_people(households, persons, city, seed)
    plan, owner = read_plan(plans, people)
    company = read_company(plans, people, plan, owner)
    plan = same_arrivals(plan, company)
    prior = read_prior(priors, plans.num_rows)
    work, school = draw_anchors(people, tables, seed)
    zone = fixed_zones(plan, people.home_zone[owner], work[owner], school[owner])
    setting = run_setting(city, tables, config)
    movers = travellers_of(people, setting)
    infeasible, again = place_together(setting, plan, prior, movers, (people, company), zone)
    points = _points(city, tables, plan, zone, people, owner)
    share_points(points, again)
    share_points(points, company.source)
    together = (company, homes_of(people, config.cars))
    moves = _moves(city, tables, plan, (zone, points), people, together, config.min_stay_s)
    zone_id = city.zone_id[zone]
    activities = _activities_table(people.person_id[owner], plan, moves, zone_id, points)
    trips = _trips_table(people.person_id[owner], plan, moves, zone_id)
    counters = {
        "activities": activities.num_rows,
        "trips": trips.num_rows,
        "infeasible": infeasible,
        "returns": int((again >= 0).sum()),
        "shifted": moves.shifted,
        "shift_s": moves.shift_s,
    }
    return Placed(_with_anchors(persons, city, work, school), activities, trips, counters)


def draw_anchors(people: People, tables: AnchorTables, seed: int) -> tuple[Int32Array, Int32Array]:
    """Return the zone rows of work and of school or college, shape (N,); -1 for none."""
    uniform = seeds.uniforms(seed, "anchors", people.person_id, 2)
    work = np.full(len(people.age), -1, dtype=np.int32)
    school = work.copy()
    order = read_only(tables.order)
    employed = people.employment == 0
    home = people.home_zone
    rank = group_ranks(tables.work_rank, people.group, uniform[:, 0])
    work[employed] = draw_zones(read_only(tables.work), order, home[employed], rank[employed])
    for name, table in (("school", tables.school), ("college", tables.college)):
        rows = np.flatnonzero(people.student == STUDENT.index(name))
        draw = uniform[pupils_key_row(people, STUDENT.index(name))[rows], 1]
        school[rows] = draw_zones(read_only(table), order, home[rows], draw)
    return work, school


def run_setting(city: City, tables: AnchorTables, config: AssignmentConfig) -> Setting:
    """Return what the location kernel holds fixed over a run."""
    network = Network(
        read_only(city.distance_m),
        read_only(city.free_time_s),
        read_only(city.peak_time_s),
        read_only(tables.order),
        read_only(tables.ring_m),
        read_only(tables.ring_bearing),
        read_only(tables.to_s),
        read_only(tables.starts),
        read_only(tables.farthest_m),
        read_only(tables.farthest_s),
        read_only(city.zone_xy),
        read_only(tables.allowed),
        read_only(city.subregion),
    )
    angle_rad = read_only(tables.reference.angle_rad)
    curves = Curves(read_only(tables.distance_km), angle_rad, read_only(tables.pull))
    weights = Weights(config.alpha, config.beta, config.gamma, config.candidates, config.min_stay_s)
    return Setting(network, curves, weights)


def travellers_of(people: People, setting: Setting) -> Movers:
    """Return what the location kernel knows of the people.

    Without a car in the household the travel time is transit's.
    """
    home = setting.network.subregion[people.home_zone].astype(np.int64)
    segment = len(DEMOGRAPHIC_GROUPS) * home
    return Movers(people.keys, pace_of(people), segment + people.group)


def pace_of(people: People) -> FloatArray:
    """Return travel time over the car's: without a car in the household, transit's."""
    return np.where(people.vehicles > 0, 1.0, TRANSIT_FACTOR)


def fixed_zones(plan: Plan, home: Int32Array, work: Int32Array, school: Int32Array) -> Int32Array:
    """Return the zones of home, work and school activities, -1 for the others, shape (A,)."""
    zone = np.full(len(home), -1, dtype=np.int32)
    for kind, anchor in ((HOME, home), (WORK, work), (SCHOOL, school)):
        rows = plan.type == kind
        zone[rows] = anchor[rows]
        if (lost := int((anchor[rows] < 0).sum())) > 0:
            msg = f"plans.type: {lost} activities are {ACTIVITY_TYPES[kind]} of persons who have "
            msg += "no place of it by their employment or student status"
            raise DataError(msg)
    return zone


def _points(
    city: City,
    tables: AnchorTables,
    plan: Plan,
    zone: Int32Array,
    people: People,
    owner: Int64Array,
) -> Points:
    keys = people.keys[owner]
    pupils = plan.type == SCHOOL
    schoolmate = pupils_key_row(people, STUDENT.index("school"))
    keys[pupils] = people.keys[schoolmate[owner[pupils]]]
    points = activity_points(city, tables, plan, zone, keys)
    homes = home_points(city, people.home_lon, people.home_lat)
    rows = plan.type == HOME
    for column in ("lon", "lat", "region_id"):
        getattr(points, column)[rows] = getattr(homes, column)[owner[rows]]
    return points


def _moves(  # noqa: PLR0913, PLR0917 - the city, then where and with whom the people are
    city: City,
    tables: AnchorTables,
    plan: Plan,
    where: tuple[Int32Array, Points],
    people: People,
    together: tuple[Company, Homes],
    min_stay_s: int,
) -> Moves:
    zone, points = where
    company, homes = together
    legs = _legs(city, tables.circuity, plan, zone, points)
    travellers = Travellers(
        young=people.age < YOUNG_AGE,
        old=people.age >= OLD_AGE,
        no_car=people.vehicles == 0,
        driver=(people.age >= DRIVING_AGE) & (people.vehicles > 0),
    )
    coefficients = tables.reference.mode_coefficients.copy()
    coefficients[:, 0] = tables.mode_constants
    mode, travel_s, car = choose_modes(
        plan, legs, travellers, homes, company.escort, coefficients, people.keys, min_stay_s
    )
    trips = Trips(travel_s, company.escort, car)
    start, end, shifted, shift_s = schedule(plan, trips, homes, min_stay_s)
    return Moves(start, end, mode, legs.km * 1000.0, int(shifted), int(shift_s))


def _legs(city: City, circuity: float, plan: Plan, zone: Int32Array, points: Points) -> Legs:
    """Return length and car time of the trip to each activity.

    Between zones they are the skims'. Within a zone the length is the crow-fly one of the two
    points times the circuity; where points of two zones lie farther apart than the skim is long, it
    is the crow-fly one. The time follows the length at the skim's speed.
    """
    before = np.concatenate([zone[:1], zone[:-1]])
    crow = crow_fly_m(points.lon, points.lat)
    skim = city.distance_m[before, zone].astype(np.float64)
    metres = np.where(before == zone, np.maximum(crow * circuity, _LEAST_TRIP_M), skim)
    metres = np.maximum(metres, crow)
    busy = CONGESTION[plan.planned % DAY_S // 3600]
    free, peak = city.free_time_s[before, zone], city.peak_time_s[before, zone]
    seconds = (free + busy * (peak - free)) * (metres / skim)
    first = plan.sequence == 0
    return Legs(np.where(first, 0.0, metres / 1000.0), np.where(first, 0.0, seconds))


def _activities_table(
    person_id: Int64Array, plan: Plan, moves: Moves, zone_id: Int32Array, points: Points
) -> pa.Table:
    columns = [
        pa.array(person_id),
        pa.array(plan.day.astype(np.int8)),
        pa.array(plan.sequence.astype(np.int16)),
        schema.category(pa.array(plan.type.astype(np.int8)), ACTIVITY_TYPES),
        pa.array(moves.start.astype(np.int32)),
        pa.array(moves.end.astype(np.int32)),
        pa.array(zone_id),
        pa.array(points.region_id),
        pa.array(points.lon),
        pa.array(points.lat),
    ]
    return pa.Table.from_arrays(columns, schema=schema.ACTIVITIES)


def _trips_table(person_id: Int64Array, plan: Plan, moves: Moves, zone_id: Int32Array) -> pa.Table:
    rows = np.flatnonzero(plan.sequence > 0)
    person, day, sequence = person_id[rows], plan.day[rows], plan.sequence[rows]
    columns = [
        pa.array((person * _TRIP_DAYS + day) * _TRIP_SEQUENCES + sequence),
        pa.array(person),
        pa.array(day.astype(np.int8)),
        pa.array(sequence.astype(np.int16)),
        pa.array(zone_id[rows - 1]),
        pa.array(zone_id[rows]),
        pa.array(moves.end[rows - 1].astype(np.int32)),
        pa.array(moves.start[rows].astype(np.int32)),
        schema.category(pa.array(plan.type[rows].astype(np.int8)), ACTIVITY_TYPES),
        schema.category(pa.array(moves.mode[rows]), MODES),
        pa.array(moves.metres[rows].astype(np.float32)),
    ]
    return pa.Table.from_arrays(columns, schema=schema.TRIPS)


def _with_anchors(persons: pa.Table, city: City, work: Int32Array, school: Int32Array) -> pa.Table:
    """Return the persons with their work and school zone ids."""
    for name, zone in (("work_zone_id", work), ("school_zone_id", school)):
        zone_id = np.where(zone >= 0, city.zone_id[zone], -1).astype(np.int32)
        at = schema.PERSONS.get_field_index(name)
        persons = persons.set_column(at, schema.PERSONS.field(name), pa.array(zone_id))
    return persons
