"""Fit the trajectory language model: ``raygen train trajectory RECIPE``. HTP, section 4.2.

Pairs of a question (conditions in words) and an answer (length token and travel pattern), on one
road network; supervised fine-tuning of LoRA and of the new words' embeddings.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig, Section, SpeakerConfig
from raygen.errors import DataError
from raygen.models.language import LanguageModel, load_language_model
from raygen.models.trajectory_batches import trajectory_data
from raygen.models.trajectory_codec import TrajectoryCodec, groups_of, length_tokens
from raygen.models.trajectory_fitted import load_speaker
from raygen.models.trajectory_language import (
    Said,
    TrajectoryLanguage,
    TrajectoryLanguageConfig,
    encode,
)
from raygen.models.trajectory_model import load_codec
from raygen.models.trajectory_tokens import FORCED, Successors, Vocabulary, kinds, next_roads
from raygen.models.trajectory_words import known_of, network_digest
from raygen.network.graph import IntArray
from raygen.network.node2vec import successors
from raygen.trajectories.conditions import Conditions, question, unconditioned_question
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories
from raygen.trajectories.routes import routes_of
from training.codec_data import TrajectorySources, read_sources
from training.codec_task import chunks
from training.loop import FitResult, fit
from training.model_card import ModelCard, write_card, write_curve
from training.recipe import Recipe

_SUMMARY = """Conditions of a trip in words to travel-pattern tokens: Zhou et al., "From GPS points
to travel patterns", KDD 2026, section 4.2. LoRA and the embeddings of the new words of one road
network, on a language model that is not in the weights."""


class PairSettings(Section):
    """Which pairs are learned from."""

    most_tokens: Annotated[int, Field(ge=32)] = 384
    """Longest question and answer together; longer pairs are left out."""

    pairs: Annotated[int, Field(ge=0)] = 0
    """Pairs at most; 0 takes all."""


class TrajectoryRecipe(Recipe):
    """Recipe of ``raygen train trajectory``."""

    data: TrajectorySources = TrajectorySources(networks=("data/porto/roads.csv",))
    """Trajectories; those of one network."""

    pairs: PairSettings = PairSettings()
    model: TrajectoryLanguageConfig = TrajectoryLanguageConfig()
    """Architecture; ``roads``, ``codebooks`` and digests are the data's and the autoencoder's."""

    codec: Path = checkpoints.SHIPPED / "trajectories" / "codec"
    """Directory of the autoencoder."""

    batch: Annotated[int, Field(ge=1)] = 16
    """Pairs in a batch."""


@dataclass(frozen=True)
class Pairs:
    """Questions and answers as tokens."""

    questions: list[IntArray]
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

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """Return pairs as ``TrajectoryLanguage`` reads them, zeros behind their ends."""
        whole = [np.concatenate([self.questions[r], self.answers[r]]) for r in rows.tolist()]
        most = max(len(one) for one in whole)
        ids = np.zeros((len(whole), most), dtype=np.int64)
        mask, kind = np.zeros_like(ids, dtype=np.bool_), np.full_like(ids, FORCED)
        options: list[IntArray] = []
        for row, (one, source) in enumerate(zip(whole, rows.tolist(), strict=True)):
            said = self.answers[source] - self.own
            ids[row, : len(one)] = one
            mask[row, : len(one)] = True
            kind[row, len(self.questions[source]) : len(one)] = kinds(self.words, said)
            if self.follows is not None:
                options += next_roads(self.words, said, self.follows)
        made = {"ids": ids, "mask": mask, "kinds": kind}
        if options:
            made["options"] = np.full((len(options), max(map(len, options))), -1, dtype=np.int64)
            for row, some in enumerate(options):
                made["options"][row, : len(some)] = some
        return {name: torch.from_numpy(each) for name, each in made.items()}


@dataclass(frozen=True)
class LanguageTask:
    """A ``training.worker.Task``."""

    config: TrajectoryLanguageConfig
    train: Pairs
    validation: Pairs
    batch: int
    seed: int
    known: npt.NDArray[np.float32] | None = None
    """What is known of the new words, see ``known_of``."""

    def model(self) -> TrajectoryLanguage:
        """Return the objective, on the language model of this machine."""
        language = load_language_model(self.config.base_model, torch.float32, "cpu")
        return TrajectoryLanguage(self.config, language, self.seed, self.known)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield this worker's batches of an epoch: all pairs once, but for the last few.

        Pairs of a batch are of about one length: of a few batches' pairs in drawn order.
        """
        rng = seeds.stream(self.seed, "trajectory-pairs", epoch)
        order, size = rng.permutation(len(self.train)), self.train.size
        for begin in range(0, len(order), _ALIKE * self.batch):
            part = order[begin : begin + _ALIKE * self.batch]
            order[begin : begin + len(part)] = part[np.argsort(size[part], kind="stable")]
        whole = len(order) // (self.batch * world) * world
        turn = rng.permutation(whole)  # the short ones not always first
        for index in turn[rank::world].tolist():
            yield self.train.batch(order[index * self.batch : (index + 1) * self.batch])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return nats a word of the held-out answers, in all and by what the words are."""
        if not isinstance(model, TrajectoryLanguage):
            msg = f"trajectory language model: got {type(model).__name__}"
            raise TypeError(msg)
        sums, counts = nats_of(model, self.validation, self.batch)
        found = {name: value / counts[name] for name, value in sums.items()}
        return found | {"total": sum(sums.values()) / sum(counts.values())}


_ALIKE = 8  # batches that are sorted by length together


@torch.no_grad()
def nats_of(
    model: TrajectoryLanguage, pairs: Pairs, batch: int
) -> tuple[dict[str, float], dict[str, int]]:
    """Return the nats of all answers and their words; see ``TrajectoryLanguage.nats``."""
    device = model.new.weight.device
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    order = np.argsort(pairs.size, kind="stable")
    for begin in range(0, len(order), batch):
        part = pairs.batch(order[begin : begin + batch])
        found, words = model.nats({name: x.to(device) for name, x in part.items()})
        for name in found:
            sums[name] = sums.get(name, 0.0) + float(found[name])
            counts[name] = counts.get(name, 0) + words[name]
    return sums, counts


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
    texts = (
        unconditioned_question(told, row) if roads_first else question(roads.network, told, row)
        for row in range(len(made))
    )
    questions = [encode(language, own, words, text + " ") for text in texts]
    follows = Successors(*successors(roads.network)) if roads_first else None
    return Pairs(questions, answers, words, own, follows)


def kept_pairs(pairs: Pairs, settings: PairSettings) -> Pairs:
    """Return the pairs that are short enough, at most as many as asked for."""
    rows = np.flatnonzero(pairs.size <= settings.most_tokens)
    return pairs.take(rows[: settings.pairs or None])


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


def train(
    recipe: TrajectoryRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the language model and write LoRA, embeddings, card and curve.

    Parameters
    ----------
    recipe
        Data, autoencoder, architecture and loop.
    output
        Directory of the weights.
    resume
        Go on from the loop's last checkpoint.
    address
        Ray's address; see ``training.loop.fit``.

    Returns
    -------
    output
        The directory, as ``raygen.checkpoints`` writes it.

    Raises
    ------
    DataError
        If the trajectories are on more than one network, or too few are short enough.
    """
    sets = read_sources(recipe.data, recipe.seed)
    if len({each.roads.network.segments for each in sets}) != 1:
        msg = "data.networks: the words are those of one network, got " + str(recipe.data.networks)
        raise DataError(msg)
    config, parts = prepared(recipe, sets[0].roads, [each.made for each in sets])
    known = known_of(sets[0].roads, load_codec(recipe.codec)[0])
    task = LanguageTask(config, *parts, recipe.batch, recipe.seed, known)
    result = fit(task, recipe.loop, output, resume, address)
    provenance = {each.name: each.label for each in sets}
    write_weights(recipe, config, provenance, result, output)
    return output


def prepared(
    recipe: TrajectoryRecipe, roads: PlaneRoads, sets: list[RoadTrajectories]
) -> tuple[TrajectoryLanguageConfig, tuple[Pairs, Pairs]]:
    """Return the whole configuration, and the pairs to train on and to validate on."""
    codec, digest = load_codec(recipe.codec)
    language = load_language_model(recipe.model.base_model, torch.float32, "cpu")
    config = recipe.model.model_copy(
        update={
            "roads": roads.segments,
            "network_digest": network_digest(roads.network),
            "codebooks": codec.config.codebooks,
            "codec_digest": digest,
            "base_digest": language.digest,
        }
    )
    words = Vocabulary(config.roads, config.codebooks)
    trained: list[Pairs] = []
    held: list[Pairs] = []
    for made in sets:
        told = conditions_told(made, roads)
        how = words, language, config.roads_first
        every = kept_pairs(pairs_of(made, told, roads, codec, how), recipe.pairs)
        rows = np.arange(len(every))
        cut = len(every) - max(1, round(recipe.data.validation * len(every)))
        trained.append(every.take(rows[:cut]))
        held.append(every.take(rows[cut:]))
    both = joined(trained), joined(held)
    if len(both[0]) < recipe.batch:
        msg = f"pairs: {len(both[0])} of at most {recipe.pairs.most_tokens} tokens, "
        raise DataError(msg + f"a batch needs {recipe.batch}")
    return config, both


def answered(
    folder: Path, codec_digest: str, told: Conditions, roads: PlaneRoads, slots: int = 16
) -> Iterator[tuple[IntArray, Said]]:
    """Yield rows of conditions, and what a fitted language model says of them.

    An answer's draws depend on its row alone.
    """
    how = SpeakerConfig(folder=folder, slots=slots)
    speaker = load_speaker(how, codec_digest, roads.network, ComputeConfig())
    rows = np.arange(len(told))
    uniform = seeds.uniforms(0, "trajectory-answers", rows, speaker.draws)
    questions = speaker.questions(roads.network, told)
    yield rows, speaker.answers(questions, uniform, None, speaker.follows(roads.network))


def write_weights(
    recipe: TrajectoryRecipe,
    config: TrajectoryLanguageConfig,
    provenance: dict[str, str],
    result: FitResult,
    output: Path,
) -> None:
    """Write what a training found: weights in half precision, curve and card."""
    tensors = {name: each.half() for name, each in result.tensors.items()}
    checkpoints.save(output, "trajectory", config, tensors, provenance)
    write_curve(output, result.curve)
    best = result.curve[result.best_epoch]
    card = ModelCard(
        model="Trajectory language model (HTP 4.2)",
        summary=_SUMMARY,
        data=provenance,
        architecture=config,
        loop=recipe.loop,
        seconds=result.seconds,
        results=[("nats a word", "held-out answers", best["validation_total"])],
        limits=["Its words are the segments of one road network."],
        command="raygen train trajectory training/recipes/trajectory.toml",
    )
    write_card(output, card)
