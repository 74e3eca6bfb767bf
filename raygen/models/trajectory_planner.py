"""Travel patterns without a language model: a small Transformer from conditions to tokens.

The variant "w/o LLM" of HTP (Zhou et al., KDD 2026, Table 2), which is what whole cities are made
with. It says the length token first, then group after group of four codes, as the language model
does; conditions are the route, start time, travel time, distance and sampling interval (A.1).

A group is one position of the Transformer, and a small network says its codes from a to d (Lee et
al., "Autoregressive image generation using residual quantization", CVPR 2022): a quarter of the
positions. The end is a code of the first layer. Every answer decodes: see ``Limits``.
"""

# Shape suffixes: B = batch, G = groups, R = segments of a route, W = width, L = layers of codes.

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from raygen.config import Section
from raygen.models.attention import KeysValues, Layer, valid, waves
from raygen.models.road_encoder import route_waves
from raygen.models.trajectory_codec import (
    GROUP,
    LENGTH_TOKENS,
    TrajectoryCodec,
    groups_of,
    length_tokens,
)
from raygen.taxonomy import DAY_S

LEAST_POINTS, MOST_POINTS = 20, 200
"""Points of a trajectory (A.2)."""

MOST_GROUPS = MOST_POINTS // GROUP
DRAWS = 1 + 4 * (MOST_GROUPS + 1)
"""Uniforms that one trajectory takes: its length token, and four codes of each group."""

_WAVES = 16
_STATE = 9


class PatternConfig(Section):
    """Architecture of the Transformer; the defaults are the preset ``small``."""

    width: Annotated[int, Field(ge=8)] = 96
    """Width of its positions."""

    layers: Annotated[int, Field(ge=1)] = 3
    """Transformer layers."""

    heads: Annotated[int, Field(ge=1)] = 6
    """Attention heads."""

    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Of the positions' embeddings, in training."""

    codec_digest: str = ""
    """SHA-256 of the autoencoder whose codes it says."""


@dataclass(frozen=True)
class Patterns:
    """Travel patterns of N trajectories."""

    length: npt.NDArray[np.int64]
    """Points, 20 to 200, shape (N,)."""
    codes: npt.NDArray[np.int64]
    """Shape (N, most groups, L); 0 behind a trajectory's last group."""


class PatternTransformer(nn.Module):
    """The Transformer, around an autoencoder that is not trained with it."""

    def __init__(self, config: PatternConfig, codec: TrajectoryCodec) -> None:
        super().__init__()
        self.config = config
        self.codec = codec.requires_grad_(requires_grad=False).eval()
        self.sizes = codec.config.codebooks
        width = config.width
        self.state = nn.Sequential(nn.Linear(_STATE, width), nn.GELU(), nn.Linear(width, width))
        self.expects = nn.Embedding(LENGTH_TOKENS, width)
        self.roads = nn.Linear(codec.config.roads.width + 2, width)
        self.first = nn.Embedding(LENGTH_TOKENS + 1, width)  # the last one begins the sequence
        self.code = nn.Linear(codec.config.quantised, width)
        self.progress = nn.Linear(_WAVES + 2, width)
        self.layers = nn.ModuleList(
            Layer(width, config.heads, context=width) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.length = nn.Linear(width, LENGTH_TOKENS)
        self.depth = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
            for _ in self.sizes
        )
        self.heads = nn.ModuleList(
            nn.Linear(width, size + (layer == 0)) for layer, size in enumerate(self.sizes)
        )
        self.before = nn.ModuleList(
            nn.Linear(codec.config.quantised, width) for _ in self.sizes[1:]
        )

    def train(self, mode: bool = True) -> "PatternTransformer":
        """Set the training mode of all but the autoencoder."""
        super().train(mode)
        self.codec.eval()
        return self

    def context(self, batch: dict[str, Tensor]) -> tuple[list[KeysValues], Tensor, Tensor]:
        """Return each layer's keys and values of the route, their mask, and the state (B, W)."""
        with torch.no_grad():
            embedded, mask_BR = self.codec.roads(batch)
        pace = torch.stack([batch["kinds"] < 1, batch["kinds"] > 5], dim=2).float()  # noqa: PLR2004
        seen = self.roads(torch.cat([embedded, pace], dim=2))
        pairs = [x.context_pair(seen) for x in self.layers if isinstance(x, Layer)]
        expected = self.expects(length_tokens(expected_points(batch)))
        return pairs, mask_BR[:, None, None, :], self.state(condition_columns(batch)) + expected

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total``: nats a token of the observed patterns; ``length``, ``codes``, ``end``.

        Parameters
        ----------
        batch
            What ``TrajectoryCodec.encode`` and ``RoadEncoder`` read, and CONDITIONS; with ``codes``
            the trajectories are not read anew.
        progress
            Share of the training that is done; not used.
        """
        del progress
        with torch.no_grad():
            codes_BGL = batch["codes"] if "codes" in batch else self.codec.codes(batch)
        groups_B = groups_of(batch["length"])
        token_B = length_tokens(batch["length"])
        hidden = self.hidden(token_B, codes_BGL, batch)
        length = F.cross_entropy(self.length(hidden[:, 0]), token_B)
        there = valid(groups_B, codes_BGL.shape[1])
        saying = hidden[:, 1:-1][there]
        logits = self.codes_given(saying, codes_BGL[there])
        each = [F.cross_entropy(x, codes_BGL[there][:, i]) for i, x in enumerate(logits)]
        rows = torch.arange(len(groups_B), device=groups_B.device)
        at_end = self.heads[0](self.depth[0](hidden[rows, groups_B + 1]))
        end = F.cross_entropy(at_end, torch.full_like(groups_B, self.sizes[0]))
        codes = torch.stack(each).sum()
        count = groups_B.sum() / len(groups_B)
        total = (length + end + count * codes) / (2.0 + count * len(self.sizes))
        return {"total": total, "length": length, "codes": codes / len(self.sizes), "end": end}

    def codes_given(self, hidden_NW: Tensor, codes_NL: Tensor) -> list[Tensor]:
        """Return the logits of each layer's code, given those of the layers before; (N, C) each."""
        logits: list[Tensor] = []
        for layer, head in enumerate(self.heads):
            logits.append(head(self.depth[layer](hidden_NW)))
            if layer + 1 < len(self.sizes):
                hidden_NW = hidden_NW + self.before[layer](self.vector(layer, codes_NL[:, layer]))
        return logits

    def step(self, x_BW: Tensor, at: int, batch: "Answer", past: list[KeysValues | None]) -> Tensor:
        """Append a position to the sequences and return its hidden state (B, W).

        Parameters
        ----------
        x_BW
            Embedding of what was said last (``spoken``).
        at
            Position: 0 begins, 1 follows the length token, g + 1 the codes of g groups.
        batch
            The context.
        past
            Keys and values of each layer, replaced by those with this position.
        """
        place = torch.full((len(x_BW), 1), float(at), device=x_BW.device)
        x = x_BW[:, None] + batch.state[:, None] + self._place(place, batch.expected)
        for index, layer in enumerate(self.layers):
            x, past[index] = layer(x, None, batch.pairs[index], batch.mask, past[index])
        return self.norm(x[:, 0])

    def spoken(self, token_B: Tensor | None, codes_BL: Tensor | None, count: int) -> Tensor:
        """Return the embedding of the beginning, of length tokens or of a group's codes."""
        if codes_BL is not None:
            return self.code(self.codec.quantizer.embed(codes_BL[:, None])[:, 0])
        device = self.norm.weight.device
        begin = torch.full((count,), LENGTH_TOKENS, device=device)
        return self.first(begin if token_B is None else token_B)

    def hidden(self, token_B: Tensor, codes_BGL: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Return hidden states of all positions of observed patterns, (B, G + 2, W)."""
        pairs, mask, state = self.context(batch)
        said = self.code(self.codec.quantizer.embed(codes_BGL))
        count = len(token_B)
        begin = torch.stack([self.spoken(None, None, count), self.spoken(token_B, None, count)], 1)
        x = torch.cat([begin, said], dim=1) + state[:, None]
        place = torch.arange(x.shape[1], device=x.device).float()[None].expand(count, -1)
        x = x + self._place(place, expected_groups(batch))
        x = F.dropout(x, self.config.dropout, self.training)
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        for layer, pair in zip(self.layers, pairs, strict=True):
            x, _ = layer(x, causal[None, None], pair, mask)
        return self.norm(x)

    def _place(self, place_BT: Tensor, expected_B: Tensor) -> Tensor:
        """Return the embedding of positions: how far the pattern is, and how much is to come."""
        done = (place_BT - 1.0).clamp(min=0.0)
        share = done / expected_B[:, None]
        left = (expected_B[:, None] - done) / 10.0
        rest = torch.stack([share, left], dim=2)
        told = self.progress(torch.cat([route_waves(share.clamp(max=1.5), _WAVES), rest], dim=2))
        return told + waves(place_BT, self.config.width)

    def vector(self, layer: int, code_N: Tensor) -> Tensor:
        """Return the vectors of a layer's codes, (N, D)."""
        return F.embedding(code_N, self.codec.quantizer.book(layer))


@dataclass(frozen=True)
class Answer:
    """What is fixed while a batch of patterns is said."""

    pairs: list[KeysValues]
    mask: Tensor
    state: Tensor
    expected: Tensor


def expected_points(batch: dict[str, Tensor]) -> Tensor:
    """Return the points that travel time and sampling interval ask for, (B,)."""
    points = (batch["travel_s"] / batch["interval_s"] + 1.0).round().long()
    return points.clamp(LEAST_POINTS, MOST_POINTS)


def expected_groups(batch: dict[str, Tensor]) -> Tensor:
    """Return the groups of ``expected_points``, whole and parts, (B,)."""
    return expected_points(batch) / GROUP


def condition_columns(batch: dict[str, Tensor]) -> Tensor:
    """Return the conditions as numbers of size one, (B, 9)."""
    clock = batch["depart_s"] / DAY_S * (2.0 * torch.pi)
    columns = [
        clock.sin(),
        clock.cos(),
        (2.0 * clock).sin(),
        (2.0 * clock).cos(),
        (batch["travel_s"] / 600.0).log(),
        (batch["distance_m"] / 3000.0).log(),
        (batch["interval_s"] / 15.0).log(),
        (batch["travel_s"] / batch["free_s"]).log(),
        expected_groups(batch) / 10.0,
    ]
    return torch.stack(columns, dim=1).float()


@torch.no_grad()
def generate(
    model: PatternTransformer,
    batch: dict[str, Tensor],
    uniform: npt.NDArray[np.float64],
    points: npt.NDArray[np.int64] | None = None,
) -> Patterns:
    """Say the travel patterns of a batch of routes.

    Parameters
    ----------
    model
        In evaluation mode.
    batch
        What ``RoadEncoder`` reads, and CONDITIONS.
    uniform
        Shape (B, DRAWS), in [0, 1): what the tokens are drawn by.
    points
        Points of each trajectory, 20 to 200; drawn by the model where it is not given.

    Returns
    -------
    patterns
        Every one decodes: a length token first, then 3 to 25 groups whose number and length token
        say from 20 to 200 points; with ``points``, as many as asked for.
    """
    count = len(batch["travel_s"])
    pairs, mask, state = model.context(batch)
    answer = Answer(pairs, mask, state, expected_groups(batch))
    past: list[KeysValues | None] = [None] * len(model.layers)
    draws = torch.from_numpy(uniform).to(state.device)
    hidden = model.step(model.spoken(None, None, count), 0, answer, past)
    token = drawn(model.length(hidden), draws[:, 0])
    wanted = None
    if points is not None:
        asked = torch.from_numpy(points).to(state.device)
        token, wanted = length_tokens(asked), groups_of(asked)
    said, groups = _say_groups(model, answer, past, draws, (token, wanted))
    length = GROUP * groups - token_shortfall(token)
    return Patterns(length.cpu().numpy(), said.cpu().numpy())


def token_shortfall(token: Tensor) -> Tensor:
    """Return how many points a length token takes from a whole last group: 8 G - n."""
    return (token >> 2) % 2 + 2 * ((token >> 1) % 2) + 4 * (token % 2)


def _say_groups(
    model: PatternTransformer,
    answer: Answer,
    past: list[KeysValues | None],
    draws: Tensor,
    length: tuple[Tensor, Tensor | None],
) -> tuple[Tensor, Tensor]:
    """Say groups until every trajectory has ended; codes (B, G, L) and groups (B,)."""
    token, wanted = length
    layers = len(model.sizes)
    least = (LEAST_POINTS + token_shortfall(token) + GROUP - 1) // GROUP
    groups = torch.zeros_like(token)
    ended = torch.zeros_like(token, dtype=torch.bool)
    said: list[Tensor] = []
    x = model.spoken(token, None, len(token))
    for group in range(MOST_GROUPS + 1):
        hidden = model.step(x, group + 1, answer, past)
        may_end = groups >= least if wanted is None else groups >= wanted
        must_end = groups == MOST_GROUPS if wanted is None else may_end
        logits = model.heads[0](model.depth[0](hidden))
        logits = _limited(logits, may_end, must_end)
        codes: list[Tensor] = []
        for layer in range(layers):
            if layer > 0:
                before = model.vector(layer - 1, codes[-1])
                hidden = hidden + model.before[layer - 1](before)
                logits = model.heads[layer](model.depth[layer](hidden))
            code = drawn(logits, draws[:, 1 + 4 * group + layer])
            if layer == 0:
                ended = ended | (code == model.sizes[0])
                code = code.clamp(max=model.sizes[0] - 1)
            codes.append(code.masked_fill(ended, 0))
        if ended.all():
            break
        groups = groups + (~ended).long()
        said.append(torch.stack(codes, dim=1))
        x = model.spoken(None, said[-1], len(token))
    return torch.stack(said, dim=1), groups


def _limited(logits: Tensor, may_end: Tensor, must_end: Tensor) -> Tensor:
    """Return logits of the first layer's codes with an end where it is allowed or needed."""
    limited = logits.clone()
    limited[:, -1].masked_fill_(~may_end, -torch.inf)
    limited[:, :-1].masked_fill_(must_end[:, None], -torch.inf)
    return limited


def drawn(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw a class of each row by its uniform; rows (B, C) and (B,) to (B,)."""
    chance = logits.double().softmax(dim=1).cumsum(dim=1)
    # The last sum may be below 1 by rounding, and classes of no chance must not be drawn by it.
    mark = uniform * chance[:, -1]
    return torch.searchsorted(chance, mark[:, None], right=True)[:, 0]
