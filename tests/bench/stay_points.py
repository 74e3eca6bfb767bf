"""Measure stay points beside trackintel and movingpandas, on traces with planted stays.

    python tests/bench/stay_points.py [PYTHON]

PYTHON is the interpreter of an environment that has the peers; without it their figures are null:

    python -m venv peers && peers/bin/pip install trackintel movingpandas pyarrow

Writes docs/results/stay-points.json and .md. CPU seconds of one thread. The planted traces are
synthesised, as no public trace comes with the true stays; ``data/beijing_geolife`` (two users of
GeoLife) is observed, and used for the speed and where it is there.
"""

import gzip
import json
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from pyarrow import csv

sys.path.insert(0, str(Path(__file__).parents[2]))

from raygen import seeds
from raygen.results import Results, Row
from raygen.stay_points.extract import find_stays
from raygen.stay_points.kernel import Track, detect, limits
from raygen.stay_points.settings import StayConfig
from raygen.stay_points.shuffle import Job, gather, publish, scatter
from raygen.traces import TIME, open_traces

ROOT = Path(__file__).parents[2]
GEOLIFE = ROOT / "data" / "beijing_geolife" / "traces_2_users.txt.gz"
PERSONS, PLACES = 24, 10  # 240 planted stays
WORLD = (-180.0, -90.0, 180.0, 90.0)
LAT, LON, METRE = 34.05, -118.25, 1 / 111_195.0
EPOCH_S = 1_717_398_000.0
SPEED_FIXES = 3_000_000
TARGET = 1_000_000
SPEED = "fixes_per_cpu_s"

CONFIGS = {
    "raygen": StayConfig(),
    "raygen, the paper's rules alone": StayConfig(excursion_s=0, walking_kph=0, hold_gap_s=0),
}


@dataclass(frozen=True)
class Scene:
    """How planted traces look."""

    every_s: tuple[float, float]
    """Shortest and longest time between two fixes."""
    noise_m: float
    """Standard deviation of a fix, each of two axes."""
    kph: tuple[float, float]
    outliers: float = 0.0
    """Share of fixes that lie 400 to 1,200 m off."""
    silent: float = 0.0
    """Share of stays without a fix between 2 minutes after arrival and 2 before leaving."""
    lost: float = 0.0
    """Share of ways of which half is without a fix."""


SCENES = {
    "by car, a fix every 20-40 s": Scene((20, 40), 10.0, (20, 60)),
    "by car, outliers": Scene((20, 40), 15.0, (20, 60), outliers=0.01),
    "by car, silent indoors and on the way": Scene((20, 40), 15.0, (20, 60), silent=0.6, lost=0.4),
    "on foot, a fix every 10-20 s": Scene((10, 20), 8.0, (4, 6)),
    "by car, a fix every 2-4 min": Scene((120, 240), 15.0, (20, 60)),
}


def planted(scene: Scene, name: str) -> tuple[pa.Table, list[tuple]]:
    """Return fixes, and the true stays as (person, start s, end s, lon, lat)."""
    tables, truth = [], []
    for person in range(PERSONS):
        rng = seeds.stream(0, f"bench stays {name}", person)
        clock, at = EPOCH_S + rng.uniform(0, 3600), np.zeros(2)
        fixes = []
        for _ in range(PLACES):
            # From just over the shortest stay to two hours: most are short, as activities are.
            end = clock + np.exp(rng.uniform(np.log(420), np.log(2 * 3600)))
            truth.append((str(person), clock, end, *degrees(at)))
            quiet = rng.random() < scene.silent
            times = ticks(scene, clock, end, rng)
            hushed = quiet & (times > clock + 120) & (times < end - 120)
            times = times[~hushed]
            fixes.append((times, np.tile(at, (len(times), 1))))
            away = rng.uniform(1000, 6000) if scene.kph[0] > 10 else rng.uniform(700, 2000)
            angle = rng.uniform(0, 2 * np.pi)
            goal = at + away * np.array([np.cos(angle), np.sin(angle)])
            clock = end + 3.6 * away / rng.uniform(*scene.kph)
            times = ticks(scene, end, clock, rng)
            share = (times - end) / (clock - end)
            if rng.random() < scene.lost:
                cut = rng.uniform(0, 0.5)
                kept = (share < cut) | (share > cut + 0.5)
                times, share = times[kept], share[kept]
            fixes.append((times, at + share[:, None] * (goal - at)))
            at = goal
        times = np.concatenate([t for t, _ in fixes])
        xy = np.concatenate([p for _, p in fixes]) + rng.normal(0, scene.noise_m, (len(times), 2))
        off = rng.random(len(times)) < scene.outliers
        turn = rng.uniform(0, 2 * np.pi, len(times))
        jump = rng.uniform(400, 1200, len(times))
        xy[off] += (jump * np.array([np.cos(turn), np.sin(turn)])).T[off]
        tables.append(table(np.full(len(times), person), times, *degrees(xy.T)))
    return pa.concat_tables(tables), truth


def ticks(scene: Scene, start: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """Return times of fixes from ``start`` until before ``end``."""
    steps = rng.uniform(*scene.every_s, int((end - start) / scene.every_s[0]) + 2)
    times = start + np.cumsum(steps) - steps[0] * rng.random()
    return times[times < end]


def degrees(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return longitude and latitude of metres east and north."""
    return LON + xy[0] * METRE / np.cos(np.radians(LAT)), LAT + xy[1] * METRE


def table(person: np.ndarray, seconds: np.ndarray, lon: np.ndarray, lat: np.ndarray) -> pa.Table:
    """Return fixes as a table of traces."""
    times = pa.array(np.floor(seconds * 1000).astype(np.int64)).cast(TIME)
    return pa.table({"person_id": person.astype(np.int64), "time": times, "lon": lon, "lat": lat})


def found(stays: pa.Table) -> list[tuple]:
    """Return stays as (person, start s, end s, lon, lat)."""
    person = [str(p) for p in stays.column("person_id").to_pylist()]
    times = [stays.column(n).cast(pa.int64()).to_numpy() / 1000 for n in ("start", "end")]
    places = [stays.column(n).to_numpy() for n in ("lon", "lat")]
    return list(zip(person, *times, *places, strict=True))


def matched(truth: list[tuple], stays: list[tuple]) -> list[tuple[float, float]]:
    """Return errors of start and end, in seconds, of each true stay that is found.

    A stay is found by one of the same person within 300 m, whose time in common is at least half of
    the time of both together; no two true stays by one.
    """
    free, errors = list(stays), []
    for person, start, end, lon, lat in truth:
        best, most = None, 0.5
        for stay in free:
            if stay[0] != person or stay[1] >= end or stay[2] <= start:
                continue
            east = (stay[3] - lon) * np.cos(np.radians(LAT))
            common = min(end, stay[2]) - max(start, stay[1])
            share = common / (max(end, stay[2]) - min(start, stay[1]))
            if np.hypot(east, stay[4] - lat) <= 300 * METRE and share >= most:
                best, most = stay, share
        if best is not None:
            free.remove(best)
            errors.append((best[1] - start, best[2] - end))
    return errors


def recall_rows(python: str | None, versions: dict[str, str]) -> list[Row]:
    """Return recall and precision of each tool in each scene, and the peers' speed."""
    rows = []
    for name, scene in SCENES.items():
        fixes, truth = planted(scene, name)
        tools = {
            tool: found(find_stays(fixes, config, WORLD).stays) for tool, config in CONFIGS.items()
        }
        theirs = peers(python, fixes, versions)
        rows += [
            speed(f"{name}: {tool}", fixes.num_rows / spent, fixes.num_rows)
            for tool, (spent, _) in theirs.items()
        ]
        tools |= {tool: [tuple(stay) for stay in stays] for tool, (_, stays) in theirs.items()}
        hits = {tool: matched(truth, stays) for tool, stays in tools.items()}
        best = max(theirs, key=lambda tool: len(hits[tool]), default=None)
        for tool, stays in tools.items():
            case = f"{name}: {tool}"
            beside = len(hits[best]) if best and tool.startswith("raygen") else None
            errors = np.abs(np.array(hits[tool])).ravel()
            common = {"n": len(truth), "mode": "free"}
            rows += [
                Row(case=case, metric="true_stays_found", value=len(hits[tool]), baseline=beside,
                    baseline_name=best if beside is not None else None, target=beside, **common),
                Row(case=case, metric="stays_reported", value=len(stays), **common),
                Row(case=case, metric="recall", value=len(hits[tool]) / len(truth), **common),
                Row(case=case, metric="precision",
                    value=len(hits[tool]) / len(stays) if stays else None, **common),
                Row(case=case, metric="median_error_of_start_and_end_s",
                    value=float(np.median(errors)) if len(errors) else None, **common),
            ]  # fmt: skip
    return rows


def peers(python: str | None, fixes: pa.Table, versions: dict[str, str], ways: str = "all") -> dict:
    """Return CPU seconds and stays of the peers by the way of calling them; none without them."""
    if python is None:
        return {}
    with TemporaryDirectory() as folder:
        traces, stays = Path(folder) / "traces.parquet", Path(folder) / "stays.json"
        pq.write_table(fixes, traces)
        script = Path(__file__).with_name("stay_point_peers.py")
        subprocess.run([python, str(script), str(traces), str(stays), ways], check=True)
        answer = json.loads(stays.read_text())
    versions |= answer["versions"]
    return answer["found"]


def best(run, times: int = 3) -> float:
    """Return the least CPU seconds of some runs, compiled before."""
    run()
    spent = []
    for _ in range(times):
        begin = time.process_time()
        run()
        spent.append(time.process_time() - begin)
    return min(spent)


def speed_rows(python: str | None, versions: dict[str, str], known: list[Row]) -> list[Row]:
    """Return fixes per CPU-second of the kernel, of whole tables and of the peers."""
    name = next(iter(SCENES))
    data = {name: planted(SCENES[name], name)[0]}
    theirs = {name: {r.case.removeprefix(f"{name}: "): r.value for r in known
                     if r.metric == SPEED and r.case.startswith(name)}}  # fmt: skip
    if GEOLIFE.exists():
        word = "GeoLife, 2 users"
        data[word] = geolife()
        one = data[word].filter(pa.compute.equal(data[word].column("person_id"), 0))
        found = peers(python, one, versions, "one")
        theirs[word] = {tool: one.num_rows / spent for tool, (spent, _) in found.items()}
    rows = []
    for word, fixes in data.items():
        speeds = theirs[word]
        fastest = max(speeds, key=speeds.__getitem__, default=None)
        beside = speeds[fastest] if fastest else None
        many = tiled(fixes)
        for case, run in {
            "kernel": kernel(many),
            "table: order, kernel, H3": lambda many=many: find_stays(many, StayConfig(), WORLD),
        }.items():
            rows.append(speed(f"{word}: raygen, {case}", many.num_rows / best(run), many.num_rows,
                              baseline=beside, baseline_name=fastest, target=TARGET))  # fmt: skip
        rows += [speed(f"{word}: raygen, {case}", value, many.num_rows, target=TARGET)
                 for case, value in whole(many).items()]  # fmt: skip
        if word != name:
            rows += [speed(f"{word}: {t}", v, one.num_rows) for t, v in speeds.items()]
    return rows


def memory_rows() -> list[Row]:
    """Return the peak memory of a process that does files of growing size, from start to end."""
    rows = []
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        for copies in (100, 400):
            fixes, mib = fresh.submit(peak_mib, copies).result()
            rows.append(Row(case=f"{fixes:,} fixes, buckets of 500,000, Parquet to tables",
                            metric="peak_memory_mib", value=mib, n=fixes))  # fmt: skip
    return rows


def peak_mib(copies: int) -> tuple[int, float]:
    """Do a file of the first scene ``copies`` times; return its fixes and this process's peak."""
    name = next(iter(SCENES))
    fixes = planted(SCENES[name], name)[0]
    person = fixes.column("person_id").to_numpy()
    config = StayConfig(bucket_fixes=500_000)
    with TemporaryDirectory() as folder:
        traces = Path(folder) / "traces.parquet"
        with pq.ParquetWriter(traces, fixes.schema) as writer:
            for copy in range(copies):
                ids = pa.array(person + PERSONS * copy)
                writer.write_table(fixes.set_column(0, "person_id", ids))
        found = open_traces(str(traces))
        run_files(Job(found, config, WORLD, "UTC", folder, -(-found.rows // 500_000)))
    return found.rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def speed(case: str, value: float, fixes: int, **beside: object) -> Row:
    """Return a row of speed."""
    return Row(case=case, metric=SPEED, value=value, n=fixes, mode="free", **beside)


def kernel(fixes: pa.Table):
    """Return the run of the kernel alone."""
    person = fixes.column("person_id").to_numpy()
    start = np.searchsorted(person, np.arange(person.max() + 2))
    clock = fixes.column("time").cast(pa.int64()).to_numpy()
    track = Track(clock, *(fixes.column(name).to_numpy() for name in ("lat", "lon")))
    return lambda: detect(track, start, limits(StayConfig()))


def whole(fixes: pa.Table) -> dict[str, float]:
    """Return fixes per CPU-second from trace files to the tables on disk, without Ray."""
    speeds = {}
    for ending, write in (("Parquet", pq.write_table), ("CSV", csv.write_csv)):
        with TemporaryDirectory() as folder:
            traces = Path(folder) / f"traces.{ending.lower()}"
            write(fixes, traces)
            job = Job(open_traces(str(traces)), StayConfig(), WORLD, "UTC", folder, 4)
            begin = time.process_time()
            run_files(job)
            speeds[f"files: {ending} to tables"] = fixes.num_rows / (time.process_time() - begin)
    return speeds


def run_files(job: Job) -> None:
    """Do all of a job in this process."""
    chunks = {piece: scatter(job, piece) for piece in range(len(job.traces.pieces))}
    for bucket in range(job.buckets):
        gather(job, chunks, bucket)
    publish(job)


def tiled(fixes: pa.Table) -> pa.Table:
    """Return the fixes again and again, each time of other persons, in the order of persons."""
    person = fixes.column("person_id").to_numpy()
    several = person.max() + 1
    copies = -(-SPEED_FIXES // fixes.num_rows)
    parts = [
        fixes.set_column(0, "person_id", pa.array(person + copy * several))
        for copy in range(copies)
    ]
    return pa.concat_tables(parts).combine_chunks()


def geolife() -> pa.Table:
    """Return the traces of two users of GeoLife."""
    with gzip.open(GEOLIFE) as file:
        rows = csv.read_csv(file)
    seconds = rows.column("datetime").cast(pa.timestamp("s")).cast(pa.int64()).to_numpy()
    user = np.unique(rows.column("uid").to_numpy(), return_inverse=True)[1]
    order = np.lexsort((seconds, user))
    places = (rows.column(name).to_numpy()[order] for name in ("lng", "lat"))
    return table(user[order], seconds[order], *places)


def main() -> None:
    """Measure and write the results."""
    python = sys.argv[1] if len(sys.argv) > 1 else None
    versions: dict[str, str] = {}
    rows = memory_rows() + recall_rows(python, versions)
    rows += speed_rows(python, versions, rows)
    theirs = ", ".join(f"{name} {number}" for name, number in versions.items()) or "not run"
    results = Results(
        name="stay-points",
        command="python tests/bench/stay_points.py" + " PEERS_PYTHON" * (python is not None),
        data="synthesised: 240 planted stays of 24 persons in each case; observed: GeoLife, 2 users",
        rows=rows,
        notes=[
            f"Peers: {theirs}; 300 m and 300 s everywhere, other settings as the case says; the "
            "last stay of a trace is asked for. Baseline: the best peer of the same run.",
            "A true stay is found by one of the same person within 300 m whose time in common is "
            "at least half of the time of both together.",
            "Speed: one thread; the least of three runs, of one run for files and for the peers. "
            f"raygen reads the traces tiled to {SPEED_FIXES:,} fixes or more, the peers once (of GeoLife "
            "the first user alone).",
        ],
    )
    results.write(ROOT / "docs" / "results" / "stay-points.json")


if __name__ == "__main__":
    main()
