"""Days to compare, of every generator alike: from the start regions of held-out days, and no more.

Baselines are fitted to the city's training days. What they drew is kept in a folder under the
digest of all that they depend on, so that new weights of the mobility generator do not cost the
baselines again.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.config import ComputeConfig, GeneratorConfig
from raygen.mobility import expand
from raygen.models.generator import load_generator
from raygen.models.spatial import load_encoder
from training.arrivals import markov_days
from training.mobility_baselines import density_epr_days, ditras_days, fit_diary
from training.mobility_data import CityDays
from training.mobility_plans import (
    fit_look_up,
    fit_to_generator,
    free_plans,
    generate_days,
    matched,
    training_plans,
    training_starts,
)
from training.next_place import NextPlaceFit, fit_next_place, next_place_days
from training.place_decoder import PlaceFit

IntArray = npt.NDArray[np.int64]
Clock = npt.NDArray[np.int32]

GENERATOR = "raygen"
BASELINES: tuple[Literal["DensityEPR", "DITRAS", "Markov", "GRU"], ...] = (
    "DITRAS",
    "Markov",
    "DensityEPR",
    "GRU",
)

_VERSION = 1  # of the baselines: another one draws what is kept anew


@dataclass(frozen=True)
class Comparison:
    """Real days of one city, and days of every generator."""

    city: CityDays
    train: Clock
    """Region of each half-hour of the training days, shape (N, 48)."""
    real: Clock
    """Held-out days, shape (H, 48)."""
    generated: dict[str, Clock]
    """By ``GENERATOR`` and ``BASELINES``, each (M, 48)."""


@dataclass(frozen=True)
class Drawing:
    """How days are drawn."""

    weights: Path
    """Directory of the mobility generator's weights."""
    keep: Path
    """Folder of the baselines' days."""
    days: int
    """Days of each generator, M; starts are those of held-out days, over again."""
    baselines: tuple[str, ...]
    """Which of ``BASELINES``."""
    recurrent: NextPlaceFit
    """How the GRU is fitted."""
    places: PlaceFit
    """How the generator's decoder of the city is fitted."""


def compare(city: CityDays, how: Drawing, seed: int) -> Comparison:
    """Draw days of every generator for one city.

    Parameters
    ----------
    city
        Regions and days; the generator's decoder is fitted to its training days.
    how
        Generators and number of days.
    seed
        Root of the draws.
    """
    train, real = expand(city.train), expand(city.held_out)
    rows = np.resize(np.arange(len(real)), how.days)
    generated = {GENERATOR: generator_days(city, how, rows, seed)}
    makers = baselines(train, city.regions.xy, how.recurrent, seed)
    for name in how.baselines:
        text = f"{_VERSION} {name} {seed} {how.days} {how.recurrent}"
        whole = hashlib.sha256(
            f"{text} {city.regions.digest}".encode() + train.tobytes() + real[:, 0].tobytes()
        )
        path = how.keep / f"{name.lower()}-{whole.hexdigest()[:16]}.npy"
        if not path.is_file():
            how.keep.mkdir(parents=True, exist_ok=True)
            np.save(path, makers[name](real[rows, 0].astype(np.int64)))
        generated[name] = np.load(path)
    return Comparison(city, train, real, generated)


def generator_days(city: CityDays, how: Drawing, rows: IntArray, seed: int) -> Clock:
    """Return free days of the mobility generator from the start regions of held-out days (rows).

    Plans are those of the look-up planner fitted to training days.
    """
    encoder = load_encoder(how.weights, ComputeConfig())[0]
    generator = load_generator(how.weights, GeneratorConfig(), ComputeConfig())
    own = training_plans(city, seed)
    decoder = fit_to_generator(city, own, (encoder, generator), seed, how.places)
    planner = fit_look_up(city, seed)
    planned = free_plans(planner, training_starts(city, seed), seed + 1)
    decoder = matched(decoder, generator, planned, city, seed)
    plans = free_plans(planner, city.held_out.region[rows, 0], seed)
    return expand(generate_days(generator, decoder, plans, city.regions, seed))


def baselines(
    train: Clock, xy: npt.NDArray[np.float64], recurrent: NextPlaceFit, seed: int
) -> dict[str, Callable[[IntArray], Clock]]:
    """Return what draws days of each baseline from their start regions (M,)."""
    mass = np.bincount(train.ravel(), minlength=len(xy)).astype(np.float64) + 1e-3

    def rng(name: str) -> np.random.Generator:
        return seeds.stream(seed, f"compare-{name}")

    return {
        "DensityEPR": lambda start: density_epr_days(start, mass, xy, rng("epr")),
        "DITRAS": lambda start: ditras_days(fit_diary(train), start, mass, xy, rng("ditras")),
        "Markov": lambda start: markov_days(train, start, len(xy), rng("markov")),
        "GRU": lambda start: next_place_days(
            fit_next_place(train, xy, seed, recurrent), start, rng("gru")
        ),
    }
