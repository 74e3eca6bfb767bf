import numpy as np
import pyarrow as pa
import pytest
import tinycity
import torch

from raygen import schema
from raygen.city import open_city
from raygen.config import ComputeConfig, GeneratorConfig
from raygen.errors import DataError
from raygen.models.generator import DiT, DiTConfig, Generator
from raygen.models.spatial import DecoderConfig, SpatialDecoder, arrange
from raygen.stages.decode import (
    KEPT,
    decode,
    region_probability,
    semantic_plans,
    zone_probability,
)
from raygen.stages.denoise import denoise

WIDTH, LONGEST = 8, 5


def plans(rows, seed=0):
    """PLANS of (person, day, entries) with random M and D that depend on person and entry."""
    table = {name: [] for name in schema.PLANS.names}
    for person, day, entries in rows:
        rng = np.random.default_rng([seed, person, day])
        for sequence in range(entries):
            table["person_id"].append(person)
            table["day"].append(day)
            table["sequence"].append(sequence)
            table["type"].append(0)
            table["start_slot"].append(sequence)
            table["end_slot"].append(sequence + 1)
            table["with_person"].append(-1)
            table["escort"].append(-1)
            table["temporal_plan"].append(rng.dirichlet(np.ones(48)))
            table["semantic_plan"].append(rng.dirichlet(np.ones(14)))
    return pa.table(table, schema=schema.PLANS)


def generator(sampler="dpmsolver++", batch=64):
    torch.manual_seed(0)
    shape = DiTConfig(latent=WIDTH, ffn=16, blocks=1, heads=2, max_arrivals=LONGEST)
    network = DiT(shape)
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    config = GeneratorConfig(sampler=sampler, steps=3, batch=batch)
    return Generator(network.eval().requires_grad_(False), config, "")


ROWS = [(7, 0, 3), (7, 1, 2), (8, 0, 1), (9, 0, 4), (12, 0, 7), (13, 0, 3)]


@pytest.mark.parametrize("sampler", ["dpmsolver++", "ddim", "ddpm"])
def test_one_latent_a_row_and_the_same_again(sampler):
    table = plans(ROWS)
    found = denoise(table, generator(sampler), 1)
    assert found.shape == (table.num_rows, WIDTH)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert np.array_equal(found, denoise(table, generator(sampler), 1))
    assert not np.allclose(found, denoise(table, generator(sampler), 2))


@pytest.mark.parametrize("sampler", ["dpmsolver++", "ddpm"])
def test_a_day_does_not_depend_on_its_shard_or_batch(sampler):
    whole = denoise(plans(ROWS), generator(sampler), 1)
    first = np.cumsum([0] + [entries for _, _, entries in ROWS])
    small = denoise(plans(ROWS), generator(sampler, batch=1), 1)
    assert np.allclose(whole, small, atol=1e-4)
    for index in (0, 1, 3, 5):
        alone = denoise(plans([ROWS[index]]), generator(sampler), 1)
        assert np.allclose(whole[first[index] : first[index + 1]], alone, atol=1e-4)


def test_home_days_and_rows_beyond_the_longest_get_the_mean_latent():
    found = denoise(plans(ROWS), generator(), 1)
    assert not found[5].any()  # person 8 stays at home
    last = sum(entries for _, _, entries in ROWS[:4])
    assert found[last + LONGEST - 1].any()
    assert not found[last + LONGEST : last + 7].any()


def test_people_and_days_differ():
    found = denoise(plans([(1, 0, 3), (1, 1, 3), (2, 0, 3)]), generator(), 1)
    assert not np.allclose(found[1], found[4])
    assert not np.allclose(found[1], found[7])


def test_no_plans_no_latents():
    assert denoise(plans([]), generator(), 1).shape == (0, WIDTH)


def test_refuses_a_table_that_is_no_plan():
    with pytest.raises(DataError, match="plans: columns differ"):
        denoise(plans(ROWS).drop_columns(["day"]), generator(), 1)


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))


@pytest.fixture(scope="module")
def decoder(city):
    config = DecoderConfig(
        city=city.name,
        regions=len(city.region_id),
        regions_digest="",
        encoder_digest="",
        latent=WIDTH,
        hidden=8,
    )
    torch.manual_seed(0)
    network = SpatialDecoder(config)
    return arrange(network, city, "", ComputeConfig())


def test_priors_follow_the_schema_and_the_regions(city, decoder):
    table = plans(ROWS)
    latents = denoise(table, generator(), 1)
    priors = decode(latents, table, decoder, city)
    schema.check(priors, schema.PRIORS, "priors")
    assert priors.num_rows == table.num_rows
    Z = len(city.zone_id)
    zones = np.array(priors.column("zones").to_pylist())
    log_p = np.array(priors.column("log_probability").to_pylist())
    assert (np.sort(zones[:, :Z], axis=1) == np.arange(Z)).all()
    assert (zones[:, Z:] == -1).all()
    assert zones.shape[1] == KEPT
    assert (np.diff(log_p[:, :Z], axis=1) <= 0).all()
    assert np.allclose(np.exp(log_p[:, :Z]).sum(1), 1, atol=1e-4)
    region = region_probability(latents[1:2], semantic_plans(table)[1:2], decoder)[0]
    wanted = np.zeros(Z)
    np.add.at(wanted, city.overlap_zone, region[city.overlap_region] * city.overlap_share)
    by_zone = np.exp(log_p[1, :Z])[np.argsort(zones[1, :Z])]
    assert np.allclose(by_zone, wanted * 0.999 + 0.001 / Z, atol=1e-5)


def test_the_wanted_category_lifts_its_regions(city, decoder):
    latents = np.random.default_rng(1).normal(size=(2, WIDTH)).astype(np.float32)
    wanted = np.zeros((2, 14), np.float32)
    wanted[0, 11] = wanted[1, 13] = 1.0
    found = region_probability(latents, wanted, decoder)
    assert np.allclose(found.sum(1), 1, atol=1e-5)
    with torch.no_grad():
        plain = decoder.network(torch.from_numpy(latents)).softmax(1).numpy()
    for row, category in ((0, 11), (1, 13)):
        by_hand = plain[row] * (decoder.lift[:, category] + 1e-4)
        assert np.allclose(found[row], by_hand / by_hand.sum(), atol=1e-5)
        share = city.region_poi[:, category]
        assert found[row] @ share > plain[row] @ share


def test_floor_is_what_the_kept_zones_leave(decoder, city, monkeypatch):
    monkeypatch.setattr("raygen.stages.decode.KEPT", 2)
    monkeypatch.setattr(
        "raygen.schema.PRIORS",
        pa.schema(
            [
                pa.field("zones", pa.list_(pa.int32(), 2), nullable=False),
                pa.field("log_probability", pa.list_(pa.float32(), 2), nullable=False),
                pa.field("log_floor", pa.float32(), nullable=False),
            ]
        ),
    )
    table = plans([(1, 0, 3)])
    latents = np.random.default_rng(0).normal(size=(3, WIDTH)).astype(np.float32)
    priors = decode(latents, table, decoder, city)
    kept = np.exp(np.array(priors.column("log_probability").to_pylist())).sum(1)
    floor = np.exp(priors.column("log_floor").to_numpy())
    assert np.allclose(kept + 4 * floor, 1, atol=1e-4)
    whole = np.sort(zone_probability(latents[1:2], semantic_plans(table)[1:2], decoder)[0])
    assert floor[1] == pytest.approx(whole[:4].mean(), rel=1e-3)


def test_refuses_latents_of_another_table(city, decoder):
    with pytest.raises(DataError, match=r"latents must be \(20, 8\), got \(3, 8\)"):
        decode(np.zeros((3, WIDTH), np.float32), plans(ROWS), decoder, city)
