"""The strongly connected part of a network, and what the rest was."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from raygen.errors import DataError
from raygen.network.graph import RoadNetwork, take_segments


@dataclass(frozen=True)
class Dropped:
    """What was left out to be able to drive from everywhere to everywhere."""

    nodes: int
    """Nodes outside of the largest part."""

    segments: int
    """Segments with an end outside of it."""

    metres: float
    """Their length."""

    share: float
    """Their length as a share of all, 0 to 1."""

    parts: int
    """Strongly connected parts before, the kept one included."""

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"dropped {self.segments} segments ({self.metres / 1000:.1f} km, {self.share:.2%} of "
            f"the length) and {self.nodes} nodes outside the largest of {self.parts} parts"
        )


def strongly_connected(network: RoadNetwork) -> tuple[RoadNetwork, Dropped]:
    """Return the largest strongly connected part, and what was dropped.

    The part with most segments is kept, of equal ones that of the earliest node. Nodes of the kept
    part keep their order, so do its segments; both are numbered anew.

    Raises
    ------
    DataError
        If no two nodes can be reached from each other, so that nothing is left.
    """
    shape = (network.nodes, network.nodes)
    joined = csr_array((np.ones(network.segments), (network.tail, network.head)), shape=shape)
    parts, of = connected_components(joined, directed=True, connection="strong")
    inside = of[network.tail] == of[network.head]
    size = np.bincount(of[network.tail[inside]], minlength=parts)
    nodes_in = np.bincount(of, minlength=parts)
    # A loop at one node is a part of its own: it leads nowhere.
    size[nodes_in < 2] = 0  # noqa: PLR2004
    if not size.any():
        msg = "roads: no two nodes can be reached from each other; is every road one-way?"
        raise DataError(msg)
    best = of[np.isin(of, np.flatnonzero(size == size.max())).argmax()]
    keep = inside & (of[network.tail] == best)
    lost = float(network.length_m[~keep].sum(dtype=np.float64))
    total = float(network.length_m.sum(dtype=np.float64))
    dropped = Dropped(
        nodes=int(network.nodes - nodes_in[best]),
        segments=int((~keep).sum()),
        metres=lost,
        share=lost / total,
        parts=int(parts),
    )
    return take_segments(network, np.flatnonzero(keep)), dropped
