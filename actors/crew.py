"""A crew: one actor for each stage, through which a shard goes from first to last."""

from dataclasses import dataclass
from typing import Any

import ray
from ray import ObjectRef

from actors.assigner import AssignerActor
from actors.decoder import DecoderActor
from actors.denoiser import DenoiserActor
from actors.planner import PlannerActor
from actors.populator import PopulatorActor
from actors.tracer import TracerActor
from actors.writer import WriterActor
from assignment.anchors import AnchorTables
from raygen.city import City
from raygen.config import RunConfig
from raygen.manifest import Receipt
from raygen.population.fit import PopulationFit
from raygen.population.sample import PopulationIndex
from raygen.stages.homes import HomeMoves
from raygen.stages.road_trips import CityRoads
from raygen.storage import Store

STAGES = ("populate", "plan", "denoise", "decode", "assign", "trace", "write")
"""Stages in the order of the data; ``trace`` where the run has trajectories."""

MODEL_STAGES = 4
"""Stages that hold a model on the device: plan, denoise, decode, trace."""

CPU_SHARE = 0.1
"""CPUs that an actor claims for each of its threads.

A crew of seven claims 0.7 of a CPU and uses about one, since its stages wait for each other. The
rest is room in which the crews of a lost node start again (actors that hold every CPU hang).
"""

CREW_BYTES = 3 * 2**30
"""Memory of a crew: seven processes, five of them with torch, two shards under way, no LLM asked.
"""

_LANGUAGE_BYTES = 2 * 2**30  # of a language model that says trajectories: weights and its cache


def crew_bytes(config: RunConfig) -> int:
    """Return the memory of a crew of a run."""
    says = config.trajectories.share > 0 and config.trajectories.planner == "language"
    return CREW_BYTES + says * _LANGUAGE_BYTES


@dataclass(frozen=True)
class Share:
    """What each actor of a crew claims."""

    cpus: float
    gpus: float
    """For each of the actors with models; 0 on the CPU."""


@dataclass(frozen=True)
class Inputs:
    """Everything that the actors of a run hold, put into Ray's object store once."""

    config: RunConfig
    city: "ObjectRef[City]"
    fit: "ObjectRef[PopulationFit]"
    index: "ObjectRef[PopulationIndex]"
    tables: "ObjectRef[AnchorTables]"
    roads: "ObjectRef[CityRoads] | None"
    """None where the run has no trajectories."""
    time_zone: str
    moves: HomeMoves | None
    """Of homes, where the run is refined to the flows' origins."""

    store: Store
    run: str
    """Digest of the run, for the receipts."""


class Crew:
    """One actor for each stage.

    The actors keep no state between shards, so a crew that lost one is replaced as a whole.
    """

    def __init__(self, inputs: Inputs, share: Share) -> None:
        self._inputs = inputs
        self._share = share
        self._hire()

    def _hire(self) -> None:
        held, config = self._inputs, self._inputs.config
        light = {"num_cpus": self._share.cpus}
        heavy = light | {"num_gpus": self._share.gpus}
        self._populator = PopulatorActor.options(**light).remote(
            held.fit, held.index, held.city, held.moves, config.seed
        )
        self._planner = PlannerActor.options(**heavy).remote(held.city, config)
        self._denoiser = DenoiserActor.options(**heavy).remote(config)
        self._decoder = DecoderActor.options(**heavy).remote(held.city, config)
        self._assigner = AssignerActor.options(**light).remote(
            held.tables, held.city, config.assignment, config.seed
        )
        self._tracer = None
        if held.roads is not None:
            self._tracer = TracerActor.options(**heavy).remote(held.roads, held.time_zone, config)
        self._writer = WriterActor.options(**light).remote(held.store, held.run)

    def submit(self, shard: int) -> "ObjectRef[Receipt]":
        """Send a shard through all stages; return at once with the receipt to come."""
        people = self._populator.populate.remote(shard)
        planned = self._planner.plan.remote(people)
        denoised = self._denoiser.denoise.remote(planned)
        decoded = self._decoder.decode.remote(denoised, planned)
        finished = self._assigner.place.remote(people, planned, decoded)
        if self._tracer is not None:
            finished = self._tracer.trace.remote(finished)
        return self._writer.write.remote(finished)

    def dismiss(self) -> None:
        """End all actors, whatever they do."""
        actors: tuple[Any, ...] = (
            self._populator,
            self._planner,
            self._denoiser,
            self._decoder,
            self._assigner,
            self._tracer,
            self._writer,
        )
        for actor in actors:
            if actor is not None:
                ray.kill(actor)

    def replace(self) -> None:
        """End all actors and start new ones in their place."""
        self.dismiss()
        self._hire()
