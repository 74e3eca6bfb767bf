"""Travel patterns by a language model whose vocabulary knows roads and patterns.

HTP (Zhou et al., KDD 2026), section 4.2: conditions as text, LoRA and the embeddings of the new
words alone are trained. An answer has no other words than new ones, so the loss and the draws are
over these: the language model's own words, of no use in an answer, are left out of the softmax.
"""

# Shape suffixes: B = batch, T = tokens, H = hidden width, E = new words, N = answer tokens.

import time
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
from raygen.models.trajectory_tokens import Grammar, Successors, Vocabulary
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
        self, config: TrajectoryLanguageConfig, language: LanguageModel, seed: int
    ) -> None:
        super().__init__()
        self.config = config
        self.words = Vocabulary(config.roads, config.codebooks)
        adapted = PlannerArchitecture(rank=config.rank, alpha=config.alpha)
        self.own = language.decoder.get_input_embeddings().weight.shape[0]  # pyright: ignore[reportCallIssue]
        self.decoder = add_lora(language.decoder.float(), adapted, seed)
        table: Any = self.decoder.get_input_embeddings()  # pyright: ignore[reportCallIssue]
        spread = float(table.weight.std())
        draw = seeds.stream(seed, "trajectory-words").standard_normal(
            (self.words.size, table.weight.shape[1]), dtype=np.float32
        )
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

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits over the new words, (…, E); the head is tied to their embeddings."""
        return hidden.float() @ self.new.weight.T

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total``: nats a token of the answers.

        Parameters
        ----------
        batch
            ``ids`` (B, T), ``mask`` (B, T): where there are tokens; ``answer`` (B, T): which of
            them belong to an answer.
        progress
            Share of the training that is done; not used.
        """
        del progress
        ids, mask = batch["ids"], batch["mask"]
        out = self.decoder(inputs_embeds=self.embedded(ids), attention_mask=mask.long())
        says = batch["answer"][:, 1:].bool()
        logits_NE = self.logits(out.last_hidden_state[:, :-1][says])
        return {"total": F.cross_entropy(logits_NE, ids[:, 1:][says] - self.own)}


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
    """Seconds on the prompts and on the answers."""


@torch.no_grad()
def answer(
    model: TrajectoryLanguage,
    questions: list[IntArray],
    uniform: npt.NDArray[np.float64],
    points: IntArray | None = None,
    successors: Successors | None = None,
) -> Said:
    """Answer a batch of questions.

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
    begun = time.perf_counter()
    ids, mask = left_padded(questions)
    hidden = _extend(model, cache, ids, mask)
    between = time.perf_counter()
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
    ended = time.perf_counter()
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
