"""Results of an experiment: rows of a fixed form, as JSON and as a readable table."""

import datetime
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured figure beside its floors; a missing figure is None."""

    case: str
    metric: str
    value: float | None
    n: int | None = None
    """Independent observations (persons) behind the value."""
    floor: float | None = None
    """Real against real: the best that can be had at this size."""
    baseline: float | None = None
    baseline_name: str | None = None
    paper: float | None = None
    """What the paper reports for its own data."""
    target: float | None = None
    mode: str | None = None
    """``free`` or ``oracle``, where that applies."""


@dataclass(frozen=True)
class PaperTable:
    """A table in the form of the paper that it answers."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str

    def markdown(self) -> list[str]:
        """Return the lines of the table."""
        lines = [f"## {self.title}", "", "| " + " | ".join(self.columns) + " |"]
        lines += ["|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return [*lines, "", self.note, ""]


@dataclass(frozen=True)
class Results:
    """A named table of rows with what is needed to make it again."""

    name: str
    command: str
    data: str
    rows: list[Row]
    notes: list[str] = field(default_factory=lambda: [])
    tables: list[PaperTable] = field(default_factory=lambda: [])
    """What is printed before the rows; made of them."""

    def write(self, path: Path) -> Path:
        """Write ``path`` (JSON) and the same as Markdown beside it; return the Markdown's path."""
        machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
        head = {
            "name": self.name,
            "command": self.command,
            "data": self.data,
            "machine": machine,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "notes": self.notes,
            "rows": [asdict(row) for row in self.rows],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(head, indent=1) + "\n")
        readable = path.with_suffix(".md")
        readable.write_text(self.markdown(machine, str(head["date"])))
        return readable

    def markdown(self, machine: str, date: str) -> str:
        """Return the results as a readable page."""
        names = ["case", "metric", "value", "n", "floor", "baseline", "paper", "target", "mode"]
        lines = [f"# {self.name}", "", f"`{self.command}`", "", f"Data: {self.data}.", ""]
        lines += [f"Machine: {machine}; {date}.", ""]
        lines += [f"* {note}" for note in self.notes] + [""] * bool(self.notes)
        lines += [line for table in self.tables for line in table.markdown()]
        lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        for row in self.rows:
            cells = [_cell(getattr(row, name)) for name in names]
            if row.baseline is not None and row.baseline_name:
                cells[5] += f" ({row.baseline_name})"
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def _cell(value: float | int | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"  # noqa: PLR2004
    return str(value)
