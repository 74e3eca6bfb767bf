"""Answers of a trajectory language model, many at a time: continuous batching over a KV cache.

A fixed number of slots holds the keys and values of as many answers. An answer that is whole leaves
its slot at once, and the next question is read into it; words that have no alternative (boundaries,
a length that was asked for) are not drawn, and those at an answer's end are not even read. Each
question is read alone and every pass over the slots has one shape, so that an answer does not
depend on the others (see docs/trajectories.md for what that means in floating point). The opening
words of the questions are read once, and so is a route that several questions in turn are about.

transformers has continuous batching of its own (``generate_batch``). It draws from one generator
for all requests and reads token ids alone: neither draws by trip nor words whose embeddings lie
apart from the language model's fit in.
"""

# Shape suffixes: B = slots, H = hidden width.

from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from raygen.models.language import LanguageModel
from raygen.models.plan_net import fork
from raygen.models.slot_cache import SlotCache
from raygen.models.trajectory_language import Said, TrajectoryLanguage, clock_of
from raygen.models.trajectory_planner import MOST_GROUPS, drawn
from raygen.models.trajectory_questions import (
    OPENING,
    ROUTELESS_OPENING,
    Question,
    countdown,
    encode,
    questions,
)
from raygen.models.trajectory_tokens import (
    MOST_ROADS,
    Grammar,
    Successors,
    patterns_of,
)
from raygen.network.graph import IntArray, RoadNetwork
from raygen.network.node2vec import successors
from raygen.trajectories.conditions import Conditions

if TYPE_CHECKING:
    from transformers import DynamicCache

WORDS = 3 + 4 * MOST_GROUPS
"""Words of an answer, at most; with a route before it ``ROUTE_WORDS`` more."""

ROUTE_WORDS = 2 + MOST_ROADS


@dataclass(frozen=True)
class Speaker:
    """A fitted language model, ready to answer."""

    model: TrajectoryLanguage
    language: LanguageModel
    slots: int = 16
    """Answers under way at once."""

    def questions(
        self, network: RoadNetwork, told: Conditions, points: IntArray | None = None
    ) -> list[Question]:
        """Return the questions about conditions, see ``questions``; without roads for HTP+."""
        speaks = self.language, self.model.own, self.model.words
        return questions(speaks, network, told, self.model.config.roads_first, points)

    def follows(self, network: RoadNetwork) -> Successors | None:
        """Return what may follow a segment where the model says routes (HTP+)."""
        if not self.model.config.roads_first:
            return None
        return Successors(*successors(network), network.length_m.astype(np.float64))

    @cached_property
    def opening(self) -> IntArray:
        """Return the tokens that every question begins with."""
        model = self.model
        text = ROUTELESS_OPENING if model.config.roads_first else OPENING
        return encode(self.language, model.own, model.words, text)

    @property
    def draws(self) -> int:
        """Uniforms that one answer takes, at most."""
        return WORDS + self.model.config.roads_first * ROUTE_WORDS

    def answers(
        self,
        questions: list[Question],
        uniform: npt.NDArray[np.float64],
        points: IntArray | None = None,
        follows: Successors | None = None,
    ) -> Said:
        """Answer questions, in their order.

        Parameters
        ----------
        questions
            N questions.
        uniform
            What the words are drawn by, (N, ``draws``), in [0, 1): column i draws word i.
        points
            Points of each trajectory, 20 to 200; drawn by the model where they are not given.
        follows
            The network's successors, for HTP+.

        Returns
        -------
        said
            Every answer decodes (``Grammar``).
        """
        return _Talk(self, questions, uniform, points, follows).said()


@dataclass
class _Talk:
    """The answers to some questions, while they are said."""

    speaker: Speaker
    questions: list[Question]
    uniform: npt.NDArray[np.float64]
    points: IntArray | None
    follows: Successors | None
    counts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0.0))

    def __post_init__(self) -> None:
        count, slots = len(self.questions), self.speaker.slots
        model = self.speaker.model
        self.grammar = Grammar(model.words, slots, None, self.follows)
        self.asked = np.full(slots, -1, dtype=np.int64)  # the question in each slot; -1: none
        self.spoken = np.zeros(slots, dtype=np.int64)
        self.unread: list[list[int]] = [[] for _ in range(slots)]
        self.words: list[list[int]] = [[] for _ in range(slots)]  # said since the question
        like = model.new.weight
        self.hidden_BH = torch.zeros(slots, like.shape[1], device=like.device)
        self.token = np.zeros(count, dtype=np.int64)
        self.codes: list[list[int]] = [[] for _ in range(count)]
        self.roads: list[list[int]] = [[] for _ in range(count)]
        self.clock = clock_of(model.new.weight.device)
        # The longest first, so that the last ones to be said are short.
        told = [len(one) for one in self.questions]
        size = np.array(told) if self.points is None else self.points
        self.waiting = deque(np.argsort(-size, kind="stable").tolist())
        self.most = max(told, default=0) + self.speaker.draws
        self.cache: SlotCache | None = None

    @torch.no_grad()
    def said(self) -> Said:
        """Answer all questions."""
        opening = self.speaker.opening
        self.start = _read(self.speaker.model, None, opening)[0]
        self.route: tuple[bytes, DynamicCache | None] = b"", None
        while self.waiting or (self.asked >= 0).any():
            self._admit()
            while len(ready := self._ready()):
                self._say(ready)
                self._admit()
            if (self.asked >= 0).any():
                self._advance()
        counts = self.counts
        return Said(
            patterns_of(self.token, self.codes, len(self.speaker.model.words.codebooks)),
            self.roads,
            sum(len(one) for one in self.questions),
            int(counts["words"]),
            counts["prompt_s"],
            counts["answer_s"],
        )

    def _ready(self) -> IntArray:
        """Return the slots whose next word may be drawn: all before it is read."""
        free = np.array([len(words) == 0 for words in self.unread])
        return np.flatnonzero((self.asked >= 0) & free)

    def _admit(self) -> None:
        """Read questions into the slots that are free."""
        begin = self.clock()
        for slot in np.flatnonzero(self.asked < 0).tolist():
            if not self.waiting:
                break
            row = self.waiting.popleft()
            self.asked[slot] = row
            points = 0 if self.points is None else int(self.points[row])
            self.grammar.begin(slot, points, self.questions[row].metres)
            lead = self.grammar.forced(slot)
            self.spoken[slot] = len(lead)
            self.words[slot] = list(lead)
            self.counts["words"] += len(lead)
            cache, self.hidden_BH[slot] = self._read_question(self.questions[row], lead)
            if self.cache is None:
                self.cache = SlotCache(cache, self.speaker.slots, self.most)
            self.cache.fill(slot, cache)
        self.counts["prompt_s"] += self.clock() - begin

    def _read_question(self, asked: Question, lead: list[int]) -> tuple["DynamicCache", Tensor]:
        """Read a question and the first words of its answer.

        The opening, the route and the drive are read one after another, each once where several
        questions follow each other that share it, so that the sums are the same either way.
        """
        model, opening = self.speaker.model, self.speaker.opening
        route, start = asked.shared, None
        if np.array_equal(route[: len(opening)], opening):
            route, start = route[len(opening) :], self.start
        key = asked.shared.tobytes()
        if key != self.route[0]:
            read = start if start is not None and len(route) == 0 else _read(model, start, route)[0]
            self.route = key, read
        said = np.array(lead, dtype=np.int64)
        left = np.full(len(asked.own) + len(lead), -1, dtype=np.int64)
        left[len(asked.own) :] = self._left(asked, lead)
        return _read(model, self.route[1], np.concatenate([asked.own, model.own + said]), left)

    def _left(self, asked: Question, words: list[int]) -> IntArray:
        """Return the countdown of an answer's words so far."""
        length_m = None if self.follows is None else self.follows.length_m
        return countdown(self.speaker.model.words, asked, np.array(words, dtype=np.int64), length_m)

    def _say(self, ready: IntArray) -> None:
        """Draw the next word of some slots, and say what must follow it."""
        begin = self.clock()
        words, grammar = self.speaker.model.words, self.grammar
        low = 0 if grammar.on_roads[ready].any() else words.roads
        logits = self.speaker.model.logits(self.hidden_BH, low)[torch.from_numpy(ready)].cpu()
        allowed = torch.from_numpy(grammar.allowed()[ready, low:])
        mark = torch.from_numpy(self.uniform[self.asked[ready], self.spoken[ready]])
        said = drawn(logits.masked_fill(~allowed, -torch.inf), mark)
        for slot, word in zip(ready.tolist(), (low + said).tolist(), strict=True):
            grammar.say(slot, word)
            self.unread[slot] = [word, *grammar.forced(slot)]
            self.words[slot] += self.unread[slot]
            self.spoken[slot] += len(self.unread[slot])
            self.counts["words"] += len(self.unread[slot])
            if grammar.done[slot]:
                self._retire(slot)
        self.counts["answer_s"] += self.clock() - begin

    def _retire(self, slot: int) -> None:
        """Keep a whole answer and free its slot."""
        row = int(self.asked[slot])
        self.token[row] = self.grammar.token[slot]
        self.codes[row], self.roads[row] = self.grammar.codes[slot], self.grammar.roads[slot]
        self.asked[slot], self.unread[slot] = -1, []
        if self.cache is not None:
            self.cache.length[slot] = 0

    def _advance(self) -> None:
        """Read the next word of every slot in one pass."""
        begin = self.clock()
        cache, model = self.cache, self.speaker.model
        if cache is None:
            return
        ids = np.array([model.own + words[0] if words else 0 for words in self.unread])
        left = np.array([self._next_left(slot) for slot in range(len(ids))])
        device = model.new.weight.device
        out = model.decoder(
            inputs_embeds=model.embedded(
                *(torch.from_numpy(x)[:, None].to(device) for x in (ids, left))
            ),
            attention_mask=cache.mask().to(device),
            position_ids=cache.length[:, None].to(device),
            past_key_values=cache,
            use_cache=True,
        )
        busy = self.asked >= 0
        self.hidden_BH = out.last_hidden_state[:, -1].float()
        cache.length += torch.from_numpy(busy).long()
        for slot in np.flatnonzero(busy).tolist():
            self.unread[slot].pop(0)
        self.counts["answer_s"] += self.clock() - begin

    def _next_left(self, slot: int) -> int:
        """Return the countdown at a slot's next word to be read."""
        unread = len(self.unread[slot])
        if not (unread and self.speaker.model.config.countdown):
            return -1
        read = self.words[slot][: len(self.words[slot]) - unread + 1]
        return int(self._left(self.questions[int(self.asked[slot])], read)[-1])


_COUNTS = ("words", "prompt_s", "answer_s")


def _read(
    model: TrajectoryLanguage,
    start: "DynamicCache | None",
    ids: IntArray,
    left: IntArray | None = None,
) -> tuple["DynamicCache", Tensor]:
    """Read a text behind a beginning; its keys and values, and the last hidden state (H,)."""
    cache = fork(start, 1)
    device = model.new.weight.device
    tokens = torch.from_numpy(ids)[None].to(device)
    told = None if left is None else torch.from_numpy(left)[None].to(device)
    out = model.decoder(
        inputs_embeds=model.embedded(tokens, told), past_key_values=cache, use_cache=True
    )
    return cache, out.last_hidden_state[0, -1].float()
