"""Chain decoder: the activities of a day drawn one after the other, given what was observed of it.

Fills the same task as DataFusion's reconstruction (Ma et al., arXiv:2503.15779, 4.1.2): a masked
day chain in, a complete one out. The paper classifies the 96 quarter hours side by side, and a day
drawn from 96 separate distributions falls to pieces. Ours factorises the day by its activities,

    P(day | observed) = P(a_1) · Π_k P(end_k | a_1 … a_k, observed) · P(a_k+1 | …, end_k, observed)

and is exact: no slots are drawn side by side, an observed slot is kept because what contradicts it
has probability 0, and a day costs one token per activity (about five), not 96. The network is a
Transformer decoder whose prefix is the person and the observed stretches of the day.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raygen.config import Section
from raygen.models.observed import (
    MASK,
    TYPES,
    Activities,
    Observed,
    State,
    activities_of,
    bounds_of,
    first_barred,
    next_barred,
    observe,
)
from raygen.taxonomy import DEMOGRAPHIC_GROUPS, SLOTS, STUDENT

# B = batch, P = tokens of the prefix, F = observed stretches, T = activities, E = width, H = heads

_CHILD = 2  # a person is child or not


class ChainDecoderConfig(Section):
    """Sizes of the network."""

    width: int = 64
    """Embedding width E."""

    layers: int = 2
    heads: int = 4
    feedforward: int = 128
    dropout: float = 0.2


PRESETS = {
    "small": ChainDecoderConfig(),
    "paper": ChainDecoderConfig(width=256, layers=6, heads=8, feedforward=1024),
}
"""``paper`` is for GPUs, of the size of the slot network's preset."""


class _Block(nn.Module):
    """Pre-norm decoder layer; keys and values of earlier tokens can be kept."""

    def __init__(self, config: ChainDecoderConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm = nn.LayerNorm(config.width)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.feedforward_norm = nn.LayerNorm(config.width)
        self.expand = nn.Linear(config.width, config.feedforward)
        self.contract = nn.Linear(config.feedforward, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, mask: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the hidden states and the keys and values so far, (2, B, H, P + T, E / H)."""
        batch, length, width = hidden.shape
        qkv = self.qkv(self.attention_norm(hidden))
        qkv = qkv.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        kept = qkv[1:] if past is None else torch.cat([past, qkv[1:]], dim=3)
        mixed = F.scaled_dot_product_attention(qkv[0], kept[0], kept[1], attn_mask=mask[:, None])
        mixed = mixed.transpose(1, 2).reshape(batch, length, width)
        hidden = hidden + self.dropout(self.out(mixed))
        inner = F.gelu(self.expand(self.feedforward_norm(hidden)))
        return hidden + self.dropout(self.contract(inner)), kept


class _Bumps(nn.Module):
    """Slots or spans of slots as overlapping bumps: what is near in time is alike.

    A vector or a logit of its own for each of 97 slots learns the survey's few thousand days by
    heart; 15 to 38 bumps with weights, and one bias for each slot, do not.
    """

    table: Tensor

    def __init__(self, centres: Tensor, widths: Tensor, phases: int) -> None:
        super().__init__()
        slot = torch.arange(SLOTS + 2)[:, None]
        bumps = torch.exp(-0.5 * ((slot - centres) / widths) ** 2)
        hour = F.one_hot(slot[:, 0] % phases, phases).float() if phases else bumps[:, :0]
        self.register_buffer("table", torch.cat([bumps, hour], 1), persistent=False)

    @property
    def size(self) -> int:
        """Features of a slot."""
        return self.table.shape[1]


def _clock() -> _Bumps:
    """Bumps every three slots, and the four quarters of an hour, to which people round."""
    centres = torch.arange(0, SLOTS + 2, 3).float()
    return _Bumps(centres, torch.full_like(centres, 2.0), 4)


def _span() -> _Bumps:
    """Bumps that widen with the span."""
    centres = torch.tensor([0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 35, 46, 61, 80, 97.0])
    widths = torch.diff(centres, prepend=torch.tensor([-1.0])) * 0.7
    return _Bumps(centres, widths, 4)


class _SlotEmbedding(nn.Module):
    """Embedding of slots or spans."""

    def __init__(self, bumps: _Bumps, width: int) -> None:
        super().__init__()
        self.bumps = bumps
        self.linear = nn.Linear(bumps.size, width, bias=False)
        nn.init.normal_(self.linear.weight, std=0.1)

    def forward(self, slot: Tensor) -> Tensor:
        """Return vectors (…, E) of slots (…)."""
        return self.linear(self.bumps.table[slot])


class _SlotLogits(nn.Module):
    """Logits over slots or spans: weights of the bumps, and a bias for each."""

    def __init__(self, bumps: _Bumps, width: int) -> None:
        super().__init__()
        self.bumps = bumps
        self.linear = nn.Linear(width, bumps.size)
        self.bias = nn.Parameter(torch.zeros(SLOTS + 2))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return logits (…, 98)."""
        return self.linear(hidden) @ self.bumps.table.T + self.bias


class ChainDecoder(nn.Module):
    """Transformer decoder over the activities of a day."""

    def __init__(self, config: ChainDecoderConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        people = len(DEMOGRAPHIC_GROUPS) + len(STUDENT) + _CHILD
        self.person = nn.Embedding(people, width)
        self.day = nn.Embedding(7, width)
        self.stretch_type = nn.Embedding(TYPES, width)
        self.stretch_from = _SlotEmbedding(_clock(), width)
        self.stretch_to = _SlotEmbedding(_clock(), width)
        self.kind = nn.Embedding(TYPES, width)
        self.start = _SlotEmbedding(_clock(), width)
        self.coming_type = nn.Embedding(TYPES + 1, width)
        self.coming_in = _SlotEmbedding(_span(), width)
        self.other_in = _SlotEmbedding(_span(), width)
        self.held_for = _SlotEmbedding(_span(), width)
        self.spent = nn.Linear(TYPES, width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.end_at = _SlotLogits(_clock(), width)
        self.end_after = _SlotLogits(_span(), width)
        self.end_beyond = _SlotLogits(_span(), width)
        self.end_before = _SlotLogits(_span(), width)
        # An end that must come back to the same type: rare, the more so the shorter the gap.
        far = torch.arange(SLOTS + 2)
        self.returning = nn.Parameter(-3.0 * torch.exp(-far / 12))
        self.gap = nn.Parameter(-3.0 * torch.exp(-far / 24))
        self.ended = _SlotEmbedding(_clock(), width)
        self.ahead_type = nn.Embedding(TYPES + 1, width)
        self.ahead_in = _SlotEmbedding(_span(), width)
        self.next_inner = nn.Linear(width, width)
        self.next = nn.Linear(width, TYPES)
        self.dropout = nn.Dropout(config.dropout)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.1)

    def prefix(self, observed: Observed, day: Tensor, person: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens of person and stretches (B, 1 + F, E), and which are there."""
        offset = torch.tensor(
            [0, len(DEMOGRAPHIC_GROUPS), len(DEMOGRAPHIC_GROUPS) + len(STUDENT)],
            device=person.device,
        )
        who = self.person(person + offset).sum(1) + self.day(day)
        kind, first, last = observed.stretches.unbind(-1)
        seen = self.stretch_type(kind) + self.stretch_from(first) + self.stretch_to(last)
        there = F.pad(observed.there, (1, 0), value=True)
        return torch.cat([who[:, None], seen], dim=1), there

    def token(self, state: State, observed: Observed, who: Tensor) -> Tensor:
        """Return the tokens (B, T, E) of activities; ``who`` is the person's token (B, E)."""
        coming = observed.coming.gather(1, state.start)
        bounds = bounds_of(observed, state)
        return (
            who[:, None]
            + self.kind(state.kind)
            + self.start(state.start)
            + self.coming_type(observed.types.gather(1, state.start))
            + self.coming_in(coming - state.start)
            + self.other_in(bounds.other - state.start)
            + self.held_for(bounds.held - state.start)
            + self.spent(state.spent)
        )

    def run(
        self, tokens: Tensor, mask: Tensor, past: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return hidden states of ``tokens`` (B, T, E), and every layer's keys and values."""
        hidden, kept = self.dropout(tokens), []
        for index, block in enumerate(self.blocks):
            hidden, now = block(hidden, mask, None if past is None else past[index])
            kept.append(now)
        return self.norm(hidden), kept

    def end_logits(self, hidden: Tensor, state: State, observed: Observed) -> Tensor:
        """Return the logits of the end slot, 0 to 96, (B, T, 97); -inf for what cannot be."""
        slot = torch.arange(SLOTS + 1, device=hidden.device)
        bounds = bounds_of(observed, state)
        after = (slot - state.start[..., None]).clamp(min=0)
        beyond = (slot - bounds.held[..., None]).clamp(min=0)
        before = (bounds.other[..., None] - slot).clamp(min=0)
        comes_back = (observed.types[:, None] == state.kind[..., None]).to(hidden.dtype)
        far = self.returning[observed.coming - slot]
        wide = self.gap[(observed.coming - observed.last[:, :-1]).clamp(max=SLOTS + 1)]
        logits = (
            self.end_at(hidden)[..., : SLOTS + 1]
            + self.end_after(hidden).gather(-1, after)
            + self.end_beyond(hidden).gather(-1, beyond)
            + self.end_before(hidden).gather(-1, before)
            + comes_back * (far + wide)[:, None]
        )
        same = F.pad(observed.tokens, (0, 1), value=MASK)[:, None] == state.kind[..., None]
        barred = (slot <= state.start[..., None]) | (slot > bounds.other[..., None]) | same
        return logits.masked_fill(barred, -torch.inf)

    def type_logits(self, hidden: Tensor, end: Tensor, observed: Observed) -> Tensor:
        """Return the logits of the type that begins at ``end``, (B, T, 15)."""
        ahead = self.ahead_type(observed.types.gather(1, end))
        ahead = ahead + self.ahead_in(observed.coming.gather(1, end) - end)
        return self.next(F.gelu(self.next_inner(hidden) + self.ended(end) + ahead))


class Likelihood(NamedTuple):
    """log P(day | observed) in nats, by what was decided; zero where there is no activity."""

    ends: Tensor
    """Of each activity's end, (B, T)."""
    types: Tensor
    """Of each activity's type, (B, T)."""
    activities: Activities
    """The activities, T of them at most."""


def log_likelihood(
    model: ChainDecoder, chains: Tensor, tokens: Tensor, day: Tensor, person: Tensor
) -> Likelihood:
    """Return the likelihood of whole days.

    Parameters
    ----------
    model
        The network.
    chains
        Whole days, int64 (B, 96).
    tokens
        What is observed of them: the same types or ``MASK``, int64 (B, 96).
    day
        Day of the week, 0 = Monday, int64 (B,).
    person
        Demographic group, student status, 1 for children under 15: int64 (B, 3).
    """
    observed, runs = observe(tokens), activities_of(chains)
    before, there = model.prefix(observed, day, person)
    shares = F.one_hot(runs.kind, TYPES) * ((runs.end - runs.start) / SLOTS)[..., None]
    state = State(runs.kind, runs.start.clamp(max=SLOTS - 1), (shares.cumsum(1) - shares).float())
    own = model.token(state, observed, before[:, 0])
    prefix, steps = before.shape[1], own.shape[1]
    # Prefix tokens see the prefix, activities the prefix and those up to themselves.
    causal = torch.ones(prefix + steps, prefix + steps, dtype=torch.bool, device=own.device).tril()
    causal[:prefix, :prefix] = True
    mask = causal[None] & torch.cat([there, runs.there], 1)[:, None]
    hidden, _ = model.run(torch.cat([before, own], 1), mask)
    # The person's token says what begins the day, each activity's what comes after it.
    begins = F.pad(runs.end, (1, 0))[:, :-1]
    said = torch.cat([hidden[:, :1], hidden[:, prefix:-1]], 1)
    barred = next_barred(observed, begins[:, 1:], runs.kind[:, :-1])
    barred = torch.cat([first_barred(observed), barred], 1)
    types = model.type_logits(said, begins, observed).masked_fill(barred, -torch.inf)
    ends = model.end_logits(hidden[:, prefix:], state, observed)
    here = runs.there
    zero = torch.zeros(here.shape, dtype=ends.dtype, device=ends.device)
    return Likelihood(
        zero.masked_scatter(here, -_nats(ends[here], runs.end[here])),
        zero.masked_scatter(here, -_nats(types[here], runs.kind[here])),
        runs,
    )


def _nats(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, reduction="none")


class LikelihoodObjective(nn.Module):
    """The training loss around the decoder: one ``forward(batch, progress)``."""

    def __init__(self, model: ChainDecoder, parts: int) -> None:
        super().__init__()
        self.model = model
        self.parts = parts

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return the mean negative log-likelihood of the days.

        Parameters
        ----------
        batch
            ``chains`` and ``tokens`` int64 (B, 96), ``day`` int64 (B), ``person`` int64 (B, 3);
            where given, ``importance`` float32 (B, 96): an activity counts by the mean importance
            of its slots (Eq. 4, 5 of DataFusion, whose unit is the slot).
        progress
            Not used.

        Returns
        -------
        losses
            ``total``, ``ends`` and ``types`` in nats a day. Days are taken in ``parts`` of like
            length, so that short ones are not padded to the longest.
        """
        del progress
        tokens = batch["tokens"]
        changes = (batch["chains"][:, 1:] != batch["chains"][:, :-1]).sum(1)
        changes = changes + (tokens[:, 1:] != tokens[:, :-1]).sum(1) // 2
        order = torch.argsort(changes, stable=True)
        found = [self._part(batch, rows) for rows in order.chunk(self.parts)]
        ends = -torch.stack([part[0] for part in found]).sum() / len(tokens)
        types = -torch.stack([part[1] for part in found]).sum() / len(tokens)
        return {"total": ends + types, "ends": ends.detach(), "types": types.detach()}

    def _part(self, batch: dict[str, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        names = ("chains", "tokens", "day", "person")
        found = log_likelihood(self.model, *(batch[name][rows] for name in names))
        if "importance" not in batch:
            return found.ends.sum(), found.types.sum()
        runs = found.activities
        edges = F.pad(batch["importance"][rows].cumsum(1), (1, 0))
        held = edges.gather(1, runs.end) - edges.gather(1, runs.start)
        weight = held / (runs.end - runs.start).clamp(min=1)
        return (found.ends * weight).sum(), (found.types * weight).sum()
