"""Which households a run generates, in what order, and where its shards are cut."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.errors import DataError
from raygen.population.fit import PopulationFit

Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PopulationIndex:
    """The households of a run, in order; household ids and person ids count from 0 along it.

    Shard ``s`` has the households ``household_start[s]`` to ``household_start[s + 1]`` and the
    persons ``person_start[s]`` to ``person_start[s + 1]``.
    """

    position: Int32Array
    """Position of each household in the fit, ascending."""

    household_start: Int64Array
    """(shards + 1,)."""

    person_start: Int64Array
    """(shards + 1,)."""

    @property
    def shards(self) -> int:
        """Return the number of shards."""
        return len(self.household_start) - 1

    @property
    def households(self) -> int:
        """Return the number of households."""
        return len(self.position)

    @property
    def persons(self) -> int:
        """Return the number of persons."""
        return int(self.person_start[-1])


def sample_index(fit: PopulationFit, agents: int, seed: int, shard_persons: int) -> PopulationIndex:
    """Choose whole households for a number of agents and cut them into shards.

    Parameters
    ----------
    fit
        The whole population.
    agents
        Persons to choose; 0, or as many as there are or more, is everyone.
    seed
        The run's seed.
    shard_persons
        A shard ends at the household that passes a multiple of this many persons.

    Returns
    -------
    index
        A systematic sample with one random start over the households in the order of the fit,
        so that each zone has its share and each household the same chance. Its persons are at
        least ``agents`` and less than one household more. The same households whatever
        ``shard_persons``.

    Raises
    ------
    DataError
        If ``agents`` is negative, ``shard_persons`` is not positive, or nobody lives in the city.
    """
    if agents < 0 or shard_persons < 1:
        msg = "sample: agents must be >= 0 and shard_persons >= 1, "
        msg += f"got {agents} and {shard_persons}"
        raise DataError(msg)
    if fit.households == 0:
        msg = "sample: no zone of the city has households"
        raise DataError(msg)
    size = fit.seeds.size[fit.row]
    position = np.arange(fit.households, dtype=np.int32)
    if 0 < agents < size.sum():
        position = _sample(size, agents, seed)
    before = np.concatenate([[0], np.cumsum(size[position])])  # persons before each household
    cuts = np.searchsorted(before[:-1], np.arange(0, before[-1], shard_persons))
    cuts = np.unique(np.append(cuts, len(position)))  # a large household may pass two multiples
    return PopulationIndex(position, cuts, before[cuts])


def _sample(size: Int64Array, agents: int, seed: int) -> Int32Array:
    """Return positions that hold ``agents`` persons, or up to one household more."""
    rng = seeds.stream(seed, "population/sample")
    start = rng.random()
    count = max(1, round(len(size) * agents / size.sum()))
    position = _stride(len(size), count, start)
    while (short := agents - int(size[position].sum())) > 0:
        count = min(len(size), count + max(1, int(short * len(size) / size.sum())))
        position = _stride(len(size), count, start)
    # What is too much goes household by household, at random, while enough persons stay.
    order = rng.permutation(len(position))
    spare = np.cumsum(size[position[order]]) <= -short
    return np.delete(position, order[: int(np.argmin(spare))])


def _stride(households: int, count: int, start: float) -> Int32Array:
    return np.floor((np.arange(count) + start) * (households / count)).astype(np.int32)
