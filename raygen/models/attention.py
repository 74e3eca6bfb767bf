"""Transformer layers of the trajectory models: masked attention, and one layer of it."""

# Shape suffixes: B = batch, T = positions, S = positions attended to, W = width, H = heads.

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raygen.errors import StageError

KeysValues = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) whose keys may be kept between calls."""

    def __init__(self, width: int, heads: int, source: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.pair = nn.Linear(source, 2 * width)
        self.out = nn.Linear(width, width)

    def keys_values(self, source_BSW: Tensor) -> KeysValues:
        """Return keys and values of a source, each (B, H, S, W / H)."""
        keys_BSW, values_BSW = self.pair(source_BSW).chunk(2, dim=2)
        return self._split(keys_BSW), self._split(values_BSW)

    def forward(self, x_BTW: Tensor, pair: KeysValues, mask: Tensor | None) -> Tensor:
        """Return what x attends to; ``mask`` (B or 1, 1, T or 1, S) is True where it may."""
        query = self._split(self.query(x_BTW))
        found = F.scaled_dot_product_attention(query, *pair, attn_mask=mask)
        return self.out(found.transpose(1, 2).reshape(x_BTW.shape))

    def _split(self, x_BTW: Tensor) -> Tensor:
        batch, length, width = x_BTW.shape
        return x_BTW.view(batch, length, self.heads, width // self.heads).transpose(1, 2)


class Layer(nn.Module):
    """Self-attention, attention to a context where there is one, feed-forward; norms come first."""

    def __init__(self, width: int, heads: int, context: int = 0, expansion: int = 2) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.own = Attention(width, heads, width)
        self.context_norm = nn.LayerNorm(width) if context else None
        self.context = Attention(width, heads, context) if context else None
        self.feed = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width),
            nn.GELU(),
            nn.Linear(expansion * width, width),
        )

    def context_pair(self, context_BSW: Tensor) -> KeysValues:
        """Return keys and values of a context, to be computed once for many calls."""
        if self.context is None:
            msg = "layer: was made without a context"
            raise StageError(msg)
        return self.context.keys_values(context_BSW)

    def forward(
        self,
        x_BTW: Tensor,
        mask: Tensor | None,
        context: KeysValues | None = None,
        context_mask: Tensor | None = None,
        past: KeysValues | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """Return the layer's output (B, T, W) and the keys and values so far.

        Parameters
        ----------
        x_BTW
            Positions.
        mask
            Of the self-attention over past and present positions.
        context, context_mask
            Keys and values of the context (``Attention.keys_values``), and where it is.
        past
            Keys and values of the positions before x.
        """
        normed = self.norm(x_BTW)
        pair = self.own.keys_values(normed)
        if past is not None:
            pair = torch.cat([past[0], pair[0]], dim=2), torch.cat([past[1], pair[1]], dim=2)
        x_BTW = x_BTW + self.own(normed, pair, mask)
        if self.context is not None and self.context_norm is not None and context is not None:
            x_BTW = x_BTW + self.context(self.context_norm(x_BTW), context, context_mask)
        return x_BTW + self.feed(x_BTW), pair


def valid(length_B: Tensor, most: int) -> Tensor:
    """Return which of ``most`` positions each row has, (B, most)."""
    return torch.arange(most, device=length_B.device) < length_B[:, None]


def waves(position: Tensor, width: int, slowest: float = 10_000.0) -> Tensor:
    """Return sinusoids of positions: any shape (…,) to (…, width); Vaswani et al., section 3.5."""
    half = width // 2
    step = torch.arange(half, device=position.device) / max(half, 1)
    angle = position[..., None] * torch.exp(-math.log(slowest) * step)
    return F.pad(torch.cat([angle.sin(), angle.cos()], dim=-1), (0, width - 2 * half))
