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
    made = plan_table.empty(at, 3)
    for role, code, version in places:
        made.put(role, code, *answers(role, code, version))
    return made


def content(made):
    return made.slots.tobytes(), made.categories.tobytes(), made.filled.tobytes()


def test_answers_are_gathered_by_role_code_and_slot():
    made = table((4, 2, 0))
    slots, categories = made.answers(np.array([4]), np.array([7]), np.array([2]))
    want, want_poi = (part[7].astype(np.float32) for part in answers(4, 2, 0))
    np.testing.assert_allclose(slots[0], want / want.sum(), rtol=1e-6)
    np.testing.assert_allclose(categories[0], want_poi / want_poi.sum(), rtol=1e-6)


def test_a_written_table_reads_back(tmp_path):
    made = table((0, 1, 0), (5, 2, 0))
    plan_table.write(made, tmp_path / "plans")
    assert content(plan_table.read(tmp_path / "plans", AT, 3)) == content(made)


def test_merging_does_not_depend_on_the_order():
    parts = [table((0, 0, 0), (1, 1, 0)), table((1, 1, 9), (2, 2, 0)), table((2, 2, 5))]
    forward, backward = plan_table.empty(AT, 3), plan_table.empty(AT, 3)
    for part in parts:
        forward.merge(part)
    for part in reversed(parts):
        backward.merge(part)
    assert content(forward) == content(backward)
    assert forward.filled.sum() == 3


def test_tables_of_other_addresses_do_not_merge():
    with pytest.raises(WeightsError, match="addresses differ"):
        table().merge(table(at="b" * 64))


def test_a_table_of_another_address_is_refused(tmp_path):
    plan_table.write(table(at="b" * 64), tmp_path / "plans")
    with pytest.raises(WeightsError, match=r"of address bbbb.*needed aaaa"):
        plan_table.read(tmp_path / "plans", AT, 3)


def test_a_table_of_other_codes_is_refused(tmp_path):
    plan_table.write(table(), tmp_path / "plans")
    with pytest.raises(WeightsError, match="must be of 4 codes"):
        plan_table.read(tmp_path / "plans", AT, 4)


def test_a_truncated_table_is_refused(tmp_path):
    plan_table.write(table(), tmp_path / "plans")
    whole = (tmp_path / "plans").read_bytes()
    (tmp_path / "plans").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"cannot be read.*delete it"):
        plan_table.read(tmp_path / "plans", AT, 3)


def test_the_address_says_all_that_an_answer_depends_on():
    parts = {"weights": "1", "prompts": "2"}
    assert plan_table.address(parts) == plan_table.address(dict(reversed(parts.items())))
    assert plan_table.address(parts) != plan_table.address(parts | {"prompts": "3"})
