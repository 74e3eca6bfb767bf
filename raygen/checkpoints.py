"""Weights on disk: one directory per model, safetensors beside the architecture as JSON.

weights.safetensors   the tensors
config.json           {"model", "config", "digest", "provenance"}: the architecture, the SHA-256
                      of weights.safetensors, and what the weights were fitted to
MODEL_CARD.md         the same for a reader
curve.csv             losses of the training
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from raygen.config import parse
from raygen.errors import WeightsError

M = TypeVar("M", bound=BaseModel)

SHIPPED = Path(__file__).parent / "weights"
"""Directory of the weights that come with raygen, one folder per model."""

_TENSORS = "weights.safetensors"
_CONFIG = "config.json"


def folder(weights: Path | None) -> Path:
    """Return the directory of weights that a run names, the shipped one where it names none."""
    return SHIPPED if weights is None else weights


def label(directory: Path) -> tuple[str, dict[str, str]]:
    """Return the SHA-256 of a model's tensors and what they were fitted to, by ``config.json``.

    Raises
    ------
    WeightsError
        If the file cannot be read or lacks them.
    """
    text = _read_config(directory / _CONFIG)
    try:
        provenance = {str(name): str(words) for name, words in text["provenance"].items()}
        return str(text["digest"]), provenance
    except (KeyError, AttributeError) as error:
        msg = f"{directory / _CONFIG}: has no digest or provenance: {error}"
        raise WeightsError(msg) from None


def save(
    directory: Path,
    model: str,
    config: BaseModel,
    tensors: dict[str, torch.Tensor],
    provenance: dict[str, str],
) -> None:
    """Write a model's tensors and architecture.

    Parameters
    ----------
    directory
        Made if needed; files of the same name are replaced, each as a whole.
    model
        Name of the model, e.g. ``reconstruction``.
    config
        Its architecture.
    tensors
        By name; copied to contiguous CPU tensors.
    provenance
        Data set by what it fitted, e.g. ``{"chains": "czechia_hts, train split: observed"}``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    scratch = directory / f"{_TENSORS}.tmp"
    save_file(plain, scratch)
    digest = _digest(scratch)
    os.replace(scratch, directory / _TENSORS)
    text = {
        "model": model,
        "config": config.model_dump(mode="json"),
        "digest": digest,
        "provenance": provenance,
    }
    scratch = directory / f"{_CONFIG}.tmp"
    scratch.write_text(json.dumps(text, indent=2) + "\n")
    os.replace(scratch, directory / _CONFIG)


def load(directory: Path, model: str, config: type[M]) -> tuple[M, dict[str, torch.Tensor], str]:
    """Read a model's architecture and tensors.

    Parameters
    ----------
    directory
        As ``save`` wrote it.
    model
        Name that the checkpoint must have.
    config
        Type of the architecture.

    Returns
    -------
    config, tensors, digest
        The architecture, the tensors by name, and the SHA-256 of the tensors' file.

    Raises
    ------
    WeightsError
        If a file is missing, unreadable, truncated or altered, or the weights are of another model.
    """
    path = directory / _TENSORS
    text = _read_config(directory / _CONFIG)
    if text.get("model") != model:
        msg = f"{directory / _CONFIG}: weights of {text.get('model')!r}, needed {model!r}"
        raise WeightsError(msg)
    if not path.is_file():
        msg = f"{path}: no such file; fit it with `raygen train {model}`"
        raise WeightsError(msg)
    found = _digest(path)
    if found != text.get("digest"):
        msg = f"{path}: truncated or altered: SHA-256 {found[:12]}…, config.json says "
        msg += f"{str(text.get('digest'))[:12]}…"
        raise WeightsError(msg)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        msg = f"{path}: not safetensors: {error}"
        raise WeightsError(msg) from None
    return parse(text["config"], config, str(directory / _CONFIG)), tensors, found


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise WeightsError(msg) from None
    except json.JSONDecodeError as error:
        msg = f"{path}: not JSON: {error}"
        raise WeightsError(msg) from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
