"""A neural baseline without an adversary for MoveSim's task: the next half-hour, place by place.

A recurrent network (GRU) reads a day's places and half-hours one by one. Of each half-hour it says
whether the person moves on in the next, and if so, where to: softmax over all places from the same
embedding that it reads, beside the visits of training days, a learnt power of the distance (as
MoveSim's region network knows distances), and a bonus, learnt by place in the order of visits, for
the places where the day has been. It is fitted by the likelihood of training days and sampled
freely from a start place, as MoveSim's generator is; a tenth of the training days chooses the
epoch.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from raygen import seeds
from raygen.taxonomy import PLAN_SLOTS

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Clock = npt.NDArray[np.int32]

_HELD_OUT = 10  # one day in ten chooses the epoch
_CHUNK = 256
_NEAR_M = 500.0


@dataclass(frozen=True)
class NextPlaceFit:
    """How the network is fitted."""

    embedding: int = 64
    hidden: int = 128
    epochs: int = 10
    batch: int = 64
    learning_rate: float = 4e-3
    dropout: float = 0.3


class NextPlace(nn.Module):
    """P(move) and P(next place | move) of each half-hour."""

    log_gap: Tensor

    def __init__(self, visits: FloatArray, xy: FloatArray, how: NextPlaceFit) -> None:
        super().__init__()
        places = len(xy)
        gap = np.log1p(cdist(xy, xy) / _NEAR_M).astype(np.float32)
        self.register_buffer("log_gap", torch.from_numpy(gap), persistent=False)
        self.place = nn.Embedding(places, how.embedding)
        self.slot = nn.Embedding(PLAN_SLOTS, how.embedding)
        self.read = nn.GRU(2 * how.embedding, how.hidden, batch_first=True)
        self.drop = nn.Dropout(how.dropout)
        self.moves = nn.Linear(how.hidden, 1)
        self.where = nn.Linear(how.hidden, how.embedding)
        self.prior = nn.Parameter(torch.from_numpy(np.log(visits + 1.0)).float())
        self.power = nn.Parameter(torch.tensor(1.0))
        self.again = nn.Parameter(torch.ones(PLAN_SLOTS))
        nn.init.normal_(self.place.weight, std=0.1)

    def states(self, day_BT: Tensor, slot: int, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the states (B, T, H) after each half-hour from ``slot`` on, and the memory."""
        clock = torch.arange(slot, slot + day_BT.shape[1]).expand_as(day_BT)
        given = torch.cat([self.place(day_BT), self.slot(clock)], dim=2)
        return self.read(self.drop(given), memory)

    def next_places(self, state_MH: Tensor, here_M: Tensor, been_MV: Tensor) -> Tensor:
        """Return the log probabilities (M, R) of the next place of those who move.

        ``been_MV`` has the places of the day so far in order of the first visit, −1 beyond.
        """
        logits_MR = self.where(self.drop(state_MH)) @ self.place.weight.T + self.prior
        logits_MR = logits_MR - self.power * self.log_gap[here_M]
        known = been_MV >= 0
        bonus = self.again[: been_MV.shape[1]].expand_as(known) * known
        logits_MR = logits_MR.scatter_add(1, been_MV.clamp(min=0), bonus)
        row = torch.arange(len(here_M))
        logits_MR[row, here_M] = -torch.inf
        return logits_MR.log_softmax(dim=1)

    def loss(self, day_BT: Tensor, been_BTV: Tensor) -> Tensor:
        """Return the negative log likelihood of the days, per half-hour."""
        here, then = day_BT[:, :-1], day_BT[:, 1:]
        state = self.states(here, 0, None)[0]
        goes = here != then
        stay = F.binary_cross_entropy_with_logits(
            self.moves(self.drop(state))[..., 0], goes.float(), reduction="sum"
        )
        log_p = self.next_places(state[goes], here[goes], been_BTV[:, :-1][goes])
        place = F.nll_loss(log_p, then[goes], reduction="sum")
        return (stay + place) / goes.numel()


def been(day: IntArray) -> IntArray:
    """Return the places visited up to each half-hour, shape (N, T, T), −1 beyond.

    They stand in order of the first visit.
    """
    slots = day.shape[1]
    earlier = np.tril(np.ones((slots, slots), dtype=bool), k=-1)
    known = ((day[:, :, None] == day[:, None, :]) & earlier).any(axis=2)
    order = np.cumsum(~known, axis=1) - 1
    found = np.full((len(day), slots, slots), -1, dtype=np.int64)
    row, slot = np.nonzero(~known)
    for day_row, since, rank in zip(row, slot, order[row, slot], strict=True):
        found[day_row, since:, rank] = day[day_row, since]
    return found


def fit_next_place(clock: Clock, xy: FloatArray, seed: int, how: NextPlaceFit) -> NextPlace:
    """Fit the network to training days.

    Parameters
    ----------
    clock
        Place of each half-hour, shape (N, 48), N ≥ 20.
    xy
        Centres of the places in metres, shape (R, 2).
    seed
        Root of the start and of the order of days.
    how
        Size and schedule.

    Returns
    -------
    network
        Of the epoch that the tenth of the days kept apart is most likely in.
    """
    order = seeds.stream(seed, "next-place-split").permutation(len(clock))
    days = clock.astype(np.int64)
    kept, apart = days[order[len(order) // _HELD_OUT :]], days[order[: len(order) // _HELD_OUT]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seeds.stream(seed, "next-place-start").integers(2**31)))
        visits = np.bincount(kept.ravel(), minlength=len(xy)).astype(np.float64)
        network = NextPlace(visits, xy, how)
        optimiser = torch.optim.AdamW(network.parameters(), how.learning_rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.epochs)
        best, least = copy.deepcopy(network.state_dict()), np.inf
        for epoch in range(how.epochs):
            network.train()
            shuffled = seeds.stream(seed, "next-place-epoch", epoch).permutation(len(kept))
            for rows in _parts(len(kept), how.batch):
                loss = network.loss(*_tensors(kept[shuffled[rows]]))
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
            schedule.step()
            found = _mean_loss(network.eval(), apart)
            if found < least:
                best, least = copy.deepcopy(network.state_dict()), found
    network.load_state_dict(best)
    return network.eval()


def next_place_days(network: NextPlace, start: IntArray, rng: np.random.Generator) -> Clock:
    """Sample days from their start places.

    Parameters
    ----------
    network
        Fitted.
    start
        Place of the first half-hour, shape (M,).
    rng
        Source of the draws.

    Returns
    -------
    days
        Place of each half-hour, shape (M, 48).
    """
    parts = [_sample(network, start[rows], rng) for rows in _parts(len(start), _CHUNK)]
    return np.concatenate(parts).astype(np.int32)


@torch.no_grad()
def _sample(network: NextPlace, start: IntArray, rng: np.random.Generator) -> IntArray:
    days = np.repeat(start[:, None], PLAN_SLOTS, axis=1)
    visited = np.full((len(start), PLAN_SLOTS), -1, dtype=np.int64)
    visited[:, 0] = start
    count = np.ones(len(start), dtype=np.int64)
    memory: Tensor | None = None
    for slot in range(PLAN_SLOTS - 1):
        here = torch.from_numpy(days[:, slot])
        state, memory = network.states(here[:, None], slot, memory)
        chance = network.moves(state[:, 0])[:, 0].sigmoid().numpy()
        goes = np.flatnonzero(rng.random(len(start)) < chance)
        if len(goes) == 0:
            continue
        known = torch.from_numpy(visited[goes])
        log_p = network.next_places(state[goes, 0], here[goes], known).numpy()
        edges = np.cumsum(np.exp(log_p.astype(np.float64)), axis=1)
        draw = rng.random((len(goes), 1)) * edges[:, -1:]
        place = (edges <= draw).sum(axis=1).clip(0, edges.shape[1] - 1)
        days[goes, slot + 1 :] = place[:, None]
        new = (visited[goes] != place[:, None]).all(axis=1)
        visited[goes[new], count[goes[new]]] = place[new]
        count[goes[new]] += 1
    return days


def _tensors(days: IntArray) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(days), torch.from_numpy(been(days))


@torch.no_grad()
def _mean_loss(network: NextPlace, days: IntArray) -> float:
    parts = [days[rows] for rows in _parts(len(days), _CHUNK)]
    return sum(len(part) * float(network.loss(*_tensors(part))) for part in parts) / len(days)


def _parts(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
