"""Traces of any size to stays, activities and day chains, on Ray Data.

Scatter by person, gather into stays, infer what people do there, complete their days, publish.
"""

import hashlib
import json
import logging
import tomllib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from ray.exceptions import RayError

from cluster.session import connect
from raygen import __version__
from raygen.city import city_digest, open_city
from raygen.city_files.layout import CARD, CityCard
from raygen.config import ComputeConfig, parse
from raygen.errors import ConfigError, DataError, StageError, WeightsError
from raygen.inference.bucket import (
    Follow,
    complete_bucket,
    completed,
    infer_bucket,
    inferred,
    written,
)
from raygen.inference.pois import city_index
from raygen.inference.settings import STEPS, TraceConfig, Until
from raygen.inference.temporal import load_temporal
from raygen.sources import PACKAGE, source_digest
from raygen.stay_points.shuffle import (
    SCRATCH,
    Job,
    gather,
    gathered,
    publish,
    scatter,
    scattered,
)
from raygen.storage import Store
from raygen.traces import open_traces

log = logging.getLogger(__name__)

RECORD = "stays.json"
"""File of the output that tells the run: settings, sources, counts."""

_MOST_BUCKETS = 16_384
_FIX_BYTES = 40  # of a fix while it is scattered, with an id of text
_PLAN = f"{SCRATCH}/plan.json"

Watch = Callable[[str, int, int], None]
"""Is told of a step's name, what of it is done, and how much there is."""


@dataclass(frozen=True)
class Session:
    """How a run is done; it does not decide what comes out."""

    address: str | None = None
    """Ray cluster, see ``cluster.session.connect``."""
    resume: bool = False
    """Whether to keep what an earlier run over the same traces and settings did."""
    watch: Watch | None = None
    """Called as work is done, in this process."""


@dataclass(frozen=True)
class Outcome:
    """What a run found."""

    output: str
    counts: dict[str, int]
    """Fixes, persons, clusters by kind, stays out of bounds, person-days, days kept; stays by basis
    of their type; days by profile."""


def follow_traces(
    traces: str,
    city: str,
    output: str,
    config: TraceConfig,
    until: Until = "chains",
    session: Session | None = None,
) -> Outcome:
    """Find the stay points of traces, what people do there, and their days.

    Parameters
    ----------
    traces
        File or directory of Parquet or CSV, path or URI; see ``raygen.traces``.
    city
        Directory or name of the city: its box bounds the stays, its clock makes the days.
    output
        Directory or URI.
    config
        Thresholds.
    until
        The last step: ``stays``, ``activities`` or ``chains``.
    session
        How; on a Ray of its own, from the start, where it is not given.

    Returns
    -------
    outcome
        ``output`` has ``stay_points.parquet``, ``person_days.parquet``, ``stay_activities.parquet``
        and ``day_chains.parquet``, as far as the run goes, and ``stays.json``: the same bytes
        whatever the number of workers.

    Raises
    ------
    ConfigError, DataError, WeightsError
        If the output is occupied, the traces or the city are at fault, the city has no POIs, or
        the weights of the chain models are not usable.
    ClusterError
        If the cluster cannot be reached.
    StageError
        If a worker fails.
    """
    session = session or Session()
    watch = session.watch
    follow = _prepare(traces, city, output, config, until)
    job = follow.job
    store = Store(output)
    identity = _identity(follow, until)
    if _begin(store, identity, job.traces.rows, session.resume):
        log.info("%s: complete already", output)
        return Outcome(output, json.loads(store.read(RECORD))["counts"])
    with connect(session.address):
        pieces = range(len(job.traces.pieces))
        done = _do(partial(scatter, job), _todo(store, pieces, scattered), watch, "reading traces")
        chunks = {piece: done.get(piece, 0) or _number(store, piece) for piece in pieces}
        work = partial(gather, job, chunks)
        _do(work, _todo(store, range(job.buckets), gathered), watch, "finding stays")
        for step, receipt, task in _steps(follow, until):
            _do(task, _todo(store, range(job.buckets), receipt), watch, step)
    tables, receipts = written(until)
    counts = publish(job, tables, receipts)
    _record(store, job, identity, (tables, counts))
    store.clear(SCRATCH)
    return Outcome(output, counts)


def _steps(
    follow: Follow, until: Until
) -> list[tuple[str, Callable[[int], str], Callable[[int], Any]]]:
    """Return what is done after the stays: name, receipt and work of each step."""
    steps: list[tuple[str, Callable[[int], str], Callable[[int], Any]]] = [
        ("inferring activities", inferred, partial(infer_bucket, follow)),
        ("completing days", completed, partial(complete_bucket, follow)),
    ]
    return steps[: STEPS.index(until)]


def _prepare(traces: str, city: str, output: str, config: TraceConfig, until: Until) -> Follow:
    """Open and check all that the run needs, short of the cluster."""
    if until != "stays":
        _check_pois(Path(city) / "pois.parquet")
    place = Path(open_city(city).path)
    card = parse(tomllib.loads((place / CARD).read_text()), CityCard, str(place / CARD))
    if until != "stays":
        load_temporal()
        city_index(place, card.crs)
    if until == "chains":
        from raygen.checkpoints import folder  # torch takes a second, which stays do without
        from raygen.stages.chains import load_chain_models

        load_chain_models(folder(config.weights), ComputeConfig())
    found = open_traces(traces)
    buckets = min(_MOST_BUCKETS, max(1, -(-found.rows // config.bucket_fixes)))
    bounds = config.bounds or card.bbox
    job = Job(found, config, bounds, card.time_zone, output, buckets)
    return Follow(job, config, place, card.crs)


def _check_pois(path: Path) -> None:
    """Refuse a city's file of POIs without rows; one that is not there is open_city's to refuse."""
    if path.is_file() and pq.read_metadata(path).num_rows == 0:
        msg = f"{path}: activities are inferred from POIs, got none; --until stays does without"
        raise DataError(msg)


def _identity(follow: Follow, until: Until) -> dict[str, Any]:
    """Return what decides the output: traces, settings, place, models and code."""
    job = follow.job
    code = [*sorted((PACKAGE / "stay_points").glob("*.py")), PACKAGE / "traces.py"]
    files = [asdict(file) for file in job.traces.files]
    identity: dict[str, Any] = {
        "raygen": __version__,
        "until": until,
        "traces": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
        "settings": follow.config.model_dump(mode="json"),
        "bounds": list(job.bounds),
        "time_zone": job.time_zone,
        "buckets": job.buckets,
    }
    if until != "stays":
        code += sorted((PACKAGE / "inference").glob("*.*"))
        identity["city"] = city_digest(follow.city)
    if until == "chains":
        from raygen.checkpoints import folder, label

        code += [PACKAGE / "stages" / "chains.py", *sorted((PACKAGE / "models").glob("*.py"))]
        weights = folder(follow.config.weights)
        identity["weights"] = [label(weights / name)[0] for name in ("reconstruction", "adapters")]
    return identity | {"code": source_digest(code)}


def _begin(store: Store, identity: dict[str, Any], fixes: int, resume: bool) -> bool:
    """Make the output ready; return whether it holds the finished run already."""
    try:
        store.probe()
    except OSError as error:
        msg = f"output {store.location}: cannot be written: {error.strerror or error}"
        raise ConfigError(msg) from None
    finished, under_way = store.size(RECORD) is not None, store.size(_PLAN) is not None
    if not resume and (finished or under_way):
        msg = f"{store.location}: holds stay points already; continue them with --resume, or give "
        msg += "another --output"
        raise ConfigError(msg)
    for name in [RECORD] * finished + [_PLAN] * under_way:
        earlier = json.loads(store.read(name))
        strange = [key for key, value in identity.items() if earlier.get(key) != value]
        if strange:
            msg = f"{store.path(name)}: belongs to a run of other {', '.join(strange)}; give "
            msg += "another --output"
            raise ConfigError(msg)
    free = store.free_bytes()
    if not (finished or under_way) and free is not None and free < fixes * _FIX_BYTES:
        msg = f"output {store.location}: needs about {fixes * _FIX_BYTES / 1e6:,.0f} MB while it "
        msg += f"works, the disk has {free / 1e6:,.0f} MB free"
        raise ConfigError(msg)
    if not finished:
        store.write(_PLAN, json.dumps(identity).encode())
    return finished


def _todo(store: Store, numbers: range, receipt: Callable[[int], str]) -> list[int]:
    """Return the numbers of what has no receipt."""
    folder = receipt(0).rpartition("/")[0]
    store.sweep(folder)
    there = set(store.names(folder))
    return [number for number in numbers if receipt(number).rpartition("/")[2] not in there]


def _number(store: Store, piece: int) -> int:
    return json.loads(store.read(scattered(piece)))


def _do(
    work: Callable[[int], Any], todo: list[int], watch: Watch | None, step: str
) -> dict[int, Any]:
    """Have Ray Data do work for each number; return the results by number."""
    results: dict[int, Any] = {}
    if watch is not None:
        watch(step, 0, len(todo))
    if not todo:
        return results
    from ray.data import from_items  # takes a second, which a faulty input need not wait for

    with _quiet():
        rows = from_items([{"number": n} for n in todo], override_num_blocks=len(todo))
        done = rows.map_batches(partial(_row, work), batch_size=1, batch_format="pyarrow")
        try:
            for row in done.iter_rows():
                results[row["number"]] = _result(row, step)
                log.info("%s: %d of %d done", step, len(results), len(todo))
                if watch is not None:
                    watch(step, len(results), len(todo))
        except RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            msg = f"{step}: a worker failed: {lines[-1].strip()}"
            raise StageError(msg) from error
    return results


def _row(work: Callable[[int], Any], batch: pa.Table) -> pa.Table:
    """Do the work of a batch of one number; a foreseen error travels as a result.

    Ray Data 2.60 raises an exception of its own instead, without the cause.
    """
    number, fault, result = batch.column("number")[0].as_py(), "", ""
    try:
        result = json.dumps(work(number))
    except (DataError, ConfigError, WeightsError, OSError) as error:
        fault, result = type(error).__name__, str(error)
    return pa.table({"number": [number], "fault": [fault], "result": [result]})


def _result(row: dict[str, Any], step: str) -> Any:  # noqa: ANN401 - what the work returned
    """Return the result of a worker, or raise the error that it met."""
    match row["fault"]:
        case "":
            return json.loads(row["result"])
        case "DataError":
            raise DataError(row["result"])
        case "ConfigError":
            raise ConfigError(row["result"])
        case "WeightsError":
            raise WeightsError(row["result"])
        case _:
            msg = f"{step}, part {row['number']}: {row['result']}"
            raise StageError(msg)


@contextmanager
def _quiet() -> Generator[None]:
    """Keep Ray Data's own bars and reports from the terminal."""
    from ray.data import DataContext

    context = DataContext.get_current()
    bars, context.enable_progress_bars = context.enable_progress_bars, False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what fails is raised here, in one line
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        logger.setLevel(level)


def _record(
    store: Store, job: Job, identity: dict[str, Any], done: tuple[list[str], dict[str, int]]
) -> None:
    tables, counts = done
    record = identity | {
        "files": [file.path for file in job.traces.files],
        "tables": [f"{name}.parquet" for name in tables],
        "counts": counts,
    }
    store.write(RECORD, (json.dumps(record, indent=1) + "\n").encode())
