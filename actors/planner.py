"""Ray actor that plans the days of a shard: day chains, and the travel plan of each arrival."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import ray
import torch

from actors.parcels import People, Planned, Stopwatch
from raygen import checkpoints
from raygen.city import City
from raygen.config import RunConfig
from raygen.models.planner import load_planner
from raygen.stages.chains import day_chains, load_chain_models
from raygen.stages.households import join_days, with_companions
from raygen.stages.plan import PlanResult, travel_plans


class Planner:
    """Hold the chain models and the travel planner; plan the days of shards."""

    def __init__(self, city: City, config: RunConfig) -> None:
        torch.set_num_threads(config.compute.threads)
        weights = checkpoints.folder(config.weights)
        self._chains = load_chain_models(weights, config.compute)
        self._planner = load_planner(weights, config.planner, config.compute)
        self._city = city
        self._config = config

    @ray.method
    def plan(self, people: People) -> Planned:
        """Return the activities of every person and day; see ``days``."""
        watch = Stopwatch("plan")
        planned = self.days(people)
        return replace(planned, costs=(*people.costs, watch.stop()))

    def days(self, people: People) -> Planned:
        """Return the activities of every person and day; see ``day_chains``, ``travel_plans``."""
        days = range(self._config.chains.days)
        parts, counted = zip(*(self._day(people, day) for day in days), strict=True)
        plans = pa.concat_tables([part.plans for part in parts])
        if len(parts) > 1:
            plans = plans.sort_by(
                [(name, "ascending") for name in ("person_id", "day", "sequence")]
            )
        counters = {name: sum(counts[name] for counts in counted) for name in counted[0]}
        states = np.unique(np.concatenate([part.states for part in parts]))
        return Planned(plans, states, counters, people.costs)

    def _day(self, people: People, day: int) -> tuple[PlanResult, dict[str, int]]:
        config, persons = self._config, people.persons
        chains = day_chains(persons, day, self._chains, config.chains, config.seed)
        joined = None
        if config.chains.households:
            joined = join_days(persons, chains, day, config.seed)
            chains = joined.chains
        result = travel_plans(persons, people.households, chains, day, self._city, self._planner)
        counters = {"arrivals": result.arrivals, "asked": result.asked}
        if joined is not None:
            result = replace(result, plans=with_companions(result.plans, persons, joined))
            counters |= joined.counters
        return result, counters


PlannerActor = ray.remote(Planner)
