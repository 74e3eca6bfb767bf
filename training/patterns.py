"""Fit the Transformer that says travel patterns: ``raygen train patterns RECIPE``.

The variant "w/o LLM" of HTP's Table 2, behind a fitted autoencoder.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from raygen import checkpoints, seeds
from raygen.models.trajectory_batches import TrajectoryData
from raygen.models.trajectory_codec import TrajectoryCodec
from raygen.models.trajectory_model import load_codec
from raygen.models.trajectory_places import AskedRoads, load_places
from raygen.models.trajectory_planner import PatternConfig, PatternTransformer
from raygen.trajectories.routes import Float32Array
from training.codec_data import NetworkTrips, TrajectorySources, read_sources, splits
from training.codec_task import Split, alike, chunks, drawn_split, with_codes
from training.loop import FitResult, fit
from training.model_card import ModelCard, write_card, write_curve
from training.recipe import Recipe

_SUMMARY = """Routes and conditions (start time, travel time, distance, sampling interval) to
travel-pattern tokens: the variant without a language model of Zhou et al., "From GPS points to
travel patterns", KDD 2026, Table 2. One position for each group of eight points."""


class PatternRecipe(Recipe):
    """Recipe of ``raygen train patterns``."""

    data: TrajectorySources = TrajectorySources()
    """Trajectories."""

    model: PatternConfig = PatternConfig()
    """Architecture; ``codec_digest`` is the autoencoder's."""

    codec: Path = checkpoints.SHIPPED / "trajectories" / "codec"
    """Directory of the autoencoder."""

    batch: Annotated[int, Field(ge=1)] = 64
    """Trajectories in a batch; those of one network."""

    batches: Annotated[int, Field(ge=1)] = 100
    """Batches of an epoch."""


@dataclass(frozen=True)
class PatternTask:
    """A ``training.worker.Task``."""

    config: PatternConfig
    codec: Path
    splits: tuple[Split, ...]
    batch: int
    batches_per_epoch: int
    seed: int

    def model(self) -> PatternTransformer:
        """Return the objective, around the fitted autoencoder."""
        return PatternTransformer(self.config, load_codec(self.codec)[0])

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield this worker's batches of an epoch."""
        share = self.batches_per_epoch // world
        for index in range(rank * share, (rank + 1) * share):
            rng = seeds.stream(self.seed, "patterns-batch", epoch, index)
            split = drawn_split(self.splits, rng)
            yield split.train.batch(alike(split.train, self.batch, rng))

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return nats a token on held-out trajectories."""
        device = next(model.parameters()).device
        sums: dict[str, float] = {}
        count = 0
        for data in (split.validation for split in self.splits):
            for rows in chunks(data):
                batch = {name: each.to(device) for name, each in data.batch(rows).items()}
                for name, loss in model(batch, 1.0).items():
                    sums[name] = sums.get(name, 0.0) + float(loss) * len(rows)
                count += len(rows)
        return {name: total / count for name, total in sums.items()}


def train(
    recipe: PatternRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the Transformer and write its weights, card and curve.

    Parameters
    ----------
    recipe
        Data, autoencoder, architecture and loop.
    output
        Directory of the weights.
    resume
        Go on from the loop's last checkpoint.
    address
        Ray's address; see ``training.loop.fit``.

    Returns
    -------
    output
        The directory, as ``raygen.checkpoints`` writes it.
    """
    sets = read_sources(recipe.data, recipe.seed)
    task, shape = task_of(recipe, sets)
    result = fit(task, recipe.loop, output, resume, address)
    write_weights(recipe, shape, sets, result, output)
    return output


def task_of(recipe: PatternRecipe, sets: list[NetworkTrips]) -> tuple[PatternTask, PatternConfig]:
    """Return a recipe's training task on sets of trajectories, and its architecture.

    Raises
    ------
    WeightsError
        If the autoencoder's weights are missing or altered, or read the Node2vec of other roads.
    """
    codec, digest = load_codec(recipe.codec)
    shape = recipe.model.model_copy(update={"codec_digest": digest})
    places = [
        load_places(
            recipe.codec,
            (codec.config, digest),
            AskedRoads(each.name, lambda one=each: one.roads.network),
        )
        for each in sets
    ]
    parts = with_places(splits(sets, recipe.data.validation, None, recipe.seed), places)
    parts = coded(parts, codec)
    folder = recipe.codec.resolve()
    return PatternTask(shape, folder, parts, recipe.batch, recipe.batches, recipe.seed), shape


def with_places(parts: tuple[Split, ...], places: list[Float32Array | None]) -> tuple[Split, ...]:
    """Return sets of trajectories with the Node2vec of their networks, as it is kept."""
    return tuple(
        Split(_placed(part.train, one), _placed(part.validation, one), part.weight)
        for part, one in zip(parts, places, strict=True)
    )


def _placed(data: TrajectoryData, places: Float32Array | None) -> TrajectoryData:
    return replace(data, routes=replace(data.routes, places=places))


def coded(parts: tuple[Split, ...], codec: TrajectoryCodec) -> tuple[Split, ...]:
    """Return sets of trajectories with their codes, which do not change in the training."""
    return tuple(
        Split(with_codes(part.train, codec), with_codes(part.validation, codec), part.weight)
        for part in parts
    )


def write_weights(
    recipe: PatternRecipe,
    shape: PatternConfig,
    sets: list[NetworkTrips],
    result: FitResult,
    output: Path,
) -> None:
    """Write what a training found: weights in half precision, curve and card."""
    own = {n: each.half() for n, each in result.tensors.items() if not n.startswith("codec.")}
    provenance = {each.name: each.label for each in sets}
    checkpoints.save(output, "patterns", shape, own, provenance)
    write_curve(output, result.curve)
    best = result.curve[result.best_epoch]
    names = [name for name in best if name.startswith("validation_")]
    card = ModelCard(
        model="Travel patterns without a language model (HTP, Table 2)",
        summary=_SUMMARY,
        data=provenance,
        architecture=shape,
        loop=recipe.loop,
        seconds=result.seconds,
        results=[
            (f"{n.removeprefix('validation_')}, nats", "held-out trips", best[n]) for n in names
        ],
        limits=["Car trips of 20 to 200 points alone; drivers of simulated trips are assumed."],
        command="raygen train patterns training/recipes/patterns.toml",
    )
    write_card(output, card)
