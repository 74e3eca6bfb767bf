"""Measure the population fit: ``python tests/bench/population.py [CITY] [--output DIR]``.

Run with one thread (OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1). Writes ``population-fit.json`` and
``population-fit.md``: households per CPU-second, error of each control, and what the population
looks like beside the county.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from raygen.city import City, open_city
from raygen.population.fit import CONTROLS, PopulationFit, fit_city
from raygen.population.sample import sample_index
from raygen.stages.populate import populate

SHARD = 2500
PEER = 360.0  # households per CPU-second, PopulationSim 0.10 on the same kind of machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("city", nargs="?", default="los_angeles")
    parser.add_argument("--output", type=Path, default=Path("docs/results"))
    arguments = parser.parse_args()
    city = open_city(arguments.city)
    fit_city(city, 0)  # compiles
    start = time.process_time()
    fit = fit_city(city, 0)
    fit_cpu = time.process_time() - start
    rows = fit_rows(fit, fit_cpu) + error_rows(fit) + expand_rows(fit, city) + shape_rows(fit)
    write(rows, fit, city, arguments.output)


def row(case: str, metric: str, value: float, **more: object) -> dict[str, object]:
    blank = dict.fromkeys(["n", "floor", "baseline", "baseline_name", "paper", "target", "mode"])
    return {"case": case, "metric": metric, "value": round(float(value), 6), **blank, **more}


def fit_rows(fit: PopulationFit, cpu: float) -> list[dict[str, object]]:
    rate = fit.households / cpu
    return [
        row("full size", "households_per_cpu_s", round(rate), n=fit.households, target=10_000,
            peer=PEER, peer_name="PopulationSim 0.10", unit="households/CPU-s"),
        row("full size", "fit_cpu_s", cpu, n=len(fit.zone_id)),
        row("full size", "persons", fit.persons),
    ]  # fmt: skip


def error_rows(fit: PopulationFit) -> list[dict[str, object]]:
    """Relative errors |fitted - target| / max(target, 1), zones that have households."""
    control = np.asarray(fit.report["control"].combine_chunks().indices)
    target, fitted = fit.report["target"].to_numpy(), fit.report["fitted"].to_numpy()
    zone = np.searchsorted(np.sort(fit.zone_id), fit.report["zone_id"].to_numpy())
    homes = np.diff(fit.zone_start)[np.argsort(fit.zone_id)][zone]
    relative = np.abs(fitted - target) / np.maximum(target, 1)
    rows = [
        row("full size, zones with households", "mean_abs_control_error",
            relative[homes > 0].mean(), n=int((homes > 0).sum()), target=0.01),
        row("full size, all zones", "mean_abs_control_error", relative.mean(),
            n=len(relative), target=0.01),
    ]  # fmt: skip
    for code, name in enumerate(CONTROLS):
        mine = (control == code) & (homes > 0)
        if not mine.any():
            continue
        errors = relative[mine]
        rows += [
            row(name, "mean_abs_error", errors.mean(), n=int(mine.sum()), target=0.01),
            row(name, "p99_abs_error", np.quantile(errors, 0.99), n=int(mine.sum())),
            row(name, "total_abs_error_over_total",
                np.abs(fitted - target)[mine].sum() / target[mine].sum(), n=int(mine.sum())),
        ]  # fmt: skip
    missed = np.unique(zone[(homes > 0) & (relative > 0.1) & (np.abs(fitted - target) > 2)])
    rows.append(row("zones with a control off by over 10 % and over 2", "zones", len(missed)))
    lost = target[(homes == 0) & (control == list(CONTROLS).index("population"))].sum()
    rows.append(row("zones without households", "persons_not_generated", lost))
    return rows


def expand_rows(fit: PopulationFit, city: City) -> list[dict[str, object]]:
    start = time.process_time()
    index = sample_index(fit, 0, 0, SHARD)
    index_cpu = time.process_time() - start
    shards = range(0, index.shards, max(1, index.shards // 200))
    start = time.process_time()
    persons = sum(populate(fit, index, shard, city, 0)[1].num_rows for shard in shards)
    cpu = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        row("index of everyone", "cpu_s", index_cpu, n=index.persons),
        row(f"populate, shards of {SHARD}", "persons_per_cpu_s", round(persons / cpu), n=persons),
        row("whole benchmark", "peak_rss_mib", round(peak)),
    ]


def shape_rows(fit: PopulationFit) -> list[dict[str, object]]:
    """Shares that no control fixes, for the eye."""
    seeds = fit.seeds
    homes = np.bincount(fit.row, minlength=len(seeds.weight)).astype(np.float64)
    people = np.repeat(homes, seeds.size)
    workers = np.add.reduceat((seeds.employment == 0).astype(np.int64), seeds.start[:-1])
    oldest = np.maximum.reduceat(seeds.age, seeds.start[:-1])
    used = homes / homes.sum()
    force = people[seeds.employment < 2].sum()
    rows = [
        row("population", "female_share", people[seeds.sex == 1].sum() / people.sum()),
        row("population", "unemployment_rate", people[seeds.employment == 1].sum() / force),
        row("population", "vehicles_per_household", (seeds.vehicles * used).sum()),
        row("population", "households_without_an_adult", homes[oldest < 18].sum()),
        row("population", "effective_seed_households", 1 / (used**2).sum(), n=len(homes)),
    ]
    for size in range(1, 8):
        mine = seeds.size >= size if size == 7 else seeds.size == size
        name = f"size {size}{' or more' if size == 7 else ''}"
        rows.append(row(name, "share_of_households", used[mine].sum()))
    for count in range(4):
        mine = workers >= count if count == 3 else workers == count
        name = f"{count}{' or more' if count == 3 else ''} employed"
        rows.append(row(name, "share_of_households", used[mine].sum()))
    for low in range(0, 90, 10):
        mine = (seeds.age >= low) & ((seeds.age < low + 10) | (low == 80))
        rows.append(row(f"age {low}{'+' if low == 80 else f'-{low + 9}'}", "share_of_persons",
                        people[mine].sum() / people.sum()))  # fmt: skip
        if 10 < low:
            employed = people[mine & (seeds.employment == 0)].sum() / people[mine].sum()
            rows.append(
                row(f"age {low}{'+' if low == 80 else f'-{low + 9}'}", "employed", employed)
            )
    return rows


def write(rows: list[dict[str, object]], fit: PopulationFit, city: City, output: Path) -> None:
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
    threads = ", ".join(f"{name}={os.environ.get(name, 'unset')}" for name in names)
    head = {
        "name": "population-fit",
        "command": " ".join(["python tests/bench/population.py", *sys.argv[1:]]),
        "data": f"{city.name}, {len(city.zone_id)} zones, digest {city.digest[:12]}; "
        "seed tables calibrated to ATUS 2003-2016",
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{threads}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rows": rows,
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / "population-fit.json").write_text(json.dumps(head, indent=1) + "\n")
    lines = [
        "# Population fit",
        "",
        f"`{head['command']}`, {head['date']}, {head['machine']}. {head['data']}.",
        "",
        "Relative errors are |fitted − target| / max(target, 1); means are over zones. The seed is",
        "a model of households, not microdata: the shares at the end are no observations.",
        "",
        "| case | metric | value | target | n |",
        "|---|---|---|---|---|",
    ]
    for r in rows:
        target, n = ("" if r[k] is None else f"{r[k]:,}" for k in ("target", "n"))
        lines.append(f"| {r['case']} | {r['metric']} | {r['value']:,} | {target} | {n} |")
    lines += ["", "## Zones furthest from their controls", "", *worst(fit), ""]
    (output / "population-fit.md").write_text("\n".join(lines))


def worst(fit: PopulationFit) -> list[str]:
    """Return the rows of the report with the largest errors that are more than two units."""
    report = fit.report.filter(pc.greater(pc.abs(fit.report["error"]), 2.0))
    size = pc.divide(pc.abs(report["error"]), pc.max_element_wise(report["target"], 1.0))
    report = report.append_column("relative", size).sort_by([("relative", "descending")])
    lines = ["| zone | control | target | fitted |", "|---|---|---|---|"]
    for r in report.slice(0, 15).to_pylist():
        lines.append(f"| {r['zone_id']} | {r['control']} | {r['target']:.0f} | {r['fitted']:.0f} |")
    return lines


if __name__ == "__main__":
    main()
