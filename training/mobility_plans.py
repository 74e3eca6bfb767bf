"""Travel plans of whole days to measure the generator with, and days that it makes of them.

free     plans by a look-up planner fitted to training days; of a held-out day only the start region
         is known
llm      plans by the language model (UniMob's Algorithm 1), sampled, from the same starts
oracle   the held-out days' own slots and POI distributions: what no pipeline ever has
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.mobility import Days, Regions, by_slot
from raygen.models import codebook
from raygen.models.diffusion import sampling_steps
from raygen.models.generator import Generator
from raygen.models.place_decoder import PlaceDecoder
from raygen.models.planner import Planner
from raygen.models.spatial import SpatialEncoder
from raygen.stages.denoise import Sequences, generate
from raygen.stages.places import draw_places
from raygen.stages.recursion import plan_recursive
from raygen.taxonomy import PLAN_SLOTS
from training.arrivals import Arrivals, fit_arrivals, plan_days
from training.conditions import ORACLE, semantic_plan, temporal_plan
from training.generator import start_centrality
from training.mobility_data import CityDays
from training.place_decoder import PlaceFit, fit_places, match_distances
from training.told_plans import CITY, told_semantic, traveller

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_CHUNK = 1024
_STARTS = 2000  # training days from whose starts a planner's distances are matched
_KINDS = 400
"""Codes of POI distributions that the look-up planner tells apart, at most half the regions."""

_SEEN = 8000  # entries that these codes are fitted to


@dataclass(frozen=True)
class Plans:
    """Conditions of N days, and the days as far as they are known: slots and start regions."""

    days: Days
    temporal: FloatArray
    semantic: FloatArray

    def take(self, count: int) -> "Plans":
        """Return the plans of the first days."""
        rows = np.arange(min(count, len(self.days.region)), dtype=np.int64)
        return Plans(self.days.take(rows), self.temporal[rows], self.semantic[rows])


def oracle_plans(city: CityDays, rows: IntArray, seed: int) -> Plans:
    """Return the exact plans of real days: what a pipeline never has."""
    days = city.held_out.take(rows)
    rng = seeds.stream(seed, "results-oracle")
    return exact_plans(city, days, rng)


def training_plans(city: CityDays, seed: int) -> Plans:
    """Return the exact plans of a city's training days."""
    return exact_plans(city, city.train, seeds.stream(seed, "places-plans"))


def told_plans(city: CityDays, planner: Planner, seed: int) -> Plans:
    """Return the training days' plans as the language model tells them from the entries before."""
    days = city.train
    rng = seeds.stream(seed, "places-told")
    semantic = told_semantic(city.regions, days, planner)
    return Plans(days, temporal_plan(days, ORACLE, rng), semantic)


def exact_plans(city: CityDays, days: Days, rng: np.random.Generator) -> Plans:
    """Return the exact plans of days of a city."""
    semantic = semantic_plan(days, city.regions.poi, city.typical_of(days), ORACLE, rng)
    return Plans(days, temporal_plan(days, ORACLE, rng), semantic)


@dataclass(frozen=True)
class LookUp:
    """The look-up planner of a city: all that it knows is from training days."""

    city: CityDays
    codes: FloatArray
    """POI distributions that it tells apart, shape (C, 14)."""
    code_of: IntArray
    """Code of each region, shape (R,)."""
    arrivals: Arrivals


def fit_look_up(city: CityDays, seed: int) -> LookUp:
    """Return the look-up planner of a city's training days."""
    visited = city.train.region[city.train.region >= 0]
    if len(visited) > _SEEN:
        visited = visited[seeds.stream(seed, "look-up").permutation(len(visited))[:_SEEN]]
    kinds = min(_KINDS, len(city.regions.xy) // 2)
    book = codebook.fit(city.regions.poi[visited].astype(np.float64), kinds, seed)
    code_of = book.nearest(city.regions.poi)
    codes = book.codes.astype(np.float32)
    return LookUp(city, codes, code_of, fit_arrivals(city.train, code_of))


def free_plans(planner: LookUp, start: npt.NDArray[np.int32], seed: int) -> Plans:
    """Return plans of the look-up planner from start regions (N,); ``seed``: root of the draws."""
    rng, city = seeds.stream(seed, "results-free"), planner.city
    entries = city.train.region.shape[1]
    slot, code, place = plan_days(planner.arrivals, planner.code_of[start], entries, rng)
    semantic = planner.codes[np.maximum(code, 0)] * (code >= 0)[:, :, None]
    semantic = np.where((place == 0)[:, :, None], city.regions.poi[start][:, None], semantic)
    return _plans(city, start, slot, semantic.astype(np.float32), rng)


def llm_plans(
    city: CityDays,
    start: npt.NDArray[np.int32],
    planner: Planner,
    seed: int,
) -> Plans:
    """Return plans of the language model by Algorithm 1, its arrivals sampled.

    Parameters
    ----------
    city
        Gives the start regions' POI distributions; nothing of its days is known.
    start
        Start regions, shape (N,).
    planner
        Answers plan states.
    seed
        Root of the draws.
    """
    rng = seeds.stream(seed, "results-llm")
    entries, begins = city.train.region.shape[1], city.train.begins
    given = (
        np.full(len(start), traveller(city.regions.name)),
        np.full(len(start), begins),
        city.regions.poi[start],
    )
    uniform = rng.random((len(start), PLAN_SLOTS + 1))
    found = plan_recursive(planner, CITY, given, PLAN_SLOTS - 1, uniform)
    steps = min(entries - 1, found.slots.shape[1])
    slot = np.full((len(start), entries), -1, dtype=np.int64)
    slot[:, 0] = 0
    arrives = found.slots[:, :steps]
    slot[:, 1 : steps + 1] = np.where(arrives >= 0, arrives - begins, -1)
    semantic = np.zeros((len(start), entries, found.semantic.shape[2]), dtype=np.float32)
    semantic[:, 1 : steps + 1] = found.semantic[:, :steps]
    return _plans(city, start, slot, semantic, rng)


def _plans(
    city: CityDays,
    start: npt.NDArray[np.int32],
    slot: IntArray,
    semantic: FloatArray,
    rng: np.random.Generator,
) -> Plans:
    """Return plans with arrivals at these slots of the day, -1 beyond a day's end."""
    region = np.where(slot >= 0, start[:, None], -1).astype(np.int32)
    unknown = np.full(slot.shape, -1, dtype=np.int8)
    days = Days(region, slot.astype(np.int8), unknown, 0, city.train.begins)
    semantic = semantic.copy()
    semantic[:, 0] = city.regions.poi[start]
    return Plans(days, temporal_plan(days, ORACLE, rng), semantic)


def sample_latents(generator: Generator, plans: Plans, regions: Regions, seed: int) -> FloatArray:
    """Sample latents of plans, shape (N, K, W)."""
    shape = generator.network.config
    steps = len(sampling_steps(generator.config.steps, shape.diffusion_steps))
    sets = 1 + steps if generator.config.sampler == "ddpm" else 1
    size = shape.max_arrivals * shape.channels
    far = start_centrality(regions, plans.days)
    found: list[FloatArray] = []
    for part in _chunks(len(plans.days.region), max(_CHUNK // sets, 16)):
        ids = np.arange(part.start, part.stop, dtype=np.int64)
        flat = seeds.normals(seed, "results-noise", ids, sets * size)
        noise = flat.reshape(len(ids), sets, shape.max_arrivals, shape.channels)
        days = Sequences(
            start=plans.semantic[part, 0],
            far=far[part],
            temporal=plans.temporal[part],
            semantic=plans.semantic[part],
            length=plans.days.length[part],
        )
        found.append(generate(generator, days, noise.transpose(1, 0, 2, 3).astype(np.float32)))
    return np.concatenate(found)


def fit_to_generator(
    city: CityDays,
    plans: Plans,
    models: tuple[SpatialEncoder, Generator],
    seed: int,
    how: PlaceFit | None = None,
) -> PlaceDecoder:
    """Fit the decoder of places to what the generator makes of plans of the training days."""
    encoder, generator = models
    heard = sample_latents(generator, plans, city.regions, seed)
    return fit_places((city.regions, city.train), encoder, seed, how, heard)


def matched(
    decoder: PlaceDecoder, generator: Generator, plans: Plans, city: CityDays, seed: int
) -> PlaceDecoder:
    """Return the decoder with distances as in training days where days are of a planner's plans.

    Parameters
    ----------
    decoder, generator
        Of the city, and what it hears.
    plans
        From ``training_starts``.
    city
        Its training days are all that the distances are taken from.
    seed
        Root of the draws.
    """
    latents = sample_latents(generator, plans, city.regions, seed)
    return match_distances(decoder, latents, plans.days, (city.regions, city.train), seed)


def training_starts(city: CityDays, seed: int) -> npt.NDArray[np.int32]:
    """Return the start regions of some training days, shape (N,)."""
    order = seeds.stream(seed, "places-starts").permutation(len(city.train.region))
    return city.train.region[np.sort(order[:_STARTS]), 0]


def generate_days(
    generator: Generator, decoder: PlaceDecoder, plans: Plans, regions: Regions, seed: int
) -> Days:
    """Return whole days of plans: latents, then regions in order."""
    latents = sample_latents(generator, plans, regions, seed)
    stays = bool((plans.days.length == PLAN_SLOTS).all())
    return draw_places(decoder, latents, plans.days, regions, seed, stays=stays)


def plans_by_slot(plans: Plans) -> Plans:
    """Return plans with an entry for each slot: the plan of the arrival under way, broadcast.

    UniMob's Algorithm 1 broadcasts each M̂ and D̂ over the slots until the next arrival.
    """
    slots = np.where(plans.days.slot < 0, PLAN_SLOTS, plans.days.slot).astype(np.int64)
    entry = (slots[:, :, None] <= np.arange(PLAN_SLOTS)).sum(axis=1).clip(min=1) - 1
    temporal, semantic = (
        np.take_along_axis(part, entry[:, :, None], axis=1)
        for part in (plans.temporal, plans.semantic)
    )
    return Plans(by_slot(plans.days), temporal, semantic)


def typical_plans(city: CityDays, days: Days, seed: int) -> Plans:
    """Return plans that know the kind of place only: what a planner would say at best."""
    rng = seeds.stream(seed, "results-typical")
    semantic = city.typical_of(days) * (days.region >= 0)[:, :, None]
    semantic[:, 0] = city.regions.poi[days.region[:, 0]]
    return Plans(days, temporal_plan(days, ORACLE, rng), semantic.astype(np.float32))


def spread(latents: FloatArray, plans: Plans, real: FloatArray) -> float:
    """Return the deviation of sampled latents over that of real ones, mean over dimensions."""
    held = (plans.days.slot >= 0) & (np.arange(plans.days.slot.shape[1]) > 0)
    return float((latents[held][:, : real.shape[1]].std(axis=0) / real.std(axis=0)).mean())


def _chunks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
