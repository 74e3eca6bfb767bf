"""Travel patterns by a language model whose vocabulary knows roads and patterns.

HTP (Zhou et al., KDD 2026), section 4.2: conditions as text, LoRA and the embeddings of the new
words alone are trained. What cannot be said at a place of an answer (``Grammar``) is left out of
the softmax, in the loss as in the draws: nothing is spent on learning the form.

A batch has several answers to what its questions share: the beginning is read once, and keys and
values of it are handed to each answer. The loss is that of single pairs (tested).

Ours differs, for trainings of few pairs. A new word begins as a random projection of what is known
of it (``trajectory_words.known_of``: where a segment lies, a code's vector), so that like words
begin alike. Logits are over √H, so that an untrained model says all words that are allowed about as
often. And two switches of the configuration, off in the paper's preset: ``bias`` (a number for each
new word, which begins at how often it is said) and ``countdown`` (an embedding of how many groups
are to come is added to the answer's words, as Takase and Okazaki do in "Positional encoding to
control output sequence length", NAACL 2019).
"""

# Shape suffixes: B = batch, T = tokens, H = hidden width, E = new words, N = answer tokens,
# S = words to choose from, K = figures known of a word, R = beginnings, P = their tokens.

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from raygen import seeds
from raygen.config import Section
from raygen.models.language import LanguageModel
from raygen.models.plan_net import PlannerArchitecture, add_lora
from raygen.models.trajectory_planner import Patterns
from raygen.models.trajectory_questions import LEFT_GROUPS, LEFT_ROADS
from raygen.models.trajectory_tokens import (
    CODE,
    FORCED,
    LENGTH,
    LENGTHS,
    NEXT_ROAD,
    ROAD,
    Vocabulary,
)


class TrajectoryLanguageConfig(Section):
    """Architecture; saved beside the weights."""

    base_model: str = "smollm2"
    """Causal LM: ``smollm2`` or a folder that transformers loads. The paper has Qwen3-1.7B."""

    base_digest: str = ""
    """SHA-256 of the language model."""

    roads: Annotated[int, Field(ge=1)] = 1
    """Segments V of the network."""

    network_digest: str = ""
    """SHA-256 of the network, see ``trajectory_words.network_digest``."""

    codebooks: tuple[int, ...] = (32, 64, 128, 256)
    """Codes of each layer of the autoencoder."""

    codec_digest: str = ""
    """SHA-256 of the autoencoder whose codes it says."""

    rank: Annotated[int, Field(ge=1, le=256)] = 16
    """Rank of LoRA's matrices."""

    alpha: Annotated[float, Field(gt=0)] = 32.0
    """LoRA's scale is alpha / rank."""

    roads_first: bool = False
    """Whether the answer begins with the route, which is then no condition: HTP+."""

    bias: bool = False
    """Whether each new word has a number that is added to its logit. Not in the paper."""

    countdown: bool = False
    """Whether an answer's words tell how much is to come. Not in the paper, see ``countdown``."""

    ordinary: bool = False
    """Whether roads, codes and lengths are said in ordinary words of the language model, one for
    each, which are not trained: the ablation "w/o OOV" (Table 2)."""


class TrajectoryLanguage(nn.Module):
    """A frozen decoder with LoRA, and the embeddings of the new words."""

    def __init__(
        self,
        config: TrajectoryLanguageConfig,
        language: LanguageModel,
        seed: int,
        known_EK: npt.NDArray[np.float32] | None = None,
        often_E: npt.NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.words = Vocabulary(config.roads, config.codebooks)
        adapted = PlannerArchitecture(rank=config.rank, alpha=config.alpha)
        self.own = language.decoder.get_input_embeddings().weight.shape[0]  # pyright: ignore[reportCallIssue]
        self.decoder = add_lora(language.decoder.float(), adapted, seed)
        table: Any = self.decoder.get_input_embeddings()  # pyright: ignore[reportCallIssue]
        spread = float(table.weight.std())
        rng = seeds.stream(seed, "trajectory-words")
        size = (self.words.size, int(table.weight.shape[1]))
        known_EK = np.zeros((size[0], 0), dtype=np.float32) if known_EK is None else known_EK
        # Drawn first, and so the same for every network.
        shown_KH = rng.standard_normal((known_EK.shape[1], size[1]), dtype=np.float32)
        draw = rng.standard_normal(size, dtype=np.float32)
        if known_EK.shape[1]:
            shown = known_EK @ shown_KH
            draw = _KNOWN**0.5 * shown + (1.0 - _KNOWN) ** 0.5 * draw
        # About the mean of the known words: a new one begins as no word in particular.
        begin = table.weight.detach().float().mean(dim=0) + spread * torch.from_numpy(draw)
        if config.ordinary:
            # Not drawn by the seed: they are no trained tensors, and are not among the weights.
            chosen = seeds.stream(0, "ordinary-words")
            ordinary = chosen.choice(self.own, size[0], replace=self.own < size[0])
            begin = table.weight.detach().float()[torch.from_numpy(ordinary)]
        self.new = nn.Embedding.from_pretrained(begin, freeze=config.ordinary)
        if config.bias:
            often = torch.zeros(size[0]) if often_E is None else torch.from_numpy(often_E)
            self.bias = nn.Parameter(often)
        if config.countdown:
            steps = (LEFT_GROUPS + LEFT_ROADS, size[1])
            drawn_H = rng.standard_normal(steps, dtype=np.float32)
            left = _COUNTED * spread * torch.from_numpy(drawn_H)
            self.left = nn.Embedding.from_pretrained(left, freeze=False)

    def embedded(self, ids_BT: Tensor, left_BT: Tensor | None = None) -> Tensor:
        """Return embeddings (B, T, H) of tokens: own ones, and new ones from ``own`` on.

        ``left_BT`` is what ``countdown`` tells of them, -1 where it tells nothing.
        """
        table: Any = self.decoder.get_input_embeddings()  # pyright: ignore[reportCallIssue]
        new = ids_BT >= self.own
        known_BTH = table(ids_BT.masked_fill(new, 0))
        new_BTH = self.new((ids_BT - self.own).clamp(min=0))
        found_BTH = torch.where(new[..., None], new_BTH, known_BTH)
        if left_BT is None or not self.config.countdown:
            return found_BTH
        told_BTH = self.left(left_BT.clamp(min=0))
        return found_BTH + told_BTH.masked_fill((left_BT < 0)[..., None], 0.0)

    def logits(self, hidden: Tensor, low: int = 0, high: int | None = None) -> Tensor:
        """Return logits of the new words from ``low`` to ``high``; tied to their embeddings."""
        logits = self._head(hidden) @ self.new.weight[low:high].float().T
        return logits + self.bias[low:high].float() if self.config.bias else logits

    def _head(self, hidden: Tensor) -> Tensor:
        return hidden.float() * hidden.shape[-1] ** -0.5

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total``: nats a word of the answers, of words that have an alternative.

        Parameters
        ----------
        batch
            ``shared`` (R, P) and ``shared_mask``: beginnings of questions; ``of`` (B,): that of
            each row. ``ids`` (B, T), the rest of questions and answers, and ``mask``: where there
            are tokens; ``kinds`` (B, T): what an answer could say there (``kinds``), FORCED
            elsewhere; ``left`` (B, T): see ``countdown``; for HTP+ ``options`` (N, S): the words
            allowed at its tokens of kind NEXT_ROAD in order, -1 behind the last.
        progress
            Share of the training that is done; not used.
        """
        del progress
        sums, counts = self.nats(batch)
        return {"total": torch.stack(list(sums.values())).sum() / sum(counts.values())}

    def nats(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, int]]:
        """Return the nats of a batch's answers and the number of words, by what they are.

        ``length``, ``codes`` (with the ends) and, for HTP+, ``roads``; see ``forward``.
        """
        ids, kinds = batch["ids"], batch["kinds"][:, 1:]
        says = kinds != FORCED
        hidden_NH, kind_N = self.hidden(batch)[:, :-1][says], kinds[says]
        word_N = ids[:, 1:][says] - self.own
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        for kind in kind_N.unique().tolist():
            here = kind_N == kind
            if kind == NEXT_ROAD:
                lost = self._choosing(hidden_NH[here], batch["options"], word_N[here])
            else:
                lost = self._saying(kind, hidden_NH[here], word_N[here])
            name = "length" if kind == LENGTH else "codes" if kind >= CODE else "roads"
            sums[name] = sums[name] + lost if name in sums else lost
            counts[name] = counts.get(name, 0) + int(here.sum())
        return sums, counts

    def hidden(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the last hidden states (B, T, H) of a batch's rows behind their beginnings."""
        from transformers import DynamicCache

        shared_RP, seen_RP, of = batch["shared"], batch["shared_mask"], batch["of"]
        read = DynamicCache()
        self.decoder(
            inputs_embeds=self.embedded(shared_RP),
            attention_mask=seen_RP.long(),
            past_key_values=read,
            use_cache=True,
        )
        cache = DynamicCache()
        for index, layer in enumerate(read.layers):
            keys: Any = layer.keys  # pyright: ignore[reportAttributeAccessIssue]
            values: Any = layer.values  # pyright: ignore[reportAttributeAccessIssue]
            cache.update(keys.index_select(0, of), values.index_select(0, of), index)
        ids_BT = batch["ids"]
        seen_BS = torch.cat([seen_RP.index_select(0, of), batch["mask"]], dim=1)
        place_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device) + seen_RP.sum(1)[of][:, None]
        out = self.decoder(
            inputs_embeds=self.embedded(ids_BT, batch["left"]),
            attention_mask=seen_BS.long(),
            position_ids=place_BT,
            past_key_values=cache,
            use_cache=True,
        )
        return out.last_hidden_state

    def _saying(self, kind: int, hidden_NH: Tensor, word_N: Tensor) -> Tensor:
        """Return the nats of words drawn from a range of words, and from the end too."""
        words = self.words
        low, count = words.length_at, LENGTHS
        if kind == ROAD:
            low, count = 0, words.roads
        elif kind >= CODE:
            layer = (kind - CODE) // 2
            low, count = int(words.code_at[layer]), words.codebooks[layer]
        logits = self.logits(hidden_NH, low, low + count)
        target = word_N - low
        if kind == CODE + 1:
            end = words.boundary_at + 3
            logits = torch.cat([logits, self.logits(hidden_NH, end, end + 1)], dim=1)
            target = target.masked_fill(word_N == end, count)
        return F.cross_entropy(logits, target, reduction="sum")

    def _choosing(self, hidden_NH: Tensor, options_NS: Tensor, word_N: Tensor) -> Tensor:
        """Return the nats of words drawn each from its own few."""
        some = self.new(options_NS.clamp(min=0)).float()
        logits = torch.einsum("nh,nsh->ns", self._head(hidden_NH), some)
        if self.config.bias:
            logits = logits + self.bias[options_NS.clamp(min=0)].float()
        logits = logits.masked_fill(options_NS < 0, -torch.inf)
        target = (options_NS == word_N[:, None]).long().argmax(dim=1)
        return F.cross_entropy(logits, target, reduction="sum")


_KNOWN = 0.8
"""Share of a new word's first variance that comes from what is known of it."""

_COUNTED = 0.3  # first size of what tells how much is to come, over that of a word


@dataclass(frozen=True)
class Said:
    """Answers of a language model, and what they took."""

    patterns: Patterns
    roads: list[list[int]]
    """Routes of HTP+; empty lists otherwise."""
    prompt_tokens: int
    answer_tokens: int
    prompt_s: float
    answer_s: float
    """Seconds on the prompts and on the answers: of the CPU, or elapsed on another device."""


def clock_of(device: torch.device) -> Callable[[], float]:
    """Return what tells the seconds of work on a device: the CPU's own, or elapsed ones."""
    return time.process_time if device.type == "cpu" else time.perf_counter
