"""Embedding of a route's segments: what they are, where they lie, and how they follow each other.

HTP (Zhou et al., KDD 2026), Eq. 7 and 8: ``H_r = H_g + H_s`` of Node2vec and geometry, refined by a
Transformer. Mean pooling of a linear map of a line's points is that map of their mean, which
``raygen.trajectories.routes`` has among a segment's features. Node2vec belongs to one network:
with ``node2vec = 0`` the segments' length, speed, class and turn stand in for it, and the weights
serve any network.
"""

# Shape suffixes: B = batch, R = segments of a route, F = features, W = width.

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from raygen.config import Section
from raygen.models.attention import Layer, valid, waves
from raygen.trajectories.routes import CLASSES, FEATURES

_FRACTION_AT = (FEATURES.index("time_from"), FEATURES.index("time_to"))
_WAVES = 16


class RoadEncoderConfig(Section):
    """Architecture of the road encoder; the defaults are the preset ``small``."""

    width: Annotated[int, Field(ge=8)] = 48
    """d_r."""

    layers: Annotated[int, Field(ge=0, le=16)] = 1
    """Transformer layers; the paper has 4."""

    heads: Annotated[int, Field(ge=1)] = 3
    """Attention heads."""

    node2vec: Annotated[int, Field(ge=0)] = 0
    """Width of Node2vec's embedding; 0 is without it. The paper has 128."""


class RoadEncoder(nn.Module):
    """Routes to one vector for each of their segments."""

    def __init__(self, config: RoadEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.features = nn.Linear(len(FEATURES) + 2 * _WAVES, config.width)
        self.kind = nn.Embedding(CLASSES, config.width)
        self.place = nn.Linear(config.node2vec, config.width) if config.node2vec else None
        self.layers = nn.ModuleList(Layer(config.width, config.heads) for _ in range(config.layers))

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the embeddings (B, R, W), and which of them are there (B, R).

        Parameters
        ----------
        batch
            ``roads`` (B, R, F): features by ``raygen.trajectories.routes``; ``kinds`` (B, R):
            class of each segment; ``roads_length`` (B,); with Node2vec, ``places`` (B, R, d).
        """
        roads = batch["roads"]
        mask_BR = valid(batch["roads_length"], roads.shape[1])
        ends = [route_waves(roads[..., at], _WAVES) for at in _FRACTION_AT]
        x_BRW = self.features(torch.cat([roads, *ends], dim=2)) + self.kind(batch["kinds"])
        if self.place is not None:
            x_BRW = x_BRW + self.place(batch["places"])
        order = torch.arange(roads.shape[1], device=roads.device)
        x_BRW = x_BRW + waves(order.float(), self.config.width)
        for layer in self.layers:
            x_BRW, _ = layer(x_BRW, mask_BR[:, None, None, :])
        return x_BRW, mask_BR


def route_waves(fraction: Tensor, width: int) -> Tensor:
    """Return sinusoids of a place on a route, (…,) in 0 to 1 to (…, width), by octaves."""
    octave = torch.arange(width // 2, device=fraction.device)
    angle = fraction[..., None] * (torch.pi * 2.0**octave / 2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)
