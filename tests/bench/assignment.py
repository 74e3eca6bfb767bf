"""Measure the assignment on synthetic cities of 500 to 6,000 zones.

    python tests/bench/assignment.py [persons] [zones ...]

Writes docs/results/assignment.json and .md; rows of numbers of zones that are not named are kept as
they are in the file. CPU seconds of one thread, kernels compiled; the city,
the day chains and the priors are made by code (tests/placing.py), so the times are what
the figures are about. ``docs/results/assignment.md`` says what each case is.
"""

import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

# This file's own folder would hide the package of its name.
sys.path[0] = str(Path(__file__).parents[1])
import placing  # noqa: E402

from assignment.anchors import anchor_tables  # noqa: E402
from assignment.itinerary import read_people, read_plan, read_prior  # noqa: E402
from assignment.kernel import place_activities  # noqa: E402
from assignment.place import (  # noqa: E402
    draw_anchors,
    fixed_zones,
    place,
    run_setting,
    travellers_of,
)
from assignment.returns import GAMMA, RHO, returns  # noqa: E402
from raygen.config import AssignmentConfig  # noqa: E402

RESULTS = Path(__file__).parents[2] / "docs" / "results"
CASES = {
    "prior and Algorithm 3 (default)": AssignmentConfig(),
    "Algorithm 3 alone (gamma 0)": AssignmentConfig(gamma=0.0),
    "UniMob alone (alpha, beta 0)": AssignmentConfig(alpha=0.0, beta=0.0),
}
SIZES = ((25, 20), (50, 30), (75, 40), (100, 60))
"""Columns and rows of the grids of zones."""


def spent_by(run: Callable[[], object], times: int = 20) -> tuple[float, float]:
    """Return the least and the median CPU seconds of some runs."""
    spent: list[float] = []
    for _ in range(times):
        begin = time.process_time()
        run()
        spent.append(time.process_time() - begin)
    return min(spent), statistics.median(spent)


def kernel_s(city, tables, shard: placing.Shard, config: AssignmentConfig):
    """Return CPU seconds of the location kernel alone, least and median, and what it places."""
    people = read_people(shard[0], shard[1], city, 0)
    plan, owner = read_plan(shard[2], people)
    prior = read_prior(shard[3], shard[2].num_rows)
    work, school = draw_anchors(people, tables, 0)
    open_zone = fixed_zones(plan, people.home_zone[owner], work[owner], school[owner])
    setting = run_setting(city, tables, config)
    movers = travellers_of(people, setting)

    again = returns(plan, open_zone < 0, movers.keys, RHO, GAMMA)

    def run() -> None:
        place_activities(setting, plan, prior, movers, open_zone.copy(), again.copy())

    return *spent_by(run), int((open_zone < 0).sum())


def measure(persons: int, sizes: list[int]) -> list[dict]:
    """Return the rows of some numbers of zones; each is written to stdout as it is done."""
    rows: list[dict] = []
    for columns, lines in SIZES:
        if columns * lines not in sizes:
            continue
        city = placing.grid_city(columns, lines)
        zones, case = columns * lines, f"{columns * lines:,} zones"
        begin = time.process_time()
        tables = anchor_tables(city)
        rows.append(row(f"anchors, {case}", "cpu_s", time.process_time() - begin, zones))
        shard = placing.shard(city, persons, 1)
        count = shard[1].num_rows
        for name, config in CASES.items():
            if config.alpha == 0.0 and zones > 1500:
                continue
            seconds, median, placed = kernel_s(city, tables, shard, config)
            # The prior alone scans all zones: no target.
            target = 100_000 if config.alpha > 0 and zones == 3000 else None
            rows.append(
                row(f"{name}, {case}", "kernel_persons_per_cpu_s", count / seconds, count, target)
            )
            rows.append(
                row(f"{name}, {case}", "kernel_persons_per_cpu_s_median", count / median, count)
            )
            rows.append(
                row(f"{name}, {case}", "kernel_us_per_activity", seconds / placed * 1e6, placed)
            )
            sys.stdout.write(str(rows[-3]) + chr(10))
            sys.stdout.flush()
        place(*shard, city, tables, AssignmentConfig(), 0)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        whole, _ = spent_by(
            lambda c=city, t=tables, s=shard: place(*s, c, t, AssignmentConfig(), 0)
        )
        rows.append(row(f"place(), all of it, {case}", "persons_per_cpu_s", count / whole, count))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        rows.append(row(f"place() 20 times more, {case}", "memory_growth_mib", grown / 1024, count))
    return rows


def row(case: str, metric: str, value: float, n: int, target: float | None = None) -> dict:
    """Return one row of the result."""
    return {
        "case": case,
        "metric": metric,
        "value": round(float(value), 3),
        "n": n,
        "target": target,
    }


def processor() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(names)} threads"


def main() -> None:
    """Measure and write the results."""
    persons = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    every = [columns * lines for columns, lines in SIZES]
    sizes = [int(word) for word in sys.argv[2:]] or every
    if not set(sizes) <= set(every):
        sys.exit(f"zones must be of {every}, got {sizes}")
    rows = measure(persons, sizes)
    path = RESULTS / "assignment.json"
    old = json.loads(path.read_text())["rows"] if path.is_file() else []
    of_size = {size: f"{size:,} zones" for size in every}
    result = {
        "name": "assignment",
        "command": " ".join(["python tests/bench/assignment.py", *sys.argv[1:]]),
        "data": "synthesised: tests/placing.py, grids of zones",
        "machine": f"{processor()}, load average {os.getloadavg()[0]:.0f}",
        "date": date.today().isoformat(),
        "rows": [
            r
            for size in every
            for r in (rows if size in sizes else old)
            if r["case"].endswith(f", {of_size[size]}")
        ],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        "# Assignment: speed",
        "",
        f"`{result['command']}`, {result['date']}, {result['machine']}. Data: {result['data']}.",
        "",
        "| case | metric | value | n | target |",
        "|---|---|---|---|---|",
        *(
            f"| {r['case']} | {r['metric']} | {r['value']:,} | {r['n']:,} | {r['target'] or ''} |"
            for r in result["rows"]
        ),
        "",
        "One thread; CPU seconds, the least (or the median) of 20 runs of one shard. Numbers of zones",
        "that the command does not name are of an earlier run. The load average says how many",
        "others wanted the processor: with more than one a CPU they share its caches and slow it.",
        "The kernel is the choice of zones (`assignment.kernel`); `place()` also reads the tables,",
        "draws anchors and points, finds regions, chooses modes, fixes the clock and writes the",
        "tables. The prior alone has no rings to follow: it reads all zones for each activity.",
    ]
    (RESULTS / "assignment.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
