"""The planner's language model with the adapter merged in, and its heads (UniMob, section 3.2)."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from raygen.config import PlannerConfig
from raygen.errors import WeightsError
from raygen.models import prompts
from raygen.models.language import LanguageModel, load_language_model
from raygen.models.plan_net import OutputLayer, PlannerArchitecture, extend, fork, merge_lora
from raygen.models.plan_table import Answer, Half
from raygen.models.plan_tree import grow, leaves, time_tree
from raygen.taxonomy import PLAN_SLOTS

if TYPE_CHECKING:
    from transformers import DynamicCache

Asked = tuple[int, int]
"""Traveller and place."""


class PlannerModel:
    """A language model with the adapter merged in, and its heads: asked a place at a time."""

    def __init__(self, language: LanguageModel, head: OutputLayer) -> None:
        self._language = language
        self._head = head
        self._tree = time_tree(torch.cat([language.tokens(text) for text in prompts.times()]))
        self._slots = torch.arange(PLAN_SLOTS)

    @torch.no_grad()
    def ask(
        self, city: str, asked: list[Asked], distributions: npt.NDArray[np.float64]
    ) -> Iterator[Answer]:
        """Answer places, each for all 48 departure slots, in one forward pass.

        Parameters
        ----------
        city
            Name of the city, as the prompt says it.
        asked
            G places; equal travellers next to each other share their instruction.
        distributions
            POI distributions of the places, shape (G, 14).

        Yields
        ------
        answer
            An answer depends on the prompt alone: the composition of every forward pass is fixed.
        """
        held: tuple[int, DynamicCache] | None = None
        for (traveller, place), distribution in zip(asked, distributions, strict=True):
            if held is None or held[0] != traveller:
                held = (traveller, fork(None, 1))
                ids = self._language.tokens(prompts.instruction(traveller, city))
                extend(self._language.decoder, held[1], ids.to(self._device))
            ids = self._language.tokens(prompts.place(distribution))
            piece = torch.cat([ids, self._tree.ids], dim=1).to(self._device)
            hidden = grow(self._language.decoder, piece, self._tree, fork(held[1], 1))
            logits = self._head(leaves(hidden, self._tree).float(), self._slots.to(self._device))
            yield traveller, place, _half(logits[0].softmax(dim=1)), _half(logits[1].softmax(dim=1))

    @torch.no_grad()
    def ask_alone(
        self, city: str, traveller: int, slot: int, distribution: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Answer one state as the paper asks it: a whole prompt, nothing shared and nothing kept.

        Returns
        -------
        slots, categories
            Probabilities, shapes (48,) and (14,).
        """
        text = prompts.instruction(traveller, city), prompts.place(distribution)
        pieces = [self._language.tokens(piece) for piece in (*text, prompts.times()[slot])]
        hidden = self._language.decoder(torch.cat(pieces, dim=1).to(self._device))
        last = hidden.last_hidden_state[:, -1].float()
        logits = self._head(last, torch.tensor([slot], device=self._device))
        return logits[0][0].softmax(dim=0).cpu().numpy(), logits[1][0].softmax(dim=0).cpu().numpy()

    @property
    def _device(self) -> torch.device:
        return self._head.linear.weight.device


def load_planner_model(
    folder: Path,
    architecture: PlannerArchitecture,
    tensors: dict[str, torch.Tensor],
    config: PlannerConfig,
    device: str,
) -> PlannerModel:
    """Load the language model, with the adapter merged in and the heads.

    Raises
    ------
    WeightsError
        If the language model is missing or another one than the heads were fitted to.
    """
    language = load_language_model(config.base_model, torch.float32, device)
    if language.digest != architecture.base_digest:
        msg = f"planner.base_model: {config.base_model!r} is not the language model that "
        msg += f"{folder} was fitted to ({architecture.base_model!r}, SHA-256 "
        msg += f"{architecture.base_digest[:12]}…); fit the planner to it with "
        msg += "`raygen train planner`"
        raise WeightsError(msg)
    there = {name: tensor.to(torch.device(device)) for name, tensor in tensors.items()}
    merge_lora(language.decoder, there, architecture.alpha / architecture.rank)
    language.decoder.to(getattr(torch, config.dtype))
    head = OutputLayer(architecture.hidden, architecture.head_width)
    head.load_state_dict(
        {n.removeprefix("head."): t for n, t in tensors.items() if n.startswith("head.")}
    )
    return PlannerModel(language, head.to(torch.device(device)).eval())


def _half(probabilities: torch.Tensor) -> Half:
    return probabilities.cpu().numpy().astype(np.float16)
