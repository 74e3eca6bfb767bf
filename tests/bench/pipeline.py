"""Measure whole runs: ``python tests/bench/pipeline.py [--agents 10000 100000] [--city NAME]``.

Each run starts from nothing but the caches of the city, of its fit and of the planner's table.
Writes ``pipeline.json`` and ``pipeline.md``: seconds of each step, persons per CPU-second of each
stage, peak memory of each stage's actor and of all processes together.
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

# The benchmark of the assignment, in this folder, would hide the package of its name.
sys.path.remove(str(Path(__file__).parent))

from raygen import manifest
from raygen.config import RunConfig
from raygen.pipeline import generate
from raygen.results import Results, Row
from raygen.storage import Store

SAMPLE_S = 0.5
_TARGET_S = {10_000: 180.0}  # on two cores


class MemoryWatch(threading.Thread):
    """Peak of the proportional memory of this process and all its descendants."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            me = psutil.Process()
            self.peak = max(self.peak, sum(map(proportional, [me, *me.children(recursive=True)])))

    def stop(self) -> int:
        self._over.set()
        self.join()
        return self.peak


def proportional(process: psutil.Process) -> int:
    """Return a process's memory with its part of what it shares; 0 when it has just ended."""
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def measure(config: RunConfig) -> list[Row]:
    watch = MemoryWatch()
    watch.start()
    start = time.perf_counter()
    generate(config)
    wall = time.perf_counter() - start
    peak = watch.stop()
    store = Store(config.output)
    rows = manifest.load(store).rows
    size = sum(entry.bytes for entry in manifest.load(store).files.values())
    record: dict[str, Any] = json.loads(store.read(manifest.RUN))
    case, persons = f"{config.agents:,} agents", rows["persons"]
    found = [
        Row(case=case, metric="wall_s", value=wall, n=persons, target=_TARGET_S.get(config.agents)),
        Row(case=case, metric="peak_memory_gb_all_processes", value=peak / 1e9),
        Row(case=case, metric="bytes_per_person", value=size / persons, n=persons),
        Row(case=case, metric="trips_per_person", value=rows["trips"] / persons, n=persons),
    ]
    found += [
        Row(case=case, metric=f"step_{name}_s", value=seconds)
        for name, seconds in record["steps_s"].items()
    ]
    for stage, cost in record["stages"].items():
        found += [
            Row(case=case, metric=f"{stage}_persons_per_cpu_s", value=persons / cost["cpu_s"]),
            Row(case=case, metric=f"{stage}_cpu_s", value=cost["cpu_s"]),
            Row(case=case, metric=f"{stage}_peak_memory_gb", value=cost["peak_bytes"] / 1e9),
        ]
    found += [
        Row(case=case, metric=f"counter_{name}", value=count)
        for name, count in record["counters"].items()
    ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--city", default="los_angeles")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--output", type=Path, default=Path("docs/results/pipeline.json"))
    arguments = parser.parse_args()
    found: list[Row] = []
    for agents in arguments.agents:
        directory = Path(tempfile.mkdtemp(prefix="raygen-bench-"))
        config = RunConfig(
            city=arguments.city,
            weights=arguments.weights,
            agents=agents,
            seed=1,
            output=str(directory / "population"),
        )
        try:
            found += measure(config)
        finally:
            shutil.rmtree(directory)
    results = Results(
        name="pipeline",
        command="python tests/bench/pipeline.py",
        data=f"{arguments.city}, one day",
        rows=found,
        notes=[
            "A stage's CPU-seconds are those of its actor's process while it works on shards, the "
            "first shard's imports and compilation included.",
            "Memory of all processes is the sum of their proportional set sizes (shared pages "
            f"counted once), sampled every {SAMPLE_S} s.",
        ],
    )
    print(results.write(arguments.output))


if __name__ == "__main__":
    main()
