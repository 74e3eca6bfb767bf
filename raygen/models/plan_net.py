"""The planner's network: a frozen causal LM, LoRA on its upper layers, and two heads.

UniMob, section 3.2: ``[ŷ_time, ŷ_poi] = OutputLayer(LLM(prompt))`` (Eq. 1) on the last hidden
state, fitted with two Kullback-Leibler losses (Eq. 2-4). LoRA: Hu et al., arXiv:2106.09685.

Ours differs in three points. LoRA sits on the upper layers alone: what the lower layers say of a
prompt is then a constant, computed once before the training. The time logits are the sum of a
clock head and of an offset head that is shifted by the departure slot, because habits are of both
kinds: the clock's (home at five) and the duration's (half an hour of shopping). And the heads may
share a hidden layer (``head_width``): linear ones cannot tell travellers of very different cities
apart in the hidden state of a small language model.

A prompt is three pieces (instruction, place, time): see ``raygen.models.prompts``; the 48 times
of a place are asked as one tree (``raygen.models.plan_tree``).
"""

# Shape suffixes: S = states (times of one place), T = tokens, H = hidden width,
# M = 48 arrival slots, D = 14 POI categories.

import copy
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from raygen import seeds
from raygen.config import Section
from raygen.errors import WeightsError
from raygen.models.plan_tree import TimeTree, grow, leaves
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES

if TYPE_CHECKING:
    from transformers import DynamicCache

_CATEGORIES = len(POI_CATEGORIES)
_ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class PlannerArchitecture(Section):
    """Architecture; saved beside the weights."""

    base_model: str = "smollm2"
    """Name of the language model, see ``PlannerConfig.base_model``."""

    base_digest: str = ""
    """SHA-256 of the language model that the heads were fitted to."""

    hidden: Annotated[int, Field(ge=1)] = 576
    """Width of the language model's hidden state."""

    upper_layers: Annotated[int, Field(ge=1)] = 6
    """Layers, from the top, that carry LoRA."""

    rank: Annotated[int, Field(ge=1, le=256)] = 8
    """Rank of LoRA's matrices."""

    alpha: Annotated[float, Field(gt=0)] = 16.0
    """LoRA's scale is alpha / rank."""

    head_width: Annotated[int, Field(ge=0)] = 0
    """Width of the heads' hidden layer; 0 for linear heads."""

    time_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight λ of the time loss (Eq. 4)."""

    codes: Annotated[int, Field(ge=2, le=4096)] = 64
    """Codes of the POI codebook, K."""


class OutputLayer(nn.Module):
    """Two heads on the last hidden state (Eq. 1): next arrival and its POI distribution.

    Parameters
    ----------
    hidden
        Width of the hidden state, H.
    width
        Width of the hidden layer that both heads share; 0 for none.
    """

    def __init__(self, hidden: int, width: int = 0) -> None:
        super().__init__()
        self.inner = nn.Linear(hidden, width) if width else None
        self.linear = nn.Linear(width or hidden, 2 * PLAN_SLOTS + _CATEGORIES)
        # Zero start: the first guess is uniform and no draw is needed.
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden_SH: Tensor, slot_S: Tensor) -> tuple[Tensor, Tensor]:
        """Return time logits (S, 48), by clock slot of the arrival, and POI logits (S, 14).

        An arrival slot before the departure slot means tomorrow.
        """
        if self.inner is not None:
            hidden_SH = F.gelu(self.inner(hidden_SH))
        clock_SM, offset_SM, poi_SD = self.linear(hidden_SH).split(
            [PLAN_SLOTS, PLAN_SLOTS, _CATEGORIES], dim=1
        )
        clock_M = torch.arange(PLAN_SLOTS, device=slot_S.device)
        shift_SM = (clock_M[None, :] - slot_S[:, None]) % PLAN_SLOTS
        return clock_SM + offset_SM.gather(1, shift_SM), poi_SD


class PlannerNet(nn.Module):
    """The trainable part: upper layers with LoRA, and heads; fed with the lower layers' output."""

    def __init__(self, config: PlannerArchitecture, upper: nn.Module, tree: TimeTree) -> None:
        super().__init__()
        self.config = config
        self.upper = upper
        self.tree = tree
        self.head = OutputLayer(config.hidden, config.head_width)

    def logits(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return time logits (S, 48) and POI logits (S, 14) of the states of one place."""
        hidden_SH = leaves(grow(self.upper, batch["prompt"], self.tree), self.tree)
        return self.head(hidden_SH.to(self.head.linear.weight.dtype), batch["slot"])

    def loss(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``total`` and its parts ``time`` and ``poi``, scalars (Eq. 2-4).

        Parameters
        ----------
        batch
            ``prompt`` (1, T + L, H): the lower layers' output for instruction, place and the tree
            of times; ``slot`` (S,): departure slots; ``time_target`` (S, 48), ``poi_target``
            (S, 14): observed distributions; ``weight`` (S,): of a state.
        """
        time_SM, poi_SD = self.logits(batch)
        weight_S = batch["weight"]
        time = (weight_S * divergence(time_SM, batch["time_target"])).sum()
        poi = (weight_S * divergence(poi_SD, batch["poi_target"])).sum()
        return {"total": poi + self.config.time_weight * time, "time": time, "poi": poi}

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the loss; ``progress`` is the training loop's and is not used."""
        return self.loss(batch)


def divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Return KL(target ‖ softmax(logits)) in nats over the last axis: Eq. 2 and 3."""
    log_q = F.log_softmax(logits.float(), dim=-1)
    return (torch.special.xlogy(target, target) - target * log_q).sum(dim=-1)


def fork(cache: "DynamicCache | None", rows: int) -> "DynamicCache":
    """Return a cache that starts with another's keys and values, for a number of rows.

    Parameters
    ----------
    cache
        Of one row, not changed; None starts an empty one.
    rows
        Rows of the new cache.
    """
    from transformers import DynamicCache  # 3 s that only a language model needs

    new = DynamicCache()
    for index, layer in enumerate(cache.layers if cache else []):
        keys: Any = layer.keys  # pyright: ignore[reportAttributeAccessIssue]
        values: Any = layer.values  # pyright: ignore[reportAttributeAccessIssue]
        new.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), index)
    return new


def extend(decoder: nn.Module, cache: "DynamicCache", piece: Tensor) -> Tensor:
    """Append a piece to the cache and return its last layer's output (B, T, H)."""
    kind = "inputs_embeds" if piece.is_floating_point() else "input_ids"
    return decoder(**{kind: piece}, past_key_values=cache, use_cache=True).last_hidden_state


def split(decoder: nn.Module, upper_layers: int) -> tuple[nn.Module, nn.Module]:
    """Cut a decoder in two: the lower part without a final norm, and the upper layers.

    Parameters
    ----------
    decoder
        Decoder of transformers with ``layers`` and ``norm`` (Llama, Qwen, Mistral, Gemma …).
    upper_layers
        Layers of the upper part.

    Returns
    -------
    lower, upper
        ``upper(inputs_embeds=lower(ids))`` equals ``decoder(ids)``. The lower part shares its
        weights with the decoder; the upper part is a float32 copy.

    Raises
    ------
    WeightsError
        If the decoder has no such layers, or not more than ``upper_layers`` of them.
    """
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, nn.ModuleList) or not hasattr(decoder, "norm"):
        msg = f"language model: needs a decoder with layers and norm, got {type(decoder).__name__}"
        raise WeightsError(msg)
    if not 0 < upper_layers < len(layers):
        msg = f"upper_layers: must be in 1 to {len(layers) - 1} for this language model, "
        msg += f"got {upper_layers}"
        raise WeightsError(msg)
    cut = len(layers) - upper_layers
    every = list(layers)
    lower = _with_layers(decoder, every[:cut], nn.Identity())
    # The embedding is not used above the cut, and would be trained state to carry around.
    upper = _with_layers(decoder, [copy.deepcopy(x) for x in every[cut:]], None)
    return lower, upper.float()


def _with_layers(decoder: nn.Module, layers: list[nn.Module], norm: nn.Module | None) -> nn.Module:
    """Return a shallow copy of a decoder over other layers; without a norm it is an upper part."""
    part: Any = copy.copy(decoder)
    # Its own table of modules, so that the decoder keeps its layers.
    part.__dict__["_modules"] = dict(decoder.__dict__["_modules"])
    part.layers = nn.ModuleList(layers)
    part.config = copy.deepcopy(part.config)
    part.config.num_hidden_layers = len(layers)
    if norm is not None:
        part.norm = norm
        return part
    part.norm = copy.deepcopy(part.norm)
    part.embed_tokens = nn.Identity()
    for index, layer in enumerate(layers):
        attention: Any = layer.self_attn
        attention.layer_idx = index  # its place in the cache
    return part


def add_lora(upper: nn.Module, config: PlannerArchitecture, seed: int) -> nn.Module:
    """Freeze the upper layers and put LoRA on their linear maps, drawn from the seed."""
    from peft import LoraConfig, inject_adapter_in_model

    upper.requires_grad_(False)
    lora = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=list(_ADAPTED))  # pyright: ignore[reportArgumentType]
    upper = inject_adapter_in_model(lora, upper)
    for index, (name, weight) in enumerate(upper.named_parameters()):
        if "lora_A" in name:
            bound = weight.shape[1] ** -0.5  # peft's own: Kaiming with a = √5
            draw = seeds.stream(seed, "lora", index).uniform(-bound, bound, size=weight.shape)
            weight.data.copy_(torch.from_numpy(draw))
    return upper


def trained_tensors(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Pick what was trained out of a PlannerNet's state, named by the whole decoder's layers.

    Parameters
    ----------
    state
        State dict of a PlannerNet with LoRA.
    layers
        Layers of the whole language model minus those of the upper part.

    Returns
    -------
    tensors
        ``lora.layers.27.mlp.up_proj.a`` (rank, in), ``….b`` (out, rank), ``head.linear.…``.
    """
    picked: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("head."):
            picked[name] = tensor
        elif ".lora_" in name:
            _, _, index, *rest = name.split(".")  # upper.layers.3.mlp.up_proj.lora_A.default.weight
            which = "a" if "lora_A" in name else "b"
            module = ".".join(rest[: rest.index(f"lora_{which.upper()}")])
            picked[f"lora.layers.{int(index) + layers}.{module}.{which}"] = tensor
    return picked


@torch.no_grad()
def merge_lora(decoder: nn.Module, tensors: dict[str, Tensor], scale: float) -> None:
    """Add scale·B·A to the decoder's weights, in place.

    Raises
    ------
    WeightsError
        If the decoder has no such layer, or one of another shape.
    """
    for name, low in tensors.items():
        if not (name.startswith("lora.") and name.endswith(".a")):
            continue
        place = name.removeprefix("lora.").removesuffix(".a")
        change = scale * (tensors[f"lora.{place}.b"].float() @ low.float())
        try:
            weight = decoder.get_parameter(f"{place}.weight")
        except AttributeError:
            msg = f"planner weights: made for another language model: this one has no {place}"
            raise WeightsError(msg) from None
        if weight.shape != change.shape:
            msg = f"planner weights: {place}: must be {tuple(weight.shape)} for this language "
            msg += f"model, got {tuple(change.shape)}"
            raise WeightsError(msg)
        weight += change.to(weight.dtype)
