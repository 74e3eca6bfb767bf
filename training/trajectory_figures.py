"""Pictures of trajectories: maps (HTP, Figures 5 and 6), densities (7), a route by hour (11b)."""

from pathlib import Path
from typing import Any

import numpy as np

from raygen.network.graph import FloatArray
from raygen.trajectories.records import Traces
from raygen.trajectory_metrics import step_lengths
from training.simulated_trips import TaxiCity, TaxiWorld
from training.trajectory_sets import TrajectorySet

_HOURS = (3, 8, 13)
_SHOWN = 60  # traces on a map


def maps_figure(data: TrajectorySet, made: dict[str, Traces], path: Path) -> None:
    """Draw the points of the first test trajectories, real and generated, over the roads."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = {"real": data.test.traces} | made
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(5 * columns, 3.6 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    low, high = data.graph.xy.min(axis=0), data.graph.xy.max(axis=0)
    for axis, (name, traces) in zip(axes.flat, shown.items(), strict=False):
        draw_roads(axis, data)
        few = traces.take(np.arange(min(_SHOWN, len(traces))))
        axis.plot(*few.xy.T, ".", markersize=1.5, color="#c1272d")
        axis.set(title=name, xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    count = min(_SHOWN, len(data.test.traces))
    figure.suptitle(f"{data.name} ({data.kind}): points of {count} test trajectories")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def lengths_figure(data: TrajectorySet, made: dict[str, Traces], path: Path) -> None:
    """Draw the densities of numbers of points and of distances between points."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    steps = np.arange(0, 451, 15.0)
    for name, traces in ({"real": data.test.traces} | made).items():
        degrees = data.graph.to_degrees(traces.xy)
        step, has = step_lengths(traces.first, degrees)
        style: dict[str, Any] = {"color": "black", "linewidth": 2.5} if name == "real" else {}
        axes[0].plot(*_density(traces.length.astype(float), np.arange(20, 201, 10.0)), **style)
        axes[1].plot(*_density(step[has], steps), label=name, **style)
    axes[0].set(xlabel="points of a trajectory", ylabel="density", title="Length (Figure 7)")
    axes[1].set(xlabel="metres between two points", title="Step distance", yscale="log")
    axes[1].legend(fontsize=7)
    figure.suptitle(f"{data.name} ({data.kind}); baselines take their lengths from the conditions")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def hours_figure(data: TrajectorySet, path: Path) -> None:
    """Draw one simulated route driven at several hours: the same roads, other points."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    city = TaxiCity(data.graph, TaxiWorld(points=(2, 200)), 0)
    figure, axes = plt.subplots(1, len(_HOURS), figsize=(5 * len(_HOURS), 4), layout="constrained")
    row = int(np.argsort(data.test.roads.length)[len(data.test.roads) // 2])
    one = data.test.roads.take(np.array([row]))
    for axis, hour in zip(axes, _HOURS, strict=True):
        driven = city.drive_route(np.arange(40), one.route, 3600.0 * hour)
        draw_roads(axis, data)
        axis.plot(*driven.traces.take(np.array([0])).xy.T, "o-", markersize=4, color="#c1272d")
        around = driven.traces.xy
        axis.set(xlim=_span(around[:, 0]), ylim=_span(around[:, 1]), aspect="equal")
        axis.set_title(f"{hour:02d}:00; {driven.traces.length.mean():.1f} points, mean of 40 cars")
        axis.axis("off")
    figure.suptitle("One route at three hours, simulated (Figure 11b's question)")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def draw_roads(axis: Any, data: TrajectorySet) -> None:  # noqa: ANN401  (matplotlib's axes)
    """Draw the lines of the road graph."""
    from matplotlib.collections import LineCollection

    graph = data.graph
    pieces = [graph.line(segment) for segment in range(graph.segments)]
    axis.add_collection(LineCollection(pieces, colors="0.75", linewidths=0.4))


def _density(values: FloatArray, edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    count, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return (edges[1:] + edges[:-1]) / 2, count / count.sum()


def _span(values: FloatArray) -> tuple[float, float]:
    return float(values.min()) - 150, float(values.max()) + 150
