"""Shortest ways from every node to the nodes near it, found once for a road graph.

The upper-bounded origin-destination table of Yang and Gidófalvi, "Fast map matching", IJGIS 32
(2018), algorithm 1: nearly all of a matcher's questions are about nodes within a kilometre or two.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from scipy.sparse import csr_array

from raygen.network.graph import IntArray, RowArray, SpeedArray
from raygen.trajectories.plane import PlaneRoads


class Reach(NamedTuple):
    """Ways of at most some metres from N nodes, T in all, by source and target."""

    at: IntArray
    """Ways from node u are rows ``at[u]:at[u + 1]``; shape (N + 1,)."""
    target: RowArray
    """Node where the way ends, rising within a source; shape (T,)."""
    metres: SpeedArray
    """Length of the way, shape (T,)."""
    first: RowArray
    last: RowArray
    """Its first and last segments, -1 on the way of no length; shape (T,)."""


def reach(roads: PlaneRoads, limit_m: float) -> Reach:
    """Return the shortest ways of at most ``limit_m`` metres between all nodes.

    Memory is 16 bytes a way: about 1,000 ways a node in a dense city at 2,000 m.
    """
    network = roads.network
    order = np.lexsort((network.head, network.tail))
    shape = (network.nodes, network.nodes + network.segments)
    # The row pointer alone is wanted; columns need only differ.
    rows = csr_array((np.ones(len(order)), (network.tail[order], np.arange(len(order)))), shape)
    at, target, metres, first, last = _all(
        rows.indptr.astype(np.int64), order, network.head, roads.line_m, float(limit_m)
    )
    return Reach(at, target, metres, first, last)


@njit(cache=True, nogil=True)
def find(at: Any, target: Any, source: int, wanted: int) -> int:  # noqa: ANN401
    """Return the row of the way from one node to another; -1 if there is none."""
    low, high = at[source], at[source + 1]
    while low < high:
        middle = (low + high) >> 1
        if target[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < at[source + 1] and target[low] == wanted else -1


@njit(cache=True, nogil=True)
def _all(out_at: Any, out: Any, head: Any, length: Any, limit: float) -> Any:  # noqa: ANN401  (compiled: NumPy arrays)
    nodes = len(out_at) - 1
    room = 64 * nodes
    target, metres = np.empty(room, np.int32), np.empty(room, np.float32)
    first, last = np.empty(room, np.int32), np.empty(room, np.int32)
    at = np.zeros(nodes + 1, np.int64)
    best = np.full(nodes, np.inf)
    begun, into = np.empty(nodes, np.int32), np.empty(nodes, np.int32)
    heap_key, heap_node = np.empty(len(out) + 1), np.empty(len(out) + 1, np.int64)
    seen = np.empty(nodes, np.int64)
    for source in range(nodes):
        begun[source], into[source] = -1, -1
        found = _from(
            source,
            (out_at, out, head, length),
            limit,
            (best, begun, into, seen, heap_key, heap_node),
        )
        near = np.sort(seen[:found])
        base = at[source]
        at[source + 1] = base + found
        if base + found > len(target):
            room = 2 * (base + found)
            target, metres = _grown(target, room), _grown(metres, room)
            first, last = _grown(first, room), _grown(last, room)
        for k in range(found):
            node = near[k]
            target[base + k], metres[base + k] = node, best[node]
            first[base + k], last[base + k] = begun[node], into[node]
            best[node] = np.inf
    total = at[nodes]
    return (
        at,
        target[:total].copy(),
        metres[:total].copy(),
        first[:total].copy(),
        last[:total].copy(),
    )


@njit(cache=True, nogil=True)
def _grown(old: Any, room: int) -> Any:  # noqa: ANN401
    new = np.empty(room, old.dtype)
    new[: len(old)] = old
    return new


@njit(cache=True, nogil=True)
def _from(source: int, graph: Any, limit: float, work: Any) -> int:  # noqa: ANN401
    """Dijkstra within the limit; returns how many nodes were met, their rows in ``seen``."""
    out_at, out, head, length = graph
    best, begun, into, seen, heap_key, heap_node = work
    best[source], seen[0] = 0.0, source
    found, size = 1, 1
    heap_key[0], heap_node[0] = 0.0, source
    while size > 0:
        key, node = heap_key[0], heap_node[0]
        size = _pop(heap_key, heap_node, size)
        if key > best[node]:
            continue
        for k in range(out_at[node], out_at[node + 1]):
            segment = out[k]
            ahead, far = head[segment], key + length[segment]
            if far > limit or far >= best[ahead]:
                continue
            if best[ahead] == np.inf:
                seen[found] = ahead
                found += 1
            best[ahead], into[ahead] = far, segment
            begun[ahead] = segment if node == source else begun[node]
            size = _push(heap_key, heap_node, size, far, ahead)
    return found


@njit(cache=True, nogil=True)
def _push(heap_key: Any, heap_node: Any, size: int, key: float, node: int) -> int:  # noqa: ANN401
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if heap_key[above] <= key:
            break
        heap_key[at], heap_node[at] = heap_key[above], heap_node[above]
        at = above
    heap_key[at], heap_node[at] = key, node
    return size + 1


@njit(cache=True, nogil=True)
def _pop(heap_key: Any, heap_node: Any, size: int) -> int:  # noqa: ANN401
    size -= 1
    key, node = heap_key[size], heap_node[size]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and heap_key[below + 1] < heap_key[below]:
            below += 1
        if heap_key[below] >= key:
            break
        heap_key[at], heap_node[at] = heap_key[below], heap_node[below]
        at = below
    heap_key[at], heap_node[at] = key, node
    return size
