"""What a run will cost, before it starts: from rates that were measured once."""

import os

from raygen import checkpoints
from raygen.city import open_city
from raygen.config import RunConfig
from raygen.models.planner import load_planner

CPU_S_PER_1000 = {
    "populate": 0.02,
    "plan": 0.4,
    "denoise": 1.0,
    "decode": 0.4,
    "assign": 0.1,
    "write": 0.02,
}
"""CPU-seconds of 1,000 persons and a day by stage: Los Angeles County, docs/results/pipeline.md."""

STATES_PER_S = 90.0
"""Plan states that the language model answers in a CPU-second (docs/results/planner-cost.md)."""

START_S = 30.0
"""Seconds of a run before its first shard: city, models, fit from the cache, Ray, actors."""

DRIVER_BYTES = 2 * 2**30
"""Peak memory of the driver and of Ray's own processes."""

BYTES_PER_CREW = 3 * 2**30
"""Peak memory of the seven actors of a crew."""


def estimate(config: RunConfig) -> list[tuple[str, str]]:
    """Estimate a run on this machine.

    Parameters
    ----------
    config
        The run. Its city is opened and its planner's table read.

    Returns
    -------
    rows
        Names and values for a reader: persons, shards, plan states that the language model would
        be asked at most, time, memory. Times are for this machine's CPUs and good to a factor of 2.

    Raises
    ------
    DataError, WeightsError
        If the city or the planner's weights are at fault.
    """
    city = open_city(config.city)
    everyone = int(city.population.sum())
    persons = min(config.agents, everyone) if config.agents else everyone
    days = config.chains.days
    crews = config.compute.workers or os.cpu_count() or 1
    planner = load_planner(checkpoints.folder(config.weights), config.planner, config.compute)
    if config.planner.quantise:
        states = planner.unanswered(city.name)
        asked = f"{states:,} ({clock(states / STATES_PER_S) if config.planner.llm else 'no LLM'})"
    else:
        asked = "not known: places are not quantised"
    cpu_s = persons * days * sum(CPU_S_PER_1000.values()) / 1000.0
    cores = min(crews * config.compute.threads, os.cpu_count() or 1)
    seconds = START_S + cpu_s / cores
    return [
        ("persons", f"{persons:,}"),
        ("shards", f"{-(-persons // config.compute.shard_persons):,}"),
        ("plan states to ask, at most", asked),
        ("CPU time of the stages", clock(cpu_s)),
        (f"time on {cores} cores", clock(seconds)),
        ("peak memory of this node", f"{(DRIVER_BYTES + crews * BYTES_PER_CREW) / 1e9:.1f} GB"),
    ]


def clock(seconds: float) -> str:
    """Return seconds as ``h:mm:ss``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
