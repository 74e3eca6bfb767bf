from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import tinycity
import tinyplanner
import torch

from raygen.city import open_city
from raygen.config import PlannerConfig, load
from raygen.errors import ConfigError
from raygen.mobility_metrics import QUANTITIES
from raygen.mobility_synthesis import assumed_chains
from raygen.models.generator import DiTConfig
from raygen.models.spatial import SpatialConfig
from raygen.results import Row
from training.experiment_tables import paper_tables, rows_of
from training.mobility_cases import Case, blind_plans, part
from training.mobility_data import synthesised_city
from training.mobility_experiments import (
    TablesRecipe,
    cases,
    draw_unseen,
    measured,
    seen_cities,
    targets_of,
    trained,
)
from training.mobility_pictures import _bar_name, draw_divergences
from training.mobility_plans import fit_look_up, free_plans
from training.recipe import LoopConfig

RECIPE = Path(__file__).parents[2] / "training" / "recipes" / "mobility_experiments.toml"
LOOP = LoopConfig(epochs=1, zero_stage=0)


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    place = open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))
    return synthesised_city(place, assumed_chains(300, 1), 8, 1)


@pytest.fixture
def recipe(city, tmp_path):
    return TablesRecipe(
        output=tmp_path,
        work=tmp_path,
        spatial=SpatialConfig(latent=16, hidden=8, levels=2),
        model=DiTConfig(latent=16, ffn=16, blocks=1, heads=2, max_arrivals=8, placed=True),
        encoder_loop=LOOP,
        loop=LOOP,
        batch=16,
        encoder_batch=16,
        batches=2,
        decoder_steps=20,
        sampled=50,
        draws=2,
        targets=(city.regions.name,),
        shares=(0.5,),
    )


def test_targets_are_cities_of_the_data_with_few_regions(recipe, city):
    name = city.regions.name
    assert targets_of(recipe, [city]) == {name: city}
    few = targets_of(recipe.model_copy(update={"cells": 9}), [city])[name]
    assert len(few.regions.xy) <= 9
    assert few.train.region.max() < len(few.regions.xy)
    with pytest.raises(ConfigError, match=r"targets: must be of \[.*\], got \['atlantis'\]"):
        targets_of(recipe.model_copy(update={"targets": ("atlantis",)}), [city])


def test_recipe_has_every_training_of_the_tables():
    recipe = load(RECIPE, TablesRecipe)
    found = cases(recipe)
    assert [case.table for case in found].count("4") == 3
    assert {(case.held_back, case.name) for case in found if case.table == "5"} == {
        (city, name) for city in recipe.targets for name in ("zero", "few")
    }
    assert [case.blind for case in found if case.table == "6"] == [
        "temporal", "semantic", "planner",
    ]  # fmt: skip
    assert len(set(found)) == len(found)


def test_a_smaller_part_is_part_of_a_larger(city):
    small, large = (part(city.train, share, 1) for share in (0.1, 0.4))
    rows = {row.tobytes() for row in large.region}
    assert len(small.region) == round(0.1 * len(city.train.region))
    assert all(row.tobytes() in rows for row in small.region)


def test_an_unseen_city_is_not_seen(city):
    name = city.regions.name
    assert seen_cities([city], Case("5", "zero", held_back=name, seen=0.0), 1) == []
    few = seen_cities([city], Case("5", "few", held_back=name, seen=0.1), 1)[0]
    assert len(few.train.region) == round(0.1 * len(city.train.region))


@pytest.mark.parametrize("blind", ["", "temporal", "semantic", "planner"])
def test_blind_plans_hide_what_they_say(city, blind):
    plans = free_plans(fit_look_up(city, 1), city.validation.region[:, 0], 1)
    hidden = blind_plans(plans, city, blind, 1)
    held = hidden.days.slot >= 0
    assert np.allclose(hidden.temporal.sum(axis=2), held, atol=1e-5)
    assert np.allclose(hidden.semantic.sum(axis=2), held, atol=1e-5)
    assert (hidden.days.region[:, 0] == plans.days.region[:, 0]).all()
    assert (hidden.semantic[:, 0] == plans.semantic[:, 0]).all()
    even = np.ptp(hidden.temporal, axis=2).max() == 0
    assert even == (blind in ("temporal", "planner"))
    alike = np.ptp(hidden.semantic[:, 1:], axis=2).max() == 0
    assert alike == (blind in ("semantic", "planner"))


def test_trainings_are_kept_and_measured(city, recipe):
    found = {}
    for case in [*cases(recipe)[:2], cases(recipe)[-1]]:
        models = trained(recipe, [city], case)
        found[city.regions.name, case] = measured(recipe, city, case, models)
        assert measured(recipe, city, case, models) == found[city.regions.name, case]
    kept = {path.name: path.stat().st_mtime_ns for path in recipe.work.glob("*.safetensors")}
    assert len(kept) == 4  # one encoder, three generators
    again = trained(recipe, [city], cases(recipe)[-1])[1]
    for name, tensor in again.network.state_dict().items():
        assert torch.equal(tensor, models[1].network.state_dict()[name])
    assert kept == {p.name: p.stat().st_mtime_ns for p in recipe.work.glob("*.safetensors")}
    for values in found.values():
        assert set(values) == {*QUANTITIES, "cpc", "generated_days_per_cpu_second"}
        assert 0 <= values["cpc"] < 1
        assert 0 < values["g_region"] < 1
    rows = rows_of({city.regions.name: city}, found)
    assert len(rows) == 3 * 7
    assert sum(row.floor is not None for row in rows) == 3 * 6


def test_flows_of_an_unseen_city_are_drawn(city, recipe, tmp_path):
    for case in [case for case in cases(recipe) if case.table in ("", "5")]:
        # What was not seen cannot be trained on in a single city: days of the whole model.
        case = replace(case, held_back=case.held_back and city.regions.name)
        models = trained(recipe, [city], cases(recipe)[0])
        measured(recipe, city, case, models)
    link = draw_unseen(recipe, city, tmp_path)
    (picture,) = tmp_path.glob("mobility-unseen-*.png")
    assert picture.name in link
    assert picture.stat().st_size > 10_000


def test_divergences_are_drawn_for_every_city_and_case(tmp_path):
    rows = [
        Row(case=f"{city}, {name}", metric=f"{quantity}_jsd", value=0.01, floor=0.005, mode=mode)
        for city in ("a", "b")
        for name, mode in (("whole", "free"), ("whole", "oracle"), ("less", "free, by the LLM"))
        for quantity in QUANTITIES
    ]
    draw_divergences(rows, ("a", "b"), tmp_path / "b.png")
    draw_divergences(rows, ("a",), tmp_path / "a.png")
    both, one = (matplotlib.image.imread(tmp_path / f"{name}.png").shape for name in "ba")
    assert both[0] > 1.8 * one[0]
    assert abs(both[1] - one[1]) < 40
    assert [_bar_name(row, "a") for row in rows[: 3 * len(QUANTITIES) : len(QUANTITIES)]] == [
        "whole",
        "whole (oracle)",
        "less (by the LLM)",
    ]


def test_the_language_model_plans_in_its_own_table(city, recipe, tmp_path):
    weights = tinyplanner.distil(tinyplanner.build(tmp_path / "weights"))
    asked = PlannerConfig(llm=False)
    recipe = recipe.model_copy(update={"planner": weights, "asked": asked, "tables": ("L",)})
    case = cases(recipe)[-1]
    assert (case.table, case.told) == ("L", True)
    values = measured(recipe, city, case, trained(recipe, [city], case))
    assert set(values) == {*QUANTITIES, "cpc", "generated_days_per_cpu_second"}
    assert len(list(recipe.work.glob("figures-*.json"))) == 1


def test_tables_have_the_whole_model_beside_each_part(city, recipe):
    values = dict.fromkeys([*QUANTITIES, "cpc"], 0.25)
    found = {(city.regions.name, case): values for case in cases(recipe)}
    tables = paper_tables(recipe.targets, recipe.tables, found)
    assert [len(table.rows) for table in tables] == [2, 3, 4, 2, 2]
    assert all(table.rows[-1][1] == "all of it" for table in tables)
