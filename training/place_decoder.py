"""Fit the decoder of places of one city behind a frozen encoder.

Entries of the city's days are classified to their regions given where the day has been
(cross-entropy). They are heard as the generator says them: its latents, sampled from the training
days' own plans, so that the decoder trusts latents, displacements, moves and returns as far as each
is right. Latents of the encoder are too exact for that; where there is no generator, noise stands
for what one leaves open, of a deviation drawn for each entry from U(0, ``noise``) in units of a
latent's own. Moves are counted without those of the entry's own fold: days lie in the order of
their persons where these are known, so that nobody's own moves make the counts look better than
they are.
"""

import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array, vstack

from raygen import seeds
from raygen.errors import DataError
from raygen.mobility import Days, Regions
from raygen.models.frames import CHANNELS, centre_of_mass, displacements, frames, places
from raygen.models.place_decoder import Been, PlaceConfig, PlaceDecoder, kilometres
from raygen.models.spatial import SpatialEncoder
from raygen.stages.places import draw_places
from raygen.taxonomy import PLAN_SLOTS
from training.decoder import encode_days, prototypes

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_FOLDS = 20
_DAMPING = 0.7  # of a step of the distances' weights
_LEAST_SHARE = 1e-4  # a class that neither side has stays as it is
_SMALL, _FASTER = 100, 2e-2  # parameters of at most so many numbers have a rate of their own
_SPREAD = 1.6  # of the prototypes at the start, in units of a latent's deviation


@dataclass(frozen=True)
class PlaceFit:
    """How a decoder of places is fitted."""

    steps: int = 250
    batch: int = 768
    learning_rate: float = 3e-3
    noise: float = 0.0
    hidden: int = 128
    placed: bool = True
    counted: bool = True
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
        placed=how.placed,
        counted=how.counted,
        remember=how.remember,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seeds.stream(seed, "places-start").integers(2**31)))
        decoder = PlaceDecoder(config, regions, moves_of(days, len(regions.xy)).toarray())
    latents, labels = encode_days(regions, days, encoder)
    decoder.set_prototypes(*prototypes(regions, latents, labels, encoder), _SPREAD)
    if heard is None:
        moves = displacements(regions, days.region)
        heard = np.concatenate([padded(days, latents.numpy()), moves], axis=2)
    batches = _Entries.of(regions, days, heard, how)
    small = [part for part in decoder.parameters() if part.numel() <= _SMALL]
    large = [part for part in decoder.parameters() if part.numel() > _SMALL]
    groups = [{"params": small, "lr": _FASTER}, {"params": large, "lr": how.learning_rate}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.steps)
    rng = seeds.stream(seed, "places")
    for _ in range(how.steps):
        given, target = batches.draw(rng)
        logits = decoder(*given)
        if not batches.stays:
            logits = logits.scatter(1, given[3].before[:, None], -torch.inf)
        loss = F.cross_entropy(logits, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return decoder.eval().requires_grad_(requires_grad=False)


def moves_of(days: Days, regions: int) -> csr_array:
    """Return how often days go from each region (row) to each other (column), (R, R)."""
    day, entry = np.nonzero(days.region[:, 1:] >= 0)
    pair = days.region[day, entry], days.region[day, entry + 1]
    ones = np.ones(len(day), dtype=np.float32)
    return csr_array((ones, pair), shape=(regions, regions))


def match_distances(
    decoder: PlaceDecoder,
    latents: FloatArray,
    plans: Days,
    city: tuple[Regions, Days],
    seed: int,
    rounds: int = 8,
) -> PlaceDecoder:
    """Return a decoder whose weights of distances let planned days go as far as real ones.

    The likelihood sets them for the training days' own plans. Where plans are a planner's, places
    do not follow on each other as well, and moves come out too long: days of such plans are drawn,
    and the weight of a class moves by the logarithm of how much more often real days have it. Calls
    for training days alone.

    Parameters
    ----------
    decoder
        Fitted; stays as it is.
    latents
        Of the plans, shape (N, K, W).
    plans
        Days as planned, with start regions of training days.
    city
        Its regions and training days.
    seed
        Root of the draws.
    rounds
        Times that days are drawn.
    """
    regions, real = city
    decoder = copy.deepcopy(decoder)
    wanted = _shares(decoder, real)
    for turn in range(rounds):
        drawn = draw_places(decoder, latents, plans, regions, seed + turn)
        step = (wanted / _shares(decoder, drawn)).log()
        decoder.far.add_(_DAMPING * step)
    return decoder


def _shares(decoder: PlaceDecoder, days: Days) -> torch.Tensor:
    """Return how entries are spread over the classes of distance from start and entry before."""
    day, entry = np.nonzero(days.region[:, 1:] >= 0)
    here = days.region[day, entry + 1]
    classes = decoder.far.shape[1]
    bases = (days.region[day, 0], days.region[day, entry])
    table = decoder.distance_class.numpy()
    counts = np.stack([np.bincount(table[base, here], minlength=classes) for base in bases])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return torch.from_numpy(share + _LEAST_SHARE).float()


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
    stays: bool
    """Whether an entry may be where the one before is, as with one for each slot."""
    moves: csr_array
    """Moves of all days but each fold's, one after the other, (folds · R, R)."""
    how: PlaceFit

    @classmethod
    def of(cls, regions: Regions, days: Days, heard: FloatArray, how: PlaceFit) -> "_Entries":
        region = days.region
        stays = bool((days.length == PLAN_SLOTS).all())
        arrives = region[:, 1:] >= 0
        # As in the draws: with an entry for each arrival, an arrival leads elsewhere.
        day, entry = np.nonzero(arrives & (stays | (region[:, 1:] != region[:, :-1])))
        count, size = len(region), len(regions.xy)
        fold = _fold(np.arange(count), count)
        whole = moves_of(days, size)
        others = [
            whole - moves_of(days.take(np.flatnonzero(fold == each)), size)
            for each in range(_FOLDS)
        ]
        heard = heard[day, entry + 1]
        return cls(regions, region, day, entry + 1, heard, stays, csr_array(vstack(others)), how)

    def draw(
        self, rng: np.random.Generator
    ) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor, Been], torch.Tensor]:
        """Return what the decoder hears of a batch of arrivals, and their regions."""
        rows = rng.integers(0, len(self.day), self.how.batch)
        day, entry = self.day[rows], self.entry[rows]
        size = self.how.noise * rng.random((len(rows), 1))
        heard = self.heard[rows]
        heard = heard + (size * rng.standard_normal(heard.shape)).astype(np.float32)
        width = heard.shape[1] - CHANNELS
        before = self.region[day, entry - 1].astype(np.int64)
        first = self.region[day, 0].astype(np.int64)
        seen = frames(self.regions.xy[first], centre_of_mass(self.regions))
        place, far = places(seen, self.regions.xy[before], heard[:, width:])
        visited = np.zeros((len(rows), len(self.regions.xy)), dtype=np.float32)
        row, column = np.nonzero(np.arange(self.region.shape[1]) < entry[:, None])
        visited[row, self.region[day[row], column]] = 1.0
        fold = _fold(day, len(self.region))
        moves = self.moves[fold * len(self.regions.xy) + before].toarray()
        parts = (first, before, visited, moves)
        given = (
            torch.from_numpy(heard[:, :width]),
            kilometres(place, self.regions),
            torch.from_numpy(far / 1000.0).float(),
            Been(*(torch.from_numpy(part) for part in parts)),
        )
        return given, torch.from_numpy(self.region[day, entry].astype(np.int64))


def _fold(day: IntArray, days: int) -> IntArray:
    """Return the fold of days: neighbours are in one."""
    return day * _FOLDS // days


def padded(days: Days, flat: FloatArray) -> FloatArray:
    """Return rows of every entry (T, D) by day, shape (N, K, D), zero beyond a day's end."""
    found = np.zeros((*days.region.shape, flat.shape[1]), dtype=np.float32)
    found[days.region >= 0] = flat
    return found
