"""Ray actor that makes the households and persons of a shard."""

import ray

from actors.parcels import People, Stopwatch
from raygen.city import City
from raygen.population.fit import PopulationFit
from raygen.population.sample import PopulationIndex
from raygen.stages.homes import HomeMoves, move_homes
from raygen.stages.populate import populate


class Populator:
    """Hold a city, its fitted population and what moves its homes; write out shards of it."""

    def __init__(
        self,
        fit: PopulationFit,
        index: PopulationIndex,
        city: City,
        moves: HomeMoves | None,
        seed: int,
    ) -> None:
        self._fit = fit
        self._index = index
        self._city = city
        self._moves = moves
        self._seed = seed

    @ray.method
    def populate(self, shard: int) -> People:
        """Return the shard's households and persons; see ``populate``."""
        watch = Stopwatch("populate")
        households, persons = populate(self._fit, self._index, shard, self._city, self._seed)
        if self._moves is not None:
            households = move_homes(households, self._city, self._moves, self._seed)
        return People(shard, households, persons, (watch.stop(),))


PopulatorActor = ray.remote(Populator)
