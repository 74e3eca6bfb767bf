import copy

import numpy as np
import pytest
import tinyplanner
import torch
from transformers import LlamaModel

from raygen import seeds
from raygen.errors import WeightsError
from raygen.models.plan_net import (
    OutputLayer,
    PlannerArchitecture,
    PlannerNet,
    add_lora,
    divergence,
    extend,
    fork,
    merge_lora,
    split,
    trained_tensors,
)
from raygen.models.plan_tree import grow, leaves, time_tree

CONFIG = PlannerArchitecture(hidden=tinyplanner.HIDDEN, upper_layers=2, rank=2, alpha=4.0)
INSTRUCTION, PLACE = torch.arange(10)[None], torch.arange(20, 26)[None]
TIMES = torch.tensor([[1, 2, 3], [4, 5, 6], [1, 2, 9]])
TREE = time_tree(TIMES)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    folder = tinyplanner.language(tmp_path_factory.mktemp("language"))
    return LlamaModel.from_pretrained(folder).eval().requires_grad_(False)


def whole_prompts(model):
    prompts = [torch.cat([INSTRUCTION, PLACE, row[None]], dim=1) for row in TIMES]
    return torch.cat([model(prompt).last_hidden_state[:, -1] for prompt in prompts])


def random_batch(decoder):
    lower = split(decoder, 2)[0]
    rng = seeds.stream(1, "net-test")
    return {
        "prompt": grow(lower, torch.cat([INSTRUCTION, PLACE, TREE.ids], dim=1), TREE),
        "slot": torch.tensor([3, 20, 47]),
        "time_target": torch.from_numpy(rng.dirichlet(np.ones(48), 3)).float(),
        "poi_target": torch.from_numpy(rng.dirichlet(np.ones(14), 3)).float(),
        "weight": torch.tensor([0.5, 0.3, 0.2]),
    }


def tree_states(model):
    """The times' hidden states, the instruction from a cache."""
    cache = fork(None, 1)
    extend(model, cache, INSTRUCTION)
    return leaves(grow(model, torch.cat([PLACE, TREE.ids], dim=1), TREE, cache), TREE)


def test_common_beginnings_are_one_branch():
    assert TREE.ids.tolist() == [[1, 4, 2, 5, 3, 6, 9]]
    assert TREE.depth.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert TREE.last.tolist() == [4, 5, 6]
    assert TREE.sees[6].nonzero().ravel().tolist() == [0, 2, 6]


def test_the_prompt_tree_gives_the_hidden_states_of_whole_prompts(decoder):
    torch.testing.assert_close(tree_states(decoder), whole_prompts(decoder), atol=1e-5, rtol=1e-5)


def test_a_branch_does_not_see_the_others(decoder):
    other = TREE.ids.clone()
    other[0, 6] = 77  # the last token of the third time
    cache = fork(None, 1)
    extend(decoder, cache, INSTRUCTION)
    changed = leaves(grow(decoder, torch.cat([PLACE, other], dim=1), TREE, cache), TREE)
    same = tree_states(decoder)
    torch.testing.assert_close(changed[:2], same[:2])
    assert not torch.allclose(changed[2], same[2])


def test_the_tree_goes_on_in_the_upper_part(decoder):
    lower, upper = split(decoder, 2)
    prompt = grow(lower, torch.cat([INSTRUCTION, PLACE, TREE.ids], dim=1), TREE)
    got = leaves(grow(upper, prompt, TREE), TREE)
    torch.testing.assert_close(got, whole_prompts(decoder), atol=1e-5, rtol=1e-5)


def test_the_upper_part_takes_over_where_the_lower_part_ends(decoder):
    lower, upper = split(decoder, 2)
    joined = upper(inputs_embeds=lower(INSTRUCTION).last_hidden_state).last_hidden_state
    torch.testing.assert_close(joined, decoder(INSTRUCTION).last_hidden_state)
    assert len(decoder.layers) == tinyplanner.LAYERS  # and the decoder is as it was


@pytest.mark.parametrize("layers", [0, 3])
def test_a_cut_outside_the_layers_is_refused(decoder, layers):
    with pytest.raises(WeightsError, match=f"must be in 1 to 2.*got {layers}"):
        split(decoder, layers)


def test_a_model_without_layers_is_refused():
    with pytest.raises(WeightsError, match="needs a decoder with layers and norm, got Linear"):
        split(torch.nn.Linear(1, 1), 1)


def test_the_offset_head_is_shifted_by_the_departure_slot():
    head = OutputLayer(1)
    head.linear.bias.data[48 + 2] = 5.0  # two slots from now
    time, _ = head(torch.zeros(3, 1), torch.tensor([0, 10, 47]))
    assert time.argmax(dim=1).tolist() == [2, 12, 1]


def test_the_clock_head_is_not_shifted():
    head = OutputLayer(1)
    head.linear.bias.data[34] = 5.0
    time, _ = head(torch.zeros(3, 1), torch.tensor([0, 10, 47]))
    assert time.argmax(dim=1).tolist() == [34, 34, 34]


def test_the_divergence_is_that_of_the_target_from_the_softmax():
    target = torch.tensor([[0.5, 0.5, 0.0]])
    logits = torch.log(torch.tensor([[0.25, 0.25, 0.5]]))
    assert divergence(logits, target).item() == pytest.approx(np.log(2), abs=1e-6)
    assert divergence(torch.log(target + 1e-20), target).item() == pytest.approx(0, abs=1e-6)


def test_the_total_weighs_the_time_loss_by_lambda(decoder):
    config = CONFIG.model_copy(update={"time_weight": 3.0})
    net = PlannerNet(config, add_lora(split(decoder, 2)[1], config, 0), TREE)
    losses = net.loss(random_batch(decoder))
    torch.testing.assert_close(losses["total"], losses["poi"] + 3 * losses["time"])


def test_fresh_lora_changes_nothing_and_is_drawn_from_the_seed(decoder):
    one, same, other = (add_lora(split(decoder, 2)[1], CONFIG, seed) for seed in (0, 0, 1))
    embeds = random_batch(decoder)["prompt"]
    plain = split(decoder, 2)[1](inputs_embeds=embeds).last_hidden_state
    torch.testing.assert_close(one(inputs_embeds=embeds).last_hidden_state, plain)
    name = "layers.0.self_attn.q_proj.lora_A.default.weight"
    assert torch.equal(one.get_parameter(name), same.get_parameter(name))
    assert not torch.equal(one.get_parameter(name), other.get_parameter(name))


def test_training_lowers_the_loss_and_the_merged_model_says_the_same(decoder):
    net = PlannerNet(CONFIG, add_lora(split(decoder, 2)[1], CONFIG, 0), TREE)
    batch = random_batch(decoder)
    trainable = [weight for weight in net.parameters() if weight.requires_grad]
    optimiser = torch.optim.Adam(trainable, lr=0.05)
    first = net.loss(batch)["total"].item()
    for _ in range(30):
        optimiser.zero_grad()
        net.loss(batch)["total"].backward()
        optimiser.step()
    assert net.loss(batch)["total"].item() < 0.5 * first
    tensors = trained_tensors(net.state_dict(), tinyplanner.LAYERS - 2)
    assert {name.split(".")[2] for name in tensors if name.startswith("lora")} == {"1", "2"}
    merged = copy.deepcopy(decoder)
    merge_lora(merged, tensors, CONFIG.alpha / CONFIG.rank)
    time, poi = net.head(tree_states(merged), batch["slot"])
    for got, want in zip((time, poi), net.logits(batch), strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_lora_of_another_model_is_refused(decoder):
    low = {
        "lora.layers.9.mlp.up_proj.a": torch.zeros(2, 32),
        "lora.layers.9.mlp.up_proj.b": torch.zeros(64, 2),
    }
    with pytest.raises(WeightsError, match=r"this one has no layers\.9\.mlp\.up_proj"):
        merge_lora(copy.deepcopy(decoder), low, 1.0)
    low = {
        "lora.layers.1.mlp.up_proj.a": torch.zeros(2, 8),
        "lora.layers.1.mlp.up_proj.b": torch.zeros(64, 2),
    }
    with pytest.raises(WeightsError, match=r"must be \(64, 32\).*got \(64, 8\)"):
        merge_lora(copy.deepcopy(decoder), low, 1.0)
