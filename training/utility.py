"""What generated days are good for: next-region prediction, UniMob 4.5, Figure 10.

A predictor reads the arrivals of a day so far (region and half-hour) and says the region of the
next one. It is fitted to a share of the real training days, with and without generated days, and
tested on real held-out days. Two small networks: a long short-term memory, and a Transformer with
causal attention. Every predictor makes the same number of steps, whatever the number of days, so
that synthetic days do not win by longer training alone.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raygen import seeds
from raygen.errors import DataError
from raygen.mobility import runs
from raygen.taxonomy import PLAN_SLOTS

Clock = npt.NDArray[np.int32]
Predictor = Literal["LSTM", "Transformer"]

PREDICTORS: tuple[Predictor, ...] = ("LSTM", "Transformer")
ACCURACIES = (1, 5)
"""A prediction counts if the region is among the k likeliest."""

_LONGEST = 17  # arrivals of a day, the start included
_NOTHING = -1


@dataclass(frozen=True)
class PredictorFit:
    """How a predictor is fitted."""

    width: int = 64
    steps: int = 1000
    batch: int = 96
    learning_rate: float = 4e-3
    dropout: float = 0.2


class NextRegion(nn.Module):
    """Logits of the next region after arrivals."""

    def __init__(self, kind: Predictor, regions: int, how: PredictorFit) -> None:
        super().__init__()
        self.region = nn.Embedding(regions, how.width)
        self.slot = nn.Embedding(PLAN_SLOTS, how.width)
        self.kind = kind
        if kind == "LSTM":
            self.read = nn.LSTM(how.width, how.width, batch_first=True)
        else:
            self.order = nn.Embedding(_LONGEST, how.width)
            self.read = nn.TransformerEncoderLayer(
                how.width, 4, 2 * how.width, how.dropout, batch_first=True, norm_first=True
            )
        self.drop = nn.Dropout(how.dropout)
        self.out = nn.Linear(how.width, regions)

    def forward(self, region_BK: Tensor, slot_BK: Tensor, asked_BK: Tensor) -> Tensor:
        """Return logits (A, R) after the A arrivals asked for; a day's entries come first."""
        given = self.drop(self.region(region_BK) + self.slot(slot_BK))
        if self.kind == "LSTM":
            state = self.read(given)[0]
        else:
            K = region_BK.shape[1]
            later = torch.triu(torch.ones(K, K, dtype=torch.bool), diagonal=1)
            state = self.read(given + self.order(torch.arange(K)), src_mask=later)
        return self.out(self.drop(state[asked_BK]))


def fit_predictor(
    kind: Predictor, days: Clock, regions: int, seed: int, how: PredictorFit
) -> NextRegion:
    """Fit a predictor to days (N, 48).

    Raises
    ------
    DataError
        If no day has an arrival after its start.
    """
    arrivals = _arrivals(days)
    rows = np.flatnonzero(arrivals.then[:, 0] != _NOTHING)
    if len(rows) == 0:
        msg = "utility: days must have arrivals, got none after a start"
        raise DataError(msg)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seeds.stream(seed, "utility-start").integers(2**31)))
        network = NextRegion(kind, regions, how)
        optimiser = torch.optim.AdamW(network.parameters(), how.learning_rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, how.learning_rate, total_steps=how.steps, pct_start=0.1
        )
        rng = seeds.stream(seed, "utility-batches")
        for _ in range(how.steps):
            region, slot, then = arrivals.tensors(rows[rng.integers(0, len(rows), how.batch)])
            asked = then != _NOTHING
            loss = F.cross_entropy(network(region, slot, asked), then[asked])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def accuracies(network: NextRegion, days: Clock) -> dict[int, float]:
    """Return the share of arrivals of days (N, 48) whose region is among the k likeliest, by k."""
    arrivals = _arrivals(days)
    hits, total = dict.fromkeys(ACCURACIES, 0), 0
    for start in range(0, len(days), 256):
        rows = np.arange(start, min(start + 256, len(days)))
        region, slot, then = arrivals.tensors(rows)
        known = then != _NOTHING
        likely = network(region, slot, known).topk(max(ACCURACIES)).indices
        right = likely == then[known][:, None]
        total += int(known.sum())
        for count in ACCURACIES:
            hits[count] += int(right[:, :count].sum())
    return {count: hit / max(total, 1) for count, hit in hits.items()}


@dataclass(frozen=True)
class _Arrivals:
    """Arrivals of days and what follows each, shape (N, K)."""

    region: npt.NDArray[np.int64]
    slot: npt.NDArray[np.int64]
    then: npt.NDArray[np.int64]

    def tensors(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        longest = max(int((self.region[rows] >= 0).sum(axis=1).max()) - 1, 1)
        region, slot, then = (
            torch.from_numpy(values[rows, :longest])
            for values in (self.region, self.slot, self.then)
        )
        return region.clamp(min=0), slot.clamp(min=0), then


def _arrivals(days: Clock) -> _Arrivals:
    region, slot, _ = runs(days, _LONGEST)
    then = np.full(region.shape, _NOTHING, dtype=np.int64)
    then[:, :-1] = region[:, 1:]
    return _Arrivals(region, slot, then)
