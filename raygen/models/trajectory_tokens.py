"""The words that a language model needs for trajectories, and the answers that it may give.

HTP (Zhou et al., KDD 2026), section 4.2: V road tokens, ΣC_l pattern tokens ``<a_ID>``, ``<b_ID>``
…, eight length tokens ``<t_ID>`` and four boundaries, after the language model's own vocabulary. An
answer is ``<t_5><|p_begin|><a_1><b_2><c_3><d_4> … <|p_end|>``; that of HTP+ begins with
``<|t_begin|><road_3> … <|t_end|>``. ``Grammar`` allows no other, so that every answer decodes;
``kinds`` tells what it allowed at each word of a given answer.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from raygen.errors import DataError
from raygen.models.trajectory_planner import LEAST_POINTS, MOST_GROUPS, Patterns
from raygen.network.graph import BoolArray, FloatArray, IntArray

LAYERS = "abcdefgh"
LENGTHS = 8
BOUNDARIES = ("<|t_begin|>", "<|t_end|>", "<|p_begin|>", "<|p_end|>")
LEAST_ROADS, MOST_ROADS = 2, 255
"""Segments of a route that HTP+ says."""

_GROUP = 8
_WORD = re.compile(r"(<road_\d+>|<[a-h]_\d+>|<t_[0-7]>|<\|[tp]_(?:begin|end)\|>)")


@dataclass(frozen=True)
class Vocabulary:
    """The new words, numbered from 0: roads, codes layer by layer, lengths, boundaries."""

    roads: int
    codebooks: tuple[int, ...]

    @property
    def size(self) -> int:
        """V + ΣC_l + 8 + 4."""
        return self.roads + sum(self.codebooks) + LENGTHS + len(BOUNDARIES)

    @cached_property
    def code_at(self) -> IntArray:
        """Number of the first code of each layer, (L,)."""
        return self.roads + np.concatenate([[0], np.cumsum(self.codebooks[:-1])]).astype(np.int64)

    @property
    def length_at(self) -> int:
        """Number of ``<t_0>``."""
        return self.roads + sum(self.codebooks)

    @property
    def boundary_at(self) -> int:
        """Number of ``<|t_begin|>``; the other boundaries follow it."""
        return self.length_at + LENGTHS

    def number(self, word: str) -> int:
        """Return the number of a new word.

        Raises
        ------
        DataError
            If there is no such word.
        """
        if word in BOUNDARIES:
            return self.boundary_at + BOUNDARIES.index(word)
        kind, digits = word.strip("<>").split("_")
        index = int(digits)
        if kind == "road" and index < self.roads:
            return index
        if kind == "t" and index < LENGTHS:
            return self.length_at + index
        if kind in LAYERS[: len(self.codebooks)] and index < self.codebooks[LAYERS.index(kind)]:
            return int(self.code_at[LAYERS.index(kind)]) + index
        msg = f"vocabulary: no word {word} among {self.roads} roads and codebooks {self.codebooks}"
        raise DataError(msg)

    def pieces(self, text: str) -> list[str | int]:
        """Return a text as strings of plain words and numbers of new ones, in order."""
        parts = (part for part in _WORD.split(text) if part)
        return [self.number(part) if _WORD.fullmatch(part) else part for part in parts]

    def answer(self, token: int, codes_GL: IntArray, roads: IntArray | None = None) -> IntArray:
        """Return the numbers of an answer; ``roads`` (segment rows) begin that of HTP+."""
        begin, end, open_, close = self.boundary_at + np.arange(4)
        said = (codes_GL + self.code_at).ravel()
        parts = [[self.length_at + token, open_], said, [close]]
        if roads is not None:
            parts = [[begin], roads, [end], *parts]
        return np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])


@dataclass(frozen=True)
class Successors:
    """The segments that follow each: those of e are ``rows[at[e]:at[e + 1]]``."""

    at: IntArray
    rows: npt.NDArray[np.int32]
    length_m: FloatArray | None = None
    """Metres of each segment, for what counts them down."""


_BEGIN, _FIRST, _ROADS, _LENGTH, _OPEN, _CODE, _DONE = range(7)
_UNASKED = 0
_SHORT = 0.1  # of the distance asked for may be missing from a route


class Grammar:
    """What B answers may say next; each row is one answer after another (``begin``)."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        batch: int,
        points: IntArray | None = None,
        successors: Successors | None = None,
        metres: FloatArray | None = None,
    ) -> None:
        self._words = vocabulary
        self._successors = successors
        self.state = np.full(batch, _DONE, dtype=np.int64)
        self.token = np.full(batch, -1, dtype=np.int64)
        self.groups = np.zeros(batch, dtype=np.int64)
        self.points = np.full(batch, _UNASKED, dtype=np.int64)
        self.metres = np.zeros(batch)
        self._driven = np.zeros(batch)
        self.codes: list[list[int]] = [[] for _ in range(batch)]
        self.roads: list[list[int]] = [[] for _ in range(batch)]
        for row in range(batch):
            asked = _UNASKED if points is None else int(points[row])
            self.begin(row, asked, _UNASKED if metres is None else float(metres[row]))

    def begin(self, row: int, points: int = _UNASKED, metres: float = _UNASKED) -> None:
        """Forget a row's answer and begin another.

        Parameters
        ----------
        row
            The answer.
        points
            As many points are asked for; 0: any.
        metres
            A route of that length is asked for, where answers say one and the lengths of the
            segments are known: it ends no earlier than at nine tenths of it, and as soon as it is
            reached. 0: any.
        """
        self.state[row] = _LENGTH if self._successors is None else _BEGIN
        self.token[row], self.groups[row], self.points[row] = -1, 0, points
        self.metres[row], self._driven[row] = metres, 0.0
        self.codes[row], self.roads[row] = [], []

    @property
    def done(self) -> BoolArray:
        """Which answers are whole, (B,)."""
        return self.state == _DONE

    @property
    def on_roads(self) -> BoolArray:
        """Which answers may say a road next, (B,)."""
        return (self.state == _FIRST) | (self.state == _ROADS)

    def forced(self, row: int) -> list[int]:
        """Say the words of a row's answer that have no alternative, and return them."""
        said: list[int] = []
        while self.state[row] != _DONE:
            allowed = np.flatnonzero(self._allowed_in(row))
            if len(allowed) > 1:
                break
            said.append(int(allowed[0]))
            self.say(row, said[-1])
        return said

    def allowed(self) -> BoolArray:
        """Return which new words each answer may say next, (B, size); a whole one says its end."""
        return np.stack([self._allowed_in(row) for row in range(len(self.state))])

    def _allowed_in(self, row: int) -> BoolArray:
        words, state = self._words, int(self.state[row])
        mask = np.zeros(words.size, dtype=np.bool_)
        if state == _FIRST:
            mask[: words.roads] = True
        elif state == _ROADS:
            self._allow_roads(row, mask)
        elif state == _LENGTH:
            self._allow_length(row, mask)
        elif state == _CODE:
            self._allow_code(row, mask)
        else:
            mask[words.boundary_at + {_BEGIN: 0, _OPEN: 2, _DONE: 3}[state]] = True
        return mask

    def advance(self, said: IntArray) -> None:
        """Take the next word of each answer, which was allowed."""
        for row, word in enumerate(said.tolist()):
            self.say(row, word)

    def say(self, row: int, word: int) -> None:
        """Take the next word of one answer, which was allowed."""
        words, state = self._words, int(self.state[row])
        if state in (_FIRST, _ROADS) and word < words.roads:
            self.roads[row].append(word)
            self.state[row] = _ROADS
            if self._successors is not None and self._successors.length_m is not None:
                self._driven[row] += self._successors.length_m[word]
        elif state == _LENGTH:
            self.token[row] = word - words.length_at
            self.state[row] = _OPEN
        elif state == _CODE and word < words.length_at:
            layer = len(self.codes[row]) % len(words.codebooks)
            self.codes[row].append(word - int(words.code_at[layer]))
            self.groups[row] = len(self.codes[row]) // len(words.codebooks)
        else:  # a boundary
            self.state[row] = {_BEGIN: _FIRST, _ROADS: _LENGTH, _OPEN: _CODE}.get(state, _DONE)

    def patterns(self) -> Patterns:
        """Return the whole answers."""
        return patterns_of(self.token, self.codes, len(self._words.codebooks))

    def _allow_roads(self, row: int, mask: BoolArray) -> None:
        """Allow the segments that follow, and the end of the route after two."""
        follows = self._successors
        if follows is None:
            return
        last, said = self.roads[row][-1], len(self.roads[row])
        counts = self.metres[row] != _UNASKED and follows.length_m is not None
        left = self.metres[row] - self._driven[row] if counts else np.inf
        if said < MOST_ROADS and (left > 0 or said == 1):
            mask[follows.rows[follows.at[last] : follows.at[last + 1]]] = True
        ends = said > 1 and not (counts and left > _SHORT * self.metres[row])
        mask[self._words.boundary_at + 1] = ends or not mask.any()

    def _allow_length(self, row: int, mask: BoolArray) -> None:
        """Allow the length tokens: the asked one, or all that fit a whole number of groups."""
        at = self._words.length_at
        if self.points[row] == _UNASKED:
            mask[at : at + LENGTHS] = True
        else:
            mask[at + token_of(int(self.points[row]))] = True

    def _allow_code(self, row: int, mask: BoolArray) -> None:
        """Allow the codes of the next layer, or the end where the length agrees with the record."""
        words = self._words
        layer = len(self.codes[row]) % len(words.codebooks)
        low, high = LEAST_POINTS, _GROUP * MOST_GROUPS
        if self.points[row] != _UNASKED:
            low = high = int(self.points[row])
        length = _GROUP * int(self.groups[row]) - int(_shortfall(self.token[row]))
        end = words.boundary_at + 3
        if layer == 0:
            mask[end] = length >= low
        longer = length + _GROUP <= high
        if layer > 0 or longer:
            first = int(words.code_at[layer])
            mask[first : first + words.codebooks[layer]] = True


def patterns_of(token: IntArray, codes: list[list[int]], layers: int) -> Patterns:
    """Return whole answers as patterns: a length token and the codes said, of each."""
    groups = np.array([len(said) // layers for said in codes], dtype=np.int64)
    made = np.zeros((len(codes), int(groups.max(initial=0)), layers), dtype=np.int64)
    for row, said in enumerate(codes):
        made[row, : groups[row]] = np.array(said, dtype=np.int64).reshape(-1, layers)
    return Patterns(_GROUP * groups - _shortfall(token), made)


FORCED, LENGTH, ROAD, NEXT_ROAD, CODE = -1, 0, 1, 2, 3
"""What an answer could say at a word: that alone, a length, any road, a road that follows or the
route's end, a code of layer l (``CODE + 2 l``); a code of the first layer or the end (CODE + 1)."""


def kinds(words: Vocabulary, answer: IntArray) -> IntArray:
    """Return what the grammar allowed at each word of an answer of unasked length, (N,)."""
    found = np.full(len(answer), FORCED, dtype=np.int64)
    found[(answer >= words.length_at) & (answer < words.boundary_at)] = LENGTH
    roads = np.flatnonzero(answer < words.roads)
    found[roads[:1]] = ROAD
    found[roads[1:]] = NEXT_ROAD
    if len(roads) > 1:
        found[roads[-1] + 1] = NEXT_ROAD
    code = np.flatnonzero((answer >= words.roads) & (answer < words.length_at))
    layers = len(words.codebooks)
    found[code] = CODE + 2 * (np.arange(len(code)) % layers)
    groups = np.arange(len(code) // layers + 1)
    token = answer[found == LENGTH][0] - words.length_at
    length = _GROUP * groups - int(_shortfall(token))
    # The end stands where the next group's first code would.
    first = np.append(code[::layers], len(answer) - 1)
    found[first[length >= LEAST_POINTS]] = CODE + 1
    if groups[-1] == MOST_GROUPS:
        found[-1] = FORCED
    return found


def next_roads(words: Vocabulary, answer: IntArray, follows: Successors) -> list[IntArray]:
    """Return the words that were allowed at each word of kind NEXT_ROAD, in order."""
    roads = answer[answer < words.roads]
    end = words.boundary_at + 1
    found: list[IntArray] = []
    for said, last in enumerate(roads.tolist(), start=1):
        after = follows.rows[follows.at[last] : follows.at[last + 1]].astype(np.int64)
        after = after[:0] if said == MOST_ROADS else after
        found.append(np.append(after, end) if said > 1 or len(after) == 0 else after)
    return found


def token_of(points: int) -> int:
    """Return the number of the length token of some points: its three odd/even bits."""
    token = 0
    for _ in range(3):
        token = 2 * token + points % 2
        points = (points + 1) // 2
    return token


def _shortfall(token: IntArray) -> IntArray:
    """Return how many points a length token takes from whole groups: 8 G - n."""
    return (token >> 2) % 2 + 2 * ((token >> 1) % 2) + 4 * (token % 2)
