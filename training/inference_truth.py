"""A made truth for activity inference: what a generated population does, seen as noisy stays.

A population of ``raygen generate`` has the type, the times and the point of every activity. Its
stays are those of the activities, a night at home as one; what the inference gets of them is the
point under Gaussian noise and the times. The city, its POIs with their types, and the survey that
the population's day chains were fitted to are what inference uses too (the same sources, but not
the same persons and draws), so figures say how well inference undoes a process like the one that
it assumes; only a labelled survey of real people could say more.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raygen import seeds
from raygen.city_files.projection import to_metres
from raygen.errors import DataError
from raygen.inference.infer import Stays
from raygen.inference.pois import PoiIndex
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_MONDAY = 19_877  # 2024-06-03, days since 1970-01-01
_AT_POI_M = 0.5


@dataclass(frozen=True)
class Truth:
    """S stays with what is hidden from the inference."""

    stays: Stays
    """Without noise."""
    kind: npt.NDArray[np.int8]
    """True type, shape (S,)."""
    poi: IntArray
    """Row of the POI where it took place, -1 where it was at none, shape (S,)."""
    person_id: IntArray
    """Shape (S,)."""

    def noisy(self, metres: float, seed: int) -> Stays:
        """Return the stays under Gaussian noise of this standard deviation in each axis."""
        draws = seeds.stream(seed, "inference noise").normal(size=self.stays.xy.shape)
        return replace(self.stays, xy=self.stays.xy + metres * draws)


def read_truth(population: Path, index: PoiIndex, days: int) -> Truth:
    """Read the first days of a population, the first of them a Monday.

    Raises
    ------
    DataError
        If the population has no activities.
    """
    files = sorted((population / "activities").glob("*.parquet"))
    if not files:
        msg = f"{population}: has no activities; make it with raygen generate"
        raise DataError(msg)
    table = pa.concat_tables([pq.read_table(file) for file in files])
    table = table.filter(pa.array(table.column("day").to_numpy() < days))
    person = table.column("person_id").to_numpy()
    words = pa.array(ACTIVITY_TYPES)
    code = pc.call_function(
        "index_in", [table.column("type").cast(pa.string())], pc.SetLookupOptions(words)
    )
    kind = code.to_numpy().astype(np.int8)
    lonlat = np.stack([table.column(name).to_numpy() for name in ("lon", "lat")], axis=1)
    same = (
        (np.diff(person) == 0) & (np.diff(kind) == 0) & (np.diff(lonlat, axis=0) == 0).all(axis=1)
    )
    first = np.concatenate([[True], ~same])
    last = np.concatenate([~same, [True]])
    xy = to_metres(lonlat[first], index.crs)
    distance, poi = index.tree.query(xy)
    start, end = (table.column(name).to_numpy().astype(np.int64) for name in ("start_s", "end_s"))
    return Truth(
        Stays(
            _starts(person[first]), xy, start[first] + _MONDAY * DAY_S, end[last] + _MONDAY * DAY_S
        ),
        kind[first],
        np.where(distance < _AT_POI_M, poi, -1).astype(np.int64),
        person[first],
    )


def _starts(person: IntArray) -> IntArray:
    changes = np.flatnonzero(np.diff(person)) + 1
    return np.concatenate([[0], changes, [len(person)]]).astype(np.int64)
