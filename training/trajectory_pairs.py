"""Questions about trips and their answers in travel patterns, as tokens (HTP 4.2, Fig. 4)."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from raygen.config import Section
from raygen.models.language import LanguageModel
from raygen.models.trajectory_batches import trajectory_data
from raygen.models.trajectory_codec import TrajectoryCodec, groups_of, length_tokens
from raygen.models.trajectory_questions import Question, countdown, questions
from raygen.models.trajectory_tokens import (
    FORCED,
    LEAST_ROADS,
    MOST_ROADS,
    Successors,
    Vocabulary,
    kinds,
    next_roads,
)
from raygen.network.graph import IntArray
from raygen.network.node2vec import successors
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories
from raygen.trajectories.routes import routes_of
from training.codec_task import chunks


class PairSettings(Section):
    """Which pairs are learned from."""

    most_tokens: Annotated[int, Field(ge=32)] = 384
    """Longest question and answer together; longer pairs are left out."""

    pairs: Annotated[int, Field(ge=0)] = 0
    """Pairs at most; 0 takes all."""


@dataclass(frozen=True)
class Pairs:
    """Questions and answers as tokens."""

    questions: list[Question]
    answers: list[IntArray]

    words: Vocabulary
    own: int
    """Words of the language model itself."""
    follows: Successors | None = None
    """What may follow a segment, where answers begin with a route (HTP+)."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.questions)

    @property
    def size(self) -> IntArray:
        """Tokens of each pair, (N,)."""
        both = zip(self.questions, self.answers, strict=True)
        return np.array([len(q) + len(a) for q, a in both], dtype=np.int64)

    def take(self, rows: IntArray) -> "Pairs":
        """Return some pairs, in the order of ``rows``."""
        chosen = rows.tolist()
        return replace(
            self,
            questions=[self.questions[row] for row in chosen],
            answers=[self.answers[row] for row in chosen],
        )

    @property
    def route(self) -> IntArray:
        """Number of what each question shares with others, (N,): equal for one route."""
        known: dict[bytes, int] = {}
        keys = (question.shared.tobytes() for question in self.questions)
        return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """Return pairs as ``TrajectoryLanguage`` reads them, zeros behind their ends."""
        asked = [self.questions[row] for row in rows.tolist()]
        parts = [
            np.concatenate([question.own, self.answers[row]])
            for question, row in zip(asked, rows.tolist(), strict=True)
        ]
        ids, mask = padded(parts)
        kind, left = np.full_like(ids, FORCED), np.full_like(ids, -1)
        options: list[IntArray] = []
        length_m = None if self.follows is None else self.follows.length_m
        for row, (question, source) in enumerate(zip(asked, rows.tolist(), strict=True)):
            said = self.answers[source] - self.own
            here = slice(len(question.own), len(parts[row]))
            kind[row, here] = kinds(self.words, said)
            left[row, here] = countdown(self.words, question, said, length_m)
            if self.follows is not None:
                options += next_roads(self.words, said, self.follows)
        first = {question.shared.tobytes(): question.shared for question in asked}
        number = {key: index for index, key in enumerate(first)}
        shared, shared_mask = padded(list(first.values()))
        made = {"ids": ids, "mask": mask, "kinds": kind, "left": left}
        made |= {"shared": shared, "shared_mask": shared_mask}
        made["of"] = np.array([number[question.shared.tobytes()] for question in asked])
        if options:
            made["options"] = np.full((len(options), max(map(len, options))), -1, dtype=np.int64)
            for row, some in enumerate(options):
                made["options"][row, : len(some)] = some
        return {name: torch.from_numpy(each) for name, each in made.items()}


def padded(parts: list[IntArray]) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Return lists as rows with zeros behind their ends, and where there are tokens."""
    ids = np.zeros((len(parts), max(map(len, parts))), dtype=np.int64)
    mask = np.zeros_like(ids, dtype=np.bool_)
    for row, part in enumerate(parts):
        ids[row, : len(part)] = part
        mask[row, : len(part)] = True
    return ids, mask


def pairs_of(
    made: RoadTrajectories,
    told: Conditions,
    roads: PlaneRoads,
    codec: TrajectoryCodec,
    vocabulary: tuple[Vocabulary, LanguageModel, bool],
) -> Pairs:
    """Return the pairs of trajectories.

    Parameters
    ----------
    made, told
        Trajectories and their conditions.
    roads
        Their network.
    codec
        Says the codes.
    vocabulary
        The new words, the language model with its own, and whether the answer begins with the
        route (HTP+).
    """
    words, language, roads_first = vocabulary
    own = len(language.decoder.get_input_embeddings().weight)  # pyright: ignore[reportCallIssue, reportArgumentType]
    data = trajectory_data(made, routes_of(made, roads))
    answers: list[IntArray] = [np.zeros(0, dtype=np.int64)] * len(made)
    for rows in chunks(data):
        batch = data.batch(rows)
        with torch.no_grad():
            codes = codec.codes(batch).numpy()
        groups = groups_of(batch["length"]).tolist()
        tokens = length_tokens(batch["length"]).tolist()
        for at, row in enumerate(rows.tolist()):
            route = made.route[made.route_first[row] : made.route_first[row + 1]]
            first = route.astype(np.int64) if roads_first else None
            answers[row] = own + words.answer(tokens[at], codes[at, : groups[at]], first)
    asked = questions((language, own, words), roads.network, told, roads_first)
    follows = None
    if roads_first:
        length_m = roads.network.length_m.astype(np.float64)
        follows = Successors(*successors(roads.network), length_m)
    return Pairs(asked, answers, words, own, follows)


def rows_kept(pairs: Pairs, settings: PairSettings) -> IntArray:
    """Return the pairs that are short enough and may be said, at most as many as asked for."""
    short = pairs.size <= settings.most_tokens
    if pairs.follows is not None:
        roads = np.array([(a - pairs.own < pairs.words.roads).sum() for a in pairs.answers])
        short &= (roads >= LEAST_ROADS) & (roads <= MOST_ROADS)
    return np.flatnonzero(short)[: settings.pairs or None]


def kept_pairs(pairs: Pairs, settings: PairSettings) -> Pairs:
    """Return the pairs of ``rows_kept``."""
    return pairs.take(rows_kept(pairs, settings))


def joined(parts: list[Pairs]) -> Pairs:
    """Return the pairs of some sets as one."""
    return replace(
        parts[0],
        questions=[one for part in parts for one in part.questions],
        answers=[one for part in parts for one in part.answers],
    )


def conditions_told(made: RoadTrajectories, roads: PlaneRoads) -> Conditions:
    """Return the conditions of trajectories of whatever interval each has."""
    begin, end = made.time[made.first[:-1]], made.time[made.first[1:] - 1]
    routes = routes_of(made, roads)
    interval = (end - begin) / (made.length - 1)
    return Conditions(made.route_first, made.route, begin, end - begin, routes.length_m, interval)
