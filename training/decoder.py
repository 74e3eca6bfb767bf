"""The light decoder of one city, fitted behind a frozen encoder in seconds.

Latents of the city's days, with noise, are classified to their regions (cross-entropy). The noise
stands for what the generator leaves open: without it the decoder would be sure of itself on
latents that no encoder ever made. Its deviation is drawn from U(0, 0.6) for each entry, in units of
the latents' own.

What a travel plan knows of a place is its kind, not which of all places of that kind. So a share
``kind`` of the target goes to all regions like the true one:

    q(r' | r) = (1 − kind) · [r' = r] + kind · softmax_r'(ln mass(r') + Σ √(p_r p_r') / breadth)

with p the POI distributions (Σ √(p p') = 1 − H², H the Hellinger distance).
"""

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from raygen import checkpoints, seeds
from raygen.city import City
from raygen.errors import DataError
from raygen.mobility import Days, Regions
from raygen.mobility_synthesis import assumed_chains, regions_of, synthesise
from raygen.models.spatial import DecoderConfig, SpatialDecoder, SpatialEncoder, decoder_directory

_log = logging.getLogger(__name__)

NOISE = 0.6
"""Largest deviation of the noise on standardised latents."""

_SPREADS = (0.4, 0.8, 1.6, 3.2, 6.4)
_CHUNK = 4096


@dataclass(frozen=True)
class DecoderFit:
    """How long and how fast a decoder is fitted."""

    steps: int = 600
    batch: int = 1024
    learning_rate: float = 2e-3
    hidden: int = 128
    kind: float = 1.0
    """Share of the target that goes to regions of the same kind."""
    breadth: float = 0.3
    """How unlike such regions may be, in squared Hellinger distance."""


def fit_decoder(
    city: City,
    encoder: SpatialEncoder,
    encoder_digest: str,
    seed: int,
    how: DecoderFit | None = None,
    days: Days | None = None,
) -> SpatialDecoder:
    """Fit the decoder of a city.

    Parameters
    ----------
    city
        The city.
    encoder
        Frozen; see ``raygen.models.spatial.load_encoder``.
    encoder_digest
        Digest of its weights, kept with the decoder.
    seed
        Root of the draws.
    how
        Length of the fit; a few seconds by default.
    days
        Days of the city; synthesised from assumed day chains where not given.
    """
    if days is None:
        days = synthesise(city, assumed_chains(4000, seed), 16, seed)
    return fit_regions(regions_of(city), days, encoder, encoder_digest, seed, how or DecoderFit())


def fit_regions(
    regions: Regions,
    days: Days,
    encoder: SpatialEncoder,
    encoder_digest: str,
    seed: int,
    how: DecoderFit,
) -> SpatialDecoder:
    """Fit a decoder for regions to days; see ``fit_decoder``."""
    if len(days.region) == 0:
        msg = f"decoder of {regions.name}: needs at least one day, got none"
        raise DataError(msg)
    latents, labels = encode_days(regions, days, encoder)
    config = DecoderConfig(
        city=regions.name,
        regions=len(regions.region_id),
        regions_digest=regions.digest,
        encoder_digest=encoder_digest,
        latent=encoder.config.latent,
        hidden=how.hidden,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seeds.stream(seed, "decoder-start").integers(2**31)))
        decoder = SpatialDecoder(config)
    batches = _Batches(latents, labels, regions, how)
    _start(decoder, prototypes(regions, latents, labels, encoder), batches, seed)
    _descend(decoder, batches, seed)
    return decoder.eval()


def encode_days(
    regions: Regions, days: Days, encoder: SpatialEncoder
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the latents (T, D) and regions (T,) of every entry of every day, in order."""
    latents: list[torch.Tensor] = []
    for start in range(0, len(days.region), _CHUNK):
        rows = days.region[start : start + _CHUNK]
        mask = torch.from_numpy(rows >= 0)
        poi = torch.from_numpy(regions.poi[np.maximum(rows, 0)])
        with torch.no_grad():
            latents.append(encoder(poi, mask)[mask])
    labels = torch.from_numpy(days.region[days.region >= 0].astype(np.int64))
    return torch.cat(latents), labels


def kinds(
    label_B: torch.Tensor, roots_RC: torch.Tensor, log_mass_R: torch.Tensor, how: DecoderFit
) -> torch.Tensor:
    """Return the target q of the module's docstring for true regions (B,), shape (B, R)."""
    like_BR = torch.addmm(log_mass_R, roots_RC[label_B], roots_RC.T, alpha=1.0 / how.breadth)
    target_BR = like_BR.softmax(dim=1).mul_(how.kind)
    target_BR[torch.arange(len(label_B)), label_B] += 1.0 - how.kind
    return target_BR


def save_decoder(decoder: SpatialDecoder, weights: Path, provenance: dict[str, str]) -> Path:
    """Write the decoder to its ``decoder_directory`` and return that."""
    directory = decoder_directory(weights, decoder.config.city)
    tensors = {name: t.half() for name, t in decoder.state_dict().items()}
    checkpoints.save(directory, "decoder", decoder.config, tensors, provenance)
    return directory


def prototypes(
    regions: Regions, latents: torch.Tensor, labels: torch.Tensor, encoder: SpatialEncoder
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each region's mean latent and log prior; where unseen, the latent of it alone."""
    alone = torch.from_numpy(regions.poi.copy())[:, None, :]  # a city's arrays are read-only
    with torch.no_grad():
        own = encoder(alone, torch.ones(alone.shape[:2], dtype=torch.bool))[:, 0]
    count = torch.bincount(labels, minlength=len(own)).float()
    total = torch.zeros_like(own).index_add_(0, labels, latents)
    mean = (total + own) / (count + 1.0)[:, None]
    mass = torch.from_numpy(regions.mass / regions.mass.sum()).float()
    return mean, mass.log()


@dataclass(frozen=True)
class _Batches:
    """Noisy latents and their targets."""

    latents: torch.Tensor
    labels: torch.Tensor
    regions: Regions
    how: DecoderFit

    @cached_property
    def _roots(self) -> torch.Tensor:
        return torch.from_numpy(np.sqrt(self.regions.poi))

    @cached_property
    def _log_mass(self) -> torch.Tensor:
        return torch.from_numpy(np.log(self.regions.mass)).float()

    def draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return noisy latents (B, D) and targets (B, R)."""
        size = self.how.batch
        rows = torch.from_numpy(rng.integers(0, len(self.labels), size))
        deviation = torch.from_numpy(rng.random((size, 1)) * NOISE).float()
        noise = torch.from_numpy(rng.standard_normal((size, self.latents.shape[1]))).float()
        target = kinds(self.labels[rows], self._roots, self._log_mass, self.how)
        return self.latents[rows] + deviation * noise, target


def _start(
    decoder: SpatialDecoder,
    prototypes: tuple[torch.Tensor, torch.Tensor],
    batches: _Batches,
    seed: int,
) -> None:
    """Set the last layer to the spread around the prototypes that fits a first batch best.

    A target of one region wants it narrow, one of all regions alike wide; from a start that is far
    too narrow the descent does not come back.
    """
    given, target = batches.draw(seeds.stream(seed, "decoder-spread"))
    losses: list[float] = []
    for spread in _SPREADS:
        decoder.set_prototypes(*prototypes, spread)
        with torch.no_grad():
            losses.append(F.cross_entropy(decoder(given), target).item())
    decoder.set_prototypes(*prototypes, _SPREADS[int(np.argmin(losses))])


def _descend(decoder: SpatialDecoder, batches: _Batches, seed: int) -> None:
    how = batches.how
    optimiser = torch.optim.AdamW(decoder.parameters(), how.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.steps)
    rng = seeds.stream(seed, "decoder")
    for step in range(how.steps):
        given, target = batches.draw(rng)
        loss = F.cross_entropy(decoder(given), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 0 or step == how.steps - 1:
            _log.info("decoder of %s: step %d, loss %.3f", decoder.config.city, step, loss.item())
