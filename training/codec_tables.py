"""Tables of what codes leave open, by kind of set: ``python -m training.codec_tables RECIPE``.

The recipe is that of ``raygen train codec``; the autoencoder and the Transformer of the patterns
are fitted already. The recipe's trips are made or read again, and the tables of those that were
learned from go beside the autoencoder's weights (``raygen.models.trajectory_tables``), which stay
as they are.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from raygen import seeds
from raygen.config import ComputeConfig, load
from raygen.errors import ConfigError
from raygen.models.trajectory_batches import TrajectoryData
from raygen.models.trajectory_codec import increments
from raygen.models.trajectory_model import FOLDER, TrajectoryModel, load_trajectory_model
from raygen.models.trajectory_planner import DRAWS, generate
from raygen.models.trajectory_rest import ALL, Rest
from raygen.models.trajectory_tables import save_tables
from raygen.network.graph import FloatArray
from training.codec import CodecRecipe
from training.codec_data import NetworkTrips, read_sources, splits
from training.codec_measures import tables_of
from training.codec_task import Split, chunks

_SEED = 0
_CHUNKS = 4  # of 256 trips, of each set


def kind_of(label: str) -> str:
    """Return the word of a set's label that tells how it came to be."""
    return "observed" if label.endswith("observed") else "synthesised"


def tables_by_kind(
    model: TrajectoryModel, sets: list[NetworkTrips], parts: tuple[Split, ...]
) -> dict[str, Rest]:
    """Return tables measured on the training parts of all sets, and of those of each kind."""
    found: dict[str, Rest] = {}
    for kind in (ALL, *sorted({kind_of(each.label) for each in sets})):
        mine = [
            part.train
            for part, each in zip(parts, sets, strict=True)
            if kind in (ALL, kind_of(each.label))
        ]
        found[kind] = tables_of(model.codec, mine)
        found[kind].fit_planned(*planned_steps(model, mine))
        # Places of matched traces are where the GPS had the cars, those of simulated trips where
        # they were: what the GPS errs along the road is among the steps of the former already.
        found[kind].ahead.fill_(0.0 if kind == "observed" else 1.0)
    return found


@torch.no_grad()
def planned_steps(
    model: TrajectoryModel, sets: list[TrajectoryData]
) -> tuple[FloatArray, FloatArray]:
    """Return the steps, flat, that planned codes and trips' own codes stand for, in even steps."""
    codec = model.codec
    found: tuple[list[FloatArray], list[FloatArray]] = [], []
    for data in sets:
        parts = chunks(data)
        for rows in parts[:: max(1, len(parts) // _CHUNKS)]:
            batch = data.batch(rows)
            length = batch["length"].numpy()
            draws = seeds.uniforms(_SEED, "tables:tokens", rows, DRAWS)
            said = torch.from_numpy(generate(model.transformer, batch, draws, length).codes)
            for each, codes in zip(found, (said, codec.codes(batch)), strict=True):
                share = codec.decode(codec.quantizer.embed(codes), batch).share
                step = increments(share).double().numpy() * length[:, None]
                inner = np.arange(step.shape[1]) < length[:, None]
                inner[:, 0] = False
                each.append(step[inner])
    return np.concatenate(found[0]), np.concatenate(found[1])


def measure(recipe: CodecRecipe) -> Path:
    """Measure the tables of fitted models and write them beside the autoencoder's weights.

    Raises
    ------
    ConfigError
        If the autoencoder's folder is not ``trajectories/codec`` of a directory of weights.
    """
    folder = recipe.output
    if folder.parts[-2:] != (FOLDER, "codec"):
        msg = f"output: must end with {FOLDER}/codec, got {folder}"
        raise ConfigError(msg)
    model = load_trajectory_model(folder.parents[1], ComputeConfig())
    sets = read_sources(recipe.data, recipe.seed)
    parts = splits(sets, recipe.data.validation, None, recipe.seed)
    provenance = {each.name: each.label for each in sets}
    save_tables(folder, tables_by_kind(model, sets, parts), model.digests, provenance)
    return folder


def main(arguments: list[str]) -> None:
    """Measure; the argument is the recipe."""
    torch.set_num_threads(1)
    sys.stdout.write(f"{measure(load(Path(arguments[0]), CodecRecipe))}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
