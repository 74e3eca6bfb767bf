"""Fixes to stay points: DataFusion's Algorithm 4, stages 1 to 3, over a table of many persons."""

from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from h3.api import basic_int as h3

from raygen.stay_points.buckets import coded, grouped
from raygen.stay_points.kernel import FloatArray, Stays, Track, detect, limits
from raygen.stay_points.settings import StayConfig
from raygen.traces import TIME

Bounds = tuple[float, float, float, float]
"""West, south, east, north, degrees."""


def stay_schema(ids: pa.DataType) -> pa.Schema:
    """Return the schema of ``stay_points.parquet`` for ids of this type.

    ``start``, ``end``: first and last time seen there, or held over a temporal gap; ``lon``,
    ``lat``: centroid, degrees; ``h3``: its cell; ``fixes``: fixes of the cluster.
    """
    columns = {
        "person_id": ids,
        "start": TIME,
        "end": TIME,
        "lon": pa.float64(),
        "lat": pa.float64(),
        "h3": pa.uint64(),
        "fixes": pa.int32(),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


@dataclass(frozen=True)
class Found:
    """Stays of some persons, and what was counted on the way."""

    stays: pa.Table
    """Schema ``stay_schema``, in the order of person and start."""
    counts: dict[str, int]
    """Fixes, persons, clusters by kind (``kernel.KINDS``), stays out of bounds."""


def find_stays(fixes: pa.Table, config: StayConfig, bounds: Bounds) -> Found:
    """Find the stay points of persons.

    Parameters
    ----------
    fixes
        ``person_id, time, lon, lat`` as ``raygen.traces`` reads them, in any order; all fixes of
        each person. Of fixes at one time the order given counts.
    config
        Thresholds.
    bounds
        Stays with their centroid outside are left out (Algorithm 4, stage 2).
    """
    codes, ids = coded(fixes.column("person_id"))
    time_ms = fixes.column("time").cast(pa.int64()).to_numpy()
    order, start = grouped(codes, time_ms, len(ids))
    track = Track(
        time_ms[order],
        fixes.column("lat").to_numpy()[order],
        fixes.column("lon").to_numpy()[order],
    )
    stays, clusters = detect(track, start, limits(config))
    inside = _inside(stays, bounds)
    kept = stays.take(inside)
    counts = {"fixes": fixes.num_rows, "persons": len(ids), **clusters}
    counts["out_of_bounds"] = len(inside) - int(inside.sum())
    return Found(_table(kept, ids, config.h3_resolution), counts)


def _inside(stays: Stays, bounds: Bounds) -> npt.NDArray[np.bool_]:
    west, south, east, north = bounds
    within = (stays.lon >= west) & (stays.lon <= east)
    return within & (stays.lat >= south) & (stays.lat <= north)


def _table(stays: Stays, ids: pa.Array, resolution: int) -> pa.Table:
    columns = [
        ids.take(pa.array(stays.person)),
        pa.array(stays.start_ms).cast(TIME),
        pa.array(stays.end_ms).cast(TIME),
        stays.lon,
        stays.lat,
        cells(stays.lon, stays.lat, resolution),
        stays.fixes,
    ]
    return pa.table(columns, schema=stay_schema(ids.type))


def cells(lon: FloatArray, lat: FloatArray, resolution: int) -> npt.NDArray[np.uint64]:
    """Return the H3 cell of each point, degrees, shape (M,)."""
    # h3 4.5 has no vectorised call; this takes 1 µs a stay, and stays are few among fixes.
    found = map(h3.latlng_to_cell, lat.tolist(), lon.tolist(), repeat(resolution))
    return np.fromiter(found, dtype=np.uint64, count=len(lon))
