"""Mobility generators side by side: ``python -m training.mobility_results RECIPE [KEY=VALUE …]``.

Draws days of the mobility generator and of its baselines for every city of the recipe, and writes
``mobility-quality-CITY``, ``mobility-flows-CITY``, ``mobility-privacy-CITY`` and
``mobility-utility-CITY`` (JSON, Markdown and pictures) into the folder ``output``. A key of the
recipe may be given anew after it, tables with a dot: ``data.foursquare=/folder``.
"""

import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError

from raygen.checkpoints import label
from raygen.config import Section
from raygen.errors import ConfigError
from raygen.results import Results, Row
from training.generated_days import BASELINES, GENERATOR, Comparison, Drawing, compare
from training.mobility_data import DEVELOPMENT, CityDays, MobilityData, read_cities, voronoi_city
from training.mobility_pictures import draw_flows, draw_privacy, draw_utility
from training.mobility_tables import (
    flow_rows,
    membership_rows,
    movesim_rows,
    quality_rows,
    similarities,
    uniqueness_rows,
    utility_rows,
)
from training.next_place import NextPlaceFit
from training.place_decoder import PlaceFit
from training.utility import PredictorFit

Experiment = Literal["quality", "flows", "privacy", "utility"]

_UNIQUE_DAYS = 500
_OBSERVED = {"beijing": "geolife", "new_york": "foursquare"}  # key of MobilityData by city
_FREE = (
    "All days are free: every generator knows of a held-out day its start region and no more. "
    "Plans of raygen are those of the look-up planner fitted to training days."
)
_FITTED = (
    "All generators are fitted to the training days. DITRAS is what UniMob's tables call DRTISA; "
    "Markov is a first-order chain by half-hour; GRU is the recurrent next-place network of "
    "`training.next_place`."
)


class MobilityResultsRecipe(Section):
    """Recipe of ``python -m training.mobility_results``."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Root of every draw."""

    weights: Path = Path("raygen/weights")
    """Directory of the mobility generator's weights."""

    output: Path = Path("docs/results")
    """Folder of the results."""

    keep: Path = Path("runs/mobility-days")
    """Folder of what the baselines drew, for the next run."""

    days: Annotated[int, Field(ge=100)] = 4000
    """Days of each generator in each city."""

    added_days: Annotated[int, Field(ge=1)] = 1000
    """Days of a generator that are added to real ones in ``utility``, the first of them."""

    baselines: tuple[Literal["DensityEPR", "DITRAS", "Markov", "GRU"], ...] = BASELINES
    """Generators beside the mobility generator."""

    experiments: tuple[Experiment, ...] = ("quality", "flows", "privacy", "utility")
    """What to measure."""

    added: tuple[str, ...] = ("raygen", "DITRAS")
    """Generators whose days are added to real ones in ``utility``."""

    cells: Annotated[int, Field(ge=2)] = 1700
    """Regions of a city at most: one with more is joined to so many Voronoi cells."""

    only: tuple[str, ...] = ()
    """Names of the cities to compare in; all of ``data`` where none is given."""

    data: MobilityData = MobilityData(cities=())
    """Cities and days."""

    utility: PredictorFit = PredictorFit()
    """How the next-region predictors are fitted."""

    recurrent: NextPlaceFit = NextPlaceFit()
    """How the recurrent baseline is fitted."""

    places: PlaceFit = PlaceFit()
    """How the mobility generator's decoders are fitted."""


def read_recipe(path: Path, changes: list[str]) -> MobilityResultsRecipe:
    """Read a recipe, with keys given anew.

    Raises
    ------
    ConfigError
        If the file cannot be read, a change is no ``KEY=VALUE``, or a value is refused.
    """
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        msg = f"{path}: cannot be read as a recipe: {error}"
        raise ConfigError(msg) from None
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            msg = f"{change}: must be KEY=VALUE"
            raise ConfigError(msg)
        *parents, key = name.split(".")
        inner = table
        for parent in parents:
            inner = inner.setdefault(parent, {})
        try:
            inner[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            inner[key] = value
    try:
        return MobilityResultsRecipe.model_validate(table)
    except ValidationError as error:
        fault = error.errors()[0]
        msg = f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise ConfigError(msg) from None


def results_of(recipe: MobilityResultsRecipe, given: Comparison, command: str) -> Iterator[Results]:
    """Yield the results of each of a recipe's experiments in one city; draws their pictures."""
    makers: dict[Experiment, Callable[[], Results]] = {
        "quality": lambda: _quality(recipe, given, command),
        "flows": lambda: _flows(recipe, given, command),
        "privacy": lambda: _privacy(recipe, given, command),
        "utility": lambda: _utility(recipe, given, command),
    }
    digest, fitted = label(recipe.weights / "generator")
    words = f"Weights of raygen: generator {digest[:12]}, fitted to " + "; ".join(
        f"{name} ({what})" for name, what in fitted.items()
    )
    for name in recipe.experiments:
        found = makers[name]()
        yield replace(found, notes=[*found.notes, DEVELOPMENT, words + "."])


def _cities(recipe: MobilityResultsRecipe) -> list[CityDays]:
    unread = {key: None for name, key in _OBSERVED.items() if name not in recipe.only}
    data = recipe.data.model_copy(update=unread if recipe.only else {})
    cities = read_cities(data, recipe.seed)
    names = [city.regions.name for city in cities]
    unknown = set(recipe.only) - set(names)
    if unknown:
        msg = f"only: must be of {names}, got {sorted(unknown)}"
        raise ConfigError(msg)
    return [
        city
        if len(city.regions.xy) <= recipe.cells
        else voronoi_city(city, recipe.cells, recipe.seed)
        for city in cities
        if city.regions.name in recipe.only or not recipe.only
    ]


def _quality(recipe: MobilityResultsRecipe, given: Comparison, command: str) -> Results:
    rows = quality_rows(given)
    if given.city.regions.name == "beijing" and recipe.data.geolife is not None:
        rows += movesim_rows(given, recipe.data.geolife, recipe.seed)
    notes = [
        "Preset `unimob-like` (`raygen.mobility_metrics`), base 2; `movesim_…` is the preset of "
        "MoveSim's code (`raygen.movesim_metrics`), in nats, on its own places and split, of days "
        "within the city. Floor: training days against held-out days.",
    ]
    return _results("quality", given, rows, notes, command)


def _flows(recipe: MobilityResultsRecipe, given: Comparison, command: str) -> Results:
    shown = tuple(given.generated)[:4]
    draw_flows(given, shown, recipe.output / f"mobility-flows-{_word(given)}.png")
    notes = [
        "2 Σ min / Σ of trips between consecutive half-hours' places, both sides with one total. "
        "Regions have no diagonal; squares have one, and stand without it too. Floor: training "
        "days against held-out days.",
    ]
    return _results("flows", given, flow_rows(given), notes, command)


def _privacy(recipe: MobilityResultsRecipe, given: Comparison, command: str) -> Results:
    similar = similarities(given, _UNIQUE_DAYS)
    rows = uniqueness_rows(given, similar) + membership_rows(given, recipe.seed)
    path = recipe.output / f"mobility-privacy-{_word(given)}.png"
    draw_privacy({given.city.regions.name: similar}, rows, path)
    notes = [
        "Similarity: 1 − Levenshtein distance / 48 to the nearest training days; floor: held-out "
        "days in place of generated ones. A copy is a day equal to a training day in all 48 "
        "half-hours: most are days within one region.",
        "Membership inference as in `training.privacy`; 0.5 is guessing. Candidates are the second "
        "half of the held-out days and as many training days; attacked are generated days from "
        "the start regions of the first half. Floor: that half itself; ceiling: the training days "
        "themselves. Where days are split by person, it is the person whose training is told.",
    ]
    return _results("privacy", given, rows, notes, command)


def _utility(recipe: MobilityResultsRecipe, given: Comparison, command: str) -> Results:
    few = {name: given.generated[name][: recipe.added_days] for name in recipe.added}
    rows = utility_rows(replace(given, generated=few), recipe.added, recipe.utility, recipe.seed)
    draw_utility(rows, recipe.output / f"mobility-utility-{_word(given)}.png")
    notes = [
        f"Next-region prediction on held-out days; {recipe.added_days} generated days are added "
        "to a share of the real training days. Generators are fitted to all training days whatever "
        "the share, the baselines among them.",
        f"Every predictor makes {recipe.utility.steps} steps of {recipe.utility.batch} days.",
    ]
    return _results("utility", given, rows, notes, command)


def _results(
    kind: Experiment, given: Comparison, rows: list[Row], notes: list[str], command: str
) -> Results:
    data = f"{given.city.regions.name}: {given.city.label}, {len(given.train)} training and "
    data += f"{len(given.real)} held-out days, {len(given.city.regions.xy)} regions"
    return Results(f"mobility-{kind}-{_word(given)}", command, data, rows, [_FREE, _FITTED, *notes])


def _word(given: Comparison) -> str:
    return given.city.regions.name.lower().replace(" ", "-")


def main(arguments: list[str]) -> None:
    """Write the results of a recipe."""
    torch.set_num_threads(1)
    recipe = read_recipe(Path(arguments[0]), arguments[1:])
    drawn = (GENERATOR, *recipe.baselines)
    unknown = set(recipe.added) - set(drawn)
    if unknown:
        msg = f"{arguments[0]}: added: must be of {drawn}, got {sorted(unknown)}"
        raise ConfigError(msg)
    command = f"python -m training.mobility_results {' '.join(arguments)}"
    how = Drawing(
        weights=recipe.weights,
        keep=recipe.keep,
        days=recipe.days,
        baselines=recipe.baselines,
        recurrent=recipe.recurrent,
        places=recipe.places,
    )
    for city in _cities(recipe):
        for results in results_of(recipe, compare(city, how, recipe.seed), command):
            path = results.write(recipe.output / f"{results.name}.json")
            sys.stdout.write(f"{path.read_text(encoding='utf-8')}\n{path}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
