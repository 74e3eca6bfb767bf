"""Mobility generator: a diffusion Transformer that denoises the latents of a day's arrivals.

In: noisy latents x_t of a day, the diffusion step t, the POI distribution of the start region r0,
and the travel plan (M, D) of each arrival. Out: x_0. UniMob section 3.4, Eq. 6–10, Fig. 5,
arXiv:2602.19694. Where ours differs: a sequence holds arrivals, not clock slots, so M is a
distribution over 48 slots for each arrival; r0 is given by its POI distribution and by how far out
it lies, so that the network knows no city; with ``placed`` the latents carry the displacement
channels of ``raygen.models.frames``; the modulation is computed for each arrival, from its own M'
and D'; the modulation starts at zero (adaLN-Zero, Peebles and Xie, ICCV 2023), all else at Xavier.
"""

# Shape suffixes: B = batch (day sequences), K = arrivals, D = latent width, S = 48 slots,
# C = 14 POI categories, H = heads, E = width of a head, W = channels of a latent.

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from raygen import checkpoints
from raygen.config import ComputeConfig, GeneratorConfig, Section
from raygen.errors import WeightsError
from raygen.models.frames import CHANNELS
from raygen.models.spatial import SpatialConfig, fill, log_shares
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES


class DiTConfig(Section):
    """Architecture of the generator; the defaults are the paper's (section 4.1.4)."""

    latent: Annotated[int, Field(ge=2, le=1024)] = 128
    """Width D of a latent and of the Transformer."""

    ffn: Annotated[int, Field(ge=2, le=8192)] = 2048
    """Width of the feed-forward layers."""

    blocks: Annotated[int, Field(ge=1, le=64)] = 4
    """DiT blocks."""

    heads: Annotated[int, Field(ge=1, le=64)] = 8
    """Attention heads; a divisor of ``latent``."""

    diffusion_steps: Annotated[int, Field(ge=2, le=10_000)] = 1000
    """Steps of the noise schedule."""

    max_arrivals: Annotated[int, Field(ge=2, le=96)] = 16
    """Longest sequence K, the start included."""

    placed: bool = False
    """Whether latents carry displacements behind the encoder's D channels."""

    encoder_digest: str = ""
    """SHA-256 of the encoder's weights that made the latents."""

    @property
    def channels(self) -> int:
        """Channels W of a latent as the network sees it."""
        return self.latent + (CHANNELS if self.placed else 0)


class _Attention(nn.Module):
    """Multi-head attention of a sequence to another, padding of the other left out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.pair = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x_BKD: Tensor, other_BKD: Tensor, mask_B11K: Tensor) -> Tensor:
        B, K, D = x_BKD.shape
        key_BKD, value_BKD = self.pair(other_BKD).chunk(2, dim=2)
        split = [part.view(B, K, self.heads, -1).transpose(1, 2) for part in (key_BKD, value_BKD)]
        query_BHKE = self.query(x_BKD).view(B, K, self.heads, -1).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query_BHKE, *split, attn_mask=mask_B11K)
        return self.out(mixed.transpose(1, 2).reshape(B, K, D))


class DiTBlock(nn.Module):
    """One block of Fig. 5: modulated self-attention, cross-attention on M', modulated FFN."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        D = config.latent
        self.modulation = nn.Linear(D, 6 * D)
        self.self_attention = _Attention(D, config.heads)
        self.cross_attention = _Attention(D, config.heads)
        self.norm_self = nn.LayerNorm(D, elementwise_affine=False)
        self.norm_cross = nn.LayerNorm(D)
        self.norm_ffn = nn.LayerNorm(D, elementwise_affine=False)
        self.ffn = nn.Sequential(
            nn.Linear(D, config.ffn), nn.GELU(approximate="tanh"), nn.Linear(config.ffn, D)
        )

    def forward(self, x_BKD: Tensor, sum_BKD: Tensor, M_BKD: Tensor, mask_B11K: Tensor) -> Tensor:
        """Return X̂_0 of Eq. 10; γ, β, α of Eq. 7 are ``g``, ``b``, ``a``."""
        g1, b1, a1, g2, b2, a2 = self.modulation(F.silu(sum_BKD)).chunk(6, dim=2)
        normed_BKD = self.norm_self(x_BKD) * (1 + g1) + b1
        x_BKD = a1 * self.self_attention(normed_BKD, normed_BKD, mask_B11K) + x_BKD  # Eq. 8
        x_BKD = self.cross_attention(self.norm_cross(x_BKD), M_BKD, mask_B11K) + x_BKD  # Eq. 9
        return a2 * self.ffn(self.norm_ffn(x_BKD) * (1 + g2) + b2) + x_BKD  # Eq. 10


class DiT(nn.Module):
    """The whole denoiser f_θ(x_t, t, r0, M, D) of Eq. 6."""

    place: Tensor

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        D, C, W = config.latent, len(POI_CATEGORIES), config.channels
        self.embed_x = nn.Linear(W, D)
        self.embed_start = nn.Sequential(nn.Linear(C, D), nn.SiLU(), nn.Linear(D, D))
        self.embed_M = nn.Sequential(nn.Linear(PLAN_SLOTS, D), nn.SiLU(), nn.Linear(D, D))
        self.embed_D = nn.Sequential(nn.Linear(C, D), nn.SiLU(), nn.Linear(D, D))
        self.embed_far = nn.Linear(2, D)
        self.embed_t = nn.Sequential(nn.Linear(D, D), nn.SiLU(), nn.Linear(D, D))
        blocks = [DiTBlock(config) for _ in range(config.blocks)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(D)
        self.out = nn.Linear(D, W)
        orders = torch.arange(config.max_arrivals, dtype=torch.float32)
        self.register_buffer("place", _waves(orders, D, 100.0), persistent=False)
        self._initialise(blocks)

    def _initialise(self, blocks: list[DiTBlock]) -> None:
        """Xavier everywhere; zero where a block joins the residual path, so that it starts as 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for block in blocks:
            nn.init.zeros_(block.modulation.weight)
            nn.init.zeros_(block.cross_attention.out.weight)
        nn.init.zeros_(self.out.weight)

    def condition(
        self, start_BC: Tensor, M_BKS: Tensor, D_BKC: Tensor, far_B: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return r0' + M' + D' and M', each (B, K, D): what does not change from step to step.

        Parameters
        ----------
        start_BC, M_BKS, D_BKC
            POI distributions of the start regions, and the travel plans.
        far_B
            How far out the start regions lie (``frames.centrality``); NaN, or None for all, where
            it is not known.
        """
        M_BKD = self.embed_M(M_BKS)
        far_B = torch.full_like(start_BC[:, 0], torch.nan) if far_B is None else far_B
        known_B = ~far_B.isnan()
        far_B2 = torch.stack([far_B.nan_to_num(), known_B.to(far_B.dtype)], dim=1)
        start_BD = self.embed_start(log_shares(start_BC)) + self.embed_far(far_B2)
        D_BKD = self.embed_D(log_shares(D_BKC))
        return M_BKD + D_BKD + start_BD[:, None, :], M_BKD

    def forward(
        self, x_BKD: Tensor, t_B: Tensor, given: tuple[Tensor, Tensor], mask_BK: Tensor
    ) -> Tensor:
        """Return the predicted x_0.

        Parameters
        ----------
        x_BKD
            Noisy latents, shape (B, K, W), K at most ``max_arrivals``; entry 0 is the start.
        t_B
            Diffusion steps, 0 … ``diffusion_steps`` − 1; shape (B,) or (1,).
        given
            ``condition`` of the start region and the travel plan.
        mask_BK
            True where there is an arrival; what stands elsewhere changes nothing.

        Returns
        -------
        x0
            Shape (B, K, W).
        """
        sum_BKD, M_BKD = given
        wave_BD = _waves(t_B.float(), self.config.latent, 10_000.0)
        sum_BKD = sum_BKD + self.embed_t(wave_BD)[:, None, :]
        mask_B11K = mask_BK[:, None, None, :]
        x_BKD = self.embed_x(x_BKD) + self.place[: x_BKD.shape[1]]
        for block in self.blocks:
            x_BKD = block(x_BKD, sum_BKD, M_BKD, mask_B11K)
        return self.out(self.norm(x_BKD))


def _waves(position_N: Tensor, width: int, slowest: float) -> Tensor:
    """Return sinusoids of positions, shape (N, width)."""
    half = width // 2
    rate = torch.exp(-math.log(slowest) * torch.arange(half, device=position_N.device) / half)
    angle = position_N[:, None] * rate
    return F.pad(torch.cat([angle.sin(), angle.cos()], dim=1), (0, width - 2 * half))


@dataclass(frozen=True)
class Generator:
    """The network, ready to run, and how it is sampled."""

    network: DiT
    config: GeneratorConfig
    digest: str
    """SHA-256 of the weights."""


def load_generator(weights: Path, config: GeneratorConfig, compute: ComputeConfig) -> Generator:
    """Load the mobility generator.

    Parameters
    ----------
    weights
        Directory of weights: ``generator``, and ``spatial``, whose latents it makes.
    config
        How it is sampled.
    compute
        Device.

    Raises
    ------
    WeightsError
        If the weights are missing, altered, of another architecture, or of another encoder.
    """
    directory = weights / "generator"
    shape, tensors, digest = checkpoints.load(directory, "generator", DiTConfig)
    encoder_digest = checkpoints.load(weights / "spatial", "spatial", SpatialConfig)[2]
    if shape.encoder_digest != encoder_digest:
        msg = f"{directory}: makes latents of encoder {shape.encoder_digest[:12]}, but "
        msg += f"{weights / 'spatial'} holds {encoder_digest[:12]}; `raygen train generator` again"
        raise WeightsError(msg)
    network = DiT(shape)
    fill(network, tensors, directory)
    network = network.to(compute.device).eval().requires_grad_(requires_grad=False)
    return Generator(network, config, digest)
