"""Measure the shipped mobility generator: ``python -m training.generator_results``.

Writes ``docs/results/generator.json`` and ``.md``: UniMob's Table 3 for each city with observed
days; quality and speed by sampler and number of steps; what the decoder
of the pipeline makes of a kind of place.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from raygen import checkpoints
from raygen.config import ComputeConfig, GeneratorConfig, PlannerConfig
from raygen.mobility import expand
from raygen.mobility_metrics import QUANTITIES, mobility_divergences
from raygen.models.diffusion import Sampler
from raygen.models.generator import load_generator
from raygen.models.place_decoder import PlaceDecoder
from raygen.models.planner import load_planner
from raygen.models.spatial import load_encoder
from raygen.results import PaperTable, Results, Row
from raygen.stages.places import draw_places
from training.decoder import encode_days
from training.generated_days import baselines
from training.mobility_data import (
    DEVELOPMENT,
    CityDays,
    MobilityData,
    read_cities,
)
from training.mobility_pictures import draw_divergences
from training.mobility_plans import (
    LookUp,
    Plans,
    fit_look_up,
    fit_to_generator,
    free_plans,
    llm_plans,
    matched,
    oracle_plans,
    sample_latents,
    spread,
    told_plans,
    training_plans,
    training_starts,
)
from training.next_place import NextPlaceFit
from training.pipeline_rows import pipeline_rows
from training.place_decoder import PlaceFit, fit_places

Clock = npt.NDArray[np.int32]
IntArray = npt.NDArray[np.int64]

CASES: tuple[tuple[Sampler, int], ...] = (
    ("dpmsolver++", 4),
    ("dpmsolver++", 10),
    ("dpmsolver++", 20),
    ("dpmsolver++", 50),
    ("ddim", 10),
    ("ddim", 50),
    ("ddpm", 50),
    ("ddpm", 1000),
)
_PAPER = {
    "distance": 0.0077,
    "radius": 0.0050,
    "locations": 0.0116,
    "g_rank": 0.0060,
    "r_rank": 0.0025,
}
"""UniMob's Table 3, mobile phones of Beijing; other data, bins not printed."""

_DAYS, _DRAWS = 1000, 4  # days of a draw, and draws: divergences fall with the days
_PEERS = ("DensityEPR", "DITRAS", "Markov")  # the recurrent one: training.mobility_results
_SLOW_STEPS, _FEW_DAYS = 100, 100  # so many days where a sampler takes more steps
_OWN = "UniMob's own decoder"
_LLM = "free, plans by the LLM"


@dataclass(frozen=True)
class Stage:
    """One city with what its rows are measured against."""

    city: CityDays
    weights: Path
    seed: int
    real: Clock
    rows: IntArray
    """Held-out days whose start regions are used, in turn."""
    planner: LookUp
    """Of free plans."""
    floor: dict[str, float]
    peers: dict[str, dict[str, float]]

    @property
    def start(self) -> npt.NDArray[np.int32]:
        """Start regions."""
        return self.city.held_out.region[self.rows, 0]

    def entries(self, case: str, draws: list[Clock], mode: str) -> list[Row]:
        """Return a row for each quantity, of all draws, beside floor and best baseline."""
        values = mobility_divergences(self.real, np.concatenate(draws), self.city.regions.xy)
        found: list[Row] = []
        for name in QUANTITIES:
            peer = min(self.peers, key=lambda word: self.peers[word][name])
            found.append(
                Row(
                    case=f"{self.city.regions.name}, {case}",
                    metric=f"{name}_jsd",
                    value=values[name],
                    n=len(self.real),
                    floor=self.floor[name],
                    baseline=self.peers[peer][name],
                    baseline_name=peer,
                    paper=_PAPER.get(name) if self.city.regions.name == "beijing" else None,
                    mode=mode,
                )
            )
        return found


def open_stage(city: CityDays, weights: Path, seed: int) -> Stage:
    """Return a city with its floor and the baselines' figures."""
    real, xy = expand(city.held_out), city.regions.xy
    rows = np.resize(np.arange(len(real)), _DAYS)
    start = city.held_out.region[rows, 0].astype(np.int64)
    makers = [
        baselines(expand(city.train), xy, NextPlaceFit(), seed + turn) for turn in range(_DRAWS)
    ]
    peers = {name: [each[name](start) for each in makers] for name in _PEERS}
    return Stage(
        city=city,
        weights=weights,
        seed=seed,
        real=real,
        rows=rows,
        planner=fit_look_up(city, seed),
        floor=mobility_divergences(real, expand(city.train), xy),
        peers={
            name: mobility_divergences(real, np.concatenate(draws), xy)
            for name, draws in peers.items()
        },
    )


def city_rows(stage: Stage, decoder: PlaceDecoder) -> list[Row]:
    """Return the rows of one city with the shipped sampler: free, by the LLM, oracle."""
    city, seed, regions = stage.city, stage.seed, stage.city.regions
    found = [row for name, values in stage.peers.items() for row in _peer_rows(stage, name, values)]
    encoder = load_encoder(stage.weights, ComputeConfig())[0]
    alone = PlaceFit(500, placed=False, counted=False, remember=False, noise=0.6)
    plain = fit_places((regions, city.train), encoder, seed, alone)
    planner = load_planner(stage.weights, PlannerConfig(), ComputeConfig())
    generator = load_generator(stage.weights, GeneratorConfig(), ComputeConfig())
    real = encode_days(regions, city.held_out, encoder)[0].numpy()
    makers: dict[str, Callable[[int], Plans]] = {
        "free": lambda turn: free_plans(stage.planner, stage.start, turn),
        _LLM: lambda turn: llm_plans(city, stage.start, planner, turn),
        "oracle": lambda turn: oracle_plans(city, stage.rows, turn),
    }
    # Where the LLM plans, the places are drawn by a decoder fitted to what it tells of.
    starts, both = training_starts(city, seed), (encoder, generator)
    own = fit_to_generator(city, told_plans(city, planner, seed), both, seed)
    told, looked = (
        llm_plans(city, starts, planner, seed - 1),
        free_plans(stage.planner, starts, seed - 1),
    )
    decoders = {
        "free": matched(decoder, generator, looked, city, seed),
        _LLM: matched(own, generator, told, city, seed),
        "oracle": decoder,
    }
    for mode, plans_of in makers.items():
        draws: list[Clock] = []
        plainly: list[Clock] = []
        ratio = 0.0
        for turn in range(seed, seed + _DRAWS):
            plans = plans_of(turn)
            latents = sample_latents(generator, plans, regions, turn)
            draws.append(expand(draw_places(decoders[mode], latents, plans.days, regions, turn)))
            if mode == "free":
                plainly.append(expand(draw_places(plain, latents, plans.days, regions, turn)))
            ratio += spread(latents, plans, real) / _DRAWS
        found += stage.entries("raygen", draws, mode)
        found.append(
            Row(
                case=f"{regions.name}, raygen", metric="latent_spread", value=ratio, target=1.0,
                mode=mode,
            )
        )  # fmt: skip
        if plainly:
            found += stage.entries(_OWN, plainly, mode)
    return found


def sampler_rows(stage: Stage, decoder: PlaceDecoder) -> list[Row]:
    """Return quality and speed of every sampler, with free plans."""
    found: list[Row] = []
    whole = free_plans(stage.planner, stage.start, stage.seed)
    for sampler, steps in CASES:
        rows = stage.rows[: _FEW_DAYS if steps > _SLOW_STEPS else _DAYS]
        plans = whole.take(len(rows))
        config = GeneratorConfig(sampler=sampler, steps=steps)
        generator = load_generator(stage.weights, config, ComputeConfig())
        begin = time.process_time()
        latents = sample_latents(generator, plans, stage.city.regions, stage.seed)
        speed = len(rows) / (time.process_time() - begin)
        days = draw_places(decoder, latents, plans.days, stage.city.regions, stage.seed)
        case = f"{sampler}, {steps} steps"
        found += stage.entries(case, [expand(days)], "free")
        found.append(
            Row(
                case=f"{stage.city.regions.name}, {case}",
                metric="denoise_days_per_cpu_second",
                value=speed,
                n=len(rows),
                mode="free",
            )
        )
    return found


def table3(stages: list[Stage], rows: list[Row]) -> PaperTable:
    """Return the rows in the form of UniMob's Table 3."""
    named = {(row.case, row.mode, row.metric): row.value for row in rows}
    cities = [stage.city.regions.name for stage in stages]
    lines: list[list[str]] = []
    wanted = [*stages[0].peers, _OWN, "raygen", "raygen, plans by the LLM", "raygen, oracle"]
    for word in wanted:
        case, _, rest = word.partition(", ")
        mode = {"": "free", "oracle": "oracle"}.get(rest, f"free, {rest}")
        line = [word]
        for city in cities:
            values = [named.get((f"{city}, {case}", mode, f"{name}_jsd")) for name in QUANTITIES]
            line += ["–" if value is None else f"{value:.4f}" for value in values]
        lines.append(line)
    floors = [f"{stage.floor[name]:.4f}" for stage in stages for name in QUANTITIES]
    lines.append(["real against real", *floors])
    columns = ["model", *(f"{city} {name}" for city in cities for name in QUANTITIES)]
    note = "Oracle sees the held-out days' own plans; all other rows see their start regions alone."
    return PaperTable("UniMob, Table 3, on other data", columns, lines, note)


def _peer_rows(stage: Stage, name: str, values: dict[str, float]) -> list[Row]:
    return [
        Row(
            case=f"{stage.city.regions.name}, {name}", metric=f"{metric}_jsd", value=value,
            n=len(stage.real), floor=stage.floor[metric], mode="free",
        )
        for metric, value in values.items()
    ]  # fmt: skip


def draw_table3(rows: list[Row], cities: list[str], folder: Path) -> None:
    """Draw the rows of Table 3, without those of the samplers."""
    shown = [row for row in rows if not row.case.endswith(" steps")]
    draw_divergences(shown, tuple(cities), folder / "generator.png")


def main(arguments: list[str]) -> None:
    """Write the results; the first argument, if any, is the directory of the weights."""
    weights = Path(arguments[0]) if arguments else checkpoints.SHIPPED
    torch.set_num_threads(1)
    data = MobilityData(foursquare=_FOURSQUARE, synthesised_days=12_000)
    seed, rows, stages = 1, pipeline_rows(weights, data, 1), list[Stage]()
    encoder = load_encoder(weights, ComputeConfig())[0]
    shipped = load_generator(weights, GeneratorConfig(), ComputeConfig())
    # Synthesised cities say nothing of how real the days are; the pipeline's rows measure them.
    for city in read_cities(data.model_copy(update={"cities": ()}), seed):
        stage = open_stage(city, weights, seed)
        decoder = fit_to_generator(city, training_plans(city, seed), (encoder, shipped), seed)
        rows += city_rows(stage, decoder)
        if not stages:
            looked = free_plans(stage.planner, training_starts(city, seed), seed - 1)
            rows += sampler_rows(stage, matched(decoder, shipped, looked, city, seed))
        stages.append(stage)
        sys.stdout.write(f"{city.regions.name}\n")
    folder = Path("docs/results")
    draw_table3(rows, [stage.city.regions.name for stage in stages], folder)
    results = Results(
        name="generator",
        command="python -m training.generator_results",
        data="days of Beijing (GeoLife, split by MoveSim) and New York (Foursquare, test persons): "
        "observed; of Los Angeles (the pipeline): synthesised",
        rows=rows,
        notes=_NOTES,
        tables=[table3(stages, rows)],
    )
    path = results.write(folder / "generator.json")
    sys.stdout.write(f"{path.read_text(encoding='utf-8')}\n{path}\n")


_FOURSQUARE = Path("data/foursquare")

_NOTES = [
    "Preset `unimob-like` of `raygen.mobility_metrics`: JSD base 2; regions are H3 cells. The "
    "paper's column is another data set with bins that it does not print.",
    "free: plans by a look-up planner fitted to training days; of a held-out day only the start "
    "region is known. oracle: the real day's own slots and POI distributions.",
    "Floor: training days against held-out days; of New York they are of different persons. "
    "Baseline: the best of the baselines for that figure, from the same start regions.",
    DEVELOPMENT,
    "![Divergences; dashed: real against real](generator.png)",
    f"{_OWN}: each latent decoded by itself, without displacements, distances, moves or memory.",
    "pipeline: synthesised days of Los Angeles, plans that know only the activity type. Target of "
    "a share: the days' own regions; a region's own log probability under the decoder.",
    "latent_spread: deviation of sampled latents over that of encoded real days.",
    "plans by the LLM: Algorithm 1 from the start region, arrivals drawn; the decoder of places is "
    "fitted to what the planner says of training days.",
    "Samplers: the decoder of places is fitted to days of the default one, so that the others have "
    "a decoder that trusts them a little too much or too little.",
    f"{_DRAWS * _DAYS} days of each generator, {_DAYS} of each sampler: chance alone makes a "
    "divergence of about 9 (1/n + 1/m) of n and m moves in distance, some .003 and .005.",
    "CPU-seconds of one thread on a shared machine.",
]


if __name__ == "__main__":
    main(sys.argv[1:])
