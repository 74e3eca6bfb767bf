"""The travel planner: answers plan states from its table, and asks its language model for the rest.

UniMob, section 3.2. What is asked is the state (role, departure slot, POI code); what comes back is
the distribution over the next arrival's slot and over the destination's POI categories. The
language model is loaded at the first state that no table holds, and never without one.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from raygen import checkpoints
from raygen.config import ComputeConfig, PlannerConfig
from raygen.errors import WeightsError
from raygen.models import plan_table, prompts
from raygen.models.codebook import Codebook
from raygen.models.language import LanguageModel, cache_directory, load_language_model
from raygen.models.plan_net import (
    OutputLayer,
    PlannerArchitecture,
    extend,
    fork,
    merge_lora,
)
from raygen.models.plan_table import Half, IntArray, PlanTable
from raygen.taxonomy import PLAN_SLOTS, ROLES

if TYPE_CHECKING:
    from transformers import DynamicCache

LOG = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]
Group = tuple[int, int]

MODEL = "planner"


class PlannerModel:
    """A language model with the adapter merged in, and its heads: asked a place at a time."""

    def __init__(
        self, language: LanguageModel, head: OutputLayer, codebook: Codebook, batch: int
    ) -> None:
        self._language = language
        self._head = head
        self._codebook = codebook
        self._batch = batch
        self._times = torch.cat([language.tokens(text) for text in prompts.times()])
        self._slots = torch.arange(PLAN_SLOTS)

    @torch.no_grad()
    def ask(self, city: str, groups: list[Group]) -> Iterator[tuple[Group, Half, Half]]:
        """Answer places, each for all 48 departure slots.

        Parameters
        ----------
        city
            Name of the city, as the prompt says it.
        groups
            (traveller, code) pairs; equal travellers next to each other share their instruction.

        Yields
        ------
        group, slots, categories
            Probabilities of shape (48, 48) and (48, 14). They depend on the group alone: the
            composition of every forward pass is fixed.
        """
        held: tuple[int, DynamicCache] | None = None
        for traveller, code in groups:
            if held is None or held[0] != traveller:
                held = (traveller, fork(None, 1))
                self._extend(held[1], prompts.instruction(traveller, city))
            cache = fork(held[1], 1)
            self._extend(cache, prompts.place(self._codebook.codes[code]))
            slots, categories = self._leaves(cache)
            yield (traveller, code), slots, categories

    def _extend(self, cache: "DynamicCache", text: str) -> None:
        tokens = self._language.tokens(text)
        extend(self._language.decoder, cache, tokens.to(self._head.linear.weight.device))

    def _leaves(self, cache: "DynamicCache") -> tuple[Half, Half]:
        """Answer the 48 departure times after a cached place."""
        device = self._head.linear.weight.device
        time: list[torch.Tensor] = []
        poi: list[torch.Tensor] = []
        for part in torch.split(self._slots, self._batch):
            leaves = self._times[part].to(device)
            hidden = extend(self._language.decoder, fork(cache, len(part)), leaves)[:, -1]
            logits = self._head(hidden.float(), part.to(device))
            time.append(logits[0].softmax(dim=1))
            poi.append(logits[1].softmax(dim=1))
        return _half(torch.cat(time)), _half(torch.cat(poi))


class Planner:
    """The planner of a run: a codebook, a table for each city, and a language model on demand."""

    def __init__(self, folder: Path, config: PlannerConfig, compute: ComputeConfig) -> None:
        architecture, tensors, digest = checkpoints.load(folder, MODEL, PlannerArchitecture)
        self.codebook = Codebook(tensors.pop("codebook").double().numpy())
        self.architecture = architecture
        self._folder = folder
        self._tensors = tensors
        self._digest = digest
        self._config = config
        self._compute = compute
        self._tables: dict[str, PlanTable] = {}
        self._model: PlannerModel | None = None

    def table(self, city: str) -> PlanTable:
        """Return the table of a city's name: the shipped answers and those kept on this machine.

        ``city`` is the city's own name here and below; prompts may say another (``_said``).
        """
        said = self._said(city)
        if said not in self._tables:
            table = plan_table.empty(self._address(said), len(self.codebook.codes))
            for folder in (self._folder, cache_directory() / "plans"):
                _read_into(table, folder / plan_table.file_name(table.address))
            self._tables[said] = table
        return self._tables[said]

    def answers(
        self, city: str, role: IntArray, slot: IntArray, code: IntArray
    ) -> tuple[FloatArray, FloatArray, int]:
        """Answer plan states.

        Parameters
        ----------
        city
            Name of the city.
        role, slot, code
            Shape (N,): index into ROLES, departure slot 0 to 47, POI code.

        Returns
        -------
        arrivals, places, asked
            Probabilities of the next arrival's clock slot (N, 48) and of the destination's POI
            categories (N, 14); rows sum to 1. And how many distinct states no table held.

        Raises
        ------
        WeightsError
            If a state must be asked and the language model is missing or another one.
        """
        table = self.table(city)
        missing = ~table.filled[role, code]
        asked = 0
        if missing.any():
            asked = self._fill(self._said(city), table, role[missing], slot[missing], code[missing])
        return *table.answers(role, slot, code), asked

    def fill(self, city: str, path: Path) -> PlanTable:
        """Ask every state of a city and write the table to ``path``; hours of use for minutes."""
        said = self._said(city)
        table = plan_table.empty(self._address(said), len(self.codebook.codes))
        every = [
            (role, code) for role in range(len(ROLES)) for code in range(table.filled.shape[1])
        ]
        for (role, code), slots, categories in self.model().ask(said, every):
            table.put(role, code, slots, categories)
        plan_table.write(table, path)
        self._tables[said] = table
        return table

    def model(self) -> PlannerModel:
        """Return the language model with the adapter, loaded at the first call."""
        if self._model is None:
            self._model = self._load_model()
        return self._model

    def _said(self, city: str) -> str:
        """Return how prompts name a city."""
        return self._config.city_name or city

    def _fill(
        self, said: str, table: PlanTable, role: IntArray, slot: IntArray, code: IntArray
    ) -> int:
        """Ask the places of missing states and keep the answers; return the states asked."""
        kept = cache_directory() / "plans" / plan_table.file_name(table.address)
        with plan_table.locked(kept):
            _read_into(table, kept)  # what another actor asked meanwhile
            missing = ~table.filled[role, code]
            states = np.unique(np.stack([role, code, slot])[:, missing], axis=1)
            groups = [(int(r), int(c)) for r, c in np.unique(states[:2], axis=1).T]
            if not groups:
                return 0
            LOG.info("planner: asking %d states of %d places", states.shape[1], len(groups))
            for (r, c), slots, categories in self.model().ask(said, groups):
                table.put(r, c, slots, categories)
            plan_table.write(table, kept)
        return states.shape[1]

    def _address(self, said: str) -> str:
        return plan_table.address(
            {
                "weights": self._digest,
                "base_model": self.architecture.base_digest,
                "prompts": prompts.digest(said, self.codebook),
                "codebook": self.codebook.digest,
                "dtype": self._config.dtype,
                "batch": str(min(self._config.batch, PLAN_SLOTS)),
            }
        )

    def _load_model(self) -> PlannerModel:
        config = self.architecture
        language = load_language_model(self._config.base_model, torch.float32, self._compute.device)
        if language.digest != config.base_digest:
            msg = f"planner.base_model: {self._config.base_model!r} is not the language model that "
            msg += f"{self._folder} was fitted to ({config.base_model!r}, SHA-256 "
            msg += f"{config.base_digest[:12]}…); fit the planner to it with `raygen train planner`"
            raise WeightsError(msg)
        device = torch.device(self._compute.device)
        tensors = {name: tensor.to(device) for name, tensor in self._tensors.items()}
        merge_lora(language.decoder, tensors, config.alpha / config.rank)
        language.decoder.to(getattr(torch, self._config.dtype))
        head = OutputLayer(config.hidden)
        head.load_state_dict(
            {n.removeprefix("head."): t for n, t in self._tensors.items() if n.startswith("head.")}
        )
        return PlannerModel(language, head.to(device).eval(), self.codebook, self._config.batch)


def load_planner(weights: Path, config: PlannerConfig, compute: ComputeConfig) -> Planner:
    """Load the planner from a directory of weights.

    Parameters
    ----------
    weights
        Directory with one folder per model; the planner's is ``planner``.
    config
        How it is asked.
    compute
        Device of the language model.

    Returns
    -------
    planner
        Without its language model, which the first unanswered state loads.

    Raises
    ------
    WeightsError
        If the weights are missing, truncated or of another model.
    """
    return Planner(weights / MODEL, config, compute)


def _read_into(table: PlanTable, path: Path) -> None:
    if path.is_file():
        table.merge(plan_table.read(path, table.address, table.filled.shape[1]))


def _half(probabilities: torch.Tensor) -> Half:
    return probabilities.cpu().numpy().astype(np.float16)
