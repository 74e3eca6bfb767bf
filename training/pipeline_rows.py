"""What the pipeline's decoder makes of kinds of places, and the speed of denoise and decode.

Synthesised days of Los Angeles, planned by their activity types alone; a part of
``training.generator_results``.
"""

import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from raygen import schema
from raygen.city import open_city
from raygen.config import ComputeConfig, GeneratorConfig
from raygen.models.generator import load_generator
from raygen.models.spatial import load_decoder
from raygen.results import Row
from raygen.stages.decode import decode, region_probability, semantic_plans
from raygen.stages.denoise import denoise
from raygen.taxonomy import ACTIVITY_TYPES, PLAN_SLOTS, POI_CATEGORIES
from training.mobility_data import MobilityData, day_chains, synthesised_city
from training.mobility_plans import Plans, typical_plans

_DAYS = 1000
_STAY_AT_HOME = 0.2  # share of persons without a trip, about that of time use


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


def pipeline_rows(weights: Path, data: MobilityData, seed: int) -> list[Row]:
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
