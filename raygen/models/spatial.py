"""Unified spatial embedding: the regions of every city in one latent space, and back.

A day's regions, given by their POI distributions, become a sequence of latents that does not
depend on the city; a light decoder of each city turns a latent into a distribution over its
regions. UniMob section 3.3, Eq. 5, Fig. 4, arXiv:2602.19694.

Eq. 5, level l:  Ψ⁽ˡ⁾ = (W_ker * E⁽ˡ⁾ + b_ker) · δ(W_g * E⁽ˡ⁾ + b_g) + E'⁽ˡ⁾

with * a convolution over the sequence, δ the sigmoid, E'⁽ˡ⁾ the residual slice. Where the paper is
silent this file decides: three levels; zero padding on both sides, so the residual slice is E⁽ˡ⁾
through a 1 × 1 convolution; the multi-level correlation injection is an attention over the lower
levels of the same arrival, weighted by their scaled product with Ψ⁽ˡ⁾; the input is log(p + 1/64),
centred, because neighbouring regions differ in small ratios; latents are standardised by the mean
and deviation of the training latents of all cities, kept with the weights.
"""

# Shape suffixes: B = batch (day sequences), K = arrivals, H = hidden width, D = latent width,
# R = regions of one city, L = lower levels.

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.sparse import csr_array
from torch import Tensor, nn

from raygen import checkpoints
from raygen.city import City
from raygen.config import ComputeConfig, Section
from raygen.errors import WeightsError
from raygen.mobility import regions_digest
from raygen.taxonomy import POI_CATEGORIES

_SMOOTH = (
    1.0 / 64.0
)  # added to a share before its logarithm, so that an absent category stays finite


class SpatialConfig(Section):
    """Architecture of the encoder; the defaults are the paper's (section 4.1.4)."""

    latent: Annotated[int, Field(ge=2, le=1024)] = 128
    """Width D of a latent."""

    hidden: Annotated[int, Field(ge=2, le=1024)] = 32
    """Channels of the convolutions."""

    kernel: Annotated[int, Field(ge=1, le=9)] = 3
    """Arrivals under a convolution kernel, odd."""

    dilation: Annotated[int, Field(ge=1, le=8)] = 1
    """Dilation of the convolutions."""

    levels: Annotated[int, Field(ge=1, le=8)] = 3
    """Levels of the temporal convolutional network."""


class DecoderConfig(Section):
    """Architecture of the decoder of one city, and what it was fitted to."""

    city: str
    """Name of the city."""

    regions: Annotated[int, Field(ge=1)]
    """Regions R of the city."""

    regions_digest: str
    """SHA-256 of the city's region ids, in order."""

    encoder_digest: str
    """SHA-256 of the encoder's weights that made the latents."""

    latent: Annotated[int, Field(ge=2, le=1024)] = 128
    """Width D of a latent."""

    hidden: Annotated[int, Field(ge=2, le=4096)] = 128
    """Width of the feed-forward layer."""


class _Level(nn.Module):
    """One gated temporal convolution with its residual slice, Eq. 5."""

    def __init__(self, config: SpatialConfig) -> None:
        super().__init__()
        reach = config.dilation * (config.kernel - 1) // 2
        shape = (config.hidden, config.hidden, config.kernel)
        self.filter = nn.Conv1d(*shape, padding=reach, dilation=config.dilation)
        self.gate = nn.Conv1d(*shape, padding=reach, dilation=config.dilation)
        self.slice = nn.Conv1d(config.hidden, config.hidden, 1)

    def forward(self, features_BHK: Tensor) -> Tensor:
        gate_BHK = torch.sigmoid(self.gate(features_BHK))
        return self.filter(features_BHK) * gate_BHK + self.slice(features_BHK)


class SpatialEncoder(nn.Module):
    """Gated TCN from POI distributions to latents; see the module's docstring."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: SpatialConfig) -> None:
        super().__init__()
        self.config = config
        categories = len(POI_CATEGORIES)
        self.embed = nn.Sequential(
            nn.Linear(categories, 4 * config.hidden),
            nn.GELU(),
            nn.Linear(4 * config.hidden, config.hidden),
        )
        self.levels = nn.ModuleList(_Level(config) for _ in range(config.levels))
        self.values = nn.ModuleList(
            nn.Linear(config.hidden, config.hidden) for _ in range(config.levels)
        )
        self.project = nn.Linear(config.hidden * (config.levels + 1), config.latent)
        self.register_buffer("mean", torch.zeros(config.latent))
        self.register_buffer("deviation", torch.ones(config.latent))

    def forward(self, poi_BKC: Tensor, mask_BK: Tensor) -> Tensor:
        """Return standardised latents of day sequences.

        Parameters
        ----------
        poi_BKC
            POI distributions, shape (B, K, 14).
        mask_BK
            True where there is an arrival; what stands elsewhere changes nothing.

        Returns
        -------
        latents
            Shape (B, K, D), zero where there is no arrival.
        """
        keep_BK1 = mask_BK[:, :, None]
        # masked_fill and not a product: what stands in the padding may be NaN.
        features_BKH = self.embed(log_shares(poi_BKC)).masked_fill(~keep_BK1, 0.0)
        lower: list[Tensor] = [features_BKH]
        for level, value in zip(self.levels, self.values, strict=True):
            psi_BKH = level(features_BKH.transpose(1, 2)).transpose(1, 2)
            injected_BKH = psi_BKH + value(_correlate(psi_BKH, lower))
            features_BKH = injected_BKH.masked_fill(~keep_BK1, 0.0)
            lower.append(features_BKH)
        latents_BKD = self.project(torch.cat(lower, dim=2))
        return ((latents_BKD - self.mean) / self.deviation).masked_fill(~keep_BK1, 0.0)


def log_shares(share: Tensor) -> Tensor:
    """Return log(p + 1/64) of distributions (…, C), centred over the categories."""
    raised = (share + _SMOOTH).log()
    return raised - raised.mean(dim=-1, keepdim=True)


def _correlate(psi_BKH: Tensor, lower: list[Tensor]) -> Tensor:
    """Return the lower levels of each arrival, weighted by their correlation with ``psi``."""
    stack_LBKH = torch.stack(lower)
    score_LBK = (stack_LBKH * psi_BKH).sum(dim=3) / psi_BKH.shape[2] ** 0.5
    return (score_LBK.softmax(dim=0)[..., None] * stack_LBKH).sum(dim=0)


class SpatialDecoder(nn.Module):
    """Feed-forward layers from a latent to the logits of one city's regions.

    The last layer starts as the Bayes classifier of isotropic Gaussians around each region's own
    latent with the city's prior (``set_prototypes``), so that little data tunes it.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.inner = nn.Linear(config.latent, config.hidden)
        self.outer = nn.Linear(config.hidden, config.latent)
        self.regions = nn.Linear(config.latent, config.regions)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def features(self, latents_BD: Tensor) -> Tensor:
        """Return what the last layer reads of latents, (B, D)."""
        return latents_BD + self.outer(F.gelu(self.inner(latents_BD)))

    def forward(self, latents_BD: Tensor) -> Tensor:
        """Return region logits (B, R) of latents (B, D)."""
        return self.regions(self.features(latents_BD))

    @torch.no_grad()
    def set_prototypes(self, latents_RD: Tensor, log_prior_R: Tensor, spread: float) -> None:
        """Set the last layer to log prior(r) − |z − μ_r|² / 2σ², up to a constant of z."""
        precision = 1.0 / spread**2
        self.regions.weight.copy_(latents_RD * precision)
        self.regions.bias.copy_(log_prior_R - 0.5 * precision * latents_RD.square().sum(dim=1))


def load_encoder(weights: Path, compute: ComputeConfig) -> tuple[SpatialEncoder, str]:
    """Return the encoder of ``weights/spatial`` and the digest of its weights.

    Raises
    ------
    WeightsError
        If the weights are missing, altered or of another architecture.
    """
    config, tensors, digest = checkpoints.load(weights / "spatial", "spatial", SpatialConfig)
    encoder = SpatialEncoder(config)
    fill(encoder, tensors, weights / "spatial")
    return encoder.to(compute.device).eval().requires_grad_(requires_grad=False), digest


@dataclass(frozen=True)
class Decoder:
    """The decoder of one city, ready to run, and how its regions share out to zones."""

    network: SpatialDecoder
    shares: csr_array
    """Share of each region's people and jobs in each zone, float32, shape (Z, R)."""
    lift: npt.NDArray[np.float32]
    """P(category | region) / P(category): how much likelier a region is, given that its POI
    category is known, shape (R, 14)."""
    digest: str
    """SHA-256 of the weights."""


def decoder_directory(weights: Path, city: str) -> Path:
    """Return where a city's decoder lies: ``decoder-`` and its name in words of a-z, 0-9, _."""
    return weights / f"decoder-{re.sub(r'[^a-z0-9]+', '_', city.lower()).strip('_')}"


def load_decoder(weights: Path, city: City, compute: ComputeConfig) -> Decoder:
    """Load the decoder of a city.

    Parameters
    ----------
    weights
        Directory of weights; the decoder is in its ``decoder_directory``.
    city
        The city, with the regions that the decoder was fitted to.
    compute
        Device.

    Raises
    ------
    WeightsError
        If the city has no decoder, or it was fitted to other regions or behind another encoder.
    """
    directory = decoder_directory(weights, city.name)
    hint = "fit one with `raygen train spatial RUN.toml` and in RUN.toml decoder_only = true, "
    hint += f'data.cities = ["{city.path}"]'
    if not directory.is_dir():
        msg = f"{directory}: no decoder for the city {city.name!r}; {hint}"
        raise WeightsError(msg)
    config, tensors, digest = checkpoints.load(directory, "decoder", DecoderConfig)
    if config.regions_digest != regions_digest(city.region_id):
        msg = f"{directory}: fitted to {config.regions} other regions than the "
        msg += f"{len(city.region_id)} of {city.path}; {hint}"
        raise WeightsError(msg)
    encoder_digest = checkpoints.load(weights / "spatial", "spatial", SpatialConfig)[2]
    if config.encoder_digest != encoder_digest:
        msg = f"{directory}: fitted behind encoder {config.encoder_digest[:12]}, "
        msg += f"but {weights / 'spatial'} holds {encoder_digest[:12]}; {hint}"
        raise WeightsError(msg)
    network = SpatialDecoder(config)
    fill(network, tensors, directory)
    return arrange(network, city, digest, compute)


def arrange(network: SpatialDecoder, city: City, digest: str, compute: ComputeConfig) -> Decoder:
    """Return a network of ``city`` with the matrix that shares its regions out to zones."""
    place = (city.overlap_zone, city.overlap_region)
    size = (len(city.zone_id), len(city.region_id))
    network = network.to(compute.device).eval().requires_grad_(requires_grad=False)
    middle = torch.zeros(1, network.config.latent, device=compute.device)
    prior = network(middle).softmax(dim=1).float().cpu().numpy()[0]
    return Decoder(
        network=network,
        shares=csr_array((city.overlap_share, place), shape=size),
        lift=city.region_poi / np.maximum(prior @ city.region_poi, 1e-6),
        digest=digest,
    )


def fill(module: nn.Module, tensors: dict[str, Tensor], where: Path) -> None:
    """Load float tensors into a module; raise WeightsError where they do not fit."""
    try:
        module.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        msg = f"{where}: tensors do not fit the architecture of config.json: {error}"
        raise WeightsError(msg.replace("\n", " ")) from None
