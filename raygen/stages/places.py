"""UniMob on its own: latents of day sequences → the region of each entry, drawn in order."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from raygen import seeds
from raygen.errors import DataError
from raygen.mobility import Days, Regions
from raygen.models.frames import CHANNELS, Frames, centre_of_mass, frames, places
from raygen.models.place_decoder import Been, PlaceDecoder, kilometres

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_CHUNK = 2048  # days whose memory of regions is held at once


def draw_places(
    decoder: PlaceDecoder,
    latents: FloatArray,
    days: Days,
    regions: Regions,
    seed: int,
    *,
    stays: bool = False,
) -> Days:
    """Draw the regions of days.

    Parameters
    ----------
    decoder
        Of this city.
    latents
        Shape (N, K, W): the encoder's channels, then the displacements' where there are any.
    days
        Start regions (N, 0) and slots, which say how long a day is; other regions are not read.
    regions
        The city's.
    seed
        Root of the draws; a day's depend on it and the day's row alone.
    stays
        Whether an entry may be where the one before is, as with one for each slot.

    Returns
    -------
    days
        The same with regions.

    Raises
    ------
    DataError
        If the latents' width is not the decoder's.
    """
    shape = decoder.config
    width = shape.latent + CHANNELS
    if latents.shape[2] not in ((width,) if shape.placed else (shape.latent, width)):
        msg = f"places of {regions.name}: latents must be {width} wide, got {latents.shape[2]}"
        raise DataError(msg)
    found = np.where(days.slot >= 0, 0, -1).astype(np.int32)
    found[:, 0] = days.region[:, 0]
    centre = centre_of_mass(regions)
    for begin in range(0, len(found), _CHUNK):
        rows = np.arange(begin, min(begin + _CHUNK, len(found)), dtype=np.int64)
        seen = frames(regions.xy[found[rows, 0]], centre)
        uniform = seeds.uniforms(seed, f"places:{regions.name}", rows, found.shape[1])
        found[rows] = _draw(decoder, latents[rows], found[rows], (seen, regions, stays), uniform)
    return replace(days, region=found)


def _draw(
    decoder: PlaceDecoder,
    latents: FloatArray,
    region: npt.NDArray[np.int32],
    where: tuple[Frames, Regions, bool],
    uniform: npt.NDArray[np.float64],
) -> npt.NDArray[np.int32]:
    """Draw the entries of a chunk of days, one after the other."""
    seen, regions, stays = where
    region = region.copy()
    visited = np.zeros((len(region), len(regions.xy)), dtype=np.float32)
    visited[np.arange(len(region)), region[:, 0]] = 1.0
    for entry in range(1, region.shape[1]):
        rows = np.flatnonzero(region[:, entry] >= 0)
        before = region[rows, entry - 1].astype(np.int64)
        given = _given(latents[rows, entry], seen.take(rows), regions.xy[before], decoder, regions)
        start = region[rows, 0].astype(np.int64)
        been = Been(*(torch.from_numpy(part) for part in (start, before, visited[rows])))
        with torch.inference_mode():
            logits = decoder(*given, been).numpy()
        if not stays:
            logits[np.arange(len(rows)), before] = -np.inf
        chance = np.exp(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
        edges = np.cumsum(chance, axis=1)
        point = uniform[rows, entry, None] * edges[:, -1:]
        region[rows, entry] = (edges <= point).sum(axis=1).clip(max=len(regions.xy) - 1)
        visited[rows, region[rows, entry]] = 1.0
    return region


def _given(
    latents: FloatArray,
    seen: Frames,
    before: npt.NDArray[np.float64],
    decoder: PlaceDecoder,
    regions: Regions,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return latents, and the places and distances in km that the displacements name."""
    width = decoder.config.latent
    z = torch.from_numpy(np.ascontiguousarray(latents[:, :width]))
    if not decoder.config.placed:
        return z, torch.zeros(len(z), 2, 2), torch.zeros(len(z), 2)
    place, far = places(seen, before, latents[:, width:])
    return z, kilometres(place, regions), torch.from_numpy(far / 1000.0).float()
