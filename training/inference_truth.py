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
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S, SCHOOL, WORK

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


def at_pois_of_type(truth: Truth, index: PoiIndex, zone_of_poi: IntArray, seed: int) -> Truth:
    """Move the stays that are at a POI to one of the same zone drawn by P(type | POI).

    The population's points are drawn by the POI's category, so that someone on the way to a place
    of worship may be put at a hairdresser of the same category. Work and school stay one place.
    """
    at = np.flatnonzero(truth.poi >= 0)
    zone, kind = zone_of_poi[truth.poi[at]], truth.kind[at].astype(np.int64)
    key = truth.person_id[at] * 2 + (kind == SCHOOL)
    own = seeds.stream(seed, "inference places").random(len(at))
    fixed = seeds.stream(seed, "inference anchors").random(int(key.max()) + 1)
    uniform = np.where((kind == WORK) | (kind == SCHOOL), fixed[key], own)
    weight = np.zeros((index.count, len(ACTIVITY_TYPES)))
    np.put_along_axis(weight, index.types.astype(np.int64), index.probability, axis=1)
    order = np.argsort(zone_of_poi, kind="stable")
    edges = np.concatenate([np.zeros((1, weight.shape[1])), np.cumsum(weight[order], axis=0)])
    low = np.searchsorted(zone_of_poi[order], zone)
    high = np.searchsorted(zone_of_poi[order], zone, side="right")
    bottom, top = edges[low, kind], edges[high, kind]
    poi = truth.poi.copy()
    for number in np.unique(kind).tolist():
        mine = np.flatnonzero((kind == number) & (top > bottom + 1e-9))
        goal = bottom[mine] + uniform[mine] * (top[mine] - bottom[mine])
        found = np.searchsorted(edges[:, number], goal, side="right") - 1
        poi[at[mine]] = order[np.minimum(found, high[mine] - 1)]
    xy = truth.stays.xy.copy()
    moved = poi >= 0
    xy[moved] = np.asarray(index.tree.data)[poi[moved]]
    return replace(truth, poi=poi, stays=replace(truth.stays, xy=xy))


def with_habits(truth: Truth, share: float, seed: int) -> Truth:
    """Have people go back to where they first did a type at a POI, with this probability.

    Without it a generated person goes to another shop each time, and no place is visited twice but
    home, work and school.
    """
    code = len(ACTIVITY_TYPES)
    at = np.flatnonzero((truth.poi >= 0) & (truth.kind != WORK) & (truth.kind != SCHOOL))
    key = truth.person_id[at] * code + truth.kind[at]
    _, first, back = np.unique(key, return_index=True, return_inverse=True)
    again = seeds.stream(seed, "inference habits").random(len(at)) < share
    source = np.where(again, at[first[back]], at)
    xy, poi = truth.stays.xy.copy(), truth.poi.copy()
    xy[at], poi[at] = truth.stays.xy[source], truth.poi[source]
    return replace(truth, poi=poi, stays=replace(truth.stays, xy=xy))
