"""Refine the assignment to observed-network flows: the north of central Los Angeles.

    python tests/bench/la_basin.py [persons] [city directory]

Builds a city from data/la_basin (sub-network 1: TAZs, roads, tracts and the calibrated morning
vehicle OD; see ``la_basin_city``), makes a sample of its people with days of the Czech survey, refines the
location assignment to the OD over eight sub-regions, and writes docs/results/od-refinement.
"""

import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

# This folder's files would hide packages of their names.
sys.path[0] = str(Path(__file__).parents[1])

import placing  # noqa: E402
from bench.la_basin_city import build  # noqa: E402

from actors.calibration import activity_types  # noqa: E402
from assignment.anchors import anchor_tables  # noqa: E402
from assignment.frequencies import Round, compare  # noqa: E402
from assignment.place import place  # noqa: E402
from assignment.refinement import Refined, apply, refine  # noqa: E402
from raygen import seeds  # noqa: E402
from raygen.city import City, open_city  # noqa: E402
from raygen.config import AssignmentConfig, RefinementConfig  # noqa: E402
from raygen.flow_target import (  # noqa: E402
    OD_FILE,
    FlowTarget,
    read_target,
    region_matrix,
)
from raygen.flows import chosen, gravity_by_subregion, halves, sample_floor  # noqa: E402
from raygen.population.fit import PopulationFit, fit_city  # noqa: E402
from raygen.population.sample import sample_index  # noqa: E402
from raygen.results import Results, Row  # noqa: E402
from raygen.stages.homes import HomeMoves, home_moves, move_homes  # noqa: E402
from raygen.stages.populate import populate  # noqa: E402
from raygen.survey import CHILD_ROW, expand, read_survey  # noqa: E402
from raygen.taxonomy import SCHOOL, WORK  # noqa: E402
from raygen.timeuse import read_time_use  # noqa: E402

ROOT = Path(__file__).parents[2]
DATA, SUBREGIONS = ROOT / "data", 8


def survey_days(persons: pa.Table) -> pa.Table:
    """Return schema.PLANS: each person has an observed day of its group in the Czech survey.

    Persons go to work or school only where they have a place of it: else another day is drawn.
    """
    survey, use = read_survey(DATA / "czechia_hts"), read_time_use(DATA / "atus")
    shares = np.concatenate(
        [use.participation[0], use.participation[0][6:8].mean(0, keepdims=True)]
    )
    chains = expand(survey, shares, use.log_minutes, 0, "la_basin")
    works, studies = (chains == WORK).any(1), (chains == SCHOOL).any(1)
    group = persons["demographic_group"].to_numpy().astype(int)
    row = np.where(persons["age"].to_numpy() < 15, CHILD_ROW, group)
    worker = persons["employment"].combine_chunks().indices.to_numpy() == 0
    student = persons["student"].combine_chunks().indices.to_numpy() > 0
    ids = persons["person_id"].to_numpy()
    draw = seeds.uniforms(0, "la_basin-days", ids, 1)[:, 0]
    rows: list[tuple[int, int, int, int, int, int]] = []
    kinds: dict[tuple[int, bool, bool], tuple[np.ndarray, np.ndarray]] = {}
    for i, person in enumerate(ids.tolist()):
        key = int(row[i]), bool(worker[i]), bool(student[i])
        if key not in kinds:
            fit = (survey.row == key[0]) & (key[1] | ~works) & (key[2] | ~studies)
            fit = fit if fit.any() else ~works & ~studies
            kinds[key] = (
                np.flatnonzero(fit),
                np.cumsum(survey.weight[fit]) / survey.weight[fit].sum(),
            )
        chosen_row = kinds[key][0][np.searchsorted(kinds[key][1], draw[i])]
        chain = chains[chosen_row]
        starts = [0, *(np.flatnonzero(np.diff(chain)) + 1).tolist()]
        for k, (a, b) in enumerate(zip(starts, [*starts[1:], 96], strict=True)):
            rows.append((person, 0, k, int(chain[a]), a, b))
    return placing.plan_table(rows)


def sample_of(
    city: City, fit: PopulationFit, persons: int, seed: int, moves: HomeMoves | None = None
) -> list[placing.Shard]:
    """Return one shard of people with days and without a prior: DataFusion's Algorithm 3 alone."""
    index = sample_index(fit, persons, seed, 10 * persons)
    households, people = populate(fit, index, 0, city, seed)
    if moves is not None:
        households = move_homes(households, city, moves, seed)
    plans = survey_days(people)
    none = np.full((len(plans), 32), -1)
    priors = placing.prior_table(none, np.zeros((len(plans), 32)), np.zeros(len(plans)))
    return [(households, people, plans, priors)]


def trips_of(sample, city, tables, config, target: FlowTarget, seed: int):
    """Return person, origin and destination sub-region of the trips that the target counts."""
    placed = place(*sample[0], city, tables, config, seed)
    keep = chosen(placed.trips, target.counted)
    order = np.argsort(city.zone_id)
    ends = [
        city.subregion[
            order[np.searchsorted(city.zone_id[order], placed.trips[c].to_numpy()[keep])]
        ]
        for c in ("origin_zone_id", "destination_zone_id")
    ]
    return placed.trips["person_id"].to_numpy()[keep], *(end.astype(np.int64) for end in ends)


def rows_of(case: str, number: Round, n: int, floors: dict[str, float]) -> list[Row]:
    """Return the figures of one stage of the refinement."""
    paper = {"cosine": 0.997}
    return [
        Row(case=case, metric=name, value=getattr(number, name), n=n, floor=floors.get(name),
            baseline=floors.get("gravity " + name), baseline_name="gravity", paper=paper.get(name),
            target=paper.get(name))
        for name in ("cosine", "given_origins", "cosine_without_diagonal", "common_part", "largest_gap")
    ]  # fmt: skip


def type_rows(refined: Refined, target: FlowTarget, n: int) -> list[Row]:
    """Return what refinement moved by activity type; the target counts all types as one."""
    found = activity_types(refined, target)
    return [
        Row(case=f"by type: {word}", metric="share of trips moved", value=each["moved"], n=n)
        for word, each in found.items() if each["trips_before"] >= 100
    ]  # fmt: skip


def main() -> None:
    """Build, refine, and write the results."""
    persons = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    home = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "runs/la_basin"
    city = open_city(str(build(DATA / "la_basin", home)))
    target, fit = read_target(home / OD_FILE, city), fit_city(city, 0)
    sample, config = sample_of(city, fit, persons, 0), AssignmentConfig(gamma=0.0)
    tables = anchor_tables(city)
    n = sample[0][1].num_rows
    base = compare(target.subregion, gravity_by_subregion(target, city))
    rows: list[Row] = []
    for origins in (False, True):
        settings = RefinementConfig(origins=origins)
        refined = refine(sample, city, tables, config, target, settings, 0)
        new, said = apply(tables, refined, city), ", origins too" if origins else ""
        moves = home_moves(city, refined.homes) if origins else None
        others = sample_of(city, fit, persons, 1, moves)
        person, *ends = trips_of(others, city, new, config, target, 1)
        floors = {
            "cosine": sample_floor(target.subregion, len(person), True),
            "cosine_without_diagonal": sample_floor(target.subregion, len(person), False),
            "gravity cosine": base.cosine, "gravity common_part": base.common_part,
            "gravity cosine_without_diagonal": base.cosine_without_diagonal,
            "gravity given_origins": base.given_origins,
        }  # fmt: skip
        if not origins:
            rows += rows_of("before refinement", refined.history[0], n, floors)
        best = refined.history[refined.best]
        rows += rows_of(f"after refinement{said} (round {refined.best})", best, n, floors)
        again = compare(target.subregion, region_matrix(*ends, SUBREGIONS))
        rows += rows_of(f"after refinement{said}, other people and draws", again, n, floors)
        halved = halves(person, *ends, SUBREGIONS, True)
        rows.append(
            Row(
                case=f"after refinement{said}",
                metric="two halves of the persons",
                value=halved,
                n=n,
            )
        )
        if moves is not None:
            left = float(moves.moved @ shares_of_homes(city))
            rows.append(Row(case=f"after refinement{said}", metric="households moved", value=left))
        rows += type_rows(refined, target, n) if not origins else []
        rows += [
            Row(case=f"round {k}{said}", metric=name, value=getattr(r, name), n=n)
            for k, r in enumerate(refined.history) for name in ("cosine", "given_origins", "largest_gap")
        ]  # fmt: skip
    results = Results(
        name="od-refinement", command=re.sub(r"\s+", " ", f"python tests/bench/la_basin.py {persons}"),
        data="data/la_basin, sub-network 1: flows calibrated by their source; population observed "
        "(tracts); jobs from the flows' destinations; days: Czech survey, observed", rows=rows,
        notes=[
            f"Vehicle trips of 6 to 12 h over eight sub-regions; {len(person):,} trips of the sample.",
            "The source has flows of sub-network 1 alone, none of the other five.",
            "Gates are left out: trips from, to and through other places are not the people's.",
            "Jobs follow the flows' column sums, which the gravity baseline has exactly as well, with "
            "the row sums; the homes are the tracts', which the sample keeps unless origins move.",
            "given_origins: the target's rows scaled to the sample's.",
            "The best round is chosen on the sample that it is refined on: 'other people and draws' is "
            "the figure to take: another sample of the population, its homes moved, placed with "
            "another seed.",
        ],
    )  # fmt: skip
    sys.stdout.write(f"{results.write(ROOT / 'docs/results/od-refinement.json')}\n")


def shares_of_homes(city: City) -> np.ndarray:
    """Return the share of households by sub-region."""
    here = np.bincount(city.subregion, city.households, SUBREGIONS)
    return here / here.sum()


if __name__ == "__main__":
    main()
