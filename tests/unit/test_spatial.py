import numpy as np
import pytest
import tinycity
import torch

from raygen import checkpoints
from raygen.city import open_city
from raygen.config import ComputeConfig
from raygen.errors import WeightsError
from raygen.mobility import regions_digest
from raygen.models.spatial import (
    DecoderConfig,
    SpatialConfig,
    SpatialDecoder,
    SpatialEncoder,
    decoder_directory,
    load_decoder,
)

CONFIG = SpatialConfig(latent=12, hidden=8, levels=3)


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))


def encoder(seed=0):
    torch.manual_seed(seed)
    return SpatialEncoder(CONFIG).eval()


def days(count=3, entries=6, seed=0):
    poi = torch.rand(count, entries, 14, generator=torch.Generator().manual_seed(seed))
    return poi / poi.sum(2, keepdim=True), torch.ones(count, entries, dtype=torch.bool)


def test_latents_have_the_papers_shape():
    network = SpatialEncoder(SpatialConfig())
    poi, mask = days()
    assert network(poi, mask).shape == (3, 6, 128)
    assert network.levels[0].filter.weight.shape == (32, 32, 3)


def test_padding_changes_nothing_even_if_it_is_nan():
    network = encoder()
    poi, mask = days()
    mask[:, 4:] = False
    whole = network(poi, mask)
    poi[:, 4:] = float("nan")
    assert torch.equal(network(poi, mask), whole)
    assert torch.allclose(network(poi[:, :4], mask[:, :4]), whole[:, :4], atol=1e-6)
    assert not whole[:, 4:].any()


def test_an_entry_hears_its_neighbours():
    network = encoder()
    poi, mask = days()
    before = network(poi, mask)
    poi[:, 2] = poi[:, 2].flip(1)
    after = network(poi, mask)
    assert (before[:, 3] - after[:, 3]).abs().max() > 1e-5
    assert (before[:, 2] - after[:, 2]).abs().max() > 1e-3


def test_latents_are_standardised():
    network = encoder()
    poi, mask = days()
    plain = network(poi, mask)
    network.mean.fill_(1.0)
    network.deviation.fill_(2.0)
    assert torch.allclose(network(poi, mask), (plain - 1) / 2, atol=1e-6)


def decoder_config(regions=5, **changes):
    kept = {"city": "x", "regions_digest": "", "encoder_digest": "", "latent": 12, "hidden": 16}
    return DecoderConfig(regions=regions, **kept | changes)


def test_prototypes_make_a_bayes_classifier():
    decoder = SpatialDecoder(decoder_config())
    centre = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    prior = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1])
    decoder.set_prototypes(centre, prior.log(), 0.7)
    z = torch.randn(3, 12, generator=torch.Generator().manual_seed(1))
    density = torch.exp(-(z[:, None] - centre).square().sum(2) / (2 * 0.7**2)) * prior
    wanted = density / density.sum(1, keepdim=True)
    assert torch.allclose(decoder(z).softmax(1), wanted, atol=1e-5)


def write(weights, city, encoder_digest=None, ids=None):
    checkpoints.save(weights / "spatial", "spatial", CONFIG, encoder().state_dict(), {})
    digest = checkpoints.load(weights / "spatial", "spatial", SpatialConfig)[2]
    config = decoder_config(
        len(city.region_id),
        city=city.name,
        regions_digest=regions_digest(city.region_id if ids is None else ids),
        encoder_digest=encoder_digest or digest,
    )
    tensors = {name: t.half() for name, t in SpatialDecoder(config).state_dict().items()}
    checkpoints.save(decoder_directory(weights, city.name), "decoder", config, tensors, {})


def test_decoder_shares_every_region_out(tmp_path, city):
    write(tmp_path, city)
    decoder = load_decoder(tmp_path, city, ComputeConfig())
    assert decoder.shares.shape == (len(city.zone_id), len(city.region_id))
    assert np.allclose(decoder.shares.sum(axis=0), 1, atol=1e-5)
    assert (decoder.shares.sum(axis=1) > 0).all()


def test_a_city_without_a_decoder_says_how_to_fit_one(tmp_path, city):
    with pytest.raises(WeightsError, match=r"no decoder for the city .*raygen train spatial"):
        load_decoder(tmp_path, city, ComputeConfig())


def test_refuses_other_regions(tmp_path, city):
    write(tmp_path, city, ids=city.region_id[::-1])
    with pytest.raises(WeightsError, match="other regions than the"):
        load_decoder(tmp_path, city, ComputeConfig())


def test_refuses_another_encoder(tmp_path, city):
    write(tmp_path, city, encoder_digest="e" * 64)
    with pytest.raises(WeightsError, match="fitted behind encoder eeeeeeeeeeee"):
        load_decoder(tmp_path, city, ComputeConfig())
