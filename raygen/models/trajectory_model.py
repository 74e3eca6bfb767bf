"""The trajectory models of a run: patterns by the Transformer, points by the autoencoder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raygen import checkpoints
from raygen.config import ComputeConfig
from raygen.errors import WeightsError
from raygen.models.attention import valid
from raygen.models.spatial import fill
from raygen.models.trajectory_codec import OFFSET_M, CodecConfig, TrajectoryCodec, increments
from raygen.models.trajectory_places import AskedRoads, load_places
from raygen.models.trajectory_planner import (
    MOST_POINTS,
    PatternConfig,
    Patterns,
    PatternTransformer,
    generate,
)
from raygen.models.trajectory_rest import FASTEST, capped
from raygen.models.trajectory_tables import OWN, load_tables
from raygen.trajectories.routes import Float32Array

FOLDER = "trajectories"
"""Folder of the trajectory models among the weights."""

NOISE = 3 * MOST_POINTS
"""Standard normals that one trajectory takes: of its steps, of its errors across and ahead."""


@dataclass(frozen=True)
class PointsOnRoutes:
    """Points of B trajectories; anything behind a trajectory's end."""

    share: npt.NDArray[np.float64]
    """Place on the route, 0 to 1, as ``RouteSet.places`` reads it; (B, N)."""
    offset: npt.NDArray[np.float64]
    """Metres to the left of it, (B, N)."""
    ahead: npt.NDArray[np.float64]
    """Metres by which the GPS is ahead of it, (B, N)."""
    length: npt.NDArray[np.int64]
    """Points, (B,)."""


@dataclass(frozen=True)
class TrajectoryModel:
    """Both networks, ready to run."""

    transformer: PatternTransformer
    digests: dict[str, str]
    """SHA-256 of the weights by folder."""
    device: str = "cpu"
    places: Float32Array | None = None
    """Node2vec of the roads' segments, (E, d), where the autoencoder reads it."""

    @property
    def codec(self) -> TrajectoryCodec:
        """The autoencoder."""
        return self.transformer.codec

    def points(
        self,
        batch: dict[str, Tensor],
        draws: npt.NDArray[np.float64],
        noise: npt.NDArray[np.float64],
        points: npt.NDArray[np.int64] | None = None,
    ) -> PointsOnRoutes:
        """Return points on routes.

        Parameters
        ----------
        batch
            Routes (``RouteData.batch``) and CONDITIONS.
        draws
            Uniforms of the tokens, (B, DRAWS).
        noise
            Standard normals (B, NOISE) of what the tokens leave open.
        points
            Points of each trajectory; drawn where they are not given.
        """
        batch = {name: each.to(self.device) for name, each in batch.items()}
        patterns = generate(self.transformer, batch, draws, points)
        return decoded(self.codec, patterns, batch, noise, planned=True)


@torch.no_grad()
def decoded(
    codec: TrajectoryCodec,
    patterns: Patterns,
    batch: dict[str, Tensor],
    noise: npt.NDArray[np.float64],
    planned: bool = False,
) -> PointsOnRoutes:
    """Return the points that patterns stand for on their routes.

    Where the tables say so, the GPS' error along the road is drawn as what is left of that across
    (assumed: an error has no direction). The steps of matched traces have it in them already.

    Parameters
    ----------
    codec
        The autoencoder.
    patterns
        Codes and lengths.
    batch
        Routes, with CONDITIONS: no step is faster than ``FASTEST`` allows in the interval.
    noise
        See ``TrajectoryModel.points``.
    planned
        Whether the Transformer has said the patterns, which is more even than trips are.
    """
    device = codec.embed.weight.device
    codes = torch.from_numpy(patterns.codes).to(device)
    length = torch.from_numpy(patterns.length).to(device)
    found = codec.decode(codec.quantizer.embed(codes), batch | {"length": length})
    most = found.share.shape[1]
    there = valid(length, most).cpu().numpy()
    even = patterns.length[:, None].astype(np.float64)
    said = increments(found.share).double().cpu().numpy() * even
    said = codec.left.as_observed(said, there) if planned else said
    step = codec.left.drawn_steps(said, there, noise[:, :most])
    free_s = (batch["route_s"] / length).double().cpu().numpy()
    step = capped(step, FASTEST * batch["interval_s"].double().cpu().numpy() / free_s)
    share = np.where(there, np.cumsum(step, axis=1) / even, 1.0)
    across, ahead = (
        codec.left.drawn_offsets(noise[:, begin : begin + most])
        for begin in (MOST_POINTS, 2 * MOST_POINTS)
    )
    ahead = float(codec.left.ahead) * ahead
    offset = found.offset.double().cpu().numpy() + across
    share = np.minimum(share, 1.0)
    return PointsOnRoutes(share, OFFSET_M * offset, OFFSET_M * ahead, patterns.length)


def load_codec(folder: Path, tables: str = OWN) -> tuple[TrajectoryCodec, str]:
    """Return a folder's autoencoder and the digest of its weights; see ``checkpoints.load``.

    ``tables`` names what its codes leave open (``raygen.models.trajectory_tables``).
    """
    config, tensors, digest = checkpoints.load(folder, "codec", CodecConfig)
    codec = TrajectoryCodec(config)
    fill(codec, tensors, folder)
    if tables != OWN:
        codec.left = load_tables(folder, tables, digest)
    return codec.eval().requires_grad_(requires_grad=False), digest


def load_trajectory_model(
    weights: Path, compute: ComputeConfig, tables: str = OWN, asked: AskedRoads | None = None
) -> TrajectoryModel:
    """Load ``trajectories/codec`` and ``trajectories/patterns`` of a directory of weights.

    Parameters
    ----------
    weights
        The directory.
    compute
        Device.
    tables
        As ``load_codec``.
    asked
        The roads that it will be asked about; weights that read Node2vec need them.

    Raises
    ------
    WeightsError
        If weights are missing, altered or of another architecture, the patterns are of another
        autoencoder, or it reads the Node2vec of other roads.
    """
    folder = weights / FOLDER
    codec, codec_digest = load_codec(folder / "codec", tables)
    places = load_places(folder / "codec", (codec.config, codec_digest), asked)
    config, tensors, digest = checkpoints.load(folder / "patterns", "patterns", PatternConfig)
    if config.codec_digest != codec_digest:
        msg = f"{folder / 'patterns'}: says codes of autoencoder {config.codec_digest[:12]}, but "
        msg += f"{folder / 'codec'} holds {codec_digest[:12]}; `raygen train patterns` again"
        raise WeightsError(msg)
    transformer = PatternTransformer(config, codec)
    own = {f"codec.{name}": each for name, each in codec.state_dict().items()}
    fill(transformer, tensors | own, folder / "patterns")
    transformer = transformer.to(compute.device).eval().requires_grad_(requires_grad=False)
    digests = {"codec": codec_digest, "patterns": digest}
    return TrajectoryModel(transformer, digests, compute.device, places)
