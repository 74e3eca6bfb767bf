"""What a fitted autoencoder leaves open, and how its points lie beside the observed ones."""

from collections.abc import Iterator

import numpy as np
import torch

from raygen.models.attention import valid
from raygen.models.trajectory_batches import TrajectoryData
from raygen.models.trajectory_codec import TrajectoryCodec, increments
from raygen.models.trajectory_model import NOISE, decoded
from raygen.models.trajectory_planner import Patterns
from raygen.models.trajectory_rest import Rest
from raygen.network.graph import BoolArray, FloatArray, IntArray
from raygen.seeds import normals
from raygen.trajectories.routes import FEATURES
from training.codec_task import chunks

STANDS_M = 5.0
"""Way between two points below which a car stands."""

_KPH = 3.6
_FITTED = 1200
_SEED = 0


def fit_rest(codec: TrajectoryCodec, sets: list[TrajectoryData]) -> None:
    """Measure what the codes leave open (``raygen.models.trajectory_rest``).

    Parameters
    ----------
    codec
        A fitted one; its tables are set.
    sets
        Trajectories that it was fitted to; some of each are read.
    """
    codec.left.fit(*_left_open(codec, sets))


def tables_of(codec: TrajectoryCodec, sets: list[TrajectoryData]) -> Rest:
    """Return the tables of some sets alone, as ``fit_rest`` measures them; the codec's stay."""
    rest = Rest()
    rest.fit(*_left_open(codec, sets))
    return rest


def _left_open(
    codec: TrajectoryCodec, sets: list[TrajectoryData]
) -> tuple[FloatArray, FloatArray, FloatArray, BoolArray]:
    parts: list[tuple[FloatArray, ...]] = []
    for data in sets:
        few = chunks(data)[:: max(1, len(data.length) // _FITTED)]
        parts += [_steps(codec, data, rows) for rows in few]
    most = max(part[0].shape[1] for part in parts)
    said, seen, off, there = (
        np.concatenate([np.pad(part[i], ((0, 0), (0, most - part[i].shape[1]))) for part in parts])
        for i in range(4)
    )
    return said, seen, off, there.astype(np.bool_)


@torch.no_grad()
def _steps(codec: TrajectoryCodec, data: TrajectoryData, rows: IntArray) -> tuple[FloatArray, ...]:
    """Return said and observed steps, what is left of the offsets, and which points there are."""
    batch = data.batch(rows)
    found = codec.decode(codec.quantizer.embed(codec.codes(batch)), batch)
    even = batch["length"][:, None].double()
    there = valid(batch["length"], found.share.shape[1])
    said, seen = (increments(share).double() * even for share in (found.share, batch["share"]))
    parts = (said, seen, batch["offset"] - found.offset, there)
    return tuple(part.numpy().astype(np.float64) for part in parts)


Figure = tuple[str, str, float]
"""Measure, set, value."""


def held_out(codec: TrajectoryCodec, sets: dict[str, TrajectoryData]) -> list[Figure]:
    """Return how held-out trajectories and their reconstructions compare."""
    rows: list[Figure] = []
    for name, data in sets.items():
        real, plain, drawn = _metres(codec, data)
        miss = np.concatenate([b - a for a, b in zip(real, plain, strict=True)])
        mean = float(np.sqrt((miss**2).mean()))
        rows.append(("place on the route, m, root of the mean square", name, mean))
        rows.append(("place on the route, m, median", name, float(np.median(np.abs(miss)))))
        interval = data.conditions["interval_s"].astype(np.float64)
        for word, metres in (("observed", real), ("of the codes", plain), ("drawn", drawn)):
            steps = [np.diff(one) for one in metres]
            speed = np.concatenate([_KPH * s / i for s, i in zip(steps, interval, strict=True)])
            still = [s < STANDS_M for s in steps]
            rows += [
                (f"speed between points, km/h, median, {word}", name, float(np.median(speed))),
                (f"speed, 95th percentile, {word}", name, float(np.quantile(speed, 0.95))),
                (f"share of points that stand, {word}", name, float(np.concatenate(still).mean())),
                (f"share that stand twice running, {word}", name, _twice(still)),
            ]
    return rows


def _twice(still: list[BoolArray]) -> float:
    return float(np.concatenate([one[1:] & one[:-1] for one in still]).mean())


def _metres(
    codec: TrajectoryCodec, data: TrajectoryData
) -> tuple[list[FloatArray], list[FloatArray], list[FloatArray]]:
    """Return metres along the routes: observed, of the codes, and as they are drawn."""
    made: tuple[list[FloatArray], ...] = [], [], []
    for row, shares in _shares(codec, data):
        knots, metres = _knots(data, row)
        for each, share in zip(made, shares, strict=True):
            each.append(np.interp(share, knots, metres))
    return made[0], made[1], made[2]


@torch.no_grad()
def _shares(
    codec: TrajectoryCodec, data: TrajectoryData
) -> Iterator[tuple[int, tuple[FloatArray, FloatArray, FloatArray]]]:
    for rows in chunks(data):
        batch = data.batch(rows)
        codes = codec.codes(batch)
        plain = codec.decode(codec.quantizer.embed(codes), batch).share.double().numpy()
        patterns = Patterns(batch["length"].numpy(), codes.numpy())
        drawn = decoded(codec, patterns, batch, normals(_SEED, "codec:rest", rows, NOISE)).share
        real = batch["share"].double().numpy()
        for at, row in enumerate(rows.tolist()):
            count = int(patterns.length[at])
            yield row, (real[at, :count], plain[at, :count], drawn[at, :count])


def _knots(data: TrajectoryData, row: int) -> tuple[FloatArray, FloatArray]:
    """Return shares of time and metres at the ends of a route's segments."""
    features = data.routes.features[data.routes.first[row] : data.routes.first[row + 1]]
    at = [FEATURES.index(name) for name in ("time_to", "to")]
    ends = np.concatenate([np.zeros((1, 2)), features[:, at].astype(np.float64)])
    return ends[:, 0], ends[:, 1] * float(data.routes.length_m[row])
