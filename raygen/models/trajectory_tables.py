"""What codes leave open, by where trajectories come from: observed trips, simulated trips.

The GPS of observed taxis errs by more than the one that is assumed of simulated ones, and people
stand otherwise. Beside an autoencoder's weights, in ``FOLDER``, lie tables
(``raygen.models.trajectory_rest``) of all sets together and of each kind of set; a name chooses.
"""

from pathlib import Path

from raygen import checkpoints
from raygen.config import Section
from raygen.errors import WeightsError
from raygen.models.spatial import fill
from raygen.models.trajectory_rest import Rest

FOLDER = "tables"
"""Folder beside an autoencoder's weights."""

OWN = "weights"
"""Name of the tables within the weights, which are of all sets and lack the newer measures."""


class TablesConfig(Section):
    """Which tables there are."""

    names: tuple[str, ...] = ()
    """``all``, and kinds of sets: words of ``raygen.taxonomy.PROVENANCE``."""

    codec_digest: str = ""
    patterns_digest: str = ""
    """SHA-256 of the weights that the tables were measured with."""


def save_tables(
    folder: Path, tables: dict[str, Rest], digests: dict[str, str], provenance: dict[str, str]
) -> None:
    """Write tables beside an autoencoder's weights.

    Parameters
    ----------
    folder
        The autoencoder's.
    tables
        By kind of set.
    digests
        Of the weights ``codec`` and ``patterns``.
    provenance
        What the tables were measured on.
    """
    tensors = {
        f"{kind}.{name}": each.half()
        for kind, rest in tables.items()
        for name, each in rest.named_buffers()
    }
    config = TablesConfig(
        names=tuple(tables), codec_digest=digests["codec"], patterns_digest=digests["patterns"]
    )
    checkpoints.save(folder / FOLDER, "tables", config, tensors, provenance)


def load_tables(folder: Path, kind: str, digest: str) -> Rest:
    """Return the tables of a kind of set, or of ``all``.

    Raises
    ------
    WeightsError
        If there are no such tables, or they belong to another autoencoder.
    """
    if not (folder / FOLDER).is_dir():
        msg = f"{folder / FOLDER}: no such folder; `python -m training.codec_tables` makes it"
        raise WeightsError(msg)
    config, tensors, _ = checkpoints.load(folder / FOLDER, "tables", TablesConfig)
    if config.codec_digest != digest:
        msg = f"{folder / FOLDER}: measured with autoencoder {config.codec_digest[:12]}, but "
        msg += f"{folder} holds {digest[:12]}; `python -m training.codec_tables` again"
        raise WeightsError(msg)
    if kind not in config.names:
        known = ", ".join(config.names)
        msg = f"{folder / FOLDER}: tables must be one of {known}, got {kind!r}"
        raise WeightsError(msg)
    rest = Rest()
    own = {n.removeprefix(f"{kind}."): t for n, t in tensors.items() if n.startswith(f"{kind}.")}
    rest.ahead.copy_(own.pop("ahead"))
    rest.planned.copy_(own.pop("planned"))
    fill(rest, own, folder / FOLDER)
    return rest
