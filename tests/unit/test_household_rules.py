"""The rules of households, each broken by hand."""

import pytest
from smallpopulation import REGION, failed, put, table, write

from raygen.household_rules import CARS, COMPANY, household_rules
from raygen.validation import validate

HOME, SCHOOL, FAR = (REGION, -118.2, 34.0), (REGION, -118.1, 34.1), (REGION, -118.0, 34.2)


def family():
    """A parent drives a child to school and fetches it; a partner is at home; one car."""
    worker = ("employed", "none", "worker", 3, 12, -1)
    pupil = ("not_in_labour_force", "school", "school_pupil", 6, -1, 12)
    return {
        "households": table("households", [(0, 11, -118.2, 34.0, 3, 50_000.0, 1)]),
        "persons": table(
            "persons",
            [(0, 0, 40, "female", *worker), (1, 0, 41, "male", *worker[:3], 2, 12, -1),
             (2, 0, 7, "male", *pupil)],
        ),
        "activities": table(
            "activities",
            [
                (0, 0, 0, "home", 0, 28_000, 11, *HOME),
                (0, 0, 1, "pickup_drop", 28_600, 29_000, 12, *SCHOOL),
                (0, 0, 2, "work", 30_000, 50_000, 13, *FAR),
                (0, 0, 3, "pickup_drop", 51_000, 51_400, 12, *SCHOOL),
                (0, 0, 4, "home", 52_000, 86_400, 11, *HOME),
                (1, 0, 0, "home", 0, 52_100, 11, *HOME),
                (1, 0, 1, "social", 52_700, 60_000, 12, *SCHOOL),
                (1, 0, 2, "home", 60_600, 86_400, 11, *HOME),
                (2, 0, 0, "home", 0, 28_000, 11, *HOME),
                (2, 0, 1, "school", 28_600, 51_400, 12, *SCHOOL),
                (2, 0, 2, "home", 52_000, 86_400, 11, *HOME),
            ],
        ),
        "trips": table(
            "trips",
            [
                (1, 0, 0, 1, 11, 12, 28_000, 28_600, "pickup_drop", "car_driver", 5000.0),
                (2, 0, 0, 2, 12, 13, 29_000, 30_000, "work", "car_driver", 5000.0),
                (3, 0, 0, 3, 13, 12, 50_000, 51_000, "pickup_drop", "car_driver", 5000.0),
                (4, 0, 0, 4, 12, 11, 51_400, 52_000, "home", "car_driver", 5000.0),
                (897, 1, 0, 1, 11, 12, 52_100, 52_700, "social", "car_driver", 5000.0),
                (898, 1, 0, 2, 12, 11, 60_000, 60_600, "home", "car_driver", 5000.0),
                (1793, 2, 0, 1, 11, 12, 28_000, 28_600, "school", "car_passenger", 5000.0),
                (1794, 2, 0, 2, 12, 11, 51_400, 52_000, "home", "car_passenger", 5000.0),
            ],
        ),
    }  # fmt: skip


def chain(*changes):
    def change(shard):
        for one in changes:
            shard = one(shard)
        return shard

    return change


ESCORTED, BROUGHT, ALONE, OUT, LEFT = (rule.name for rule in (*COMPANY, *CARS))
BREAKAGES = [
    (put("trips", 6, mode="walk"), {ESCORTED}),
    (put("persons", 0, age=17), {ESCORTED}),  # the partner is the carer then
    (
        chain(
            put("activities", 8, end_s=27_990),
            put("trips", 6, depart_s=27_990),
        ),
        {ESCORTED},
    ),
    (put("activities", 9, lon=-118.11), {ESCORTED}),
    (
        chain(put("activities", 1, type="errands"), put("trips", 0, purpose="errands")),
        {BROUGHT},
    ),
    (
        # Not at home after 52,000 s, nor the car: the partner leaves the child alone.
        chain(put("activities", 4, type="other"), put("trips", 3, purpose="other")),
        {ALONE, BROUGHT, OUT},
    ),
    (put("households", 0, vehicles=0), {OUT}),
    (
        chain(
            put("activities", 5, end_s=51_999),
            put("trips", 4, depart_s=51_999),
        ),
        {OUT},
    ),
    (put("trips", 1, mode="bike"), {LEFT}),
]


def test_a_sound_family_breaks_nothing(tmp_path):
    checks = validate(write(tmp_path, [family()], households=True))
    assert {check.name for check in checks} >= {ESCORTED, BROUGHT, ALONE, OUT, LEFT}
    assert [check.name for check in checks if check.violations] == []


@pytest.mark.parametrize(("breakage", "rules"), BREAKAGES)
def test_a_breakage_is_found(breakage, rules, tmp_path):
    found = failed(write(tmp_path, [breakage(family())], households=True))
    assert rules <= set(found)
    for name in rules:
        assert "person_id" in found[name].examples[0]
    others = set(found) & {ESCORTED, BROUGHT, ALONE, OUT, LEFT} - rules
    assert not others


def test_every_rule_has_a_breakage():
    assert {ESCORTED, BROUGHT, ALONE, OUT, LEFT} == set().union(*(rules for _, rules in BREAKAGES))


def test_children_without_a_carer_break_nothing(tmp_path):
    young = chain(*(put("persons", row, age=15) for row in (0, 1)))
    found = failed(write(tmp_path, [young(family())], households=True))
    assert not {ESCORTED, BROUGHT, ALONE} & set(found)


def test_rules_hold_where_the_run_promised_them():
    on, off, old = {"households": True}, {"households": False}, {"day_of_week": 1}
    assert household_rules({"chains": on, "assignment": {"cars": True}}) == COMPANY + CARS
    assert household_rules({"chains": off, "assignment": {"cars": True}}) == CARS
    assert household_rules({"chains": old, "assignment": {}}) == ()
