"""What can be matched of traces that break."""

from dataclasses import dataclass

import numpy as np

from raygen.matching.match import Matched, Matcher
from raygen.matching.viterbi import OFF_ROAD, WHOLE
from raygen.network.graph import IntArray
from raygen.trajectories.records import RoadTrajectories, Traces, joined


@dataclass(frozen=True)
class Pieces:
    """Matched stretches of N traces, whole traces first."""

    trajectories: RoadTrajectories
    traces: Traces
    """The same stretches as the GPS has them."""
    rows: IntArray
    """Trace that each stretch is of."""
    whole: Matched
    """What became of the traces as wholes."""


def match_pieces(matcher: Matcher, traces: Traces, least: int) -> Pieces:
    """Match traces; cut those that break there, and match what is left.

    Parameters
    ----------
    matcher
        Of the road graph.
    traces
        N traces.
    least
        Stretches of fewer points are left out.
    """
    whole = matcher.match(traces)
    found = [whole.trajectories]
    points = [traces.take(whole.rows)]
    rows = [whole.rows]
    left, of, told = traces, np.arange(len(traces)), whole
    while True:
        left, of = _cut(left, of, told, least)
        if len(left) == 0:
            break
        told = matcher.match(left)
        found.append(told.trajectories)
        points.append(left.take(told.rows))
        rows.append(of[told.rows])
    first = np.concatenate([[0], np.cumsum(np.concatenate([p.length for p in points]))])
    both = Traces(
        first.astype(np.int64),
        np.concatenate([p.xy for p in points]),
        np.concatenate([p.time for p in points]),
    )
    return Pieces(joined(found), both, np.concatenate(rows), whole)


def _cut(traces: Traces, of: IntArray, told: Matched, least: int) -> tuple[Traces, IntArray]:
    """Return both sides of the breaks, as far as they are long enough."""
    broken = np.flatnonzero((told.status != WHOLE) & (traces.length > 0))
    begin, end = traces.first[:-1][broken], traces.first[1:][broken]
    at = begin + told.where[broken]
    skip = (told.status[broken] == OFF_ROAD).astype(np.int64)
    begins, ends = np.concatenate([begin, at + skip]), np.concatenate([at, end])
    rows = np.concatenate([of[broken], of[broken]])
    keep = np.flatnonzero(ends - begins >= least)
    keep = keep[np.lexsort((begins[keep], rows[keep]))]
    count = ends[keep] - begins[keep]
    first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    where = np.repeat(begins[keep] - first[:-1], count) + np.arange(first[-1])
    return Traces(first, traces.xy[where], traces.time[where]), rows[keep]
