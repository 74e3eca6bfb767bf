from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tinycity
import torch

from raygen import checkpoints
from raygen.city import open_city
from raygen.config import ComputeConfig, GeneratorConfig, load
from raygen.errors import ConfigError, DataError, WeightsError
from raygen.mobility import Days, expand
from raygen.mobility_metrics import gyration, locations, mobility_divergences, moves
from raygen.mobility_synthesis import assumed_chains, regions_of
from raygen.models.generator import DiTConfig, load_generator
from raygen.models.spatial import (
    SpatialConfig,
    SpatialEncoder,
    arrange,
    load_decoder,
    load_encoder,
)
from raygen.stages.decode import region_probability
from raygen.taxonomy import ACTIVITY_TYPES
from training.arrivals import fit_arrivals, markov_days, plan_days
from training.decoder import DecoderFit, encode_days, fit_decoder, fit_regions, kinds, save_decoder
from training.generator import GeneratorRecipe, GeneratorTask, begun, latent_days
from training.generator import train as train_generator
from training.mobility_data import MobilityData, synthesised_city
from training.spatial import SpatialRecipe, SpatialTask, standardise
from training.spatial import train as train_spatial

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
SMALL = SpatialConfig(latent=16, hidden=12, levels=2)
SHORT = DecoderFit(steps=150, batch=256, hidden=16)
EXACT = replace(SHORT, kind=0.0)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))


@pytest.fixture(scope="module")
def held(city):
    return synthesised_city(city, assumed_chains(600, 1), 8, 1)


def learn(task, epochs, rate):
    torch.manual_seed(0)
    model = task.model()
    optimiser = torch.optim.Adam(model.parameters(), rate)
    for epoch in range(epochs):
        for batch in task.batches(epoch, 0, 1):
            loss = model(batch, 0.0)["total"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def encoder(held):
    task = SpatialTask(SMALL, (held,), batch=64, batches_per_epoch=20, seed=1)
    before = task.validate(task.model().eval())["region"]
    model = learn(task, 5, 5e-3)
    assert task.validate(model)["region"] < before * 0.7
    encoder = model.encoder.requires_grad_(False)
    standardise(encoder, [held])
    return encoder


def test_standardised_latents_have_unit_spread(held, encoder):
    latents, labels = encode_days(held.regions, held.train, encoder)
    assert len(latents) == len(labels) == held.train.length.sum()
    assert latents.mean(0).abs().max() < 1e-3
    assert torch.allclose(latents.std(0), torch.ones(16), atol=0.02)


def test_decoder_knows_its_regions(held, encoder):
    decoder = fit_regions(held.regions, held.train, encoder, "", 1, EXACT)
    latents, labels = encode_days(held.regions, held.validation, encoder)
    right = (decoder(latents).argmax(1) == labels).float().mean().item()
    assert right > 0.6  # of some 80 regions, a third of them hardly ever seen


def test_target_goes_to_regions_of_the_kind():
    poi = np.full((3, 14), 0.0)
    poi[0, 1] = poi[1, 1] = poi[2, 2] = 1.0
    roots, log_mass = torch.from_numpy(np.sqrt(poi)), torch.tensor([1.0, 3.0, 4.0]).double().log()
    how = DecoderFit(kind=0.5, breadth=0.2)
    target = kinds(torch.tensor([0]), roots, log_mass, how)[0]
    like = np.array([1 * np.exp(5), 3 * np.exp(5), 4.0])
    assert np.allclose(target, 0.5 * np.array([1, 0, 0]) + 0.5 * like / like.sum())
    exact = kinds(torch.tensor([2]), roots, log_mass, DecoderFit(kind=0.0))
    assert exact.tolist() == [[0, 0, 1]]


def test_decoder_fit_repeats_and_saves(tmp_path, city, encoder):
    checkpoints.save(tmp_path / "spatial", "spatial", SMALL, encoder.state_dict(), {})
    loaded, digest = load_encoder(tmp_path, ComputeConfig())
    fits = [fit_decoder(city, loaded, digest, 3, SHORT) for _ in range(2)]
    for name, tensor in fits[0].state_dict().items():
        assert torch.equal(tensor, fits[1].state_dict()[name])
    save_decoder(fits[0], tmp_path, {"days": "synthesised"})
    decoder = load_decoder(tmp_path, city, ComputeConfig())
    latents = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(decoder.network(latents), fits[0](latents), atol=0.1)  # halves on disk


def test_a_kind_of_place_decodes_to_such_places(city, held, encoder):
    decoder = fit_decoder(city, encoder, "", 3, SHORT)
    kind = ACTIVITY_TYPES.index("shop_goods")
    latents = encode_days(held.regions, held.validation, encoder)[0].numpy()
    flat = np.flatnonzero((held.validation.kind == kind)[held.validation.region >= 0])
    wanted = np.repeat(city.category_given_type[None, kind], len(flat), axis=0)
    ready = arrange(decoder, city, "", ComputeConfig())
    found = region_probability(latents[flat], wanted, ready)
    shopping = held.regions.poi[:, 11]
    assert (found @ shopping).mean() > shopping.mean() + 0.01
    assert len(flat) > 3


def test_decoder_needs_days(held, encoder):
    none = held.train.take(np.zeros(0, dtype=np.int64))
    with pytest.raises(DataError, match="needs at least one day"):
        fit_regions(held.regions, none, encoder, "", 1, SHORT)


def test_generator_learns(held, encoder):
    shape = DiTConfig(latent=16, ffn=32, blocks=2, heads=2, max_arrivals=8)
    task = GeneratorTask(shape, (latent_days(held, encoder, placed=False),), 64, 30, 1)
    before = task.validate(task.model().eval())["total"]
    after = task.validate(learn(task, 4, 3e-3))["total"]
    assert before == pytest.approx(1.0, abs=0.25)  # a fresh network says zero
    assert after < 0.75 * before


def test_days_that_the_planner_told_carry_its_answers(held, encoder):
    shape = DiTConfig(latent=16, ffn=32, blocks=1, heads=2, max_arrivals=8)
    days = latent_days(held, encoder, placed=False)
    answers = tuple(np.full((*x.shape[:2], 14), 1 / 14, np.float32) for x in
                    (days.latents, days.validation_latents))  # fmt: skip
    told = GeneratorTask(shape, (replace(days, told=answers),), 64, 2, 1, told=1.0)
    for batch in told.batches(0, 0, 1):
        assert (batch["semantic"] == np.float32(1 / 14)).all()
    some = GeneratorTask(shape, (replace(days, told=answers),), 64, 2, 1, told=0.5)
    even = torch.cat([(b["semantic"] == np.float32(1 / 14)).all(dim=2).all(dim=1)
                      for b in some.batches(0, 0, 1)])  # fmt: skip
    assert 0.3 < even.float().mean() < 0.7


def test_a_training_goes_on_from_weights(tmp_path, held, encoder):
    shape = DiTConfig(latent=16, ffn=32, blocks=1, heads=2, max_arrivals=8)
    latents = (latent_days(held, encoder, placed=False),)
    network = learn(GeneratorTask(shape, latents, 32, 2, 1), 1, 1e-3).network
    tensors = network.state_dict()
    checkpoints.save(tmp_path / "generator", "generator", shape, tensors, {"days": "assumed"})
    task = GeneratorTask(shape, latents, 32, 2, 1, begin=begun(tmp_path, shape))
    for name, tensor in task.model().network.state_dict().items():
        assert torch.equal(tensor, tensors[name])
    other = shape.model_copy(update={"ffn": 16})
    with pytest.raises(WeightsError, match="begin: must have the recipe's architecture"):
        begun(tmp_path, other)


def test_workers_share_an_epoch_without_overlap(held, encoder):
    shape = DiTConfig(latent=16, ffn=32, blocks=1, heads=2, max_arrivals=8)
    task = GeneratorTask(shape, (latent_days(held, encoder, placed=False),), 16, 4, 1)
    alone = [batch["noise"] for batch in task.batches(2, 0, 1)]
    both = [batch["noise"] for rank in (0, 1) for batch in task.batches(2, rank, 2)]
    assert all(torch.equal(a, b) for a, b in zip(alone, both, strict=True))
    other = next(task.batches(3, 0, 1))["noise"]
    assert other.shape != alone[0].shape or not torch.equal(other, alone[0])


def test_planner_by_look_up_follows_what_it_saw():
    region = np.array([[0, 1, 0, -1], [2, 2, -1, -1]], dtype=np.int32)
    slot = np.array([[0, 10, 30, -1], [0, 20, -1, -1]], dtype=np.int8)
    days = Days(region, slot, np.full_like(slot, -1), 0)
    model = fit_arrivals(days, np.array([0, 1, 2]))
    found, code, place = plan_days(model, np.array([0, 2]), 4, np.random.default_rng(0))
    assert found.tolist() == [[0, 10, 30, -1], [0, 20, -1, -1]]
    assert code.tolist() == [[0, 1, 0, -1], [2, 2, -1, -1]]
    assert place[0].tolist() == [0, 1, 0, -1]
    clock = expand(days)
    assert (markov_days(clock, np.array([0]), 3, np.random.default_rng(0)) == clock[:1]).all()


def test_planner_by_look_up_returns_to_the_places_of_its_own_day():
    """Codes 0 (regions 0, 1) and 1 (2, 3): a day goes back to its own, not to the one seen."""
    region = np.array([[0, 2, 3, 2, 0, -1]], dtype=np.int32)
    slot = np.array([[0, 10, 20, 30, 40, -1]], dtype=np.int8)
    model = fit_arrivals(Days(region, slot, np.full_like(slot, -1), 0), np.array([0, 0, 1, 1, 0]))
    assert sorted(model.back.tolist()) == [-1, 0, 0, 0, 2]  # the last is of the day's end
    _, code, place = plan_days(model, np.array([0]), 6, np.random.default_rng(0))
    assert code.tolist() == [[0, 1, 1, 1, 0, -1]]
    assert place.tolist() == [[0, 1, 2, 1, 0, -1]]


def test_metrics_by_hand():
    xy = np.array([[0.0, 0.0], [3000.0, 4000.0]])
    days = np.repeat([[0] * 24 + [1] * 24], 2, axis=0).astype(np.int32)
    assert moves(days, xy).tolist() == [5000.0, 5000.0]
    assert gyration(days, xy).tolist() == [2500.0, 2500.0]
    assert locations(days).tolist() == [2, 2]
    same = mobility_divergences(days, days, xy)
    assert all(value == pytest.approx(0) for value in same.values())
    mixed = np.where(np.arange(48) == 3, 1, days).astype(np.int32)
    assert mobility_divergences(days, mixed, xy)["distance"] == pytest.approx(0)
    assert mobility_divergences(days, mixed, xy)["radius"] > 0.9


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("spatial", SpatialRecipe),
        ("generator", GeneratorRecipe),
        ("generator_told", GeneratorRecipe),
    ],
)
def test_shipped_recipes_are_valid(name, kind):
    recipe = load(RECIPES / f"{name}.toml", kind)
    assert recipe.output.name == name.split("_")[0]
    assert recipe.data.cities == ("los_angeles",)


def test_spatial_needs_its_directory_name(tmp_path):
    with pytest.raises(ConfigError, match="must be a directory named spatial"):
        train_spatial(SpatialRecipe(output=tmp_path), tmp_path / "other")


@pytest.mark.slow
def test_commands_fit_a_users_city(tmp_path, city):
    data = MobilityData(
        geolife=None, survey=None, cities=(city.path,), synthesised_days=300, entries=8
    )
    loop = {"epochs": 1, "zero_stage": 0}
    recipe = {"data": data, "batch": 32, "batches": 4, "loop": loop}
    spatial = {"model": SMALL, "decoder": {"steps": 20, "batch": 64}}
    weights = tmp_path / "weights"
    train_spatial(
        SpatialRecipe.model_validate(recipe | spatial | {"output": weights / "spatial"}),
        weights / "spatial",
    )
    model = {"model": {"ffn": 16, "blocks": 1, "heads": 2, "max_arrivals": 8}, "encoder": weights}
    train_generator(
        GeneratorRecipe.model_validate(recipe | model | {"output": weights / "generator"}),
        weights / "generator",
    )
    assert load_decoder(weights, city, ComputeConfig()).shares.shape[0] == len(city.zone_id)
    assert load_generator(weights, GeneratorConfig(), ComputeConfig()).network.config.latent == 16
    assert (weights / "generator" / "MODEL_CARD.md").is_file()
    alone = {"decoder_only": True, "encoder": weights, "output": tmp_path / "mine" / "spatial"}
    train_spatial(
        SpatialRecipe.model_validate(recipe | spatial | alone), tmp_path / "mine" / "spatial"
    )
    assert load_decoder(tmp_path / "mine", city, ComputeConfig()).shares.shape[0] == 6


def test_regions_of_a_city_are_whole(city):
    regions = regions_of(city)
    assert replace(regions, name="x").digest == regions.digest
    assert isinstance(SpatialEncoder(SMALL).config, SpatialConfig)
