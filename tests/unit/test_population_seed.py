import json
from pathlib import Path

import numpy as np
import pytest

from raygen.errors import DataError
from raygen.population import attributes, members, seed, seed_tables
from raygen.taxonomy import DEMOGRAPHIC_GROUPS, ROLES


@pytest.fixture(scope="module")
def tables():
    return seed_tables.load()


@pytest.fixture(scope="module")
def sample(tables):
    return seed.draw(tables, 3, 4000)


def test_shipped_tables_are_probabilities(tables):
    assert tables.households.sum() == pytest.approx(1, abs=0.01)
    for name in ("youngest_child", "labour", "income_decile"):
        table = getattr(tables, name)
        assert (table >= 0).all()
        assert table.sum(axis=-1) == pytest.approx(np.ones(table.shape[:-1]), abs=0.01)
    for name in ("head_female", "partner_employed", "college", "full_time"):
        table = getattr(tables, name)
        assert ((table >= 0) & (table <= 1)).all()


def test_shipped_tables_say_what_they_are():
    text = json.loads(seed_tables.SHIPPED.read_text())
    assert text["label"].startswith("calibrated: ATUS 2003-2016")


def test_children_are_only_in_households_of_kinds_with_children(tables):
    drawn = members.draw(tables, 3000, np.random.default_rng(0))
    child = ((drawn.age >= 0) & (drawn.age < 18)).any(axis=1)
    with_child = np.isin(drawn.kind, (seed_tables.LONE_WITH_CHILD, seed_tables.COUPLE_WITH_CHILD))
    assert np.array_equal(child, with_child)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not a file of seed tables"),
        ('{"tables": {}}', "not a file of seed tables: KeyError"),
    ],
)
def test_a_broken_file_of_tables_is_named(tmp_path, text, match):
    path = tmp_path / "tables.json"
    path.write_text(text)
    with pytest.raises(DataError, match=match):
        seed_tables.load(path)


def test_a_table_of_wrong_shape_is_named(tmp_path):
    text = json.loads(seed_tables.SHIPPED.read_text())
    text["tables"]["college"] = [[0.5]]
    path = tmp_path / "tables.json"
    path.write_text(json.dumps(text))
    with pytest.raises(DataError, match=r"college: shape must be \(3, 16\), got \(1, 1\)"):
        seed_tables.load(path)


def test_too_few_households_are_refused(tables):
    with pytest.raises(DataError, match="households must be >= 100, got 99"):
        seed.draw(tables, 0, 99)


def test_every_household_has_an_adult(sample):
    oldest = np.maximum.reduceat(sample.age, sample.start[:-1])
    assert oldest.min() >= 18
    assert sample.age.min() >= 0
    assert sample.size.min() >= 1
    assert sample.start[-1] == len(sample.age)


def test_the_young_neither_work_nor_study_beyond_their_age(sample):
    assert (sample.employment[sample.age < 16] == attributes.NOT_IN_LABOUR_FORCE).all()
    school = (sample.age >= 5) & (sample.age < 18)
    assert (sample.student[school] == attributes.SCHOOL_PUPIL).all()
    assert (sample.student[sample.age < 5] == attributes.NO_STUDENT).all()
    assert sample.age[sample.student == attributes.COLLEGE].min() >= 18


def test_roles_follow_age_work_and_school(tables):
    age = np.array([3, 10, 20, 20, 40, 70, 70, 40, 30])
    status = np.array([2, 2, 2, 0, 0, 0, 2, 2, 1])
    enrolled = np.array([0, 1, 2, 2, 0, 0, 0, 0, 0])
    uniform = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0.0])  # whoever may work full time does
    roles = attributes.role(tables, age, status, enrolled, uniform)
    assert [ROLES[r] for r in roles] == [
        "young_child", "school_pupil", "college_student", "worker", "worker", "worker", "retiree",
        "homemaker", "homemaker",
    ]  # fmt: skip
    assert (
        ROLES[attributes.role(tables, age, status, enrolled, uniform + 1)[3]] == "college_student"
    )


def test_groups_are_those_of_the_taxonomy():
    age = np.array([24, 25, 64, 65, 10])
    group = seed.demographic_group(age, np.array([0, 1, 0, 1, 1]), np.array([0, 0, 1, 2, 2]))
    assert [DEMOGRAPHIC_GROUPS[g] for g in group] == [
        "young_male_worker", "mid_aged_female_worker", "mid_aged_male_non_worker",
        "elderly_female_non_worker", "young_female_non_worker",
    ]  # fmt: skip


def test_weighted_seed_resembles_the_county(sample):
    weight = sample.weight / sample.weight.sum()
    assert sample.weight.mean() == pytest.approx(1)
    # ACS 2018-2022: 15.4 % under $25,000, half under $83,000, 14.9 % over $200,000
    assert weight[sample.income < 25e3].sum() == pytest.approx(0.154, abs=0.005)
    assert weight[sample.income < 83e3].sum() == pytest.approx(0.5, abs=0.005)
    assert weight[sample.income >= 200e3].sum() == pytest.approx(0.149, abs=0.005)
    assert weight[sample.vehicles == 0].sum() == pytest.approx(0.087, abs=0.03)
    assert (weight * sample.size).sum() == pytest.approx(2.9, abs=0.15)
    person = np.repeat(weight, sample.size)
    person /= person.sum()
    assert person[sample.age >= 65].sum() == pytest.approx(0.13, abs=0.03)


def test_seed_holds_what_odd_zones_need(sample):
    oldest = np.maximum.reduceat(sample.age, sample.start[:-1])
    youngest = np.minimum.reduceat(sample.age, sample.start[:-1])
    all_young = (youngest >= 18) & (oldest < 25)
    all_old = youngest >= 65
    for kind in (all_young, all_old, sample.size == 1, sample.size >= 8):
        assert kind.sum() >= 20
    assert ((sample.size >= 5) & all_young).sum() >= 5


def test_same_seed_same_sample_and_another_seed_another(tables, sample):
    again, other = seed.draw(tables, 3, 4000), seed.draw(tables, 4, 4000)
    for name, column in vars(sample).items():
        assert column.tobytes() == getattr(again, name).tobytes(), name
    assert sample.income.tobytes() != other.income.tobytes()


ATUS = Path(__file__).parents[2].parent / "shared/data/atus"


@pytest.mark.skipif(not ATUS.is_dir(), reason="the time-use survey is not at ../shared/data/atus")
def test_shipped_tables_are_those_that_the_survey_gives(tmp_path):
    path = tmp_path / "tables.json"
    seed_tables.save(seed_tables.fit(ATUS), path)
    assert path.read_bytes() == seed_tables.SHIPPED.read_bytes()
