"""Ray actor that makes the trajectories of a shard's sampled trips."""

from dataclasses import replace

import ray
import torch

from actors.parcels import Finished, Stopwatch
from raygen.config import RunConfig
from raygen.stages.road_trips import CityRoads, RoadTrips
from raygen.stages.trajectories import midnight, trace
from raygen.stages.trajectory_planners import load_trip_planner


class Tracer:
    """Hold a city's roads and the models that say and decode patterns; trace shards."""

    def __init__(self, roads: CityRoads, time_zone: str, config: RunConfig) -> None:
        torch.set_num_threads(config.compute.threads)
        self._planner = load_trip_planner(config, lambda: roads.roads.network)
        self._roads = RoadTrips(roads, config.seed)
        self._config = config.trajectories
        self._run = config.seed, midnight(config.chains.day_of_week, time_zone)

    @ray.method
    def trace(self, finished: Finished) -> Finished:
        """Return the shard with its trajectories; see ``trace``."""
        watch = Stopwatch("trace")
        tables = finished.tables
        made, counters = trace(
            tables["trips"],
            tables["activities"],
            self._roads,
            self._planner,
            self._config,
            self._run,
        )
        return replace(
            finished,
            tables=tables | {"trajectories": made},
            counters=finished.counters | counters,
            costs=(*finished.costs, watch.stop()),
        )


TracerActor = ray.remote(Tracer)
