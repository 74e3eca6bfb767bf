"""Fit the annotating language model: LoRA on POIs that are labelled by their tags.

DataFusion 4.1.1 asks a large commercial model as it comes. A small open one needs to learn the
task: its upper layers get LoRA (Hu et al., arXiv:2106.09685), fitted to the names of POIs and
chains in many languages, with their tags hidden. What is fitted is the likelihood of the labels, so
that the fitted model is asked exactly as the one that comes (``raygen.annotation.scoring``).
"""

import logging
from pathlib import Path

import torch

from raygen import checkpoints
from raygen.annotation import prompts
from raygen.annotation.model import MODEL, AnnotationArchitecture
from raygen.errors import ConfigError
from raygen.models.language import load_language_model
from raygen.models.plan_net import trained_tensors
from training.annotation_data import AnnotationData, Labelled, training_set
from training.annotation_task import AnnotationTask, count_batches, write_activations
from training.loop import FitResult, fit
from training.model_card import ModelCard, write_card, write_curve
from training.recipe import Recipe

LOG = logging.getLogger(__name__)

_ACTIVATIONS = "activations.safetensors"


class AnnotationRecipe(Recipe):
    """Recipe of ``raygen train annotation``."""

    data: AnnotationData = AnnotationData()
    """Labelled POIs."""

    model: AnnotationArchitecture = AnnotationArchitecture()
    """Architecture; the digests are the language model's and the prompt's."""


def train(
    recipe: AnnotationRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the adapter and write weights, card and curve.

    Parameters
    ----------
    recipe
        Data, architecture and loop.
    output
        Directory of the weights; its name must be ``annotation``, so that its parent can be given
        to ``raygen annotate --weights``.
    resume
        Go on from the last epoch in ``output``.
    address
        Ray's address.

    Returns
    -------
    output
        The directory.

    Raises
    ------
    ConfigError
        If the output has another name.
    DataError
        If the labelled POIs are missing or malformed.
    WeightsError
        If the language model is missing or does not suit.
    ClusterError, StageError
        See ``training.loop.fit``.
    """
    if output.name != MODEL:
        msg = f"output: the directory's name must be {MODEL!r}, got {str(output)!r}"
        raise ConfigError(msg)
    learned, held = training_set(recipe.data)
    parts = {"train": learned, "validation": held}
    task, layers = _task(recipe, parts, (output / _ACTIVATIONS).resolve(), resume)
    result = fit(task, recipe.loop, output, resume, address)
    tensors = trained_tensors(result.tensors, layers - recipe.model.upper_layers)
    provenance = _provenance(task.architecture, learned)
    checkpoints.save(output, MODEL, task.architecture, tensors, provenance)
    (output / _ACTIVATIONS).unlink(missing_ok=True)
    write_curve(output, result.curve)
    _write_card(recipe, task.architecture, provenance, result, output)
    return output


def _task(
    recipe: AnnotationRecipe, parts: dict[str, Labelled], path: Path, resume: bool
) -> tuple[AnnotationTask, int]:
    """Write the lower layers' output; return the task and the language model's layers."""
    # The lower layers' output is kept in bfloat16 anyway.
    language = load_language_model(recipe.model.base_model, torch.bfloat16, "cpu")
    config = recipe.model.model_copy(
        update={
            "base_digest": language.digest,
            "prompt_digest": prompts.digest(recipe.model.examples),
        }
    )
    if not (resume and path.is_file()):
        sizes = ", ".join(f"{len(labelled)} {part}" for part, labelled in parts.items())
        LOG.info("annotation: lower layers of %s names", sizes)
        write_activations(path, language, config, parts)
    counts = count_batches(path)
    task = AnnotationTask(config, recipe.seed, path, counts["train"], counts["validation"])
    return task, int(language.decoder.config.num_hidden_layers)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]


def _provenance(config: AnnotationArchitecture, learned: Labelled) -> dict[str, str]:
    return {
        "names": f"{len(learned)} names of the name-suggestion-index (BSD-3-Clause) and of POI "
        "files of OpenStreetMap (ODbL): observed",
        "labels": "their tags' rows of raygen/annotation/osm_tags.txt: assumed",
        "base_model": f"{config.base_model} (SHA-256 {config.base_digest[:12]}…), frozen",
    }


def _write_card(
    recipe: AnnotationRecipe,
    config: AnnotationArchitecture,
    provenance: dict[str, str],
    result: FitResult,
    output: Path,
) -> None:
    best = result.curve[result.best_epoch]
    rows = [(n, "validation names", v) for n, v in best.items() if n.startswith("validation_")]
    write_card(
        output,
        ModelCard(
            model=MODEL,
            summary="Maps the name of a POI, in any language, to probabilities of the 15 activity "
            "types: the POI annotation of DataFusion, section 4.1.1, on a small language model "
            "with LoRA. docs/results/poi-annotation.md compares it with baselines.",
            data=provenance,
            architecture=config,
            loop=recipe.loop,
            seconds=result.seconds,
            results=rows,
            limits=[
                "The labels are what tags stand for by a table, not what people were seen to do.",
                "Names that say nothing of their type are answered by the share of the types in "
                "the training names, which are mostly chains.",
            ],
            command="raygen train annotation training/recipes/annotation.toml",
        ),
    )
