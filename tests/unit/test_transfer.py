from pathlib import Path

import numpy as np
import pytest
import torch

from raygen.config import load
from raygen.errors import ConfigError, DataError
from raygen.models.chain_decoder import ChainDecoder, ChainDecoderConfig
from raygen.models.slot_network import SlotNetwork, SlotNetworkConfig
from raygen.stages.chains import DRAWS, UNKNOWN
from raygen.taxonomy import HOME, SLOTS, WORK
from raygen.transitions import transition_divergences, transition_histograms
from training.chain_decoder import DecoderTask, LikelihoodSection
from training.in_process import fit_here
from training.iteration import (
    IterationSection,
    RawDays,
    found_in,
    hide,
    next_round,
    raw_days,
    recur,
)
from training.partial_days import complete, fragments
from training.recipe import LoopConfig
from training.slot_network import LossSection, SlotTask
from training.transfer import TransferRecipe, transfer
from training.transfer_data import Target, pool_of
from training.transfer_tasks import AdaptationTask, StartedTask, check_weights, importance
from training.unfreezing import phases, phases_by_round

RECIPES = Path(__file__).parents[2] / "training/recipes"
TINY = ChainDecoderConfig(width=16, layers=3, heads=2, feedforward=16, dropout=0.0)
TINY_SLOTS = SlotNetworkConfig(
    width=16, encoder_layers=2, decoder_layers=2, heads=2, feedforward=16, dropout=0.0
)
LIKELIHOOD = LikelihoodSection(batch=8, steps=4, parts=2, validation_days=10)
ALL = np.ones(SLOTS, bool)


def days(size: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    chains = np.zeros((size, SLOTS), np.int8)
    for chain in chains:
        start = rng.integers(24, 40)
        chain[start : start + rng.integers(20, 40)] = WORK
    return chains


def target(size: int, seed: int = 0) -> Target:
    who = np.tile([2, 0, 0], (size, 1))
    return Target(days(size, seed), who, who[:, 0], size, ALL)


def raw(share: float = 0.6) -> RawDays:
    return RawDays(hide(target(12), share, 1, "train"), hide(target(9, 5), share, 1, "validation"))


def decoder() -> ChainDecoder:
    torch.manual_seed(0)
    return ChainDecoder(TINY).eval()


def task_of(network, chains) -> DecoderTask | SlotTask:
    pool = pool_of(chains, np.tile([2, 0, 0], (len(chains), 1)))
    if isinstance(network, ChainDecoder):
        return DecoderTask(TINY, LIKELIHOOD, pool, pool, 3)
    return SlotTask(TINY_SLOTS, LossSection(batch=8, steps=2, validation_days=10), pool, pool, 3, 4)


# Progressive unfreezing


def opened(network) -> list[set[str]]:
    """Return what has moved after each quarter of a training in four epochs."""
    loop = LoopConfig(
        epochs=4, learning_rate=1e-2, weight_decay=0.1, schedule="constant", unfreeze=phases(network)
    )  # fmt: skip
    task = StartedTask(task_of(network, days(16)), network.state_dict())
    moved: list[set[str]] = []

    class Watched(StartedTask):
        def validate(self, model):
            now = dict(model.named_parameters())
            state = network.state_dict()
            moved.append(
                {
                    name
                    for name in now
                    if not torch.equal(now[name], state[name.removeprefix("model.")])
                }
            )
            return {"total": 0.0}

    fit_here(Watched(task.task, task.start), loop)
    return moved


@pytest.mark.parametrize("kind", ["decoder", "slots"])
def test_the_phases_train_what_the_paper_says(kind):
    torch.manual_seed(0)
    network = decoder() if kind == "decoder" else SlotNetwork(TINY_SLOTS).eval()
    layers = ("blocks.", "encoder.", "decoder.")
    first, second, third, _ = opened(network)
    assert first
    assert not any(name.removeprefix("model.").startswith(layers) for name in first)
    assert any("head" in name or "next" in name for name in first)
    assert any("kind" in name or "token" in name for name in first)
    near = {name for name in second - first}
    assert near
    near_input = ("blocks.0.", "blocks.1.", "encoder.0.", "decoder.0.")
    assert all(name.removeprefix("model.").startswith(near_input) for name in near)
    middle = third - second
    assert middle
    assert all(name.removeprefix("model.").startswith(("blocks.2.", "encoder.1.", "decoder.1.")) for name in middle)  # fmt: skip


def test_layers_open_by_round_or_not_at_all():
    network = decoder()
    assert phases(network) == {
        "model.blocks.0": 0.25,
        "model.blocks.1": 0.25,
        "model.blocks.2": 0.5,
    }
    assert phases_by_round(network, 0, 6) == dict.fromkeys(phases(network), 1.0)
    assert list(phases_by_round(network, 2, 6).values()) == [0.0, 0.0, 1.0]
    assert list(phases_by_round(network, 3, 6).values()) == [0.0, 0.0, 0.0]


def test_a_part_that_is_not_there_cannot_be_frozen():
    task = StartedTask(task_of(decoder(), days(16)), decoder().state_dict())
    with pytest.raises(ConfigError, match=r"no parameter's name begins with 'model.block'"):
        fit_here(task, LoopConfig(epochs=1, unfreeze={"model.block": 0.5}))


def test_what_only_the_shared_loop_does_is_refused_here():
    task = StartedTask(task_of(decoder(), days(16)), decoder().state_dict())
    with pytest.raises(ConfigError, match="only one worker in float32"):
        fit_here(task, LoopConfig(epochs=1, workers=2))


# Incomplete days


def test_transitions_are_counted_between_known_slots():
    chain = np.full((1, SLOTS), HOME, np.int8)
    chain[0, 32:64] = WORK
    found = transition_histograms(chain, ALL)
    assert found["type"][[HOME, WORK]].tolist() == [1, 1]
    assert np.flatnonzero(found["start_time"]).tolist() == [8]
    assert np.flatnonzero(found["end_time"]).tolist() == [15]
    chain[0, 31] = UNKNOWN
    found = transition_histograms(chain, ALL)
    assert found["type"][[HOME, WORK]].tolist() == [1, 0]
    counted = ALL.copy()
    counted[64] = False
    assert transition_histograms(chain, counted)["type"].sum() == 0


def test_weights_count_days():
    chains = days(6)
    weight = np.array([2.0, 1, 1, 1, 1, 1])
    twice = transition_histograms(np.concatenate([chains[:1], chains]), ALL)
    for name, values in transition_histograms(chains, ALL, weight).items():
        np.testing.assert_array_equal(values, twice[name])


def test_fragments_hide_about_the_share_and_change_nothing_else():
    chains = days(400)
    uniform = np.random.default_rng(0).random((400, SLOTS))
    hidden = fragments(chains, 0.7, uniform)
    seen = hidden != UNKNOWN
    np.testing.assert_array_equal(hidden[seen], chains[seen])
    assert 0.22 < seen.mean() < 0.31
    # What hides does not know what it hides: the histograms stay what they were.
    found = transition_divergences(hidden, chains, ALL)
    assert found["type"] < 0.01


@pytest.mark.parametrize("kind", ["decoder", "slots"])
def test_completion_keeps_what_was_observed(kind):
    torch.manual_seed(0)
    network = decoder() if kind == "decoder" else SlotNetwork(TINY_SLOTS).eval()
    known = raw().train
    uniform = np.random.default_rng(0).random((len(known.chains), DRAWS))
    made = complete(network, known.chains, known.people, uniform)
    seen = known.chains != UNKNOWN
    np.testing.assert_array_equal(made[seen], known.chains[seen])
    assert (made != UNKNOWN).all()


# Algorithm 1


def test_algorithm_1_keeps_observed_slots_and_a_fifth_of_the_days_before():
    rounds = []

    def fit(round_, start):
        rounds.append(round_)
        return start

    section = IterationSection(iterations=3, patience=3)
    known = raw()
    found, models = recur(decoder(), known, section, fit, 1)
    assert [len(round_.chains) for round_ in rounds] == [12, 14, 14]  # round(0.2 * 12) = 2
    assert len(models) == 4
    for round_ in rounds:
        train = known.train.chains
        np.testing.assert_array_equal(round_.real[:12], train != UNKNOWN)
        np.testing.assert_array_equal(round_.chains[:12][train != UNKNOWN], train[train != UNKNOWN])
        held = known.validation.chains
        np.testing.assert_array_equal(round_.validation[held != UNKNOWN], held[held != UNKNOWN])
    # What is retained are days of the iteration before, with their own observed slots.
    before = {row.tobytes() for row in rounds[0].chains}
    assert {row.tobytes() for row in rounds[1].chains[12:]} <= before
    assert not np.array_equal(rounds[0].chains, rounds[1].chains[:12])  # drawn anew
    assert len(found.curve) == 4


def test_algorithm_1_stops_after_the_minimum_and_keeps_its_model(monkeypatch):
    falls = iter([0.5, 0.3, 0.2, 0.25, 0.4, 0.1])
    monkeypatch.setattr(
        "training.iteration.transition_divergences",
        lambda *_: dict.fromkeys(("type", "start_time", "end_time"), next(falls)),
    )

    def fit(round_, start):
        return start | {"gap": torch.full_like(start["gap"], float(round_.number))}

    found, models = recur(decoder(), raw(), IterationSection(patience=2), fit, 1)
    assert (found.best, found.decays, len(found.curve)) == (2, 3, 5)
    assert float(models[found.best]["gap"][0]) == 2.0


def test_decay_is_told_from_a_curve_that_still_falls():
    def curve(*values):
        return [{"iteration": float(n), "J": value} for n, value in enumerate(values)]

    assert found_in(curve(0.5, 0.4, 0.3)).decays is None
    assert (found_in(curve(0.5, 0.2, 0.2, 0.3)).best, found_in(curve(0.5, 0.2, 0.2, 0.3)).decays) == (1, 3)  # fmt: skip


def test_retention_is_drawn_by_seed_and_none_is_none():
    known = raw().train
    made, before, checked = days(12), days(12, 8), days(9)
    assert len(next_round(2, known, (made, before, checked), 0.0, 1).chains) == 12
    one, again, other = (next_round(2, known, (made, before, checked), 0.5, s) for s in (1, 1, 2))
    assert len(one.chains) == 18
    np.testing.assert_array_equal(one.chains, again.chains)
    assert not np.array_equal(one.chains, other.chains)


def test_importance_makes_the_loss_of_equation_6():
    rng = np.random.default_rng(0)
    real, loss = rng.random((7, SLOTS)) < 0.3, rng.random((7, SLOTS))
    mean = (importance(real, (0.7, 0.3)) * loss).mean()
    assert mean == pytest.approx(0.7 * loss[real].mean() + 0.3 * loss[~real].mean(), rel=1e-5)
    every = np.ones((2, SLOTS), bool)
    assert importance(every, (0.7, 0.3)) == pytest.approx(0.7)
    with pytest.raises(ConfigError, match=r"both must be >= 0 and one > 0, got \(0.0, 0.0\)"):
        check_weights((0.0, 0.0))


@pytest.mark.parametrize("kind", ["decoder", "slots"])
def test_adaptation_learns_from_real_slots_alone_where_synthetic_ones_weigh_nothing(kind):
    torch.manual_seed(0)
    network = decoder() if kind == "decoder" else SlotNetwork(TINY_SLOTS).eval()
    chains, real = days(16), np.zeros((16, SLOTS), bool)
    task = task_of(network, chains)
    both = [
        list(AdaptationTask(task, network.state_dict(), seen, (1.0, 0.0)).batches(0, 0, 1))
        for seen in (real, ~real)
    ]
    objective = StartedTask(task, network.state_dict()).model()
    losses = [objective(batches[0], 0.0) for batches in both]
    part = "types" if kind == "decoder" else "cross_entropy"
    assert float(losses[0][part]) == 0.0
    assert float(losses[1][part]) > 0.1


def test_raw_days_use_one_expansion_and_at_most_so_many():
    wide = target(12)
    doubled = Target(
        np.concatenate([wide.chains, wide.chains]), np.tile(wide.people, (2, 1)),
        np.tile(wide.row, 2), 12, ALL,
    )  # fmt: skip
    found = raw_days({"train": doubled, "validation": wide}, IterationSection(days=100), 1)
    assert len(found.train.chains) == 12
    found = raw_days(
        {"train": doubled, "validation": wide}, IterationSection(days=5, hidden=0.0), 1
    )
    np.testing.assert_array_equal(found.train.chains, wide.chains[:5])


# The whole


@pytest.mark.parametrize("method", ["unfreezing", "all_at_once", "scratch", "iterative"])
def test_every_method_comes_nearer_to_the_target(method, monkeypatch):
    monkeypatch.setattr("training.transfer.load_base", lambda _: decoder())
    recipe = TransferRecipe(
        output=Path("unused"), method=method, likelihood=LIKELIHOOD,
        loop=LoopConfig(epochs=4, learning_rate=1e-2),
        iteration=IterationSection(iterations=2, hidden=0.3),
    )  # fmt: skip
    targets = {name: target(40, seed) for seed, name in enumerate(("train", "validation", "test"))}
    done = transfer(recipe, targets, lambda task, loop, _: fit_here(task, loop))
    test = hide(targets["test"], 0.7, 2, "test")
    uniform = np.random.default_rng(0).random((40, DRAWS))
    found, before = (
        (complete(network, test.chains, test.people, uniform) == targets["test"].chains).mean()
        for network in (done.network, decoder())
    )
    assert found > before + 0.05
    assert (done.iterations is not None) == (method == "iterative")


def test_supervised_transfer_needs_whole_days():
    with pytest.raises(
        DataError, match='9 of 9 days are incomplete; they need method = "iterative"'
    ):
        raw(0.6).validation.pool()


@pytest.mark.parametrize(
    ("name", "method", "output"),
    [
        ("transfer", "unfreezing", "reconstruction"),
        ("transfer_slots", "unfreezing", "reconstruction-slots"),
        ("transfer_iterative", "iterative", "reconstruction"),
        ("transfer_traces", "iterative", "reconstruction"),
    ],
)
def test_shipped_recipes_are_valid(name, method, output):
    recipe = load(RECIPES / f"{name}.toml", TransferRecipe)
    assert (recipe.method, recipe.output.name) == (method, output)
    assert recipe.iteration.retained == 0.2
