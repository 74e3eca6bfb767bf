"""Anonymous people: who is a worker or a student, and the profiles that are drawn."""

import numpy as np
import pyarrow as pa
import pytest

from raygen.inference.people import PROFILES, classify, draw_profiles, person_keys
from raygen.inference.temporal import load_temporal
from raygen.taxonomy import HOME, SCHOOL, WORK


def test_classes():
    owner = np.array([0, 0, 1, 1, 2, 3, 4])
    kind = np.array([HOME, WORK, SCHOOL, WORK, HOME, WORK, SCHOOL], np.int8)
    hours = np.array([9, 8, 6, 3, 24, 0.9, 0.5])
    found = classify(owner, kind, (3600 * hours).astype(np.int64), 6)
    words = ["worker", "student", *["unclassified"] * 4]
    assert [PROFILES[code] for code in found] == words


@pytest.mark.parametrize("ids", [pa.array([3, 7, -2]), pa.array(["a", "b", "ä"])])
def test_keys_are_of_the_id_alone(ids):
    keys = person_keys(ids)
    assert keys.min() >= 0
    assert len(set(keys.tolist())) == 3
    assert person_keys(ids.slice(1, 1)).tolist() == keys[1:2].tolist()


def test_profiles_have_the_surveys_shares():
    tables = load_temporal()
    count = 20_000
    keys = person_keys(pa.array(np.arange(count)))
    for code in range(len(PROFILES)):
        people = draw_profiles(np.full(count, code, np.int8), keys, tables, 1)
        for profile, share in zip(tables.profiles, tables.profile_shares[code], strict=True):
            found = (people == profile).all(1).mean()
            assert abs(found - share) <= 4 * np.sqrt(share * (1 - share) / count) + 2e-5


def test_workers_are_employed_and_students_study():
    keys = person_keys(pa.array(np.arange(500)))
    tables = load_temporal()
    workers = draw_profiles(np.zeros(500, np.int8), keys, tables, 1)
    students = draw_profiles(np.ones(500, np.int8), keys, tables, 1)
    assert (workers[:, 0] < 6).all()
    assert (workers[:, 2] == 0).all()
    assert (students[:, 1] > 0).all()


def test_a_persons_profile_is_the_same_in_any_company():
    keys = person_keys(pa.array([5, 6, 7]))
    kind = np.array([0, 1, 2], np.int8)
    whole = draw_profiles(kind, keys, load_temporal(), 3)
    assert draw_profiles(kind[1:2], keys[1:2], load_temporal(), 3).tolist() == [whole[1].tolist()]
    assert draw_profiles(kind, keys, load_temporal(), 4).tolist() != whole.tolist()
