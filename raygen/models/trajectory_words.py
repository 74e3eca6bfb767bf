"""What is known of the words for trajectories before any training: places of segments, codes."""

import hashlib

import numpy as np
import numpy.typing as npt

from raygen.models.trajectory_codec import TrajectoryCodec
from raygen.models.trajectory_tokens import BOUNDARIES, LENGTHS
from raygen.network.graph import FloatArray, RoadNetwork
from raygen.trajectories.plane import PlaneRoads

_WAVES = (1.0, 2.0, 4.0, 8.0, 16.0)  # of the network's extent, in half turns


def known_of(roads: PlaneRoads, codec: TrajectoryCodec) -> npt.NDArray[np.float32]:
    """Return what is known of each new word, rows of length one, (E, K).

    Of a segment: where its middle lies, which way it leads, its length, speed and lanes; of a code:
    its vector, about the mean of its layer; of length tokens and boundaries nothing.
    """
    network = roads.network
    first, last = roads.xy[roads.at[:-1]], roads.xy[roads.at[1:] - 1]
    middle = (first + last) / 2.0
    extent = np.maximum(np.ptp(middle, axis=0).max(), 1.0)
    turn = (middle - middle.mean(axis=0))[:, :, None] / extent * np.array(_WAVES) * np.pi
    ahead = (last - first) / np.maximum(np.linalg.norm(last - first, axis=1), 1.0)[:, None]
    figures = [
        np.log(np.maximum(network.length_m, 1.0) / 100.0)[:, None],
        network.speed_kph[:, None] / 60.0 - 1.0,
        network.lanes[:, None] / 2.0 - 1.0,
    ]
    of_roads = np.concatenate([np.sin(turn).reshape(len(middle), -1), np.cos(turn).reshape(
        len(middle), -1), ahead, *figures], axis=1)  # fmt: skip
    blocks = [_unit(of_roads - of_roads.mean(axis=0))]
    for layer in range(len(codec.config.codebooks)):
        book = codec.quantizer.book(layer).detach().double().cpu().numpy()
        blocks.append(_unit(book - book.mean(axis=0)))
    rest = LENGTHS + len(BOUNDARIES)
    known = np.zeros((sum(map(len, blocks)) + rest, sum(block.shape[1] for block in blocks)))
    row = column = 0
    for block in blocks:
        known[row : row + len(block), column : column + block.shape[1]] = block
        row, column = row + len(block), column + block.shape[1]
    return known.astype(np.float32)


def _unit(rows: FloatArray) -> FloatArray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def network_digest(network: RoadNetwork) -> str:
    """Return the SHA-256 of a network's segments: their ends, lengths and lines, in order."""
    total = hashlib.sha256()
    for part in (network.tail, network.head, network.length_m, network.point_at, network.points):
        total.update(np.ascontiguousarray(part).tobytes())
    return total.hexdigest()
