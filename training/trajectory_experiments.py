"""HTP's experiments beside Table 1: ``python -m training.trajectory_experiments RECIPE.toml``.

Table 2    the model without each of its parts (``training.trajectory_arms``)
Figure 7   numbers of points, real and generated
Figure 8   time of one trajectory
Figure 9   codes in use in each layer while the autoencoder learns
Figure 10  reconstruction by size and by number of codebooks
Figure 11  what codes of the first layer stand for; one route at several hours

All trainings are short and alike. What is done is kept in ``work``: a run that was stopped goes on.
Models with a language model join by ``models``: name = "module:function", as in
``training.trajectory_results``.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator

from raygen.config import Section, load
from raygen.models.trajectory_codec import CodecConfig
from raygen.results import PaperTable, Results, Row
from raygen.trajectories.conditions import conditions_of
from training import trajectory_pictures as pictures
from training.codec_data import TrajectorySources, read_sources, splits
from training.codec_task import CodecTask, Split
from training.in_process import fit_here
from training.recipe import LoopConfig, Recipe
from training.trajectory_arms import ARMS, ArmSettings, arm_model, digest
from training.trajectory_baselines import Model
from training.trajectory_diffusion import diffusion_sampler
from training.trajectory_models import shipped, transformer, transformer_free
from training.trajectory_results import measure_set, model_of
from training.trajectory_sets import SETS, TrajectorySet
from training.trajectory_sets import load as load_set
from training.trajectory_vae import vae_sampler

Part = Literal["table 2", "figure 7", "figure 8", "figure 9", "figure 10", "figure 11"]

PAPER_2 = {
    "w/o RQ-VAE": (0.00923, 0.79070, 0.89630),
    "w/o R-Loss": (0.00148, 0.47934, 0.65487),
    "w/o OOV": (0.00542, 0.64317, 0.80374),
    "w/o LLM": (0.00354, 0.69058, 0.81690),
    "HTP": (0.00020, 0.83019, 0.92683),
}
"""Table 2, Porto: T-Dist, G-Pat, R-Pat."""

_COLUMNS = ("t_dist", "g_pat", "r_pat")


class CodebookSettings(Section):
    """How the autoencoders of Figures 9 and 10 are trained."""

    data: TrajectorySources = TrajectorySources()
    sizes: tuple[tuple[int, ...], ...] = ((32,) * 4, (64,) * 4, (128,) * 4, (256,) * 4)
    """Codebooks of as many layers, beside the model's own: Figure 10(a)."""
    layers: tuple[tuple[int, ...], ...] = (
        (32,), (32, 64), (32, 64, 128), (32, 64, 128, 256, 256),
    )  # fmt: skip
    """More and fewer layers: Figure 10(b)."""
    model: CodecConfig = CodecConfig()
    batch: Annotated[int, Field(ge=1)] = 32
    batches: Annotated[int, Field(ge=1)] = 50
    loop: LoopConfig = LoopConfig()


class ExperimentsRecipe(Recipe):
    """Recipe of the experiments."""

    data: Path = Path("data")
    """Directory of the sets."""

    sets: tuple[str, ...] = SETS[:2]
    """Sets of ``training.trajectory_sets`` to measure on."""

    count: Annotated[int, Field(ge=20)] = 2000
    """Simulated trips of a set."""

    parts: tuple[Part, ...] = (
        "table 2",
        "figure 7",
        "figure 8",
        "figure 9",
        "figure 10",
        "figure 11",
    )
    """What to measure and draw."""

    arms: ArmSettings = ArmSettings()
    """Table 2."""

    cases: tuple[str, ...] = tuple(arm.name for arm in ARMS)
    """Arms to measure."""

    @field_validator("cases")
    @classmethod
    def _known(cls, cases: tuple[str, ...]) -> tuple[str, ...]:
        names = [arm.name for arm in ARMS]
        if not set(cases) <= set(names):
            msg = f"cases: must be of {'; '.join(names)}, got {cases}"
            raise ValueError(msg)
        return cases

    codebooks: CodebookSettings = CodebookSettings()
    """Figures 9 and 10."""

    models: dict[str, str] = Field(default_factory=dict)
    """Further models of Table 2 and Figure 8, as module:function."""

    hours: tuple[int, ...] = (3, 8, 13)
    """Of Figure 11(b)."""

    work: Path = Path("runs/trajectory-experiments")
    """Folder of what is done."""


@cache
def _set(name: str, data: Path, count: int) -> TrajectorySet:
    return load_set(name, data, count)


def table_2(recipe: ExperimentsRecipe) -> list[Row]:
    """Return the measures of all arms on all sets."""
    models: dict[str, tuple[str, Model]] = {
        arm.name: (
            digest(arm, recipe.arms, recipe.seed),
            arm_model(arm, recipe.arms, recipe.seed, recipe.work),
        )
        for arm in ARMS
        if arm.name in recipe.cases
    }
    models |= {name: (where, model_of(where)) for name, where in recipe.models.items()}
    rows: list[Row] = []
    for name in recipe.sets:
        for case, (version, model) in models.items():
            path = _path(recipe, "table-2", [name, recipe.count, case, version])
            rows += _kept(path, [], lambda n=name, c=case, m=model: _measured(recipe, n, c, m))
            sys.stderr.write(f"{name}: {case}\n")
    return rows


def _measured(recipe: ExperimentsRecipe, name: str, case: str, model: Model) -> list[Row]:
    return measure_set(_set(name, recipe.data, recipe.count), {case: model})[0]


def paper_table_2(rows: list[Row], sets: tuple[str, ...]) -> PaperTable:
    """Return Table 2 in the paper's form, ours beside theirs."""
    lines: list[list[str]] = []
    for name in sets:
        mine = [row for row in rows if row.case.startswith(f"{name}: ")]
        value = {(row.case, row.metric): row.value for row in mine}
        floor = {row.metric: row.floor for row in mine}
        lines.append(
            [f"*{name}: real against real*", *(_cell(floor.get(f"htp: {m}")) for m in _COLUMNS)]
        )
        for case in dict.fromkeys(row.case for row in mine):
            lines.append([case, *(_cell(value.get((case, f"htp: {m}"))) for m in _COLUMNS)])
    lines += [
        [f"paper, Porto: {k}", *(f"{v:.5f}" for v in values)] for k, values in PAPER_2.items()
    ]
    note = "All arms are trained for as many steps. The paper's 'w/o OOV' needs a language model."
    return PaperTable("Table 2, preset htp", ["", "T-Dist↓", "G-Pat↑", "R-Pat↑"], lines, note)


def speeds(recipe: ExperimentsRecipe) -> list[Row]:
    """Return milliseconds of one trajectory of each model, without its training: Figure 8."""
    data = _set(recipe.sets[-1], recipe.data, recipe.count)
    told = conditions_of(data.test.roads, data.graph, data.interval_s)
    open_ = next(arm for arm in ARMS if arm.kind == "points")
    makers: dict[str, Model] = {
        "w/o LLM": transformer,
        open_.name: arm_model(open_, recipe.arms, recipe.seed, recipe.work),
        "LSTM-VAE (TrajVAE style)": _sampled(vae_sampler, data),
        "diffusion (DiffTraj style)": _sampled(diffusion_sampler, data),
    } | {name: model_of(where) for name, where in recipe.models.items()}
    rows: list[Row] = []
    for name, model in makers.items():
        model(data.train.roads, told.take(pictures.FEW), data.graph)  # loads and compiles
        begin = time.process_time()
        model(data.train.roads, told, data.graph)
        spent = time.process_time() - begin
        case = f"figure 8: {name}"
        rows.append(
            Row(
                case=case, metric="cpu ms a trajectory", value=1000 * spent / len(told), n=len(told)
            )
        )
    return rows


def codebook_rows(recipe: ExperimentsRecipe) -> tuple[list[Row], list[dict[str, float]]]:
    """Return reconstruction by codebooks (Figure 10), and the curve of the own ones (Figure 9)."""
    settings = recipe.codebooks
    own = settings.model.codebooks
    parts: tuple[Split, ...] = ()
    rows: list[Row] = []
    curves: dict[tuple[int, ...], list[dict[str, float]]] = {}
    for sizes in dict.fromkeys((own, *settings.sizes, *settings.layers)):
        told = settings.model_dump(mode="json", exclude={"sizes", "layers"})
        path = _path(recipe, "codebooks", [sizes, told])
        if not path.is_file():
            if not parts:
                sets = read_sources(settings.data, recipe.seed)
                parts = splits(sets, settings.data.validation, None, recipe.seed)
            model = settings.model.model_copy(update={"codebooks": sizes})
            task = CodecTask(model, parts, settings.batch, settings.batches, recipe.seed)
            path.write_text(json.dumps(fit_here(task, settings.loop).curve), encoding="utf-8")
        curves[sizes] = json.loads(path.read_text(encoding="utf-8"))
        last = curves[sizes][-1]
        case = "figure 10: " + "-".join(str(size) for size in sizes)
        for metric in ("percent", "place", "offset", "quantisation"):
            rows.append(
                Row(case=case, metric=f"{metric}, held out", value=last[f"validation_{metric}"])
            )
        sys.stderr.write(f"{case}\n")
    for row in curves[own]:
        case = f"figure 9: after {row['step']:.0f} steps"
        for layer in "abcdefgh"[: len(own)]:
            rows.append(
                Row(
                    case=case,
                    metric=f"codes of layer {layer} in use",
                    value=row[f"validation_use_{layer}"],
                )
            )
    return rows, curves[own]


def _sampled(maker: "pictures.Maker", data: TrajectorySet) -> Model:
    sampler = maker(data.train.roads, data.graph, 1)  # weights do not change the time
    return lambda _, told, graph: sampler(told)


def _path(recipe: ExperimentsRecipe, kind: str, parts: list[object]) -> Path:
    """Return where a figure is kept: by all that it depends on."""
    text = json.dumps([kind, parts, recipe.seed], sort_keys=True)
    recipe.work.mkdir(parents=True, exist_ok=True)
    return recipe.work / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def _kept(path: Path, drawn: list[Path], make: Callable[[], list[Row]]) -> list[Row]:
    """Return rows from a file; they are made where it or a picture is not there."""
    if not all(each.is_file() for each in (path, *drawn)):
        path.write_text(json.dumps([asdict(row) for row in make()]), encoding="utf-8")
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}"


def run(recipe: ExperimentsRecipe, output: Path) -> tuple[list[Row], list[PaperTable]]:
    """Measure and draw all that the recipe asks for."""
    rows: list[Row] = []
    tables: list[PaperTable] = []
    if "table 2" in recipe.parts:
        rows += table_2(recipe)
        tables.append(paper_table_2(rows, recipe.sets))
    if "figure 7" in recipe.parts:
        for name in recipe.sets:
            path = _path(recipe, "figure-7", [name, recipe.count, shipped().digests])
            drawn = [pictures.lengths_path(name, output)]
            rows += _kept(path, drawn, lambda n=name: _lengths(recipe, n, output))
    if "figure 8" in recipe.parts:
        path = _path(recipe, "figure-8", [recipe.sets, recipe.count, shipped().digests])
        rows += _kept(path, [], lambda: speeds(recipe))
    if "figure 9" in recipe.parts or "figure 10" in recipe.parts:
        found, curve = codebook_rows(recipe)
        rows += found
        pictures.codebooks(found, curve, output)
    if "figure 11" in recipe.parts:
        told: list[object] = [recipe.sets, recipe.count, recipe.hours, shipped().digests]
        drawn = [output / pictures.CODES, output / pictures.HOURS]
        rows += _kept(_path(recipe, "figure-11", told), drawn, lambda: _cases(recipe, output))
    return rows, tables


def _lengths(recipe: ExperimentsRecipe, name: str, output: Path) -> list[Row]:
    return pictures.lengths(_set(name, recipe.data, recipe.count), transformer_free, output)


def _cases(recipe: ExperimentsRecipe, output: Path) -> list[Row]:
    data = _set(recipe.sets[-1], recipe.data, recipe.count)
    pictures.codes(data, output)
    return pictures.hours(data, recipe.hours, output)


def main(arguments: list[str]) -> None:
    """Write ``docs/results/trajectory-experiments``; the argument is the recipe."""
    torch.set_num_threads(1)
    recipe = load(Path(arguments[0]), ExperimentsRecipe)
    recipe.output.mkdir(parents=True, exist_ok=True)
    rows, tables = run(recipe, recipe.output)
    arms = recipe.arms
    results = Results(
        name="trajectory-experiments",
        command=f"python -m training.trajectory_experiments {arguments[0]}",
        data="data/porto (observed trips and roads); simulated trips are synthesised",
        rows=rows,
        notes=[
            f"Table 2: {arms.codec_loop.epochs * arms.codec_batches} steps of an autoencoder and "
            f"{arms.pattern_loop.epochs * arms.pattern_batches} of what says patterns or points, "
            f"{arms.batch} trajectories each; the shipped weights take more.",
            "Figures 7, 8 and 11: shipped weights, without a language model.",
            "Figure 10: reconstruction of held-out trips; squares of even steps, and of 5 m.",
        ],
        tables=tables,
    )
    sys.stdout.write(f"{results.write(recipe.output / 'trajectory-experiments.json')}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
