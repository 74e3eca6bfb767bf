"""The road graph: directed segments between nodes, and matrices of shortest paths on it.

Skims come from customizable contraction hierarchies (Dibbelt, Strasser and Wagner, "Customizable
contraction hierarchies", ACM JEA 21, 2016) by pyroutingkit; ``dijkstra_matrix`` gives the same
figures up to rounding and needs nothing but SciPy.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyroutingkit import INF_WEIGHT, CCHMetric, CCHTopology  # pyright: ignore[reportMissingModuleSource]
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

from raygen.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_UNITS = 1000  # CCH weights are whole numbers: thousandths of a second or of a metre


@dataclass(frozen=True)
class RoadGraph:
    """Nodes and directed segments as arrays; N nodes, E segments.

    ``tail`` and ``head`` are node rows, not ids.
    """

    lon: FloatArray
    lat: FloatArray
    tail: IntArray
    head: IntArray

    @property
    def nodes(self) -> int:
        """Number of nodes, N."""
        return len(self.lon)

    def adjacency(self, weight: FloatArray) -> csr_array:
        """Return the weights as a matrix [N, N]; of parallel segments the lightest counts."""
        order = np.lexsort((weight, self.head, self.tail))
        tail, head = self.tail[order], self.head[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (tail[1:] != tail[:-1]) | (head[1:] != head[:-1])
        shape = (self.nodes, self.nodes)
        return csr_array((weight[order][first], (tail[first], head[first])), shape=shape)


def strong_components(graph: RoadGraph) -> IntArray:
    """Return the strongly connected component of each node, shape (N,)."""
    ones = np.ones(len(graph.tail))
    return connected_components(graph.adjacency(ones), directed=True, connection="strong")[1]


def cch_matrix(graph: RoadGraph, weight: FloatArray, sources: IntArray) -> FloatArray:
    """Return the lengths of the shortest paths between nodes.

    Parameters
    ----------
    graph
        Strongly connected.
    weight
        Of each segment, shape (E,), >= 0, in seconds or metres; rounded to thousandths.
    sources
        Node rows of shape (S,), origins and destinations alike.

    Returns
    -------
    length
        Shape (S, S): from source i (row) to source j (column), in the unit of ``weight``.

    Raises
    ------
    DataError
        If some node cannot be reached, or a path is longer than CCH's 2,147,483 units.
    """
    topology = CCHTopology()
    topology.build(
        graph.tail.astype(np.uint32),
        graph.head.astype(np.uint32),
        graph.lat.astype(np.float32),
        graph.lon.astype(np.float32),
        graph.nodes,
    )
    metric = CCHMetric(topology)
    metric.customize(np.rint(weight * _UNITS).astype(np.uint32))
    rows = sources.astype(np.uint32)
    length = metric.distances_many_to_many(rows, rows)
    if (length >= INF_WEIGHT).any():
        msg = f"roads: {int((length >= INF_WEIGHT).sum())} pairs of nodes have no path"
        raise DataError(msg)
    return length.astype(np.float64) / _UNITS


def dijkstra_matrix(graph: RoadGraph, weight: FloatArray, sources: IntArray) -> FloatArray:
    """Return the same as ``cch_matrix``, by SciPy's Dijkstra and without rounding."""
    length = dijkstra(graph.adjacency(weight), indices=sources)[:, sources]
    if not np.isfinite(length).all():
        msg = f"roads: {int((~np.isfinite(length)).sum())} pairs of nodes have no path"
        raise DataError(msg)
    return length
