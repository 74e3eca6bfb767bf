"""The fitted population on disk, so that a run that is resumed or repeated does not fit again."""

import hashlib
import json
import os
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from raygen import schema
from raygen.errors import DataError
from raygen.population import seed_tables
from raygen.population.fit import CONTROLS, REPORT, PopulationFit, fit_city
from raygen.population.seed import SeedSample
from raygen.sources import source_digest

if TYPE_CHECKING:
    from raygen.city import City


def load_or_fit(
    city: "City", seed: int, cache: Path, report: Callable[[str], None] | None = None
) -> PopulationFit:
    """Return the fitted population of a city, from the cache where it is there.

    Parameters
    ----------
    city
        With its controls.
    seed
        The run's seed.
    cache
        Directory of fits, made if needed; the file's name tells the city's digest, the seed, the
        seed tables and the code of the fit.
    report
        Called with one line that says what is done, where given.

    Raises
    ------
    DataError
        If the cached file is truncated or altered, or the controls break a rule.
    OSError
        If the cache cannot be written.
    """
    path = cache / f"population-{key(city.digest, seed)}.npz"
    if path.is_file():
        if report:
            report(f"population: read from {path}")
        return load(path)
    if report:
        report(f"population: fitting {len(city.zone_id)} zones")
    fit = fit_city(city, seed)
    save(fit, path)
    return fit


def key(city_digest: str, seed: int) -> str:
    """Return what tells one fit from another, as 24 hexadecimal digits."""
    code = source_digest([seed_tables.SHIPPED, *sorted(Path(__file__).parent.glob("*.py"))])
    parts = [city_digest, seed, code]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def save(fit: PopulationFit, path: Path) -> None:
    """Write a fit as one NumPy archive, as a whole or not at all."""
    arrays = {f"seed_{field.name}": getattr(fit.seeds, field.name) for field in fields(fit.seeds)}
    arrays |= {name: getattr(fit, name) for name in _ARRAYS}
    for name in REPORT.names:
        column = fit.report.column(name).combine_chunks()
        arrays[f"report_{name}"] = np.asarray(column.indices if name == "control" else column)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with scratch.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def load(path: Path) -> PopulationFit:
    """Read a fit.

    Raises
    ------
    DataError
        If the file is not a fit, truncated or altered.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        sample = SeedSample(**{f.name: arrays[f"seed_{f.name}"] for f in fields(SeedSample)})
        columns = {name: pa.array(arrays[f"report_{name}"]) for name in REPORT.names}
        rest = {name: arrays[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        msg = f"{path}: not a fitted population, delete it to fit again: {error!r}"
        raise DataError(msg) from None
    columns["control"] = schema.category(columns["control"], tuple(CONTROLS))
    report = pa.Table.from_arrays([columns[name] for name in REPORT.names], schema=REPORT)
    return PopulationFit(seeds=sample, report=report, **rest)


_ARRAYS = ("zone_id", "median_income", "zone_start", "row")
