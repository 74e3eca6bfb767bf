"""Fit the trajectory autoencoder: ``raygen train codec RECIPE``. HTP, section 4.1 and A.5."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from raygen import checkpoints
from raygen.models.spatial import fill
from raygen.models.trajectory_codec import CodecConfig, TrajectoryCodec
from raygen.models.trajectory_places import save_places
from raygen.network.node2vec import Node2vecSettings
from training.codec_data import NetworkTrips, TrajectorySources, read_sources, splits
from training.codec_measures import fit_rest, held_out
from training.codec_task import CodecTask, Split
from training.loop import FitResult, fit
from training.model_card import ModelCard, write_card, write_curve
from training.recipe import Recipe

_SUMMARY = """Trajectories on roads to travel-pattern tokens and back: Zhou et al., "From GPS points
to travel patterns", KDD 2026, section 4.1. Steps and offsets along the route are read and made, and
segments are told by length, speed, class and turn, so that the weights serve any city; with
Node2vec (`roads.node2vec`) they serve the networks whose vectors lie in `places`, and no others."""


class CodecRecipe(Recipe):
    """Recipe of ``raygen train codec``."""

    data: TrajectorySources = TrajectorySources()
    """Trajectories."""

    model: CodecConfig = CodecConfig()
    """Architecture."""

    batch: Annotated[int, Field(ge=1)] = 64
    """Trajectories in a batch; those of one network."""

    batches: Annotated[int, Field(ge=1)] = 100
    """Batches of an epoch."""


def train(
    recipe: CodecRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the autoencoder and write its weights, card and curve.

    Parameters
    ----------
    recipe
        Data, architecture and loop.
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
    width = recipe.model.roads.node2vec
    walks = Node2vecSettings(width=width) if width else None
    parts = splits(sets, recipe.data.validation, walks, recipe.seed)
    task = CodecTask(recipe.model, parts, recipe.batch, recipe.batches, recipe.seed)
    result = fit(task, recipe.loop, output, resume, address)
    write_weights(recipe, sets, parts, result, output)
    return output


def fitted(config: CodecConfig, result: FitResult, parts: tuple[Split, ...]) -> TrajectoryCodec:
    """Return the autoencoder of a training, in half precision, with what its codes leave open."""
    codec = TrajectoryCodec(config)
    fill(codec, {name: each.half() for name, each in result.tensors.items()}, Path("training"))
    codec = codec.eval().requires_grad_(requires_grad=False)
    fit_rest(codec, [part.train for part in parts])
    return codec


def write_weights(
    recipe: CodecRecipe,
    sets: list[NetworkTrips],
    parts: tuple[Split, ...],
    result: FitResult,
    output: Path,
) -> None:
    """Write what a training found: weights in half precision, curve and card."""
    provenance = {each.name: each.label for each in sets}
    codec = fitted(recipe.model, result, parts)
    tensors = {name: each.half() for name, each in codec.state_dict().items()}
    checkpoints.save(output, "codec", recipe.model, tensors, provenance)
    places = [
        (each.name, each.roads.network, part.train.routes.places)
        for each, part in zip(sets, parts, strict=True)
        if part.train.routes.places is not None
    ]
    if places:
        save_places(output, places, checkpoints.label(output)[0])
    write_curve(output, result.curve)
    best = result.curve[result.best_epoch]
    names = [name for name in best if name.startswith("validation_")]
    results = [(n.removeprefix("validation_"), "held-out trips", best[n]) for n in names]
    kept = {each.name: part.validation for each, part in zip(sets, parts, strict=True)}
    results += held_out(codec, kept)
    card = ModelCard(
        model="Trajectory autoencoder (HTP 4.1)",
        summary=_SUMMARY,
        data=provenance,
        architecture=recipe.model,
        loop=recipe.loop,
        seconds=result.seconds,
        results=results,
        limits=["Car trips of 20 to 200 points alone; drivers of simulated trips are assumed."],
        command="raygen train codec training/recipes/codec.toml",
    )
    write_card(output, card)
