"""Pictures of the trajectory models: HTP's Figures 7, 9, 10 and 11, with the figures in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raygen.models.trajectory_batches import trajectory_data
from raygen.models.trajectory_codec import GROUP, groups_of, increments
from raygen.network.graph import FloatArray
from raygen.results import Row
from raygen.trajectories.conditions import Conditions, conditions_of, fitted_speeds, planned
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces
from raygen.trajectories.routes import routes_of
from raygen.trajectory_metrics import divergence
from training.codec_task import chunks
from training.simulated_trips import TaxiCity, TaxiWorld
from training.trajectory_baselines import Model
from training.trajectory_figures import draw_roads
from training.trajectory_models import shipped, transformer
from training.trajectory_sets import TrajectorySet

FEW = np.arange(4)
"""Conditions of a first call, which loads and compiles."""

CARS = 40
"""Cars that drive one route at one hour."""

Maker = Callable[[RoadTrajectories, PlaneRoads, int], Callable[[Conditions], Traces]]
"""From trajectories to train on, the road graph and steps of training to a fitted model."""

CODES, HOURS = "trajectory-experiments-codes.png", "trajectory-experiments-hours.png"
"""Names of the pictures of Figure 11."""

_EDGES = np.arange(20, 206, 5.0)
_CODES = 6
_STANDS_M = 15.0  # the GPS' error alone makes some metres


def lengths(data: TrajectorySet, model: Model, output: Path) -> list[Row]:
    """Draw numbers of points, real and by a model that says its own; return their divergence."""
    plt = _plot()
    told = conditions_of(data.test.roads, data.graph, data.interval_s)
    sides = {
        "real (test part)": data.test.traces.length,
        "generated, w/o LLM": model(data.train.roads, told, data.graph).length,
        "real (training part)": data.train.traces.length,
    }
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, length in sides.items():
        count, _ = np.histogram(length, _EDGES)
        axis.plot((_EDGES[1:] + _EDGES[:-1]) / 2, count / count.sum(), label=name)
    axis.set(
        xlabel="points of a trajectory",
        ylabel="share",
        title=f"Figure 7, {data.name} ({data.kind})",
    )
    axis.legend()
    figure.savefig(lengths_path(data.name, output), dpi=90)
    plt.close(figure)
    real, made, known = (length.astype(np.float64) for length in sides.values())
    return [
        Row(
            case=f"figure 7, {data.name}: w/o LLM, own lengths",
            metric="JSD of numbers of points, classes of 5",
            value=divergence(real, made, _EDGES),
            n=len(real),
            floor=divergence(real, known, _EDGES),
        )
    ]


def lengths_path(name: str, output: Path) -> Path:
    """Return where the lengths of a set are drawn."""
    return output / f"trajectory-experiments-lengths-{name}.png"


def codebooks(rows: list[Row], curve: list[dict[str, float]], output: Path) -> None:
    """Draw codes in use while learning (Figure 9), and reconstruction by codebooks (Figure 10)."""
    plt = _plot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    layers = [key[-1] for key in curve[0] if key.startswith("validation_use_")]
    for layer in layers:
        used = [row[f"validation_use_{layer}"] for row in curve]
        left.plot([row["step"] for row in curve], used, "o-", label=f"layer {layer}")
    left.set(
        xlabel="steps", ylabel="codes in use, held-out trips", title="Figure 9", ylim=(0, 1.03)
    )
    left.legend()
    cases = list(dict.fromkeys(row.case for row in rows if row.case.startswith("figure 10")))
    value = {(row.case, row.metric): row.value or 0.0 for row in rows}
    names = [case.removeprefix("figure 10: ") for case in cases]
    below = np.zeros(len(cases))
    for metric in ("percent, held out", "place, held out", "offset, held out"):
        high = np.array([value[case, metric] for case in cases])
        right.barh(names, high, left=below, label=metric.split(",")[0])
        below += high
    right.set(xlabel="squared error (even steps; offset in 5 m)", title="Figure 10")
    right.legend()
    figure.savefig(output / "trajectory-experiments-codebooks.png", dpi=90)
    plt.close(figure)


@torch.no_grad()
def codes(data: TrajectorySet, output: Path) -> None:
    """Draw the steps of groups with the same code of the first layer: Figure 11(a)."""
    plt = _plot()
    codec = shipped().codec
    table = trajectory_data(data.test.roads, routes_of(data.test.roads, data.graph))
    groups: list[tuple[int, FloatArray]] = []
    for rows in chunks(table):
        batch = table.batch(rows)
        said = codec.codes(batch)[..., 0].numpy()
        step = (increments(batch["share"]) * batch["length"][:, None]).numpy()
        for at, many in enumerate(groups_of(batch["length"]).tolist()):
            # The first group begins with the way to the first point, the last may be short.
            for group in range(1, many - 1):
                groups.append((int(said[at, group]), step[at, GROUP * group : GROUP * (group + 1)]))
    code = np.array([one for one, _ in groups])
    steps = np.array([each for _, each in groups])
    common = np.argsort(-np.bincount(code))[:_CODES]
    figure, axes = plt.subplots(
        2, 3, figsize=(12, 6), sharex=True, sharey=True, layout="constrained"
    )
    for axis, one in zip(axes.flat, common.tolist(), strict=True):
        mine = steps[code == one]
        axis.plot(np.arange(1, GROUP + 1), mine[:60].T, color="0.75", linewidth=0.6)
        axis.plot(np.arange(1, GROUP + 1), mine.mean(axis=0), "o-", color="#c1272d")
        axis.set(title=f"<a_{one}>: {len(mine)} groups", ylim=(0, 4), xlabel="point of the group")
    axes[0, 0].set_ylabel("step, in even ones")
    figure.suptitle(
        f"Figure 11(a): groups with one code of the first layer, {data.name} ({data.kind})"
    )
    figure.savefig(output / CODES, dpi=90)
    plt.close(figure)


def hours(data: TrajectorySet, at: tuple[int, ...], output: Path) -> list[Row]:
    """Draw one route at several hours, generated and simulated: Figure 11(b)."""
    plt = _plot()
    city = TaxiCity(data.graph, TaxiWorld(points=(2, 200)), 0)
    profile = fitted_speeds(data.train.roads, data.graph)
    row = int(np.argsort(data.test.roads.length)[len(data.test.roads) // 2])
    route = data.test.roads.take(np.array([row])).route
    figure, axes = plt.subplots(2, len(at), figsize=(5 * len(at), 7), layout="constrained")
    rows: list[Row] = []
    for column, hour in enumerate(at):
        first = len(route) * np.arange(CARS + 1)
        start = np.full(CARS, 3600.0 * hour)
        many = np.tile(route, CARS)
        told = planned(data.graph.network, profile, first, many, start, data.interval_s)
        sides = {
            "w/o LLM": transformer(data.train.roads, told, data.graph),
            "simulated": city.drive_route(np.arange(CARS), route, 3600.0 * hour).traces,
        }
        for axis, (name, traces) in zip(axes[:, column], sides.items(), strict=True):
            draw_roads(axis, data)
            axis.plot(*traces.take(np.array([0])).xy.T, "o-", markersize=4, color="#c1272d")
            around = sides["simulated"].xy
            low, high = around.min(axis=0) - 150, around.max(axis=0) + 150
            axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
            axis.set_title(f"{name}, {hour:02d}:00; {traces.length.mean():.1f} points")
            axis.axis("off")
            rows += _hour_rows(f"figure 11b, {hour:02d}:00: {name}", traces)
    figure.suptitle(f"Figure 11(b): one route at {len(at)} hours, mean of {CARS} cars")
    figure.savefig(output / HOURS, dpi=90)
    plt.close(figure)
    return rows


def _hour_rows(case: str, traces: Traces) -> list[Row]:
    step = np.hypot(*np.diff(traces.xy, axis=0).T)
    inner = np.ones(len(step), dtype=np.bool_)
    inner[traces.first[1:-1] - 1] = False
    return [
        Row(case=case, metric="points", value=float(traces.length.mean()), n=len(traces)),
        Row(case=case, metric="m between points, median", value=float(np.median(step[inner]))),
        Row(case=case, metric="steps below 15 m", value=float((step[inner] < _STANDS_M).mean())),
    ]


def _plot() -> Any:  # noqa: ANN401  (matplotlib's module)
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt
