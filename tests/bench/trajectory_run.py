"""Measure the trajectories of whole runs, without and with a language model.

    python tests/bench/trajectory_run.py [--folder runs/trajectory_los_angeles] [--agents 10000]

The same people of Los Angeles, the same sampled trips: the Transformer that comes with raygen, and
the language model of ``raygen train trajectory training/recipes/trajectory_los_angeles.toml``. Each
run is validated. Beside the speeds of both stand those of trips that are simulated on the same
roads. Writes docs/results/trajectory-run.json and .md.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

# The benchmark of the assignment, in this folder, would hide the package of its name.
sys.path.remove(str(Path(__file__).parent))

from raygen import checkpoints, manifest
from raygen.city import open_city
from raygen.config import ChainConfig, ComputeConfig, RunConfig, SpeakerConfig, TrajectoryConfig
from raygen.pipeline import generate
from raygen.results import Results, Row
from raygen.storage import Store
from raygen.trajectory_charts import Points
from raygen.validation import validate
from training.codec_data import TrajectorySources, simulated
from training.trajectory_speeds import speeds

CITY = "los_angeles"
WITHOUT, WITH, SIMULATED = "without a language model", "with a language model", "simulated trips"
PEERS = 600

_NEAR_M = 20.0
_KPH = 3.6
_LEVELS = (5, 25, 50, 75, 95)


def run_of(agents: int, output: Path, folder: Path | None) -> RunConfig:
    """Return the demo's run, with the language model of a folder or without any."""
    planner: dict[str, Any] = {}
    if folder is not None:
        planner = {"planner": "language", "language": SpeakerConfig(folder=folder.resolve())}
    return RunConfig(
        city=CITY,
        agents=agents,
        seed=1,
        output=str(output),
        chains=ChainConfig(day_of_week=1, days=1),
        compute=ComputeConfig(shard_persons=1250),
        trajectories=TrajectoryConfig(share=0.01, **planner),
    )


def measured(case: str, config: RunConfig) -> list[Row]:
    """Return the rows of a run."""
    generate(config)
    store = Store(config.output)
    record: dict[str, Any] = json.loads(store.read(manifest.RUN))
    counters, spent = record["counters"], record["stages"]["trace"]["cpu_s"]
    table = pq.read_table(Path(config.output) / "trajectories").combine_chunks()
    count = table.num_rows
    away = table["off_road_m"].combine_chunks().flatten().to_numpy()
    broken = sum(check.violations for check in validate(config.output))
    figures = {
        "trajectories a CPU-second of the stage": count / spent,
        "share of the run's CPU time": spent / sum(s["cpu_s"] for s in record["stages"].values()),
        "points within 20 m of their road": float((away <= _NEAR_M).mean()),
        "violations of the rules of `raygen validate`": float(broken),
    }
    if "language_prompt_ms" in counters:
        prompt, answer = (counters[f"language_{name}_ms"] / 1000 for name in ("prompt", "answer"))
        figures |= {
            "share of the stage in the language model": (prompt + answer) / spent,
            "prompt tokens a second": counters["language_prompt_tokens"] / prompt,
            "answer tokens a second": counters["language_answer_tokens"] / answer,
        }
    rows = [Row(case=case, metric=name, value=value, n=count) for name, value in figures.items()]
    points = Points(table, open_city(CITY))
    return [*rows, *speed_rows(case, points.speeds(), count)]


def speed_rows(case: str, kph: np.ndarray, count: int) -> list[Row]:
    """Return percentiles of the speeds between points."""
    return [
        Row(case=case, metric=f"km/h between points, {level} %", value=float(value), n=count)
        for level, value in zip(_LEVELS, np.percentile(kph, _LEVELS), strict=True)
    ]


def simulated_rows() -> list[Row]:
    """Return the speeds of simulated trips on the same roads."""
    sources = TrajectorySources(networks=(CITY,), simulated=PEERS, intervals=(15.0,))
    trips = simulated(CITY, sources, 7)
    traces = trips.made.traces(trips.roads)
    metres, seconds = speeds(traces)
    return speed_rows(SIMULATED, _KPH * metres / seconds, len(traces))


def main() -> None:
    """Run, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/trajectory_los_angeles"))
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=Path("docs/results/trajectory-run.json"))
    options = parser.parse_args()
    digest, provenance = checkpoints.label(options.folder)
    directory = Path(tempfile.mkdtemp(prefix="raygen-bench-"))
    rows: list[Row] = []
    try:
        for case, folder in ((WITHOUT, None), (WITH, options.folder)):
            output = directory / ("patterns" if folder is None else "language")
            rows += measured(case, run_of(options.agents, output, folder))
    finally:
        shutil.rmtree(directory)
    results = Results(
        name="trajectory-run",
        command=f"python tests/bench/trajectory_run.py --agents {options.agents}",
        data=f"{CITY}, {options.agents:,} agents, one Tuesday: synthesised",
        rows=[*rows, *simulated_rows()],
        notes=[
            f"Language model {options.folder.name} ({digest[:12]}): fitted to {provenance}.",
            "The language model runs in float32 in 16 slots of an actor: the same bytes on any "
            "number of workers. CPU-seconds are of the actors at work.",
            "Simulated trips: taxi trips on the same roads, other routes and hours, a point every "
            "15 s; no observed trips of the city are at hand.",
        ],
    )
    sys.stdout.write(f"{results.write(options.output)}\n")


if __name__ == "__main__":
    main()
