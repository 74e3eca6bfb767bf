"""The paper's "w/o RQ-VAE" (Table 2): a language model that says GPS points, digit by digit.

Questions are those of ``raygen.models.trajectory_questions``. An answer has the points in turn,
longitude and latitude, five decimals each, in the language model's own words: ``61234,14532;``.
They are counted from a corner of the city, so that there are no whole degrees. LoRA and the new
words of the questions are trained; the loss is that of the digits, separators are given.
"""

# Shape suffixes: B = batch, T = tokens, H = hidden width, N = digits that are said.

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raygen import seeds
from raygen.errors import DataError
from raygen.models.language import LanguageModel, load_language_model
from raygen.models.trajectory_language import TrajectoryLanguage, TrajectoryLanguageConfig
from raygen.models.trajectory_padded import extend, left_padded
from raygen.models.trajectory_planner import drawn
from raygen.models.trajectory_questions import Question
from raygen.network.graph import FloatArray, IntArray
from training.trajectory_pairs import padded

DECIMALS = 5
WORDS = 2 * DECIMALS + 2
"""Words of a point: its digits, and a separator behind each coordinate."""

_SCALE = 10**DECIMALS
_TENS = 10 ** np.arange(DECIMALS)[::-1]
_SEPARATORS = ",;"


@dataclass(frozen=True)
class Corner:
    """South-western corner of a city: what points' digits are counted from."""

    lon_lat: FloatArray
    """Shape (2,)."""

    def digits(self, lon_lat: FloatArray) -> IntArray:
        """Return the digits of points, shape (P, 10).

        Raises
        ------
        DataError
            If a point is south or west of the corner, or a degree or more from it.
        """
        fifth = np.rint((lon_lat - self.lon_lat) * _SCALE).astype(np.int64)
        wrong = ((fifth < 0) | (fifth >= _SCALE)).any(axis=1)
        if wrong.any():
            lon, lat = lon_lat[int(wrong.argmax())]
            msg = f"raw points: must be within a degree of {self.lon_lat.tolist()}, got "
            raise DataError(msg + f"{lon:.5f}, {lat:.5f}")
        return (fifth[:, :, None] // _TENS % 10).reshape(len(lon_lat), -1)

    def points(self, digits: IntArray) -> FloatArray:
        """Return the longitudes and latitudes of digits (P, 10), shape (P, 2)."""
        fifth = (digits.reshape(len(digits), 2, DECIMALS) * _TENS).sum(axis=2)
        return self.lon_lat + fifth / _SCALE


def corner_of(lon_lat: FloatArray) -> Corner:
    """Return the corner of a city: a hundredth of a degree or more off its lowest points."""
    return Corner(np.floor(lon_lat.min(axis=0) * 100.0) / 100.0 - 0.01)


@dataclass(frozen=True)
class Spelling:
    """The language model's own words for digits and separators."""

    digit: IntArray
    """Shape (10,)."""
    separator: IntArray
    """Shape (2,)."""

    def answer(self, digits: IntArray) -> IntArray:
        """Return digits (P, 10) as tokens, shape (12 P,)."""
        words = np.empty((len(digits), 2, DECIMALS + 1), dtype=np.int64)
        words[:, :, :DECIMALS] = self.digit[digits].reshape(len(digits), 2, DECIMALS)
        words[:, :, DECIMALS] = self.separator
        return words.reshape(-1)


def spelling_of(language: LanguageModel) -> Spelling:
    """Return the words of a language model.

    Raises
    ------
    DataError
        If a digit or a separator is more than one word.
    """
    found = [language.tokens(each)[0].tolist() for each in "0123456789" + _SEPARATORS]
    if any(len(words) != 1 for words in found):
        msg = "raw points: the language model must have one word for each digit, ',' and ';'"
        raise DataError(msg)
    one = np.array([words[0] for words in found], dtype=np.int64)
    return Spelling(one[:10], one[10:])


class RawLanguage(TrajectoryLanguage):
    """``TrajectoryLanguage`` whose answers are digits in the language model's own words."""

    spoken: Tensor
    """Embeddings of the digits, (10, H)."""

    def __init__(
        self, config: TrajectoryLanguageConfig, language: LanguageModel, seed: int
    ) -> None:
        super().__init__(config, language, seed)
        self.spelling = spelling_of(language)
        table: Tensor = self.decoder.get_input_embeddings().weight  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue, reportAssignmentType]
        spoken = table[torch.from_numpy(self.spelling.digit)].detach().clone()
        self.register_buffer("spoken", spoken, persistent=False)

    def digit_logits(self, hidden: Tensor) -> Tensor:
        """Return logits of the digits: the language model's own, whose head is its embeddings."""
        return hidden.float() @ self.spoken.float().T

    def forward(self, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        """Return ``total``: nats a digit. Batches are those of ``RawPairs``."""
        del progress
        lost, count = self.digit_nats(batch)
        return {"total": lost / count}

    def digit_nats(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Return the nats of a batch's digits, and how many there are."""
        told_BT = batch["digit"][:, 1:]
        says = told_BT >= 0
        logits_NS = self.digit_logits(self.hidden(batch)[:, :-1][says])
        return F.cross_entropy(logits_NS, told_BT[says], reduction="sum"), int(says.sum())


@dataclass(frozen=True)
class RawPairs:
    """Questions, and the digits of their answers' points."""

    questions: list[Question]
    digits: list[IntArray]
    """Shape (P, 10) each."""
    spelling: Spelling

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.questions)

    def take(self, rows: IntArray) -> "RawPairs":
        """Return some pairs, in the order of ``rows``."""
        asked = [self.questions[row] for row in rows.tolist()]
        return RawPairs(asked, [self.digits[row] for row in rows.tolist()], self.spelling)

    @property
    def size(self) -> IntArray:
        """Tokens of each pair, (N,)."""
        both = zip(self.questions, self.digits, strict=True)
        return np.array([len(q) + WORDS * len(d) for q, d in both], dtype=np.int64)

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """Return pairs as ``RawLanguage`` reads them; ``digit`` (B, T) is -1 where none is said."""
        parts = self.take(rows)
        asked = parts.questions
        said = [self.spelling.answer(digits) for digits in parts.digits]
        both = zip(asked, said, strict=True)
        ids, mask = padded([np.concatenate([question.own, words]) for question, words in both])
        digit = np.full_like(ids, -1)
        for row, digits in enumerate(parts.digits):
            places = np.full((len(digits), 2, DECIMALS + 1), -1)
            places[:, :, :DECIMALS] = digits.reshape(len(digits), 2, DECIMALS)
            begin = len(asked[row].own)
            digit[row, begin : begin + places.size] = places.reshape(-1)
        shared, shared_mask = padded([question.shared for question in asked])
        made = {"ids": ids, "mask": mask, "digit": digit, "left": np.full_like(ids, -1)}
        made |= {"shared": shared, "shared_mask": shared_mask, "of": np.arange(len(asked))}
        return {name: torch.from_numpy(each) for name, each in made.items()}


@dataclass(frozen=True)
class RawTask:
    """A ``training.worker.Task``."""

    config: TrajectoryLanguageConfig
    train: RawPairs
    validation: RawPairs
    batch: int
    seed: int

    def model(self) -> RawLanguage:
        """Return the objective, on the language model of this machine."""
        language = load_language_model(self.config.base_model, torch.float32, "cpu")
        # PyTorch's fused attention takes twice as long on a CPU, backwards, at these lengths.
        language.decoder.set_attn_implementation("eager")  # pyright: ignore[reportCallIssue]
        return RawLanguage(self.config, language, self.seed)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield this worker's batches of an epoch: pairs in drawn order but for the last few."""
        order = seeds.stream(self.seed, "raw-pairs", epoch).permutation(len(self.train))
        parts = np.split(order, np.arange(self.batch, len(order), self.batch))
        whole = [part for part in parts if len(part) == self.batch]
        for part in whole[: len(whole) // world * world][rank::world]:
            yield self.train.batch(part)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return nats a digit of the held-out answers."""
        if not isinstance(model, RawLanguage):
            msg = f"raw points: got {type(model).__name__}"
            raise TypeError(msg)
        device, lost, count = model.new.weight.device, 0.0, 0
        for row in range(len(self.validation)):
            part = self.validation.batch(np.array([row]))
            found, digits = model.digit_nats({name: x.to(device) for name, x in part.items()})
            lost, count = lost + float(found), count + digits
        return {"total": lost / count}


@torch.no_grad()
def say_points(
    model: RawLanguage, questions: list[Question], points: IntArray, uniform: FloatArray
) -> IntArray:
    """Return the digits of answers, shape (B, most points, 10); a batch is padded to the longest.

    Parameters
    ----------
    model
        In evaluation mode.
    questions
        What is asked, B of them.
    points
        Points of each answer, (B,).
    uniform
        What the digits are drawn by, (B, 10 most points), in [0, 1).
    """
    from transformers import DynamicCache

    cache, most = DynamicCache(), int(points.max())
    ids, mask = left_padded([question.ids for question in questions])
    hidden = extend(model, cache, ids, mask)
    words = torch.from_numpy(model.spelling.digit)
    separators = torch.from_numpy(model.spelling.separator)
    said = np.zeros((len(questions), most * 2 * DECIMALS), dtype=np.int64)
    for place in range(said.shape[1]):
        digit = drawn(model.digit_logits(hidden), torch.from_numpy(uniform[:, place]))
        said[:, place] = digit.numpy()
        if place + 1 == said.shape[1]:
            break
        more = words[digit][:, None]
        if place % DECIMALS == DECIMALS - 1:  # the separator is read with the digit before it
            which = separators[place // DECIMALS % 2]
            more = torch.cat([more, which.expand(len(more), 1)], dim=1)
        mask = torch.cat([mask, torch.ones(more.shape, dtype=torch.bool)], dim=1)
        hidden = extend(model, cache, more, mask)
    return said.reshape(len(questions), most, 2 * DECIMALS)
