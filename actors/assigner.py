"""Ray actor that places the activities of a shard in zones, and makes its trips."""

import ray

from actors.parcels import Decoded, Finished, People, Planned, Stopwatch
from assignment.anchors import AnchorTables
from assignment.place import place
from raygen.city import City
from raygen.config import AssignmentConfig


class Assigner:
    """Hold a city and its anchor tables; place shards in it."""

    def __init__(
        self, tables: AnchorTables, city: City, config: AssignmentConfig, seed: int
    ) -> None:
        self._tables = tables
        self._city = city
        self._config = config
        self._seed = seed

    @ray.method
    def place(self, people: People, planned: Planned, decoded: Decoded) -> Finished:
        """Return the shard's four tables; see ``place``."""
        watch = Stopwatch("assign")
        placed = place(
            people.households,
            people.persons,
            planned.plans,
            decoded.priors,
            self._city,
            self._tables,
            self._config,
            self._seed,
        )
        tables = {
            "households": people.households,
            "persons": placed.persons,
            "activities": placed.activities,
            "trips": placed.trips,
        }
        counters = planned.counters | placed.counters
        costs = (*decoded.costs, watch.stop())
        return Finished(people.shard, tables, planned.states, counters, costs)


AssignerActor = ray.remote(Assigner)
