"""How fast the trips of the sets go: simulated ones beside observed ones."""

import numpy as np

from raygen.network.graph import FloatArray
from raygen.results import PaperTable, Row
from raygen.trajectories.records import Traces
from training.trajectory_sets import TrajectorySet

CASE = "training part"
"""What the rows' cases end with."""

STANDS_M = 15.0
"""Way between two points below which a car is said to stand: three times the GPS' error."""

_KPH = 3.6
_LEVELS = (5, 25, 50, 75, 95)
_HEADS = {f"speed between points, km/h, {level}th percentile": f"{level} %" for level in _LEVELS}
_STANDS = "share of steps under 15 m"
_LENGTH = "points of a trip, mean"


def speeds(traces: Traces) -> tuple[FloatArray, FloatArray]:
    """Return metres and seconds between the points of each trace, of all traces."""
    inside = np.ones(max(len(traces.xy) - 1, 0), dtype=bool)
    inside[traces.first[1:-1] - 1] = False
    metres = np.hypot(*np.diff(traces.xy, axis=0).T)
    return metres[inside], np.diff(traces.time)[inside]


def speed_rows(data: TrajectorySet) -> list[Row]:
    """Return how fast the trips of a set's training part go, as the GPS has them."""
    traces = data.train.traces
    metres, seconds = speeds(traces)
    levels = np.percentile(_KPH * metres / seconds, _LEVELS).tolist()
    figures = dict(zip(_HEADS, levels, strict=True))
    figures |= {_STANDS: float((metres < STANDS_M).mean()), _LENGTH: float(traces.length.mean())}
    case = f"{data.name}: {CASE}"
    return [
        Row(case=case, metric=metric, value=value, n=len(traces))
        for metric, value in figures.items()
    ]


def speed_table(rows: list[Row], sets: list[str]) -> PaperTable:
    """Return the speeds of all sets, a line each."""
    value = {(row.case, row.metric): row.value for row in rows}
    lines: list[list[str]] = []
    for name in sets:
        cells = [value.get((f"{name}: {CASE}", metric)) for metric in (*_HEADS, _STANDS, _LENGTH)]
        kept = ["–" if cell is None else f"{cell:.1f}" for cell in cells[: len(_HEADS)]]
        rest = ["–" if cell is None else f"{cell:.2f}" for cell in cells[len(_HEADS) :]]
        lines.append([name, *kept, *rest])
    return PaperTable(
        "Speeds between points, km/h",
        ["", *_HEADS.values(), "steps under 15 m", "points"],
        lines,
        "Percentiles over the steps of the training parts, with the GPS' error in them; porto is "
        "observed, the others synthesised.",
    )
