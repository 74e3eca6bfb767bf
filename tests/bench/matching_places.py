"""The second pass of map matching for tests/bench/matching.py: rows, bounds, a picture."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from raygen.matching.along import Lines, Motion, pace_table, place_all
from raygen.matching.halts import Halting, steps_on
from raygen.matching.match import Matched
from raygen.matching.placing import PlacingSettings, placed
from raygen.network.graph import KPH
from raygen.results import Row
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces

_SPEEDS = 0.1
"""How well the last bound is told the true speeds, as a share of them."""

_PICTURE_M = 1600.0


@dataclass(frozen=True)
class Case:
    """Trips of one graph with errors of one size, and what the first pass made of them."""

    name: str
    roads: PlaneRoads
    truth: RoadTrajectories
    traces: Traces
    noise: float
    told: Matched


def right(told: Matched, truth: RoadTrajectories) -> float:
    """Return the share of all points that are on their true segment; those of lost traces are not."""
    same = told.trajectories.segment == truth.take(told.rows).segment
    return float(same.sum() / len(truth.segment))


def metres_off(told: Matched, case: Case) -> float:
    """Return the mean distance between places on the roads and where the cars were."""
    made = told.trajectories
    on = replace(made, offset=np.zeros_like(made.offset)).points(case.roads)
    return float(np.hypot(*(on - case.truth.take(told.rows).points(case.roads)).T).mean())


def as_known(case: Case) -> Matched:
    """Return what a first pass would say that knows where the cars were."""
    truth, many = case.truth, len(case.truth)
    status, where = np.zeros(many, dtype=np.int8), np.zeros(many, dtype=np.int64)
    return Matched(truth, np.arange(many), truth.steps(), status, where)


def speeds_known(case: Case) -> float:
    """Return the share of points on their segment, told the route and how far each car drove."""
    truth, roads, s = case.truth, case.roads, PlacingSettings(sigma_m=case.noise)
    step, own = truth.steps(), np.repeat(np.arange(len(truth)), truth.length)
    free = roads.line_m / (roads.network.speed_kph.astype(np.float64) / KPH)
    clock = np.concatenate([[0.0], np.cumsum(free[truth.route])])
    at = clock[truth.route_first[:-1][own] + step] + truth.percent * free[truth.segment]
    pace = np.ones(len(step))
    pace[1:] = np.maximum(np.diff(at) / np.maximum(np.diff(truth.time), 1.0), 0.02)
    halting = Halting(s.crossing_s, s.giving_way_s, s.other_s, 1e6, s.tangent_m)
    steps = steps_on(roads, truth.route_first, truth.route, np.ones(len(truth)), halting)
    found, _ = place_all(
        Lines(roads.at, roads.xy, roads.along),
        steps,
        (truth.first, case.traces.xy, truth.time, pace),
        (step, truth.percent.astype(np.float64) * roads.line_m[truth.segment]),
        Motion(s.sigma_m, s.cell_m, 5 * s.sigma_m, s.brake, s.line_m, s.queue_m, s.wait_s),
        pace_table(_SPEEDS, 0.0),
    )
    segment = truth.route[truth.route_first[:-1][own] + found]
    return float((segment == truth.segment).mean())


def second_rows(case: Case, made: Matched, floor: float, target: float) -> list[Row]:
    """Return the rows of the second pass and of what bounds it."""
    known = placed(as_known(case), case.traces, case.roads, PlacingSettings(sigma_m=case.noise))
    n, name = len(case.truth), f"{case.name}, {case.noise:g} m"
    first = {"baseline_name": "first pass"}
    metric = "points_on_true_segment, second pass"
    return [
        Row(case=name, metric=metric, value=right(made, case.truth), n=n, floor=floor,
            target=target, baseline=right(case.told, case.truth), **first),
        Row(case=name, metric=f"{metric}, told the route", value=right(known, case.truth), n=n),
        Row(case=name, metric=f"{metric}, told route and speeds", value=speeds_known(case), n=n),
        Row(case=name, metric="mean_m_to_true_place, second pass", value=metres_off(made, case),
            n=n, baseline=metres_off(case.told, case), **first),
    ]  # fmt: skip


def draw_places(case: Case, made: Matched, path: Path) -> None:
    """Draw the small trip in which most points come to their true segment: before and after."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.collections import LineCollection

    roads, truth = case.roads, case.truth.take(made.rows)
    own = np.repeat(np.arange(len(truth)), truth.length)
    before = case.told.trajectories.segment == truth.segment
    after = made.trajectories.segment == truth.segment
    gain = np.bincount(own, after.astype(float) - before)
    size = np.array([np.ptp(case.traces.take(made.rows[[i]]).xy, axis=0) for i in range(len(gain))])
    gain[(size.max(axis=1) > _PICTURE_M) | (size.min(axis=1) < 0.5 * size.max(axis=1))] = -1
    row = int(gain.argmax())
    raw = case.traces.take(made.rows[[row]]).xy
    true = truth.take(np.array([row])).points(roads)
    figure, axes = plt.subplots(1, 2, figsize=(15, 8), layout="constrained")
    lines = [roads.line(e) for e in range(roads.segments)]
    both = (("first pass", case.told, before), ("second pass", made, after))
    for axis, (name, told, good) in zip(axes, both, strict=True):
        one = told.trajectories.take(np.array([row]))
        on = replace(one, offset=np.zeros_like(one.offset)).points(roads)
        axis.add_collection(LineCollection(lines, colors="0.8", linewidths=0.6))
        axis.add_collection(
            LineCollection([lines[e] for e in one.route], colors="#1f6fb4", linewidths=1.5)
        )
        wrong = ~good[own == row]
        axis.plot(*np.stack([true, on], 1).transpose(2, 1, 0), color="0.3", linewidth=0.8)
        axis.plot(*raw.T, ".", color="#c9a227", markersize=4, label="the GPS")
        axis.plot(*true.T, "o", color="#2a7f3f", markersize=5, label="where the car was")
        axis.plot(*on.T, "s", color="#1f6fb4", markersize=3.5, label="its place")
        axis.plot(*on[wrong].T, "s", color="#c1272d", markersize=4.5, label="on a wrong segment")
        axis.set(
            xlim=(raw[:, 0].min() - 40, raw[:, 0].max() + 40),
            ylim=(raw[:, 1].min() - 40, raw[:, 1].max() + 40),
            aspect="equal",
        )
        axis.set_title(f"{case.name}, {case.noise:g} m, {name}: {wrong.sum()} of {len(on)} wrong")
        axis.axis("off")
    axes[0].legend(loc="best")
    figure.savefig(path, dpi=80)
    plt.close(figure)
