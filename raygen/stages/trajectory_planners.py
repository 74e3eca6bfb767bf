"""What says the travel patterns of a shard's trips: the Transformer, or a language model.

Both have one interface: routes, conditions and ids of trips in, points on the routes out. What is
drawn of a trip depends on the run's seed and the trip's id.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from raygen import checkpoints, seeds
from raygen.config import RunConfig, TrajectoryConfig
from raygen.models.trajectory_batches import conditions, route_data, tensors
from raygen.models.trajectory_codec import TrajectoryCodec
from raygen.models.trajectory_fitted import load_speaker
from raygen.models.trajectory_model import (
    FOLDER,
    NOISE,
    PointsOnRoutes,
    TrajectoryModel,
    decoded,
    load_codec,
    load_trajectory_model,
)
from raygen.models.trajectory_places import FOLDER as PLACES
from raygen.models.trajectory_places import AskedRoads, load_places
from raygen.models.trajectory_planner import DRAWS, Patterns
from raygen.models.trajectory_speaker import Speaker
from raygen.models.trajectory_tables import FOLDER as TABLES
from raygen.models.trajectory_tables import OWN
from raygen.network.graph import FloatArray, IntArray, RoadNetwork
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.routes import Float32Array, RouteSet


@dataclass(frozen=True)
class AskedTrips:
    """N trips that are to get points."""

    trip_id: IntArray
    routes: RouteSet
    depart_s: FloatArray
    travel_s: FloatArray
    points: IntArray
    """Points of each trip, 20 to 200."""
    seed: int
    """The run's."""

    @property
    def interval_s(self) -> FloatArray:
        """Seconds between two points, (N,)."""
        return self.travel_s / (self.points - 1)

    def told(self) -> Conditions:
        """Return the conditions as ``question`` tells them."""
        routes = self.routes
        return Conditions(
            routes.first,
            routes.segment,
            self.depart_s,
            self.travel_s,
            routes.length_m,
            # Told to the tenth: a number of twelve digits is many words and no information.
            np.round(self.interval_s, 1),
        )

    def batches(self, batch: int) -> Iterator[IntArray]:
        """Yield rows of trips, like sizes together."""
        order = np.argsort(self.points + self.routes.count, kind="stable")
        for begin in range(0, len(order), batch):
            yield order[begin : begin + batch]

    def noise(self, rows: IntArray) -> FloatArray:
        """Return the standard normals of what tokens leave open of some trips, (B, NOISE)."""
        return seeds.normals(self.seed, "trajectories:rest", self.trip_id[rows], NOISE)


@dataclass(frozen=True)
class Answered:
    """Points of some trips."""

    rows: IntArray
    points: PointsOnRoutes


class TripPlanner(Protocol):
    """Says where the points of trips lie on their routes."""

    def answers(self, asked: AskedTrips, counters: dict[str, int]) -> Iterator[Answered]:
        """Yield the points of all trips, in batches; add to the counters of the shard."""
        ...


@dataclass(frozen=True)
class PatternPlanner:
    """The Transformer without a language model."""

    model: TrajectoryModel
    batch: int = 128

    def answers(self, asked: AskedTrips, counters: dict[str, int]) -> Iterator[Answered]:
        """Yield the points of all trips; see ``TripPlanner``."""
        del counters
        data = route_data(asked.routes, self.model.places)
        given = conditions(asked.depart_s, asked.travel_s, asked.interval_s, asked.routes)
        for rows in asked.batches(self.batch):
            batch = data.batch(rows) | tensors({name: each[rows] for name, each in given.items()})
            draws = seeds.uniforms(asked.seed, "trajectories:tokens", asked.trip_id[rows], DRAWS)
            found = self.model.points(batch, draws, asked.noise(rows), asked.points[rows])
            yield Answered(rows, found)


@dataclass(frozen=True)
class LanguagePlanner:
    """A language model, and the autoencoder whose codes it says."""

    speaker: Speaker
    codec: TrajectoryCodec
    network: RoadNetwork
    batch: int = 128
    places: Float32Array | None = None
    """Node2vec of the network, where the autoencoder reads it."""

    def answers(self, asked: AskedTrips, counters: dict[str, int]) -> Iterator[Answered]:
        """Yield the points of all trips; see ``TripPlanner``. All are asked about at once."""
        speaker, ids = self.speaker, asked.trip_id
        said = speaker.answers(
            speaker.questions(self.network, asked.told(), asked.points),
            seeds.uniforms(asked.seed, "trajectories:words", ids, speaker.draws),
            asked.points,
        )
        for name, value in (
            ("language_prompt_tokens", said.prompt_tokens),
            ("language_answer_tokens", said.answer_tokens),
            ("language_prompt_ms", round(1000 * said.prompt_s)),
            ("language_answer_ms", round(1000 * said.answer_s)),
        ):
            counters[name] = counters.get(name, 0) + value
        data = route_data(asked.routes, self.places)
        given = conditions(asked.depart_s, asked.travel_s, asked.interval_s, asked.routes)
        device = self.codec.embed.weight.device
        for rows in asked.batches(self.batch):
            most = int(asked.points[rows].max() + 7) // 8
            patterns = Patterns(said.patterns.length[rows], said.patterns.codes[rows][:, :most])
            told = data.batch(rows) | tensors({name: each[rows] for name, each in given.items()})
            batch = {name: each.to(device) for name, each in told.items()}
            yield Answered(rows, decoded(self.codec, patterns, batch, asked.noise(rows)))


def load_trip_planner(config: RunConfig, roads: Callable[[], RoadNetwork]) -> TripPlanner:
    """Load what a run says travel patterns by: ``trajectories.planner``.

    Parameters
    ----------
    config
        Of the run.
    roads
        Gives the city's roads, which a language model and Node2vec are bound to.

    Raises
    ------
    WeightsError
        If weights are missing or altered, or of another autoencoder, language model or network.
    """
    weights, settings = checkpoints.folder(config.weights), config.trajectories
    asked = AskedRoads(config.city, roads)
    if settings.planner == "patterns":
        model = load_trajectory_model(weights, config.compute, settings.tables, asked)
        return PatternPlanner(model, settings.batch)
    folder = weights / FOLDER / "codec"
    codec, digest = load_codec(folder, settings.tables)
    places = load_places(folder, (codec.config, digest), asked)
    network = roads()
    speaker = load_speaker(settings.language, digest, network, config.compute)
    codec = codec.to(config.compute.device)
    return LanguagePlanner(speaker, codec, network, settings.batch, places)


def planner_folders(settings: TrajectoryConfig, weights: Path) -> dict[str, Path]:
    """Return the folders of the weights that a run with trajectories reads, by their names."""
    codec = weights / FOLDER / "codec"
    folders = {f"{FOLDER}/codec": codec}
    if settings.tables != OWN:
        folders[f"{FOLDER}/codec/{TABLES}"] = codec / TABLES
    if (codec / PLACES).is_dir():
        folders[f"{FOLDER}/codec/{PLACES}"] = codec / PLACES
    if settings.planner == "patterns":
        return folders | {f"{FOLDER}/patterns": weights / FOLDER / "patterns"}
    return folders | {f"{FOLDER}/language": Path(settings.language.folder or "")}
