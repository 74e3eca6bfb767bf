import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from raygen.models.chain_decoder import (
    ChainDecoder,
    ChainDecoderConfig,
    LikelihoodObjective,
    log_likelihood,
)
from raygen.models.chain_sampling import DRAWS, draw, draw_chains
from raygen.models.observed import MASK, NEVER, TYPES, State, activities_of, bounds_of, observe
from raygen.taxonomy import SLOTS

TINY = ChainDecoderConfig(width=16, layers=2, heads=2, feedforward=16, dropout=0.0)


def tiny(seed: int = 0) -> ChainDecoder:
    torch.manual_seed(seed)
    model = ChainDecoder(TINY).eval()
    with torch.no_grad():  # far from even, so that mistakes show, and nothing is rare
        for parameter in model.parameters():
            parameter.mul_(2.0)
        model.spent.weight.mul_(20.0)
        model.returning.zero_()
        model.gap.zero_()
    return model


def people(rows: int) -> torch.Tensor:
    return torch.tensor([[0, 0, 0], [8, 1, 1]]).repeat(-(-rows // 2), 1)[:rows]


def blank(rows: int) -> torch.Tensor:
    chain = torch.full((rows, SLOTS), MASK)
    chain[:, [0, SLOTS - 1]] = 0
    return chain


def uniform(rows: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((rows, DRAWS)))


def zeros(rows: int) -> torch.Tensor:
    return torch.zeros(rows, dtype=torch.long)


def no_shift(rows: int) -> torch.Tensor:
    return torch.zeros(rows, 1, TYPES)


def a_day() -> torch.Tensor:
    day = zeros(SLOTS)
    day[30:60], day[64:70] = 1, 4
    return day


def test_what_is_observed_bounds_the_activities():
    tokens = torch.full((1, SLOTS), MASK)
    tokens[0, [5, 6, 7, 9, 20]] = torch.tensor([3, 3, 3, 3, 8])
    found = observe(tokens)
    assert found.stretches[0].tolist() == [[3, 5, 7], [3, 9, 9], [8, 20, 20]]
    assert found.there.tolist() == [[True] * 3]
    assert found.coming[0, [0, 5, 8, 10, 21, 96]].tolist() == [5, 5, 9, 20, NEVER, NEVER]
    state = State(torch.tensor([[3, 3, 2, 8, 8]]), torch.tensor([[0, 8, 0, 10, 21]]), None)
    bounds = bounds_of(found, state)
    assert bounds.held.tolist() == [[9, 9, 0, 20, 21]]
    assert bounds.other.tolist() == [[20, 20, 5, NEVER, NEVER]]


def test_activities_are_the_runs():
    runs = activities_of(torch.stack([a_day(), zeros(SLOTS)]))
    assert runs.kind.tolist() == [[0, 1, 0, 4, 0], [0] * 5]
    assert runs.start.tolist() == [[0, 30, 60, 64, 70], [0, 96, 96, 96, 96]]
    assert runs.end.tolist() == [[30, 60, 64, 70, 96], [96] * 5]
    assert runs.there.sum(1).tolist() == [5, 1]


@pytest.mark.parametrize("hidden", [[0], [95], [40, 41], [29, 30], [0, 1], [63, 65]])
def test_probabilities_of_all_ways_to_fill_a_gap_sum_to_one(hidden):
    ways = torch.cartesian_prod(*[torch.arange(TYPES)] * len(hidden)).view(-1, len(hidden))
    chains = a_day().repeat(len(ways), 1)
    tokens = chains.clone()
    tokens[:, hidden] = MASK
    chains[:, hidden] = ways
    found = log_likelihood(
        tiny(), chains, tokens, zeros(len(ways)), people(2)[:1].expand(len(ways), 3)
    )
    chance = (found.ends.sum(1) + found.types.sum(1)).exp()
    assert float(chance.detach().sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(chance.detach().max()) < 0.999


def test_a_day_that_is_wholly_known_is_certain():
    found = log_likelihood(tiny(), a_day()[None], a_day()[None], zeros(1), people(1))
    assert float((found.ends.sum() + found.types.sum()).detach()) == pytest.approx(0.0, abs=1e-6)


def test_draws_follow_the_likelihood():
    rows, hidden = 4000, [40, 41]
    tokens = a_day().repeat(rows, 1)
    tokens[:, hidden] = MASK
    who = people(2)[:1].expand(rows, 3)
    drawn = draw_chains(tiny(), tokens, zeros(rows), who, no_shift(rows), uniform(rows))
    ways, counts = drawn.unique(dim=0, return_counts=True)
    chance = log_likelihood(tiny(), ways, tokens[: len(ways)], zeros(len(ways)), who[: len(ways)])
    wanted = (chance.ends.sum(1) + chance.types.sum(1)).exp().detach() * rows
    usual = wanted > 20
    assert usual.sum() >= 3
    assert (((counts - wanted).abs() / wanted.sqrt())[usual] < 4.5).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 0.98))
def test_completion_keeps_what_is_known_and_fills_the_rest(seed, share):
    rng = np.random.default_rng(seed)
    runs = np.repeat(rng.integers(0, TYPES, (6, SLOTS // 4)), 4, axis=1)
    known = torch.from_numpy(runs)
    tokens = torch.where(torch.from_numpy(rng.random((6, SLOTS)) < share), MASK, known)
    found = draw_chains(tiny(), tokens, zeros(6), people(6), no_shift(6), uniform(6))
    assert torch.equal(found[tokens != MASK], known[tokens != MASK])
    assert ((found >= 0) & (found < TYPES)).all()
    likelihood = log_likelihood(tiny(), found, tokens, zeros(6), people(6))
    assert torch.isfinite(likelihood.ends).all()
    assert torch.isfinite(likelihood.types).all()


def test_generation_keeps_anchors_and_barred_types_out():
    shift = no_shift(40)
    shift[:, :, 1] = -torch.inf
    days = draw_chains(tiny(), blank(40), zeros(40), people(40), shift, uniform(40))
    assert (days[:, [0, SLOTS - 1]] == 0).all()
    assert not (days == 1).any()
    assert len(days.unique()) > 5


def test_a_barred_type_stays_where_it_was_observed():
    shift = no_shift(2)
    shift[:, :, 1] = -torch.inf
    tokens = blank(2)
    tokens[:, 40] = 1
    days = draw_chains(tiny(), tokens, zeros(2), people(2), shift, uniform(2))
    assert (days[:, 40] == 1).all()


def test_a_shift_counts_in_its_segment_of_the_day():
    rows = 200
    shift = torch.zeros(rows, 2, TYPES)
    shift[:, 1, 7] = 6.0
    who = people(rows)
    plain = draw_chains(tiny(), blank(rows), zeros(rows), who, no_shift(rows), uniform(rows))
    moved = draw_chains(tiny(), blank(rows), zeros(rows), who, shift, uniform(rows))
    begins = torch.diff(moved, dim=1, prepend=moved[:, :1] + 1) != 0
    of_type = begins & (moved == 7)
    assert of_type[:, 48:].sum() > 10 * max(1, int(of_type[:, :48].sum()))
    assert torch.equal(moved[:, :48], plain[:, :48])


def test_a_person_draws_the_same_whatever_the_others():
    day = zeros(8)
    whole = draw_chains(tiny(), blank(8), day, people(8), no_shift(8), uniform(8))
    part = draw_chains(tiny(), blank(4), day[:4], people(8)[2:6], no_shift(4), uniform(8)[2:6])
    assert torch.equal(whole[2:6], part)


def test_draw_inverts_the_cumulated_probability():
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3]])).expand(5, 3)
    points = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.999999])
    assert draw(logits, points).tolist() == [0, 0, 1, 1, 2]
    barred = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(2, 3)
    assert draw(barred, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)).tolist() == [1, 1]


def batch(rows: int) -> dict[str, torch.Tensor]:
    chains = a_day().repeat(rows, 1)
    chains[::2, 70:80] = 4
    tokens = torch.where(torch.rand(rows, SLOTS) < 0.7, MASK, chains)
    return {"chains": chains, "tokens": tokens, "day": zeros(rows), "person": people(rows)}


def test_loss_does_not_depend_on_the_parts_and_learns():
    torch.manual_seed(0)
    few, many = (LikelihoodObjective(tiny(), parts) for parts in (1, 3))
    days = batch(12)
    one, three = (float(loss(days, 0.0)["total"].detach()) for loss in (few, many))
    assert one == pytest.approx(three, rel=1e-4)
    optimiser = torch.optim.Adam(few.parameters(), lr=0.01)
    totals = []
    for _ in range(12):
        losses = few(days, 0.0)
        assert set(losses) == {"total", "ends", "types"}
        optimiser.zero_grad()
        losses["total"].backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in few.parameters())
        optimiser.step()
        totals.append(float(losses["total"].detach()))
    assert totals[-1] < 0.5 * totals[0]


def test_importance_weighs_activities_by_their_slots():
    objective, days = LikelihoodObjective(tiny(), 2), batch(6)
    days["tokens"] = blank(6)
    plain = float(objective(days, 0.0)["total"].detach())
    for weight in (0.5, 0.0):
        importance = torch.full((6, SLOTS), weight)
        found = float(objective(days | {"importance": importance}, 0.0)["total"].detach())
        assert found == pytest.approx(weight * plain, rel=1e-4)
