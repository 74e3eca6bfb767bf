"""Commutes of Los Angeles County: by ZIP against what is observed, and the jobs filled.

    python tests/bench/commutes.py [persons]

Writes docs/results/commutes.json and .md: first what the gravity model expects (no sampling), then
trips from home to work of a sample of persons with their real day chains, the members of a household
fitted to each other and sharing its cars, and random region priors.
"""

import json
import sys
from datetime import date
from pathlib import Path

import numpy as np

# This folder's files would hide packages of their names.
sys.path[0] = str(Path(__file__).parents[1])

import placing  # noqa: E402

from assignment.anchors import AnchorTables, anchor_tables, commute_groups, persons_by_zone  # noqa: E402
from assignment.itinerary import lookup  # noqa: E402
from assignment.place import place  # noqa: E402
from raygen.checkpoints import SHIPPED  # noqa: E402
from raygen.city import City, open_city  # noqa: E402
from raygen.config import AssignmentConfig, ChainConfig, ComputeConfig  # noqa: E402
from raygen.population.fit import fit_city  # noqa: E402
from raygen.population.sample import sample_index  # noqa: E402
from raygen.stages.chains import day_chains, load_chain_models  # noqa: E402
from raygen.stages.households import join_days, with_companions  # noqa: E402
from raygen.stages.populate import populate  # noqa: E402
from raygen.taxonomy import HOME, MODES, WORK  # noqa: E402

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def expected(city: City, tables: AnchorTables) -> list[dict]:
    """Return what the gravity model gives, person for person."""
    needs = persons_by_zone(city)["work"]
    groups = commute_groups(city, needs)
    fit = tables.fits["work"]
    people = np.bincount(groups.of_zone, needs)
    off = np.abs(fit.mean - groups.target)
    jobs = city.jobs.sum(axis=1)
    some = jobs > 0
    off_jobs = np.abs(fit.filled[some] - 1.0)
    case = "gravity model, expectation"
    return [
        row(case, "commute_mean_absolute_error_min", np.average(off, weights=people), len(off)),
        row(
            case,
            "commute_groups_off_by_over_1_percent",
            (off / groups.target > 0.01).sum(),
            len(off),
        ),
        row(
            case,
            "jobs_wrongly_filled_share",
            np.average(off_jobs, weights=jobs[some]) / 2,
            some.sum(),
        ),
        row(case, "zones_filled_within_1_percent", (off_jobs < 0.01).mean(), some.sum()),
        row(case, "zones_filled_over_110_percent", (fit.filled[some] > 1.1).sum(), some.sum()),
    ]


def plans_of(persons, chains: np.ndarray):
    """Return schema.PLANS of day chains, with flat travel plans."""
    rows: list[tuple[int, int, int, int, int, int]] = []
    for person, chain in zip(persons["person_id"].to_pylist(), chains, strict=True):
        starts = [0, *(np.flatnonzero(np.diff(chain)) + 1).tolist()]
        for k, (a, b) in enumerate(zip(starts, [*starts[1:], 96], strict=True)):
            rows.append((person, 0, k, int(chain[a]), a, b))
    return placing.plan_table(rows)


def sampled(city: City, tables: AnchorTables, persons: int) -> list[dict]:
    """Return figures of trips from home to work."""
    fit = fit_city(city, 0)
    households, people = populate(fit, sample_index(fit, persons, 0, 2 * persons), 0, city, 0)
    models = load_chain_models(SHIPPED, ComputeConfig())
    joined = join_days(people, day_chains(people, 0, models, ChainConfig(), 0), 0, 0)
    plans = with_companions(plans_of(people, joined.chains), people, joined)
    priors = placing._priors(len(plans), len(city.zone_id), np.random.default_rng(0))
    placed = place(households, people, plans, priors, city, tables, AssignmentConfig(), 0)
    kind = placed.activities["type"].combine_chunks().indices.to_numpy()
    leg = np.flatnonzero((kind[1:] == WORK) & (kind[:-1] == HOME)) + 1
    start, end = (placed.activities[c].to_numpy() for c in ("start_s", "end_s"))
    minutes = (start[leg] - end[leg - 1]) / 60
    origin = placed.activities["zone_id"].to_numpy()[leg - 1].astype(np.int64)
    zone = lookup(city.zone_id.astype(np.int64), origin, "activities.zone_id")
    groups = commute_groups(city, persons_by_zone(city)["work"])
    found, count = group_means(groups.of_zone[zone], minutes, len(groups.target))
    noise = minutes.std() / np.sqrt(np.maximum(count, 1))
    enough = count >= 10
    case = f"{people.num_rows} persons, home to work"
    target = groups.target
    rows = [
        row(case, "mean_min", minutes.mean(), len(minutes), np.average(target, weights=count)),
        row(
            case,
            "correlation_by_zip",
            np.corrcoef(found[enough], target[enough])[0, 1],
            enough.sum(),
        ),
        row(
            case,
            "mean_absolute_error_by_zip_min",
            np.average(np.abs(found - target)[enough], weights=count[enough]),
            enough.sum(),
            # mean |x| of a normal error with the sample's standard deviation: a real sample's error
            floor=np.average(noise[enough], weights=count[enough]) * np.sqrt(2 / np.pi),
        ),
    ]
    return (
        rows
        + mode_rows(placed, leg, kind, case, tables)
        + [
            row(
                case,
                f"{name}_per_1000_trips",
                1000 * placed.counters[name] / placed.counters["trips"],
                placed.counters["trips"],
            )
            for name in ("infeasible", "shifted")
        ]
    )


def mode_rows(
    placed, leg: np.ndarray, kind: np.ndarray, case: str, tables: AnchorTables
) -> list[dict]:
    """Return shares by mode of the commutes, against the assumed ones."""
    trip_of = np.cumsum(placed.activities["sequence"].to_numpy() > 0) - 1
    mode = placed.trips["mode"].combine_chunks().indices.to_numpy()[trip_of[leg]]
    share = np.bincount(mode, minlength=len(MODES)) / len(mode)
    wanted = tables.reference.commute_shares
    return [
        row(case, f"share_{m}", s, len(mode), w)
        for m, s, w in zip(MODES, share, wanted, strict=True)
    ]


def group_means(group: np.ndarray, value: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of each group (0 where there is none) and its size."""
    count = np.bincount(group, minlength=groups)
    return np.bincount(group, value, minlength=groups) / np.maximum(count, 1), count


def row(
    case: str,
    metric: str,
    value: float,
    n: int,
    target: float | None = None,
    floor: float | None = None,
) -> dict:
    """Return one row of the result."""
    whole = {"value": value, "floor": floor, "target": target}
    figures = {k: None if v is None else round(float(v), 4) for k, v in whole.items()}
    return {"case": case, "metric": metric, "n": int(n), **figures}


def main() -> None:
    """Measure and write the results."""
    persons = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    city = open_city(sys.argv[2] if len(sys.argv) > 2 else "los_angeles")
    tables = anchor_tables(city)
    result = {
        "name": "commutes",
        "command": f"python tests/bench/commutes.py {persons}",
        "data": "Los Angeles County; commutes by ZIP: observed (ACS 2018-2022); shares by mode: assumed",
        "machine": "any: the figures are no times",
        "date": date.today().isoformat(),
        "rows": expected(city, tables) + sampled(city, tables, persons),
    }
    (RESULTS / "commutes.json").write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        "# Commutes of Los Angeles County",
        "",
        f"`{result['command']}`, {result['date']}. {result['data']}.",
        "",
        "| case | metric | value | floor | target | n |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r['case']} | {r['metric']} | {r['value']} | {r['floor'] or ''} | {r['target'] or ''} | {r['n']:,} |"
            for r in result["rows"]
        ),
        "",
        "A group is all zones of a ZIP (or of ZIPs with the same observed mean). Jobs wrongly filled:",
        "half the sum of |filled − places| over the places. The floor of the error by ZIP is",
        "what a sample of this size has from chance alone.",
    ]
    (RESULTS / "commutes.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
