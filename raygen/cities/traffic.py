"""Traffic of the morning peak on a road graph: all-or-nothing trees, BPR, successive averages.

Sheffi, "Urban Transportation Networks" (1985), chapter 5: the method of successive averages loads
demand on shortest paths, averages flows with step 1/n, and recomputes times by the Bureau of
Public Roads' curve ``t = t0 (1 + 0.15 (v/c)^4)``.
"""

import heapq
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from raygen.roads import RoadGraph

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BPR_ALPHA, BPR_BETA = 0.15, 4.0
"""The curve's standard coefficients."""

MAX_SLOWDOWN = 2.5
"""Times are capped at this multiple of free flow: BPR has no meaning far beyond capacity."""


def bpr(free_s: FloatArray, flow: FloatArray, capacity: FloatArray) -> FloatArray:
    """Return the time on each segment under load, in seconds."""
    factor = 1 + BPR_ALPHA * (flow / capacity) ** BPR_BETA
    return free_s * np.minimum(factor, MAX_SLOWDOWN)


def balanced_demand(
    rows: FloatArray, columns: FloatArray, deterrence: FloatArray, rounds: int = 30
) -> FloatArray:
    """Return a doubly constrained gravity matrix (Furness).

    Parameters
    ----------
    rows, columns
        Trip ends of shape (Z,), equal in sum.
    deterrence
        f(cost) of shape (Z, Z), > 0.
    rounds
        Balancing rounds; columns are met exactly, rows nearly.
    """
    b = np.ones(len(columns))
    a = np.ones(len(rows))
    for _ in range(rounds):
        a = 1 / (deterrence @ (b * columns))
        b = 1 / (deterrence.T @ (a * rows))
    return (a * rows)[:, None] * (b * columns)[None, :] * deterrence


def loaded_times(
    graph: RoadGraph,
    free_s: FloatArray,
    capacity: FloatArray,
    ends: tuple[IntArray, FloatArray],
    rounds: int,
    report: Callable[[float], None],
) -> FloatArray:
    """Return the time on each segment under the demand, in seconds.

    Parameters
    ----------
    graph
        No two segments between the same nodes in the same direction.
    free_s, capacity
        Seconds at free flow and vehicles an hour of each segment, shape (E,).
    ends
        Node rows of the zones, shape (Z,), and vehicles an hour between them, shape (Z, Z).
    rounds
        Of successive averages.
    report
        Called with the share done.
    """
    centroid, demand = ends
    order = np.lexsort((graph.head, graph.tail))
    start = np.searchsorted(graph.tail[order], np.arange(graph.nodes + 1))
    flow = np.zeros(len(free_s))
    for step in range(1, rounds + 1):
        time = bpr(free_s, flow, capacity)
        loaded = np.zeros(len(free_s))
        loaded[order] = _load(start, graph.head[order], time[order], centroid, demand)
        flow += (loaded - flow) / step
        report(step / rounds)
    return bpr(free_s, flow, capacity)


@numba.njit(cache=True)
def _load(start: Any, head: Any, time: Any, centroid: Any, demand: Any) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    """Load every row of the demand on its tree of shortest paths; flow by segment."""
    nodes = len(start) - 1
    row_of = np.full(nodes, -1, np.int64)
    for row in range(len(centroid)):
        row_of[centroid[row]] = row
    flow = np.zeros(len(head))
    through = np.empty(nodes)
    for origin in range(len(centroid)):
        settled, count, parent, entry = _tree(start, head, time, centroid[origin])
        through[:] = 0.0
        for at in range(count - 1, 0, -1):
            node = settled[at]
            row = row_of[node]
            if row >= 0:
                through[node] += demand[origin, row]
            flow[entry[node]] += through[node]
            through[parent[node]] += through[node]
    return flow


@numba.njit(cache=True)
def _tree(start: Any, head: Any, time: Any, source: int) -> Any:  # noqa: ANN401  (compiled)
    """Return nodes in order of distance, their number, and each node's parent and segment."""
    nodes = len(start) - 1
    distance = np.full(nodes, np.inf)
    parent = np.full(nodes, -1, np.int64)
    entry = np.full(nodes, -1, np.int64)
    done = np.zeros(nodes, np.bool_)
    settled = np.empty(nodes, np.int64)
    count = 0
    distance[source] = 0.0
    heap = [(0.0, source)]
    while len(heap) > 0:
        reached, node = heapq.heappop(heap)
        if done[node]:
            continue
        done[node] = True
        settled[count] = node
        count += 1
        for at in range(start[node], start[node + 1]):
            other = head[at]
            length = reached + time[at]
            if length < distance[other]:
                distance[other] = length
                parent[other] = node
                entry[other] = at
                heapq.heappush(heap, (length, other))
    return settled, count, parent, entry
