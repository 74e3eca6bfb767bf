"""The report as one HTML file that needs nothing beside it."""

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape

from raygen.manifest import Manifest
from raygen.results import Results

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 0.6rem 0 1.6rem }
th, td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.8rem 0.2rem 0; text-align: left }
img { max-width: 100% } pre { background: #f6f6f6; padding: 0.8rem; overflow-x: auto }
"""

_ROW = ("case", "metric", "value", "n", "floor", "baseline", "paper", "target")


def page(title: str, picture: bytes, book: Manifest, results: Results | None) -> str:
    """Return the page.

    Parameters
    ----------
    title
        Heading.
    picture
        PNG of the population, embedded.
    book
        The population's manifest: rows, labels, configuration.
    results
        Comparison with what was observed, where there is one.
    """
    identity = book.identity
    labels = [(f"city, {name}", label) for name, label in identity.city.provenance.items()]
    labels += [
        (f"model {model.name}, {name}", label)
        for model in identity.models
        for name, label in model.provenance.items()
    ]
    parts = [
        f"<h1>{escape(title)}</h1>",
        "<p>All persons and days are synthetic. What each input is, is told below.</p>",
        f'<img alt="The population" src="data:image/png;base64,{_encoded(picture)}">',
        "<h2>Tables</h2>",
        table(("table", "rows"), [(name, f"{rows:,}") for name, rows in book.rows.items()]),
        "<h2>Inputs and their labels</h2>",
        table(("input", "label"), labels),
        "<h2>Run</h2>",
        f"<p>raygen {escape(identity.raygen)}, seed {identity.seed}, run {escape(book.run)}</p>",
        f"<pre>{escape(json.dumps(identity.config, indent=1))}</pre>",
    ]
    if results is not None:
        parts += _comparison(results)
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table."""
    lines = ["<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _comparison(results: Results) -> list[str]:
    parts = [f"<h2>Beside what was observed</h2><p>{escape(results.data)}</p>"]
    parts += [f"<p>{escape(note)}</p>" for note in results.notes]
    for each in results.tables:
        parts += [f"<h3>{escape(each.title)}</h3>", table(each.columns, each.rows)]
        parts += [f"<p>{escape(each.note)}</p>"]
    rows = [[_cell(getattr(row, name)) for name in _ROW] for row in results.rows]
    return [*parts, "<h3>All figures</h3>", table(_ROW, rows)]


def _cell(value: float | int | str | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _encoded(picture: bytes) -> str:
    return base64.b64encode(picture).decode()
