"""The cities that the mobility models are fitted to: Beijing (observed), others (synthesised)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from raygen import seeds
from raygen.city import City, open_city
from raygen.config import Section
from raygen.geolife import read_mobility
from raygen.mobility import Days, Regions, check_regions
from raygen.mobility_synthesis import assumed_chains, regions_of, synthesise
from raygen.models import codebook
from raygen.survey import expand, read_survey
from raygen.timeuse import read_time_use
from training.chain_data import group_rows

_CODES = 32


class MobilityData(Section):
    """Where the sequences come from."""

    geolife: Path | None = Path("data/beijing_geolife")
    """Folder of observed days (``raygen.geolife``)."""

    survey: Path | None = Path("data/czechia_hts")
    """Folder of the travel survey whose day chains are given places in ``cities``."""

    time_use: Path | None = Path("data/atus")
    """Folder of time use, by which the survey's purposes become activity types."""

    cities: tuple[str, ...] = ("los_angeles",)
    """Cities in which sequences are synthesised."""

    synthesised_days: Annotated[int, Field(ge=1)] = 20_000
    """Days synthesised in each of ``cities``."""

    entries: Annotated[int, Field(ge=2, le=96)] = 16
    """Most entries of a day, the start included."""


@dataclass(frozen=True)
class CityDays:
    """One city's regions and days."""

    regions: Regions
    train: Days
    validation: Days
    typical: npt.NDArray[np.float32]
    """Typical POI distributions: of the 15 activity types, or of the codes."""
    code: npt.NDArray[np.int64] | None
    """Row of ``typical`` of each region; None where the entry's activity type is the row."""
    label: str
    """Provenance of the days."""

    def typical_of(self, days: Days) -> npt.NDArray[np.float32]:
        """Return the typical distribution of each entry, shape (N, K, 14)."""
        if self.code is None:
            return self.typical[np.maximum(days.kind, 0)]
        return self.typical[self.code[np.maximum(days.region, 0)]]


def read_cities(data: MobilityData, seed: int) -> list[CityDays]:
    """Return the days of every city of the recipe, observed ones first."""
    cities = [] if data.geolife is None else [_observed(data.geolife, data.entries, seed)]
    if not data.cities:
        return cities
    chains = day_chains(data, seed)
    return cities + [
        synthesised_city(open_city(name), chains, data.entries, seed) for name in data.cities
    ]


def day_chains(data: MobilityData, seed: int) -> npt.NDArray[np.int8]:
    """Return ``synthesised_days`` day chains: drawn from the survey, or assumed without one."""
    if data.survey is None or data.time_use is None:
        return assumed_chains(data.synthesised_days, seed)
    survey = read_survey(data.survey)
    use = read_time_use(data.time_use)
    weekday = group_rows(use.participation[0])
    chains = expand(survey, weekday, use.log_minutes, seed, "mobility")
    rows = survey.take("train")
    weight = survey.weight[rows] / survey.weight[rows].sum()
    rng = seeds.stream(seed, "mobility-chains")
    return chains[rng.choice(rows, data.synthesised_days, p=weight)]


def synthesised_city(city: City, chains: npt.NDArray[np.int8], entries: int, seed: int) -> CityDays:
    """Return synthesised days of a city; one in twenty is for validation."""
    days = synthesise(city, chains, entries, seed)
    rows = np.arange(len(chains))
    regions = regions_of(city)
    check_regions(regions)
    return CityDays(
        regions=regions,
        train=days.take(rows[rows % 20 != 0]),
        validation=days.take(rows[rows % 20 == 0]),
        typical=city.category_given_type,
        code=None,
        label="synthesised",
    )


def _observed(directory: Path, entries: int, seed: int) -> CityDays:
    regions, train, validation = read_mobility(directory, entries)
    check_regions(regions)
    visited = train.region[train.region >= 0]
    book = codebook.fit(regions.poi[visited].astype(np.float64), _CODES, seed)
    code = book.nearest(regions.poi)
    return CityDays(
        regions=regions,
        train=train,
        validation=validation,
        typical=book.codes.astype(np.float32),
        code=code,
        label="observed",
    )
