"""Pictures of the mobility experiments: UniMob's Figures 7 (flows), 8 (privacy), 10 (utility)."""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.collections import LineCollection

from raygen.mobility_flows import common_part, flows_of, squares
from raygen.mobility_metrics import QUANTITIES
from raygen.results import Row
from training.generated_days import Comparison
from training.privacy import CLASSIFIERS, NEAREST
from training.utility import PREDICTORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = npt.NDArray[np.float64]
Clock = npt.NDArray[np.int32]

_COLOURS = ("#222222", "#e45756", "#4c78a8", "#f58518", "#54a24b", "#b279a2", "#72b7b2")
_SHOWN = QUANTITIES[:5]
_LINES = 200
_SQUARE_M = 2000.0
_FRAMED = 0.98  # share of visits inside each side of a map
_EDGES = np.linspace(0.0, 1.0, 25)


def draw_flows(given: Comparison, names: tuple[str, ...], path: Path) -> None:
    """Draw the largest flows between squares of 2 km: observed days, then each generator's."""
    place = squares(given.city.regions.xy, _SQUARE_M)
    panels = {"held-out days": given.real} | {name: given.generated[name] for name in names}
    figure, axes = _figure(1, len(panels), (5.2 * len(panels), 5.4))
    real = flows_of(given.real, place)
    for column, (name, days) in enumerate(panels.items()):
        part = common_part(real, flows_of(days, place))
        title = name if column == 0 else f"{name}: CPC {part:.2f}"
        _flow_map(axes[0][column], given, days, place)
        axes[0][column].set_title(title)
    figure.suptitle(f"{given.city.regions.name}: largest flows between squares of 2 km")
    _save(figure, path)


def draw_divergences(rows: list[Row], cities: tuple[str, ...], path: Path) -> None:
    """Draw the divergences of every case as bars, a panel for each city and quantity.

    Parameters
    ----------
    rows
        Cases ``CITY, NAME`` with metrics ``QUANTITY_jsd``; others are left out.
    cities
        Names of the cities, one line of panels each.
    path
        PNG to write. The dashed line is real against real.
    """
    figure, axes = _figure(len(cities), len(_SHOWN), (4.2 * len(_SHOWN), 4.6 * len(cities)))
    for line, city in enumerate(cities):
        for column, quantity in enumerate(_SHOWN):
            here = axes[line][column]
            mine = [
                row
                for row in rows
                if row.case.startswith(f"{city}, ") and row.metric == f"{quantity}_jsd"
            ]
            names = [_bar_name(row, city) for row in mine]
            here.barh(names, [row.value for row in mine], color=_COLOURS[2])
            if mine and mine[0].floor is not None:
                here.axvline(mine[0].floor, color=_COLOURS[0], ls="--", lw=1)
            here.invert_yaxis()
            here.tick_params(axis="y", labelsize=7, labelleft=column == 0)
            here.set(title=f"{city}: {quantity}", xlabel="JSD")
    _save(figure, path)


def _bar_name(row: Row, city: str) -> str:
    mode = "" if row.mode in (None, "", "free") else f" ({row.mode.removeprefix('free, ')})"
    return row.case.removeprefix(f"{city}, ") + mode


def draw_privacy(cities: dict[str, dict[str, FloatArray]], rows: list[Row], path: Path) -> None:
    """Draw similarities to the nearest 1, 3, 5 training days, and success of attacks, by city."""
    figure, axes = _figure(len(cities), len(NEAREST) + 1, (18, 4.2 * len(cities)))
    for line, (city, similar) in enumerate(cities.items()):
        for column, count in enumerate(NEAREST):
            here = axes[line][column]
            for colour, (name, values) in zip(_COLOURS, similar.items(), strict=False):
                share = np.histogram(values[:, column], _EDGES)[0] / len(values)
                here.stairs(share, _EDGES, color=colour, label=name, lw=1.6)
            here.set(title=f"{city}: nearest {count}", xlabel="similarity", ylabel="share of days")
        axes[line][0].legend(fontsize=8)
        _attacks(axes[line][len(NEAREST)], city, rows)
    _save(figure, path)


def draw_utility(rows: list[Row], path: Path) -> None:
    """Draw accuracy@1 by the share of real days, with and without generated ones, by city."""
    shown = [row for row in rows if row.metric == "accuracy@1"]
    parts = [row.case.split(", ") for row in shown]
    cities = sorted({part[0] for part in parts})
    figure, axes = _figure(len(cities), len(PREDICTORS), (11, 4.2 * len(cities)))
    for line, city in enumerate(cities):
        for column, kind in enumerate(PREDICTORS):
            here = axes[line][column]
            curves: dict[str, list[tuple[float, float]]] = {}
            for row, part in zip(shown, parts, strict=True):
                share, _, added = part[2].partition("% real")
                if part[:2] == [city, kind]:
                    name = f"real{added}" if added else "real days alone"
                    curves.setdefault(name, []).append((float(share), float(row.value or 0.0)))
            for colour, (name, points) in zip(_COLOURS, curves.items(), strict=False):
                here.plot(*np.array(points).T, marker="o", color=colour, label=name)
            here.set(title=f"{city}: {kind}", xlabel="real days, %", ylabel="accuracy@1")
            here.legend(fontsize=8)
    _save(figure, path)


def _flow_map(axes: "Axes", given: Comparison, days: Clock, place: npt.NDArray[np.int64]) -> None:
    xy = given.city.regions.xy / 1000.0
    count = np.bincount(place)
    centre = np.column_stack([np.bincount(place, xy[:, axis]) / count for axis in (0, 1)])
    flows = flows_of(days, place).off_diagonal
    top = np.argsort(-flows.trips, kind="stable")[:_LINES]
    ends = np.stack([centre[flows.origin[top]], centre[flows.destination[top]]], axis=1)
    share = flows.trips[top] / flows.trips.sum()
    lines = LineCollection(list(ends), linewidths=0.2 + 400 * share, colors="#e45756", alpha=0.45)
    axes.scatter(xy[:, 0], xy[:, 1], s=1.5, color="#bbbbbb", lw=0)
    axes.add_collection(lines)
    visited = xy[given.real.ravel()]
    (west, south), (east, north) = (np.quantile(visited, q, axis=0) for q in (1 - _FRAMED, _FRAMED))
    axes.set(xlim=(west - 3, east + 3), ylim=(south - 3, north + 3))
    axes.set(xlabel="easting, km", ylabel="northing, km")
    axes.set_aspect("equal")


def _attacks(axes: "Axes", city: str, rows: list[Row]) -> None:
    """Draw bars of accuracy by classifier and generator, the floor as a mark on each."""
    mine = [
        row
        for row in rows
        if row.case.startswith(f"{city}, ") and row.metric.startswith("membership_accuracy")
    ]
    names = list(dict.fromkeys(row.case.removeprefix(f"{city}, ") for row in mine))
    for column, kind in enumerate(CLASSIFIERS):
        held = [row for row in mine if row.metric.endswith(f", {kind}")]
        x = np.arange(len(held)) + (column - 1) * 0.27
        axes.bar(
            x, [row.value or 0.0 for row in held], 0.25, color=_COLOURS[column + 1], label=kind
        )
        axes.scatter(x, [row.floor or 0.0 for row in held], color="#222222", marker="_", s=60)
    axes.axhline(0.5, color="#999999", lw=1, ls="--")
    axes.set_xticks(np.arange(len(names)), [name.replace(" ", "\n") for name in names], fontsize=8)
    axes.set(ylim=(0.35, 1.0), ylabel="share told right", title=f"{city}: membership inference")
    axes.legend(fontsize=8, title="black: floor")


def _figure(
    lines: int, columns: int, size: tuple[float, float]
) -> "tuple[Figure, npt.NDArray[np.object_]]":
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt.subplots(lines, columns, figsize=size, dpi=80, squeeze=False)


def _save(figure: "Figure", path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
