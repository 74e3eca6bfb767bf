"""Residual quantisation: a vector as a sum of codes from ever larger codebooks.

HTP (Zhou et al., KDD 2026), Eq. 3-5 and 9. The first term of Eq. 9 moves a code to the mean of the
vectors that chose it; here it does so as a moving mean (van den Oord et al., "Neural discrete
representation learning", 2017, appendix A.1), so that its rate does not depend on the optimiser.
A code that nobody chooses is set to a vector of the batch (Dhariwal et al., "Jukebox", 2020).
"""

# Shape suffixes: B = batch, G = groups of points, D = d_q, L = layers, C = codes, N = groups kept.

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DECAY = 0.98
"""Of the moving counts and means, a batch."""

DEAD = 0.05
"""Share of an even use of all codes below which a code is dead."""

_ROUNDS = 5


@dataclass(frozen=True)
class Quantised:
    """What quantisation makes of a batch of vectors."""

    vectors: Tensor
    """Sums of codes (B, G, D); their gradient is the input's (straight-through)."""
    codes: Tensor
    """int64, shape (B, G, L); anything where there is no group."""
    loss: Tensor
    """Eq. 9, scalar: mean over groups and entries."""


class ResidualQuantizer(nn.Module):
    """Codebooks of the sizes (C_1, …, C_L)."""

    ready: Tensor

    def __init__(self, sizes: tuple[int, ...], width: int, commitment: float) -> None:
        super().__init__()
        self.sizes = sizes
        self.commitment = commitment
        self.register_buffer("ready", torch.zeros(1))
        for layer, size in enumerate(sizes):
            self.register_buffer(f"codes_{layer}", torch.zeros(size, width))
            self.register_buffer(f"count_{layer}", torch.zeros(size))
            self.register_buffer(f"total_{layer}", torch.zeros(size, width))

    def book(self, layer: int) -> Tensor:
        """Return the codebook of a layer, (C, D)."""
        return self.get_buffer(f"codes_{layer}")

    def forward(self, vectors_BGD: Tensor, mask_BG: Tensor) -> Quantised:
        """Quantise the vectors where the mask is True; in training mode, move the codes."""
        kept_ND = vectors_BGD[mask_BG].float()
        residual_ND, loss = kept_ND, kept_ND.new_zeros(())
        chosen: list[Tensor] = []
        for layer in range(len(self.sizes)):
            if self.training:
                self._begin(layer, residual_ND.detach())
            code_N = nearest(residual_ND.detach(), self.book(layer))
            embedded_ND = F.embedding(code_N, self.book(layer))
            error = (residual_ND - embedded_ND).square().mean()
            loss = loss + error.detach() + self.commitment * error
            if self.training:
                self._learn(layer, residual_ND.detach(), code_N)
            residual_ND = residual_ND - embedded_ND
            chosen.append(code_N)
        if self.training:
            self.ready.fill_(1.0)
        codes_NL = torch.stack(chosen, dim=1)
        codes = codes_NL.new_zeros(*mask_BG.shape, len(self.sizes))
        codes[mask_BG] = codes_NL
        sums = torch.zeros_like(vectors_BGD, dtype=torch.float32)
        sums[mask_BG] = (kept_ND - residual_ND).detach()
        through = vectors_BGD + (sums - vectors_BGD).detach()
        return Quantised(through, codes, loss / len(self.sizes))

    def embed(self, codes_BGL: Tensor) -> Tensor:
        """Return the sums of codes, (B, G, D): the sum in Eq. 5."""
        parts = [F.embedding(codes_BGL[..., i], self.book(i)) for i in range(len(self.sizes))]
        return torch.stack(parts).sum(dim=0)

    def _begin(self, layer: int, residual_ND: Tensor) -> None:
        """Set the codes to vectors of the first batch."""
        if self.ready.item():
            return
        codes = _clustered(residual_ND, _draw(residual_ND, self.sizes[layer]))
        self.book(layer).copy_(codes)
        even = len(residual_ND) / self.sizes[layer]
        self.get_buffer(f"count_{layer}").fill_(even)
        self.get_buffer(f"total_{layer}").copy_(codes * even)

    def _learn(self, layer: int, residual_ND: Tensor, code_N: Tensor) -> None:
        """Move the codes to the means of what chose them, and revive the dead."""
        size = self.sizes[layer]
        count = torch.bincount(code_N, minlength=size).float()
        total = torch.zeros_like(self.book(layer)).index_add_(0, code_N, residual_ND)
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            torch.distributed.all_reduce(count)
            torch.distributed.all_reduce(total)
        counts = self.get_buffer(f"count_{layer}")
        totals = self.get_buffer(f"total_{layer}")
        counts.lerp_(count, 1 - DECAY)
        totals.lerp_(total, 1 - DECAY)
        even = counts.mean()
        dead = counts < DEAD * even
        fresh = _draw(residual_ND, size)  # drawn always, so that all workers draw alike
        counts.copy_(torch.where(dead, even, counts))
        totals.copy_(torch.where(dead[:, None], fresh * even, totals))
        self.book(layer).copy_(totals / counts[:, None])


def _draw(vectors_ND: Tensor, count: int) -> Tensor:
    """Draw vectors with replacement, the same on every worker."""
    row = torch.randint(len(vectors_ND), (count,), device=vectors_ND.device)
    drawn = vectors_ND[row]
    # Equal vectors would make equal codes, of which only one is ever chosen.
    drawn = drawn + 1e-3 * vectors_ND.std(dim=0, correction=0) * torch.randn_like(drawn)
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.broadcast(drawn, src=0)
    return drawn


def _clustered(vectors_ND: Tensor, codes_CD: Tensor) -> Tensor:
    """Return codes after some rounds of k-means; one that nobody chose stays where it is."""
    for _ in range(_ROUNDS):
        code_N = nearest(vectors_ND, codes_CD)
        count = torch.bincount(code_N, minlength=len(codes_CD)).float()[:, None]
        total = torch.zeros_like(codes_CD).index_add_(0, code_N, vectors_ND)
        codes_CD = torch.where(count > 0, total / count.clamp(min=1.0), codes_CD)
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.broadcast(codes_CD, src=0)
    return codes_CD


def nearest(vectors_ND: Tensor, codes_CD: Tensor) -> Tensor:
    """Return the code nearest to each vector (Eq. 3), (N,); the first of equally near ones."""
    # |v - c|² without the |v|² that all codes share.
    distance = codes_CD.square().sum(dim=1)[None, :] - 2.0 * vectors_ND @ codes_CD.T
    return distance.argmin(dim=1)


def code_use(codes: Tensor, size: int) -> float:
    """Return the share of a codebook's codes that occur among ``codes`` (HTP, Fig. 9)."""
    return len(torch.unique(codes)) / size
