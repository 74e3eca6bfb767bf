import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
import tinyplanner

from raygen import seeds
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
    whole = live.fill(CITY, tmp_path / "whole", range(6))
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
    with pytest.raises(WeightsError, match=r"base_model: must be 'smollm2', a folder"):
        tinyplanner.load(root).answers(CITY, ROLE, SLOT, CODE)


def test_missing_weights_say_how_to_fit_them(tmp_path):
    with pytest.raises(WeightsError, match=r"planner/config\.json: cannot be read"):
        tinyplanner.load(tmp_path)


REST = (
    "that starts in Lyon. Based on the POI distribution of the starting location and the departure "
    "time, predict: 1. Predict the next arrival time (in 30-minute units from now); 2. The POI "
    "distribution of the destination location (over 14 categories);"
)


@pytest.mark.parametrize(
    ("traveller", "given"),
    [
        (prompts.CAR, "a private car trip"),
        (prompts.PHONE, "a trajectory of a mobile phone user"),
        (1, "a trajectory of a college student"),
        (prompts.OFFICE_WORKER, "a trajectory of an office worker"),
        (prompts.GROUP + 11, "a trajectory of an elderly woman who does not work"),
    ],
)
def test_the_instructions_are_those_of_figure_6(traveller, given):
    text = prompts.instruction(traveller, "Lyon")
    assert text.startswith(f"<Instruction> You are given {given} {REST}\n")


def test_every_template_says_who_travels():
    role, group = np.array([0, 3]), np.array([11, 2])
    assert prompts.travellers("role", role, group).tolist() == [0, 3]
    assert prompts.travellers("group", role, group).tolist() == [23, 14]
    assert prompts.travellers("car", role, group).tolist() == [prompts.CAR] * 2
    assert len(set(prompts.TRAVELLERS)) == len(prompts.TRAVELLERS) == 25
    known = get_args(PlannerConfig.model_fields["template"].annotation)
    assert set(known) == {"role", "group", *prompts.TEMPLATES}
    for template in known:
        asked = prompts.travellers(template, role, group)
        assert set(asked.tolist()) <= set(prompts.asked_as(template))


def exact(root, base):
    return tinyplanner.load(root, base, quantise=False)


def test_places_that_are_not_quantised_are_known_by_their_text(root, base):
    planner = exact(root, base)
    poi = seeds.stream(0, "exact-test").dirichlet(np.full(14, 0.3), 6)
    poi[3] = poi[0] + 1e-7  # says the same
    places = planner.places(poi)
    assert places[3] == places[0]
    assert len(set(places.tolist())) == 5
    assert (places < planner.span).all()
    np.testing.assert_array_equal(exact(root, base).places(poi[::-1]), places[::-1])


def test_cached_answers_equal_whole_prompts(root, base):
    """Not quantised, from the table: the likeliest slot and category are those of the paper's way,
    a whole prompt for each question."""
    planner = exact(root, base)
    rng = seeds.stream(1, "exact-test")
    poi = rng.dirichlet(np.full(14, 0.3), 8)
    role, slot = rng.integers(0, 6, 8), rng.integers(0, 48, 8)
    first = planner.answers(CITY, role, slot, planner.places(poi))
    again = exact(root, base)  # from the file
    kept = again.answers(CITY, role, slot, again.places(poi))
    assert (first[2], kept[2]) == (8, 0)
    for row in range(8):
        alone = planner.model().ask_alone("a city", int(role[row]), int(slot[row]), poi[row])
        for said, table, file in zip(alone, first, kept, strict=False):
            np.testing.assert_array_equal(table[row], file[row])
            np.testing.assert_allclose(table[row], said, rtol=2e-3, atol=1e-6)
            assert said.argmax() == table[row].argmax()


def test_passes_are_counted_by_place(root, base):
    planner = tinyplanner.load(root, base)
    planner.answers(CITY, ROLE, SLOT, CODE)
    assert planner.passes == 2  # three states at two places


def test_unanswered_states_are_of_the_runs_template(root, base):
    planner = tinyplanner.load(root, base)
    assert planner.unanswered(CITY) == 6 * tinyplanner.CODES * 48
    planner.answers(CITY, ROLE, SLOT, CODE)
    assert planner.unanswered(CITY) == (6 * tinyplanner.CODES - 2) * 48
    assert tinyplanner.load(root, base, template="person").unanswered(CITY) == 5 * 48


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
    plan_table.write(plan_table.PlanTable("f" * 64), path)
    with pytest.raises(WeightsError, match="of address ffff"):
        tinyplanner.load(root, base).table(CITY)
