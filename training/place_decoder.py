"""Fit the decoder of places of one city behind a frozen encoder.

Entries of the city's days are classified to their regions given the region before and those seen
(cross-entropy). They are heard as the generator says them: its latents, sampled from the training
days' own plans, so that the decoder trusts latents, displacements, transitions and returns as far
as each is right. Latents of the encoder are too exact for that; where there is no generator, noise
stands for what one leaves open, of a deviation drawn for each entry from U(0, ``noise``) in units
of a latent's own.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from raygen import seeds
from raygen.errors import DataError
from raygen.mobility import Days, Regions
from raygen.models.frames import CHANNELS, centre_of_mass, displacements, frames, places
from raygen.models.place_decoder import PlaceConfig, PlaceDecoder, kilometres
from raygen.models.spatial import SpatialEncoder
from training.decoder import encode_days, prototypes

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_SPREAD = 1.6  # of the prototypes at the start, in units of a latent's deviation


@dataclass(frozen=True)
class PlaceFit:
    """How a decoder of places is fitted."""

    steps: int = 500
    batch: int = 768
    learning_rate: float = 3e-3
    noise: float = 0.0
    hidden: int = 128
    rank: int = 48
    placed: bool = True
    remember: bool = True


def fit_places(
    city: tuple[Regions, Days],
    encoder: SpatialEncoder,
    seed: int,
    how: PlaceFit | None = None,
    heard: FloatArray | None = None,
) -> PlaceDecoder:
    """Fit a decoder.

    Parameters
    ----------
    city
        Its regions and training days.
    encoder
        Frozen.
    seed
        Root of the draws.
    how
        Architecture and length of the fit.
    heard
        Latents as the generator says them, shape (N, K, W); those of the encoder, with the true
        displacements, where not given.

    Raises
    ------
    DataError
        If no day has an arrival.
    """
    regions, days = city
    how = how or PlaceFit()
    if not (days.length > 1).any():
        msg = f"decoder of places of {regions.name}: needs a day with an arrival, got none"
        raise DataError(msg)
    config = PlaceConfig(
        regions=len(regions.xy),
        latent=encoder.config.latent,
        hidden=how.hidden,
        rank=how.rank,
        placed=how.placed,
        remember=how.remember,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seeds.stream(seed, "places-start").integers(2**31)))
        decoder = PlaceDecoder(config, regions)
    latents, labels = encode_days(regions, days, encoder)
    decoder.set_prototypes(*prototypes(regions, latents, labels, encoder), _SPREAD)
    if heard is None:
        moves = displacements(regions, days.region)
        heard = np.concatenate([padded(days, latents.numpy()), moves], axis=2)
    batches = _Entries.of(regions, days, heard, how)
    optimiser = torch.optim.AdamW(decoder.parameters(), how.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.steps)
    rng = seeds.stream(seed, "places")
    for _ in range(how.steps):
        given, target = batches.draw(rng)
        loss = F.cross_entropy(decoder(*given), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return decoder.eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True)
class _Entries:
    """Arrivals of a city's days, ready to be drawn from."""

    regions: Regions
    region: npt.NDArray[np.int32]
    """Of the days, (N, K)."""
    day: IntArray
    entry: IntArray
    heard: FloatArray
    """Latent, u and v of each arrival, (T, W)."""
    how: PlaceFit

    @classmethod
    def of(cls, regions: Regions, days: Days, heard: FloatArray, how: PlaceFit) -> "_Entries":
        day, entry = np.nonzero(days.region[:, 1:] >= 0)
        return cls(regions, days.region, day, entry + 1, heard[day, entry + 1], how)

    def draw(self, rng: np.random.Generator) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Return what the decoder hears of a batch of arrivals, and their regions."""
        rows = rng.integers(0, len(self.day), self.how.batch)
        day, entry = self.day[rows], self.entry[rows]
        size = self.how.noise * rng.random((len(rows), 1))
        heard = self.heard[rows]
        heard = heard + (size * rng.standard_normal(heard.shape)).astype(np.float32)
        width = heard.shape[1] - CHANNELS
        before = self.region[day, entry - 1].astype(np.int64)
        start = self.regions.xy[self.region[day, 0]]
        seen = frames(start, centre_of_mass(self.regions))
        place, far = places(seen, self.regions.xy[before], heard[:, width:])
        visited = np.zeros((len(rows), len(self.regions.xy)), dtype=np.float32)
        row, column = np.nonzero(np.arange(self.region.shape[1]) < entry[:, None])
        visited[row, self.region[day[row], column]] = 1.0
        given = (
            torch.from_numpy(heard[:, :width]),
            kilometres(place, self.regions),
            torch.from_numpy(far / 1000.0).float(),
            torch.from_numpy(before),
            torch.from_numpy(visited),
        )
        return given, torch.from_numpy(self.region[day, entry].astype(np.int64))


def padded(days: Days, flat: FloatArray) -> FloatArray:
    """Return rows of every entry (T, D) by day, shape (N, K, D), zero beyond a day's end."""
    found = np.zeros((*days.region.shape, flat.shape[1]), dtype=np.float32)
    found[days.region >= 0] = flat
    return found
