import pytest
import torch

from raygen import checkpoints
from raygen.config import ComputeConfig, GeneratorConfig
from raygen.errors import WeightsError
from raygen.models.diffusion import add_noise, signal
from raygen.models.generator import DiT, DiTConfig, load_generator
from raygen.models.spatial import SpatialConfig, SpatialEncoder

CONFIG = DiTConfig(latent=16, ffn=32, blocks=2, heads=2, max_arrivals=6)


def inputs(days=3, entries=5, seed=0):
    rng = torch.Generator().manual_seed(seed)
    poi = torch.rand(days, entries, 14, generator=rng)
    poi = poi / poi.sum(2, keepdim=True)
    slots = torch.rand(days, entries, 48, generator=rng)
    x = torch.randn(days, entries, 16, generator=rng)
    return x, poi[:, 0], slots / slots.sum(2, keepdim=True), poi


def lively(config=CONFIG):
    """A network whose gates are open: at its start, a fresh one puts out zeros."""
    torch.manual_seed(3)
    network = DiT(config)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def test_starts_at_the_mean_latent():
    x, start, M, D = inputs()
    network = DiT(CONFIG)
    found = network(x, torch.tensor([5]), network.condition(start, M, D), torch.ones(3, 5).bool())
    assert found.shape == (3, 5, 16)
    assert not found.any()


def test_padding_changes_nothing():
    x, start, M, D = inputs()
    network = lively()
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[:, 3:] = False
    whole = network(x, torch.tensor([9]), network.condition(start, M, D), mask)
    short = network(
        x[:, :3], torch.tensor([9]), network.condition(start, M[:, :3], D[:, :3]), mask[:, :3]
    )
    x[:, 3:], M[:, 3:], D[:, 3:] = 7.0, 0.5, 0.5
    other = network(x, torch.tensor([9]), network.condition(start, M, D), mask)
    assert torch.allclose(whole[:, :3], other[:, :3], atol=1e-5)
    assert torch.allclose(whole[:, :3], short, atol=1e-5)


def test_rows_do_not_mix():
    x, start, M, D = inputs(days=4)
    network = lively()
    mask = torch.ones(4, 5, dtype=torch.bool)
    whole = network(x, torch.tensor([9]), network.condition(start, M, D), mask)
    alone = network(
        x[2:3], torch.tensor([9]), network.condition(start[2:3], M[2:3], D[2:3]), mask[2:3]
    )
    assert torch.allclose(whole[2:3], alone, atol=1e-5)


@pytest.mark.parametrize("which", ["start", "M", "D", "step", "neighbour"])
def test_every_condition_matters(which):
    x, start, M, D = inputs()
    network = lively()
    mask = torch.ones(3, 5, dtype=torch.bool)
    before = network(x, torch.tensor([9]), network.condition(start, M, D), mask)
    step = torch.tensor([400 if which == "step" else 9])
    if which == "neighbour":
        x = x.clone()
        x[:, 4] += 1.0
    if which == "start":
        start = start.flip(1)
    if which == "M":
        M = M.flip(2)
    if which == "D":
        D = D.flip(2)
    after = network(x, step, network.condition(start, M, D), mask)
    assert (before[:, 1] - after[:, 1]).abs().max() > 1e-4


def test_learns_a_few_days():
    x0, start, M, D = inputs(days=4)
    torch.manual_seed(0)
    network = DiT(CONFIG)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    mask = torch.ones(4, 5, dtype=torch.bool)
    kept = signal(1000)
    first = last = 0.0
    for turn in range(250):
        step = torch.randint(0, 300, (4,))
        noisy = add_noise(x0, torch.randn_like(x0), kept[step])
        loss = (network(noisy, step, network.condition(start, M, D), mask) - x0).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first, last = (loss.item() if turn == 0 else first), loss.item()
    assert last < first / 10


def save_both(weights, digest=None):
    config = SpatialConfig(latent=16, hidden=8, levels=2)
    checkpoints.save(
        weights / "spatial", "spatial", config, SpatialEncoder(config).state_dict(), {}
    )
    found = checkpoints.load(weights / "spatial", "spatial", SpatialConfig)[2]
    shape = CONFIG.model_copy(update={"encoder_digest": digest or found})
    checkpoints.save(weights / "generator", "generator", shape, DiT(shape).state_dict(), {})


def test_loads_what_was_saved(tmp_path):
    save_both(tmp_path)
    loaded = load_generator(tmp_path, GeneratorConfig(steps=3), ComputeConfig())
    assert loaded.network.config.latent == 16
    assert loaded.config.steps == 3
    assert not any(p.requires_grad for p in loaded.network.parameters())


def test_refuses_another_encoder(tmp_path):
    save_both(tmp_path, digest="f" * 64)
    with pytest.raises(WeightsError, match="makes latents of encoder ffffffffffff"):
        load_generator(tmp_path, GeneratorConfig(), ComputeConfig())


def test_refuses_tensors_of_another_shape(tmp_path):
    save_both(tmp_path)
    found = checkpoints.load(tmp_path / "spatial", "spatial", SpatialConfig)[2]
    wide = CONFIG.model_copy(update={"encoder_digest": found, "ffn": 64})
    checkpoints.save(tmp_path / "generator", "generator", wide, DiT(CONFIG).state_dict(), {})
    with pytest.raises(WeightsError, match=r"do not fit the architecture of config.json"):
        load_generator(tmp_path, GeneratorConfig(), ComputeConfig())
