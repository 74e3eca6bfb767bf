"""HTP's Table 2 with the language model: whole, and without its parts, trained alike and shortly.

    python -m training.trajectory_language_arms [RECIPE.toml]

whole       codes of the autoencoder as new words of the language model
w/o OOV     roads, codes and lengths are ordinary words of the language model, one for each, whose
            embeddings stay as they are; the answer's form is the same, so that it decodes
w/o R-loss  the codes are those of an autoencoder that learns coordinates, not places on the road
w/o RQ-VAE  there are no codes: the language model says the points' digits (``training.raw_points``)

The autoencoders are the arms of ``training.trajectory_experiments``: trained alike, and shortly.
Every arm is told how many points are asked for, as the rows without a language model are. What is
fitted stays in ``training.output``. Writes docs/results/trajectory-language-arms.json and .md.
"""

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from raygen import seeds
from raygen.config import ComputeConfig, Section, SpeakerConfig, load
from raygen.errors import WeightsError
from raygen.models.trajectory_codec import TrajectoryCodec
from raygen.models.trajectory_fitted import load_speaker
from raygen.models.trajectory_language import Said
from raygen.models.trajectory_model import load_codec
from raygen.models.trajectory_planner import LEAST_POINTS, MOST_POINTS
from raygen.models.trajectory_speaker import Speaker
from raygen.network.graph import FloatArray, IntArray
from raygen.results import PaperTable, Results, Row
from raygen.trajectories.conditions import Conditions
from raygen.trajectories.plane import PlaneRoads
from raygen.trajectories.records import RoadTrajectories, Traces
from raygen.trajectories.routes import RouteSet
from training import trajectory_language
from training.raw_points_arm import raw_arm
from training.trajectory_arms import in_the_open
from training.trajectory_baselines import Model
from training.trajectory_language import TrajectoryRecipe
from training.trajectory_language_results import PAPER_2, shortened
from training.trajectory_language_rows import decoded_in_parts, nats_rows
from training.trajectory_models import traced
from training.trajectory_results import PRESETS, measure_set
from training.trajectory_sets import TrajectorySet
from training.trajectory_sets import load as load_set

ROOT = Path(__file__).parents[1]
WHOLE, ORDINARY, COORDINATES, RAW = "whole", "w/o OOV", "w/o R-loss", "w/o RQ-VAE"
CASES = (WHOLE, ORDINARY, COORDINATES, RAW)

_PAPER = PAPER_2 | {
    "w/o R-loss": (0.00148, 0.47934, 0.65487),
    "w/o OOV": (0.00542, 0.64317, 0.80374),
    "w/o RQ-VAE": (0.00923, 0.79070, 0.89630),
}
_SEED = 0


class LanguageArmsRecipe(Section):
    """Recipe of the experiment."""

    data: Path = Path("data")
    """Directory with ``porto``."""

    most: int = 24
    """Test trajectories."""

    codec: Path
    """Autoencoder of the arm "whole, w/o LLM" of ``training.trajectory_experiments``."""

    coordinates: Path
    """That of "w/o R-loss, w/o LLM"."""

    raw_pairs: Annotated[int, Field(ge=8)] = 24
    """Pairs of each set for "w/o RQ-VAE", whose answers are some ten times as long."""

    training: TrajectoryRecipe
    """How every arm is trained; ``output`` is the directory in which their weights are kept."""


@dataclass
class Arm:
    """A fitted arm as a model of ``measure_set``, and what its answers took."""

    speaker: Speaker
    codec: TrajectoryCodec
    seconds: float = 0.0
    """CPU seconds, decoding included."""
    tokens: int = 0
    """Of the answers."""
    count: int = 0
    """Answers."""

    def __call__(self, _: RoadTrajectories, told: Conditions, graph: PlaneRoads) -> Traces:
        """Return traces, of as many points as are asked for."""
        begun = time.process_time()
        traces = self._traces(told, graph)
        self.seconds += time.process_time() - begun
        return traces

    def rows(self, case: str) -> list[Row]:
        """Return what the answers took."""
        each = {
            "trajectories a CPU-second": self.count / self.seconds,
            "answer tokens a trajectory": self.tokens / self.count,
        }
        return [Row(case=case, metric=k, value=v, n=self.count) for k, v in each.items()]

    def _traces(self, told: Conditions, graph: PlaneRoads) -> Traces:
        points = np.clip(told.points, LEAST_POINTS, MOST_POINTS)
        uniform = seeds.uniforms(_SEED, "results:words", np.arange(len(told)), self.speaker.draws)
        said = self.speaker.answers(
            self.speaker.questions(graph.network, told), uniform, points, None
        )
        self.tokens, self.count = self.tokens + said.answer_tokens, self.count + len(told)
        if self.codec.config.target == "points":
            return in_the_open(
                lambda batch, rows: self._coordinates(said, batch, rows), told, graph
            )
        routes = RouteSet(graph, told.route_first, told.route)
        return traced(*decoded_in_parts(self.codec, said.patterns, told, routes), told, routes)

    @torch.no_grad()
    def _coordinates(self, said: Said, batch: dict[str, Tensor], rows: IntArray) -> FloatArray:
        groups = int(batch["length"].max() + 7) // 8
        codes = torch.from_numpy(said.patterns.codes[rows][:, :groups])
        points = self.codec.decode(self.codec.quantizer.embed(codes), batch).points
        if points is None:
            msg = "autoencoder: must have target = 'points', got another"
            raise WeightsError(msg)
        return points.double().numpy()


def arm_recipe(recipe: LanguageArmsRecipe, case: str) -> TrajectoryRecipe:
    """Return the recipe that an arm is trained by."""
    model = recipe.training.model.model_copy(update={"ordinary": case == ORDINARY})
    return recipe.training.model_copy(
        update={
            "model": model,
            "codec": recipe.coordinates if case == COORDINATES else recipe.codec,
            "output": recipe.training.output / case.replace("w/o ", "without-").lower(),
        }
    )


def fitted(recipe: LanguageArmsRecipe, case: str, graph: PlaneRoads) -> Arm:
    """Return an arm, trained where that is not done yet."""
    its = arm_recipe(recipe, case)
    codec, digest = load_codec(its.codec)
    target = "points" if case == COORDINATES else "roads"
    if codec.config.target != target:
        msg = f"{its.codec}: {case} needs an autoencoder with target = {target!r}, got "
        raise WeightsError(msg + repr(codec.config.target))
    if not (its.output / "MODEL_CARD.md").is_file():  # what is written last
        trajectory_language.train(its, its.output)
    how = SpeakerConfig(folder=its.output, slots=12, dtype="bfloat16")
    return Arm(load_speaker(how, digest, graph.network, ComputeConfig()), codec)


def case_rows(recipe: LanguageArmsRecipe, case: str, data: TrajectorySet) -> list[Row]:
    """Return the rows of an arm, trained where that is not done yet."""
    label = f"porto: {case} (LLM)"
    if case == RAW:
        raw = raw_arm(arm_recipe(recipe, case), recipe.raw_pairs, data.graph)
        measured = measure_set(data, {f"{case} (LLM)": raw})[0]
        return [*measured, *raw.rows(label)]
    arm = fitted(recipe, case, data.graph)
    models: dict[str, Model] = {f"{case} (LLM)": arm}
    measured = measure_set(data, models)[0]
    nats = nats_rows(data, arm.speaker, arm.codec, False)
    return [*measured, *(replace(row, case=label) for row in nats), *arm.rows(label)]


def table(rows: list[Row], preset: str) -> PaperTable:
    """Return Table 2 in the paper's form, ours before the paper's own."""
    columns = ("t_dist", "g_pat", "r_pat")
    found = {(row.case, row.metric): row.value for row in rows}
    lines: list[list[str]] = []
    for case in CASES:
        values = [found.get((f"porto: {case} (LLM)", f"{preset}: {key}")) for key in columns]
        lines.append([case, *("–" if v is None else f"{v:.5f}" for v in values)])
    if preset == "htp":
        lines += [[f"paper: {m}", *(f"{v:.5f}" for v in vs)] for m, vs in _PAPER.items()]
    note = "The paper's lines are of its own data, and no measure of these."
    return PaperTable(f"Table 2 with a language model, porto, preset {preset}",
                      ["", *columns], lines, note)  # fmt: skip


def main() -> None:
    """Fit, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = ROOT / "training" / "recipes" / "trajectory_language_arms.toml"
    parser.add_argument("recipe", nargs="?", type=Path, default=default)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()
    recipe = load(options.recipe, LanguageArmsRecipe)
    data = shortened(load_set("porto", recipe.data), recipe.most)
    rows: list[Row] = []
    page = options.output / "trajectory-language-arms.json"
    for case in CASES:
        rows += case_rows(recipe, case, data)
        page = Results(
            "trajectory-language-arms",
            "python -m training.trajectory_language_arms",
            "data/porto: observed trips and roads; simulated trips are synthesised",
            rows,
            [
                "Arms trained alike, and shortly: they tell what each part does early in a "
                "training. Lengths are asked for. Roads are given.",
                "Nats of the arm w/o R-loss are of other codes, and do not compare.",
                "w/o RQ-VAE: answers are digits, many times as many words. It learns from about as "
                "many words as the others, hence from fewer pairs, and answers in padded batches "
                "(the others: continuous batching).",
            ],
            [table(rows, preset) for preset in PRESETS],
        ).write(options.output / "trajectory-language-arms.json")
    sys.stdout.write(f"{page}\n")


if __name__ == "__main__":
    main()
