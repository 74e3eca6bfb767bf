"""The annotating language model: as it comes, or with a LoRA adapter fitted to labelled POIs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from safetensors import safe_open

from raygen import checkpoints
from raygen.annotation import prompts
from raygen.annotation.scoring import FloatArray, TypeScorer, probabilities, vocabulary_head
from raygen.config import ComputeConfig, PlannerConfig, Section
from raygen.errors import WeightsError
from raygen.models.language import LanguageModel, load_language_model, unpacked
from raygen.models.plan_net import merge_lora

MODEL = "annotation"


class AnnotationArchitecture(Section):
    """Architecture of the adapter; saved beside its weights."""

    base_model: str = "smollm2"
    """Language model: ``smollm2`` or a folder that transformers loads."""

    base_digest: str = ""
    """SHA-256 of the language model that the adapter was fitted to."""

    upper_layers: Annotated[int, Field(ge=1)] = 6
    """Layers, from the top, that carry LoRA."""

    rank: Annotated[int, Field(ge=1, le=256)] = 8
    """Rank of LoRA's matrices."""

    alpha: Annotated[float, Field(gt=0)] = 16.0
    """LoRA's scale is alpha / rank."""

    examples: bool = False
    """Whether the instruction shows an answered POI of each type."""

    prompt_digest: str = ""
    """``prompts.digest`` of the prompt that the adapter was fitted to."""


@dataclass(frozen=True)
class Annotator:
    """A loaded language model and how its likelihoods become probabilities."""

    scorer: TypeScorer
    content_free: FloatArray | None
    """Shape (15,), see ``scoring.probabilities``; None where the model was fitted."""
    digest: str
    """What the answers depend on besides the POIs."""
    label: str
    """How the probabilities came to be known: ``calibrated`` or ``assumed``."""

    def annotate(self, texts: list[str]) -> FloatArray:
        """Return P(activity type | POI) of texts, shape (N, 15)."""
        return probabilities(self.scorer.log_likelihoods(texts), self.content_free)


def load_annotator(
    weights: Path | None, config: PlannerConfig, compute: ComputeConfig
) -> Annotator:
    """Load the language model.

    Parameters
    ----------
    weights
        Directory of weights with a folder ``annotation``; None takes the language model as it
        comes, with examples in the prompt and calibrated by prompts without content.
    config
        Language model, number format and batch.
    compute
        Device.

    Raises
    ------
    WeightsError
        If the weights or the language model are missing, or do not fit each other.
    """
    language = load_language_model(config.base_model, torch.float32, compute.device)
    parts = [language.digest, config.dtype, str(config.batch)]
    examples = True
    if weights is not None:
        examples, digest = _merge(language, weights / MODEL, config.base_model)
        parts.append(digest)
    language.decoder.to(getattr(torch, config.dtype))
    head = read_head(language, config.base_model)
    scorer = TypeScorer(language, head, config.batch, examples)
    parts.append(prompts.digest(examples))
    if weights is not None:
        return Annotator(scorer, None, ":".join(parts), "calibrated")
    return Annotator(scorer, scorer.content_free(), ":".join(parts), "assumed")


def read_head(language: LanguageModel, base_model: str) -> torch.Tensor:
    """Return the vocabulary head of a loaded model, shape (V, H).

    Raises
    ------
    WeightsError
        If the model does not tie its embeddings and its folder has no ``lm_head.weight``.
    """
    weight = vocabulary_head(language.decoder)
    if weight is not None:
        return weight
    folder = unpacked(base_model)
    like = next(language.decoder.parameters())
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if "lm_head.weight" in file.keys():
                return file.get_tensor("lm_head.weight").to(like.device, like.dtype)
    msg = f"{folder}: has neither tied embeddings nor lm_head.weight; annotation needs a causal LM"
    raise WeightsError(msg)


def _merge(language: LanguageModel, folder: Path, base_model: str) -> tuple[bool, str]:
    """Merge the adapter into the model; return whether it wants examples, and its digest."""
    config, tensors, digest = checkpoints.load(folder, MODEL, AnnotationArchitecture)
    for name, has, needs in (
        ("language model", language.digest, config.base_digest),
        ("prompt", prompts.digest(config.examples), config.prompt_digest),
    ):
        if has != needs:
            msg = f"{folder}: fitted to another {name} ({needs[:12]}…) than {base_model!r} has "
            msg += f"({has[:12]}…); fit it with `raygen train {MODEL}`"
            raise WeightsError(msg)
    device = next(language.decoder.parameters()).device
    merge_lora(
        language.decoder,
        {name: tensor.to(device) for name, tensor in tensors.items()},
        config.alpha / config.rank,
    )
    return config.examples, digest
