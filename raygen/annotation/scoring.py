"""The language model's own likelihoods of the 15 activity types of a POI.

Nothing is generated and nothing parsed: the model is asked how likely each type's label is as the
prompt's continuation. The keys and values of the instruction, which all prompts share, are computed
once. POIs go through the model in batches of equal length, so that none is padded.
"""

# Shape suffixes: B = POIs of a batch, T = tokens, H = hidden width, V = vocabulary,
# L = 15 labels.

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raygen.annotation import prompts
from raygen.models.language import LanguageModel
from raygen.models.plan_net import extend, fork

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """POIs whose prompts have equally many tokens."""

    index: npt.NDArray[np.int64]
    """Shape (B,): where they stand in the list that was cut."""
    tokens: Tensor
    """Token ids, shape (B, T)."""


class TypeScorer:
    """A language model that has read the instruction, asked a list of POIs at a time."""

    def __init__(self, language: LanguageModel, head: Tensor, batch: int, examples: bool) -> None:
        """Read the instruction.

        Parameters
        ----------
        language
            Decoder and tokenizer.
        head
            Vocabulary head, shape (V, H); the embedding where the model ties them.
        batch
            Most POIs in one forward pass.
        examples
            See ``prompts.instruction``.
        """
        self._language = language
        self._head = head
        self._batch = batch
        self._labels = [language.tokens(text).to(head.device) for text in prompts.LABELS]
        self._trunk = fork(None, 1)
        shared = language.tokens(prompts.instruction(examples)).to(head.device)
        with torch.no_grad():
            extend(language.decoder, self._trunk, shared)

    @torch.no_grad()
    def log_likelihoods(self, texts: list[str]) -> FloatArray:
        """Return log P(label | prompt) of POIs, shape (N, 15), in nats.

        Parameters
        ----------
        texts
            POIs in natural language, see ``prompts.describe``. The batches depend on the list
            alone, so that the same list gives the same numbers.
        """
        found = np.empty((len(texts), len(self._labels)))
        for batch in batches(self._language, texts, self._batch):
            found[batch.index] = self._score(batch.tokens).double().cpu().numpy()
        return found

    def content_free(self) -> FloatArray:
        """Return the mean log-likelihood of each label after POIs without content, shape (15,)."""
        return self.log_likelihoods(list(prompts.CONTENT_FREE)).mean(axis=0)

    def _score(self, tokens_BT: Tensor) -> Tensor:
        cache = fork(self._trunk, len(tokens_BT))
        hidden_BH = extend(self._language.decoder, cache, tokens_BT.to(self._head.device))[:, -1]
        first_BV = self._log_softmax(hidden_BH)
        scores = [first_BV[:, int(label[0, 0])] for label in self._labels]
        for index, label in enumerate(self._labels):
            if label.shape[1] > 1:
                rows_BT = label.expand(len(tokens_BT), -1)
                branch = fork(cache, len(tokens_BT))
                hidden_BTH = extend(self._language.decoder, branch, rows_BT[:, :-1])
                next_BTV = self._log_softmax(hidden_BTH)
                rest_BT = next_BTV.gather(2, rows_BT[:, 1:, None])[..., 0]
                scores[index] = scores[index] + rest_BT.sum(dim=1)
        return torch.stack(scores, dim=1)  # (B, L)

    def _log_softmax(self, hidden: Tensor) -> Tensor:
        return F.log_softmax(F.linear(hidden, self._head).float(), dim=-1)


def batches(language: LanguageModel, texts: list[str], size: int) -> Iterator[Batch]:
    """Cut POIs into batches of prompts of equal length, shortest first, in the list's order."""
    ids = [language.tokens(prompts.poi(text)) for text in texts]
    length = np.array([row.shape[1] for row in ids], dtype=np.int64)
    order = np.argsort(length, kind="stable")
    cuts = np.flatnonzero(np.diff(length[order])) + 1
    for same in np.split(order, cuts):
        for start in range(0, len(same), size):
            index = same[start : start + size]
            yield Batch(index, torch.cat([ids[i] for i in index]))


def vocabulary_head(decoder: nn.Module) -> Tensor | None:
    """Return the embedding of a model that answers with it, shape (V, H); None if it does not."""
    tied = getattr(getattr(decoder, "config", None), "tie_word_embeddings", False)
    embedding = getattr(decoder, "embed_tokens", None)
    return embedding.weight if tied and isinstance(embedding, nn.Embedding) else None


def probabilities(log_likelihood: FloatArray, content_free: FloatArray | None) -> FloatArray:
    """Return P(activity type | POI), shape (N, 15), rows sum to 1.

    Parameters
    ----------
    log_likelihood
        Shape (N, 15).
    content_free
        Log-likelihoods of a prompt without content, shape (15,): the model's taste for the labels,
        which is divided out (contextual calibration, Zhao et al., arXiv:2102.09690). None leaves
        it in.
    """
    score = log_likelihood - (0 if content_free is None else content_free)
    grown = np.exp(score - score.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)
