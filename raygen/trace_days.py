"""A population beside day chains of GPS traces: DataFusion's Table 4 (Ma et al., 6.2.2).

The traces' days are what ``raygen stays --until chains`` writes; only what was observed of them
counts. A generated day is seen as a traced one is: the slots that some traced day, drawn for it,
does not show are hidden, so that the time of day at which telephones are silent does not count.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from raygen import seeds
from raygen.errors import DataError
from raygen.paper_tables import PAPER_TABLE_4
from raygen.results import Row
from raygen.taxonomy import ACTIVITY_TYPES, SLOTS
from raygen.transitions import (
    COMPARED,
    UNKNOWN,
    Chains,
    transition_divergences,
    transition_histograms,
)

BoolArray = npt.NDArray[np.bool_]

CASE = "population, weekdays, against traces"

_FILE = "day_chains.parquet"
_MONDAY, _WEEKDAYS = 3, 5  # day 0 of Arrow's dates is a Thursday
_ALL = np.ones(SLOTS, dtype=np.bool_)


def read_trace_days(folder: Path) -> tuple[Chains, npt.NDArray[np.int64]]:
    """Read the weekdays of traces.

    Parameters
    ----------
    folder
        Folder with ``day_chains.parquet``.

    Returns
    -------
    chains, person
        Activity types, ``UNKNOWN`` where not observed, shape (N, 96), and a number of the person
        (N,).

    Raises
    ------
    DataError
        If the file is missing, has other columns, or no weekday on which something begins and ends.
    """
    path = folder / _FILE
    if not path.is_file():
        msg = f"{path}: not there; `raygen stays TRACES --until chains --output {folder}` writes it"
        raise DataError(msg)
    names = ["person_id", "date", "slots", "observed"]
    try:
        table = pq.read_table(path, columns=names)
        slots = _matrix(table, "slots").astype(np.int8)
        observed = _matrix(table, "observed").astype(np.bool_)
        date = table.column("date").cast(pa.date32()).cast(pa.int32()).to_numpy().astype(np.int64)
    except (pa.ArrowException, KeyError, ValueError) as error:
        msg = f"{path}: must hold {names}, of {SLOTS} slots a day: {error}"
        raise DataError(msg) from None
    if len(slots) and not 0 <= slots.min() <= slots.max() < len(ACTIVITY_TYPES):
        msg = f"{path}: slots: must be in 0 to {len(ACTIVITY_TYPES) - 1}, got {slots.max()}"
        raise DataError(msg)
    kept = (date + _MONDAY) % 7 < _WEEKDAYS
    known = np.where(observed, slots, np.int8(UNKNOWN))[kept]
    if not kept.any():
        msg = f"{path}: must hold a weekday, got {len(date)} days"
        raise DataError(msg)
    if not _goes_out(known):
        msg = f"{path}: observed: must show a start and an end of an activity away from home"
        raise DataError(msg)
    person = table.column("person_id").combine_chunks().dictionary_encode().indices.to_numpy()
    return known, person[kept].astype(np.int64)


def trace_rows(generated: Chains, survey: Chains, folder: Path) -> list[Row]:
    """Return type, start and end time of a population's weekdays against traced ones.

    Parameters
    ----------
    generated, survey
        Whole weekdays (N, 96) of the population, and of the survey: the baseline.
    folder
        See ``read_trace_days``.

    Raises
    ------
    DataError
        As ``read_trace_days``; or if no day of the population or the survey, seen as the traced
        ones are, leaves home and comes back.
    """
    traced, person = read_trace_days(folder)
    hidden = traced == UNKNOWN
    sides = {"generated": generated, "survey": survey}
    seen = {word: _seen(chains, hidden, word) for word, chains in sides.items()}
    for word, chains in seen.items():
        if not _goes_out(chains):
            msg = (
                f"{folder / _FILE}: no {word} weekday leaves home and comes back where traces show"
            )
            raise DataError(msg)
    values = transition_divergences(traced, seen["generated"], _ALL)
    baseline = transition_divergences(traced, seen["survey"], _ALL)
    half = seeds.uniforms(0, "traces-halves", np.arange(person.max() + 1), 1)[:, 0].argsort()
    left = np.isin(person, half[: len(half) // 2])
    floor: dict[str, float] = {}
    if _goes_out(traced[left]) and _goes_out(traced[~left]):
        floor = transition_divergences(traced[left], traced[~left], _ALL)
    return [
        Row(
            case=CASE, metric=f"{name}_jsd", value=values[name], n=len(traced),
            floor=floor.get(name), baseline=baseline[name], baseline_name="survey",
            paper=min(row[column] for row in PAPER_TABLE_4), mode="free",
        )
        for column, name in enumerate(COMPARED)
    ]  # fmt: skip


def _goes_out(chains: Chains) -> bool:
    """Return whether some activity away from home begins, and one ends."""
    return all(count.sum() > 0 for count in transition_histograms(chains, _ALL).values())


def _seen(chains: Chains, hidden: BoolArray, word: str) -> Chains:
    """Hide of each day what a traced day, drawn for it, does not show."""
    draw = seeds.uniforms(0, f"traces-{word}", np.arange(len(chains)), 1)[:, 0]
    return np.where(hidden[(draw * len(hidden)).astype(np.int64)], np.int8(UNKNOWN), chains)


def _matrix(table: pa.Table, name: str) -> npt.NDArray[np.generic]:
    column = table.column(name).combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), SLOTS)
