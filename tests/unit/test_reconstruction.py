import numpy as np
import pytest
import torch

from raygen.models.reconstruction import (
    MASK,
    TYPES,
    Objective,
    Reconstruction,
    ReconstructionConfig,
    neighbours,
    transition_loss,
    warping_loss,
)
from raygen.models.unmasking import _onset, complete, draw, generate, unmasking_order
from raygen.taxonomy import SLOTS

TINY = ReconstructionConfig(width=16, layers=1, heads=2, feedforward=16, dropout=0.0)


def tiny(seed: int = 0, config: ReconstructionConfig = TINY) -> Reconstruction:
    torch.manual_seed(seed)
    return Reconstruction(config).eval()


def people(rows: int) -> torch.Tensor:
    return torch.tensor([[0, 0, 0], [8, 1, 1]]).repeat(rows // 2, 1)


def blank(rows: int) -> torch.Tensor:
    chain = torch.full((rows, SLOTS), MASK)
    chain[:, [0, SLOTS - 1]] = 0
    return chain


def uniform(rows: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((rows, SLOTS)))


def test_unmasking_asks_every_slot_once_and_never_two_neighbours():
    passes = unmasking_order()
    asked = [slot for fresh in passes for slot in fresh]
    assert sorted([*asked, 0, SLOTS - 1]) == list(range(SLOTS))
    for fresh in passes:
        assert min(np.diff([-2, *fresh])) >= 2
    assert [len(fresh) for fresh in passes] == [1, 2, 4, 8, 16, 32, 31]


def test_neighbours_are_the_nearest_known():
    tokens = torch.tensor([[0, MASK, MASK, 5, MASK]])
    left, right, since, until = neighbours(tokens, torch.tensor([0, 3, 6, 9, 12]))
    assert left.tolist() == [[0, 0, 0, 5, 5]]
    assert right.tolist() == [[0, 5, 5, 5, MASK]]
    assert since.tolist() == [[0, 3, 6, 0, 3]]
    assert until.tolist() == [[0, 6, 3, 0, SLOTS]]


def test_draw_inverts_the_cumulated_probability():
    logits = torch.log(torch.tensor([[[0.2, 0.5, 0.3]]])).expand(1, 5, 3)
    points = torch.tensor([[0.0, 0.19, 0.21, 0.69, 0.999999]])
    assert draw(logits, points).tolist() == [[0, 0, 1, 1, 2]]


def test_draw_never_takes_a_barred_type():
    logits = torch.tensor([[[-torch.inf, 0.0, -torch.inf]]]).expand(1, 2, 3)
    assert draw(logits, torch.tensor([[0.0, 1 - 2**-53]], dtype=torch.float64)).tolist() == [[1, 1]]


def test_generation_keeps_anchors_and_barred_types_out():
    shift = torch.zeros(8, TYPES)
    shift[:, 1] = -torch.inf
    days = generate(
        tiny(), blank(8), torch.zeros(8, dtype=torch.long), people(8), shift, uniform(8)
    )
    assert (days[:, [0, SLOTS - 1]] == 0).all()
    assert ((days >= 0) & (days < TYPES)).all()
    assert not (days == 1).any()
    assert len(days.unique()) > 5


def test_a_person_draws_the_same_whatever_the_others():
    day = torch.zeros(8, dtype=torch.long)
    shift = torch.zeros(8, TYPES)
    whole = generate(tiny(), blank(8), day, people(8), shift, uniform(8))
    part = generate(tiny(), blank(4), day[:4], people(8)[2:6], shift[:4], uniform(8)[2:6])
    assert torch.equal(whole[2:6], part)


def test_a_shift_counts_where_a_type_begins_and_not_where_it_goes_on():
    model = tiny()
    tokens = torch.tensor([[0, MASK, 3, MASK, 5]])
    slots = torch.arange(5)
    shift = torch.arange(TYPES, dtype=torch.float32)[None]
    shift[0, 9] = -torch.inf
    added = _onset(tokens, slots, slots, shift)
    wanted = shift.expand(5, TYPES).clone()
    wanted[[0, 1, 1, 2, 3, 3, 4], [0, 0, 3, 3, 3, 5, 5]] = 0.0
    assert torch.equal(added[0], wanted)
    assert torch.equal(_onset(tokens, slots, slots[1::2], shift)[0], wanted[1::2])
    under_way = torch.full((1, 96), MASK)
    under_way[0, ::95] = 3
    barred = torch.full((1, TYPES), -torch.inf)
    barred[0, :4] = 0.0
    barred[0, 3] = 50.0  # lifted, but nothing new of it can begin: the others stay as likely
    day, who, drawn = torch.zeros(1, dtype=torch.long), people(2)[:1], uniform(1)
    plain = generate(model, under_way, day, who, barred.clamp(max=0.0), drawn)
    first = unmasking_order()[0]
    assert torch.equal(
        generate(model, under_way, day, who, barred, drawn)[:, first], plain[:, first]
    )


def test_completion_keeps_what_is_known_and_fills_the_rest():
    rng = np.random.default_rng(1)
    known = torch.from_numpy(rng.integers(0, TYPES, (6, SLOTS)))
    hidden = torch.from_numpy(rng.random((6, SLOTS)) < 0.7)
    chain = torch.where(hidden, MASK, known)
    day = torch.zeros(6, dtype=torch.long)
    found = complete(tiny(), chain, day, people(6), torch.zeros(6, TYPES), uniform(6))
    assert torch.equal(found[~hidden], known[~hidden])
    assert (found != MASK).all()


def test_class_weights_are_taken_out_of_the_probability():
    model = tiny()
    tokens, slots = blank(2), torch.arange(SLOTS)
    day = torch.zeros(2, dtype=torch.long)
    plain = model.logits(tokens, slots, day, people(2))
    model.log_class_weight[3] = 2.0
    shifted = model.logits(tokens, slots, day, people(2))
    assert torch.allclose(plain - shifted, torch.eye(TYPES)[3] * 2.0)


def test_condition_off_ignores_the_person():
    model = tiny(config=TINY.model_copy(update={"condition": False}))
    day = torch.zeros(2, dtype=torch.long)
    logits = model(blank(2), torch.arange(SLOTS), day, people(2))
    assert torch.equal(logits[0], logits[1])
    conditioned = tiny()(blank(2), torch.arange(SLOTS), day, people(2))
    assert not torch.allclose(conditioned[0], conditioned[1])


def soft_dtw(p: np.ndarray, y: np.ndarray, band: int, gamma: float) -> float:
    """The recursion as it is written in textbooks."""
    size = len(y)
    table = np.full((size + 1, size + 1), np.inf)
    table[0, 0] = 0
    for i in range(size):
        for j in range(max(0, i - band), min(size, i + band + 1)):
            before = np.array([table[i, j], table[i, j + 1], table[i + 1, j]])
            least = before.min()
            soft = least - gamma * np.log(np.exp(-(before - least) / gamma).sum())
            table[i + 1, j + 1] = 1 - p[i, y[j]] + soft
    return table[size, size] / size


@pytest.mark.parametrize("band", [0, 1, 4])
def test_warping_loss_is_the_recursion_of_soft_dtw(band):
    rng = np.random.default_rng(2)
    p = torch.softmax(torch.from_numpy(rng.normal(size=(3, 14, TYPES))), -1)
    y = rng.integers(0, TYPES, (3, 14))
    wanted = np.mean([soft_dtw(p[i].numpy(), y[i], band, 0.1) for i in range(3)])
    found = warping_loss(p, torch.from_numpy(y), band, 0.1)
    assert float(found) == pytest.approx(wanted, rel=1e-6)


def test_warping_forgives_a_shift_and_transition_does_not():
    day = torch.zeros(1, SLOTS, dtype=torch.long)
    day[0, 30:60] = 1
    late = torch.roll(day, 2, dims=1)
    hard = torch.nn.functional.one_hot(late, TYPES).float()
    assert warping_loss(hard, day) < warping_loss(hard, day, band=0)
    exact = torch.nn.functional.one_hot(day, TYPES).float()
    assert transition_loss(exact, day) < 1e-4 < transition_loss(hard, day)


def test_loss_has_parts_and_finite_gradients_and_learns():
    torch.manual_seed(0)
    objective = Objective(Reconstruction(TINY), (0.7, 0.15, 0.15))
    target = torch.zeros(8, SLOTS, dtype=torch.long)
    target[:, 30:60] = 1
    batch = {
        "tokens": torch.where(torch.rand(8, SLOTS) < 0.7, MASK, target),
        "target": target,
        "slots": torch.arange(SLOTS),
        "day": torch.zeros(8, dtype=torch.long),
        "person": people(8),
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
