"""The story of a run: open the city, check everything, send the shards through the stages."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import ray

from actors.calibration import calibrated
from actors.crew import CPU_SHARE, CREW_BYTES, MODEL_STAGES, STAGES, Crew, Inputs, Share, crew_bytes
from actors.ledger import Ledger, Limits
from assignment.anchors import anchor_tables
from assignment.times import CONGESTION
from cluster.session import connect
from raygen import checkpoints, manifest
from raygen.city import City, open_city
from raygen.config import ComputeConfig, RunConfig
from raygen.errors import ClusterError, ConfigError
from raygen.flow_target import OD_FILE, has_target, read_target
from raygen.manifest import Receipt, RunIdentity, SourceEntry
from raygen.models.generator import load_generator
from raygen.models.plan_distilled import DISTILLED
from raygen.models.planner import MODEL, load_planner
from raygen.models.spatial import decoder_directory, load_decoder
from raygen.population.cache import load_or_fit
from raygen.population.fit import PopulationFit
from raygen.population.sample import PopulationIndex, sample_index
from raygen.run_record import Steps, run_record
from raygen.stages.chains import load_chain_models
from raygen.stages.road_trips import city_network, city_roads
from raygen.stages.trajectory_planners import load_trip_planner, planner_folders
from raygen.storage import Store

log = logging.getLogger(__name__)

CACHE = Path.home() / ".cache" / "raygen" / "populations"
"""Where fitted populations are kept."""

BYTES_PER_PERSON = 400
"""Size of a person and day in Parquet, all tables; measured on Los Angeles, rounded up."""


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    shards: int
    shards_done: int
    persons: int
    """Of the whole run."""
    persons_done: int
    persons_kept: int
    """Of them, those that an earlier run did."""


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Plan:
    """A checked run: what goes in, and what it will be called."""

    config: RunConfig
    city: City
    fit: PopulationFit
    index: PopulationIndex
    identity: RunIdentity


def generate(
    config: RunConfig,
    address: str | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    begins: Callable[[str], None] | None = None,
) -> str:
    """Generate a population and its days.

    Parameters
    ----------
    config
        The run.
    address
        Ray cluster: ``host:port`` of its head, ``auto``, or None for a Ray of its own.
    resume
        Whether to keep the shards that an earlier run of the same configuration did.
    watch
        Called at the start and after each shard, in this process.
    begins
        Called with the name of each step as it begins: city, models, population, cluster, shards.

    Returns
    -------
    population
        ``config.output``: its Parquet data sets, ``manifest.json`` and ``run.json``. The same
        configuration, city and weights give the same bytes (but for ``run.json`` and receipts),
        whatever the number of workers, the order of the shards or restarts.

    Raises
    ------
    ConfigError, DataError, WeightsError
        If the configuration, the city or a model is at fault; before any shard starts.
    ClusterError
        If the cluster cannot be reached or is too small.
    StageError
        If a shard fails in its last attempt, or a file cannot be written.
    """
    steps = Steps(begins)
    plan = prepare(config, steps)
    store = Store(config.output)
    kept = manifest.begin(store, plan.identity, resume)
    todo = [shard for shard in range(plan.identity.shards) if shard not in kept]
    if not todo and store.size(manifest.MANIFEST) is not None:
        log.info("%s: complete already", config.output)
        return config.output
    _check_room(store, plan.index.persons * len(todo) // plan.identity.shards, config.chains.days)
    receipts = dict(kept)
    tell = _teller(plan, receipts, len(kept), watch)
    if todo:
        _run(plan, store, address, todo, tell, steps)
    record = run_record(config, receipts.values(), steps.seconds, len(kept))
    manifest.finish(store, plan.identity, receipts, record)
    return config.output


def prepare(config: RunConfig, steps: Steps) -> Plan:
    """Open and check all that a run needs, short of the cluster; see ``generate``."""
    with steps.step("city"):
        city = open_city(config.city)
    with steps.step("models"):
        models = _check_models(config, city)
    with steps.step("population"):
        fit = load_or_fit(city, config.seed, CACHE)
        index = sample_index(fit, config.agents, config.seed, config.compute.shard_persons)
    if index.persons == 0:
        msg = f"city {city.name}: has no population to generate"
        raise ConfigError(msg)
    models += _flows(config, city)
    source = SourceEntry(name=city.name, digest=city.digest, provenance=city.provenance)
    zones = tuple(city.zone_id.tolist())
    identity = manifest.identify(config, source, models, zones, index.shards)
    return Plan(config, city, fit, index, identity)


def _flows(config: RunConfig, city: City) -> tuple[SourceEntry, ...]:
    """Return the flows that the run is refined to, checked; none where it is not."""
    if not config.assignment.refinement.persons:
        return ()
    path = Path(city.path) / OD_FILE
    if not has_target(city):
        msg = f"assignment.refinement.persons: refinement needs flows, there is no {path}"
        raise ConfigError(msg)
    target = read_target(path, city)
    return (
        SourceEntry(name="flows", digest=target.digest, provenance={OD_FILE: target.provenance}),
    )


def _check_models(config: RunConfig, city: City) -> tuple[SourceEntry, ...]:
    """Load every model once, on the CPU, so that a fault is found before any shard starts."""
    weights = checkpoints.folder(config.weights)
    compute = config.compute.model_copy(update={"device": "cpu"})
    load_chain_models(weights, compute)
    load_planner(weights, config.planner, compute)
    load_generator(weights, config.generator, compute)
    load_decoder(weights, city, compute)
    decoder = decoder_directory(weights, city.name).name
    planner = MODEL if config.planner.llm else DISTILLED
    names = ["reconstruction", "adapters", planner, "spatial", "generator", decoder]
    folders = {name: weights / name for name in names}
    if config.trajectories.share:
        on_cpu = config.model_copy(update={"compute": compute})
        load_trip_planner(on_cpu, lambda: city_network(city))
        folders |= planner_folders(config.trajectories, weights)
    labels = {name: checkpoints.label(folder) for name, folder in folders.items()}
    return tuple(
        SourceEntry(name=name, digest=digest, provenance=provenance)
        for name, (digest, provenance) in labels.items()
    )


def _check_room(store: Store, persons: int, days: int) -> None:
    """Raise unless the output can be written and its disk has room for the run."""
    try:
        store.probe()
    except OSError as error:
        msg = f"output {store.location}: cannot be written: {error.strerror or error}"
        raise ConfigError(msg) from None
    needed, free = persons * days * BYTES_PER_PERSON, store.free_bytes()
    if free is not None and free < needed:
        msg = f"output {store.location}: needs about {needed / 1e6:,.1f} MB, the disk has "
        msg += f"{free / 1e6:,.1f} MB free"
        raise ConfigError(msg)


def _run(
    plan: Plan,
    store: Store,
    address: str | None,
    todo: list[int],
    tell: Callable[[Receipt | None], None],
    steps: Steps,
) -> None:
    """Do the shards on Ray."""
    compute = plan.config.compute
    with steps.step("anchors"):
        tables, moves = anchor_tables(plan.city), None
    if plan.config.assignment.refinement.persons:
        with steps.step("refinement"):
            tables, moves = calibrated(plan.config, plan.city, plan.fit, tables, store)
    roads = None
    if plan.config.trajectories.share:
        with steps.step("roads"):
            roads = city_roads(plan.city, CONGESTION.astype(np.float64))
    with ExitStack() as stack:
        with steps.step("cluster"):
            stack.enter_context(connect(address, compute.workers or None, compute.threads))
        count, share = crew_size(
            compute, len(todo), ray.cluster_resources(), crew_bytes(plan.config)
        )
        inputs = Inputs(
            config=plan.config,
            city=ray.put(plan.city),
            fit=ray.put(plan.fit),
            index=ray.put(plan.index),
            tables=ray.put(tables),
            roads=None if roads is None else ray.put(roads),
            time_zone=plan.city.time_zone,
            moves=moves,
            store=store,
            run=plan.identity.digest,
        )
        log.info("%d shards on %d crews of %d actors", len(todo), count, len(STAGES))
        tell(None)
        limits = Limits(compute.in_flight, compute.attempts, compute.shard_timeout_s)
        with steps.step("shards"):
            _work([Crew(inputs, share) for _ in range(count)], limits, todo, tell)


def _work(
    crews: list[Crew], limits: Limits, todo: list[int], tell: Callable[[Receipt | None], None]
) -> None:
    """Have crews do the shards; end their actors whatever happens."""
    try:
        Ledger(crews, limits).run(todo, tell)
    finally:
        for crew in crews:
            crew.dismiss()


def crew_size(
    compute: ComputeConfig,
    shards: int,
    resources: Mapping[str, float],
    claimed: int = CREW_BYTES,
) -> tuple[int, Share]:
    """Return how many crews a run has, and what each of their actors claims.

    Parameters
    ----------
    compute
        Asks for a number of crews, or for one a CPU.
    shards
        To do; more crews than shards would idle.
    resources
        Of the cluster, as ``ray.cluster_resources`` gives them: CPU, GPU, memory in bytes.
    claimed
        Bytes of memory of a crew.

    Raises
    ------
    ClusterError
        If the cluster cannot hold the crews, or has no GPU for the models.
    """
    cpus, memory = resources.get("CPU", 0.0), resources.get("memory", 0.0)
    most = max(1, min(int(cpus / compute.threads), int(memory / claimed)))
    count = min(compute.workers or most, shards)
    share = CPU_SHARE * compute.threads
    needed = count * len(STAGES) * share
    if needed > cpus:
        msg = (
            f"cluster: {count} crews of {compute.threads} threads claim {needed:.1f} CPUs, it has "
        )
        msg += f"{cpus:g}; lower compute.workers or compute.threads"
        raise ClusterError(msg)
    if not compute.device.startswith("cuda"):
        return count, Share(share, 0.0)
    gpus = resources.get("GPU", 0.0)
    if gpus == 0:
        msg = f"compute.device is {compute.device!r}, and the cluster has no GPU"
        raise ClusterError(msg)
    # Crews share GPUs evenly; rounded down, so that rounding never leaves one without.
    each = np.floor(1000 * min(1.0, gpus / (count * MODEL_STAGES))) / 1000
    return count, Share(share, float(each))


def _teller(
    plan: Plan, receipts: dict[int, Receipt], kept: int, watch: Watch | None
) -> Callable[[Receipt | None], None]:
    """Return what takes each receipt: keeps it, logs a line, and tells the watcher."""
    persons_kept = _persons(receipts)

    def tell(receipt: Receipt | None) -> None:
        if receipt is not None:
            receipts[receipt.shard] = receipt
            seconds = sum(cost.wall_s for cost in receipt.costs)
            log.info(
                "shard %d: %d persons in %.1f s (%d of %d shards done)",
                receipt.shard,
                _persons({receipt.shard: receipt}),
                seconds,
                len(receipts),
                plan.identity.shards,
            )
        if watch is not None:
            watch(
                Progress(
                    shards=plan.identity.shards,
                    shards_done=len(receipts),
                    persons=plan.index.persons,
                    persons_done=_persons(receipts),
                    persons_kept=persons_kept,
                )
            )

    return tell


def _persons(receipts: Mapping[int, Receipt]) -> int:
    """Return the persons of done shards."""
    return sum(
        receipt.files[f"persons/{manifest.part(shard)}.parquet"].rows
        for shard, receipt in receipts.items()
    )
