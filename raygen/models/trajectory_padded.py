"""Answers of a trajectory language model in padded batches; ``Speaker`` says the same faster."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raygen.models.trajectory_language import Said, TrajectoryLanguage, clock_of
from raygen.models.trajectory_planner import drawn
from raygen.models.trajectory_questions import Question, countdown
from raygen.models.trajectory_tokens import Grammar, Successors
from raygen.network.graph import IntArray

if TYPE_CHECKING:
    from transformers import DynamicCache


@torch.no_grad()
def answer(
    model: TrajectoryLanguage,
    questions: list[Question],
    uniform: npt.NDArray[np.float64],
    points: IntArray | None = None,
    successors: Successors | None = None,
) -> Said:
    """Answer a batch of questions, all padded to the longest.

    Parameters
    ----------
    model
        In evaluation mode.
    questions
        What is asked.
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

    metres = np.array([question.metres for question in questions])
    grammar = Grammar(model.words, len(questions), points, successors, metres)
    length_m = None if successors is None else successors.length_m
    cache = DynamicCache()
    clock = clock_of(model.new.weight.device)
    begun = clock()
    ids, mask = left_padded([question.ids for question in questions])
    hidden = extend(model, cache, ids, mask)
    between = clock()
    words: list[npt.NDArray[np.int64]] = []
    count = 0
    while not grammar.done.all():
        allowed = torch.from_numpy(grammar.allowed())
        logits = model.logits(hidden).masked_fill(~allowed, -torch.inf)
        said = drawn(logits, torch.from_numpy(uniform[:, len(words)]))
        count += int((~grammar.done).sum())
        grammar.advance(said.numpy())
        words.append(said.numpy())
        so_far = np.stack(words, axis=1)
        left = [
            countdown(model.words, question, so_far[row], length_m)[-1:]
            for row, question in enumerate(questions)
        ]
        mask = torch.cat([mask, torch.ones(len(mask), 1, dtype=torch.bool)], dim=1)
        told = torch.from_numpy(np.stack(left))
        hidden = extend(model, cache, said[:, None] + model.own, mask, told)
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


def extend(
    model: TrajectoryLanguage,
    cache: "DynamicCache",
    ids_BT: Tensor,
    mask_BS: Tensor,
    left_BT: Tensor | None = None,
) -> Tensor:
    """Append tokens to the cache and return the last hidden state (B, H)."""
    place = (mask_BS.long().cumsum(dim=1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
    out = model.decoder(
        inputs_embeds=model.embedded(ids_BT, left_BT),
        attention_mask=mask_BS.long(),
        position_ids=place,
        past_key_values=cache,
        use_cache=True,
    )
    return out.last_hidden_state[:, -1]
