"""Contraction hierarchies of one network under many costs, a few kept at a time.

Customizable contraction hierarchies (Dibbelt, Strasser and Wagner, ACM JEA 21, 2016) by
pyroutingkit: the order of contraction is found once, costs are put in within milliseconds.
"""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from pyroutingkit import CCHMetric, CCHTopology  # pyright: ignore[reportMissingModuleSource]

from raygen.errors import DataError
from raygen.network.graph import FloatArray, RoadNetwork

UNITS = 1000
"""Costs are whole milliseconds in a hierarchy."""

_SEGMENT_LIMIT_S = 5 * 3600

Case = tuple[int, int]
"""State of the speeds, and flavour."""


class Hierarchies:
    """Hierarchies by case; the least recently used goes when there are too many.

    One process, one thread: queries write to their hierarchy.
    """

    def __init__(
        self, network: RoadNetwork, cost_s: Callable[[Case], FloatArray], kept: int
    ) -> None:
        self._topology = CCHTopology()
        self._topology.build(
            network.tail.astype(np.uint32),
            network.head.astype(np.uint32),
            network.lat.astype(np.float32),
            network.lon.astype(np.float32),
            network.nodes,
        )
        self._cost_s = cost_s
        self._kept = kept
        self._metrics: OrderedDict[Case, CCHMetric] = OrderedDict()

    def of(self, case: Case) -> CCHMetric:
        """Return the hierarchy of a case, made if it is not kept.

        Raises
        ------
        DataError
            If a segment takes over five hours: a route of such ones, over 596 hours in all, would
            be longer than a hierarchy can hold.
        """
        if case in self._metrics:
            self._metrics.move_to_end(case)
            return self._metrics[case]
        units = milliseconds(self._cost_s(case))
        spare = self._metrics.popitem(last=False)[1] if len(self._metrics) >= self._kept else None
        metric = spare if spare is not None else CCHMetric(self._topology)
        metric.customize(units)
        self._metrics[case] = metric
        return metric


def milliseconds(cost_s: FloatArray) -> npt.NDArray[np.uint32]:
    """Return costs as whole units, at least 1, so that no way round is free."""
    units = np.maximum(np.rint(cost_s * UNITS), 1)
    if units.max(initial=0) > _SEGMENT_LIMIT_S * UNITS:
        msg = (
            f"roads: segment {int(units.argmax())}: takes {units.max() / UNITS:.0f} s, over 5 hours"
        )
        raise DataError(msg)
    return units.astype(np.uint32)
