import numpy as np
import pytest
import tinyplanner
import torch
from safetensors import safe_open

from raygen import seeds
from raygen.mobility import Days
from raygen.models.language import load_language_model
from raygen.models.plan_net import PlannerArchitecture, split
from raygen.models.plan_tree import grow, leaves
from raygen.models.prompts import CHECK_IN, PHONE, TRAVELLERS, instruction, place, times
from raygen.survey import PURPOSES, Survey
from raygen.taxonomy import POI_CATEGORIES, ROLES
from training.plan_places import SHARES, category_given_type, code_shares, places
from training.plan_probe import fresh_head, probe_heads
from training.plan_scores import Answers, baselines, floor, heaviest, score
from training.plan_states import Smoothing, States, phone_states, survey_states
from training.plan_task import (
    GroupTargets,
    PlannerTask,
    group_targets,
    names_of,
    place_batch,
    times_of,
    write_activations,
)

CONFIG = PlannerArchitecture(hidden=tinyplanner.HIDDEN, upper_layers=1, rank=2, codes=5)
GROUPS = {(0, 1): ("Brno", "Rome"), (0, 4): ("Prague",), (PHONE, 2): ("Beijing",)}


def tiny_survey():
    """Two workers: work at 8:00 and home at 17:00; the second is held out."""
    two = np.zeros(2, dtype=np.int64)
    return Survey(
        person_id=np.arange(2),
        weight=np.array([2.0, 3.0]),
        row=two,
        group=two,
        student=two,
        split=np.array([0, 1]),
        first_stop=np.array([0, 2, 4]),
        purpose=np.array([4, 1, 4, 1]),
        arrival=np.array([32, 68, 32, 68]),
        stay_min=np.array([540.0, np.nan, 540.0, np.nan]),
        counts={},
    )


def workers():
    """Both persons of the tiny survey, as workers and nobody else."""
    members = np.zeros((len(TRAVELLERS), 2), dtype=np.bool_)
    members[0] = True
    return members


def test_a_day_counts_for_all_that_its_person_is():
    members = workers()
    members[9, 0] = True
    states = survey_states(tiny_survey(), members, "train", np.eye(6), np.eye(6, 14))
    np.testing.assert_array_equal(states.slots[9], states.slots[0])
    assert states.weight[[0, 9]].sum() == states.weight.sum() == 12


def test_a_survey_day_gives_three_pairs_and_knows_tomorrow():
    codes = np.eye(6)  # a code for each purpose
    goals = np.eye(6, 14)
    states = survey_states(tiny_survey(), workers(), "train", codes, goals)
    found = [tuple(map(int, at)) for at in np.argwhere(states.slots)]
    # (role, code, slot of arrival, slot of the next): home at 0 → work at 8; → home; → tomorrow's work
    assert found == [(0, 0, 0, 16), (0, 0, 34, 16), (0, 3, 16, 34)]
    assert states.slots.sum() == 6  # three pairs of weight 2
    assert states.categories[0, 3, 16].argmax() == 0  # from work (purpose 4) to home (purpose 1)


def test_phone_days_pair_each_arrival_with_the_next_and_the_last_with_the_first():
    days = Days(
        region=np.array([[0, 1, 2, -1], [0, 1, -1, -1]], dtype=np.int32),
        slot=np.array([[0, 18, 40, -1], [0, 9, -1, -1]], dtype=np.int8),
        kind=np.full((2, 4), -1, dtype=np.int8),
        cut=0,
    )
    states = phone_states(days, np.eye(3, 14), np.array([3, 1, 0]), 5)
    found = [tuple(map(int, at)) for at in np.argwhere(states.slots)]
    one_arrival = [(PHONE, 1, 9, 9), (PHONE, 3, 0, 9)]  # the next one is a day later
    assert found == sorted(
        [(PHONE, 0, 40, 18), (PHONE, 1, 18, 40), (PHONE, 3, 0, 18), *one_arrival]
    )
    assert states.categories[PHONE, 0, 40].tolist() == np.eye(3, 14)[1].tolist()


def test_a_day_without_arrivals_has_its_next_one_a_day_later():
    days = Days(
        region=np.array([[1, -1]], dtype=np.int32),
        slot=np.array([[0, -1]], dtype=np.int8),
        kind=np.full((1, 2), -1, dtype=np.int8),
        cut=0,
        begins=16,
    )
    states = phone_states(days, np.eye(2, 14), np.array([0, 1]), 2, CHECK_IN)
    assert [tuple(map(int, at)) for at in np.argwhere(states.slots)] == [(CHECK_IN, 1, 16, 16)]


def test_phone_days_are_told_by_the_clock():
    days = Days(
        region=np.array([[0, 1, 0]], dtype=np.int32),
        slot=np.array([[0, 4, 40]], dtype=np.int8),
        kind=np.full((1, 3), -1, dtype=np.int8),
        cut=0,
        begins=16,
    )
    states = phone_states(days, np.eye(2, 14), np.array([0, 1]), 2)
    found = {tuple(map(int, at)) for at in np.argwhere(states.slots)}
    # begins at 8:00, arrives at 10:00 and at 4:00; then tomorrow's first arrival
    assert found == {(PHONE, 0, 16, 20), (PHONE, 1, 20, 8), (PHONE, 0, 8, 20)}


def test_targets_without_data_are_uniform_and_others_sum_to_one():
    states = survey_states(tiny_survey(), workers(), "train", np.eye(6), np.eye(6, 14))
    time, poi = states.targets()
    np.testing.assert_allclose(time.sum(axis=-1), 1)
    np.testing.assert_allclose(poi.sum(axis=-1), 1)
    assert time[1, 0, 0, 0] == pytest.approx(1 / 48)


def test_smoothing_shrinks_rare_states_to_their_traveller_and_slot():
    codes, goals = np.eye(6), np.eye(6, 14)
    states = survey_states(tiny_survey(), workers(), "train", codes, goals)
    none = Smoothing(width=1e-3, slot=0.0, traveller=0.0, place=0.0)
    smooth = states.smoothed(none)
    np.testing.assert_allclose(smooth.slots, states.slots, atol=1e-9)
    np.testing.assert_allclose(smooth.categories, states.categories, atol=1e-9)
    # Two pairs were seen of (worker, home, 0) with all weight on slot 16, four are from wider cells.
    how = Smoothing(width=1e-3, slot=0.0, traveller=0.0, place=4.0)
    states.slots[0, 5, 0, 20] = 1.0
    states.weight[0, 5, 0] = 1.0
    slots, _ = states.distributions(how)
    assert slots[0, 0, 0, 16] == pytest.approx((2 + 4 * 2 / 3) / 6)
    assert slots[0, 3, 0, 16] == pytest.approx(2 / 3)  # never seen: that of the traveller and slot
    slots, categories = states.distributions(Smoothing())
    np.testing.assert_allclose(slots.sum(axis=-1), 1)
    np.testing.assert_allclose(categories.sum(axis=-1), 1)
    assert slots[0, 0, 0, 16] > slots[0, 0, 0, 17] > slots[0, 0, 0, 18] > 0
    assert (states.smoothed(Smoothing()).weight == states.weight).all()


def test_places_are_drawn_towards_their_purpose():
    drawn = places(seed=0)
    np.testing.assert_allclose(drawn.of_purpose.sum(axis=2), 1)
    assert sum(SHARES.values()) == pytest.approx(1)
    np.testing.assert_allclose(category_given_type().sum(axis=1), 1)
    assert POI_CATEGORIES[drawn.mean[0].argmax()] == "residential"
    assert POI_CATEGORIES[drawn.mean[list(PURPOSES).index(5)].argmax()] == "education"
    book = tinyplanner.codebook()
    np.testing.assert_allclose(code_shares(drawn.of_purpose, book).sum(axis=1), 1)


def states_of(weight, slots=None):
    shape = (len(TRAVELLERS), 5, 48)
    full = np.zeros(shape)
    full[tuple(np.array(list(weight)).T)] = list(weight.values())
    spread = np.full((*shape, 48), 1 / 48) if slots is None else slots
    poi = np.full((*shape, 14), 1 / 14)
    return States(full, full[..., None] * spread, full[..., None] * poi)


def test_the_heaviest_places_are_kept():
    light = {(0, code, 0): 0.1 for code in (0, 2, 3, 4)}
    states = states_of(light | {(0, 1, 3): 6.0, (0, 1, 9): 2.0, (2, 4, 0): 1.6})
    targets = group_targets(states, 0.9)
    assert targets.groups == ((0, 1), (2, 4), (0, 0), (0, 2))  # three of a traveller at least
    np.testing.assert_allclose(targets.mass, np.array([8, 1.6, 0.1, 0.1]) / 9.8, rtol=1e-6)
    np.testing.assert_allclose(targets.weight[0, [3, 9]], [0.75, 0.25])


def test_every_traveller_keeps_a_few_places():
    states = states_of({(0, 1, 3): 97.0, (4, 2, 9): 2.0, (4, 0, 0): 1.0})
    assert set(group_targets(states, 0.5).groups) == {(0, 1), (4, 2), (4, 0)}
    twice = np.where(np.arange(len(TRAVELLERS)) == 4, 100.0, 1.0)
    assert group_targets(states, 0.5, twice).groups[0] == (4, 2)


def test_the_heaviest_states_are_left():
    states = states_of({(0, 1, 3): 6.0, (2, 4, 0): 3.0, (5, 0, 0): 1.0})
    assert heaviest(states, 0.9).weight.sum() == 9
    assert heaviest(states, 1.0).weight.sum() == 10
    assert heaviest(states, 0.5).slots.sum() == pytest.approx(6)


def test_a_perfect_planner_has_no_divergence_and_the_marginal_has():
    rng = seeds.stream(0, "scores-test")
    held = states_of(
        {(0, 1, 3): 2.0, (1, 2, 9): 1.0}, rng.dirichlet(np.ones(48), (len(TRAVELLERS), 5, 48))
    )
    perfect = score(held, Answers(*held.targets()))
    marginal = score(held, baselines(held)["marginal"])
    assert perfect.time_jsd == pytest.approx(0, abs=1e-9)
    assert perfect.time_nll < marginal.time_nll
    assert marginal.time_jsd > 0.05
    assert floor(held, held).time_jsd == pytest.approx(0, abs=1e-9)


def test_the_likelihood_is_that_of_what_came():
    slots = np.zeros((len(TRAVELLERS), 5, 48, 48))
    slots[0, 1, 3, 7] = 1.0
    held = states_of({(0, 1, 3): 2.0}, slots)
    half = np.full((1, 1, 1, 48), 0.5 / 47)
    half[..., 7] = 0.5
    answers = Answers(half, np.full((1, 1, 1, 14), 1 / 14))
    assert score(held, answers).time_nll == pytest.approx(np.log(2))


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    folder = tinyplanner.language(tmp_path_factory.mktemp("language"))
    return folder, load_language_model(str(folder), torch.float32, "cpu")


@pytest.fixture(scope="module")
def task(tmp_path_factory, language):
    folder, model = language
    path = tmp_path_factory.mktemp("task") / "activations.safetensors"
    write_activations(path, model, CONFIG, tinyplanner.codebook(), GROUPS)
    rng = seeds.stream(0, "task-test")
    targets = GroupTargets(
        groups=tuple(GROUPS),
        mass=np.array([0.6, 0.3, 0.1], dtype=np.float32),
        weight=rng.dirichlet(np.ones(48), 3).astype(np.float32),
        time=rng.dirichlet(np.full(48, 0.1), (3, 48)).astype(np.float32),
        poi=rng.dirichlet(np.full(14, 0.1), (3, 48)).astype(np.float32),
    )
    upper = split(model.decoder, 1)[1]
    return PlannerTask(
        architecture=CONFIG.model_copy(update={"base_model": str(folder)}),
        seed=0,
        activations=path,
        train=targets,
        validation=targets,
        names=GROUPS,
        held_names={group: names[0] for group, names in GROUPS.items()},
        draws=7,
        head=probe_heads(upper, path, targets, GROUPS, fresh_head(CONFIG, 0), times_of(model)),
    )


def test_activations_carry_on_to_the_hidden_states_of_whole_prompts(task, language):
    _, model = language
    pieces = (
        instruction(0, "Brno"),
        place(tinyplanner.codebook().codes[1]),
        times()[31],
    )
    whole = torch.cat([model.tokens(text) for text in pieces], dim=1)
    want = model.decoder(whole).last_hidden_state[0, -1]
    with safe_open(task.activations, "pt") as file:
        batch = place_batch(file, task.train, 0, 1.0, "Brno")
    upper = split(model.decoder, 1)[1]
    tree = times_of(model)
    got = leaves(grow(upper, batch["prompt"], tree), tree)[31]
    torch.testing.assert_close(got, want, atol=0.05, rtol=0.05)  # kept in bfloat16


def test_workers_share_the_draws_of_an_epoch_evenly(task):
    alone = [b["weight"].sum().item() for b in task.batches(3, 0, 1)]
    shares = [[b["weight"].sum().item() for b in task.batches(3, r, 2)] for r in range(2)]
    assert [len(share) for share in shares] == [3, 3]  # 7 draws; the odd one is left out
    assert sorted(shares[0] + shares[1]) == pytest.approx(sorted(alone[:6]))


def test_draws_repeat_for_an_epoch_and_differ_between_epochs(task):
    def drawn(epoch):
        return [b["weight"].sum().item() for b in task.batches(epoch, 0, 1)]

    assert drawn(0) == drawn(0)
    assert any(drawn(0) != drawn(epoch) for epoch in range(1, 5))


def test_draws_weighted_by_root_mass_sum_to_one_on_average(task):
    sums = [b["weight"].sum().item() for epoch in range(40) for b in task.batches(epoch, 0, 1)]
    assert np.mean(sums) == pytest.approx(1.0, abs=0.05)


def test_the_probe_beats_the_zero_start_and_training_goes_on_from_it(task):
    net = task.model()
    start = task.validate(net)["total"]
    net.head.linear.weight.data.zero_()
    net.head.linear.bias.data.zero_()
    assert start < 0.8 * task.validate(net)["total"]
    net = task.model()
    optimiser = torch.optim.Adam([w for w in net.parameters() if w.requires_grad], lr=3e-4)
    for epoch in range(8):
        for batch in task.batches(epoch, 0, 1):
            optimiser.zero_grad()
            net(batch, 0.5)["total"].backward()
            optimiser.step()
    assert task.validate(net)["total"] < start


def test_a_batch_weighs_as_much_as_its_scale(task):
    with safe_open(task.activations, "pt") as file:
        batch = place_batch(file, task.train, 1, 2.5, "Prague")
    assert batch["weight"].sum().item() == pytest.approx(2.5)
    assert batch["time_target"].shape == (48, 48)


def test_prompts_name_cities_in_turn_and_beijing_for_phones():
    cities = ("Prague", "Brno", "Rome", "Lima")
    named = [names_of((0, code), cities, "Beijing", 2) for code in range(8)]
    assert all(len(set(names)) == 2 for names in named)
    assert {name for names in named for name in names} == set(cities)
    assert names_of((0, 0), ("Rome",), "Beijing", 3) == ("Rome",)
    assert names_of((PHONE, 3), cities, "Beijing", 2) == ("Beijing",)
    assert len(ROLES) == PHONE


def test_a_places_prompts_name_all_its_cities(task):
    instructions = {
        batch["prompt"].numpy().tobytes()
        for epoch in range(6)
        for batch in task.batches(epoch, 0, 1)
        if torch.equal(batch["time_target"], torch.from_numpy(task.train.time[0]))
    }
    assert len(instructions) == 2
