"""Fitted trajectory language models from disk."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from raygen import checkpoints
from raygen.config import ComputeConfig, SpeakerConfig
from raygen.errors import WeightsError
from raygen.models.language import LanguageModel, load_language_model
from raygen.models.trajectory_language import TrajectoryLanguage, TrajectoryLanguageConfig
from raygen.models.trajectory_speaker import Speaker
from raygen.models.trajectory_words import network_digest
from raygen.network.graph import RoadNetwork


def load_speaker(
    config: SpeakerConfig, codec_digest: str, network: RoadNetwork, compute: ComputeConfig
) -> Speaker:
    """Load a fitted trajectory language model on its base model, LoRA merged into the weights.

    Parameters
    ----------
    config
        Folder of ``raygen train trajectory``, number format, slots.
    codec_digest
        SHA-256 of the autoencoder that will decode its codes.
    network
        The roads that it will be asked about.
    compute
        Device.

    Raises
    ------
    WeightsError
        If weights are missing or altered, or of another autoencoder, language model or network.
    """
    if config.folder is None:
        msg = "trajectories.language.folder: must name the folder of `raygen train trajectory` "
        raise WeightsError(msg + "where trajectories.planner is 'language'")
    return fitted(config.folder, codec_digest, network_digest(network), config, compute)


def fitted(
    folder: Path, codec_digest: str, network: str, how: SpeakerConfig, compute: ComputeConfig
) -> Speaker:
    """Return a folder's speaker; ``network`` is the digest of its roads. See ``load_speaker``."""
    shape, tensors, _ = checkpoints.load(folder, "trajectory", TrajectoryLanguageConfig)
    language = load_language_model(shape.base_model, torch.float32, "cpu")
    wanted = {
        "autoencoder": (shape.codec_digest, codec_digest),
        "language model": (shape.base_digest, language.digest),
        "road network": (shape.network_digest, network),
    }
    for name, (its, ours) in wanted.items():
        if its != ours:
            msg = f"{folder}: fitted to another {name}: {its[:12] or 'none'}, needed {ours[:12]}; "
            raise WeightsError(msg + "`raygen train trajectory` again")
    model = TrajectoryLanguage(shape, language, 0)
    found = model.load_state_dict({n: t.float() for n, t in tensors.items()}, strict=False)
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    wrong = [*found.unexpected_keys, *sorted(trained & set(found.missing_keys))]
    if wrong:
        msg = f"{folder}: tensors do not fit the architecture in config.json: {wrong[:3]}"
        raise WeightsError(msg)
    return ready(model, language, how, compute)


def begin_from(model: TrajectoryLanguage, folder: Path) -> None:
    """Give a model what another one learned, in place; roads of another network stay new.

    Raises
    ------
    WeightsError
        If weights are missing or altered, or of another language model, autoencoder or shape.
    """
    shape, tensors, _ = checkpoints.load(folder, "trajectory", TrajectoryLanguageConfig)
    its, ours = (
        {name: getattr(config, name) for name in _ALIKE} for config in (shape, model.config)
    )
    if its != ours:
        wrong = [name for name in _ALIKE if its[name] != ours[name]]
        msg = f"{folder}: cannot begin from it: has another {', '.join(wrong)}"
        raise WeightsError(msg)
    own = dict(model.named_parameters())
    others = shape.network_digest != model.config.network_digest
    with torch.no_grad():
        for name, tensor in tensors.items():
            if others and name in ("new.weight", "bias"):
                own[name][model.words.roads :] = tensor[shape.roads :].float()
            else:
                own[name].copy_(tensor.float())


_ALIKE = ("base_digest", "codec_digest", "codebooks", "rank", "alpha", "roads_first", "bias",
          "countdown", "ordinary")  # fmt: skip


def ready(
    model: TrajectoryLanguage, language: LanguageModel, how: SpeakerConfig, compute: ComputeConfig
) -> Speaker:
    """Return a model ready to answer: without gradients, LoRA merged, on the device."""
    merge_adapters(model.decoder)
    dtype = torch.bfloat16 if how.dtype == "bfloat16" else torch.float32
    model = model.to(device=compute.device, dtype=dtype)
    return Speaker(model.eval().requires_grad_(requires_grad=False), language, how.slots)


@torch.no_grad()
def merge_adapters(decoder: nn.Module) -> None:
    """Add each adapter of LoRA to the weights under it and take it away, in place."""
    from peft.tuners.lora import LoraLayer

    adapted = [
        (name, each) for name, each in decoder.named_modules() if isinstance(each, LoraLayer)
    ]
    for name, each in adapted:
        layer: Any = each
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(decoder.get_submodule(parent), last, layer.get_base_layer())
