"""Before a run: the assignment refined to the flows of the city, on a calibration sample.

DataFusion 4.3.3 and 6.3: the paper calibrates on 100,000 agents and then generates a million. The
sample is one of its own, drawn by the run's seed from the whole population, so that the refined
tables do not depend on the run's size, shards or workers.
"""

import json
import logging
from pathlib import Path

from actors.parcels import People
from actors.planner import Planner
from assignment.anchors import AnchorTables
from assignment.refinement import Refined, Shard, apply, refine
from raygen import checkpoints
from raygen.city import City
from raygen.config import RunConfig
from raygen.flow_target import OD_FILE, FlowTarget, read_target
from raygen.models.generator import load_generator
from raygen.models.spatial import load_decoder
from raygen.population.fit import PopulationFit
from raygen.population.sample import sample_index
from raygen.stages.decode import decode
from raygen.stages.denoise import denoise
from raygen.stages.populate import populate
from raygen.storage import Store

log = logging.getLogger(__name__)

REPORT = "refinement.json"
"""File of the output that tells how near each round came to the flows."""


def calibrated(
    config: RunConfig, city: City, fit: PopulationFit, tables: AnchorTables, store: Store
) -> AnchorTables:
    """Return a city's tables refined to its flows, and write the report to the output.

    Parameters
    ----------
    config
        The run; ``assignment.refinement`` says on how many persons and how long.
    city, fit, tables
        The city with ``od.parquet``, its population, its unrefined tables.
    store
        The run's output.

    Raises
    ------
    DataError
        If the flows are at fault, or the sample makes no trips that they count.
    """
    target = read_target(Path(city.path) / OD_FILE, city)
    settings = config.assignment.refinement
    sample = _sample(config, city, fit)
    refined = refine(sample, city, tables, config.assignment, target, settings, config.seed)
    for number, each in enumerate(refined.history):
        log.info("refinement, round %d: cosine %.4f", number, each.cosine)
    store.write(REPORT, (json.dumps(report(refined, target, city), indent=1) + "\n").encode())
    return apply(tables, refined, city)


def report(refined: Refined, target: FlowTarget, city: City) -> dict[str, object]:
    """Return what refinement did as JSON: the rounds, and the flows that were aimed at."""
    share = target.subregion / target.subregion.sum()
    return {
        "target": {"sha256": target.digest, "provenance": target.provenance},
        "subregions": list(city.subregion_names),
        "target_share": share.tolist(),
        "best_round": refined.best,
        "rounds": [
            {
                "cosine": each.cosine,
                "cosine_without_diagonal": each.cosine_without_diagonal,
                "largest_gap": each.largest_gap,
                "common_part": each.common_part,
                "given_origins": each.given_origins,
            }
            for each in refined.history
        ],
        "pull_km": refined.pull.tolist(),
        "work_factor": refined.work.tolist(),
    }


def _sample(config: RunConfig, city: City, fit: PopulationFit) -> list[Shard]:
    """Take the calibration sample through the stages before the assignment."""
    settings, size = config.assignment.refinement, config.compute.shard_persons
    index = sample_index(fit, settings.persons, config.seed, size)
    weights = checkpoints.folder(config.weights)
    planner = Planner(city, config)
    generator = load_generator(weights, config.generator, config.compute)
    decoder = load_decoder(weights, city, config.compute)
    sample: list[Shard] = []
    for shard in range(index.shards):
        households, persons = populate(fit, index, shard, city, config.seed)
        plans = planner.days(People(shard, households, persons, ())).plans
        latents = denoise(plans, generator, config.seed)
        sample.append((households, persons, plans, decode(latents, plans, decoder, city)))
        log.info("refinement: sample %d of %d", shard + 1, index.shards)
    return sample
