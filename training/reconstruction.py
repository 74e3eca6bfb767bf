"""Fit activity reconstruction to survey days (``raygen train reconstruction``).

Two networks do it: raygen's chain decoder, which the pipeline uses, and DataFusion's slot network.
"""

import csv
from pathlib import Path
from typing import Literal

from raygen import checkpoints
from raygen.models import chain_decoder, slot_network
from raygen.models.chain_decoder import ChainDecoderConfig
from raygen.models.slot_network import SlotNetworkConfig
from training.chain_data import DataSection, load_chains
from training.chain_decoder import DecoderTask, LikelihoodSection
from training.loop import FitResult, fit
from training.recipe import Recipe
from training.slot_network import LossSection, SlotTask

MODEL = "reconstruction"
SLOT_MODEL = "reconstruction-slots"
"""Names of the two networks in their checkpoints."""


class ReconstructionRecipe(Recipe):
    """``training/recipes/reconstruction*.toml``."""

    data: DataSection = DataSection()

    network: Literal["activities", "slots"] = "activities"
    """The chain decoder, or the paper's slot network."""

    activities: ChainDecoderConfig = chain_decoder.PRESETS["small"]
    likelihood: LikelihoodSection = LikelihoodSection()
    """Of the chain decoder."""

    slots: SlotNetworkConfig = slot_network.PRESETS["small"]
    loss: LossSection = LossSection()
    """Of the slot network."""


def task_of(recipe: ReconstructionRecipe) -> DecoderTask | SlotTask:
    """Read the data and return the recipe's task."""
    data = load_chains(recipe.data, recipe.seed)
    decoder = recipe.network == "activities"
    share = recipe.likelihood.weekend_share if decoder else recipe.loss.weekend_share
    pools = (data.pool("train", share), data.pool("validation", share))
    if decoder:
        return DecoderTask(recipe.activities, recipe.likelihood, *pools, recipe.seed)
    return SlotTask(recipe.slots, recipe.loss, *pools, recipe.seed, recipe.loop.epochs)


def train(
    recipe: ReconstructionRecipe, output: Path, resume: bool = False, address: str | None = None
) -> Path:
    """Fit the network and write its weights, card and curve.

    Parameters
    ----------
    recipe
        Data, network, loss and loop.
    output
        Directory of the weights.
    resume
        Go on from the last epoch in ``output``.
    address
        Ray's address; see ``training.loop.fit``.

    Returns
    -------
    output
        The directory, as ``raygen.checkpoints`` writes it.
    """
    result = fit(task_of(recipe), recipe.loop, output, resume, address)
    tensors = {name.removeprefix("model."): value for name, value in result.tensors.items()}
    provenance = {
        "chains": f"{recipe.data.survey.name}, 70 % of the persons: observed",
        "types": f"{recipe.data.time_use.name} {recipe.data.state}: calibrated; hours: assumed",
        "weekends": f"survey days balanced to {recipe.data.time_use.name}: calibrated",
    }
    if recipe.network == "activities":
        checkpoints.save(output, MODEL, recipe.activities, tensors, provenance)
    else:
        checkpoints.save(output, SLOT_MODEL, recipe.slots, tensors, provenance)
    write_curve(output / "curve.csv", result.curve)
    (output / "MODEL_CARD.md").write_text(_card(recipe, result))
    return output


def write_curve(path: Path, curve: list[dict[str, float]]) -> None:
    """Write a training curve as CSV, one row an epoch."""
    names = list(dict.fromkeys(name for row in curve for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in curve)


def _card(recipe: ReconstructionRecipe, result: FitResult) -> str:
    best = result.curve[result.best_epoch]
    if recipe.network == "activities":
        title, sizes, name = "Activity reconstruction", recipe.activities, "reconstruction"
        what = "draws the activities of a day one after the other, given what was observed of it"
        found = (
            f"likelihood of a weekday: {best['validation_free']:.2f} nats with both ends known, "
        )
        found += f"{best['validation_masked']:.2f} masked at 70 %"
    else:
        title, sizes, name = "Slot network", recipe.slots, "reconstruction_slots"
        what = "fills the masked quarter hours of a day side by side, as DataFusion has it"
        found = f"cross-entropy of hidden slots at 70 %: {best['validation_total']:.3f} nats"
    return f"""# {title}

A Transformer that {what} (arXiv 2503.15779, 4.1.2).

* Sizes: {sizes.model_dump()}.
* Fitted to the days of 70 % of the travellers of the Czech national travel survey 2017–2019
  ("Česko v pohybu", by Lab-LAMbDA/Usti-nad-Labem-synthetic; *observed*). Its six purposes are drawn
  as 15 types from the American Time Use Survey 2003–2016, {recipe.data.state} (*calibrated*), and
  from hours of the day (*assumed*). The survey holds no weekday: its days count as weekdays;
  weekend days are the same days balanced to weekend time use (*calibrated*).
* Held-out {found}.
* Epoch {int(best["epoch"])} of {len(result.curve)}; {result.seconds:.0f} s of training.
* Limits: days start and end at home; people who stay at home are drawn apart, by their share;
  rhythms are Czech until the adapters move the minutes to the target's.

Made by `raygen train reconstruction training/recipes/{name}.toml`.
"""
