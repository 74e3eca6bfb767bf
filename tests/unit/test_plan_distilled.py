import numpy as np
import pytest
import tinyplanner
import torch

from raygen import checkpoints
from raygen.config import ComputeConfig, PlannerConfig, RunConfig, parse
from raygen.errors import ConfigError, WeightsError
from raygen.models.plan_distilled import DISTILLED, DistilledArchitecture, DistilledNet
from raygen.models.planner import load_planner
from raygen.models.prompts import TRAVELLERS
from raygen.taxonomy import PLAN_SLOTS
from training.distilled import DistilledRecipe, DistilledTask, Lessons, difference, train
from training.recipe import LoopConfig

CITY = "Tiny City"
STATE = tuple(np.array(x) for x in ([0, 3, 17], [14, 40, 15], [1, 4, 2]))


def load(root):
    return load_planner(root, PlannerConfig(llm=False), ComputeConfig())


def test_it_answers_every_traveller_without_a_language_model(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    planner = load(tinyplanner.distil(tmp_path))
    slots, places, asked = planner.answers(CITY, *STATE)
    np.testing.assert_allclose(slots.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(places.sum(axis=1), 1, atol=1e-5)
    assert (asked, planner.passes) == (3, 3)
    assert len(np.unique(slots, axis=0)) == 3
    assert planner.answers(CITY, *STATE)[2] == 0
    assert not (tmp_path / "cache").exists()  # cheaper to ask than to keep


def test_an_answer_does_not_hang_on_what_else_is_asked(tmp_path):
    root = tinyplanner.distil(tmp_path)
    together = load(root).answers(CITY, *STATE)
    for row in range(3):
        alone = load(root).answers(CITY, *(part[row : row + 1] for part in STATE))
        np.testing.assert_array_equal(alone[0][0], together[0][row])
        np.testing.assert_array_equal(alone[1][0], together[1][row])


def test_other_travellers_are_refused(tmp_path):
    config = DistilledArchitecture(width=8, traveller_width=4, codes=5, travellers=("a worker",))
    tensors = DistilledNet(config).state_dict() | {"codebook": torch.full((5, 14), 1 / 14)}
    checkpoints.save(tmp_path / DISTILLED, "distilled", config, tensors, {})
    with pytest.raises(WeightsError, match=r"other travellers than.*raygen train distilled"):
        load(tmp_path)


def test_places_as_they_are_need_the_language_model():
    with pytest.raises(ConfigError, match="quantise must be true where llm is false"):
        parse({"planner": {"llm": False, "quantise": False}}, RunConfig, "run")


def lessons(count=40):
    """A teacher whose next arrival is two slots on, at companies, or four, at homes, as a retiree."""
    rng = np.random.default_rng(0)
    who, slot = np.arange(count * PLAN_SLOTS) % 2 * 3, np.arange(count * PLAN_SLOTS) % PLAN_SLOTS
    poi = rng.dirichlet(np.ones(14), count).astype(np.float32).repeat(PLAN_SLOTS, axis=0)
    ahead = np.where(who == 3, 4, 2)
    time = np.full((len(slot), PLAN_SLOTS), 0.1 / 47, np.float32)
    time[np.arange(len(slot)), (slot + ahead) % PLAN_SLOTS] = 0.9
    category = np.where(who[:, None] == 3, np.eye(14)[2], np.eye(14)[1]).astype(np.float32)
    return Lessons(who, np.arange(count).repeat(PLAN_SLOTS), slot, poi, time, category)


def test_the_network_learns_what_it_is_taught_and_answers_new_places(tmp_path):
    recipe = DistilledRecipe(
        output=tmp_path / DISTILLED,
        batch=128,
        model=DistilledArchitecture(width=32, traveller_width=4),
    )
    taught = lessons()
    held = taught.code >= 35
    task = DistilledTask(recipe, taught.take(~held), taught.take(held))
    torch.manual_seed(0)
    model = task.model()
    before = difference(model.net, taught.take(held))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(12):
        for batch in task.batches(epoch, 0, 1):
            optimiser.zero_grad()
            model(batch, 0.0)["total"].backward()
            optimiser.step()
    after = difference(model.net, taught.take(held))
    assert min(before["M_jsd"], before["D_jsd"]) > 0.4
    assert max(after["M_jsd"], after["D_jsd"]) < 0.05


def test_an_epoch_has_every_state_once_and_workers_share_it(tmp_path):
    recipe = DistilledRecipe(output=tmp_path / DISTILLED, batch=120)
    task = DistilledTask(recipe, lessons(5), lessons(1))
    slots = torch.cat([batch["slot"] for batch in task.batches(0, 0, 1)])
    assert torch.bincount(slots).tolist() == [5] * PLAN_SLOTS
    halves = [torch.cat([b["slot"] for b in task.batches(0, rank, 2)]) for rank in range(2)]
    assert torch.equal(torch.cat(halves).sort().values, slots.sort().values)


def test_training_writes_a_planner_that_says_what_its_teacher_said(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    base = tinyplanner.language(tmp_path / "language")
    root = tinyplanner.build(tmp_path / "weights", base=base)
    recipe = DistilledRecipe(
        output=root / DISTILLED,
        weights=root,
        base_model=str(base),
        profile_codes=2,
        held_out=3,
        batch=128,
        model=DistilledArchitecture(width=32, traveller_width=8),
        loop=LoopConfig(epochs=6, learning_rate=1e-2, zero_stage=0),
    )
    train(recipe, recipe.output)
    written = {path.name for path in recipe.output.iterdir()}
    assert {"weights.safetensors", "config.json", "MODEL_CARD.md", "curve.csv"} <= written
    small = load(root)
    assert small.architecture.travellers == TRAVELLERS
    teacher = load_planner(root, PlannerConfig(base_model=str(base)), ComputeConfig())
    np.testing.assert_array_equal(small.codebook.codes, teacher.codebook.codes)
    state = tuple(np.array(x) for x in ([0, 3], [14, 40], [1, 4]))
    ours, theirs = small.answers(CITY, *state), teacher.answers(CITY, *state)
    assert np.abs(ours[0] - theirs[0]).sum(axis=1).max() < 0.6
