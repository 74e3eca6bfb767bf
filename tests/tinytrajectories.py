"""Small trajectory models with random weights, in the folders of a run's weights."""

from pathlib import Path

import torch

from raygen import checkpoints
from raygen.models.road_encoder import RoadEncoderConfig
from raygen.models.trajectory_codec import CodecConfig, TrajectoryCodec
from raygen.models.trajectory_planner import PatternConfig, PatternTransformer

CODEC = CodecConfig(
    widths=(8, 8, 8, 16), head=8, quantised=8, codebooks=(4, 8, 8, 8),
    roads=RoadEncoderConfig(width=8, heads=2),
)  # fmt: skip
LABEL = {"weights": "random: assumed"}


def codec() -> TrajectoryCodec:
    """An autoencoder with random codes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = TrajectoryCodec(CODEC)
        for layer in range(4):
            made.quantizer.book(layer).normal_()
        made.quantizer.ready.fill_(1.0)
        made.left.offsets.copy_(torch.linspace(-0.5, 0.5, len(made.left.offsets)))
    return made.eval()


def patterns(width: int = 12) -> PatternTransformer:
    """A Transformer with random weights around ``codec``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return PatternTransformer(PatternConfig(width=width, layers=2, heads=2), codec()).eval()


def build(weights: Path) -> None:
    """Write both into a directory of weights."""
    folder = weights / "trajectories"
    checkpoints.save(folder / "codec", "codec", CODEC, codec().state_dict(), LABEL)
    digest = checkpoints.label(folder / "codec")[0]
    made = patterns()
    config = made.config.model_copy(update={"codec_digest": digest})
    own = {n: t for n, t in made.state_dict().items() if not n.startswith("codec.")}
    checkpoints.save(folder / "patterns", "patterns", config, own, LABEL)
