"""Node2vec of the networks that an autoencoder was fitted on, kept beside its weights.

HTP (Zhou et al., KDD 2026), Eq. 7: an embedding of road segments is of one network's rows, and an
autoencoder that has learned to read it reads no other. The matrices lie in ``FOLDER``; each belongs
to the network whose digest it has. An autoencoder without Node2vec needs none of this.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from raygen import checkpoints
from raygen.config import Section
from raygen.errors import WeightsError
from raygen.models.trajectory_codec import CodecConfig
from raygen.models.trajectory_words import network_digest
from raygen.network.graph import RoadNetwork
from raygen.trajectories.routes import Float32Array

FOLDER = "places"
"""Folder beside an autoencoder's weights."""


class AskedRoads(NamedTuple):
    """A road network that an autoencoder is to be asked about."""

    name: str
    """What a message calls it: a city, a file."""
    read: Callable[[], RoadNetwork]
    """Called where the weights belong to one network alone."""


class PlacesConfig(Section):
    """Which networks there are matrices of."""

    names: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    """Of each network, as ``network_digest``."""

    codec_digest: str = ""
    """SHA-256 of the autoencoder's weights."""


def save_places(
    folder: Path, places: Iterable[tuple[str, RoadNetwork, Float32Array]], codec_digest: str
) -> None:
    """Write the Node2vec of networks beside an autoencoder's weights.

    Parameters
    ----------
    folder
        The autoencoder's.
    places
        Name, network and matrix (E, d) of each; of equal networks the first is kept.
    codec_digest
        SHA-256 of the autoencoder's weights.
    """
    names: dict[str, str] = {}
    tensors: dict[str, torch.Tensor] = {}
    for name, network, matrix in places:
        digest = network_digest(network)
        names.setdefault(digest, name)
        tensors.setdefault(digest, torch.from_numpy(matrix))
    config = PlacesConfig(
        names=tuple(names.values()), digests=tuple(names), codec_digest=codec_digest
    )
    provenance = {name: "Node2vec of its road segments: calibrated" for name in names.values()}
    checkpoints.save(folder / FOLDER, "places", config, tensors, provenance)


def load_places(
    folder: Path, codec: tuple[CodecConfig, str], asked: AskedRoads | None
) -> Float32Array | None:
    """Return the Node2vec that an autoencoder reads of a network, (E, d); None if it reads none.

    Parameters
    ----------
    folder
        The autoencoder's.
    codec
        Its architecture and the digest of its weights.
    asked
        The network that it is to be asked about.

    Raises
    ------
    WeightsError
        If the matrices are missing, altered or of another autoencoder, or the network is none of
        those that it was fitted on.
    """
    config, digest = codec
    if not config.roads.node2vec:
        return None
    if asked is None:
        msg = f"{folder}: reads the Node2vec of the roads it was fitted on; no roads are told"
        raise WeightsError(msg)
    kept, tensors, _ = checkpoints.load(folder / FOLDER, "places", PlacesConfig)
    if kept.codec_digest != digest:
        msg = f"{folder / FOLDER}: of autoencoder {kept.codec_digest[:12]}, but {folder} holds "
        msg += f"{digest[:12]}; `raygen train codec` again"
        raise WeightsError(msg)
    network = asked.read()
    its = network_digest(network)
    if its not in kept.digests:
        known = [
            f"{name} ({len(tensors[one]):,} segments, {one[:12]})"
            for name, one in zip(kept.names, kept.digests, strict=True)
        ]
        msg = f"{folder / FOLDER}: autoencoder with the Node2vec of {', '.join(known)} cannot read "
        msg += f"the roads of {asked.name} ({network.segments:,} segments, {its[:12]}); fit one on "
        msg += "them, or with model.roads.node2vec = 0"
        raise WeightsError(msg)
    found = tensors[its].float().numpy()
    if found.shape != (network.segments, config.roads.node2vec):
        msg = f"{folder / FOLDER}: must be {network.segments} x {config.roads.node2vec}, got "
        msg += f"{' x '.join(map(str, found.shape))}"
        raise WeightsError(msg)
    return np.ascontiguousarray(found)
