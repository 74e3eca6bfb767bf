"""The planner without a language model: a small network that was fitted to its answers.

Input is the plan state: who travels, the departure slot and the POI distribution of the place;
output are the language model's two distributions, with the same heads (``OutputLayer``), fitted
with the same losses (UniMob, Eq. 2-4) to its answers (Hinton, Vinyals and Dean, "Distilling the
knowledge in a neural network", 2015, arXiv:1503.02531). It takes 50 kB instead of 270 MB.
"""

# Shape suffixes: S = states, E = features, M = 48 arrival slots, D = 14 POI categories.

import math
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from raygen.config import Section
from raygen.models.plan_language import Asked
from raygen.models.plan_net import OutputLayer
from raygen.models.plan_table import Answer
from raygen.models.prompts import TRAVELLERS
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES

DISTILLED = "planner-distilled"

_WAVES = 6  # sines and cosines of the departure slot


class DistilledArchitecture(Section):
    """Architecture; saved beside the weights."""

    width: Annotated[int, Field(ge=1)] = 128
    """Width of the two hidden layers."""

    traveller_width: Annotated[int, Field(ge=1)] = 16
    """Width of the vector of who travels."""

    travellers: tuple[str, ...] = TRAVELLERS
    """Who can travel, in order of their index."""

    teacher: str = ""
    """SHA-256 of the planner's weights whose answers it was fitted to."""

    codes: Annotated[int, Field(ge=2, le=4096)] = 64
    """Codes of the codebook, K; the codebook is the planner's."""


class DistilledNet(nn.Module):
    """Two hidden layers over traveller, slot and the square roots of the POI distribution."""

    def __init__(self, config: DistilledArchitecture) -> None:
        super().__init__()
        self.config = config
        self.traveller = nn.Embedding(len(config.travellers), config.traveller_width)
        features = config.traveller_width + 2 * _WAVES + len(POI_CATEGORIES)
        self.body = nn.Sequential(
            nn.Linear(features, config.width),
            nn.GELU(),
            nn.Linear(config.width, config.width),
            nn.GELU(),
        )
        self.slot = nn.Embedding(PLAN_SLOTS, config.width)
        self.head = OutputLayer(config.width)

    def forward(self, traveller_S: Tensor, slot_S: Tensor, poi_SD: Tensor) -> tuple[Tensor, Tensor]:
        """Return time logits (S, 48) and POI logits (S, 14); see ``OutputLayer``."""
        angle_SW = 2 * math.pi / PLAN_SLOTS * slot_S[:, None] * torch.arange(1, _WAVES + 1)[None, :]
        parts = (self.traveller(traveller_S), angle_SW.sin(), angle_SW.cos(), poi_SD.sqrt())
        hidden_SE = self.body(torch.cat(parts, dim=1)) + self.slot(slot_S)
        return self.head(hidden_SE, slot_S)


class DistilledModel:
    """The network, asked as the language model is."""

    def __init__(self, net: DistilledNet) -> None:
        self._net = net.eval()
        self._slots = torch.arange(PLAN_SLOTS)

    @torch.no_grad()
    def ask(
        self, city: str, asked: list[Asked], distributions: npt.NDArray[np.float64]
    ) -> Iterator[Answer]:
        """Answer places; see ``PlannerModel.ask``. The city's name does not matter."""
        for (traveller, place), distribution in zip(asked, distributions, strict=True):
            who = torch.full((PLAN_SLOTS,), traveller)
            poi = torch.from_numpy(distribution).float().expand(PLAN_SLOTS, -1)
            time, category = self._net(who, self._slots, poi)
            yield (
                traveller,
                place,
                time.softmax(dim=1).numpy().astype(np.float16),
                category.softmax(dim=1).numpy().astype(np.float16),
            )
