"""Days by the baselines that UniMob's tables need, from the start regions of held-out days."""

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.mobility import expand
from training.arrivals import markov_days
from training.mobility_baselines import density_epr_days, ditras_days, fit_diary
from training.mobility_data import CityDays
from training.next_place import NextPlaceFit, fit_next_place, next_place_days

Clock = npt.NDArray[np.int32]


def peer_days(city: CityDays, start: npt.NDArray[np.int64], seed: int) -> dict[str, Clock]:
    """Return days (N, 48) of each baseline, fitted to the city's training days alone.

    Parameters
    ----------
    city
        Regions and days.
    start
        Start regions, shape (N,).
    seed
        Root of the draws.
    """
    train, xy = expand(city.train), city.regions.xy
    mass = np.bincount(train.ravel(), minlength=len(xy)).astype(np.float64) + 1e-3
    network = fit_next_place(train, len(xy), seed, NextPlaceFit())

    def rng(name: str) -> np.random.Generator:
        return seeds.stream(seed, f"results-{name}")

    return {
        "Markov by slot": markov_days(train, start, len(xy), rng("rows")),
        "DensityEPR": density_epr_days(start, mass, xy, rng("epr")),
        "DITRAS": ditras_days(fit_diary(train), start, mass, xy, rng("ditras")),
        "recurrent": next_place_days(network, start, rng("recurrent")),
    }
