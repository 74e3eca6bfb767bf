import subprocess
import sys

import numpy as np
import pytest
import tinyplanner

from raygen.config import ComputeConfig, PlannerConfig
from raygen.errors import WeightsError
from raygen.models import plan_table, prompts
from raygen.models.planner import load_planner

CITY = "Tiny City"
ROLE, SLOT, CODE = (np.array(x) for x in ([0, 3, 0, 3], [14, 40, 15, 40], [1, 4, 1, 4]))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tinyplanner.language(tmp_path_factory.mktemp("language"))


@pytest.fixture
def root(tmp_path, base, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tinyplanner.build(tmp_path / "weights", base=base)


def test_a_live_answer_equals_the_kept_one_bit_for_bit(root, base, tmp_path):
    live = tinyplanner.load(root, base)
    asked = live.answers(CITY, ROLE, SLOT, CODE)
    whole = live.fill(CITY, tmp_path / "whole")
    kept = whole.answers(ROLE, SLOT, CODE)
    assert asked[2] == 3
    np.testing.assert_array_equal(asked[0], kept[0])
    np.testing.assert_array_equal(asked[1], kept[1])


def test_answers_are_kept_between_runs(root, base):
    tinyplanner.load(root, base).answers(CITY, ROLE, SLOT, CODE)
    later = tinyplanner.load(root)  # without a language model: it would have to raise
    assert later.answers(CITY, ROLE, SLOT, CODE)[2] == 0


def test_another_actor_finds_what_the_first_one_asked(root, base):
    one, other = tinyplanner.load(root, base), tinyplanner.load(root, base)
    other.table(CITY)  # read before the first one asks
    assert one.answers(CITY, ROLE, SLOT, CODE)[2] == 3
    assert other.answers(CITY, ROLE, SLOT, CODE)[2] == 0


def test_answers_are_distributions_and_differ_by_state(root, base):
    slots, places, _ = tinyplanner.load(root, base).answers(CITY, ROLE, SLOT, CODE)
    np.testing.assert_allclose(slots.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(places.sum(axis=1), 1, atol=1e-5)
    assert len(np.unique(slots, axis=0)) == 3


def test_all_cities_share_a_table_unless_prompts_name_them(root, base):
    planner = tinyplanner.load(root, base)
    assert planner.table(CITY) is planner.table("Other City")
    assert planner.answers(CITY, ROLE, SLOT, CODE)[2] == 3
    assert planner.answers("Other City", ROLE, SLOT, CODE)[2] == 0
    config = PlannerConfig(base_model=str(base), dtype="float32", city_name="")
    named = load_planner(root, config, ComputeConfig())
    assert named.table(CITY).address != named.table("Other City").address
    assert named.answers("Other City", ROLE, SLOT, CODE)[2] == 3


def test_a_shipped_table_needs_no_language_model(root):
    planner = tinyplanner.load(tinyplanner.build(root, CITY))
    assert planner.answers(CITY, ROLE, SLOT, CODE)[2] == 0


def test_table_hits_import_no_transformers(root):
    tinyplanner.build(root, CITY)
    code = f"""
import sys, numpy as np
sys.path.insert(0, {str(__file__.rsplit("/", 2)[0])!r})
import tinyplanner
from pathlib import Path
one = np.array([1])
tinyplanner.load(Path({str(root)!r})).answers({CITY!r}, one, one, one)
sys.exit("transformers" in sys.modules or "peft" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_language_model_is_refused(root, base, tmp_path):
    other = tinyplanner.language(tmp_path / "other", seed=1)
    with pytest.raises(WeightsError, match=r"is not the language model that.*was fitted to"):
        tinyplanner.load(root, other).answers(CITY, ROLE, SLOT, CODE)


def test_a_missing_language_model_is_named(root):
    with pytest.raises(WeightsError, match=r"base_model: must be 'smollm2' or a folder"):
        tinyplanner.load(root).answers(CITY, ROLE, SLOT, CODE)


def test_missing_weights_say_how_to_fit_them(tmp_path):
    with pytest.raises(WeightsError, match=r"planner/config\.json: cannot be read"):
        tinyplanner.load(tmp_path)


def test_the_instruction_is_the_papers_with_role_and_city():
    text = prompts.instruction(1, "Lyon")
    assert "a trajectory of a college student that starts in Lyon." in text
    assert "14 categories" in text


def test_a_place_is_told_by_its_largest_shares():
    poi = np.zeros(14)
    poi[[2, 11, 13, 0]] = 0.6, 0.25, 0.13, 0.02
    assert prompts.place(poi) == " 60% residential, 25% shopping, 13% dining\nDeparture time: "


def test_times_are_of_equal_length_so_that_a_batch_needs_no_padding():
    assert prompts.times()[:3] == ("00:00", "00:30", "01:00")
    assert {len(text) for text in prompts.times()} == {5}


def test_a_kept_table_of_the_wrong_content_is_not_believed(root, base, tmp_path):
    planner = tinyplanner.load(root, base)
    at = planner.table(CITY).address
    path = tmp_path / "cache" / "raygen" / "plans" / plan_table.file_name(at)
    plan_table.write(plan_table.empty("f" * 64, tinyplanner.CODES), path)
    with pytest.raises(WeightsError, match="of address ffff"):
        tinyplanner.load(root, base).table(CITY)
