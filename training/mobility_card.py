"""The files beside the weights of the mobility models: model card and training curve."""

import csv
from pathlib import Path

_LIMITS = """* GeoLife is for research use; no region, location id or trace of it is in the weights.
* Beijing's POIs are of tourism alone; four categories are told from dwell times (*calibrated*).
* Places of other cities are *synthesised*: population, attraction and distance decay (*assumed*).
"""


def write_card(
    directory: Path, title: str, provenance: dict[str, str], facts: dict[str, str]
) -> None:
    """Write ``MODEL_CARD.md``: what it is, what it was fitted to, measured facts, limits."""
    lines = [f"# {title}", "", "Fitted to:", ""]
    lines += [f"* {name}: {text}" for name, text in provenance.items()]
    lines += ["", "Facts:", ""] + [f"* {name}: {text}" for name, text in facts.items()]
    lines += ["", "Limits:", "", _LIMITS]
    (directory / "MODEL_CARD.md").write_text("\n".join(lines))


def write_curve(directory: Path, curve: list[dict[str, float]]) -> None:
    """Write ``curve.csv``: one row an epoch."""
    names = list(dict.fromkeys(name for row in curve for name in row))
    with (directory / "curve.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in curve)
