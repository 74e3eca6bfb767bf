"""The assignment stage on the tiny city: tables, points, errors."""

from dataclasses import fields, replace

import numpy as np
import placing
import pyarrow as pa
import pytest
import tinycity
from pyproj import Transformer

from assignment.anchors import AnchorTables, anchor_tables, draw_zones
from assignment.clock import Moves, schedule
from assignment.kernel import place_activities
from assignment.mode import choose_modes
from assignment.place import Placed, place
from assignment.points import crow_fly_m, draw_pois
from assignment.returns import returns
from assignment.surroundings import cumulated_pois
from assignment.times import Plan, arrivals
from raygen import schema
from raygen.city import City, open_city
from raygen.config import AssignmentConfig
from raygen.errors import DataError
from raygen.taxonomy import ACTIVITY_TYPES, HOME, WORK

CONFIG = AssignmentConfig()
KERNELS = (place_activities, draw_zones, draw_pois, choose_modes, schedule, arrivals, returns)
Case = tuple[City, AnchorTables, placing.Shard, Placed]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    city = open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))
    tables = anchor_tables(city)
    shard = placing.shard(city, 300, days=2)
    return city, tables, shard, place(*shard, city, tables, CONFIG, 1)


def test_tables_are_of_the_schema(case: Case) -> None:
    placed = case[3]
    for table, kind in (
        (placed.persons, schema.PERSONS),
        (placed.activities, schema.ACTIVITIES),
        (placed.trips, schema.TRIPS),
    ):
        schema.check(table, kind, "table")
    assert placed.counters["activities"] == case[2][2].num_rows == placed.activities.num_rows
    assert placed.counters["trips"] == placed.trips.num_rows


def test_workers_and_students_have_anchors_and_others_none(case: Case) -> None:
    city, _, _, placed = case
    people = placed.persons.to_pandas()
    employed = people["employment"] == "employed"
    assert (people["work_zone_id"].isin(city.zone_id) == employed).all()
    assert (people.loc[~employed, "work_zone_id"] == -1).all()
    studying = people["student"] != "none"
    assert (people.loc[~studying, "school_zone_id"] == -1).all()
    pupils, students = people["student"] == "school", people["student"] == "college"
    assert people.loc[pupils, "school_zone_id"].isin([12, 22, 23]).all()
    assert (people.loc[students, "school_zone_id"] == 23).all()


@pytest.mark.parametrize("kind", ["work", "school"])
def test_anchors_are_at_one_point_of_their_zone_on_all_days(case: Case, kind: str) -> None:
    activities = case[3].activities.to_pandas()
    work = activities[activities["type"] == kind].groupby("person_id")
    zone = case[3].persons.to_pandas().set_index("person_id")[f"{kind}_zone_id"]
    assert (work["lon"].nunique() == 1).all()
    assert (work["day"].nunique() == 2).any()
    assert (work["zone_id"].first() == zone.loc[work["zone_id"].first().index]).all()


def test_homes_are_at_the_household(case: Case) -> None:
    _, _, (households, persons, _, _), placed = case
    home = placed.activities.to_pandas().query("type == 'home'")
    joined = home.merge(persons.to_pandas()[["person_id", "household_id"]]).merge(
        households.to_pandas()
    )
    assert (joined["lon"] == joined["home_lon"]).all()
    assert (joined["zone_id"] == joined["home_zone_id"]).all()


def test_points_lie_in_their_zone_and_regions_are_theirs(case: Case) -> None:
    city, _, _, placed = case
    a = placed.activities.to_pandas()
    assert a["region_id"].isin(city.region_id).all()
    np.testing.assert_array_equal(
        city.regions_at(a["lon"].to_numpy(), a["lat"].to_numpy()), a["region_id"]
    )
    x, y = Transformer.from_crs(4326, city.crs, always_xy=True).transform(a["lon"], a["lat"])
    column = (np.array(x) - tinycity.WEST_M) // tinycity.SIDE_M
    south = (np.array(y) - tinycity.SOUTH_M) // tinycity.SIDE_M
    zone = np.where(south == 1, 10, 20) + column + 1
    assert (zone == a["zone_id"]).mean() > 0.999  # a point on a border may round over it


def test_planned_arrivals_keep_their_slot() -> None:
    key = np.arange(3).astype(np.uint64)
    day, sequence = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 0, 1, 0, 1])
    slot = np.array([0, 40, 0, 41, 0, 95])
    found = arrivals(np.array([0, 2, 6]), day, sequence, slot, key)
    assert found[[0, 2, 4]].tolist() == [0, 0, 86_400]
    np.testing.assert_array_equal((found - day * 86_400) // 900, slot)
    assert (found[[1, 3, 5]] % 900 > 0).any()


def clock(plan: Plan, travel_s: list[int]):
    none = np.full(len(travel_s), -1)
    return schedule(plan, Moves(np.array(travel_s), none, none), placing.apart(1), 300)


def test_schedule_shifts_what_does_not_fit_and_holds_up_the_next_day() -> None:
    planned = np.array([0, 36_000, 36_100, 86_000, 86_400, 90_000])
    sequence, day = np.array([0, 1, 2, 3, 0, 1]), np.array([0, 0, 0, 0, 1, 1])
    plan = Plan(np.array([0, 6]), day, sequence, sequence, planned)
    start, end, shifted, shift_s = clock(plan, [0, 600, 900, 600, 0, 60])
    assert start.tolist() == [0, 36_000, 37_200, 86_000, 86_400, 90_000]
    assert end.tolist() == [35_400, 36_300, 85_400, 86_400, 89_940, 172_800]
    assert (shifted, shift_s) == (1, 1100)
    late, ends, *_ = clock(plan, [0, 600, 900, 50_000, 0, 60])
    assert late[3] == 37_200 + 300 + 50_000
    assert ends[3] == late[4] == late[3] + 300


def test_poi_is_drawn_by_its_probability_of_the_type() -> None:
    n = 20_000
    start, cumulated = np.array([0, 0, 4, 5], np.int32), np.zeros((15, 5), np.float32)
    cumulated[7, :4] = np.cumsum([0.0, 0.6, 0.2, 0.0])
    zeros = np.zeros(n, int)
    keys = np.arange(n).astype(np.uint64) * np.uint64(7919)
    poi = draw_pois(start, cumulated, zeros + 7, np.ones(n, np.int32), keys, zeros)
    share = np.bincount(poi, minlength=4) / n
    np.testing.assert_allclose(share, [0.0, 0.75, 0.25, 0.0], atol=4.5 * 0.5 / np.sqrt(n))
    for zone in (0, 2):  # without POIs, and with one that does not fit
        none = draw_pois(start, cumulated, zeros + 7, np.full(n, zone, np.int32), keys, zeros)
        assert (none == -1).all()


def test_pois_are_cumulated_in_each_zone_alone(case: Case) -> None:
    city = case[0]
    table = cumulated_pois(city)
    for zone in range(len(city.zone_id)):
        mine = slice(city.poi_start[zone], city.poi_start[zone + 1])
        for kind in (3, 5, 7):
            weight = np.where(city.poi_types[mine] == kind, city.poi_probability[mine], 0.0)
            np.testing.assert_allclose(table[kind, mine], weight.sum(axis=1).cumsum(), atol=1e-5)


def test_points_are_at_pois_of_the_type(case: Case) -> None:
    city, tables, _, placed = case
    known = {
        (lon, lat): set(types.tolist())
        for lon, lat, types in zip(tables.poi_lon, tables.poi_lat, city.poi_types, strict=True)
    }
    table = placed.activities.to_pandas().query("type != 'home'")
    found = [
        ACTIVITY_TYPES.index(kind) in known[lon, lat]
        for kind, lon, lat in zip(table["type"], table["lon"], table["lat"], strict=True)
        if (lon, lat) in known
    ]
    assert len(found) > 100
    assert all(found)


def test_people_go_back_to_places(case: Case) -> None:
    city, tables, _, _ = case
    shard = placing.shard(city, 100, days=7, seed=3)
    placed = place(*shard, city, tables, CONFIG, 1)
    table = placed.activities.to_pandas()
    table = table[~table["type"].isin(["home", "work", "school"])]
    visits = table.groupby(["person_id", "type", "lon", "lat"])
    assert 30 < placed.counters["returns"] <= len(table) - visits.ngroups
    assert (visits["zone_id"].nunique() == 1).all()
    # Two visits to a point that is no POI's are one gone back to: points are drawn from polygons.
    seen = visits.size().reset_index(name="visits")
    assert seen.loc[~seen["lon"].isin(tables.poi_lon), "visits"].max() > 1


def test_crow_fly_is_a_great_circle() -> None:
    metres = crow_fly_m(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(metres, [0, 111_195, 111_195], rtol=1e-4)


def one_day(case: Case, stops: list[tuple[int, int]], persons: int = 30) -> placing.Shard:
    city = case[0]
    households, people, _, _ = placing.shard(city, persons)
    day = placing.day_rows(stops)
    rows = [(p, 0, s, *a) for p in people["person_id"].to_pylist() for s, a in enumerate(day)]
    priors = placing.prior_table(
        np.full((len(rows), 32), -1), np.zeros((len(rows), 32)), np.zeros(len(rows))
    )
    return households, people, placing.plan_table(rows), priors


def broken(case: Case, name: str) -> placing.Shard:
    households, people, plans, priors = one_day(case, [(8, 40), (HOME, 60)])
    if name == "priors":
        return households, people, plans, priors.slice(1)
    if name == "order":
        return households, people, plans.take(pa.array(range(plans.num_rows))[::-1]), priors
    if name == "missing":
        return households, people, plans.slice(3), priors.slice(3)
    if name == "household":
        return households.slice(1), people, plans, priors
    if name == "away":
        return one_day(case, [(8, 40)])
    return one_day(case, [(WORK, 40), (HOME, 60)])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("priors", r"priors: one row for each of the \d+ plans, got \d+"),
        ("order", "plans: rows must be ordered by person_id, day, sequence"),
        ("missing", "every person needs a day chain, 1 have none, the first is person 0"),
        ("household", r"persons.household_id: \d+ of \d+ rows are unknown ids, the first is 0"),
        ("away", "a day must start and end at home"),
        ("work", r"plans.type: \d+ activities are work of persons who have no place"),
    ],
)
def test_bad_input_is_named(case: Case, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        place(*broken(case, name), case[0], case[1], CONFIG, 0)


def test_persons_without_ids_in_order_are_refused(case: Case) -> None:
    households, people, plans, priors = case[2]
    turned = people.take(pa.array(range(people.num_rows))[::-1])
    with pytest.raises(DataError, match=r"persons\.person_id: ids must increase"):
        place(households, turned, plans, priors, case[0], case[1], CONFIG, 0)


def test_shared_read_only_arrays_do_not_compile_anew(case: Case) -> None:
    city, tables, shard, placed = case

    def shared(thing: City | AnchorTables):
        arrays = {
            f.name: getattr(thing, f.name).copy()
            for f in fields(thing)
            if isinstance(getattr(thing, f.name), np.ndarray)
        }
        for array in arrays.values():
            array.flags.writeable = False
        return replace(thing, **arrays)

    before = [len(kernel.signatures) for kernel in KERNELS]
    again = place(*shard, shared(city), shared(tables), CONFIG, 1)
    assert again.activities.equals(placed.activities)
    assert [len(kernel.signatures) for kernel in KERNELS] == before


def test_driving_starts_at_sixteen(case: Case) -> None:
    city, tables, (households, persons, _, _), _ = case
    vehicles = pa.array(np.ones(len(households), np.int8))
    households = households.set_column(6, households.schema.field(6), vehicles)
    drivers = []
    for age in (15, 16):
        same = pa.array(np.full(len(persons), age, np.int8))
        people = persons.set_column(2, persons.schema.field(2), same)
        _, _, plans, priors = one_day(case, [(8, 40), (HOME, 60)], persons=300)
        placed = place(households, people, plans, priors, city, tables, CONFIG, 1)
        drivers.append(placed.trips["mode"].to_pylist().count("car_driver"))
    assert drivers[0] == 0 < drivers[1]
