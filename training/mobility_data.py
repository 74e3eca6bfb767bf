"""The cities that the mobility models are fitted to.

Observed days: Beijing (``raygen.geolife``), New York (``raygen.foursquare``). Synthesised ones:
cities with day chains that are given places, and generated populations. Of an observed city the
days are split by day (Beijing, as published) or by person (New York); nothing is fitted to
``validation`` or ``test``.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from raygen import foursquare, seeds
from raygen.city import City, open_city
from raygen.config import Section
from raygen.geolife import read_mobility
from raygen.mobility import Days, Regions, check_regions
from raygen.mobility_synthesis import assumed_chains, regions_of, synthesise
from raygen.models import codebook
from raygen.population_days import open_population, population_days
from raygen.survey import expand, read_survey
from raygen.timeuse import read_time_use
from raygen.voronoi import join_days, join_regions
from training.chain_data import group_rows

DEVELOPMENT = (
    "Beijing has no days beside these 853: displacements, the fit to the generator and the look-up "
    "planner's 400 codes were chosen on them, among some fifteen variants, so its figures are of "
    "development and not of a test; weights of distances, counted moves and plans that return were "
    "chosen on a tenth of its training days. New York's test persons were looked at with every "
    "design that was final at its time. One training."
)
"""What to know of the observed cities' figures."""

_CODES = 32
_HELD_OUT = 0.05  # share of a population's households


class MobilityData(Section):
    """Where the sequences come from."""

    geolife: Path | None = Path("data/beijing_geolife")
    """Folder of observed days (``raygen.geolife``)."""

    foursquare: Path | None = None
    """File of check-ins of New York, or its folder (``raygen.foursquare``)."""

    populations: tuple[str, ...] = ()
    """Generated populations, by folder or URI, each of which is a city of its own."""

    population_days: Annotated[int, Field(ge=1)] = 20_000
    """About how many days to take of each of ``populations``, in whole households."""

    survey: Path | None = Path("data/czechia_hts")
    """Folder of the travel survey whose day chains are given places in ``cities``."""

    time_use: Path | None = Path("data/atus")
    """Folder of time use, by which the survey's purposes become activity types."""

    cities: tuple[str, ...] = ("los_angeles",)
    """Cities in which sequences are synthesised."""

    synthesised_days: Annotated[int, Field(ge=1)] = 20_000
    """Days synthesised in each of ``cities``."""

    regions: Literal["h3", "voronoi"] = "h3"
    """Cells of H3 as the cities have them, or joined to Voronoi cells by where much goes on."""

    voronoi_cells: Annotated[int, Field(ge=2)] = 500
    """Voronoi cells of each city, where ``regions`` says so."""

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
    test: Days | None = None
    """Days of a part for tests alone, where the data has one."""

    @property
    def held_out(self) -> Days:
        """Days that no model was fitted to or chosen by, as far as the data has such."""
        return self.validation if self.test is None else self.test

    def typical_of(self, days: Days) -> npt.NDArray[np.float32]:
        """Return the typical distribution of each entry, shape (N, K, 14)."""
        if self.code is None:
            return self.typical[np.maximum(days.kind, 0)]
        return self.typical[self.code[np.maximum(days.region, 0)]]


def read_cities(data: MobilityData, seed: int) -> list[CityDays]:
    """Return the days of every city of the recipe, observed ones first."""
    cities: list[CityDays] = []
    if data.geolife is not None:
        regions, train, validation = read_mobility(data.geolife, data.entries)
        cities.append(observed_city(regions, train, validation, None, seed))
    if data.foursquare is not None:
        cities.append(observed_city(*foursquare.read_mobility(data.foursquare, data.entries), seed))
    if data.cities:
        chains = day_chains(data, seed)
        cities += [
            synthesised_city(open_city(name), chains, data.entries, seed) for name in data.cities
        ]
    cities += [population_city(place, data, seed) for place in data.populations]
    if data.regions == "voronoi":
        return [voronoi_city(city, data.voronoi_cells, seed) for city in cities]
    return cities


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


def population_city(location: str, data: MobilityData, seed: int) -> CityDays:
    """Return days of a generated population; one household in twenty is for validation.

    Parameters
    ----------
    location
        Directory or URI of the population; its city is the one that it was made with.
    data
        Days to take and entries of a day.
    seed
        Root of the draw of households.

    Raises
    ------
    DataError
        If the population is not complete, or its city has changed or is not there.
    """
    store, book, city = open_population(location)
    days: list[Days] = []
    held_out: list[npt.NDArray[np.bool_]] = []
    for shard in population_days(store, book, city, data.entries):
        people = book.rows["persons"] * len(shard.days.region) / shard.persons
        homes, home = np.unique(shard.household, return_inverse=True)
        draw = seeds.uniforms(seed, "mobility-population", homes, 2)[home]
        kept = np.flatnonzero(draw[:, 0] < data.population_days / people)
        days.append(shard.days.take(kept))
        held_out.append(draw[kept, 1] < _HELD_OUT)
    whole = Days(
        region=np.concatenate([part.region for part in days]),
        slot=np.concatenate([part.slot for part in days]),
        kind=np.concatenate([part.kind for part in days]),
        cut=sum(part.cut for part in days),
    )
    kept_out = np.concatenate(held_out)
    return CityDays(
        regions=replace(regions_of(city), name=f"{city.name} population"),
        train=whole.take(np.flatnonzero(~kept_out)),
        validation=whole.take(np.flatnonzero(kept_out)),
        typical=city.category_given_type,
        code=None,
        label="synthesised",
    )


def voronoi_city(city: CityDays, cells: int, seed: int) -> CityDays:
    """Return a city with its regions joined to at most ``cells`` Voronoi cells, and its days.

    Raises
    ------
    DataError
        If the city has fewer regions than cells.
    """
    regions, cell, _ = join_regions(city.regions, cells, seed)
    train, validation = (join_days(days, cell) for days in (city.train, city.validation))
    test = None if city.test is None else join_days(city.test, cell)
    if city.code is not None:
        return observed_city(regions, train, validation, test, seed)
    return replace(city, regions=regions, train=train, validation=validation, test=test)


def observed_city(
    regions: Regions, train: Days, validation: Days, test: Days | None, seed: int
) -> CityDays:
    """Return observed days with the codes of the POI distributions that training days visit."""
    check_regions(regions)
    visited = train.region[train.region >= 0]
    book = codebook.fit(regions.poi[visited].astype(np.float64), _CODES, seed)
    return CityDays(
        regions=regions,
        train=train,
        validation=validation,
        typical=book.codes.astype(np.float32),
        code=book.nearest(regions.poi),
        label="observed",
        test=test,
    )
