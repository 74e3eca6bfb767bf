"""A population at a glance: its day, its trips, its places, beside what they were fitted to."""

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from raygen import charts, manifest, trajectory_charts
from raygen.city import open_city
from raygen.errors import ConfigError, DataError
from raygen.manifest import Manifest
from raygen.report_page import page
from raygen.sample_reader import read_sample
from raygen.storage import Store

PERSONS = 200_000
"""About how many persons the picture shows at most."""

_WIDTH, _ROW, _DPI = 15.0, 6.0, 130  # inches of the figure and of a row of panels


def report(
    population: str, output: Path, city: str | None = None, reference: Path | None = None
) -> Path:
    """Draw a population.

    Parameters
    ----------
    population
        Directory or URI of a complete population.
    output
        HTML page or PNG to write; replaced as a whole.
    city
        Directory or name of the run's city; the one of ``run.json`` where it is not given.
    reference
        Directory of the surveys; a page then compares the population with them (``raygen
        evaluate data-fusion``).

    Returns
    -------
    output
        As given: six panels, and two more where the run has trajectories, with the labels of
        synthesised inputs in the caption; a page also has the rows of each table, the label of
        every input and the configuration.

    Raises
    ------
    DataError
        If the population is not complete, or the city is another than the run's.
    ConfigError
        If ``output`` is neither HTML nor PNG, or a picture is to have a comparison.
    """
    kind = output.suffix.lower()
    if kind not in {".html", ".png"}:
        msg = f"--output {output}: must end in .html or .png"
        raise ConfigError(msg)
    if reference is not None and kind == ".png":
        msg = f"--reference: a comparison needs a page, --output {output} is a picture"
        raise ConfigError(msg)
    store = Store(population)
    book = manifest.load(store)
    place = open_city(city or _city_of(store))
    if place.digest != book.identity.city.digest:
        msg = f"{place.path}: is not the city of {population} (digest {place.digest[:12]}…, the "
        msg += f"run's is {book.identity.city.digest[:12]}…); give it with --city"
        raise DataError(msg)
    tables = read_sample(store, book, PERSONS)
    sample = charts.Sample.of(tables, place)
    traced = tables.get("trajectories")
    rows = 3 + (traced is not None and traced.num_rows > 0)
    figure = Figure(figsize=(_WIDTH, _ROW * rows), dpi=_DPI, layout="constrained")
    axes = figure.subplots(rows, 2).ravel()
    charts.activity_profile(axes[0], sample)
    charts.trip_lengths(axes[1], sample)
    charts.homes_and_jobs(axes[2], sample)
    charts.flows(axes[3], sample)
    charts.commute_times(axes[4], sample)
    charts.departures(axes[5], sample)
    if traced is not None and traced.num_rows:
        points = trajectory_charts.Points(traced, place)
        trajectory_charts.on_the_roads(axes[6], points, place)
        trajectory_charts.speeds(axes[7], points)
    shown = len(sample.persons["person_id"])
    figure.suptitle(_title(book, shown), fontsize=17)
    figure.supxlabel(caption(book), fontsize=9, wrap=True)
    picture = _png(figure)
    if kind == ".html":
        results = None
        if reference is not None:
            from raygen.evaluation import evaluate

            results = evaluate("data-fusion", Path(population), reference, Path(place.path))
        picture = page(_title(book, shown), picture, book, results).encode()
    _write(picture, output)
    return output


def caption(book: Manifest) -> str:
    """Return the labels of everything in the run that was not observed."""
    kinds: dict[str, list[str]] = {}
    for name, label in book.identity.city.provenance.items():
        kinds.setdefault(_kind(label), []).append(name)
    labels = "; ".join(f"{kind}: {', '.join(kinds[kind])}" for kind in sorted(kinds))
    models = ", ".join(model.name for model in book.identity.models)
    return (
        f"All persons and days are synthetic. City {book.identity.city.name} — {labels}. "
        f"Models: {models}. raygen {book.identity.raygen}, seed {book.identity.seed}, "
        f"run {book.run[:12]}."
    )


def _kind(label: str) -> str:
    """Return the first word of a label such as ``synthesised (arterial grid)``."""
    return label.replace(":", " ").split()[0] if label else "assumed"


def _title(book: Manifest, shown: int) -> str:
    rows: Mapping[str, int] = book.rows
    title = f"{book.identity.city.name}: {rows['persons']:,} persons, {rows['trips']:,} trips"
    return title if shown == rows["persons"] else f"{title} ({shown:,} persons shown)"


def _city_of(store: Store) -> str:
    try:
        return str(json.loads(store.read(manifest.RUN))["config"]["city"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{store.path(manifest.RUN)}: does not say the city: {error}; give it with --city"
        raise DataError(msg) from None


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _write(content: bytes, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    scratch = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        scratch.write_bytes(content)
        scratch.replace(output)
    finally:
        scratch.unlink(missing_ok=True)
