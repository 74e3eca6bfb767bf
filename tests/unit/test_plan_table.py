import numpy as np
import pytest

from raygen import seeds
from raygen.errors import WeightsError
from raygen.models import plan_table

AT = "a" * 64


def answers(*ids):
    rng = seeds.stream(5, "plan-table-test", *ids)
    return rng.random((48, 48)).astype(np.float16), rng.random((48, 14)).astype(np.float16)


def table(*places, at=AT):
    made = plan_table.PlanTable(at)
    made.put([(who, code, *answers(who, code, version)) for who, code, version in places])
    return made


def content(made):
    return made.key.tobytes(), made.slots.tobytes(), made.categories.tobytes()


def test_answers_are_gathered_by_traveller_place_and_slot():
    made = table((9, 1, 0), (4, plan_table.PLACES - 1, 0))
    state = (np.array([4]), np.array([7]), np.array([plan_table.PLACES - 1]))
    slots, categories = made.answers(*state)
    parts = answers(4, plan_table.PLACES - 1, 0)
    want, want_poi = (part[7].astype(np.float32) for part in parts)
    np.testing.assert_allclose(slots[0], want / want.sum(), rtol=1e-6)
    np.testing.assert_allclose(categories[0], want_poi / want_poi.sum(), rtol=1e-6)


def test_what_is_not_held_is_said_and_not_answered():
    made = table((1, 2, 0), (3, 0, 0))
    who, place = np.array([1, 1, 3, 5, 0]), np.array([2, 1, 0, 0, 0])
    assert made.holds(who, place).tolist() == [True, False, True, False, False]
    assert not plan_table.PlanTable(AT).holds(who, place).any()
    with pytest.raises(WeightsError, match="3 states are not in it"):
        made.answers(who, np.zeros(5, dtype=int), place)


def test_what_is_put_again_stays_as_it_was():
    made = table((1, 2, 0))
    before = content(made)
    made.put([(1, 2, *answers(1, 2, 9))])
    assert content(made) == before
    made.put([])
    assert content(made) == before


def test_a_written_table_reads_back(tmp_path):
    made = table((0, 1, 0), (5, 2, 0))
    plan_table.write(made, tmp_path / "plans")
    assert content(plan_table.read(tmp_path / "plans", AT)) == content(made)


def test_merging_does_not_depend_on_the_order():
    parts = [table((0, 0, 0), (1, 1, 0)), table((1, 1, 9), (2, 2, 0)), table((2, 2, 5))]
    forward, backward = plan_table.PlanTable(AT), plan_table.PlanTable(AT)
    for part in parts:
        forward.merge(part)
    for part in reversed(parts):
        backward.merge(part)
    assert content(forward) == content(backward)
    assert len(forward.key) == 3


def test_tables_of_other_addresses_do_not_merge():
    with pytest.raises(WeightsError, match="addresses differ"):
        table().merge(table(at="b" * 64))


def test_a_table_of_another_address_is_refused(tmp_path):
    plan_table.write(table(at="b" * 64), tmp_path / "plans")
    with pytest.raises(WeightsError, match=r"of address bbbb.*needed aaaa"):
        plan_table.read(tmp_path / "plans", AT)


def test_a_table_of_other_arrays_is_refused(tmp_path):
    made = table((0, 1, 0))
    made.categories = made.categories[:, :5]
    plan_table.write(made, tmp_path / "plans")
    with pytest.raises(WeightsError, match=r"must hold .*'categories'.*a row for each key"):
        plan_table.read(tmp_path / "plans", AT)


def test_a_truncated_table_is_refused(tmp_path):
    plan_table.write(table((0, 1, 0)), tmp_path / "plans")
    whole = (tmp_path / "plans").read_bytes()
    (tmp_path / "plans").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"cannot be read.*delete it"):
        plan_table.read(tmp_path / "plans", AT)


def test_the_address_says_all_that_an_answer_depends_on():
    parts = {"weights": "1", "prompts": "2"}
    assert plan_table.address(parts) == plan_table.address(dict(reversed(parts.items())))
    assert plan_table.address(parts) != plan_table.address(parts | {"prompts": "3"})
