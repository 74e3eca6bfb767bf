"""UniMob's Tables 4, 5 and 6: ``python -m training.mobility_experiments RECIPE.toml``.

Table 4    the generator on 25 to 100 % of all cities' training days
Table 5    a city that the models have not seen (zero-shot: the encoder and the generator are fitted
           to the other cities, the light decoder to 5 % of its days), of which they have seen 10 %
           of the days (few-shot), or all (full); with the common part of commuters of Fig. 7
Table 6    without the temporal plan (M even; arrivals of any training day), without the semantic
           plan (D even), without both
Planner    the language model in the place of the look-up planner, the generator fitted to what it
           says of training days (``training.told_plans``)
Sequences  an entry for each of the 48 slots, as the paper has it, instead of each arrival

Every model of a table is trained alike and anew, for fewer steps than the shipped one. A training
is kept in ``work`` under the digest of all that it depends on: a run that was stopped goes on.
"""

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from rich.progress import Progress
from safetensors.torch import load_file, save_file

from raygen import checkpoints
from raygen.config import ComputeConfig, GeneratorConfig, PlannerConfig, load
from raygen.errors import ConfigError
from raygen.mobility import by_slot, expand
from raygen.mobility_metrics import mobility_divergences
from raygen.models.generator import DiT, DiTConfig, Generator
from raygen.models.planner import Planner, load_planner
from raygen.models.spatial import SpatialConfig, SpatialEncoder
from raygen.results import Results
from training.experiment_tables import SPEED, common_flows, paper_tables, rows_of
from training.generated_days import Comparison
from training.generator import GeneratorTask, latent_days
from training.in_process import fit_here
from training.mobility_cases import Blind, Case, Table, blind_plans, blinded, part
from training.mobility_data import (
    DEVELOPMENT,
    CityDays,
    MobilityData,
    read_cities,
    voronoi_city,
)
from training.mobility_pictures import draw_divergences, draw_flows
from training.mobility_plans import (
    Plans,
    fit_look_up,
    fit_to_generator,
    free_plans,
    generate_days,
    llm_plans,
    matched,
    plans_by_slot,
    told_plans,
    training_plans,
    training_starts,
)
from training.place_decoder import PlaceFit
from training.recipe import LoopConfig, Recipe
from training.spatial import SpatialTask, standardise

Clock = npt.NDArray[np.int32]
Models = tuple[SpatialEncoder, Generator]

_LATER: set[str] = {
    *("work", "output", "name", "shares", "targets", "tables", "cells", "decoder_steps"),
    *("sampled", "draws", "tuned", "planner", "asked"),
}
"""Keys of the recipe that no training depends on."""

_VERSION = 2  # of the decoder and the look-up planner: another one measures anew

_SHOWN = ("", "5")
"""Tables whose days are drawn on a map, beside their figures."""


class TablesRecipe(Recipe):
    """Recipe of the tables."""

    data: MobilityData = MobilityData()
    """Cities and days."""

    spatial: SpatialConfig = SpatialConfig(latent=64, hidden=32, levels=3)
    """Architecture of the encoders."""

    model: DiTConfig = DiTConfig(latent=64, ffn=256, blocks=3, heads=4, placed=True)
    """Architecture of the generators."""

    encoder_loop: LoopConfig = LoopConfig()
    """How long the encoders are trained."""

    encoder_batch: Annotated[int, Field(ge=1)] = 128
    """Days of each city in a batch of an encoder's training."""

    batch: Annotated[int, Field(ge=1)] = 128
    """Day sequences in a batch of a generator's training."""

    batches: Annotated[int, Field(ge=1)] = 50
    """Batches of an epoch, of both."""

    decoder_steps: Annotated[int, Field(ge=1)] = 500
    """Steps of a light decoder's fit."""

    cells: Annotated[int, Field(ge=2)] = 1700
    """Regions of a target at most: one with more is joined to so many Voronoi cells where days of
    it are drawn and measured."""

    sampled: Annotated[int, Field(ge=1)] = 1000
    """Days of a draw."""

    draws: Annotated[int, Field(ge=1)] = 3
    """Draws of days, plans and all, that a figure is of."""

    targets: tuple[str, ...] = ("beijing", "new_york")
    """Cities that the tables are about; of those of ``data``."""

    shares: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Shares of the training days in Table 4, beside all."""

    few: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the days of the city in question that few-shot sees."""

    tables: tuple[Table, ...] = ("4", "5", "6", "L", "S")
    """Tables to fill; L is of the language model's plans, S of sequences of slots."""

    planner: Path = checkpoints.SHIPPED
    """Directory of weights that holds the planner of table L."""

    asked: PlannerConfig = PlannerConfig()
    """How it is asked."""

    tuned: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of its days that the light decoder is fitted to, in zero- and few-shot."""

    name: str = "mobility-experiments"
    """Of the results."""

    work: Path = Path("runs/mobility-experiments")
    """Folder of the trainings that are done."""


def cases(recipe: TablesRecipe) -> list[Case]:
    """Return every training of the tables; the first is what the others are compared with."""
    found = [Case("", "whole")]
    found += [Case("4", f"{share:.0%}", share=share) for share in recipe.shares]
    for city in recipe.targets:
        found.append(Case("5", "zero", held_back=city, seen=0.0))
        found.append(Case("5", "few", held_back=city, seen=recipe.few))
    words: tuple[Blind, ...] = ("temporal", "semantic", "planner")
    found += [Case("6", f"w/o {word}", blind=word) for word in words]
    found.append(Case("L", "language model", told=True))
    found.append(Case("S", "slots", slots=True))
    return [case for case in found if not case.table or case.table in recipe.tables]


def seen_cities(cities: list[CityDays], case: Case, seed: int) -> list[CityDays]:
    """Return the cities as a case's models see them."""
    found: list[CityDays] = []
    for city in cities:
        share = case.seen if city.regions.name == case.held_back else case.share
        if share > 0:
            city = replace(city, train=part(city.train, share, seed))
            found.append(_slotted(city) if case.slots else city)
    return found


@dataclass(frozen=True)
class BlindTask(GeneratorTask):
    """The generator's batches without a plan."""

    blind: Blind = ""

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, torch.Tensor]]:
        """Yield a worker's batches, their plans made even."""
        for batch in super().batches(epoch, rank, world):
            yield batch | blinded(batch["temporal"], batch["semantic"], self.blind)


def trained(recipe: TablesRecipe, cities: list[CityDays], case: Case) -> Models:
    """Return the encoder and the generator of a case, from ``work`` where they are done."""
    seen = seen_cities(cities, case, recipe.seed)
    # Tables 4 and 6 are of the generator: what it lacks does not change the encoder.
    eyes = seen if case.held_back else cities
    encoder = SpatialEncoder(recipe.spatial)
    path = _path(recipe, "encoder", [case.held_back, case.seen])
    if not path.is_file():
        task = SpatialTask(
            recipe.spatial, tuple(eyes), recipe.encoder_batch, recipe.batches, recipe.seed
        )
        found = fit_here(task, recipe.encoder_loop).tensors
        encoder.load_state_dict(
            {k.removeprefix("encoder."): v for k, v in found.items() if "encoder." in k}
        )
        encoder.eval()
        standardise(encoder, eyes)
        save_file(encoder.state_dict(), path)
    encoder.load_state_dict(load_file(path))
    encoder.eval().requires_grad_(requires_grad=False)
    longest = max(city.train.region.shape[1] for city in seen)
    shape = recipe.model.model_copy(
        update={"latent": recipe.spatial.latent, "max_arrivals": longest}
    )
    network = DiT(shape)
    parts: list[object] = [case.held_back, case.seen, case.share, case.blind, case.slots]
    planner = _planner(recipe) if case.told else None
    path = _path(recipe, "generator", parts if planner is None else [*parts, planner.digest])
    if not path.is_file():
        held = tuple(latent_days(c, encoder, placed=shape.placed, planner=planner) for c in seen)
        size = (recipe.batch, recipe.batches, recipe.seed)
        task = BlindTask(shape, held, *size, told=float(case.told), blind=case.blind)
        found = fit_here(task, recipe.loop).tensors
        save_file({name.removeprefix("network."): value for name, value in found.items()}, path)
    network.load_state_dict(load_file(path))
    network.eval().requires_grad_(requires_grad=False)
    return encoder, Generator(network, GeneratorConfig(), "")


def measure(
    recipe: TablesRecipe, city: CityDays, case: Case, models: Models
) -> tuple[dict[str, float], Clock]:
    """Return a case's divergences from held-out days and common flows, and a draw of days."""
    unseen = case.held_back == city.regions.name
    share = recipe.tuned if unseen else case.share
    few = part(city.train, share, recipe.seed)
    known = replace(
        city, train=part(city.train, max(case.seen, share), recipe.seed) if unseen else few
    )
    how = PlaceFit(recipe.decoder_steps)
    tuned = replace(city, train=few)
    if case.slots:
        tuned = _slotted(tuned)
    planner = _planner(recipe) if case.told else None
    own = training_plans(tuned, recipe.seed)
    if planner is not None:
        own = told_plans(tuned, planner, recipe.seed)
    told = blinded(torch.from_numpy(own.temporal), torch.from_numpy(own.semantic), case.blind)
    own = Plans(own.days, told["temporal"].numpy(), told["semantic"].numpy())
    decoder = fit_to_generator(tuned, own, models, recipe.seed, how)
    rows = np.resize(np.arange(len(city.held_out.region)), recipe.sampled)
    start = city.held_out.region[rows, 0]

    look_up = fit_look_up(known, recipe.seed)

    def planned(start: npt.NDArray[np.int32], turn: int) -> Plans:
        """Return plans of these starts as the case has them."""
        if planner is None:
            plans = free_plans(look_up, start, turn)
        else:
            plans = llm_plans(city, start, planner, turn)
        plans = blind_plans(plans, known, case.blind, turn)
        return plans_by_slot(plans) if case.slots else plans

    if not case.slots:
        starts = planned(training_starts(tuned, recipe.seed), recipe.seed + recipe.draws)
        decoder = matched(decoder, models[1], starts, tuned, recipe.seed)
    begun = time.process_time()
    draws = [
        expand(generate_days(models[1], decoder, planned(start, turn), city.regions, turn))
        for turn in range(recipe.seed, recipe.seed + recipe.draws)
    ]
    speed = sum(map(len, draws)) / (time.process_time() - begun)
    days, real, xy = np.concatenate(draws), expand(city.held_out), city.regions.xy
    more = {"cpc": common_flows(real, days, xy), SPEED: speed}
    return mobility_divergences(real, days, xy) | more, draws[0]


def _slotted(city: CityDays) -> CityDays:
    """Return a city whose days have an entry for each slot."""
    return replace(city, train=by_slot(city.train), validation=by_slot(city.validation))


def measured(recipe: TablesRecipe, city: CityDays, case: Case, models: Models) -> dict[str, float]:
    """Return the figures of ``measure``, from ``work`` where it is done; keep the days there."""
    path = _figures(recipe, city, case)
    if not path.is_file() or (case.table in _SHOWN and not path.with_suffix(".npy").is_file()):
        values, days = measure(recipe, city, case, models)
        np.save(path.with_suffix(".npy"), days)
        path.write_text(json.dumps(values), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def targets_of(recipe: TablesRecipe, every: list[CityDays]) -> dict[str, CityDays]:
    """Return the recipe's targets by name, as days of them are measured.

    Raises
    ------
    ConfigError
        If a target is none of the cities.
    """
    named = {city.regions.name: city for city in every}
    unknown = set(recipe.targets) - set(named)
    if unknown:
        msg = f"targets: must be of {sorted(named)}, got {sorted(unknown)}"
        raise ConfigError(msg)
    return {
        name: named[name]
        if len(named[name].regions.xy) <= recipe.cells
        else voronoi_city(named[name], recipe.cells, recipe.seed)
        for name in recipe.targets
    }


def draw_unseen(recipe: TablesRecipe, city: CityDays, folder: Path) -> str:
    """Draw the largest flows of a city not, little or wholly seen (Fig. 7); return the link."""
    wanted = [case for case in cases(recipe) if case.held_back == city.regions.name]
    words = {"zero": "zero-shot", "few": "few-shot", "whole": "all of it"}
    generated = {
        words[case.name]: np.load(_figures(recipe, city, case).with_suffix(".npy"))
        for case in [*wanted, cases(recipe)[0]]
    }
    given = Comparison(city, expand(city.train), expand(city.held_out), generated)
    word = city.regions.name.lower().replace(" ", "-")
    path = folder / f"mobility-unseen-{word}.png"
    draw_flows(given, tuple(generated), path)
    return f"![Largest flows, {city.regions.name}]({path.name})"


def _figures(recipe: TablesRecipe, city: CityDays, case: Case) -> Path:
    """Return where the figures of a case are kept."""
    later = [_VERSION, recipe.decoder_steps, recipe.sampled, recipe.draws, recipe.tuned]
    parts: list[object] = [city.regions.name, *astuple(case)[:-1], *later]
    if case.told:
        parts.append(_planner(recipe).digest)
    return _path(recipe, "figures", parts).with_suffix(".json")


def _planner(recipe: TablesRecipe) -> Planner:
    return load_planner(recipe.planner, recipe.asked, ComputeConfig())


def _path(recipe: TablesRecipe, kind: str, parts: list[object]) -> Path:
    """Return where a training is kept: by all that it depends on."""
    told = recipe.model_dump(mode="json", exclude=_LATER)
    text = json.dumps([kind, parts, told], sort_keys=True)
    recipe.work.mkdir(parents=True, exist_ok=True)
    return recipe.work / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"


def main(arguments: list[str]) -> None:
    """Write the results; the argument is the recipe."""
    torch.set_num_threads(1)
    recipe = load(Path(arguments[0]), TablesRecipe)
    every = read_cities(recipe.data, recipe.seed)
    cities = targets_of(recipe, every)
    found: dict[tuple[str, Case], dict[str, float]] = {}
    with Progress(disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("trainings", total=len(cases(recipe)))
        for case in cases(recipe):
            bar.update(task, description=f"table {case.table or 'all'}: {case.name}")
            models = trained(recipe, every, case)
            for name in [case.held_back] if case.held_back else recipe.targets:
                found[name, case] = measured(recipe, cities[name], case, models)
            bar.advance(task)
            sys.stderr.write(f"{case}\n")
    folder = Path("docs/results")
    unseen = recipe.targets if "5" in recipe.tables else ()
    shown = [draw_unseen(recipe, cities[name], folder) for name in unseen]
    rows = rows_of(cities, found)
    draw_divergences(rows, recipe.targets, folder / f"{recipe.name}.png")
    shown.append(f"![Divergences; dashed: real against real]({recipe.name}.png)")
    results = Results(
        name=recipe.name,
        command=f"python -m training.mobility_experiments {arguments[0]}",
        data="held-out days of "
        + ", ".join(f"{name}: {cities[name].label}" for name in recipe.targets),
        rows=rows,
        notes=[
            f"Each model: {recipe.loop.epochs * recipe.batches} steps of {recipe.batch} days; the "
            "shipped one takes more.",
            "Plans by the look-up planner (but for the table of the language model) from the start "
            "regions of held-out days; in zero- and "
            "few-shot it knows as many days of the city as the models, or the light decoder's.",
            f"Figures are of {recipe.draws} draws of {recipe.sampled} days, plans and all, of one "
            "training. Distances are matched to the training days that the decoder sees, but for "
            "slots.",
            "Floor: training days against held-out ones.",
            DEVELOPMENT,
            *shown,
        ],
        tables=paper_tables(recipe.targets, recipe.tables, found),
    )
    path = results.write(folder / f"{recipe.name}.json")
    sys.stdout.write(f"{path.read_text(encoding='utf-8')}\n{path}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
