"""Light decoder of one city for UniMob on its own: from latents to the regions of a day, in order.

UniMob (section 3.3) decodes each latent by feed-forward layers alone. Regions of one kind are then
confused however far apart they are, and each entry's error is its own, so that moves come out too
long. Here an entry hears, beside its latent z, where its displacements point (``raygen.models
.frames``), which region the day comes from, and which regions it has seen:

    log P(r | z, u, v, r', seen) ∝ w_r · f(z) + b_r − |x_r − x_u|² / 2σ_u² − |x_r − x_v|² / 2σ_v²
                                   + e_r' · f_r + c · [r seen],   σ = τ (s + |d|)

f: UniMob's feed-forward layers; x_u, x_v: the places that u and v name, |d| their distances, so
that with s = 1 km σ is the same error of a displacement on its logarithmic scale; e, f: transitions
of low rank. Only w, b, e and f belong to the city. The pipeline, where the assignment knows
households, anchors and travel times, uses ``raygen.models.spatial`` instead.
"""

# Shape suffixes: B = batch of entries, D = latent width, R = regions, P = 2 displacements (u, v).

from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from raygen.config import Section
from raygen.mobility import Regions
from raygen.models.frames import centre_of_mass


def kilometres(place: npt.NDArray[np.float64], regions: Regions) -> Tensor:
    """Return places (…, 2) in km from the city's centre of mass.

    From the projection's origin, thousands of km away, squared distances in float32 would be off by
    a km².
    """
    return torch.from_numpy((place - centre_of_mass(regions)) / 1000.0).float()


class PlaceConfig(Section):
    """Architecture of a decoder of places."""

    regions: Annotated[int, Field(ge=2)]
    """Regions R of the city."""

    latent: Annotated[int, Field(ge=2, le=1024)] = 128
    """Width D of the encoder's latents."""

    hidden: Annotated[int, Field(ge=2, le=4096)] = 128
    """Width of the feed-forward layer."""

    rank: Annotated[int, Field(ge=0, le=1024)] = 48
    """Rank of the transitions; 0 for none."""

    placed: bool = True
    """Whether the displacements count; without them, with rank 0 and without ``remember``, it is
    UniMob's decoder."""

    remember: bool = True
    """Whether it counts that a region was seen before on the same day."""


class PlaceDecoder(nn.Module):
    """The network of the module's docstring."""

    xy: Tensor

    def __init__(self, config: PlaceConfig, regions: Regions) -> None:
        super().__init__()
        self.config = config
        self.inner = nn.Linear(config.latent, config.hidden)
        self.outer = nn.Linear(config.hidden, config.latent)
        self.regions = nn.Linear(config.latent, config.regions)
        self.log_tau = nn.Parameter(torch.full((2,), -1.0))
        self.log_near = nn.Parameter(torch.zeros(2))
        self.seen = nn.Parameter(torch.zeros(()))
        if config.rank:
            self.come_from = nn.Embedding(config.regions, config.rank)
            self.go_to = nn.Linear(config.rank, config.regions, bias=False)
            nn.init.zeros_(self.go_to.weight)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        self.register_buffer("xy", kilometres(regions.xy, regions), persistent=False)

    def forward(
        self, z_BD: Tensor, place_BP2: Tensor, far_BP: Tensor, before_B: Tensor, seen_BR: Tensor
    ) -> Tensor:
        """Return logits of the regions, shape (B, R).

        Parameters
        ----------
        z_BD
            Latents.
        place_BP2, far_BP
            Places that u and v name, and their distances; ``kilometres``.
        before_B
            Regions of the entries before.
        seen_BR
            1 where the day has been, else 0.
        """
        logits_BR = self.regions(z_BD + self.outer(F.gelu(self.inner(z_BD))))
        if self.config.placed:
            for which in range(2):
                near = self.log_near[which].exp()
                sigma_B = self.log_tau[which].exp() * (near + far_BP[:, which])
                gap_BR = torch.cdist(place_BP2[:, which], self.xy)
                logits_BR = logits_BR - 0.5 * (gap_BR / sigma_B[:, None]).square()
        if self.config.rank:
            logits_BR = logits_BR + self.go_to(self.come_from(before_B))
        if self.config.remember:
            logits_BR = logits_BR + self.seen * seen_BR
        return logits_BR

    @torch.no_grad()
    def set_prototypes(self, latents_RD: Tensor, log_prior_R: Tensor, spread: float) -> None:
        """Set the last layer to log prior(r) − |z − μ_r|² / 2σ², up to a constant of z."""
        precision = 1.0 / spread**2
        self.regions.weight.copy_(latents_RD * precision)
        self.regions.bias.copy_(log_prior_R - 0.5 * precision * latents_RD.square().sum(dim=1))
