"""A trajectory language model with random weights, for tests: on a tiny language model."""

from pathlib import Path

import tinyplanner
import tinytrajectories
import torch

from raygen import checkpoints
from raygen.models.language import load_language_model
from raygen.models.trajectory_language import TrajectoryLanguage, TrajectoryLanguageConfig
from raygen.models.trajectory_words import known_of, network_digest
from raygen.trajectories.plane import PlaneRoads


def build(directory: Path, roads: PlaneRoads, codec_digest: str, plus: bool = False) -> Path:
    """Write a language model and one that is fitted to it, and return the folder of the latter.

    Parameters
    ----------
    directory
        Where both are written.
    roads
        The network whose segments are words.
    codec_digest
        Of the autoencoder.
    plus
        Whether it says routes too.
    """
    base = tinyplanner.language(directory / "llm")
    language = load_language_model(str(base), torch.float32, "cpu")
    config = TrajectoryLanguageConfig(
        base_model=str(base),
        base_digest=language.digest,
        roads=roads.segments,
        network_digest=network_digest(roads.network),
        codebooks=tinytrajectories.CODEC.codebooks,
        codec_digest=codec_digest,
        rank=2,
        roads_first=plus,
    )
    model = TrajectoryLanguage(config, language, 1, known_of(roads, tinytrajectories.codec()))
    rng = torch.Generator().manual_seed(5)
    for name, each in model.named_parameters():
        if "lora_B" in name:  # zeros at first
            each.data.normal_(0.0, 0.1, generator=rng)
    trained = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    checkpoints.save(directory / "fitted", "trajectory", config, trained, tinytrajectories.LABEL)
    return directory / "fitted"
