"""Light decoder of one city for UniMob on its own: from latents to the regions of a day, in order.

UniMob (section 3.3) decodes each latent by feed-forward layers alone. Regions of one kind are then
confused however far apart they are, and each entry's error is its own, so that moves come out too
long. Here an entry hears, beside its latent z, where its displacements point (``raygen.models
.frames``), which region the day comes from, and which regions it has seen:

    ln P(r | z, u, v, r₀, r', seen) = s · w_r · f(z) + b_r
                                    − |x_r − x_u|² / 2σ_u² − |x_r − x_v|² / 2σ_v²,  σ = τ (k + |d|)
                                    + g(|x_r − x_r₀|) + h(|x_r − x_r'|)
                                    + c · [r seen] + a · ln(1 + n_r'r / κ p_r) + constant

f: UniMob's feed-forward layers; x_u, x_v: the places that u and v name, |d| their distances, so
that with k = 1 km σ is the same error of a displacement on its logarithmic scale. g, h: a weight
for each class of distance from the day's start and from the region before; where the likelihood is
largest, as many entries are expected in each class as there are, so what the generator gets wrong
of distances is put right. n: moves of the training days from r' to r, p_r the share of all moves
that lead to r. Only w, b and n belong to the city. The pipeline, where the assignment knows
households, anchors and travel times, uses ``raygen.models.spatial`` instead.
"""

# Shape suffixes: B = batch of entries, D = latent width, R = regions, P = 2 displacements (u, v).

from dataclasses import dataclass
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

CLASSES_KM = (0.3, 0.6, 1.0, 1.5, 2.2, 3.2, 4.5, 6.5, 9.0, 13.0, 18.0, 25.0, 40.0, 70.0)
"""Upper bounds of the classes of distance; one more is beyond, and one is the place itself."""

_RARE = 0.1  # moves that every region is taken to have had
_KAPPA = 20.0  # of a region's moves, at the start of a fit


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

    placed: bool = True
    """Whether displacements and distances count; without them, without ``counted`` and
    ``remember``, it is UniMob's decoder."""

    counted: bool = True
    """Whether the training days' moves count."""

    remember: bool = True
    """Whether it counts that a region was seen before on the same day."""


@dataclass(frozen=True)
class Been:
    """Where days have been before an entry."""

    start: Tensor
    before: Tensor
    """Regions of the days' starts and of the entries before, shape (B,)."""
    seen: Tensor
    """1 where the day has been, else 0; shape (B, R)."""
    moves: Tensor | None = None
    """Moves of the training days from the region before, shape (B, R); the decoder's own counts
    where not given."""


class PlaceDecoder(nn.Module):
    """The network of the module's docstring."""

    xy: Tensor
    distance_class: Tensor
    moves: Tensor
    share: Tensor

    def __init__(
        self, config: PlaceConfig, regions: Regions, moves: npt.NDArray[np.float32] | None = None
    ) -> None:
        """Build it; ``moves`` (R, R) are the training days', from the row to the column."""
        super().__init__()
        self.config = config
        self.inner = nn.Linear(config.latent, config.hidden)
        self.outer = nn.Linear(config.hidden, config.latent)
        self.regions = nn.Linear(config.latent, config.regions)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.log_tau = nn.Parameter(torch.full((2,), -1.0))
        self.log_near = nn.Parameter(torch.zeros(2))
        self.far = nn.Parameter(torch.zeros(2, len(CLASSES_KM) + 2))
        self.seen = nn.Parameter(torch.zeros(()))
        self.gone = nn.Parameter(torch.zeros(()))
        self.log_kappa = nn.Parameter(torch.tensor(_KAPPA).log())
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        xy = kilometres(regions.xy, regions)
        self.register_buffer("xy", xy, persistent=False)
        self.register_buffer("distance_class", _classes(xy), persistent=False)
        counts = torch.zeros(len(xy), len(xy)) if moves is None else torch.from_numpy(moves)
        share = counts.sum(dim=0) + _RARE
        self.register_buffer("moves", counts, persistent=False)
        self.register_buffer("share", share / share.sum(), persistent=False)

    def forward(self, z_BD: Tensor, place_BP2: Tensor, far_BP: Tensor, been: Been) -> Tensor:
        """Return logits of the regions, shape (B, R).

        Parameters
        ----------
        z_BD
            Latents.
        place_BP2, far_BP
            Places that u and v name, and their distances; ``kilometres``.
        been
            Where the days have been.
        """
        heard_BD = z_BD + self.outer(F.gelu(self.inner(z_BD)))
        logits_BR = F.linear(heard_BD, self.regions.weight) * self.log_scale.exp()
        logits_BR = logits_BR + self.regions.bias
        if self.config.placed:
            for which, base_B in enumerate((been.start, been.before)):
                near = self.log_near[which].exp()
                sigma_B = self.log_tau[which].exp() * (near + far_BP[:, which])
                gap_BR = torch.cdist(place_BP2[:, which], self.xy)
                logits_BR = logits_BR - 0.5 * (gap_BR / sigma_B[:, None]).square()
                logits_BR = logits_BR + self.far[which][self.distance_class[base_B].long()]
        if self.config.counted:
            moves_BR = self.moves[been.before] if been.moves is None else been.moves
            logits_BR = logits_BR + self.gone * torch.log1p(
                moves_BR / (self.log_kappa.exp() * self.share)
            )
        if self.config.remember:
            logits_BR = logits_BR + self.seen * been.seen
        return logits_BR

    @torch.no_grad()
    def set_prototypes(self, latents_RD: Tensor, log_prior_R: Tensor, spread: float) -> None:
        """Set the last layer to log prior(r) − |z − μ_r|² / 2σ², up to a constant of z."""
        precision = 1.0 / spread**2
        self.regions.weight.copy_(latents_RD * precision)
        self.regions.bias.copy_(log_prior_R - 0.5 * precision * latents_RD.square().sum(dim=1))


def _classes(xy_R2: Tensor) -> Tensor:
    """Return the class of the distance between any two regions, uint8 (R, R)."""
    gap_RR = torch.cdist(xy_R2, xy_R2, compute_mode="donot_use_mm_for_euclid_dist")
    found = torch.bucketize(gap_RR, torch.tensor(CLASSES_KM))
    return found.fill_diagonal_(len(CLASSES_KM) + 1).to(torch.uint8)
