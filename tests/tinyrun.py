"""A run on the tiny city: its configuration, and what to compare of its output."""

import hashlib
from pathlib import Path

import tinycity
import tinyweights

from actors.assigner import Assigner
from actors.decoder import Decoder
from actors.denoiser import Denoiser
from actors.planner import Planner
from actors.populator import Populator
from actors.tracer import Tracer
from actors.writer import Writer
from assignment.anchors import anchor_tables
from assignment.times import CONGESTION
from raygen import manifest, pipeline
from raygen.city import open_city
from raygen.config import RunConfig
from raygen.run_record import Steps
from raygen.stages.road_trips import city_roads
from raygen.storage import Store

AGENTS, SHARD_PERSONS = 480, 80


def configure(directory: Path) -> RunConfig:
    """Write the city and the weights, and return a run of six shards."""
    city = tinycity.build(directory / "city")
    weights = tinyweights.build(directory / "weights", open_city(str(city)))
    return RunConfig.model_validate(
        {
            "seed": 5,
            "city": str(city),
            "weights": weights,
            "agents": AGENTS,
            "output": directory / "population",
            "chains": {"days": 2},
            "trajectories": {"share": 0.2},
            "compute": {"shard_persons": SHARD_PERSONS, "workers": 1},
        }
    )


def variant(config: RunConfig, output: Path, **compute: int) -> RunConfig:
    """Return the run with another output and other settings of [compute]."""
    changes = {"output": str(output), "compute": config.compute.model_copy(update=compute)}
    return config.model_copy(update=changes)


def toml(config: RunConfig) -> str:
    """Return the run as TOML."""
    compute = "\n".join(
        f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
        for name, value in config.compute.model_dump().items()
    )
    return (
        f'seed = {config.seed}\ncity = "{config.city}"\nweights = "{config.weights}"\n'
        f'agents = {config.agents}\noutput = "{config.output}"\n'
        f"[chains]\ndays = {config.chains.days}\n"
        f"[trajectories]\nshare = {config.trajectories.share}\n[compute]\n{compute}\n"
    )


def generate_plainly(config: RunConfig) -> str:
    """Do a run without Ray, the stages' classes called one after the other."""
    plan = pipeline.prepare(config, Steps())
    store, city = Store(config.output), plan.city
    populator = Populator(plan.fit, plan.index, city, None, config.seed)
    planner, denoiser, decoder = Planner(city, config), Denoiser(config), Decoder(city, config)
    assigner = Assigner(anchor_tables(city), city, config.assignment, config.seed)
    roads = city_roads(city, CONGESTION.astype(float))
    tracer = Tracer(roads, city.time_zone, config)
    writer = Writer(store, plan.identity.digest)
    receipts = {}
    for shard in reversed(range(plan.index.shards)):
        people = populator.populate(shard)
        planned = planner.plan(people)
        decoded = decoder.decode(denoiser.denoise(planned), planned)
        receipts[shard] = writer.write(tracer.trace(assigner.place(people, planned, decoded)))
    manifest.finish(store, plan.identity, receipts, {})
    return config.output


def digests(population: str | Path) -> dict[str, str]:
    """Return the SHA-256 of every file that two equal runs must have equal."""
    root = Path(population)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.parent.name != "_receipts" and path.name != "run.json"
    }


def processes(name: str) -> list[int]:
    """Return the ids of this process's descendants whose title starts with ``name``."""
    import psutil

    found = psutil.Process().children(recursive=True)
    return [one.pid for one in found if "".join(one.cmdline()[:1]).startswith(name)]
