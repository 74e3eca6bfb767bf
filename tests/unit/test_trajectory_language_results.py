"""Tables 2 and 3 with a language model: the recipe, the tables, what counts as decodable."""

from pathlib import Path

import numpy as np
import pytest

from raygen.config import load
from raygen.errors import ConfigError
from raygen.models.trajectory_language import Said
from raygen.models.trajectory_planner import Patterns
from raygen.models.trajectory_tokens import Vocabulary
from raygen.results import Row
from training.trajectory_language import TrajectoryRecipe
from training.trajectory_language_arms import CASES, LanguageArmsRecipe, arm_recipe
from training.trajectory_language_results import LanguageResultsRecipe, tables
from training.trajectory_language_rows import PLUS, WITH, WITHOUT, decodes
from training.trajectory_tables import COLUMNS

RECIPES = Path(__file__).parents[2] / "training" / "recipes"


@pytest.mark.parametrize(
    "name",
    [
        "trajectory",
        "trajectory_first",
        "trajectory_roads",
        "trajectory_paper",
        "trajectory_los_angeles",
    ],
)
def test_shipped_recipes_are_valid(name):
    recipe = load(RECIPES / f"{name}.toml", TrajectoryRecipe)
    assert recipe.model.roads_first == (name == "trajectory_roads")
    assert recipe.model.rank == 16


def test_the_experiments_recipe_is_valid(tmp_path):
    recipe = load(RECIPES / "trajectory_language_results.toml", LanguageResultsRecipe)
    assert recipe.sets == ("porto", "porto-simulated")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("slot = 3\n")
    with pytest.raises(ConfigError, match="did you mean 'slots'"):
        load(wrong, LanguageResultsRecipe)


def test_arms_differ_in_one_thing_each():
    recipe = load(RECIPES / "trajectory_language_arms.toml", LanguageArmsRecipe)
    whole, ordinary, coordinates, raw = (arm_recipe(recipe, case) for case in CASES)
    assert ordinary == whole.model_copy(
        update={"model": whole.model.model_copy(update={"ordinary": True}),
                "output": ordinary.output}
    )  # fmt: skip
    assert coordinates == whole.model_copy(
        update={"codec": recipe.coordinates, "output": coordinates.output}
    )
    assert raw == whole.model_copy(update={"output": raw.output})  # it has no codes to be another's
    assert len({whole.output, ordinary.output, coordinates.output, raw.output}) == 4


def rows(model, value):
    found = []
    for preset in ("htp", "htp-corrected"):
        for metric in COLUMNS:
            found.append(
                Row(case=f"porto: {model}", metric=f"{preset}: {metric}", value=value, floor=0.5)
            )
    return found


def test_tables_hold_ours_floors_and_the_papers():
    made = tables(rows(WITHOUT, 0.1) + rows(WITH, 0.2) + rows(PLUS, 0.3), "porto")
    told = [one.title.split(",")[0] for one in made]
    assert told == [f"Table {n}" for n in (1, 1, 2, 2, 3, 3)]
    first, second, third = made[0], made[2], made[4]
    assert [line[0] for line in first.rows[:3]] == ["*real against real*", WITHOUT, WITH]
    assert first.rows[-1][:3] == ["paper: HTP", "0.00020", "0.00232"]
    assert second.rows[0] == ["*real against real*", "0.50000", "0.50000", "0.50000"]
    assert second.rows[1][:2] == [WITHOUT, "0.10000"]
    assert second.rows[-1] == ["paper: HTP", "0.00020", "0.83019", "0.92683"]
    assert [line[0] for line in third.rows[1:3]] == [WITH, PLUS]
    assert not any(line[0].startswith("paper") for line in made[1].rows)
    assert not any(line[0].startswith("paper") for line in made[3].rows)
    without_plus = tables(rows(WITH, 0.2), "porto")[4]
    assert [line[0] for line in without_plus.rows[:2]] == ["*real against real*", WITH]


def test_what_counts_as_an_answer_that_decodes():
    words = Vocabulary(3, (2, 4))
    codes = np.zeros((4, 3, 2), dtype=np.int64)
    codes[1, 2, 0] = 2  # no such code
    length = np.array([24, 24, 19, 20])
    codes[3, 2] = 1, 3
    said = Said(Patterns(length, codes), [[]] * 4, 0, 0, 0.0, 0.0)
    assert decodes(said, words) == 0.5
