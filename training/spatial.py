"""Fit the spatial encoder on the days of all cities, then the light decoder of each city.

The encoder learns with one throw-away head for each city, by cross-entropy to the region of each
entry and to its POI distribution, from latents with noise: latents of different regions keep apart
by more than the noise, so that a generated latent, which is never exact, still decodes. A third of
the target goes to the regions around, by exp(−(d / 1 km)²): latents of neighbours are then near
each other too, and a latent that misses its region hits one nearby. Then latents are standardised
and frozen, and decoders are fitted behind them (``training.decoder``).
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.spatial import KDTree
from torch import Tensor, nn

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig, Section
from raygen.errors import ConfigError
from raygen.mobility import Days
from raygen.models.spatial import SpatialConfig, SpatialEncoder, load_encoder
from raygen.taxonomy import POI_CATEGORIES
from training.decoder import DecoderFit, encode_days, fit_regions, save_decoder
from training.loop import fit
from training.mobility_card import write_card, write_curve
from training.mobility_data import CityDays, MobilityData, read_cities
from training.recipe import Recipe

NOISE = 0.3
"""Deviation of the noise on latents, in units of their own deviation."""

_POI_WEIGHT = 0.2
_AROUND = 1 / 3  # share of the target that goes to the regions around
_AROUND_M = 1000.0
_NEAR = 19  # a region and its two rings of H3 neighbours


class DecoderSection(Section):
    """Length of a decoder's fit."""

    steps: Annotated[int, Field(ge=1)] = 1500
    """Optimiser steps."""

    batch: Annotated[int, Field(ge=1)] = 1024
    """Entries in a step."""

    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate."""

    hidden: Annotated[int, Field(ge=1)] = 128
    """Width of the feed-forward layer."""

    kind: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the target that goes to regions of the same kind."""

    breadth: Annotated[float, Field(gt=0)] = 0.3
    """How unlike such regions may be, in squared Hellinger distance."""

    observed: bool = False
    """Write the decoders of observed cities too."""


class SpatialRecipe(Recipe):
    """Recipe of ``raygen train spatial``."""

    data: MobilityData = MobilityData()
    """Cities and days."""

    model: SpatialConfig = SpatialConfig()
    """Architecture of the encoder."""

    batch: Annotated[int, Field(ge=1)] = 256
    """Days of each city in a batch."""

    batches: Annotated[int, Field(ge=1)] = 50
    """Batches of an epoch."""

    decoder: DecoderSection = DecoderSection()
    """How the decoders are fitted."""

    decoder_only: bool = False
    """Fit only the decoders of ``data.cities``, behind the encoder of ``encoder``."""

    encoder: Path = checkpoints.SHIPPED
    """Directory of weights whose ``spatial`` is kept with ``decoder_only``."""


class SpatialObjective(nn.Module):
    """Encoder and one head for each city; losses of a batch."""

    def __init__(self, config: SpatialConfig, places: tuple[npt.NDArray[np.float64], ...]) -> None:
        super().__init__()
        self.encoder = SpatialEncoder(config)
        self.heads = nn.ModuleList(nn.Linear(config.latent, len(xy)) for xy in places)
        around = [KDTree(xy).query(xy, k=min(_NEAR, len(xy))) for xy in places]
        self.near = [torch.from_numpy(np.asarray(rows, dtype=np.int64)) for _, rows in around]
        self.weight = [
            torch.from_numpy(np.exp(-((np.asarray(gap) / _AROUND_M) ** 2))).float()
            for gap, _ in around
        ]
        self.poi = nn.Linear(config.latent, len(POI_CATEGORIES))

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total``, ``region`` and ``poi``.

        Parameters
        ----------
        batch
            For each city c: ``poi_c`` (B, K, 14), ``region_c`` (B, K; −1 beyond a day's end) and
            ``noise_c`` (B, K, D).
        progress
            Share of the training that is done; not used.
        """
        del progress
        parts = [self._entries(batch, city) for city in range(len(self.heads))]
        every = torch.cat([latents for latents, _, _, _ in parts])
        mean, deviation = every.mean(dim=0), every.std(dim=0) + 1e-4
        region = every.new_zeros(())
        poi = every.new_zeros(())
        for city, (latents, noise, label, share) in enumerate(parts):
            heard = (latents - mean) / deviation + NOISE * noise
            region = region + self._region_loss(city, heard, label) / len(parts)
            guess = self.poi(heard).log_softmax(dim=1)
            poi = poi + F.kl_div(guess, share, reduction="batchmean") / len(parts)
        return {"total": region + _POI_WEIGHT * poi, "region": region, "poi": poi}

    def _region_loss(self, city: int, heard: Tensor, label: Tensor) -> Tensor:
        """Return the cross-entropy to the true region and the regions around it."""
        log_p = self.heads[city](heard).log_softmax(dim=1)
        near = self.near[city].to(label.device)[label]
        weight = self.weight[city].to(label.device)[label]
        spread = (log_p.gather(1, near) * weight).sum(dim=1) / weight.sum(dim=1)
        own = log_p.gather(1, label[:, None])[:, 0]
        return -((1.0 - _AROUND) * own + _AROUND * spread).mean()

    def _entries(self, batch: dict[str, Tensor], city: int) -> tuple[Tensor, ...]:
        """Return latents, noise, regions and POI distributions of the entries that exist."""
        region_BK = batch[f"region_{city}"]
        mask_BK = region_BK >= 0
        latents_BKD = self.encoder(batch[f"poi_{city}"], mask_BK)
        found = (latents_BKD, batch[f"noise_{city}"], region_BK, batch[f"poi_{city}"])
        return tuple(tensor[mask_BK] for tensor in found)


@dataclass(frozen=True)
class SpatialTask:
    """Batches of all cities for the shared loop."""

    config: SpatialConfig
    cities: tuple[CityDays, ...]
    batch: int
    batches_per_epoch: int
    seed: int

    def model(self) -> SpatialObjective:
        """Return the objective."""
        return SpatialObjective(self.config, tuple(city.regions.xy for city in self.cities))

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield this worker's batches of an epoch."""
        share = self.batches_per_epoch // world
        for index in range(rank * share, (rank + 1) * share):
            rng = seeds.stream(self.seed, "spatial-batch", epoch, index)
            batch: dict[str, Tensor] = {}
            for number, city in enumerate(self.cities):
                rows = rng.integers(0, len(city.train.region), self.batch)
                batch |= self._city(number, city.train.take(rows), rng)
            yield batch

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the mean loss over validation days, and the share of entries decoded exactly."""
        rng = seeds.stream(self.seed, "spatial-validation")
        batch: dict[str, Tensor] = {}
        for number, city in enumerate(self.cities):
            rows = np.arange(min(len(city.validation.region), 500))
            batch |= self._city(number, city.validation.take(rows), rng)
        with torch.no_grad():
            losses = model(batch, 1.0)
        return {name: float(value) for name, value in losses.items()}

    def _city(self, number: int, days: Days, rng: np.random.Generator) -> dict[str, Tensor]:
        longest = int(days.length.max())
        region = days.region[:, :longest]
        noise = rng.standard_normal((*region.shape, self.config.latent), dtype=np.float32)
        poi = self.cities[number].regions.poi[np.maximum(region, 0)]
        return {
            f"region_{number}": torch.from_numpy(region.astype(np.int64)),
            f"poi_{number}": torch.from_numpy(poi),
            f"noise_{number}": torch.from_numpy(noise),
        }


def train(
    recipe: SpatialRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the encoder and the decoders.

    Parameters
    ----------
    recipe
        Data, architecture and loop.
    output
        Directory of the encoder's weights, named ``spatial``; ``decoder-<city>`` are written
        beside it.
    resume
        Go on from the loop's last checkpoint.
    address
        Ray's address; see ``training.loop.fit``.

    Returns
    -------
    output
        The directory, as ``raygen.checkpoints`` writes it.

    Raises
    ------
    ConfigError
        If ``output`` has another name, or only decoders are fitted and the encoder is elsewhere.
    """
    if output.name != "spatial":
        msg = f"{output}: the output of spatial must be a directory named spatial"
        raise ConfigError(msg)
    cities = read_cities(recipe.data, recipe.seed)
    if recipe.decoder_only:
        _copy_encoder(recipe.encoder / "spatial", output)
    else:
        _train_encoder(recipe, cities, output, resume, address)
    encoder, digest = load_encoder(output.parent, ComputeConfig())
    section = recipe.decoder
    how = DecoderFit(
        section.steps,
        section.batch,
        section.learning_rate,
        section.hidden,
        section.kind,
        section.breadth,
    )
    for city in cities:
        if city.label == "observed" and not section.observed:
            continue
        decoder = fit_regions(city.regions, city.train, encoder, digest, recipe.seed, how)
        provenance = {"days": f"{city.label}: {city.regions.name}"} | city.regions.provenance
        directory = save_decoder(decoder, output.parent, provenance)
        facts = {"regions": str(len(city.regions.region_id)), "behind encoder": digest[:12]}
        write_card(directory, f"Spatial decoder of {city.regions.name}", provenance, facts)
    return output


def _copy_encoder(source: Path, output: Path) -> None:
    """Put the frozen encoder beside the new decoders."""
    if source.resolve() != output.resolve():
        checkpoints.load(source, "spatial", SpatialConfig)
        shutil.copytree(source, output, dirs_exist_ok=True)


def standardise(encoder: SpatialEncoder, cities: list[CityDays]) -> None:
    """Set the encoder's mean and deviation to those of all cities' training latents."""
    parts = [encode_days(city.regions, city.train, encoder)[0] for city in cities]
    means = torch.stack([part.mean(dim=0) for part in parts])
    squares = torch.stack([part.square().mean(dim=0) for part in parts])
    mean = means.mean(dim=0)
    encoder.mean.copy_(mean)
    encoder.deviation.copy_((squares.mean(dim=0) - mean.square()).clamp_min(1e-8).sqrt())


def _train_encoder(
    recipe: SpatialRecipe,
    cities: list[CityDays],
    output: Path,
    resume: bool,
    address: str | None,
) -> None:
    task = SpatialTask(recipe.model, tuple(cities), recipe.batch, recipe.batches, recipe.seed)
    result = fit(task, recipe.loop, output, resume, address)
    kept = {k.removeprefix("encoder."): v for k, v in result.tensors.items() if "encoder." in k}
    encoder = SpatialEncoder(recipe.model)
    encoder.load_state_dict(kept)
    encoder.eval().requires_grad_(requires_grad=False)
    standardise(encoder, cities)
    provenance = {city.regions.name: f"{city.label} days, train split" for city in cities}
    checkpoints.save(output, "spatial", recipe.model, encoder.state_dict(), provenance)
    write_curve(output, result.curve)
    best = result.curve[result.best_epoch]
    facts = {
        "held-out cross-entropy of regions, with noise, nats": f"{best['validation_region']:.3f}",
        "epochs": str(len(result.curve)),
        "seconds": f"{result.seconds:.0f}",
        "made by": "`raygen train spatial training/recipes/spatial.toml`",
    }
    write_card(output, "Spatial encoder (UniMob 3.3)", provenance, facts)
