"""Fit the mobility generator: predict x_0 of noisy latents, given r0, M and D. UniMob 3.4, 4.1.4.

Differences from the paper: diffusion steps are drawn evenly over the log signal-to-noise ratio that
sampling visits (λ from −4 to λ_0) and not evenly over t, two thirds of which are pure noise with
β to 0.1; M and D are blurred as a planner's are (``training.conditions``), and of ``told`` of the
observed days D is what the planner says (``training.told_plans``); with ``placed`` latents carry
displacements, and in a third of the days it is not said how far out they start.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig, PlannerConfig
from raygen.errors import WeightsError
from raygen.mobility import Days, Regions
from raygen.models.diffusion import LOG_SNR_FIRST, add_noise, log_snr, signal
from raygen.models.frames import centrality, centre_of_mass, displacements, frames
from raygen.models.generator import DiT, DiTConfig
from raygen.models.planner import Planner, load_planner
from raygen.models.spatial import SpatialEncoder, load_encoder
from training.conditions import TRAINING, semantic_plan, temporal_plan
from training.decoder import encode_days
from training.loop import fit
from training.mobility_card import write_card, write_curve
from training.mobility_data import CityDays, MobilityData, read_cities
from training.place_decoder import padded
from training.recipe import Recipe
from training.told_plans import told_semantic

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_UNSAID = 1 / 3  # share of days that are not said how far out they start: the pipeline's are not


class GeneratorRecipe(Recipe):
    """Recipe of ``raygen train generator``."""

    data: MobilityData = MobilityData()
    """Cities and days."""

    model: DiTConfig = DiTConfig()
    """Architecture; ``latent`` and ``encoder_digest`` are the encoder's."""

    encoder: Path = checkpoints.SHIPPED
    """Directory of weights that holds ``spatial``."""

    batch: Annotated[int, Field(ge=1)] = 256
    """Day sequences in a batch, shared evenly by the cities."""

    batches: Annotated[int, Field(ge=1)] = 100
    """Batches of an epoch."""

    told: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the observed days whose D is what the planner of ``encoder`` says of them."""

    begin: Path | None = None
    """Directory of weights whose generator the training goes on from; None begins anew."""


class GeneratorObjective(nn.Module):
    """The denoiser and its loss."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.network = DiT(config)
        self.register_buffer("signal", signal(config.diffusion_steps), persistent=False)

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total``: mean squared error of x_0 over the entries of a batch.

        Parameters
        ----------
        batch
            ``latents`` and ``noise`` (B, K, W), ``start`` (B, 14), ``far`` (B,; NaN if not said),
            ``temporal`` (B, K, 48), ``semantic`` (B, K, 14), ``length`` (B,), ``step`` (B,).
        progress
            Share of the training that is done; not used.
        """
        del progress
        x0 = batch["latents"]
        mask = torch.arange(x0.shape[1], device=x0.device) < batch["length"][:, None]
        kept: Tensor = self.signal[batch["step"]]  # pyright: ignore[reportIndexIssue]
        noisy = add_noise(x0, batch["noise"], kept)
        given = self.network.condition(
            batch["start"], batch["temporal"], batch["semantic"], batch["far"]
        )
        found = self.network(noisy, batch["step"], given, mask)
        error = (found - x0).square().mean(dim=2)[mask].mean()
        return {"total": error}


@dataclass(frozen=True)
class LatentDays:
    """One city's days with their latents, ready to be drawn from."""

    city: CityDays
    latents: FloatArray
    """Shape (N, K, W), zero beyond a day's end."""
    validation_latents: FloatArray
    told: tuple[FloatArray, FloatArray] | None = None
    """D̂ of the planner for training and validation days, see ``training.told_plans``."""


@dataclass(frozen=True)
class GeneratorTask:
    """Batches for the shared loop."""

    config: DiTConfig
    cities: tuple[LatentDays, ...]
    batch: int
    batches_per_epoch: int
    seed: int
    told: float = 0.0
    """Share of days whose D is the planner's, where a city has such."""
    begin: dict[str, Tensor] | None = None
    """Weights of the network to start from."""

    def model(self) -> GeneratorObjective:
        """Return the objective."""
        objective = GeneratorObjective(self.config)
        if self.begin is not None:
            objective.network.load_state_dict(self.begin)
        return objective

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield this worker's batches of an epoch: days of all cities in even parts.

        A batch holds days of about one length, drawn in proportion to the days of that length.
        """
        share = self.batches_per_epoch // world
        pools = [bucket_rows(held.city.train) for held in self.cities]
        for index in range(rank * share, (rank + 1) * share):
            rng = seeds.stream(self.seed, "generator-batch", epoch, index)
            yield self._batch(pools, rng, validation=False)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return the loss on validation days, at fixed noise."""
        rng = seeds.stream(self.seed, "generator-validation")
        pools = [bucket_rows(held.city.validation) for held in self.cities]
        total = entries = 0.0
        for _ in range(16):
            batch = self._batch(pools, rng, validation=True)
            weight = float(batch["length"].sum())
            with torch.no_grad():
                total += weight * float(model(batch, 1.0)["total"])
            entries += weight
        return {"total": total / entries}

    def _batch(
        self, pools: list[list[IntArray]], rng: np.random.Generator, *, validation: bool
    ) -> dict[str, Tensor]:
        share = np.array([[len(rows) for rows in pool] for pool in pools], dtype=np.float64)
        share /= share.sum(axis=1, keepdims=True)
        bucket = int(rng.choice(share.shape[1], p=share.mean(axis=0)))
        counts = np.ceil(self.batch * share[:, bucket] / share[:, bucket].sum()).astype(np.int64)
        parts: list[dict[str, npt.NDArray[np.generic]]] = []
        for held, pool, count in zip(self.cities, pools, counts.tolist(), strict=True):
            if count == 0:
                continue
            days = held.city.validation if validation else held.city.train
            latents = held.validation_latents if validation else held.latents
            rows = pool[bucket][rng.integers(0, len(pool[bucket]), count)]
            given = conditions(held.city, days.take(rows), rng) | {"latents": latents[rows]}
            if held.told is not None:
                blind = (rng.random(len(rows)) < self.told)[:, None, None]
                told = held.told[int(validation)][rows]
                given["semantic"] = np.where(blind, told, given["semantic"])
            parts.append(given)
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        longest = int(whole["length"].max())
        for name in ("latents", "temporal", "semantic"):
            whole[name] = whole[name][:, :longest]
        whole["noise"] = rng.standard_normal(whole["latents"].shape, dtype=np.float32)
        whole["step"] = _steps(self.config.diffusion_steps, len(whole["length"]), rng)
        return {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in whole.items()}


def bucket_rows(days: Days) -> list[IntArray]:
    """Return the rows of days with an arrival, by length: up to 4, up to 8, and longer."""
    length = days.length
    edges = (2, 5, 9, days.region.shape[1] + 1)
    pairs = itertools.pairwise(edges)
    return [np.flatnonzero((length >= low) & (length < high)) for low, high in pairs]


def conditions(
    city: CityDays, days: Days, rng: np.random.Generator
) -> dict[str, npt.NDArray[np.generic]]:
    """Return ``start``, ``far``, ``temporal``, ``semantic``, ``length`` of days for training."""
    poi = city.regions.poi
    far = start_centrality(city.regions, days)
    return {
        "far": np.where(rng.random(len(far)) < _UNSAID, np.float32(np.nan), far),
        "start": poi[days.region[:, 0]],
        "temporal": temporal_plan(days, TRAINING, rng),
        "semantic": semantic_plan(days, poi, city.typical_of(days), TRAINING, rng),
        "length": days.length,
    }


def latent_days(
    city: CityDays, encoder: SpatialEncoder, *, placed: bool, planner: Planner | None = None
) -> LatentDays:
    """Encode a city's days, with displacements where ``placed`` and plans of a planner."""
    parts: list[FloatArray] = []
    for days in (city.train, city.validation):
        latents = padded_latents(city.regions, days, encoder)
        moves = displacements(city.regions, days.region) if placed else latents[..., :0]
        parts.append(np.concatenate([latents, moves], axis=2))
    told = None
    if planner is not None and city.label == "observed":
        told = (
            told_semantic(city.regions, city.train, planner),
            told_semantic(city.regions, city.validation, planner),
        )
    return LatentDays(city, parts[0], parts[1], told)


def start_centrality(regions: Regions, days: Days) -> FloatArray:
    """Return how far out each day starts, shape (N,); ``raygen.models.frames.centrality``."""
    return centrality(frames(regions.xy[days.region[:, 0]], centre_of_mass(regions)))


def train(
    recipe: GeneratorRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the generator and write its weights, card and curve.

    Parameters
    ----------
    recipe
        Data, architecture and loop.
    output
        Directory of the weights.
    resume
        Go on from the loop's last checkpoint.
    address
        Ray's address; see ``training.loop.fit``.

    Returns
    -------
    output
        The directory, as ``raygen.checkpoints`` writes it.
    """
    encoder, digest = load_encoder(recipe.encoder, ComputeConfig())
    cities = read_cities(recipe.data, recipe.seed)
    shape = recipe.model.model_copy(
        update={"latent": encoder.config.latent, "encoder_digest": digest}
    )
    planner = None
    if recipe.told > 0:
        planner = load_planner(recipe.encoder, PlannerConfig(), ComputeConfig())
    held = tuple(
        latent_days(city, encoder, placed=shape.placed, planner=planner) for city in cities
    )
    begin = None if recipe.begin is None else begun(recipe.begin, shape)
    task = GeneratorTask(shape, held, recipe.batch, recipe.batches, recipe.seed, recipe.told, begin)
    result = fit(task, recipe.loop, output, resume, address)
    tensors = {name.removeprefix("network."): value for name, value in result.tensors.items()}
    provenance = {
        city.regions.name: f"{city.label}: {len(city.train.region)} days" for city in cities
    }
    if recipe.begin is not None:
        digest, _ = checkpoints.label(recipe.begin / "generator")
        provenance["begun from"] = f"generator {digest[:12]}"
    checkpoints.save(output, "generator", shape, tensors, provenance)
    write_curve(output, result.curve)
    best = result.curve[result.best_epoch]
    facts = {
        "held-out squared error of x0": f"{best['validation_total']:.4f}",
        "epochs": str(len(result.curve)),
        "seconds": f"{result.seconds:.0f}",
        "made by": "`raygen train generator training/recipes/generator.toml`"
        + (", then `generator_told.toml`" if recipe.begin else ""),
    }
    write_card(output, "Mobility generator (UniMob 3.4)", provenance, facts)
    return output


def begun(weights: Path, shape: DiTConfig) -> dict[str, Tensor]:
    """Return the generator's tensors in a directory of weights, to go on from.

    Raises
    ------
    WeightsError
        If there are none, or of another architecture.
    """
    found, tensors, _ = checkpoints.load(weights / "generator", "generator", DiTConfig)
    if found != shape:
        msg = f"{weights / 'generator'}: begin: must have the recipe's architecture and encoder, "
        msg += f"got {found}"
        raise WeightsError(msg)
    return tensors


def padded_latents(regions: Regions, days: Days, encoder: SpatialEncoder) -> FloatArray:
    """Return the encoder's latents of days, shape (N, K, D), zero beyond a day's end."""
    return padded(days, encode_days(regions, days, encoder)[0].numpy())


def _steps(total: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw diffusion steps evenly over λ; one in sixteen evenly over t."""
    ladder = log_snr(total).numpy().astype(np.float64)
    wanted = rng.uniform(max(LOG_SNR_FIRST, ladder[-1]), ladder[0], count)
    step = np.interp(-wanted, -ladder, np.arange(total)).round()
    anywhere = rng.random(count) < 1 / 16
    return np.where(anywhere, rng.integers(0, total, count), step).astype(np.int64)
