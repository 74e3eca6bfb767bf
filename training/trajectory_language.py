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
from raygen.models.trajectory_fitted import load_speaker
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
from raygen.trajectories.records import RoadTrajectories
from training.codec_data import TrajectorySources, read_sources
from training.loop import FitResult, fit
from training.model_card import ModelCard, write_card, write_curve
from training.recipe import Recipe
from training.trajectory_pairs import (
    Pairs,
    PairSettings,
    conditions_told,
    joined,
    kept_pairs,
    pairs_of,
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
    """Pairs in a batch."""


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
