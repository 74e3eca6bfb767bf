import numpy as np
import pyarrow as pa
import pytest
import tinycity
import tinyplanner

from raygen import schema
from raygen.city import open_city
from raygen.config import ComputeConfig, PlannerConfig
from raygen.errors import DataError
from raygen.models.plan_table import PLACES
from raygen.models.planner import load_planner
from raygen.models.prompts import CAR, GROUP
from raygen.stages.plan import travel_plans
from raygen.taxonomy import (
    ACTIVITY_TYPES,
    EMPLOYMENT,
    HOME,
    POI_CATEGORIES,
    ROLES,
    SEXES,
    STUDENT,
    WORK,
)

SHOP = ACTIVITY_TYPES.index("shop_goods")
HOMES = (21, 12, 23)


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))


@pytest.fixture(scope="module")
def planner(tmp_path_factory, city):
    return tinyplanner.load(tinyplanner.build(tmp_path_factory.mktemp("weights"), city.name))


def households():
    count = len(HOMES)
    zero = [0.0] * count
    return pa.table(
        [[100, 101, 102], HOMES, zero, zero, [1] * count, zero, [0] * count],
        schema=schema.HOUSEHOLDS,
    )


def persons(roles=("worker", "retiree", "worker"), first=0):
    count = len(roles)
    words = {"sex": SEXES, "employment": EMPLOYMENT, "student": STUDENT}
    columns = {
        "person_id": pa.array(range(first, first + count), pa.int64()),
        "household_id": pa.array([100 + i % 3 for i in range(count)], pa.int64()),
        "age": pa.array([40] * count, pa.int8()),
        "role": schema.category(pa.array([ROLES.index(r) for r in roles], pa.int8()), ROLES),
        "demographic_group": pa.array([0] * count, pa.int8()),
        "work_zone_id": pa.array([-1] * count, pa.int32()),
        "school_zone_id": pa.array([-1] * count, pa.int32()),
    }
    for name, word in words.items():
        columns[name] = schema.category(pa.array([0] * count, pa.int8()), word)
    return pa.table([columns[name] for name in schema.PERSONS.names], schema=schema.PERSONS)


def chains():
    days = np.full((3, 96), HOME, dtype=np.int8)
    days[0, 34:70] = WORK
    days[0, 70:75] = SHOP
    days[2, 40:44] = SHOP
    return days


def rows(result, column):
    return np.stack(result.plans.column(column).to_numpy())


def test_plans_are_the_runs_of_the_chains(city, planner):
    result = travel_plans(persons(), households(), chains(), 3, city, planner)
    schema.check(result.plans, schema.PLANS, "plans")
    got = result.plans.select(["person_id", "day", "sequence", "type", "start_slot", "end_slot"])
    assert [tuple(row.values()) for row in got.to_pylist()] == [
        (0, 3, 0, HOME, 0, 34),
        (0, 3, 1, WORK, 34, 70),
        (0, 3, 2, SHOP, 70, 75),
        (0, 3, 3, HOME, 75, 96),
        (1, 3, 0, HOME, 0, 96),
        (2, 3, 0, HOME, 0, 40),
        (2, 3, 1, SHOP, 40, 44),
        (2, 3, 2, HOME, 44, 96),
    ]
    assert (result.arrivals, len(result.states), result.asked) == (5, 5, 0)


def test_the_first_row_is_home_at_midnight(city, planner):
    result = travel_plans(persons(), households(), chains(), 0, city, planner)
    first = rows(result, "sequence") == 0
    zone = [list(city.zone_id).index(home) for home in HOMES]
    np.testing.assert_array_equal(
        rows(result, "semantic_plan")[first], city.region_poi[city.home_region[zone]]
    )
    np.testing.assert_array_equal(rows(result, "temporal_plan")[first], np.eye(48)[[0, 0, 0]])


def test_the_fusion_by_hand(city, planner):
    """Person 0 works at 8:30, then shops at 17:30: D by the formula, from D to the next state."""
    result = travel_plans(persons(), households(), chains(), 0, city, planner)
    home = city.region_poi[city.home_region[list(city.zone_id).index(21)]]
    place, since = home, 0
    for row, kind, arrival in ((1, WORK, 17), (2, SHOP, 35)):
        code = planner.codebook.nearest(place[None])
        slots, pois, _ = planner.answers(city.name, np.array([0]), np.array([since]), code)
        fused = pois[0] * city.category_given_type[kind]
        np.testing.assert_allclose(
            rows(result, "semantic_plan")[row], fused / fused.sum(), rtol=1e-4, atol=1e-7
        )
        sharp = slots[0] * np.exp(-((np.arange(48) - arrival) ** 2) / 2)
        sharp[arrival] += 1e-6
        np.testing.assert_allclose(
            rows(result, "temporal_plan")[row], sharp / sharp.sum(), rtol=1e-4, atol=1e-7
        )
        place, since = (fused / fused.sum()).astype(np.float32), arrival


def test_the_role_is_read_by_its_word_not_by_its_code(city, planner):
    table = persons(("retiree", "worker", "retiree"))
    words = [*reversed(ROLES)]
    codes = pa.array([words.index(r) for r in ("retiree", "worker", "retiree")])
    other = table.set_column(6, schema.PERSONS.field("role"), schema.category(codes, tuple(words)))
    one, two = (
        travel_plans(t, households(), chains(), 0, city, planner).plans for t in (table, other)
    )
    assert one.equals(two)


def test_the_template_says_who_travels(city, tmp_path):
    """Without a language model, which knows all travellers."""
    root = tinyplanner.distil(tmp_path)
    people = persons()
    column = pa.array([7, 0, 11], pa.int8())
    people = people.set_column(7, schema.PERSONS.field("demographic_group"), column)
    made = {}
    for template in ("role", "group", "car"):
        asked = PlannerConfig(llm=False, template=template)
        planner = load_planner(root, asked, ComputeConfig())
        made[template] = travel_plans(people, households(), chains(), 0, city, planner)
    who = {t: set((r.states // (48 * tinyplanner.CODES)).tolist()) for t, r in made.items()}
    # person 1 stays at home
    assert who == {"role": {0}, "group": {GROUP + 7, GROUP + 11}, "car": {CAR}}
    assert not made["role"].plans.equals(made["group"].plans)


class WholePrompts:
    """A planner as the paper has it: a whole prompt for every question, nothing kept."""

    span = PLACES

    def __init__(self, planner):
        self.planner, self.told = planner, []
        self.travellers = planner.travellers

    def places(self, distributions):
        self.told.extend(distributions.astype(np.float64))
        return np.arange(len(self.told) - len(distributions), len(self.told))

    def answers(self, city, traveller, slot, place):
        ask = self.planner.model().ask_alone
        found = [
            ask("a city", int(who), int(at), self.told[int(where)])
            for who, at, where in zip(traveller, slot, place, strict=True)
        ]
        return np.stack([f[0] for f in found]), np.stack([f[1] for f in found]), len(found)


def test_plans_from_the_table_equal_plans_of_whole_prompts(city, tmp_path, monkeypatch):
    """Not quantised: the likeliest slot and category of every arrival, and all shares nearly."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = tinyplanner.language(tmp_path / "language")
    root = tinyplanner.build(tmp_path / "weights", base=base)
    planner = tinyplanner.load(root, base, quantise=False)
    inputs = (persons(), households(), chains(), 0, city)
    asked = travel_plans(*inputs, planner)
    kept = travel_plans(*inputs, tinyplanner.load(root, base, quantise=False))
    whole = travel_plans(*inputs, WholePrompts(planner))
    assert (asked.asked, kept.asked) == (5, 0)
    assert asked.plans.equals(kept.plans)
    assert asked.states.tolist() == kept.states.tolist()
    for column in ("temporal_plan", "semantic_plan"):
        np.testing.assert_array_equal(
            rows(asked, column).argmax(axis=1), rows(whole, column).argmax(axis=1)
        )
        np.testing.assert_allclose(rows(asked, column), rows(whole, column), atol=2e-3)


def test_no_persons_have_no_plans(city, planner):
    none = np.empty((0, 96), dtype=np.int8)
    result = travel_plans(persons(()), households(), none, 0, city, planner)
    assert (result.plans.num_rows, result.arrivals, len(result.states)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("shape", "message"), [((2, 96), r"must be \(3, 96\), got \(2, 96\)"), ((3, 95), "95")]
)
def test_chains_of_another_shape_are_refused(city, planner, shape, message):
    with pytest.raises(DataError, match=message):
        travel_plans(persons(), households(), np.zeros(shape, np.int8), 0, city, planner)


def test_unknown_types_are_refused(city, planner):
    days = chains()
    days[1, 5] = 15
    with pytest.raises(DataError, match="types must be in 0 to 14, got 0 to 15"):
        travel_plans(persons(), households(), days, 0, city, planner)


def test_a_missing_household_is_named(city, planner):
    with pytest.raises(DataError, match=r"persons.household_id: 1 of 3 rows.*102 in row 2"):
        travel_plans(persons(), households().slice(0, 2), chains(), 0, city, planner)


def test_an_unknown_home_zone_is_named(city, planner):
    column = pa.array([21, 12, 99], pa.int32())
    moved = households().set_column(1, schema.HOUSEHOLDS.field("home_zone_id"), column)
    with pytest.raises(DataError, match="home_zone_id: 1 of 3 rows name no known id, first 99"):
        travel_plans(persons(), moved, chains(), 0, city, planner)


def test_plans_are_as_long_as_their_vocabularies(city, planner):
    result = travel_plans(persons(), households(), chains(), 0, city, planner)
    assert rows(result, "semantic_plan").shape == (8, len(POI_CATEGORIES))
