"""Traces to road trajectories by a hidden Markov model.

Newson and Krumm, "Hidden Markov map matching through noise and sparseness", SIGSPATIAL 2009: a
point is seen at a Gaussian distance of its place on a road, and the way driven between two places
differs from the line between the points by an exponential error. Turning round costs extra, since
both directions of a street lie at the same distance.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.errors import DataError
from raygen.matching.candidates import piece_grid
from raygen.matching.reach import reach
from raygen.matching.viterbi import EMPTY, NO_WAY, OFF_ROAD, WHOLE, Weights, match_all
from raygen.network.graph import KPH, IntArray, RowArray
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces, check_traces, taken

REASONS = {
    WHOLE: "matched",
    OFF_ROAD: "a point has no road near it",
    NO_WAY: "no way between two points",
    EMPTY: "no points",
}


@dataclass(frozen=True)
class Settings:
    """What the matcher takes for likely."""

    sigma_m: float = 8.0
    """Standard deviation of the GPS' error, in metres."""

    beta_m: float = 20.0
    """Mean difference between the way driven and the line between two points. Assumed; Newson and
    Krumm give 10 m at 15 s for a mean of their own drive."""

    radius_m: float = 60.0
    """Segments within this distance of a point are its candidates."""

    candidates: int = 16
    """At most so many, the nearest."""

    reach_m: float = 2000.0
    """Between two points at most this way is driven, from node to node."""

    backward_sigmas: float = 5.0
    """A point may lie so many deviations behind the one before it, on the same segment."""

    turn: float = 4.0
    """Cost of turning round, in log-odds. Assumed."""

    fastest_kph: float = 180.0
    """No way is driven faster."""

    def __post_init__(self) -> None:
        """Refuse figures that mean nothing."""
        positive = ("sigma_m", "beta_m", "radius_m", "reach_m", "fastest_kph")
        for name in positive:
            if not 0 < getattr(self, name) < np.inf:
                msg = f"matching: {name} must be > 0 and finite, got {getattr(self, name)}"
                raise DataError(msg)
        if not 1 <= self.candidates <= 1000:  # noqa: PLR2004
            msg = f"matching: candidates must be 1 to 1000, got {self.candidates}"
            raise DataError(msg)


@dataclass(frozen=True)
class Matched:
    """What became of N traces."""

    trajectories: RoadTrajectories
    """The M that could be matched from the first to the last point."""

    rows: IntArray
    """Row among the traces of each, shape (M,)."""

    step: RowArray
    """Which segment of its route each point of them lies on, from 0."""

    status: npt.NDArray[np.int8]
    """Key of ``REASONS`` for each trace, shape (N,)."""

    where: IntArray
    """Point of the trace at which it broke, shape (N,)."""

    def __str__(self) -> str:
        """Say how many were matched, and why the others were not."""
        counts = np.bincount(self.status, minlength=len(REASONS)).tolist()
        lost = [f"{counts[k]} {word}" for k, word in REASONS.items() if k != WHOLE and counts[k]]
        told = f"{counts[WHOLE]} of {len(self.status)} traces matched"
        return f"{told}; {', '.join(lost)}" if lost else told


class Matcher:
    """Matches traces to one road graph; its tables are made once."""

    def __init__(self, roads: PlaneRoads, settings: Settings | None = None) -> None:
        self.roads = roads
        self.settings = settings or Settings()
        self._grid = piece_grid(roads)
        self._reach = reach(roads, self.settings.reach_m)

    def match(self, traces: Traces) -> Matched:
        """Match each trace by itself.

        Parameters
        ----------
        traces
            In the metres of the road graph.

        Returns
        -------
        matched
            Positions and offsets as HTP's Figure 3 has them: a point's place is the nearest of its
            segment's line, so a place may lie a little behind the one before it.

        Raises
        ------
        DataError
            As ``check_traces``.
        """
        check_traces(traces, "traces")
        s = self.settings
        weights = Weights(
            s.sigma_m,
            s.beta_m,
            s.radius_m,
            s.backward_sigmas * s.sigma_m,
            s.turn,
            s.fastest_kph / KPH,
        )
        network = self.roads.network
        segment, metres, side, step, route_at, route, status, where = match_all(
            (network.tail, network.head, self.roads.line_m),
            self._grid,
            self._reach,
            (traces.first, traces.xy, traces.time),
            weights,
            s.candidates,
        )
        rows = np.flatnonzero(status == WHOLE)
        first, points = taken(traces.first, rows)
        route_first, driven = taken(route_at, rows)
        length = self.roads.line_m[segment[points]]
        made = RoadTrajectories(
            first,
            segment[points],
            np.clip(metres[points] / np.maximum(length, 1e-9), 0, 1).astype(np.float32),
            side[points].astype(np.float32),
            traces.time[points],
            route_first,
            route[driven],
        )
        return Matched(made, rows, step[points], status, where)
