"""A city's skims and POIs in the order in which kernels read them; see ``cost.Network``."""

from typing import Any

import numpy as np
import numpy.typing as npt

from assignment.cost import BUCKET_ZONES, RankArray, direction
from raygen.city import City
from raygen.taxonomy import ACTIVITY_TYPES

Float32Array = npt.NDArray[np.float32]


def distance_order(distance_m: Float32Array) -> RankArray:
    """Return for each zone the zone rows by distance, nearest first; ties by zone row.

    Two bytes a pair up to 32,767 zones, four beyond.
    """
    kind = np.int16 if len(distance_m) <= np.iinfo(np.int16).max + 1 else np.int32
    out = np.empty(distance_m.shape, kind)
    for row, metres in enumerate(distance_m):  # row by row: argsort of all takes 8 bytes a pair
        out[row] = np.argsort(metres, kind="stable")
    return out


def ring_tables(city: City, order: RankArray) -> dict[str, Any]:
    """Return the fields ``rings``, ``to_s``, ``starts`` and the farthest ones of the tables."""
    zones, farthest_m = len(order), city.distance_m.max(axis=1)
    buckets = max(1, zones // BUCKET_ZONES)
    starts = np.empty((zones, buckets + 1), order.dtype)
    ring_m, ring_bearing = np.empty((2, zones, zones), np.float32)
    to_s = np.empty((zones, zones, 2), np.float32)
    for row, near in enumerate(order):
        ring_m[row] = city.distance_m[row, near]
        ring_bearing[row] = direction(city.zone_xy[row], city.zone_xy[near])
        edges = farthest_m[row] * np.arange(buckets + 1) / buckets
        starts[row] = np.searchsorted(ring_m[row], edges)
        starts[row, -1] = zones
        to_s[row, :, 0] = city.free_time_s[:, row]
        to_s[row, :, 1] = city.peak_time_s[:, row]
    longest = np.maximum(city.free_time_s, city.peak_time_s)
    return {
        "ring_m": ring_m,
        "ring_bearing": ring_bearing,
        "to_s": to_s,
        "starts": starts,
        "farthest_m": farthest_m,
        "farthest_s": np.stack([longest.max(axis=1), longest.max(axis=0)], axis=1),
    }


def cumulated_pois(city: City) -> Float32Array:
    """Return Σ P(type | POI) over a zone's POIs up to each, shape (15, P): from 0 in every zone."""
    weight = np.zeros((len(city.poi_zone), len(ACTIVITY_TYPES)))
    np.put_along_axis(weight, city.poi_types.astype(np.int64), city.poi_probability, axis=1)
    total = np.cumsum(weight, axis=0)
    before = np.concatenate([np.zeros((1, weight.shape[1])), total])[city.poi_start[city.poi_zone]]
    return np.ascontiguousarray((total - before).T.astype(np.float32))
