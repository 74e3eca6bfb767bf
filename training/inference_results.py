"""Measure activity inference: ``python -m training.inference_results``.

First ``raygen generate training/recipes/inference.toml`` makes the people (see
``training.inference_truth``). Writes ``docs/results/activity-inference.json`` and ``.md``, and
where the GeoLife traces are there, ``activity-inference-geolife.png`` (``training.inference_map``).
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raygen.annotation.metrics import weighted_f1
from raygen.city import City, open_city
from raygen.inference.infer import Inferred, Stays, infer
from raygen.inference.people import classify
from raygen.inference.pois import PoiIndex, city_index
from raygen.inference.settings import InferenceConfig
from raygen.inference.temporal import Temporal, load_temporal, log_tables
from raygen.results import Results, Row
from raygen.taxonomy import ACTIVITY_TYPES, SCHOOL
from training.geolife_traces import TRACES
from training.inference_map import FOLDER, draw_geolife
from training.inference_truth import Truth, read_truth

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_POPULATION = Path("runs/inference")
_OUTPUT = Path("docs/results/activity-inference.json")
_NOISES_M = (0.0, 5.0, 10.0, 20.0)
_SEED = 1
_DAYS = 7
_PAPER = {"accuracy": 0.917, "weighted_f1": 0.923}
_PAPER_TYPES = {
    "home": 0.983,
    "work": 0.872,
    "school": 0.900,
    "healthcare": 1.0,
    "worship": 1.0,
    "social": 0.522,
}
_PAPER_TOP3 = {5.0: 0.884, 10.0: 0.853, 20.0: 0.842}
_PAPER_MANDATORY = 1724 / 2007

ORACLE = InferenceConfig(gps_noise_m=0.5, poi_extent_m=0.0)
"""Settings under which a stay without noise tells its POI."""


@dataclass(frozen=True)
class Bench:
    """What all cases share."""

    index: PoiIndex
    temporal: Temporal

    def infer(self, stays: Stays, config: InferenceConfig) -> Inferred:
        """Infer types; see ``raygen.inference.infer.infer``."""
        return infer(stays, self.index, self.temporal, config)


def nearest_poi(stays: Stays, index: PoiIndex) -> IntArray:
    """Return the baseline that looks at the nearest POI alone: its top three types."""
    _, poi = index.tree.query(stays.xy)
    return index.types[poi].astype(np.int64)


def by_time(stays: Stays, temporal: Temporal, durations: bool) -> IntArray:
    """Return the baseline without POIs: types by their prior and hour, (S, 15), likeliest first.

    ``durations`` looks at how long the stay was too.
    """
    prior, joint = log_tables(temporal, stays.start_s, stays.end_s)
    if not durations:
        hours = temporal.likelihood.sum(axis=3)
        kind = (((stays.start_s // 86_400) + 3) % 7 >= 5).astype(np.int64)  # noqa: PLR2004
        joint = np.log(hours[kind, :, stays.start_s % 86_400 // 3600])
    return np.argsort(-(prior + joint), axis=1, kind="stable")


def figures(ranked: IntArray, kind: npt.NDArray[np.int8]) -> dict[str, float]:
    """Return accuracy, Accuracy@3 and weighted F1 of ranked types, and two means of accuracies."""
    right = ranked[:, 0] == kind
    mandatory = kind <= SCHOOL
    parts = right[mandatory].mean(), right[~mandatory].mean()
    return {
        "accuracy": float(right.mean()),
        "accuracy_at_3": float((ranked[:, :3] == kind[:, None]).any(axis=1).mean()),
        "weighted_f1": weighted_f1(ranked[:, 0], kind.astype(np.int64), len(ACTIVITY_TYPES)),
        "accuracy_non_mandatory": float(parts[1]),
        "accuracy_at_paper_mix": float(
            _PAPER_MANDATORY * parts[0] + (1 - _PAPER_MANDATORY) * parts[1]
        ),
    }


def paper_of(metric: str, noise: float) -> float | None:
    """Return what the paper has for a metric at a noise."""
    if metric == "accuracy_at_3":
        return _PAPER_TOP3.get(noise)
    if metric == "accuracy_at_paper_mix":
        return _PAPER["accuracy"] if noise == 0 else None
    return _PAPER.get(metric) if noise == 0 else None


def noise_rows(bench: Bench, case: str, truth: Truth) -> list[Row]:
    """Return the figures at each noise beside the oracle and the nearest POI."""
    oracle = figures(bench.infer(truth.stays, ORACLE).top().astype(np.int64), truth.kind)
    rows: list[Row] = []
    for noise in _NOISES_M:
        stays = truth.noisy(noise, _SEED)
        found = bench.infer(stays, InferenceConfig()).top().astype(np.int64)
        nearest = figures(nearest_poi(stays, bench.index), truth.kind)
        for metric, value in figures(found, truth.kind).items():
            rows.append(
                Row(
                    case=f"{case}, noise {noise:.0f} m",
                    metric=metric,
                    value=value,
                    n=len(truth.stays.person_start) - 1,
                    floor=oracle[metric],
                    baseline=nearest[metric],
                    baseline_name="nearest POI",
                    paper=paper_of(metric, noise),
                )
            )
    return rows


def baseline_rows(bench: Bench, case: str, truth: Truth) -> list[Row]:
    """Return the figures of the ways that know less: no POIs, no rules, no other visits."""
    stays = truth.noisy(10.0, _SEED)
    apart = Stays(np.arange(len(truth.kind) + 1), stays.xy, stays.start_s, stays.end_s)
    ways = {
        "hour alone": by_time(stays, bench.temporal, False),
        "hour and duration": by_time(stays, bench.temporal, True),
        "every stay by itself": bench.infer(apart, InferenceConfig()).top().astype(np.int64),
        "visits not joined (ρ = 0)": bench.infer(stays, InferenceConfig(consistency=0.0))
        .top()
        .astype(np.int64),
        "inference": bench.infer(stays, InferenceConfig()).top().astype(np.int64),
    }
    rows: list[Row] = []
    for way, ranked in ways.items():
        found = figures(ranked, truth.kind)
        for metric in ("accuracy", "accuracy_at_3", "weighted_f1"):
            rows.append(
                Row(case=f"{case}, noise 10 m: {way}", metric=metric, value=found[metric],
                    n=len(truth.stays.person_start) - 1)
            )  # fmt: skip
    return rows


def type_rows(bench: Bench, case: str, truth: Truth) -> list[Row]:
    """Return how many stays of each type are found, and how many found are of it."""
    stays = truth.noisy(10.0, _SEED)
    found = bench.infer(stays, InferenceConfig())
    top = found.top()
    oracle = bench.infer(truth.stays, ORACLE).top()[:, 0]
    nearest = nearest_poi(stays, bench.index)[:, 0]
    rows: list[Row] = []
    for code, word in enumerate(ACTIVITY_TYPES):
        mine = truth.kind == code
        if not mine.any():
            continue
        called = top[:, 0] == code
        name, count = f"{case}, noise 10 m, {word}", int(mine.sum())
        rows.append(
            Row(
                case=name,
                n=count,
                metric="accuracy",
                value=float((top[mine, 0] == code).mean()),
                floor=float((oracle[mine] == code).mean()),
                baseline=float((nearest[mine] == code).mean()),
                baseline_name="nearest POI",
                paper=_PAPER_TYPES.get(word),
            )
        )
        at_3 = float((top[mine, :3] == code).any(axis=1).mean())
        rows.append(Row(case=name, n=count, metric="accuracy_at_3", value=at_3))
        precision = float((truth.kind[called] == code).mean()) if called.any() else None
        rows.append(Row(case=name, n=count, metric="precision", value=precision))
    best = np.max(found.probability, axis=1)
    rows.append(
        Row(
            case=f"{case}, noise 10 m",
            metric="mean probability of the type given",
            value=float(best.mean()),
            floor=float((top[:, 0] == truth.kind).mean()),
        )
    )
    return rows


def people_rows(bench: Bench, truth: Truth, population: Path) -> list[Row]:
    """Return how well the rules of 6.1.1 tell workers and students."""
    stays = truth.noisy(10.0, _SEED)
    found = bench.infer(stays, InferenceConfig())
    count = len(stays.person_start) - 1
    owner = np.repeat(np.arange(count), np.diff(stays.person_start))
    ruled = np.where(found.basis <= SCHOOL, found.basis, -1).astype(np.int8)
    called = classify(owner, ruled, stays.end_s - stays.start_s, count)
    files = sorted((population / "persons").glob("*.parquet"))
    persons = pa.concat_tables([pq.read_table(file) for file in files])
    rank = np.argsort(persons.column("person_id").to_numpy())
    ids = persons.column("person_id").to_numpy()[rank]
    row = rank[np.searchsorted(ids, truth.person_id[stays.person_start[:-1]])]
    words = {name: np.array(persons.column(name).to_pylist())[row] for name in _STATUS}
    rows: list[Row] = []
    for code, (name, real) in enumerate(
        (("worker", words["employment"] == "employed"), ("student", words["student"] != "none"))
    ):
        mine = called == code
        case = f"{_DAYS} days, persons called {name}"
        rows.append(Row(case=case, metric="share who are", value=float(real[mine].mean()),
                        n=int(mine.sum()), baseline=float(real.mean()),
                        baseline_name="of all"))  # fmt: skip
        rows.append(Row(case=case, metric="share of all who are", value=float(mine[real].mean()),
                        n=int(real.sum())))  # fmt: skip
    rows.append(Row(case=f"{_DAYS} days, persons", metric="share unclassified",
                    value=float((called == len(_STATUS)).mean()), n=count))  # fmt: skip
    return rows


_STATUS = ("employment", "student")


def speed_row(bench: Bench, truth: Truth) -> Row:
    """Return stays inferred per CPU-second of one thread, compiled before."""
    stays = truth.noisy(10.0, _SEED)
    begin = time.process_time()
    bench.infer(stays, InferenceConfig())
    seconds = time.process_time() - begin
    return Row(case="speed", metric="stays_per_cpu_s", value=len(truth.kind) / seconds)


def returned(truth: Truth) -> Row:
    """Return how many stays away from home, work and school are at a place seen before."""
    away = np.flatnonzero(truth.kind > SCHOOL)
    key = np.stack([truth.person_id[away], truth.kind[away], *truth.stays.xy[away].T], axis=1)
    share = 1 - len(np.unique(key, axis=0)) / len(away)
    return Row(case=f"{_DAYS} days, stays that are not mandatory", metric="share at a place "
               "where the person did the same before", value=share, n=len(away))  # fmt: skip


def measure(city: City, population: Path) -> list[Row]:
    """Return all rows."""
    bench = Bench(city_index(Path(city.path), city.crs), load_temporal())
    rows: list[Row] = []
    for days in (_DAYS, 1):
        truth = read_truth(population, bench.index, days)
        when = f"{days} day{'s' * (days > 1)}"
        rows += noise_rows(bench, when, truth)
        if days == _DAYS:
            rows += baseline_rows(bench, when, truth)
            rows += type_rows(bench, when, truth)
            rows += people_rows(bench, truth, population)
            rows += [returned(truth), speed_row(bench, truth)]
    return rows


def main() -> None:
    """Measure and write the results."""
    population = Path(sys.argv[1]) if len(sys.argv) > 1 else _POPULATION
    rows = measure(open_city("los_angeles"), population)
    if (FOLDER / TRACES).exists():
        rows += draw_geolife(_OUTPUT.with_name("activity-inference-geolife.png"))
    results = Results(
        name="activity-inference",
        command="raygen generate training/recipes/inference.toml && "
        "python -m training.inference_results",
        data="5,000 generated people of Los Angeles County, 7 days, seed 407 (synthesised); "
        "GeoLife, 2 users (observed, without labels)",
        rows=rows,
        notes=_NOTES,
    )
    sys.stdout.write(f"{results.write(_OUTPUT)}\n")


_NOTES = [
    "floor: the oracle, which is told the POI (no noise) and infers by the same rules and tables: "
    "what is left to gain from better positions. n is persons, in the rows by type stays.",
    "The truth shares its sources with the inference: the city's POIs and their types, and the "
    "survey that day chains and temporal likelihoods were both fitted to (train split). Persons "
    "and draws differ; settings, and the table of escorts' stops, come from another population "
    "(seed 11). So the figures say how well the inference undoes a process like the one that it "
    "assumes; the paper's are on 362 people of a household survey with real POIs, and are not "
    "comparable as such.",
    "Points and places are those of `raygen generate`: POIs drawn by P(type | POI), and people who "
    "go back to places (docs/assignment.md). Visits to a place inferred together (ρ = 0.4) gain by "
    "that; when no place but home, work and school was visited twice they did not.",
    "Households' days are fitted to each other: twice as many stays as before are escorts', at the "
    "place where the child goes, which may be somebody's home. With the survey's own table of "
    "pickup_drop, which knows no escorts, accuracy at 10 m was 0.878, with pickup_drop at 0.51, "
    "most of it taken for social: hence the table of generated escorts and the share of their "
    "stops at homes. Tables for all types from generated people instead of the survey gave 0.903: "
    "they would be those of the truth's own process, and are not used.",
    "accuracy_at_paper_mix: accuracies of mandatory and other stays weighted by the paper's test "
    "set, of which 86 % were mandatory.",
    "Missed: over all stays accuracy and F1 are below the paper's 0.917 and 0.923 (about 60 % of "
    "the stays here are mandatory, there 86 %; at the paper's mix accuracy is above), and school, "
    "healthcare and worship are below its own, most of it the oracle's loss too: school goes to "
    "work where a pupil's POI is as well a work place, caregiving to social and work.",
    "GeoLife was looked at while the rules for sites, nights and recurring types were made, so the "
    "map is no independent check.",
    "Home, work and school have one point for all days of a generated person, and every night is "
    "seen: real traces are harder. Synthesised POIs are 28 a square kilometre of built-up land; "
    "where real ones are denser, noise costs more than it does here.",
]


if __name__ == "__main__":
    main()
