"""DENOISE: plan rows of a shard → a latent for each arrival. UniMob section 3.4."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from raygen import schema, seeds
from raygen.models.diffusion import sample, sampling_steps
from raygen.models.generator import Generator
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES

FloatArray = npt.NDArray[np.float32]

_log = logging.getLogger(__name__)

_WIDTHS = (4, 6, 8, 12)
"""Lengths that day sequences are padded to, beside the longest: a day's own length chooses."""


@dataclass(frozen=True)
class Sequences:
    """Plans of a shard as padded day sequences; N person-days, K entries, A plan rows."""

    start: FloatArray
    """POI distribution of the start region, shape (N, 14)."""
    far: FloatArray
    """How far out the start region lies, NaN where that is not known, shape (N,)."""
    temporal: FloatArray
    """M, shape (N, K, 48)."""
    semantic: FloatArray
    """D, shape (N, K, 14)."""
    length: npt.NDArray[np.int64]
    """Entries of each day, at most K, shape (N,)."""


def denoise(plans: pa.Table, generator: Generator, seed: int) -> FloatArray:
    """Sample the latents of a shard's arrivals.

    Parameters
    ----------
    plans
        Table of schema PLANS, A rows ordered by (person_id, day, sequence).
    generator
        The network and how it is sampled.
    seed
        The run's seed. A person-day's noise depends on it, the day and the person's id alone.

    Returns
    -------
    latents
        Shape (A, D), standardised, without displacements: places are the assignment's. Zero, the
        mean latent, for the only row of a day at home and for rows beyond the network's longest
        sequence; the latter are counted in the log.
    """
    schema.check(plans, schema.PLANS, "plans")
    width, longest = generator.network.config.latent, generator.network.config.max_arrivals
    latents = np.zeros((plans.num_rows, width), dtype=np.float32)
    if plans.num_rows == 0:
        return latents
    person = plans.column("person_id").to_numpy()
    day = plans.column("day").to_numpy()
    first = np.flatnonzero(np.r_[True, (person[1:] != person[:-1]) | (day[1:] != day[:-1])])
    length = np.diff(np.r_[first, len(person)])
    beyond = int(np.maximum(length - longest, 0).sum())
    if beyond:
        _log.info("denoise: %d of %d rows are beyond entry %d", beyond, len(person), longest)
    temporal = plan_column(plans, "temporal_plan", PLAN_SLOTS)
    semantic = plan_column(plans, "semantic_plan", len(POI_CATEGORIES))
    for code in np.unique(day).tolist():
        mine = np.flatnonzero((day[first] == code) & (length > 1))
        draws = _draws(generator, seed, code, person[first[mine]])
        for rows, entries in _batches(length[mine], longest, generator.config.batch):
            index = first[mine[rows], None] + np.arange(entries)
            held = np.arange(entries) < length[mine[rows], None]
            index = np.where(held, index, first[mine[rows], None])
            days = Sequences(
                start=semantic[index[:, 0]],
                far=np.full(len(rows), np.nan, dtype=np.float32),
                temporal=temporal[index],
                semantic=semantic[index],
                length=held.sum(axis=1),
            )
            found = generate(generator, days, draws[:, rows, :entries])
            latents[index[held]] = found[held, :width]
    return latents


def generate(generator: Generator, days: Sequences, noise: FloatArray) -> FloatArray:
    """Sample the latents of one batch of day sequences.

    Parameters
    ----------
    generator
        The network and how it is sampled.
    days
        N day sequences of K entries.
    noise
        Standard normals, shape (1, N, K, W), or (1 + steps, N, K, W) for the sampler ``ddpm``.

    Returns
    -------
    latents
        Shape (N, K, W); what stands beyond a day's length is arbitrary.
    """
    network, config = generator.network, generator.config
    device = next(network.parameters()).device
    mask = torch.from_numpy(np.arange(days.semantic.shape[1]) < days.length[:, None]).to(device)
    with torch.inference_mode():
        given = network.condition(
            torch.from_numpy(days.start).to(device),
            torch.from_numpy(days.temporal).to(device),
            torch.from_numpy(days.semantic).to(device),
            torch.from_numpy(days.far).to(device),
        )

        def predict(state: torch.Tensor, step: int) -> torch.Tensor:
            return network(state, torch.tensor([step], device=device), given, mask)

        total = network.config.diffusion_steps
        draws = torch.from_numpy(np.ascontiguousarray(noise)).to(device)
        found = sample(
            predict,
            draws if config.sampler == "ddpm" else draws[0],
            config.sampler,
            sampling_steps(config.steps, total),
            total,
        )
    return found.float().cpu().numpy()


def plan_column(plans: pa.Table, name: str, width: int) -> FloatArray:
    """Return a column of lists as an array, shape (A, width)."""
    flat = plans.column(name).combine_chunks()
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks)
    return flat.flatten().to_numpy().reshape(-1, width)


def _draws(generator: Generator, seed: int, day: int, person: npt.NDArray[np.int64]) -> FloatArray:
    """Return standard normals of each person, shape (1 or 1 + steps, N, K, W)."""
    shape = generator.network.config
    sets = 1
    if generator.config.sampler == "ddpm":
        sets += len(sampling_steps(generator.config.steps, shape.diffusion_steps))
    size = shape.max_arrivals * shape.channels
    flat = seeds.normals(seed, f"denoise/day{day}", person, sets * size)
    draws = flat.reshape(len(person), sets, shape.max_arrivals, shape.channels)
    return draws.transpose(1, 0, 2, 3).astype(np.float32)


def _batches(
    length: npt.NDArray[np.int64], longest: int, batch: int
) -> list[tuple[npt.NDArray[np.int64], int]]:
    """Return batches of rows with the length that they are padded to."""
    widths = [*(width for width in _WIDTHS if width < longest), longest]
    bucket = np.searchsorted(widths, np.minimum(length, longest))
    found: list[tuple[npt.NDArray[np.int64], int]] = []
    for code, entries in enumerate(widths):
        rows = np.flatnonzero(bucket == code)
        parts = range(0, len(rows), batch)
        found.extend((rows[start : start + batch], entries) for start in parts)
    return found
