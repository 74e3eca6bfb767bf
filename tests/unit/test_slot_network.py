import numpy as np
import pytest
import torch

from raygen.models.observed import MASK, TYPES
from raygen.models.slot_network import (
    SlotNetwork,
    SlotNetworkConfig,
    SlotObjective,
    fill,
    transition_loss,
)
from raygen.taxonomy import SLOTS

TINY = SlotNetworkConfig(
    width=16, encoder_layers=1, decoder_layers=1, heads=2, feedforward=16, dropout=0.0
)


def tiny() -> SlotNetwork:
    torch.manual_seed(0)
    return SlotNetwork(TINY).eval()


def masked(rows: int) -> torch.Tensor:
    rng = np.random.default_rng(1)
    known = torch.from_numpy(rng.integers(0, TYPES, (rows, SLOTS)))
    return torch.where(torch.from_numpy(rng.random((rows, SLOTS)) < 0.7), MASK, known)


def test_filling_keeps_what_is_known_and_bars_what_cannot_be():
    tokens, day = masked(6), torch.zeros(6, dtype=torch.long)
    shift = torch.zeros(6, TYPES)
    shift[:, 1] = -torch.inf
    uniform = torch.rand(6, SLOTS, generator=torch.Generator().manual_seed(0))
    hidden = tokens == MASK
    for draws in (uniform, None):
        found = fill(tiny(), tokens, day, shift, draws)
        assert torch.equal(found[~hidden], tokens[~hidden])
        assert ((found[hidden] != MASK) & (found[hidden] != 1)).all()
    likeliest = tiny().logits(tokens, day)[..., 2:].argmax(-1) + 2
    none = fill(tiny(), tokens, day, shift.index_fill(1, torch.tensor([0]), -torch.inf), None)
    assert torch.equal(none[hidden], likeliest[hidden])


def test_every_slot_sees_the_whole_day_and_the_day_of_the_week():
    tokens, day = masked(2), torch.tensor([0, 0])
    tokens[1] = tokens[0]
    tokens[1, 95] = (tokens[1, 95] + 1) % TYPES
    logits = tiny()(tokens, day)
    assert (logits[0] != logits[1]).any(-1).all()
    assert not torch.allclose(logits, tiny()(tokens, day + 5))


def test_class_weights_are_taken_out_of_the_probability():
    model = tiny()
    tokens, day = masked(2), torch.zeros(2, dtype=torch.long)
    plain = model.logits(tokens, day)
    model.log_class_weight[3] = 2.0
    shifted = model.logits(tokens, day)
    assert torch.allclose(plain - shifted, torch.eye(TYPES)[3] * 2.0, atol=1e-6)


def test_transition_loss_punishes_a_shift():
    day = torch.zeros(1, SLOTS, dtype=torch.long)
    day[0, 30:60] = 1
    late = torch.nn.functional.one_hot(torch.roll(day, 2, dims=1), TYPES).float()
    exact = torch.nn.functional.one_hot(day, TYPES).float()
    assert transition_loss(exact, day) < 1e-4 < transition_loss(late, day)


def test_loss_has_parts_and_finite_gradients_and_learns():
    torch.manual_seed(0)
    objective = SlotObjective(SlotNetwork(TINY), (0.7, 0.15, 0.15))
    target = torch.zeros(8, SLOTS, dtype=torch.long)
    target[:, 30:60] = 1
    batch = {
        "tokens": torch.where(torch.rand(8, SLOTS) < 0.7, MASK, target),
        "target": target,
        "day": torch.zeros(8, dtype=torch.long),
    }
    optimiser = torch.optim.Adam(objective.parameters(), lr=0.02)
    totals = []
    for _ in range(15):
        losses = objective(batch, 0.0)
        assert set(losses) == {"total", "cross_entropy", "transition", "warping"}
        optimiser.zero_grad()
        losses["total"].backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in objective.parameters())
        optimiser.step()
        totals.append(float(losses["total"].detach()))
    assert totals[-1] < 0.5 * totals[0]


def test_importance_weighs_the_slots():
    objective = SlotObjective(tiny(), (1.0, 0.0, 0.0))
    target = torch.zeros(2, SLOTS, dtype=torch.long)
    batch = {"tokens": target, "target": target, "day": torch.zeros(2, dtype=torch.long)}
    plain = float(objective(batch, 0.0)["total"].detach())
    weighed = objective(batch | {"importance": torch.full((2, SLOTS), 0.5)}, 0.0)["total"]
    assert float(weighed.detach()) == pytest.approx(0.5 * plain, rel=1e-5)
