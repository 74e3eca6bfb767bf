"""Where a region lies, seen from the day's other regions: the same words in every city.

UniMob's embedding (section 3.3) knows a region by its POI distribution alone, and two regions alike
may be 30 km apart: lengths of moves get lost on the way. Ours adds four channels to each latent:
the displacement u from the day's start and the displacement v from the entry before, in the frame
of the day's start:

    e₁ = the direction from the start to the city's centre of mass,  e₂ = e₁ turned left
    u, v = (d / |d|) · ln(1 + |d| / 1 km) · SCALE,  d in (e₁, e₂)

A place that a day comes back to has the same u, a short move has a small v, and an error is one in
proportion to the distance: each is sharp where the other is not. Nothing in them belongs to one
city, so they need no training in a new one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from raygen.mobility import Regions

FloatArray = npt.NDArray[np.float32]
Metres = npt.NDArray[np.float64]

CHANNELS = 4
"""u and v, two each."""

SCALE = np.array([1.6, 1.6, 2.2, 2.2], dtype=np.float32)
"""Makes the deviation of u and v about 2, twice a latent's: places are to be exact."""

_KM = 1000.0
_FARTHEST = 6.0  # ln(1 + 400 km): what lies beyond is an accident of sampling
_TYPICAL = 2.0  # ln(1 + km) from a city's start regions to its centre, about


@dataclass(frozen=True)
class Frames:
    """The frames of N day sequences."""

    start: Metres
    """Centres of the start regions, metres, shape (N, 2)."""
    axes: Metres
    """e₁ and e₂, rows of each matrix, shape (N, 2, 2)."""
    distance: Metres
    """Metres from the start to the centre of mass, shape (N,)."""

    def take(self, rows: npt.NDArray[np.int64]) -> "Frames":
        """Return the frames of these rows."""
        return Frames(self.start[rows], self.axes[rows], self.distance[rows])


def centre_of_mass(regions: Regions) -> Metres:
    """Return the centre of mass of a city's regions, shape (2,)."""
    return regions.mass @ regions.xy / regions.mass.sum()


def frames(start: Metres, centre: Metres) -> Frames:
    """Return the frames of starts (N, 2) in a city with this centre of mass (2,)."""
    away = centre - start
    distance = np.hypot(away[:, 0], away[:, 1])
    # At the centre itself any direction is as good: the first axis of the projection.
    first = np.where(distance[:, None] > 1.0, away / np.maximum(distance, 1.0)[:, None], (1.0, 0.0))
    left = np.stack([-first[:, 1], first[:, 0]], axis=1)
    return Frames(start, np.stack([first, left], axis=1), distance)


def displacements(regions: Regions, region: npt.NDArray[np.integer]) -> FloatArray:
    """Return (u, v) of day sequences of regions (N, K), shape (N, K, 4); 0 beyond a day's end."""
    place = regions.xy[np.maximum(region, 0)]
    seen = frames(place[:, 0], centre_of_mass(regions))
    before = np.concatenate([place[:, :1], place[:, :-1]], axis=1)
    parts = [_logarithmic(seen, place - other) for other in (place[:, :1], before)]
    return (np.concatenate(parts, axis=2) * SCALE * (region >= 0)[:, :, None]).astype(np.float32)


def places(seen: Frames, before: Metres, channels: FloatArray) -> tuple[Metres, Metres]:
    """Return where N entries lie by u and by v: undoes ``displacements``.

    Parameters
    ----------
    seen
        Frames of the entries' days.
    before
        Centres in metres of the entries before, shape (N, 2).
    channels
        u and v, shape (N, 4).

    Returns
    -------
    place, length
        Metres, shape (N, 2, 2): by u, by v; metres from the start and from the entry before,
        shape (N, 2).
    """
    pair = (channels / SCALE).astype(np.float64).reshape(-1, 2, 2)
    size = np.hypot(pair[..., 0], pair[..., 1])
    length = np.expm1(np.minimum(size, _FARTHEST)) * _KM
    step = pair / np.maximum(size, 1e-9)[..., None] * length[..., None]
    turned = np.einsum("nij,nki->nkj", seen.axes, step)
    return np.stack([seen.start, before], axis=1) + turned, length


def centrality(seen: Frames) -> FloatArray:
    """Return how far out each day starts, about standardised, shape (N,)."""
    return (np.log1p(seen.distance / _KM) - _TYPICAL).astype(np.float32)


def _logarithmic(seen: Frames, step: Metres) -> Metres:
    """Return steps in metres (N, K, 2) in the frames, their lengths as logarithms."""
    turned = np.einsum("nij,nkj->nki", seen.axes, step)
    length = np.hypot(turned[..., 0], turned[..., 1])[..., None]
    return turned / np.maximum(length, 1e-9) * np.log1p(length / _KM)
