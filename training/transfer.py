"""Transfer a reconstruction network to another population (``raygen train transfer``).

DataFusion, 4.2.1 (supervised, whole days of the target) and 4.2.2 (semi-supervised, incomplete
days: ``training.iteration``). What comes out takes the place of the weights of ``reconstruction``.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor

from cluster.session import connect
from raygen import checkpoints
from raygen.models.chain_decoder import ChainDecoder, ChainDecoderConfig
from raygen.models.slot_network import SlotNetwork, SlotNetworkConfig
from training.chain_data import ChainPool
from training.chain_decoder import DecoderTask, LikelihoodSection
from training.iteration import (
    Iterations,
    IterationSection,
    Network,
    Round,
    raw_days,
    recur,
)
from training.loop import FitResult, fit
from training.recipe import LoopConfig, Recipe
from training.reconstruction import MODEL, SLOT_MODEL, write_curve
from training.slot_network import LossSection, SlotTask
from training.transfer_data import Target, TargetSection, load_target, pool_of
from training.transfer_tasks import AdaptationTask, StartedTask, check_weights
from training.unfreezing import phases, phases_by_round
from training.worker import Task

Method = Literal["unfreezing", "all_at_once", "scratch", "iterative"]

_ROUNDS = "iterations"


class TransferRecipe(Recipe):
    """``training/recipes/transfer*.toml``."""

    method: Method = "unfreezing"
    """``unfreezing``: supervised, in three phases; ``all_at_once``: all parameters from the start;
    ``scratch``: without the base model's weights; ``iterative``: Algorithm 1."""

    network: Literal["activities", "slots"] = "activities"
    """The chain decoder, or the paper's slot network."""

    base: Path = checkpoints.SHIPPED
    """Directory of weights with the base model's folder: ``reconstruction``, or
    ``reconstruction-slots``."""

    target: TargetSection = TargetSection()

    likelihood: LikelihoodSection = LikelihoodSection(weekend_share=0.0)
    """Of the chain decoder; ``weekend_share`` is not used."""

    loss: LossSection = LossSection(weekend_share=0.0)
    """Of the slot network; ``weekend_share`` is not used."""

    iteration: IterationSection = Field(default=IterationSection())
    """Of ``iterative``; ``loop.epochs`` are those of one iteration."""


@dataclass(frozen=True)
class Transferred:
    """A network after its transfer."""

    network: Network
    """In evaluation mode."""
    curve: list[dict[str, float]]
    """By epoch, or by iteration."""
    best: int
    """Row of the curve that the network is of."""
    seconds: float
    iterations: Iterations | None
    """What Algorithm 1 found."""
    models: list[dict[str, Tensor]]
    """Weights of M^0, M^1, … of Algorithm 1."""


def load_base(recipe: TransferRecipe) -> Network:
    """Load M^0, in evaluation mode.

    Raises
    ------
    WeightsError
        If a file is missing, altered, or of another architecture.
    """
    if recipe.network == "activities":
        config, tensors, _ = checkpoints.load(recipe.base / MODEL, MODEL, ChainDecoderConfig)
        network = ChainDecoder(config)
    else:
        sizes, tensors, _ = checkpoints.load(
            recipe.base / SLOT_MODEL, SLOT_MODEL, SlotNetworkConfig
        )
        network = SlotNetwork(sizes)
    network.load_state_dict(tensors)
    return network.eval()


Trainer = Callable[[Task, LoopConfig, str], FitResult]
"""How a task is fitted; the name is that of a part of the run, to resume it by."""


def transfer(recipe: TransferRecipe, targets: dict[str, Target], trainer: Trainer) -> Transferred:
    """Fit the network to the target.

    Parameters
    ----------
    recipe
        Method, network, loss and loop.
    targets
        Days of the target by split; see ``load_target``.
    trainer
        ``training.loop.fit`` into a directory, or ``training.in_process.fit_here``.

    Raises
    ------
    DataError
        If the target's days are incomplete and the method is supervised.
    """
    network = load_base(recipe)
    if recipe.method == "iterative":
        return _iterative(recipe, network, targets, trainer)
    task = _task(recipe, network, targets["train"].pool(), targets["validation"].pool())
    loop = recipe.loop
    if recipe.method == "unfreezing":
        loop = loop.model_copy(update={"unfreeze": phases(network)})
    started = task if recipe.method == "scratch" else StartedTask(task, network.state_dict())
    result = trainer(started, loop, ".")
    network.load_state_dict(_plain(result.tensors))
    return Transferred(network, result.curve, result.best_epoch, result.seconds, None, [])


def _iterative(
    recipe: TransferRecipe, network: Network, targets: dict[str, Target], trainer: Trainer
) -> Transferred:
    section = recipe.iteration
    check_weights(section.weights)
    raw = raw_days(targets, section, recipe.seed)
    seconds = 0.0

    def train_round(round_: Round, start: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal seconds
        who = raw.validation.people
        task = _task(
            recipe, network, pool_of(round_.chains, round_.people), pool_of(round_.validation, who)
        )
        adapted = AdaptationTask(task, start, round_.real, section.weights)
        loop = _loop_of(recipe, network, round_.number)
        result = trainer(adapted, loop, f"{_ROUNDS}/{round_.number:02d}")
        seconds += result.seconds
        return start | _plain(result.tensors)

    found, models = recur(network, raw, section, train_round, recipe.seed)
    network.load_state_dict(models[found.best])
    return Transferred(network, found.curve, found.best, seconds, found, models)


def _loop_of(recipe: TransferRecipe, network: Network, number: int) -> LoopConfig:
    """Return the loop of an iteration: its own draws, and layers that are open."""
    update: dict[str, object] = {"seed": recipe.loop.seed + number}
    if recipe.iteration.thaw:
        rounds = recipe.iteration.iterations
        update["unfreeze"] = phases_by_round(network, number - 1, rounds)
    return recipe.loop.model_copy(update=update)


def _task(
    recipe: TransferRecipe, network: Network, train: ChainPool, validation: ChainPool
) -> DecoderTask | SlotTask:
    if isinstance(network, ChainDecoder):
        return DecoderTask(network.config, recipe.likelihood, train, validation, recipe.seed)
    return SlotTask(network.config, recipe.loss, train, validation, recipe.seed, recipe.loop.epochs)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("model."): value for name, value in tensors.items()}


def train(
    recipe: TransferRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Transfer the network and write its weights, card and curve.

    Parameters
    ----------
    recipe
        See ``TransferRecipe``.
    output
        Directory of the weights.
    resume
        Go on where an earlier run in ``output`` was stopped.
    address
        Ray's address; see ``training.loop.fit``.

    Returns
    -------
    output
        The directory, as ``raygen.checkpoints`` writes it.
    """
    targets = load_target(recipe.target, recipe.seed)
    if not resume and (output / _ROUNDS).exists():
        shutil.rmtree(output / _ROUNDS)

    def shared(task: Task, loop: LoopConfig, name: str) -> FitResult:
        return fit(task, loop, output / name, resume, address)

    with connect(address, recipe.loop.workers, recipe.loop.threads):
        done = transfer(recipe, targets, shared)
    decoder = isinstance(done.network, ChainDecoder)
    folder, name = (
        (recipe.base / MODEL, MODEL) if decoder else (recipe.base / SLOT_MODEL, SLOT_MODEL)
    )
    digest, provenance = checkpoints.label(folder)
    label = {
        "activitysim": "synthesised days; minutes: assumed; types: calibrated",
        "geolife": "places observed; types: calibrated",
    }[recipe.target.kind]
    provenance = provenance | {
        "base": f"{name}, SHA-256 {digest[:12]}",
        "transfer": f"{recipe.method} to {recipe.target.directory.name}: {label}",
    }
    checkpoints.save(output, name, done.network.config, done.network.state_dict(), provenance)
    write_curve(output / "curve.csv", done.curve)
    (output / "MODEL_CARD.md").write_text(_card(recipe, done, provenance))
    return output


def _card(recipe: TransferRecipe, done: Transferred, provenance: dict[str, str]) -> str:
    lines = "\n".join(f"* {name}: {words}" for name, words in provenance.items())
    row = done.curve[done.best]
    if done.iterations is None:
        found = f"Epoch {int(row['epoch'])} of {len(done.curve)}; held-out loss of the target "
        found += f"{row['validation_total']:.3f} nats."
    else:
        found = (
            f"Iteration {done.best} of {len(done.curve) - 1}, J {row['J']:.4f}: the mean JSD of "
        )
        found += f"type, start and end against held-out incomplete days; {done.curve[0]['J']:.4f} "
        found += "by the base model. "
        worse = done.iterations.decays
        found += (
            "J was still falling."
            if worse is None
            else f"From iteration {worse} on J is higher: recursion decays."
        )
    return f"""# Activity reconstruction, transferred

Method `{recipe.method}` (arXiv 2503.15779, {"4.2.2" if done.iterations else "4.2.1"}).

{lines}
* {found}
* {done.seconds:.0f} s of training.
* Limits: weekdays alone were trained on; adapters that were fitted to the base model are to be
  fitted anew.

Made by `raygen train transfer`, seed {recipe.seed}.
"""
