"""Fit the trajectory language model: ``raygen train trajectory RECIPE``. HTP, section 4.2.

Pairs of a question (conditions in words) and an answer (length token and travel pattern), on one
road network; supervised fine-tuning of LoRA and of the new words' embeddings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from raygen import checkpoints, seeds
from raygen.config import Section
from raygen.errors import DataError, WeightsError
from raygen.models.language import LanguageModel, load_language_model
from raygen.models.trajectory_batches import trajectory_data
from raygen.models.trajectory_codec import TrajectoryCodec, groups_of, length_tokens
from raygen.models.trajectory_language import (
    Said,
    TrajectoryLanguage,
    TrajectoryLanguageConfig,
    answer,
    encode,
)
from raygen.models.trajectory_model import load_codec
from raygen.models.trajectory_planner import DRAWS
from raygen.models.trajectory_tokens import Vocabulary
from raygen.network.graph import IntArray
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

    def batch(self, rows: IntArray) -> dict[str, Tensor]:
        """Return pairs as ``TrajectoryLanguage`` reads them, zeros behind their ends."""
        whole = [np.concatenate([self.questions[r], self.answers[r]]) for r in rows.tolist()]
        most = max(len(one) for one in whole)
        ids = np.zeros((len(whole), most), dtype=np.int64)
        mask, answer = np.zeros_like(ids, dtype=np.bool_), np.zeros_like(ids, dtype=np.bool_)
        for row, (one, source) in enumerate(zip(whole, rows.tolist(), strict=True)):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = True
            answer[row, len(self.questions[source]) : len(one)] = True
        made = {"ids": ids, "mask": mask, "answer": answer}
        return {name: torch.from_numpy(each) for name, each in made.items()}


@dataclass(frozen=True)
class LanguageTask:
    """A ``training.worker.Task``."""

    config: TrajectoryLanguageConfig
    train: Pairs
    validation: Pairs
    batch: int
    seed: int

    def model(self) -> TrajectoryLanguage:
        """Return the objective, on the language model of this machine."""
        language = load_language_model(self.config.base_model, torch.float32, "cpu")
        return TrajectoryLanguage(self.config, language, self.seed)

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield this worker's batches of an epoch: all pairs once, but for the last few."""
        rng = seeds.stream(self.seed, "trajectory-pairs", epoch)
        order = rng.permutation(len(self.train.questions))
        whole = len(order) // (self.batch * world)
        for index in range(rank, whole * world, world):
            yield self.train.batch(order[index * self.batch : (index + 1) * self.batch])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return nats a token of the held-out answers."""
        device = next(model.parameters()).device
        rows = np.arange(len(self.validation.questions))
        total = 0.0
        for begin in range(0, len(rows), self.batch):
            part = rows[begin : begin + self.batch]
            batch = {name: x.to(device) for name, x in self.validation.batch(part).items()}
            total += float(model(batch, 1.0)["total"]) * len(part)
        return {"total": total / len(rows)}


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
    return Pairs([encode(language, own, words, text + " ") for text in texts], answers)


def kept_pairs(pairs: Pairs, settings: PairSettings) -> Pairs:
    """Return the pairs that are short enough, at most as many as asked for."""
    size = np.array([len(q) + len(a) for q, a in zip(pairs.questions, pairs.answers, strict=True)])
    rows = np.flatnonzero(size <= settings.most_tokens).tolist()
    rows = rows[: settings.pairs or None]
    return Pairs([pairs.questions[r] for r in rows], [pairs.answers[r] for r in rows])


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
    task = LanguageTask(config, *parts, recipe.batch, recipe.seed)
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
            "codebooks": codec.config.codebooks,
            "codec_digest": digest,
            "base_digest": language.digest,
        }
    )
    words = Vocabulary(config.roads, config.codebooks)
    trained, held = Pairs([], []), Pairs([], [])
    for made in sets:
        told = conditions_told(made, roads)
        every = kept_pairs(
            pairs_of(made, told, roads, codec, (words, language, config.roads_first)), recipe.pairs
        )
        cut = len(every.questions) - max(1, round(recipe.data.validation * len(every.questions)))
        trained = Pairs(
            trained.questions + every.questions[:cut], trained.answers + every.answers[:cut]
        )
        held = Pairs(held.questions + every.questions[cut:], held.answers + every.answers[cut:])
    if len(trained.questions) < recipe.batch:
        msg = f"pairs: {len(trained.questions)} of at most {recipe.pairs.most_tokens} tokens, "
        raise DataError(msg + f"a batch needs {recipe.batch}")
    return config, (trained, held)


def load_language(folder: Path, codec_digest: str) -> tuple[TrajectoryLanguage, LanguageModel]:
    """Return a fitted language model of ``write_weights``, and the one it is built on.

    Raises
    ------
    WeightsError
        If weights are missing, or of another autoencoder or language model.
    """
    config, tensors, _ = checkpoints.load(folder, "trajectory", TrajectoryLanguageConfig)
    language = load_language_model(config.base_model, torch.float32, "cpu")
    if (config.codec_digest, config.base_digest) != (codec_digest, language.digest):
        msg = f"{folder}: fitted to another autoencoder or language model; `raygen train "
        raise WeightsError(msg + "trajectory` again")
    model = TrajectoryLanguage(config, language, 0)
    missing = model.load_state_dict({n: t.float() for n, t in tensors.items()}, strict=False)
    if missing.unexpected_keys:
        msg = f"{folder}: has tensors that the model lacks: {missing.unexpected_keys[:3]}"
        raise WeightsError(msg)
    return model.eval(), load_language_model(config.base_model, torch.float32, "cpu")


def answered(
    folder: Path, codec_digest: str, told: Conditions, roads: PlaneRoads, batch: int = 16
) -> Iterator[tuple[IntArray, Said]]:
    """Yield rows of conditions, and what a fitted language model says of them.

    Batches have questions of about one length; an answer's draws depend on its row alone.
    """
    model, language = load_language(folder, codec_digest)
    questions = [
        encode(language, model.own, model.words, question(roads.network, told, row) + " ")
        for row in range(len(told))
    ]
    order = np.argsort([len(one) for one in questions], kind="stable")
    for begin in range(0, len(order), batch):
        rows = order[begin : begin + batch]
        uniform = seeds.uniforms(0, "trajectory-answers", rows, DRAWS)
        yield rows, answer(model, [questions[row] for row in rows.tolist()], uniform)


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
        results=[("nats a token", "held-out answers", best["validation_total"])],
        limits=["Its words are the segments of one road network."],
        command="raygen train trajectory training/recipes/trajectory.toml",
    )
    write_card(output, card)
