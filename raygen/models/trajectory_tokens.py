"""The words that a language model needs for trajectories, and the answers that it may give.

HTP (Zhou et al., KDD 2026), section 4.2: V road tokens, ΣC_l pattern tokens ``<a_ID>``, ``<b_ID>``
…, eight length tokens ``<t_ID>`` and four boundaries, after the language model's own vocabulary. An
answer is ``<t_5><|p_begin|><a_1><b_2><c_3><d_4> … <|p_end|>``; that of HTP+ begins with
``<|t_begin|><road_3> … <|t_end|>``. ``Grammar`` allows no other, so that every answer decodes.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from raygen.errors import DataError
from raygen.models.trajectory_planner import LEAST_POINTS, MOST_GROUPS, Patterns
from raygen.network.graph import BoolArray, IntArray

LAYERS = "abcdefgh"
LENGTHS = 8
BOUNDARIES = ("<|t_begin|>", "<|t_end|>", "<|p_begin|>", "<|p_end|>")
MOST_ROADS = 255
"""Segments of a route that HTP+ says, at most; it says two or more."""

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


_BEGIN, _FIRST, _ROADS, _LENGTH, _OPEN, _CODE, _DONE = range(7)


class Grammar:
    """What a batch of B answers may say next."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        batch: int,
        points: IntArray | None = None,
        successors: Successors | None = None,
    ) -> None:
        self._words = vocabulary
        self._points = points
        self._successors = successors
        begin = _LENGTH if successors is None else _BEGIN
        self.state = np.full(batch, begin, dtype=np.int64)
        self.token = np.full(batch, -1, dtype=np.int64)
        self.groups = np.zeros(batch, dtype=np.int64)
        self.codes: list[list[int]] = [[] for _ in range(batch)]
        self.roads: list[list[int]] = [[] for _ in range(batch)]

    @property
    def done(self) -> BoolArray:
        """Which answers are whole, (B,)."""
        return self.state == _DONE

    def allowed(self) -> BoolArray:
        """Return which new words each answer may say next, (B, size); a whole one says its end."""
        words = self._words
        mask = np.zeros((len(self.state), words.size), dtype=np.bool_)
        boundary = words.boundary_at
        mask[self.state == _BEGIN, boundary] = True
        mask[self.state == _FIRST, : words.roads] = True
        mask[self.state == _OPEN, boundary + 2] = True
        mask[self.state == _DONE, boundary + 3] = True
        for row in np.flatnonzero(self.state == _ROADS):
            self._allow_roads(row, mask[row])
        for row in np.flatnonzero(self.state == _LENGTH):
            self._allow_length(row, mask[row])
        for row in np.flatnonzero(self.state == _CODE):
            self._allow_code(row, mask[row])
        return mask

    def advance(self, said: IntArray) -> None:
        """Take the next word of each answer, which was allowed."""
        words = self._words
        for row, word in enumerate(said.tolist()):
            state = self.state[row]
            if state in (_FIRST, _ROADS) and word < words.roads:
                self.roads[row].append(word)
                self.state[row] = _ROADS
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
        layers = len(self._words.codebooks)
        codes = np.zeros((len(self.codes), int(self.groups.max()), layers), dtype=np.int64)
        for row, said in enumerate(self.codes):
            codes[row, : self.groups[row]] = np.array(said).reshape(-1, layers)
        return Patterns(_GROUP * self.groups - _shortfall(self.token), codes)

    def _allow_roads(self, row: np.intp, mask: BoolArray) -> None:
        """Allow the segments that follow, and the end of the route after two."""
        follows = self._successors
        if follows is None:
            return
        last = self.roads[row][-1]
        if len(self.roads[row]) < MOST_ROADS:
            mask[follows.rows[follows.at[last] : follows.at[last + 1]]] = True
        mask[self._words.boundary_at + 1] = len(self.roads[row]) > 1 or not mask.any()

    def _allow_length(self, row: np.intp, mask: BoolArray) -> None:
        """Allow the length tokens: the asked one, or all that fit a whole number of groups."""
        at = self._words.length_at
        if self._points is None:
            mask[at : at + LENGTHS] = True
        else:
            mask[at + _token(int(self._points[row]))] = True

    def _allow_code(self, row: np.intp, mask: BoolArray) -> None:
        """Allow the codes of the next layer, or the end where the length agrees with the record."""
        words = self._words
        layer = len(self.codes[row]) % len(words.codebooks)
        low, high = LEAST_POINTS, _GROUP * MOST_GROUPS
        if self._points is not None:
            low = high = int(self._points[row])
        length = _GROUP * int(self.groups[row]) - int(_shortfall(self.token[row]))
        end = words.boundary_at + 3
        if layer == 0:
            mask[end] = length >= low
        longer = length + _GROUP <= high
        if layer > 0 or longer:
            first = int(words.code_at[layer])
            mask[first : first + words.codebooks[layer]] = True


def _token(points: int) -> int:
    token = 0
    for _ in range(3):
        token = 2 * token + points % 2
        points = (points + 1) // 2
    return token


def _shortfall(token: IntArray) -> IntArray:
    """Return how many points a length token takes from whole groups: 8 G - n."""
    return (token >> 2) % 2 + 2 * ((token >> 1) % 2) + 4 * (token % 2)
