"""What is written beside the weights for a reader: the model card and the training curve."""

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from training.recipe import LoopConfig


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The contents of ``MODEL_CARD.md``."""

    model: str
    """Name of the model, as in ``raygen train MODEL``."""

    summary: str
    """What it maps to what, and the paper it follows, in a few sentences."""

    data: dict[str, str]
    """Data set by what was fitted to it, each with its label observed, calibrated, synthesised or
    assumed."""

    architecture: BaseModel
    """Configuration of the model."""

    loop: LoopConfig | None = None
    """Configuration of the loop; none where the model was fitted otherwise."""

    seconds: float = 0.0
    """Time of training."""

    results: list[tuple[str, str, float]] = field(default_factory=lambda: [])
    """Rows (metric, what it was measured on, value), the floors among them."""

    limits: list[str] = field(default_factory=lambda: [])
    """What the weights must not be used for, or do badly."""

    command: str = ""
    """Command that reproduces the weights."""


def write_card(directory: Path, card: ModelCard) -> Path:
    """Write ``MODEL_CARD.md`` into a directory, replacing an older one; return its path."""
    lines = [f"# {card.model}", "", card.summary, "", "## Fitted to", ""]
    lines += [f"* {what}: {source}" for what, source in card.data.items()]
    if card.results:
        lines += ["", "## Results", "", "| metric | on | value |", "|---|---|---|"]
        lines += [f"| {metric} | {where} | {value:.4g} |" for metric, where, value in card.results]
    lines += ["", "## Architecture", "", *_table(card.architecture)]
    if card.loop is not None:
        lines += ["", "## Training", "", *_table(card.loop)]
        lines += ["", f"Time of training: {card.seconds:.0f} s. The losses are in `curve.csv`."]
    if card.command:
        lines += ["", "## To reproduce", "", f"    {card.command}"]
    if card.limits:
        lines += ["", "## Limits", "", *(f"* {limit}" for limit in card.limits)]
    return _replace(directory / "MODEL_CARD.md", "\n".join(lines) + "\n")


def write_curve(directory: Path, curve: list[dict[str, float]]) -> Path:
    """Write ``curve.csv``, a line an epoch, into a directory; return its path.

    Parameters
    ----------
    directory
        Of the weights; made if needed.
    curve
        Rows of ``FitResult.curve``; a value that a row lacks is left empty.
    """
    columns = list(dict.fromkeys(name for row in curve for name in row))
    directory.mkdir(parents=True, exist_ok=True)
    scratch = directory / "curve.csv.tmp"
    with scratch.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in curve:
            writer.writerow({name: f"{value:.7g}" for name, value in row.items()})
    os.replace(scratch, directory / "curve.csv")
    return directory / "curve.csv"


def _table(section: BaseModel) -> list[str]:
    rows = [f"| {name} | {value} |" for name, value in section.model_dump(mode="json").items()]
    return ["| setting | value |", "|---|---|", *rows]


def _replace(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.tmp")
    scratch.write_text(text)
    os.replace(scratch, path)
    return path
