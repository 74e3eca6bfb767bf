"""Table 6 of UniMob, its backbones: ``python -m training.backbone_results [RECIPE.toml]``.

A planner is fitted on each language model in the same way to the same few places, heads first and
then heads and LoRA, and scored on held-out people at the heaviest held-out places. A language model
of the same shape with random weights (``random:NAME``) is the floor of what pretraining gives.
Writes docs/results/planner-backbones.json and .md.
"""

import hashlib
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydantic import Field
from safetensors import safe_open

from raygen.config import Section, load
from raygen.models.codebook import jsd
from raygen.models.language import LanguageModel, load_language_model, unpacked
from raygen.models.plan_net import PlannerArchitecture, PlannerNet, split
from raygen.results import Results, Row
from training.in_process import fit_here
from training.plan_data import Corpus, PlannerData, read_corpus
from training.plan_probe import fresh_head, probe_heads
from training.plan_task import (
    GroupTargets,
    PlannerTask,
    group_targets,
    names_of,
    place_batch,
    times_of,
    write_activations,
)
from training.recipe import LoopConfig

RECIPE = Path("training/recipes/backbones.toml")
OUTPUT = Path("docs/results/planner-backbones.json")
RANDOM = "random:"
_TINY = 1e-12


class BackboneRecipe(Section):
    """What is compared."""

    base_models: tuple[str, ...] = ("smollm2", "random:smollm2")
    """Names as of ``PlannerConfig.base_model``; ``random:NAME`` is that model unlearnt."""

    seed: Annotated[int, Field(ge=0)] = 1
    """Root of the draws, random weights among them."""

    places: Annotated[int, Field(ge=2)] = 24
    """Places (traveller and code) that are trained on, the heaviest."""

    held_places: Annotated[int, Field(ge=1)] = 16
    """Places that are scored, the heaviest of held-out people."""

    steps: Annotated[int, Field(ge=1)] = 24
    """Steps of heads and LoRA, a place each."""

    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    """Of AdamW."""

    model: PlannerArchitecture = PlannerArchitecture()
    """Architecture; ``base_digest`` and ``hidden`` are each language model's."""

    data: PlannerData = PlannerData()
    """Survey and phone days."""


_DRAWN = ("time_nll", "M_jsd", "D_jsd")


@dataclass(frozen=True)
class Backbone:
    """A language model and where it lies."""

    name: str
    folder: Path
    language: LanguageModel

    @property
    def parameters(self) -> int:
        """Weights of the decoder."""
        return sum(weight.numel() for weight in self.language.decoder.parameters())


def main(arguments: list[str]) -> int:
    """Write the results and print where they are."""
    recipe = load(Path(arguments[0]) if arguments else RECIPE, BackboneRecipe)
    corpus = read_corpus(recipe.data, recipe.model.codes, recipe.seed)
    train = _heaviest(
        group_targets(corpus.train.smoothed(recipe.data.smoothing), 0.9), recipe.places
    )
    held = _heaviest(group_targets(corpus.validation, 0.9), recipe.held_places)
    rows = _marginal_rows(train, held)
    with tempfile.TemporaryDirectory() as scratch:
        for name in recipe.base_models:
            backbone = open_backbone(name, Path(scratch), recipe.seed)
            rows += backbone_rows(backbone, Path(scratch), recipe, corpus, (train, held))
    draw_backbones(rows, OUTPUT.with_suffix(".png"))
    path = Results(
        name="planner-backbones",
        command="python -m training.backbone_results training/recipes/backbones.toml",
        data="czechia_hts and beijing_geolife, train split; held-out people",
        rows=rows,
        notes=[
            f"{recipe.places} training places of 48 departure times, {recipe.held_places} held-out "
            "ones: a small sample, to compare backbones and not to fit them well.",
            "Larger language models (the paper's LLaMA-2-13B and -7B, Gemma-2B; Qwen3) were not "
            "run: any folder or hub name may be listed in the recipe.",
            "random: the same architecture, tokenizer and training with random weights: what the "
            "prompt's tokens give without pretraining. Baseline of all: the training places' "
            "distribution by departure slot.",
            "The paper's Table 6 scores mobility and not plans; its figures do not compare.",
            f"![Scores by backbone]({OUTPUT.stem}.png)",
        ],
    ).write(OUTPUT)
    sys.stdout.write(f"{path.read_text(encoding='utf-8')}\n{path}\n")
    return 0


def draw_backbones(rows: list[Row], path: Path) -> None:
    """Draw the scores of every backbone as bars, a panel for each score; ``path``: PNG."""
    figure = Figure(figsize=(5.0 * len(_DRAWN), 2.8), dpi=90, layout="constrained")
    for here, metric in zip(figure.subplots(1, len(_DRAWN)), _DRAWN, strict=True):
        mine = [row for row in rows if row.metric == metric]
        here.barh([row.case for row in mine], [row.value for row in mine], color="#4c78a8")
        here.invert_yaxis()
        here.tick_params(axis="y", labelsize=7)
        here.set_title(metric)
    FigureCanvasAgg(figure).print_png(str(path))


def open_backbone(name: str, scratch: Path, seed: int) -> Backbone:
    """Load a language model, or make its twin with random weights.

    Parameters
    ----------
    name
        See ``BackboneRecipe.base_models``.
    scratch
        Directory in which a random model is written.
    seed
        Seed of its weights.

    Raises
    ------
    WeightsError
        If there is no such model.
    """
    if not name.startswith(RANDOM):
        folder = unpacked(name)
        return Backbone(name, folder, load_language_model(str(folder), torch.bfloat16, "cpu"))
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    like = unpacked(name.removeprefix(RANDOM))
    folder = scratch / hashlib.sha256(name.encode()).hexdigest()[:16]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: Any = AutoModel.from_config(AutoConfig.from_pretrained(like))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(like).save_pretrained(folder)
    return Backbone(name, folder, load_language_model(str(folder), torch.bfloat16, "cpu"))


def backbone_rows(
    backbone: Backbone,
    scratch: Path,
    recipe: BackboneRecipe,
    corpus: Corpus,
    targets: tuple[GroupTargets, GroupTargets],
) -> list[Row]:
    """Fit a planner on a backbone and score it, with heads alone and with LoRA."""
    train, held = targets
    begun = time.process_time()
    decoder_config: Any = backbone.language.decoder.config
    architecture = recipe.model.model_copy(
        update={
            "base_model": str(backbone.folder),
            "base_digest": backbone.language.digest,
            "hidden": decoder_config.hidden_size,
        }
    )
    data = recipe.data
    names = {g: names_of(g, data.cities, data.phone_city, 1) for g in (*train.groups, *held.groups)}
    path = scratch / "activations.safetensors"
    write_activations(path, backbone.language, architecture, corpus.codebook, names)
    tree = times_of(backbone.language)
    upper = split(backbone.language.decoder, architecture.upper_layers)[1]
    fresh = fresh_head(architecture, recipe.seed)
    head = probe_heads(upper, path, train, names, fresh, tree)
    task = PlannerTask(
        architecture=architecture,
        seed=recipe.seed,
        activations=path,
        train=train,
        validation=held,
        names=names,
        held_names={group: names[group][0] for group in held.groups},
        draws=recipe.steps,
        head=head,
    )
    net = task.model()
    found = {"heads alone": scores(net, task)}
    loop = LoopConfig(epochs=1, learning_rate=recipe.learning_rate, zero_stage=0, seed=recipe.seed)
    net.load_state_dict(fit_here(task, loop).tensors, strict=False)
    found["heads and LoRA"] = scores(net, task)
    spent = time.process_time() - begun
    count = len(held.groups)
    rows = [
        Row(case=f"{backbone.name}: {how}", metric=metric, value=value, n=count)
        for how, row in found.items()
        for metric, value in row.items()
    ]
    rows.append(Row(case=backbone.name, metric="parameters", value=float(backbone.parameters)))
    rows.append(Row(case=backbone.name, metric="cpu_s", value=spent))
    return rows


@torch.no_grad()
def scores(net: torch.nn.Module, task: PlannerTask) -> dict[str, float]:
    """Return time_nll (nats), and the mean JSD of M and D at the held-out states, by weight."""
    if not isinstance(net, PlannerNet):
        msg = f"scores: needs a PlannerNet, got {type(net).__name__}"
        raise TypeError(msg)
    held = task.validation
    time_p, poi_p = np.empty(held.time.shape), np.empty(held.poi.shape)
    with safe_open(task.activations, "pt") as file:
        for index, group in enumerate(held.groups):
            batch = place_batch(file, held, index, 1.0, task.held_names[group])
            time_p[index], poi_p[index] = (x.softmax(dim=1).numpy() for x in net.logits(batch))
    return _scores(time_p, poi_p, held)


def _scores(time_p: np.ndarray, poi_p: np.ndarray, held: GroupTargets) -> dict[str, float]:
    weight = (held.mass[:, None] * held.weight).ravel().astype(np.float64)
    weight /= weight.sum()
    wanted = held.time.reshape(len(weight), -1).astype(np.float64)
    said = np.broadcast_to(time_p, held.time.shape).reshape(wanted.shape)
    poi = held.poi.reshape(len(weight), -1).astype(np.float64)
    poi_said = np.broadcast_to(poi_p, held.poi.shape).reshape(poi.shape)
    return {
        "time_nll": float(-(weight[:, None] * wanted * np.log(np.maximum(said, _TINY))).sum()),
        "M_jsd": float((weight * jsd(wanted, said.astype(np.float64))).sum()),
        "D_jsd": float((weight * jsd(poi, poi_said.astype(np.float64))).sum()),
    }


def _marginal_rows(train: GroupTargets, held: GroupTargets) -> list[Row]:
    """Score the training places' distribution by departure slot."""
    weight = (train.mass[:, None] * train.weight)[..., None].astype(np.float64)
    total = np.maximum(weight.sum(axis=0), _TINY)
    time_p = (weight * train.time).sum(axis=0) / total
    poi_p = (weight * train.poi).sum(axis=0) / total
    found = _scores(time_p[None], poi_p[None], held)
    return [
        Row(case="by departure slot", metric=name, value=value) for name, value in found.items()
    ]


def _heaviest(targets: GroupTargets, count: int) -> GroupTargets:
    kept = np.argsort(-targets.mass, kind="stable")[:count]
    mass = targets.mass[kept]
    return GroupTargets(
        groups=tuple(targets.groups[index] for index in kept.tolist()),
        mass=mass / mass.sum(),
        weight=targets.weight[kept],
        time=targets.time[kept],
        poi=targets.poi[kept],
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
