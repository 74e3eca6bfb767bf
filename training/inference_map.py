"""Inferred types of the GeoLife traces on a map, to be looked at: they have no labels.

Raw GPS of two users (observed; times are UTC), 982 POIs of tourism (observed, types by OSM tags:
assumed). With POIs of one kind alone, few places are among them (``completeness``), and what is
told rests on the rules, the hours and the durations.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raygen.city_files.projection import to_metres
from raygen.geolife import BOX, CRS
from raygen.inference.infer import infer_activities, read_clock
from raygen.inference.pois import PoiIndex
from raygen.inference.temporal import load_temporal
from raygen.results import Row
from raygen.stay_points.extract import find_stays
from raygen.stay_points.settings import StayConfig
from raygen.taxonomy import ACTIVITY_TYPES
from training.geolife_traces import CONFIG, TIME_ZONE, geolife_fixes, geolife_pois

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOLDER = Path("data/beijing_geolife")

_DAY_S = 86_400
_COLOURS = (
    "#4c78a8", "#f58518", "#e45756", "#b279a2", "#54a24b", "#88d27a", "#eeca3b", "#9d755d",
    "#ff9da6", "#72b7b2", "#d67195", "#bab0ac", "#79706e", "#d8b5a5", "#439894",
)  # fmt: skip


def draw_geolife(path: Path) -> list[Row]:
    """Infer the types, draw them, and return how many hours there are of each.

    Parameters
    ----------
    path
        PNG to write.
    """
    south, north, west, east = BOX
    found = find_stays(geolife_fixes(FOLDER), StayConfig(), (west, south, east, north))
    index = geolife_pois(FOLDER)
    table = infer_activities(found.stays, TIME_ZONE, index, load_temporal(), CONFIG)
    _draw(table, index, path)
    start, end = read_clock(table, TIME_ZONE)
    hours = (end - start) / 3600
    ranked = table.column("activity_types").combine_chunks().flatten().to_numpy().reshape(-1, 3)
    rows: list[Row] = []
    for code, word in enumerate(ACTIVITY_TYPES):
        mine = ranked[:, 0] == code
        if mine.any():
            case = f"GeoLife, 2 users, {word}"
            rows.append(Row(case=case, metric="stays", value=float(mine.sum())))
            rows.append(Row(case=case, metric="hours", value=float(hours[mine].sum())))
    return rows


def _draw(table: pa.Table, index: PoiIndex, path: Path) -> None:
    """Draw for each person the places on a map, and beside it the stays by date and hour."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    person = np.array(table.column("person_id").to_pylist())
    ids = sorted(set(person.tolist()))
    figure, axes = plt.subplots(len(ids), 2, figsize=(11, 5 * len(ids)), dpi=80)
    for row, name in enumerate(ids):
        mine = table.filter(pa.array(person == name))
        _map(axes[row, 0], mine, index)
        _calendar(axes[row, 1], mine)
        axes[row, 0].set_title(f"user {name}: places by inferred type, area by hours")
        axes[row, 1].set_title("stays by date and hour")
    shown = sorted(set(_top(table).tolist()))
    marks = [Patch(color=_COLOURS[c], label=ACTIVITY_TYPES[c]) for c in shown]
    figure.legend(handles=marks, loc="lower center", ncols=8, frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def _top(table: pa.Table) -> npt.NDArray[Any]:
    ranked = table.column("activity_types").combine_chunks().flatten().to_numpy()
    return ranked.reshape(-1, 3)[:, 0]


def _map(axes: "Axes", table: pa.Table, index: PoiIndex) -> None:
    start, end = read_clock(table, TIME_ZONE)
    lonlat = np.stack([table.column(name).to_numpy() for name in ("lon", "lat")], axis=1)
    xy = to_metres(lonlat, CRS) / 1000
    pois = np.asarray(index.tree.data) / 1000
    kind, hours = _top(table), (end - start) / 3600
    centre = np.median(xy, axis=0)
    axes.scatter(*(pois - centre).T, s=4, c="#cccccc", label="POI", linewidths=0)
    order = np.argsort(-hours)
    colours = [_COLOURS[code] for code in kind[order]]
    axes.scatter(*(xy[order] - centre).T, s=10 + 12 * hours[order], c=colours, alpha=0.6,
                 linewidths=0)  # fmt: skip
    reach = float(np.quantile(np.abs(xy - centre).max(axis=1), 0.95)) * 1.1 + 0.5
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set_xlabel("km east")
    axes.set_ylabel("km north")


def _calendar(axes: "Axes", table: pa.Table) -> None:
    start, end = read_clock(table, TIME_ZONE)
    first = int(start.min()) // _DAY_S
    for since, until, code in zip(start.tolist(), end.tolist(), _top(table).tolist(), strict=True):
        for date in range(since // _DAY_S, until // _DAY_S + 1):
            left, right = max(since - date * _DAY_S, 0), min(until - date * _DAY_S, _DAY_S)
            axes.barh(date - first, (right - left) / 3600, left=left / 3600, height=0.9,
                      color=_COLOURS[code])  # fmt: skip
    axes.set_xlim(0, 24)
    axes.set_xticks(range(0, 25, 4))
    axes.set_xlabel("hour of the day, Beijing")
    axes.set_ylabel("days since the first")
