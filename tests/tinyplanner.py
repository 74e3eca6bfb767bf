"""A planner with random weights, for tests: a two-layer language model made in code, or none."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig, PlannerConfig
from raygen.models import plan_table
from raygen.models.codebook import Codebook
from raygen.models.language import weights_digest
from raygen.models.plan_distilled import DISTILLED, DistilledArchitecture, DistilledNet
from raygen.models.plan_net import PlannerArchitecture
from raygen.models.planner import MODEL, Planner, load_planner
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES, ROLES

HIDDEN, LAYERS, RANK, CODES = 32, 3, 2, 5


def language(directory: Path, seed: int = 0) -> Path:
    """Write a byte-level Llama of three layers with random weights and return its folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    text = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    text.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    text.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=text).save_pretrained(directory)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=HIDDEN,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = LlamaModel(config)
    rng = seeds.stream(seed, "tiny-language")
    for weight in model.parameters():
        draw = rng.normal(size=tuple(weight.shape)) * 0.2 + (weight.ndim == 1)
        weight.data.copy_(torch.from_numpy(draw))
    model.save_pretrained(directory)
    return directory


def codebook() -> Codebook:
    """Return five codes, each with its largest share at another category."""
    codes = seeds.stream(0, "tiny-codes").dirichlet(np.full(14, 0.3), size=CODES)
    return Codebook(codes.astype(np.float32).astype(np.float64))


def build(directory: Path, city: str = "", base: Path | None = None) -> Path:
    """Write a root of weights with ``planner`` in it.

    Parameters
    ----------
    directory
        Root of the weights, returned.
    city
        Name of a city whose table is written, filled at random; none where empty.
    base
        Folder of the language model; without one every state must be in the table.
    """
    rng = seeds.stream(1, "tiny-planner")
    tensors = {
        "head.linear.weight": rng.normal(size=(2 * PLAN_SLOTS + 14, HIDDEN)) * 0.3,
        "head.linear.bias": rng.normal(size=2 * PLAN_SLOTS + 14) * 0.3,
        "lora.layers.2.self_attn.q_proj.a": rng.normal(size=(RANK, HIDDEN)) * 0.3,
        "lora.layers.2.self_attn.q_proj.b": rng.normal(size=(HIDDEN, RANK)) * 0.3,
        "lora.layers.2.mlp.down_proj.a": rng.normal(size=(RANK, 64)) * 0.3,
        "lora.layers.2.mlp.down_proj.b": rng.normal(size=(HIDDEN, RANK)) * 0.3,
        "codebook": codebook().codes,
    }
    checkpoints.save(
        directory / MODEL,
        MODEL,
        PlannerArchitecture(
            base_model=str(base or "none"),
            base_digest=weights_digest(base) if base else "",
            hidden=HIDDEN,
            upper_layers=1,
            rank=RANK,
            alpha=4.0,
            codes=CODES,
        ),
        {name: torch.from_numpy(array).float() for name, array in tensors.items()},
        {"weights": "assumed: random"},
    )
    if city:
        _write_table(directory, city)
    return directory


def load(root: Path, base: Path | None = None, **settings: Any) -> Planner:
    """Load the planner of a root, in float32."""
    config = PlannerConfig(base_model=str(base or "none"), dtype="float32", **settings)
    return load_planner(root, config, ComputeConfig())


def distil(directory: Path) -> Path:
    """Write a distilled planner with random weights into a root of weights; return the root."""
    config = DistilledArchitecture(width=8, traveller_width=4, codes=CODES)
    rng = seeds.stream(3, "tiny-distilled")
    tensors = {
        name: torch.from_numpy(rng.normal(size=tuple(weight.shape)) * 0.5).float()
        for name, weight in DistilledNet(config).state_dict().items()
    }
    tensors["codebook"] = torch.from_numpy(codebook().codes).float()
    label = {"weights": "assumed: random"}
    checkpoints.save(directory / DISTILLED, "distilled", config, tensors, label)
    return directory


def _write_table(root: Path, city: str) -> None:
    # Tables of both number formats, so that a run's default configuration finds its own.
    for dtype in ("float32", "bfloat16"):
        planner = load_planner(root, PlannerConfig(dtype=dtype), ComputeConfig())
        table = plan_table.PlanTable(planner.table(city).address)
        rng = seeds.stream(2, "tiny-table")
        table.put(
            [
                (
                    role,
                    code,
                    rng.dirichlet(np.ones(PLAN_SLOTS), size=PLAN_SLOTS).astype(np.float16),
                    rng.dirichlet(np.ones(len(POI_CATEGORIES)), PLAN_SLOTS).astype(np.float16),
                )
                for role in range(len(ROLES))
                for code in range(CODES)
            ]
        )
        plan_table.write(table, root / MODEL / plan_table.file_name(table.address))
