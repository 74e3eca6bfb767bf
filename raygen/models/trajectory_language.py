"""Travel patterns by a language model whose vocabulary knows roads and patterns.

HTP (Zhou et al., KDD 2026), section 4.2: conditions as text, LoRA and the embeddings of the new
words alone are trained. What cannot be said at a place of an answer (``Grammar``) is left out of
the softmax, in the loss as in the draws: nothing is spent on learning the form.

Ours differs in two points, for trainings of few pairs. A new word begins as a random projection of
what is known of it (``trajectory_words.known_of``: where a segment lies, a code's vector), so that
like words begin alike. And logits are over √H, so that an untrained model says all words that are
allowed about as often.
"""

# Shape suffixes: B = batch, T = tokens, H = hidden width, E = new words, N = answer tokens,
# S = words to choose from, K = figures known of a word.

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

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
from raygen.models.trajectory_planner import Patterns, drawn
from raygen.models.trajectory_tokens import (
    CODE,
    FORCED,
    LENGTH,
    LENGTHS,
    NEXT_ROAD,
    ROAD,
    Grammar,
    Successors,
    Vocabulary,
)
from raygen.network.graph import IntArray

if TYPE_CHECKING:
    from transformers import DynamicCache


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


class TrajectoryLanguage(nn.Module):
    """A frozen decoder with LoRA, and the embeddings of the new words."""

    def __init__(
        self,
        config: TrajectoryLanguageConfig,
        language: LanguageModel,
        seed: int,
        known_EK: npt.NDArray[np.float32] | None = None,
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
        draw = rng.standard_normal(size, dtype=np.float32)
        if known_EK is not None:
            shown = known_EK @ rng.standard_normal((known_EK.shape[1], size[1]), dtype=np.float32)
            draw = _KNOWN**0.5 * shown + (1.0 - _KNOWN) ** 0.5 * draw
        # About the mean of the known words: a new one begins as no word in particular.
        begin = table.weight.detach().float().mean(dim=0) + spread * torch.from_numpy(draw)
        self.new = nn.Embedding.from_pretrained(begin, freeze=False)

    def embedded(self, ids_BT: Tensor) -> Tensor:
        """Return embeddings (B, T, H) of tokens: own ones, and new ones from ``own`` on."""
        table: Any = self.decoder.get_input_embeddings()  # pyright: ignore[reportCallIssue]
        new = ids_BT >= self.own
        known_BTH = table(ids_BT.masked_fill(new, 0))
        new_BTH = self.new((ids_BT - self.own).clamp(min=0))
        return torch.where(new[..., None], new_BTH, known_BTH)

    def logits(self, hidden: Tensor, low: int = 0, high: int | None = None) -> Tensor:
        """Return logits of the new words from ``low`` to ``high``; tied to their embeddings."""
        return self._head(hidden) @ self.new.weight[low:high].float().T

    def _head(self, hidden: Tensor) -> Tensor:
        return hidden.float() * hidden.shape[-1] ** -0.5

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total``: nats a word of the answers, of words that have an alternative.

        Parameters
        ----------
        batch
            ``ids`` (B, T), ``mask`` (B, T): where there are tokens; ``kinds`` (B, T): what an
            answer could say there (``kinds``), FORCED elsewhere; for HTP+ ``options`` (N, S): the
            words allowed at its tokens of kind NEXT_ROAD in order, -1 behind the last.
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
        ids, mask, kinds = batch["ids"], batch["mask"], batch["kinds"][:, 1:]
        out = self.decoder(inputs_embeds=self.embedded(ids), attention_mask=mask.long())
        says = kinds != FORCED
        hidden_NH, kind_N = out.last_hidden_state[:, :-1][says], kinds[says]
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
        logits = logits.masked_fill(options_NS < 0, -torch.inf)
        target = (options_NS == word_N[:, None]).long().argmax(dim=1)
        return F.cross_entropy(logits, target, reduction="sum")


_KNOWN = 0.8
"""Share of a new word's first variance that comes from what is known of it."""


def encode(language: LanguageModel, own: int, words: Vocabulary, text: str) -> IntArray:
    """Return the tokens of a text: the language model's own, and new ones from ``own`` on."""
    parts: list[IntArray] = []
    for piece in words.pieces(text):
        if isinstance(piece, int):
            parts.append(np.array([own + piece], dtype=np.int64))
        else:
            parts.append(language.tokens(piece)[0].numpy())
    return np.concatenate(parts)


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


@torch.no_grad()
def answer(
    model: TrajectoryLanguage,
    questions: list[IntArray],
    uniform: npt.NDArray[np.float64],
    points: IntArray | None = None,
    successors: Successors | None = None,
) -> Said:
    """Answer a batch of questions, all padded to the longest; ``Speaker`` does the same faster.

    Parameters
    ----------
    model
        In evaluation mode.
    questions
        Tokens of each, see ``encode``.
    uniform
        What the words are drawn by, (B, words of an answer at most), in [0, 1).
    points
        Points of each trajectory; drawn by the model where they are not given.
    successors
        The network's, for HTP+.

    Returns
    -------
    said
        Every answer decodes (``Grammar``). Keys and values of prompts and answers are kept.
    """
    from transformers import DynamicCache

    grammar = Grammar(model.words, len(questions), points, successors)
    cache = DynamicCache()
    clock = clock_of(model.new.weight.device)
    begun = clock()
    ids, mask = left_padded(questions)
    hidden = _extend(model, cache, ids, mask)
    between = clock()
    steps, count = 0, 0
    while not grammar.done.all():
        allowed = torch.from_numpy(grammar.allowed())
        logits = model.logits(hidden).masked_fill(~allowed, -torch.inf)
        said = drawn(logits, torch.from_numpy(uniform[:, steps]))
        count += int((~grammar.done).sum())
        grammar.advance(said.numpy())
        mask = torch.cat([mask, torch.ones(len(mask), 1, dtype=torch.bool)], dim=1)
        hidden = _extend(model, cache, said[:, None] + model.own, mask)
        steps += 1
    ended = clock()
    return Said(
        grammar.patterns(),
        grammar.roads,
        sum(len(question) for question in questions),
        count,
        between - begun,
        ended - between,
    )


def left_padded(questions: list[IntArray]) -> tuple[Tensor, Tensor]:
    """Return tokens (B, T) that end together, and where there are any."""
    most = max(len(question) for question in questions)
    ids = np.zeros((len(questions), most), dtype=np.int64)
    mask = np.zeros_like(ids, dtype=np.bool_)
    for row, question in enumerate(questions):
        ids[row, most - len(question) :] = question
        mask[row, most - len(question) :] = True
    return torch.from_numpy(ids), torch.from_numpy(mask)


def _extend(
    model: TrajectoryLanguage, cache: "DynamicCache", ids_BT: Tensor, mask_BS: Tensor
) -> Tensor:
    """Append tokens to the cache and return the last hidden state (B, H)."""
    place = (mask_BS.long().cumsum(dim=1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
    out = model.decoder(
        inputs_embeds=model.embedded(ids_BT),
        attention_mask=mask_BS.long(),
        position_ids=place,
        past_key_values=cache,
        use_cache=True,
    )
    return out.last_hidden_state[:, -1]
