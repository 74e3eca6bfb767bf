"""Before a run: the assignment refined to the flows of the city, on a calibration sample.

DataFusion 4.3.3 and 6.3: the paper calibrates on 100,000 agents and then generates a million. The
sample is one of its own, drawn by the run's seed from the whole population, so that the refined
tables do not depend on the run's size, shards or workers.
"""

import json
import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from actors.parcels import People
from actors.planner import Planner
from assignment.anchors import AnchorTables
from assignment.frequencies import Shard
from assignment.refinement import Refined, apply, refine
from raygen import checkpoints
from raygen.city import City
from raygen.config import RunConfig
from raygen.errors import DataError
from raygen.flow_target import OD_FILE, FlowTarget, read_target
from raygen.flows import cosine
from raygen.models.generator import load_generator
from raygen.models.spatial import load_decoder
from raygen.population.fit import PopulationFit
from raygen.population.sample import sample_index
from raygen.stages.decode import decode
from raygen.stages.denoise import denoise
from raygen.stages.homes import HomeMoves, home_moves
from raygen.stages.populate import populate
from raygen.storage import Store
from raygen.taxonomy import ACTIVITY_TYPES

Flows = npt.NDArray[np.float64]

log = logging.getLogger(__name__)

REPORT = "refinement.json"
"""File of the output that tells how near each round came to the flows."""


def calibrated(
    config: RunConfig, city: City, fit: PopulationFit, tables: AnchorTables, store: Store
) -> tuple[AnchorTables, HomeMoves | None]:
    """Return a city's tables refined to its flows, and write the report to the output.

    Second are the moves of homes; None unless ``assignment.refinement.origins`` asks for them.

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
    moves = home_moves(city, refined.homes) if settings.origins else None
    return apply(tables, refined, city), moves


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
        "home_factor": refined.homes.tolist(),
        "activity_types": activity_types(refined, target),
    }


def activity_types(refined: Refined, target: FlowTarget) -> dict[str, dict[str, object]]:
    """Return F by activity type as JSON: where its trips end, before and after, and the target's.

    For each type that has trips: ``trips_before`` and ``trips_after`` of the sample;
    ``share_before``, ``share_after`` and, where the target knows the type, ``share_target`` of them
    by sub-region of destination; ``moved``, the share of its trips that refinement sent elsewhere
    (half the sum of the changes over pairs of sub-regions); ``cosine_before`` and ``cosine_after``
    of its pairs against the target's. ``all`` is their sum, against the target's sum.

    Raises
    ------
    DataError
        If nothing was refined yet.
    """
    if refined.before is None or refined.after is None:
        msg = "refinement: tables that no round has measured have no report by activity type"
        raise DataError(msg)
    before, after = refined.before, refined.after
    out = {"all": _moved(before.sum(axis=0), after.sum(axis=0), target.subregion)}
    for kind, word in enumerate(ACTIVITY_TYPES):
        if before[kind].sum() == 0 or after[kind].sum() == 0:
            continue
        wanted = None if target.by_type is None else target.by_type[kind]
        known = wanted is not None and wanted.sum() > 0
        out[word] = _moved(before[kind], after[kind], wanted if known else None)
    return out


def _moved(before: Flows, after: Flows, target: Flows | None) -> dict[str, object]:
    """Return how flows between sub-regions, shape (S, S), changed, and against what."""
    changed = 0.5 * np.abs(after / after.sum() - before / before.sum()).sum()
    out: dict[str, object] = {
        "trips_before": float(before.sum()),
        "trips_after": float(after.sum()),
        "share_before": (before.sum(axis=0) / before.sum()).tolist(),
        "share_after": (after.sum(axis=0) / after.sum()).tolist(),
        "moved": float(changed),
    }
    if target is not None:
        out["share_target"] = (target.sum(axis=0) / target.sum()).tolist()
        out["cosine_before"] = cosine(target, before)
        out["cosine_after"] = cosine(target, after)
    return out


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
