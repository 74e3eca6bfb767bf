"""Skims of the county: distance, time at free flow and in the morning peak; all synthesised.

Peak times come from the traffic that the county's own commute makes: workers and jobs of the zones
in a doubly constrained gravity model on free-flow time, loaded by successive averages. Zone to zone
times add a terminal time at both ends; within a zone, a typical trip of half its width.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen.cities.los_angeles.network import KINDS, Network
from raygen.cities.traffic import balanced_demand, loaded_times
from raygen.roads import cch_matrix
from raygen.taxonomy import JOB_KINDS

FloatArray = npt.NDArray[np.float64]
Skims = dict[str, npt.NDArray[np.float32]]

CAPACITY = {
    "motorway": 2000.0,
    "motorway_link": 1500.0,
    "trunk": 1200.0,
    "primary": 850.0,
    "secondary": 750.0,
    "residential": 1.0e6,
    "ferry": 1.0e6,
}
"""Vehicles an hour and lane: assumed. Connectors and ferries do not congest."""

DETERRENCE_S = 450.0
"""Scale of the commute's exponential deterrence: set so that the mean commute is 18 km."""

PEAK_VEHICLES = 0.36
"""Vehicles in the peak hour per person in the labour force, other trips included: set so that the
mean commute takes the county's observed 30 minutes."""

ROUNDS = 5
"""Rounds of successive averages."""

_TERMINAL_S = 60.0  # to walk to the car and to park, each
_PARKING_S = 120.0  # more at the end in the densest job zones
_PARKING_JOBS_KM2 = 20_000.0
_INNER_KPH = 25.0


def build_skims(
    network: Network, zones: pa.Table, workers: FloatArray, report: Callable[[float], None]
) -> Skims:
    """Return the matrices of ``layout.SKIMS``, float32 [Z, Z].

    Parameters
    ----------
    network
        Roads with a centroid for every zone.
    zones
        Table of schema ZONES.
    workers
        People in the labour force of each zone, shape (Z,).
    report
        Called with the share done.
    """
    area = zones.column("area_m2").to_numpy()
    jobs = np.sum([zones.column(f"jobs_{kind}").to_numpy() for kind in JOB_KINDS], axis=0)
    free_s = network.free_time_s
    distance = cch_matrix(network.graph, network.length_m, network.centroid)
    free = cch_matrix(network.graph, free_s, network.centroid)
    report(0.1)
    commute = balanced_demand(
        workers, jobs * workers.sum() / jobs.sum(), np.exp(-free / DETERRENCE_S)
    )
    by_kind = np.array([CAPACITY[kind] * lanes for kind, (_, lanes) in KINDS.items()])
    capacity: FloatArray = by_kind[network.kind]
    ends = (network.centroid, commute * PEAK_VEHICLES)
    loaded = loaded_times(
        network.graph, free_s, capacity, ends, ROUNDS, lambda done: report(0.1 + 0.8 * done)
    )
    peak = cch_matrix(network.graph, loaded, network.centroid)
    inner = 0.5 * np.sqrt(area)  # mean distance of two points in a square is 0.52 of its side
    end = _TERMINAL_S + _PARKING_S * np.minimum(1.0, jobs / (area / 1e6) / _PARKING_JOBS_KM2)
    slow = np.maximum(1.0, np.median(loaded / free_s))
    matrices = {
        "distance_m": _with_inner(distance, inner),
        "time_s_free": _with_inner(free, inner / (_INNER_KPH / 3.6)) + _TERMINAL_S + end,
        "time_s_peak": _with_inner(peak, slow * inner / (_INNER_KPH / 3.6)) + _TERMINAL_S + end,
    }
    report(1.0)
    return {name: matrix.astype(np.float32) for name, matrix in matrices.items()}


def _with_inner(matrix: FloatArray, diagonal: FloatArray) -> FloatArray:
    """Return the matrix with this diagonal."""
    filled = matrix.copy()
    np.fill_diagonal(filled, diagonal)
    return filled
