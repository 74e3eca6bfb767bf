"""HTP's Table 1: every model's trajectories against real ones, beside floors.

    python -m training.trajectory_results [--set NAME ...] [--model NAME=MODULE:FUNCTION ...]
        [--no-baselines] [--no-neural] [--no-shipped] [--count N] [--draws N]

Writes docs/results/trajectories.json, .md and figures, of the baselines and the shipped models on
all sets unless told otherwise. A model is a function of the trajectories to train on, the
conditions of the test trajectories and the road graph, and returns one trace for each condition.
What our models and baselines draw is drawn ``--draws`` times; values are means over the draws.
Rows of sets and models that are not run again are kept from the file that is there.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from raygen.errors import DataError
from raygen.matching.match import Matcher, Settings
from raygen.matching.nearest import roads_of
from raygen.results import Results, Row
from raygen.seeds import stream
from raygen.trajectories.conditions import Conditions, conditions_of
from raygen.trajectories.records import Traces, check_traces
from raygen.trajectory_metrics import IDEAL, Measured, Preset, card, measured, scores
from training.driven_again import TRIES, driven_again
from training.trajectory_baselines import Model, mechanistic, neural
from training.trajectory_figures import hours_figure, lengths_figure, maps_figure
from training.trajectory_models import transformer, transformer_free
from training.trajectory_sets import SETS, TrajectorySet, load
from training.trajectory_speeds import CASE, speed_rows, speed_table
from training.trajectory_tables import PAPER_HTP, SPREAD, table_1

Models = Mapping[str, Model | Sequence[Model]]
"""By name: a model, or draws of one."""

PRESETS: tuple[Preset, ...] = ("htp", "htp-corrected")
ROOT = Path(__file__).parents[1]
AGAIN = {
    "given roads, driven again": 1,
    f"given roads, driven again, nearest of {TRIES}": TRIES,
}
"""Rows of simulated trips driven once more, with the drives among which one is chosen."""

_FLOOR_DRAWS = 5
_NEAR_M = 20.0  # of their road: asked of 99 % of the points
_TARGETS = {"pr_dist": 0.018, "r_den": 0.99, "r_pat": 0.93, "g_den": 0.99}
"""Asked for on observed trips, in the preset ``htp``; twice the floor where that is worse."""


def model_of(path: str) -> Model:
    """Return the function that ``module:function`` names.

    Raises
    ------
    DataError
        If there is no such module or function.
    """
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"model {path!r}: must be module:function, {error}"
        raise DataError(msg) from None


def shipped_models(kind: str, draws: int) -> Models:
    """Return draws of the weights that come with raygen by name, the last with a kind's tables."""
    seeds = range(draws)
    return {
        "w/o LLM, given roads": [partial(transformer, seed=seed) for seed in seeds],
        "w/o LLM, given roads, own lengths": [
            partial(transformer_free, seed=seed) for seed in seeds
        ],
        "w/o LLM, given roads, tables of the kind": [
            partial(transformer, tables=kind, seed=seed) for seed in seeds
        ],
    }


def ceilings(data: TrajectorySet, draws: int) -> Models:
    """Return draws of the test trips driven again, where the simulator is at hand."""
    drives = data.drives
    if drives is None:
        return {}
    return {
        name: [driven_again(drives, draw, tries) for draw in range(draws)]
        for name, tries in AGAIN.items()
    }


def generated(model: Model, data: TrajectorySet, conditions: Conditions) -> tuple[Traces, float]:
    """Return a model's traces and the CPU seconds they took, training included.

    Raises
    ------
    DataError
        If the traces are broken, or not one for each condition.
    """
    begin = time.process_time()
    traces = model(data.train.roads, conditions, data.graph)
    spent = time.process_time() - begin
    check_traces(traces, "generated traces")
    if len(traces) != len(conditions):
        msg = f"generated traces: must be {len(conditions)}, one a condition, got {len(traces)}"
        raise DataError(msg)
    return traces, spent


def floors(data: TrajectorySet, real: Measured, known: Measured) -> dict[tuple[str, str], float]:
    """Return what real trajectories score against others, by preset and metric.

    As many training trajectories as there are test ones, drawn without replacement, five times.
    """
    rng = stream(0, "trajectories:floor")
    found: dict[tuple[str, str], list[float]] = {}
    count = len(real.first) - 1
    for _ in range(_FLOOR_DRAWS):
        rows = rng.choice(len(known.first) - 1, min(count, len(known.first) - 1), replace=False)
        other = _taken(known, np.sort(rows))
        for preset in PRESETS:
            for metric, value in scores(real, other, preset, data.box).items():
                found.setdefault((preset, metric), []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _taken(one: Measured, rows: np.ndarray) -> Measured:
    count = np.diff(one.first)[rows]
    first = np.concatenate([[0], np.cumsum(count)])
    points = np.repeat(one.first[:-1][rows] - first[:-1], count) + np.arange(first[-1])
    return Measured(first, one.lon_lat[points], one.segment[points], one.road_m[points])


def measure_set(data: TrajectorySet, models: Models) -> tuple[list[Row], dict[str, Traces]]:
    """Return the rows of a set, and what each model made, in its first draw.

    Values are means over the draws of a model; rows of the preset ``htp`` whose metric ends with
    ``SPREAD`` have the standard deviations.
    """
    matcher = Matcher(data.graph, Settings(sigma_m=5.0, beta_m=30.0))
    conditions = conditions_of(data.test.roads, data.graph, data.interval_s)
    real, known = (
        measured(data.graph, part.traces.first, part.traces.xy, roads_of(matcher, part.traces)[0])
        for part in (data.test, data.train)
    )
    floor = floors(data, real, known)
    n = len(data.test.traces)
    rows: list[Row] = []
    made: dict[str, Traces] = {}
    for name, given in models.items():
        case = f"{data.name}: {name}"
        found: list[dict[str, float]] = []
        for model in given if isinstance(given, Sequence) else [given]:
            traces, spent = generated(model, data, conditions)
            made.setdefault(name, traces)
            segment, told = roads_of(matcher, traces)
            one = measured(data.graph, traces.first, traces.xy, segment)
            values = {
                f"{preset}: {metric}": value
                for preset in PRESETS
                for metric, value in scores(real, one, preset, data.box).items()
            }
            found.append(
                values
                | {
                    "traces that drive connected roads": float((told.status == 0).mean()),
                    "points within 20 m of their road": float((one.road_m <= _NEAR_M).mean()),
                    "cpu_s, training included": spent,
                }
            )
        rows += _rows(case, found, n, floor)
        sys.stdout.write(f"{case}: {found[0]['cpu_s, training included']:.1f} CPU s\n")
        sys.stdout.flush()
    return rows, made


def _rows(
    case: str, draws: list[dict[str, float]], n: int, floor: dict[tuple[str, str], float]
) -> list[Row]:
    """Return the means of draws, and how much the figures of the first preset spread."""
    rows: list[Row] = []
    spreads: list[Row] = []
    for metric in draws[0]:
        values = [draw[metric] for draw in draws]
        preset = next((each for each in PRESETS if metric.startswith(f"{each}: ")), None)
        mean = float(np.mean(values))
        if preset is None:
            rows.append(Row(case=case, metric=metric, value=mean, n=n))
            continue
        rows.append(_row(case, preset, metric.removeprefix(f"{preset}: "), mean, n, floor))
        if preset == PRESETS[0] and len(draws) > 1:
            spread = float(np.std(values, ddof=1))
            spreads.append(Row(case=case, metric=metric + SPREAD, value=spread, n=len(draws)))
    return rows + spreads


def _row(
    case: str, preset: str, metric: str, value: float, n: int, floor: dict[tuple[str, str], float]
) -> Row:
    bound, target, paper = floor[preset, metric], None, None
    if preset == "htp" and case.startswith("porto: "):
        paper = PAPER_HTP.get(metric)
        if metric in _TARGETS:
            twice = IDEAL[metric] + 2 * (bound - IDEAL[metric])
            worse = min if IDEAL[metric] else max
            target = max(worse(_TARGETS[metric], twice), 0.0)
    return Row(
        case=case,
        metric=f"{preset}: {metric}",
        value=value,
        n=n,
        floor=bound,
        paper=paper,
        target=target,
        mode="oracle" if "given roads" in case else None,
    )


def kept(path: Path, sets: list[str], names: list[str]) -> tuple[list[Row], list[str]]:
    """Return the rows of a file of results that are not measured anew, and lines on other sets."""
    if not path.is_file():
        return [], []
    old = json.loads(path.read_text())
    anew = {f"{one}: {name}" for one in sets for name in names}
    rows = [Row(**row) for row in old["rows"] if row["case"] not in anew]
    heads = tuple(f"{one} (" for one in SETS if one not in sets)
    return rows, [note for note in old["notes"] if note.startswith(heads)]


def measured_sets(rows: list[Row]) -> list[str]:
    """Return the sets that rows are of, in the order of ``SETS``."""
    found = {row.case.split(": ")[0] for row in rows}
    return [name for name in SETS if name in found]


def notes(told: list[str]) -> list[str]:
    """Return what a reader must know of the figures."""
    rules = [f"{preset}: {json.dumps(card(preset))}" for preset in PRESETS]
    return [
        *told,
        *rules,
        "Floor: test trajectories against as many training ones, mean of five draws. Those are "
        "other trips: a model that is told where the test trips went can be nearer than the floor.",
        "Every model makes one trace for each test trajectory, told its start time, travel time, "
        "sampling interval and distance. Those with 'given roads' (mode oracle) are told the "
        "matched roads too, as the paper's protocol has it; the others the first and last road.",
        "Roads of points: map matching; a trace that cannot be matched as a whole gets the nearest "
        "road at each point. 'traces that drive connected roads' is the share that was matched.",
        "The observed Porto set is the first 1,000 trips alone: test sets of some fifty stretches "
        "cannot tell good models apart, and twice their floors is no hard target (0 where it would "
        "be below); paper: HTP on 597,771 trips of Porto, not these.",
        "The neural baselines are small and trained for about a minute on one core: they stand for "
        "drawing in free space at that cost, not for the published models. They are left out where "
        "a set's table does not have them.",
        "'driven again' is a ceiling, and no model: the simulator drives the test trips once more, "
        "the same routes at the same start times, with other drivers, reds and errors of the GPS. "
        "That is what a perfect generator told roads and start time would get; 'nearest of "
        f"{TRIES}' is nearest in travel time, which our models and baselines are told too. For "
        "trips by SUMO it would be another whole run, and for observed ones there is none.",
        "± : standard deviation over draws of what a model or baseline draws; the values are "
        "means over them. Rows without it draw nothing, or (the neural ones) were trained once.",
        "Length is given by travel time over interval, hence equal to the real one for baselines.",
        "'w/o LLM' rows: shipped weights (raygen/weights/trajectories), fitted before to simulated "
        "trips of other draws of the cities, and to Porto's training part; their seconds are of "
        "generating alone. What codes leave open is drawn from what the autoencoder's weights "
        "hold, of all sets, as in a run; 'tables of the kind': from tables of observed or of "
        "synthesised trips alone (trips by SUMO are not among them).",
    ]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=MODULE:FUNCTION")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--no-neural", action="store_true")
    parser.add_argument("--no-shipped", action="store_true")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()
    draws: int = options.draws
    models: dict[str, Model | Sequence[Model]] = {}
    if not options.no_baselines:
        models |= mechanistic(draws) | ({} if options.no_neural else neural())
    for text in options.model:
        name, _, where = text.partition("=")
        models[name] = model_of(where)
    sets: list[str] = options.set or list(SETS)
    path: Path = options.output / "trajectories.json"
    options.output.mkdir(parents=True, exist_ok=True)
    own = [] if options.no_shipped else list(shipped_models("observed", draws))
    rows, told = kept(path, sets, [CASE, *models, *own, *AGAIN])
    for name in sets:
        data = load(name, options.data, options.count)
        told.append(f"{name} ({data.kind}): {data.told}.")
        shipped = shipped_models(data.kind, draws) if own else {}
        new, made = measure_set(data, {**models, **shipped, **ceilings(data, draws)})
        rows += speed_rows(data) + new
        maps_figure(data, made, options.output / f"trajectories-map-{name}.png")
        lengths_figure(data, made, options.output / f"trajectories-density-{name}.png")
        if name == "porto-simulated":
            hours_figure(data, options.output / "trajectories-hours.png")
    rows.sort(key=lambda row: SETS.index(row.case.split(": ")[0]))
    told.sort(key=lambda line: SETS.index(line.split(" (")[0]))
    result = Results(
        "trajectories",
        "python -m training.trajectory_results",
        "data/porto (observed trips and roads), data/la_basin (observed network); simulated trips "
        "are synthesised by training/simulated_trips.py, or driven by SUMO (sumo_trips.py)",
        rows,
        notes(told),
        [
            speed_table(rows, measured_sets(rows)),
            *(table_1(rows, name, preset) for name in measured_sets(rows) for preset in PRESETS),
        ],
    )
    sys.stdout.write(f"{result.write(path)}\n")


if __name__ == "__main__":
    main()
