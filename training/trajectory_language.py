"""Fit the trajectory language model: ``raygen train trajectory RECIPE``. HTP, section 4.2.

Pairs of a question (conditions in words) and an answer (length token and travel pattern), on one
road network; supervised fine-tuning of LoRA and of the new words' embeddings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from raygen import checkpoints, seeds
from raygen.config import ComputeConfig, SpeakerConfig
from raygen.errors import DataError
from raygen.models.language import load_language_model
from raygen.models.trajectory_fitted import begin_from, load_speaker
from raygen.models.trajectory_language import (
    Said,
    TrajectoryLanguage,
    TrajectoryLanguageConfig,
)
from raygen.models.trajectory_model import load_codec
from raygen.models.trajectory_tokens import Vocabulary
from raygen.models.trajectory_words import known_of, network_digest
from raygen.network.graph import IntArray
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from training.codec_data import TrajectorySources
from training.loop import FitResult, fit
from training.model_card import ModelCard, write_card, write_curve
from training.recipe import Recipe
from training.trajectory_branches import Driven, observed_stretches, simulated_branches
from training.trajectory_pairs import (
    Pairs,
    PairSettings,
    conditions_told,
    joined,
    pairs_of,
    rows_kept,
)

_SUMMARY = """Conditions of a trip in words to travel-pattern tokens: Zhou et al., "From GPS points
to travel patterns", KDD 2026, section 4.2. LoRA and the embeddings of the new words of one road
network, on a language model that is not in the weights."""


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
    """Pairs in a batch, about; those of one route stay together."""

    begin: Path | None = None
    """Folder of a model on other roads to begin from: its LoRA, and all its words but the roads."""

    branches: Annotated[int, Field(ge=1)] = 1
    """Simulated drives of each route, which share the first part of their questions."""

    stretches: Annotated[int, Field(ge=0)] = 0
    """Stretches of each observed trip that are learned from beside it."""

    parts: Annotated[int, Field(ge=1)] = 1
    """Parts of the pairs, of which each epoch takes the next."""


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
    parts: int = 1
    """Parts of the pairs, of which each epoch takes the next."""
    begin: Path | None = None
    """Folder of a model to begin from."""

    def model(self) -> TrajectoryLanguage:
        """Return the objective, on the language model of this machine."""
        language = load_language_model(self.config.base_model, torch.float32, "cpu")
        # PyTorch's fused attention takes twice as long on a CPU, backwards, at these lengths.
        language.decoder.set_attn_implementation("eager")  # pyright: ignore[reportCallIssue]
        often = how_often(self.train) if self.config.bias else None
        made = TrajectoryLanguage(self.config, language, self.seed, self.known, often)
        if self.begin is not None:
            begin_from(made, self.begin)
        return made

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[dict[str, Tensor]]:
        """Yield this worker's batches of an epoch: all pairs of its part, but for the last few.

        Routes of a batch are of about one length: of a few batches' routes in drawn order.
        """
        rng = seeds.stream(self.seed, "trajectory-pairs", epoch)
        route, size = self.train.route, self.train.size
        order = np.argsort(route, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(route[order])) + 1)
        part = in_turn(groups, size, self.parts, self.seed)[epoch % self.parts]
        found = packed(part, size, self.batch, rng)
        whole = rng.permutation(len(found) // world * world)  # the short ones not always first
        for index in whole[rank::world].tolist():
            yield self.train.batch(found[index])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Return nats a word of the held-out answers, in all and by what the words are."""
        if not isinstance(model, TrajectoryLanguage):
            msg = f"trajectory language model: got {type(model).__name__}"
            raise TypeError(msg)
        sums, counts = nats_of(model, self.validation, self.batch)
        found = {name: value / counts[name] for name, value in sums.items()}
        return found | {"total": sum(sums.values()) / sum(counts.values())}


_ALIKE = 8  # batches that are sorted by length together


def in_turn(groups: list[IntArray], size: IntArray, parts: int, seed: int) -> list[list[IntArray]]:
    """Return the groups in parts of about as many tokens, from the first ones to the last.

    What comes first in the data (simulated trips) is mostly in the first parts, what comes last
    (observed ones) in the last; neighbours within half of the whole are mixed.
    """
    tokens = np.array([size[group].sum() for group in groups], dtype=np.float64)
    place = np.cumsum(tokens) / tokens.sum()
    jitter = seeds.stream(seed, "trajectory-parts").uniform(0.0, _MIXED, len(groups))
    order = np.argsort(place + jitter, kind="stable")
    share = (np.cumsum(tokens[order]) - tokens[order] / 2.0) / tokens.sum()
    part = np.minimum((share * parts).astype(np.int64), parts - 1)
    return [[groups[index] for index in order[part == k].tolist()] for k in range(parts)]


_MIXED = 0.5  # share of the data by which a group may be moved behind its place


def packed(
    groups: list[IntArray], size: IntArray, batch: int, rng: np.random.Generator
) -> list[IntArray]:
    """Return batches of ``batch`` pairs or more: whole groups, of like lengths.

    Parameters
    ----------
    groups
        Rows of pairs of one route, each; a group of more than a batch is cut.
    size
        Tokens of each pair.
    batch
        Pairs of a batch.
    rng
        Draws the order.
    """
    parts = [group[at : at + batch] for group in groups for at in range(0, len(group), batch)]
    shuffled = [parts[index] for index in rng.permutation(len(parts))]
    mean = max(1, round(batch * len(shuffled) / max(1, sum(map(len, shuffled)))))
    found: list[IntArray] = []
    for begin in range(0, len(shuffled), _ALIKE * mean):
        window = shuffled[begin : begin + _ALIKE * mean]
        longest = np.array([size[group].max() for group in window])
        taken: list[IntArray] = []
        for index in np.argsort(longest, kind="stable").tolist():
            taken.append(window[index])
            if sum(map(len, taken)) >= batch:
                found.append(np.concatenate(taken))
                taken = []
        if taken and sum(map(len, taken)) >= batch // 2:
            found.append(np.concatenate(taken))
    return found


def how_often(pairs: Pairs) -> npt.NDArray[np.float32]:
    """Return the logarithm of how often each new word is said in answers, one added; (E,).

    Roads and other words have each their own mean, 0 where none is said.
    """
    said = np.concatenate(pairs.answers) - pairs.own
    count = np.bincount(said, minlength=pairs.words.size) + 1.0
    roads = count[: pairs.words.roads]
    others = count[pairs.words.roads :]
    return np.log(np.concatenate([roads / roads.mean(), others / others.mean()])).astype(np.float32)


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
    task, provenance = task_of(recipe)
    result = fit(task, recipe.loop, output, resume, address)
    write_weights(recipe, task.config, provenance, result, output)
    return output


def task_of(recipe: TrajectoryRecipe) -> tuple[LanguageTask, dict[str, str]]:
    """Return what a recipe fits, and where its trajectories come from."""
    if len(recipe.data.networks) != 1:
        msg = "data.networks: the words are those of one network, got " + str(recipe.data.networks)
        raise DataError(msg)
    name = recipe.data.networks[0]
    sets = [simulated_branches(name, recipe.data, recipe.branches, recipe.seed)]
    observed = observed_stretches(recipe.data, recipe.stretches, recipe.seed)
    sets += [] if observed is None else [observed]
    roads = sets[0].trips.roads
    if observed is not None and observed.trips.roads.segments != roads.segments:
        msg = f"data.networks: {name} is another network than the observed trips'"
        raise DataError(msg)
    config, parts = prepared(recipe, roads, sets)
    known = known_of(roads, load_codec(recipe.codec)[0])
    begin = None if recipe.begin is None else recipe.begin.resolve()
    task = LanguageTask(config, *parts, recipe.batch, recipe.seed, known, recipe.parts, begin)
    return task, {each.trips.name: each.trips.label for each in sets}


def prepared(
    recipe: TrajectoryRecipe, roads: PlaneRoads, sets: list[Driven]
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
    for each in sets:
        told = conditions_told(each.trips.made, roads)
        how = words, language, config.roads_first
        every = pairs_of(each.trips.made, told, roads, codec, how)
        rows = rows_kept(every, recipe.pairs)
        # The last routes, all their drives and stretches, are held out.
        cut = int(np.quantile(each.of[rows], 1.0 - recipe.data.validation))
        trained.append(every.take(rows[each.of[rows] < cut]))
        held.append(every.take(rows[each.of[rows] >= cut]))
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
