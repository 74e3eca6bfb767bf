from dataclasses import replace

import numpy as np
import pytest
import tinycity
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from raygen.city import open_city
from raygen.errors import DataError
from raygen.mobility import Days, Regions
from raygen.mobility_metrics import origin_ranks
from raygen.mobility_synthesis import assumed_chains
from raygen.models import frames
from raygen.models.place_decoder import CLASSES_KM, Been, PlaceConfig, PlaceDecoder
from raygen.models.spatial import SpatialConfig, SpatialEncoder
from raygen.stages.places import draw_places
from training.mobility_data import synthesised_city
from training.place_decoder import PlaceFit, _Entries, fit_places, moves_of

SHORT = PlaceFit(steps=60, batch=128, noise=0.3, hidden=16)


def grid(side=5, step=2000.0):
    xy = np.stack(np.meshgrid(*[np.arange(side) * step] * 2), axis=-1).reshape(-1, 2)
    count = len(xy)
    return Regions(
        name="grid",
        region_id=np.arange(count, dtype=np.uint64),
        poi=np.full((count, 14), 1 / 14, dtype=np.float32),
        xy=xy,
        mass=np.ones(count),
        provenance={},
    )


@settings(deadline=None, max_examples=60)
@given(arrays(np.int64, (3, 6), elements=st.integers(0, 24)))
def test_displacements_name_the_places_they_came_from(region):
    regions = grid()
    channels = frames.displacements(regions, region)
    seen = frames.frames(regions.xy[region[:, 0]], frames.centre_of_mass(regions))
    for entry in range(1, 6):
        before = regions.xy[region[:, entry - 1]]
        place, far = frames.places(seen, before, channels[:, entry])
        there = regions.xy[region[:, entry]]
        assert np.allclose(place, there[:, None], atol=5.0)
        assert np.allclose(far[:, 1], np.hypot(*(there - before).T), atol=5.0)
    assert not channels[:, 0].any()


def test_displacements_do_not_know_where_north_is():
    regions = grid()
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    turned = replace(regions, xy=regions.xy @ turn.T + 7000.0)
    region = np.array([[0, 3, 24, 7], [5, 5, 1, -1]])
    here, there = (frames.displacements(city, region) for city in (regions, turned))
    assert np.allclose(here, there, atol=1e-4)
    assert not here[1, 3].any()


def test_a_day_may_start_at_the_very_centre():
    seen = frames.frames(np.zeros((1, 2)), np.zeros(2))
    assert seen.axes.tolist() == [[[1.0, 0.0], [0.0, 1.0]]]
    assert np.isfinite(frames.centrality(seen)).all()


def exact(regions, **changes):
    """A decoder that hears the displacements alone."""
    config = PlaceConfig(regions=len(regions.xy), latent=3, hidden=4, **changes)
    decoder = PlaceDecoder(config, regions)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.zero_()
        decoder.log_tau.fill_(-3.0)
    return decoder.eval()


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    place = open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))
    return synthesised_city(place, assumed_chains(400, 1), 8, 1)


def moving(city, count=40):
    """Days without two entries in one region, which a run-length code never has."""
    region = city.train.region
    still = (region[:, 1:] == region[:, :-1]) & (region[:, 1:] >= 0)
    return city.train.take(np.flatnonzero(~still.any(axis=1))[:count])


def test_exact_displacements_give_the_day_back(city):
    days = moving(city)
    moves = frames.displacements(city.regions, days.region)
    latents = np.concatenate([np.zeros((*days.region.shape, 3), np.float32), moves], axis=2)
    found = draw_places(exact(city.regions), latents, days, city.regions, 1)
    assert len(days.region) > 5
    assert (found.region == days.region).all()


def test_entries_differ_and_draws_are_the_days_own(city):
    days = moving(city, 60)
    latents = np.zeros((*days.region.shape, 7), dtype=np.float32)
    found = draw_places(exact(city.regions), latents, days, city.regions, 1)
    assert ((found.region >= 0) == (days.slot >= 0)).all()
    assert not ((found.region[:, 1:] == found.region[:, :-1]) & (days.slot[:, 1:] >= 0)).any()
    few = days.take(np.arange(7, dtype=np.int64))
    again = draw_places(exact(city.regions), latents[:7], few, city.regions, 1)
    assert (again.region == found.region[:7]).all()
    other = draw_places(exact(city.regions), latents, days, city.regions, 2)
    assert (other.region != found.region).any()


def test_places_refuse_latents_without_displacements(city):
    days = moving(city, 3)
    with pytest.raises(DataError, match="latents must be 7 wide, got 3"):
        draw_places(exact(city.regions), np.zeros((3, 8, 3), np.float32), days, city.regions, 1)
    plain = exact(city.regions, placed=False, remember=False)
    found = draw_places(plain, np.zeros((3, 8, 3), np.float32), days, city.regions, 1)
    assert (found.region[:, 0] == days.region[:, 0]).all()


def test_a_fitted_decoder_leans_on_every_word_that_it_hears(city):
    torch.manual_seed(0)
    encoder = SpatialEncoder(SpatialConfig(latent=16, hidden=8, levels=2)).eval()
    decoder = fit_places((city.regions, city.train), encoder, 1, SHORT)
    again = fit_places((city.regions, city.train), encoder, 1, SHORT)
    for name, tensor in decoder.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    count = len(city.regions.xy)
    zero, one = torch.tensor([0]), torch.tensor([1])
    been = Been(zero, zero, torch.zeros(1, count))
    given_ = [torch.randn(1, 16), torch.zeros(1, 2, 2), torch.ones(1, 2), been]
    before = decoder(*given_)
    others = [torch.randn(1, 16), torch.ones(1, 2, 2), torch.full((1, 2), 3.0)]
    others += [replace(been, start=one), replace(been, before=one)]
    others.append(replace(been, moves=torch.full((1, count), 9.0)))
    for which, other in zip((0, 1, 2, 3, 3, 3), others, strict=True):
        changed = [*given_]
        changed[which] = other
        assert (decoder(*changed) - before).abs().max() > 1e-4
    changed = [*given_[:3], replace(been, seen=torch.ones(1, count))]
    assert torch.allclose(decoder(*changed) - before, decoder.seen, atol=1e-3)
    assert decoder.seen > 0  # people come back


def test_moves_of_an_entrys_own_fold_do_not_count(city):
    """Where every day makes the same move, only the other folds' days have made it."""
    regions = grid()
    region = np.tile(np.array([[0, 7]], dtype=np.int32), (40, 1))
    days = Days(region, np.tile(np.array([[0, 9]], np.int8), (40, 1)), np.zeros_like(region), 0)
    assert moves_of(days, 25).toarray()[0, 7] == 40
    heard = np.zeros((40, 2, 7), dtype=np.float32)
    entries = _Entries.of(regions, days, heard, SHORT)
    given_, target = entries.draw(np.random.default_rng(0))
    assert not entries.stays
    assert (target == 7).all()
    assert (given_[3].moves[:, 7] == 38).all()  # 20 folds of two days
    assert given_[3].moves.sum() == 38 * len(target)


def test_weights_of_distances_make_days_as_long_as_they_are(city):
    """Expected and observed entries of each class agree where the likelihood is largest."""
    torch.manual_seed(0)
    encoder = SpatialEncoder(SpatialConfig(latent=16, hidden=8, levels=2)).eval()
    how = replace(SHORT, steps=300, noise=0.0)
    noise = np.random.default_rng(2).normal(size=(*city.train.region.shape, 4))
    moves = 0.5 * frames.displacements(city.regions, city.train.region) + noise  # too short
    silent = np.zeros((*city.train.region.shape, 16))
    heard = np.concatenate([silent, moves], axis=2).astype(np.float32)
    decoder = fit_places((city.regions, city.train), encoder, 1, how, heard)
    entries = _Entries.of(city.regions, city.train, heard, replace(how, batch=4000))
    given_, target = entries.draw(np.random.default_rng(1))
    logits = decoder(*given_).scatter(1, given_[3].before[:, None], -torch.inf)
    classes = decoder.distance_class[given_[3].before].long()
    expected, observed = torch.zeros(2, len(CLASSES_KM) + 2)
    expected.scatter_add_(0, classes.flatten(), logits.softmax(dim=1).flatten())
    observed.scatter_add_(0, classes.gather(1, target[:, None])[:, 0], torch.ones(len(target)))
    assert torch.allclose(expected / 4000, observed / 4000, atol=0.02)


def test_fit_refuses_days_that_never_leave(city):
    encoder = SpatialEncoder(SpatialConfig(latent=16, hidden=8, levels=2)).eval()
    region = np.full((4, 8), -1, dtype=np.int32)
    region[:, 0] = 1
    still = replace(city.train.take(np.arange(4, dtype=np.int64)), region=region)
    with pytest.raises(DataError, match="needs a day with an arrival, got none"):
        fit_places((city.regions, still), encoder, 1, SHORT)


def test_origin_ranks_by_hand():
    real = np.array([[0] * 24 + [1] * 24] * 5 + [[3] * 48] * 4)
    generated = np.array([[0] * 36 + [2] * 12] * 6 + [[3] * 48] * 4)
    ours, theirs = origin_ranks(real, generated)
    assert ours[:3] == pytest.approx([0.5, 0.5, 0.0])
    assert theirs[:3] == pytest.approx([0.75, 0.25, 0.0])
