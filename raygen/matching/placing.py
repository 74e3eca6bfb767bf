"""Where on its route a car was: a second pass over what has been matched.

The matcher puts each point on the nearest place of its segment: of the cars that stand before a
junction many are then found behind it. Here all points of a trace are placed along the known route
together, by a model in which cars stand in queues before junctions, slow down for corners and
never go back (``raygen.matching.along``).
"""

from dataclasses import dataclass, replace

import numpy as np

from raygen.errors import DataError
from raygen.matching.along import Lines, Motion, pace_table, place_all
from raygen.matching.halts import Halting, steps_on
from raygen.matching.match import Matched
from raygen.matching.pieces import Pieces
from raygen.network.graph import KPH, FloatArray, IntArray, RowArray
from raygen.trajectories.plane import PlaneRoads, place
from raygen.trajectories.records import RoadTrajectories, Traces, check_traces

_SIGMAS = 5.0  # half a window
_STANDS = 0.15  # a share of the free way below which a car may have stood
_PRIOR_STEPS = 5.0  # what the pace of all cars counts for beside a car's own steps


@dataclass(frozen=True)
class PlacingSettings:
    """What the second pass takes for likely.

    All but ``sigma_m`` is assumed: round figures of city traffic, looked at on simulated trips of
    two kinds. Halving or doubling any one of them there moves the share of points on their true
    segment by at most .015; without any standing it is .016 to .029 less.
    """

    sigma_m: float = 8.0
    """Standard deviation of the GPS' error along each axis, each point's drawn for itself."""

    cell_m: float = 4.0
    """Longest cell."""

    pace: float = 0.6
    """Speed at which cars drive when they do, over that at free flow. Each car's own is the median
    of its matched steps, drawn to this."""

    spread: float = 0.2
    """Standard deviation of the way between two points, over the way at the car's pace."""

    held: float = 0.4
    """Share of the steps that are shorter, since the car stood for a while."""

    wait_s: float = 20.0
    """A car that stands drives on after so many seconds, in the mean."""

    queue_m: float = 18.0
    """Cars stand so far before the stop line, in the mean."""

    line_m: float = 3.0
    """Stop lines lie so far before the end of a segment."""

    crossing_s: float = 8.0
    """A car stands so long, in the mean, where three or more arms of major streets meet."""

    giving_way_s: float = 4.0
    """The same where a minor street meets a major one."""

    other_s: float = 2.0
    """The same at all other junctions: nodes with three or more streets."""

    brake: float = 2.0
    """Acceleration and braking about corners, in metres a second squared."""

    lateral: float = 2.0
    """Acceleration across in corners, in metres a second squared."""

    tangent_m: float = 8.0
    """A turn begins so far before the corner."""

    def __post_init__(self) -> None:
        """Refuse figures that mean nothing."""
        for name in self.__dataclass_fields__:
            value, least = (
                getattr(self, name),
                name in ("line_m", "crossing_s", "giving_way_s", "other_s"),
            )
            if not (0 <= value if least else 0 < value) or not value < np.inf:
                msg = f"placing: {name} must be {'>=' if least else '>'} 0 and finite, got {value}"
                raise DataError(msg)
        if self.held >= 1:
            msg = f"placing: held must be below 1, got {self.held}"
            raise DataError(msg)


def placed(
    matched: Matched, traces: Traces, roads: PlaneRoads, settings: PlacingSettings | None = None
) -> Matched:
    """Place the points of matched traces along their routes, all points of a trace together.

    Take it where the question is which segment a car was on, and when. Take the matcher's own
    answer where points are to be rebuilt as the GPS had them: here a place is where the car is
    likely to have been, and no longer the nearest to the point. Errors of one trace are taken to be
    independent; where they last for minutes, standing cars are told apart less well than it seems.

    Parameters
    ----------
    matched
        Of ``Matcher.match``.
    traces
        What was matched.
    roads
        The graph of the matcher.
    settings
        ``sigma_m`` is best that of the matcher.

    Returns
    -------
    placed
        The same traces on the same routes, cut at their ends to what has points. Places never fall
        along the route. ``offset`` is the distance of the GPS' point to the line, as it runs at the
        place. A trace that no drive forward explains keeps the places it had.

    Raises
    ------
    DataError
        If the traces are not those that were matched.
    """
    check_traces(traces, "traces")
    if len(traces) != len(matched.status):
        msg = f"placing: {len(matched.status)} traces were matched, got {len(traces)}"
        raise DataError(msg)
    made, step = _placed(
        matched.trajectories, matched.step, traces.take(matched.rows), roads, settings
    )
    return replace(matched, trajectories=made, step=step)


def placed_pieces(
    pieces: Pieces, roads: PlaneRoads, settings: PlacingSettings | None = None
) -> Pieces:
    """Place the points of matched stretches, as ``placed`` does those of whole traces."""
    given = pieces.trajectories
    made, step = _placed(given, given.steps(), pieces.traces, roads, settings)
    whole = pieces.whole
    many = len(whole.rows)
    first = replace(
        whole, trajectories=made.take(np.arange(many)), step=step[: int(made.first[many])]
    )
    return replace(pieces, trajectories=made, whole=first)


def _placed(
    made: RoadTrajectories,
    step: RowArray,
    traces: Traces,
    roads: PlaneRoads,
    settings: PlacingSettings | None,
) -> tuple[RoadTrajectories, RowArray]:
    if not np.array_equal(made.first, traces.first):
        msg = "placing: traces must have as many points as what was matched of them"
        raise DataError(msg)
    s = settings or PlacingSettings()
    halting = Halting(s.crossing_s, s.giving_way_s, s.other_s, s.lateral, s.tangent_m)
    pace = _paces(made, step, roads, s.pace)
    steps = steps_on(roads, made.route_first, made.route, pace, halting)
    window = _SIGMAS * s.sigma_m + 2 * s.cell_m
    motion = Motion(s.sigma_m, s.cell_m, window, s.brake, s.line_m, s.queue_m, s.wait_s)
    metres = made.percent.astype(np.float64) * roads.line_m[made.segment]
    step, metres = place_all(
        Lines(roads.at, roads.xy, roads.along),
        steps,
        (traces.first, traces.xy, traces.time, np.ones(len(step))),
        (step, metres),
        motion,
        pace_table(s.spread, s.held),
    )
    return _told(made, step, metres, traces, roads)


def _paces(made: RoadTrajectories, step: RowArray, roads: PlaneRoads, usual: float) -> FloatArray:
    """Return each car's pace when it drives, over that at free flow, shape (N,)."""
    free = roads.line_m / (roads.network.speed_kph.astype(np.float64) / KPH)
    own = np.repeat(np.arange(len(made)), made.length)
    clock = np.concatenate([[0.0], np.cumsum(free[made.route])])
    at = clock[made.route_first[:-1][own] + step] + made.percent * free[made.segment]
    ratio = np.diff(at) / np.maximum(np.diff(made.time), 1.0)
    drives = (own[1:] == own[:-1]) & (ratio > _STANDS)
    car, ratio = own[1:][drives], ratio[drives]
    ratio = np.append(ratio[np.lexsort((ratio, car))], 0.0)  # room to look behind the last
    count = np.bincount(car, minlength=len(made))
    first = np.cumsum(count) - count
    median = ratio[first + count // 2]
    return (count * median + _PRIOR_STEPS * usual) / (count + _PRIOR_STEPS)


def _told(
    made: RoadTrajectories, step: RowArray, metres: FloatArray, traces: Traces, roads: PlaneRoads
) -> tuple[RoadTrajectories, RowArray]:
    """Return the trajectories of new places, their routes cut to these."""
    own = np.repeat(np.arange(len(made)), made.length)
    segment = made.route[made.route_first[:-1][own] + step]
    on = place(roads, segment, metres, np.zeros(len(metres)))
    left = place(roads, segment, metres, np.ones(len(metres))) - on
    offset = ((traces.xy - on) * left).sum(axis=1)
    share = np.clip(metres / np.maximum(roads.line_m[segment], 1e-9), 0, 1)
    begin, end = _ends(made, step)
    route_first, driven = _between(made.route_first[:-1] + begin, end - begin)
    route = made.route[driven]
    return RoadTrajectories(
        made.first,
        segment,
        share.astype(np.float32),
        offset.astype(np.float32),
        made.time,
        route_first,
        route,
    ), (step - begin[own]).astype(np.int32)


def _ends(made: RoadTrajectories, step: RowArray) -> tuple[IntArray, IntArray]:
    """Return the steps of each first point, and those behind each last one, shape (N,)."""
    begin, end = np.zeros(len(made), np.int64), np.diff(made.route_first)
    some = made.length > 0
    begin[some] = step[made.first[:-1][some]]
    end[some] = step[made.first[1:][some] - 1] + 1
    return begin, end


def _between(begin: IntArray, count: IntArray) -> tuple[IntArray, IntArray]:
    """Return the offsets of some stretches of a flat array in a new one, and their rows."""
    first = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    return first, np.repeat(begin - first[:-1], count) + np.arange(first[-1])
