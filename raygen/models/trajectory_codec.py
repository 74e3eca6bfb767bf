"""Trajectories as travel-pattern tokens and back: the residual-quantised autoencoder of HTP.

Zhou et al., "From GPS points to travel patterns", KDD 2026, section 4.1, Eq. 1-12, Fig. 12 and 13:
three blocks of convolution and Transformer halve the sequence of points, residual quantisation
makes each of the n / 8 vectors four codes, three blocks that see the road double it again.

Where the paper is silent, or this differs:

* Places are shares of the route's time at free flow (``raygen.trajectories.routes``).
* Increments of the place on the route are predicted by a softplus and divided by their sum with
  what is left behind the last point, so that they are >= 0 and end on the route. Their unit is the
  even step 1 / n, so that long and short trips count alike; ``absolute_weight`` adds the error of
  the place itself (0 is the paper's loss).
* Offsets are mostly noise from point to point: ``offset_weight`` leaves the codes to the places.
* ``inputs = "steps"`` reads the increments, offsets and the time of steps and not coordinates:
  then the weights serve any city. ``"points"`` reads coordinates in the route's frame.
* The decoder knows the share of each of its positions in the sequence, as sinusoids, and how long
  an even step is.
* What a reconstruction leaves open is kept as ``raygen.models.trajectory_rest`` and may be drawn.
"""

# Shape suffixes: B = batch, N = points, G = groups of eight points, D = d_q, L = layers of codes,
# W = width.

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from raygen.config import Section
from raygen.models.attention import Layer, valid, waves
from raygen.models.residual_quantizer import ResidualQuantizer
from raygen.models.road_encoder import RoadEncoder, RoadEncoderConfig, route_waves
from raygen.models.trajectory_rest import Rest

HALVINGS = 3
GROUP = 2**HALVINGS
"""Points of a group, at most."""

LENGTH_TOKENS = 2**HALVINGS

OFFSET_M = 5.0
"""Unit of offsets."""

STEP_S = 10.0
"""Unit of the time of steps at free flow."""

_WAVES = 16
_INPUTS = {"steps": 5, "points": 2}


class CodecConfig(Section):
    """Architecture of the autoencoder; the defaults are the preset ``small``."""

    widths: tuple[int, int, int, int] = (32, 48, 48, 64)
    """Widths d, of the blocks, and d_e; the paper has 64, 128, 128, 256."""

    head: Annotated[int, Field(ge=4)] = 16
    """Width of an attention head; the paper has 64."""

    quantised: Annotated[int, Field(ge=2)] = 24
    """d_q; the paper has 64."""

    codebooks: tuple[int, ...] = (32, 64, 128, 256)
    """Codes of each layer."""

    commitment: Annotated[float, Field(ge=0)] = 0.25
    """β of Eq. 9."""

    absolute_weight: Annotated[float, Field(ge=0)] = 0.15
    """Weight of the squared error of the place on the route, in even steps."""

    offset_weight: Annotated[float, Field(ge=0)] = 0.15
    """Weight of the squared error of the offset, in units of 5 m; the paper has 1."""

    continuous: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Share of the training, at its begin, without quantisation; the codebooks begin from what it
    learned. In the paper 0: small networks then use a few codes alone."""

    shortcut: bool = True
    """Whether linear maps go past the blocks, from a group's points to its vector and back: small
    networks then learn in a tenth of the steps. The paper has none."""

    inputs: Literal["steps", "points"] = "steps"
    """What the encoder reads."""

    target: Literal["roads", "points"] = "roads"
    """What is reconstructed: places on roads and offsets, or coordinates (the ablation without the
    relative loss)."""

    roads: RoadEncoderConfig = RoadEncoderConfig()


def groups_of(length: Tensor) -> Tensor:
    """Return the groups of trajectories of some lengths: n / 8, rounded up."""
    return (length + GROUP - 1) // GROUP


def length_tokens(length: Tensor) -> Tensor:
    """Return the record of odd lengths of three halvings as a number (b1 b2 b3) of 0 to 7."""
    token = torch.zeros_like(length)
    for _ in range(HALVINGS):
        token = 2 * token + length % 2
        length = (length + 1) // 2
    return token


def lengths_of(groups: Tensor, token: Tensor) -> Tensor:
    """Return the points of a number of groups with a record: doubled thrice, less the odd ones."""
    for halving in range(HALVINGS):
        groups = 2 * groups - (token >> halving) % 2
    return groups


@dataclass(frozen=True)
class Reconstruction:
    """What the decoder says of N points."""

    share: Tensor
    """Place on the route as a share of its time, 0 to 1, never falling; (B, N)."""
    offset: Tensor
    """In units of OFFSET_M, (B, N)."""
    points: Tensor | None
    """Kilometres in the route's frame, (B, N, 2), where ``target`` is ``points``."""


class _Down(nn.Module):
    """Convolution of stride two, and a Transformer layer."""

    def __init__(self, width: int, wider: int, head: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolve = nn.Conv1d(width, wider, 3, stride=2, padding=1)
        self.layer = Layer(wider, max(1, wider // head))

    def forward(self, x_BNW: Tensor, length_B: Tensor) -> tuple[Tensor, Tensor]:
        x_BNW = _cut(self.norm(x_BNW), length_B)
        x_BNW = self.convolve(x_BNW.transpose(1, 2)).transpose(1, 2)
        length_B = (length_B + 1) // 2
        mask = valid(length_B, x_BNW.shape[1])[:, None, None, :]
        return self.layer(x_BNW, mask)[0], length_B


class _Up(nn.Module):
    """Transposed convolution of stride two, and a Transformer layer that sees the road."""

    def __init__(self, width: int, narrower: int, head: int, roads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolve = nn.ConvTranspose1d(width, narrower, 4, stride=2, padding=1)
        self.progress = nn.Linear(_WAVES, narrower)
        self.layer = Layer(narrower, max(1, narrower // head), context=roads)

    def forward(self, x_BNW: Tensor, length_B: Tensor, roads: tuple[Tensor, Tensor]) -> Tensor:
        x_BNW = _cut(self.norm(x_BNW), (length_B + 1) // 2)
        x_BNW = self.convolve(x_BNW.transpose(1, 2)).transpose(1, 2)
        x_BNW = x_BNW + self.progress(_progress(x_BNW, length_B))
        return _see_roads(self.layer, x_BNW, length_B, roads)


def _see_roads(
    layer: Layer, x_BNW: Tensor, length_B: Tensor, roads: tuple[Tensor, Tensor]
) -> Tensor:
    """Return a layer's output over positions that see a route's segments."""
    embedded, mask_BR = roads
    mask = valid(length_B, x_BNW.shape[1])[:, None, None, :]
    pair = layer.context_pair(embedded)
    return layer(x_BNW, mask, pair, mask_BR[:, None, None, :])[0]


def _progress(x_BNW: Tensor, length_B: Tensor) -> Tensor:
    order = torch.arange(x_BNW.shape[1], device=x_BNW.device)
    return route_waves((order + 0.5) / length_B[:, None], _WAVES)


def _cut(x_BNW: Tensor, length_B: Tensor) -> Tensor:
    """Return positions with zeros behind the end, as a convolution pads them."""
    return x_BNW.masked_fill(~valid(length_B, x_BNW.shape[1])[:, :, None], 0.0)


class TrajectoryCodec(nn.Module):
    """Encoder, residual quantisation, road encoder, decoder and the two heads."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        widths, head, seen = config.widths, config.head, config.roads.width
        self.embed = nn.Linear(_INPUTS[config.inputs], widths[0])
        self.down = nn.ModuleList(_Down(a, b, head) for a, b in pairwise(widths))
        self.middle = Layer(widths[3], max(1, widths[3] // head))
        self.squeeze = nn.Linear(widths[3], config.quantised)
        self.quantizer = ResidualQuantizer(config.codebooks, config.quantised, config.commitment)
        self.widen = nn.Linear(config.quantised, widths[3])
        self.roads = RoadEncoder(config.roads)
        self.begin = nn.Linear(_WAVES + 1, widths[3])
        self.core = Layer(widths[3], max(1, widths[3] // head), context=seen)
        self.up = nn.ModuleList(_Up(b, a, head, seen) for a, b in reversed([*pairwise(widths)]))
        self.head = nn.Sequential(
            nn.LayerNorm(widths[0]),
            nn.Linear(widths[0], 2 * widths[0]),
            nn.GELU(),
            nn.Linear(2 * widths[0], 4),
        )
        self.rest = nn.Linear(widths[0], 1)
        self.past_in = self.past_out = None
        if config.shortcut:
            self.past_in = nn.Linear(GROUP * _INPUTS[config.inputs], config.quantised)
            self.past_out = nn.Linear(config.quantised, GROUP * 4)
        self.left = Rest()

    def encode(self, batch: dict[str, Tensor]) -> Tensor:
        """Return vectors (B, G, D) of trajectories: Eq. 1 and 2.

        Parameters
        ----------
        batch
            ``length`` (B,) and ``share``, ``offset`` (B, N), ``route_s`` (B,); or ``points``
            (B, N, 2). What stands behind a trajectory's end changes nothing.
        """
        length_B = batch["length"]
        read = batch["points"] if self.config.inputs == "points" else _step_features(batch)
        grouped = read = _cut(read, length_B)
        order = torch.arange(read.shape[1], device=read.device).float()
        x_BNW = self.embed(read) + waves(order, self.config.widths[0])
        for block in self.down:
            x_BNW, length_B = block(x_BNW, length_B)
        mask = valid(length_B, x_BNW.shape[1])[:, None, None, :]
        vectors_BGD = self.squeeze(self.middle(x_BNW, mask)[0])
        if self.past_in is not None:
            whole = F.pad(grouped, (0, 0, 0, -grouped.shape[1] % GROUP))
            vectors_BGD = vectors_BGD + self.past_in(whole.reshape(*vectors_BGD.shape[:2], -1))
        return vectors_BGD

    def codes(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the codes (B, G, L) of trajectories."""
        vectors = self.encode(batch)
        mask = valid(groups_of(batch["length"]), vectors.shape[1])
        return self.quantizer(vectors, mask).codes

    def decode(self, vectors_BGD: Tensor, batch: dict[str, Tensor]) -> Reconstruction:
        """Return the points that sums of codes stand for: Eq. 5 to 8.

        Parameters
        ----------
        vectors_BGD
            ``quantizer.embed(codes)``.
        batch
            ``length`` and ``route_s`` (B,), and what ``RoadEncoder`` reads.
        """
        lengths = [batch["length"]]
        for _ in range(HALVINGS):
            lengths.append((lengths[-1] + 1) // 2)
        seen = self.roads(batch)
        x_BNW = self.widen(vectors_BGD)
        even = torch.log(batch["route_s"] / lengths[0] / STEP_S)[:, None, None]
        progress = _progress(x_BNW, lengths[-1])
        x_BNW = x_BNW + self.begin(torch.cat([progress, even.expand_as(progress[..., :1])], dim=2))
        x_BNW = _see_roads(self.core, x_BNW, lengths[-1], seen)
        for block, length_B in zip(self.up, reversed(lengths[:-1]), strict=True):
            x_BNW = block(x_BNW[:, : int(length_B.max() + 1) // 2], length_B, seen)
        x_BNW = x_BNW[:, : int(lengths[0].max())]
        told = self.head(x_BNW)
        if self.past_out is not None:
            whole = self.past_out(vectors_BGD).reshape(len(told), -1, told.shape[2])
            told = told + whole[:, : told.shape[1]]
        kept_BN = valid(lengths[0], x_BNW.shape[1])
        share = _shares(told[..., 0], self.rest(_cut(x_BNW, lengths[0])), kept_BN)
        points = told[..., 2:] if self.config.target == "points" else None
        return Reconstruction(share, told[..., 1], points)

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the losses: ``total`` (Eq. 12), ``quantisation`` and those of ``losses``.

        ``progress`` is the share of the training that is done: see ``continuous``.
        """
        vectors = self.encode(batch)
        if progress < self.config.continuous:
            losses = self.losses(self.decode(vectors, batch), batch)
            return losses | {"quantisation": torch.zeros_like(losses["total"])}
        mask = valid(groups_of(batch["length"]), vectors.shape[1])
        quantised = self.quantizer(vectors, mask)
        losses = self.losses(self.decode(quantised.vectors, batch), batch)
        losses["total"] = losses["total"] + quantised.loss
        return losses | {"quantisation": quantised.loss}

    def losses(self, found: Reconstruction, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of Eq. 10 and 11, ``place``, and their weighted ``total``."""
        most = found.share.shape[1]
        batch = batch | {name: batch[name][:, :most] for name in ("share", "offset", "points")}
        kept_BN = valid(batch["length"], most)
        even = batch["length"][:, None].float()
        step = (increments(found.share) - increments(batch["share"])) * even
        percent = step[kept_BN].square().mean()
        offset = (found.offset - batch["offset"])[kept_BN].square().mean()
        place = ((found.share - batch["share"]) * even)[kept_BN].square().mean()
        config = self.config
        total = percent + config.offset_weight * offset + config.absolute_weight * place
        if found.points is not None:
            total = (found.points - batch["points"])[kept_BN].square().sum(dim=1).mean()
        return {"total": total, "percent": percent, "offset": offset, "place": place}


def _step_features(batch: dict[str, Tensor]) -> Tensor:
    """Return what ``inputs = "steps"`` reads of each point, (B, N, 5)."""
    step = increments(batch["share"])
    even = step * batch["length"][:, None]
    lasts = torch.log1p(step.clamp(min=0.0) * batch["route_s"][:, None] / STEP_S)
    order = torch.arange(step.shape[1], device=step.device) + 0.5
    ahead = (batch["share"] * batch["length"][:, None] - order) / GROUP
    return torch.stack([even, lasts, batch["offset"], batch["share"], ahead], dim=2)


def increments(share_BN: Tensor) -> Tensor:
    """Return the relative percents of Fig. 3: from the point before, the first from the begin."""
    return torch.diff(share_BN, dim=1, prepend=torch.zeros_like(share_BN[:, :1]))


def _shares(step_BN: Tensor, rest_BN1: Tensor, kept_BN: Tensor) -> Tensor:
    """Return places on the route from what the heads say of steps and of what is left behind."""
    # softplus(0.5413) = 1: at first all steps are even.
    step = F.softplus(step_BN.float() + 0.5413).masked_fill(~kept_BN, 0.0)
    last = kept_BN.sum(dim=1, keepdim=True) - 1
    rest = F.softplus(rest_BN1[..., 0].float().gather(1, last))
    way = step.cumsum(dim=1)
    return way / (way[:, -1:] + rest)
