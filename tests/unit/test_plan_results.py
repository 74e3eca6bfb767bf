"""Figure 9's mixes and Table 6's backbones, on small made data."""

import numpy as np
import pytest
import tinyplanner

from raygen.config import load
from raygen.models.prompts import TRAVELLERS
from training.backbone_results import BackboneRecipe, _heaviest, _scores, open_backbone
from training.plan_task import GroupTargets
from training.role_charts import draw_mixes
from training.role_results import PROFILES, RECIPE, Mixes, RoleRecipe, rows_of, table_of


def mix(**shares):
    made = np.full(14, (1 - sum(shares.values())) / 14)
    for index, share in shares.items():
        made[int(index[1:])] += share
    return made


def mixes():
    even = mix()
    return Mixes(
        planned={"retiree": mix(c13=0.3), "visitor": mix(c9=0.4)},
        none=even,
        observed={"retiree": mix(c13=0.2)},
        floor={"retiree": 0.01},
        observed_none=even,
    )


def test_a_profile_that_moves_plans_as_it_moves_people_has_cosine_one():
    rows = {(row.case, row.metric): row for row in rows_of(mixes(), "model")}
    assert rows["model: retiree", "shift_cosine"].value == pytest.approx(1)
    near = rows["model: retiree", "mix_jsd"]
    assert near.value < near.baseline  # nearer to retirees than plans without a profile
    assert near.floor == 0.01


def test_what_is_not_in_the_data_has_no_floor_and_no_distance():
    rows = [row for row in rows_of(mixes(), "model") if row.case.endswith("visitor")]
    assert [row.metric for row in rows] == ["moved_jsd"]
    assert rows[0].floor is None
    assert rows[0].value > 0.05


def test_the_table_puts_people_and_the_paper_beside_the_plans():
    table = table_of(mixes())
    dining = next(row for row in table.rows if row[0] == "dining")
    assert dining[1:] == ["7.1 (7.1)", "35.0 (25.7) [33]", "4.3"]
    assert table.columns == ["category", "no profile", "retiree", "visitor"]


def test_the_picture_is_drawn(tmp_path):
    made = mixes()
    path = draw_mixes(tmp_path / "roles.png", made.planned, made.none, made.observed)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_profiles_name_travellers():
    assert TRAVELLERS[PROFILES["retiree"]].endswith("a retiree")
    assert TRAVELLERS[PROFILES["teacher"]].endswith("a teacher")
    assert TRAVELLERS[PROFILES["mid_aged_male_worker"]].endswith("a middle-aged man who works")


def test_the_shipped_recipes_are_valid():
    assert set(load(RECIPE, RoleRecipe).profiles) <= set(PROFILES)
    recipe = load(RECIPE.with_name("backbones.toml"), BackboneRecipe)
    assert recipe.base_models[0] == "smollm2"


def targets():
    rng = np.random.default_rng(0)
    return GroupTargets(
        groups=((0, 1), (2, 3), (4, 0)),
        mass=np.array([0.2, 0.5, 0.3], np.float32),
        weight=rng.dirichlet(np.ones(48), 3).astype(np.float32),
        time=rng.dirichlet(np.ones(48), (3, 48)).astype(np.float32),
        poi=rng.dirichlet(np.ones(14), (3, 48)).astype(np.float32),
    )


def test_a_perfect_backbone_has_no_divergence():
    held = targets()
    perfect = _scores(held.time, held.poi, held)
    blind = _scores(np.full((1, 48, 48), 1 / 48), np.full((1, 48, 14), 1 / 14), held)
    assert perfect["M_jsd"] == pytest.approx(0, abs=1e-6)
    assert blind["time_nll"] == pytest.approx(np.log(48))
    assert blind["D_jsd"] > 0.05


def test_the_heaviest_places_are_compared():
    kept = _heaviest(targets(), 2)
    assert kept.groups == ((2, 3), (4, 0))
    np.testing.assert_allclose(kept.mass, [0.625, 0.375])


def test_a_random_backbone_has_the_shape_and_the_words_of_its_model(tmp_path):
    base = tinyplanner.language(tmp_path / "language")
    known = open_backbone(str(base), tmp_path, 0)
    chance = open_backbone(f"random:{base}", tmp_path, 0)
    again = open_backbone(f"random:{base}", tmp_path / "again", 0)
    assert chance.parameters == known.parameters
    assert chance.language.digest == again.language.digest != known.language.digest
    assert chance.language.tokens("07:30").equal(known.language.tokens("07:30"))
