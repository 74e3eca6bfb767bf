"""Measure the shipped mobility generator: ``python -m training.generator_results``.

Writes ``docs/results/generator.json`` and ``.md``. Held-out days of Beijing against generated ones,
by sampler and number of steps; what the decoder of Los Angeles makes of a kind of place.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from raygen import checkpoints, schema, seeds
from raygen.city import open_city
from raygen.config import ComputeConfig, GeneratorConfig
from raygen.mobility import Days, expand
from raygen.mobility_metrics import QUANTITIES, mobility_divergences
from raygen.models.diffusion import Sampler
from raygen.models.generator import Generator, load_generator
from raygen.models.spatial import SpatialDecoder, load_decoder, load_encoder
from raygen.results import Results, Row
from raygen.stages.decode import decode, region_probability, semantic_plans
from raygen.stages.denoise import Sequences, denoise, generate
from raygen.taxonomy import ACTIVITY_TYPES, PLAN_SLOTS, POI_CATEGORIES
from training.arrivals import fit_arrivals, markov_days, plan_days
from training.conditions import ORACLE, semantic_plan, temporal_plan
from training.decoder import DecoderFit, encode_days, fit_regions
from training.mobility_baselines import density_epr_days, ditras_days, fit_diary
from training.mobility_data import (
    CityDays,
    MobilityData,
    day_chains,
    read_cities,
    synthesised_city,
)

FloatArray = npt.NDArray[np.float32]

CASES: tuple[tuple[Sampler, int], ...] = (
    ("dpmsolver++", 4),
    ("dpmsolver++", 6),
    ("dpmsolver++", 8),
    ("dpmsolver++", 10),
    ("dpmsolver++", 20),
    ("dpmsolver++", 50),
    ("ddim", 4),
    ("ddim", 10),
    ("ddim", 20),
    ("ddim", 50),
    ("ddpm", 10),
    ("ddpm", 20),
    ("ddpm", 50),
)
_PAPER = {"distance": 0.0077, "radius": 0.0050, "locations": 0.0116, "g_rank": 0.0060}
"""UniMob's Table 6, OURS-LLaMA2-7B, mobile phones of Beijing; other data, bins not printed."""

_CHUNK = 1024
_DAYS = 2000
_STAY_AT_HOME = 0.2  # share of persons without a trip, about that of time use


@dataclass(frozen=True)
class Plans:
    """Conditions of N days, and the days as far as they are known: slots and start regions."""

    days: Days
    temporal: FloatArray
    semantic: FloatArray


def oracle_plans(city: CityDays, rows: npt.NDArray[np.int64], seed: int) -> Plans:
    """Return the exact plans of real days: what a pipeline never has."""
    days = city.validation.take(rows)
    rng = seeds.stream(seed, "results-oracle")
    semantic = semantic_plan(days, city.regions.poi, city.typical_of(days), ORACLE, rng)
    return Plans(days, temporal_plan(days, ORACLE, rng), semantic)


def free_plans(city: CityDays, rows: npt.NDArray[np.int64], seed: int) -> Plans:
    """Return plans of the look-up planner from the start regions of real days, and no more."""
    if city.code is None:
        msg = f"{city.regions.name}: free plans need observed days"
        raise ValueError(msg)
    rng = seeds.stream(seed, "results-free")
    start = city.validation.region[rows, 0]
    entries = city.train.region.shape[1]
    slot, code = plan_days(fit_arrivals(city.train, city.code), city.code[start], entries, rng)
    region = np.where(slot >= 0, start[:, None], -1).astype(np.int32)
    days = Days(region, slot.astype(np.int8), np.full(slot.shape, -1, dtype=np.int8), 0)
    semantic = city.typical[np.maximum(code, 0)] * (code >= 0)[:, :, None]
    semantic[:, 0] = city.regions.poi[start]
    return Plans(days, temporal_plan(days, ORACLE, rng), semantic.astype(np.float32))


def sample_latents(generator: Generator, plans: Plans, seed: int) -> FloatArray:
    """Sample latents of plans, shape (N, K, D)."""
    shape = generator.network.config
    sets = 1 + generator.config.steps if generator.config.sampler == "ddpm" else 1
    size = shape.max_arrivals * shape.latent
    found: list[FloatArray] = []
    for part in _chunks(len(plans.days.region)):
        ids = np.arange(part.start, part.stop, dtype=np.int64)
        flat = seeds.normals(seed, "results-noise", ids, sets * size)
        noise = flat.reshape(len(ids), sets, shape.max_arrivals, shape.latent)
        days = Sequences(
            plans.semantic[part, 0],
            plans.temporal[part],
            plans.semantic[part],
            plans.days.length[part],
        )
        found.append(generate(generator, days, noise.transpose(1, 0, 2, 3).astype(np.float32)))
    return np.concatenate(found)


def place(latents: FloatArray, plans: Plans, decoder: SpatialDecoder, seed: int) -> Days:
    """Decode latents to regions: one Gumbel noise for each day and region.

    Shared noise draws from each arrival's distribution, and the same place where two arrivals of
    a day have the same one. The start region is kept.
    """
    region = plans.days.region.copy()
    R = decoder.config.regions
    for row in range(len(region)):
        held = np.flatnonzero(plans.days.slot[row] >= 0)[1:]
        if len(held) == 0:
            continue
        uniform = seeds.stream(seed, "results-place", row).random(R)
        with torch.no_grad():
            log_p = decoder(torch.from_numpy(latents[row, held])).log_softmax(dim=1).numpy()
        region[row, held] = (log_p - np.log(-np.log(uniform + 1e-12))).argmax(axis=1)
    return Days(region, plans.days.slot, plans.days.kind, 0)


def spread(latents: FloatArray, plans: Plans, real: FloatArray) -> float:
    """Return the deviation of sampled latents over that of real ones, mean over dimensions."""
    held = (plans.days.slot >= 0) & (np.arange(plans.days.slot.shape[1]) > 0)
    return float((latents[held].std(axis=0) / real.std(axis=0)).mean())


def beijing_rows(weights: Path, city: CityDays, seed: int) -> list[Row]:
    """Return the rows of every sampler, free and oracle, beside floor and baseline."""
    encoder, digest = load_encoder(weights, ComputeConfig())
    how = DecoderFit(steps=400, kind=0.0)
    decoder = fit_regions(city.regions, city.train, encoder, digest, seed, how)
    xy, rng = city.regions.xy, seeds.stream(seed, "results-rows")
    rows = np.resize(np.arange(len(city.validation.region)), _DAYS)
    real, train = expand(city.validation), expand(city.train)
    floor = mobility_divergences(real, train, xy)
    chain = markov_days(train, city.validation.region[rows, 0].astype(np.int64), len(xy), rng)
    baseline = mobility_divergences(real, chain, xy)
    encoded = encode_days(city.regions, city.validation, encoder)[0].numpy()
    found = baseline_rows(city, rows, (real, floor), seed)
    for mode, plans in (
        ("free", free_plans(city, rows, seed)),
        ("oracle", oracle_plans(city, rows, seed)),
    ):
        for sampler, steps in CASES:
            if mode == "oracle" and sampler != "dpmsolver++":
                continue
            config = GeneratorConfig(sampler=sampler, steps=steps)
            generator = load_generator(weights, config, ComputeConfig())
            before = time.process_time()
            latents = sample_latents(generator, plans, seed)
            speed = len(rows) / (time.process_time() - before)
            days = expand(place(latents, plans, decoder, seed))
            values = mobility_divergences(real, days, xy)
            case = f"beijing, {sampler}, {steps} steps"
            found += [
                Row(
                    case=case,
                    metric=f"{name}_jsd",
                    value=values[name],
                    n=len(real),
                    floor=floor[name],
                    baseline=baseline[name],
                    baseline_name="Markov by slot",
                    paper=_PAPER.get(name),
                    mode=mode,
                )
                for name in QUANTITIES
            ]
            ratio = spread(latents, plans, encoded)
            found.append(Row(case=case, metric="latent_spread", value=ratio, target=1.0, mode=mode))
            found.append(
                Row(case=case, metric="denoise_days_per_cpu_second", value=speed, mode=mode)
            )
    return found


def baseline_rows(
    city: CityDays,
    rows: npt.NDArray[np.int64],
    held: tuple[npt.NDArray[np.int32], dict[str, float]],
    seed: int,
) -> list[Row]:
    """Return the rows of the mechanistic baselines, from the start regions of real days."""
    real, floor = held
    train, xy = expand(city.train), city.regions.xy
    start = city.validation.region[rows, 0].astype(np.int64)
    mass = np.bincount(train.ravel(), minlength=len(xy)).astype(np.float64) + 1e-3
    days = {
        "DensityEPR": density_epr_days(start, mass, xy, seeds.stream(seed, "results-epr")),
        "DITRAS": ditras_days(
            fit_diary(train), start, mass, xy, seeds.stream(seed, "results-ditras")
        ),
    }
    return [
        Row(
            case=f"beijing, {name}", metric=f"{metric}_jsd", value=value, n=len(real),
            floor=floor[metric], mode="free",
        )
        for name, clock in days.items()
        for metric, value in mobility_divergences(real, clock, xy).items()
    ]  # fmt: skip


def typical_plans(city: CityDays, days: Days, seed: int) -> Plans:
    """Return plans that know the kind of place only: what a planner would say at best."""
    rng = seeds.stream(seed, "results-typical")
    semantic = city.typical_of(days) * (days.region >= 0)[:, :, None]
    semantic[:, 0] = city.regions.poi[days.region[:, 0]]
    return Plans(days, temporal_plan(days, ORACLE, rng), semantic.astype(np.float32))


def plan_table(plans: Plans, home_share: float) -> pa.Table:
    """Return plans as PLANS; ``home_share`` of the persons stay at home, at the end."""
    held = plans.days.region >= 0
    person, sequence = np.nonzero(held)
    home = np.arange(round(len(held) * home_share / (1 - home_share))) + len(held)
    start = np.concatenate([2 * plans.days.slot[held], 0 * home]).astype(np.int8)
    last = np.append(sequence[1:] == 0, True)
    end = np.where(last, 96, np.append(start[1 : len(person)], 96))
    temporal = np.concatenate([plans.temporal[held], plans.temporal[: len(home), 0]])
    semantic = np.concatenate([plans.semantic[held], plans.semantic[: len(home), 0]])
    kind = np.concatenate([np.maximum(plans.days.kind[held], 0), 0 * home])
    columns: list[pa.Array] = [
        pa.array(np.concatenate([person, home]), pa.int64()),
        pa.array(np.zeros(len(start)), pa.int8()),
        pa.array(np.concatenate([sequence, 0 * home]), pa.int16()),
        pa.array(kind, pa.int8()),
        pa.array(start),
        pa.array(np.concatenate([end, 0 * home + 96]), pa.int8()),
        pa.array(np.full(len(start), -1, np.int64)),
        pa.array(np.full(len(start), -1, np.int64)),
        pa.FixedSizeListArray.from_arrays(pa.array(temporal.reshape(-1)), PLAN_SLOTS),
        pa.FixedSizeListArray.from_arrays(pa.array(semantic.reshape(-1)), len(POI_CATEGORIES)),
    ]
    return pa.Table.from_arrays(columns, schema=schema.PLANS)


def los_angeles_rows(weights: Path, data: MobilityData, seed: int) -> list[Row]:
    """Return what the decoder makes of kinds of places, and the speed of denoise and decode."""
    place_of = open_city("los_angeles")
    held = synthesised_city(place_of, day_chains(data, seed), data.entries, seed)
    days = held.validation
    plans = typical_plans(held, days, seed)
    compute = ComputeConfig()
    decoder = load_decoder(weights, place_of, compute)
    generator = load_generator(weights, GeneratorConfig(), compute)
    table = plan_table(plans, _STAY_AT_HOME)
    denoise(table.slice(0, 100), generator, seed)
    begin = time.process_time()
    latents = denoise(table, generator, seed)
    middle = time.process_time()
    decode(latents, table, decoder, place_of)
    end = time.process_time()
    persons = len(np.unique(table.column("person_id").to_numpy()))
    arrivals = int((table.column("sequence").to_numpy() > 0).sum())
    case = f"los angeles, {generator.config.sampler}, {generator.config.steps} steps"
    rows = [
        Row(case=case, metric="persons_per_cpu_second", value=persons / (end - begin), target=300),
        Row(case=case, metric="denoise_persons_per_cpu_second", value=persons / (middle - begin)),
        Row(case=case, metric="decode_rows_per_cpu_second", value=arrivals / (end - middle)),
    ]
    kind = days.kind[days.region >= 0]
    entry = np.nonzero(days.region >= 0)[1]
    true = days.region[days.region >= 0].astype(np.int64)
    latents = latents[: len(true)]
    mass = held.regions.mass / held.regions.mass.sum()
    away = np.flatnonzero((kind > 0) & (entry > 0))[:_DAYS]
    region = region_probability(latents[away], semantic_plans(table)[away], decoder)
    likely = np.log(region[np.arange(len(away)), true[away]] + 1e-9).mean()
    rows.append(
        Row(
            case=case,
            metric="log_probability_of_the_region",
            value=float(likely),
            n=len(away),
            baseline=float(np.log(mass[true[away]]).mean()),
            baseline_name="mass of regions",
            mode="free",
        )
    )
    for word in ("shop_goods", "meals_out", "leisure", "healthcare"):
        code = ACTIVITY_TYPES.index(word)
        category = int(place_of.category_given_type[code].argmax())
        share = held.regions.poi[:, category].astype(np.float64)
        these = np.flatnonzero(kind[away] == code)
        rows.append(
            Row(
                case=f"los angeles, arrivals to {word}",
                metric=f"share_of_{POI_CATEGORIES[category]}_where_decoded",
                value=float((region[these] @ share).mean()),
                n=len(these),
                target=float(share[true[away][these]].mean()),
                baseline=float(mass @ share),
                baseline_name="mass of regions",
                mode="free",
            )
        )
    return rows


def _chunks(count: int) -> Iterator[slice]:
    for start in range(0, count, _CHUNK):
        yield slice(start, min(start + _CHUNK, count))


def main(arguments: list[str]) -> None:
    """Write the results; the first argument, if any, is the directory of the weights."""
    weights = Path(arguments[0]) if arguments else checkpoints.SHIPPED
    torch.set_num_threads(1)
    city = read_cities(MobilityData(cities=()), 1)[0]
    results = Results(
        name="generator",
        command="python -m training.generator_results",
        data="GeoLife days of Beijing as split by MoveSim: validation days within the city",
        rows=los_angeles_rows(weights, MobilityData(), 1) + beijing_rows(weights, city, 1),
        notes=[
            "Preset `unimob-like` of `raygen.mobility_metrics`: JSD base 2; regions are H3 cells "
            "of resolution 8. The paper's column is another data set (Table 6, mobile phones of "
            "Beijing) with bins that it does not print.",
            "free: plans by a look-up planner fitted to training days; of a validation day only "
            "the start region is known. oracle: the real day's own slots and POI distributions.",
            "Floor: training days against validation days. Baseline: a Markov chain of regions by "
            "slot, fitted to the training days, from the same start regions.",
            "Los Angeles: synthesised days, plans that know only the activity type. Target of a "
            "share: the days' own regions; a region's own log probability under the decoder.",
            "latent_spread: deviation of sampled latents over that of encoded real days.",
            "CPU-seconds of one thread on a shared machine.",
        ],
    )
    path = results.write(Path("docs/results/generator.json"))
    sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
