"""A road for every point, matched where that can be, the nearest where it cannot."""

import numpy as np
import shapely

from raygen.matching.match import Matched, Matcher
from raygen.network.graph import RowArray
from raygen.trajectories.records import Traces, taken


def roads_of(matcher: Matcher, traces: Traces) -> tuple[RowArray, Matched]:
    """Return the segment of each point, shape (P,), and what the matcher said.

    A trace that cannot be matched as a whole, as one drawn in free space may be, gets the nearest
    segment at each point; of equally near ones the lower row.
    """
    told = matcher.match(traces)
    segment = np.full(len(traces.xy), -1, dtype=np.int32)
    _, points = taken(traces.first, told.rows)
    segment[points] = told.trajectories.segment
    left = np.flatnonzero(segment < 0)
    if len(left):
        tree = shapely.STRtree(matcher.roads.lines())
        point, near = tree.query_nearest(shapely.points(traces.xy[left]), all_matches=True)
        order = np.lexsort((near, point))
        _, first = np.unique(point[order], return_index=True)
        segment[left] = near[order][first].astype(np.int32)
    return segment, told
