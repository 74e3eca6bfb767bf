"""Day chains: what every person does in each quarter hour of a day (DataFusion's generation task).

A person first stays at home, with the share of the group, or leaves it; the day of those who leave
is drawn from a chain that is masked but for home at its two ends, by the chain decoder with the
group's adapter (``raygen.models``). Days of which a part was observed are completed the same way.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from raygen import checkpoints, seeds
from raygen.config import ChainConfig, ComputeConfig
from raygen.errors import DataError, WeightsError
from raygen.models.adapters import AdapterConfig, Adapters
from raygen.models.chain_decoder import ChainDecoder, ChainDecoderConfig
from raygen.models.chain_sampling import DRAWS as CHAIN_DRAWS
from raygen.models.chain_sampling import draw_chains
from raygen.models.observed import MASK
from raygen.survey import CHILD_ROW
from raygen.taxonomy import (
    ACTIVITY_TYPES,
    EMPLOYMENT,
    HOME,
    SCHOOL,
    SLOTS,
    STUDENT,
    WORK,
)

_CHILD_AGE = 15  # time use starts here
_SATURDAY = 5
_BATCH = 2048

DRAWS = CHAIN_DRAWS + 1
"""Draws that a day takes of a person's stream."""

UNKNOWN = -1
"""Slot of an observed chain in which nothing is known."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ChainModels:
    """The weights of the chain stage."""

    network: ChainDecoder
    adapters: Adapters
    device: str


def load_chain_models(weights: Path, compute: ComputeConfig) -> ChainModels:
    """Load the chain decoder and the adapters.

    Parameters
    ----------
    weights
        Directory with the folders ``reconstruction`` and ``adapters``.
    compute
        Device.

    Returns
    -------
    models
        The network in evaluation mode.

    Raises
    ------
    WeightsError
        If a file is missing, altered, or of another architecture.
    """
    config, tensors, _ = checkpoints.load(
        weights / "reconstruction", "reconstruction", ChainDecoderConfig
    )
    network = ChainDecoder(config)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        msg = f"{weights / 'reconstruction'}: tensors do not fit config.json: {error}"
        raise WeightsError(msg) from None
    shape, table, _ = checkpoints.load(weights / "adapters", "adapters", AdapterConfig)
    wanted = (shape.day_kinds, shape.rows, shape.segments, shape.types)
    if not {"shift", "stay_home"} <= set(table) or tuple(table["shift"].shape) != wanted:
        msg = f"{weights / 'adapters'}: needs 'shift' {wanted} and 'stay_home' {wanted[:2]}, got "
        raise WeightsError(msg + f"{ {name: tuple(t.shape) for name, t in table.items()} }")
    return ChainModels(
        network=network.to(compute.device).eval(),
        adapters=Adapters(table["shift"], table["stay_home"]),
        device=compute.device,
    )


def day_chains(
    persons: pa.Table, day: int, models: ChainModels, config: ChainConfig, seed: int
) -> npt.NDArray[np.int8]:
    """Generate one day of every person.

    Parameters
    ----------
    persons
        Columns ``person_id``, ``age``, ``employment``, ``student``, ``demographic_group`` of
        schema PERSONS, N rows; not changed.
    day
        0 for the run's first day.
    models
        See ``load_chain_models``.
    config
        Gives the day of the week of the first day.
    seed
        The run's; a person's draws depend on the seed, the day and the person's id alone.

    Returns
    -------
    chains
        Activity types, shape (N, 96): home first and last, work for the employed only, school
        for students only.

    Raises
    ------
    DataError
        If a demographic group is out of range or contradicts employment.
    """
    people, employed = _people(persons)
    ids = persons.column("person_id").to_numpy().astype(np.int64)
    uniform = seeds.uniforms(seed, f"chains:{day}", ids, DRAWS)
    week_day = (config.day_of_week + day) % 7
    return draw_days(models, people, employed, week_day, uniform)


def draw_days(
    models: ChainModels,
    people: IntArray,
    employed: npt.NDArray[np.bool_],
    week_day: int,
    uniform: npt.NDArray[np.float64],
) -> npt.NDArray[np.int8]:
    """Generate days from given draws.

    Parameters
    ----------
    models
        See ``load_chain_models``.
    people
        Demographic group, student status, 1 for children under 15: shape (N, 3).
    employed
        Shape (N,).
    week_day
        0 = Monday.
    uniform
        Shape (N, ``DRAWS``): the last column decides who stays at home, the others are the day's.

    Returns
    -------
    chains
        Shape (N, 96).
    """
    kind = int(week_day >= _SATURDAY)
    row = np.where(people[:, 2] == 1, CHILD_ROW, people[:, 0])
    stays = uniform[:, -1] < models.adapters.stay_home[kind].numpy()[row]
    chains = np.full((len(people), SLOTS), HOME, np.int8)
    leaving = np.flatnonzero(~stays)
    tokens = np.full((len(leaving), SLOTS), MASK, np.int64)
    tokens[:, [0, SLOTS - 1]] = HOME
    shift = models.adapters.shift[kind].numpy()[row] + permitted(people, employed)[:, None]
    chains[leaving] = _drawn(
        models,
        tokens,
        np.full(len(leaving), week_day),
        people[leaving],
        shift[leaving],
        uniform[leaving],
    )
    return chains


def complete_days(
    models: ChainModels,
    observed: npt.NDArray[np.int8],
    people: IntArray,
    week_day: IntArray,
    uniform: npt.NDArray[np.float64],
) -> npt.NDArray[np.int8]:
    """Complete days of which a part was observed (DataFusion 6.1.3); observed slots are kept.

    Parameters
    ----------
    models
        See ``load_chain_models``; the adapters are those of the persons' groups.
    observed
        Activity types, ``UNKNOWN`` where not known, shape (N, 96); not changed.
    people
        Demographic group, student status, 1 for children under 15: shape (N, 3).
    week_day
        0 = Monday, shape (N,).
    uniform
        Draws in [0, 1), shape (N, ``DRAWS``).

    Returns
    -------
    chains
        Shape (N, 96).

    Raises
    ------
    DataError
        If shapes or types are wrong.
    """
    if observed.shape != (len(people), SLOTS):
        msg = f"observed: shape must be ({len(people)}, {SLOTS}), got {observed.shape}"
        raise DataError(msg)
    if len(observed) and not UNKNOWN <= observed.min() <= observed.max() < len(ACTIVITY_TYPES):
        msg = f"observed: types must be in {UNKNOWN} to {len(ACTIVITY_TYPES) - 1}, got "
        raise DataError(msg + f"{observed.min()} to {observed.max()}")
    row = np.where(people[:, 2] == 1, CHILD_ROW, people[:, 0])
    shift = models.adapters.shift.numpy()[(week_day >= _SATURDAY).astype(np.int64), row]
    tokens = np.where(observed == UNKNOWN, MASK, observed).astype(np.int64)
    return _drawn(models, tokens, week_day, people, shift, uniform)


def _drawn(
    models: ChainModels,
    tokens: IntArray,
    week_day: IntArray,
    people: IntArray,
    shift: npt.NDArray[np.floating],
    uniform: npt.NDArray[np.float64],
) -> npt.NDArray[np.int8]:
    """Draw days (N, 96) from tokens (N, 96), batch by batch."""
    chains = np.empty(tokens.shape, np.int8)
    with torch.inference_mode():
        for start in range(0, len(tokens), _BATCH):
            part = slice(start, start + _BATCH)
            drawn = draw_chains(
                models.network,
                torch.from_numpy(tokens[part]).to(models.device),
                torch.from_numpy(week_day[part]).to(models.device),
                torch.from_numpy(people[part]).to(models.device),
                torch.from_numpy(shift[part]).float().to(models.device),
                torch.from_numpy(uniform[part, :CHAIN_DRAWS]).to(models.device),
            )
            chains[part] = drawn.cpu().numpy().astype(np.int8)
    return chains


def permitted(people: IntArray, employed: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return what to add to the logits of types: 0, or -inf where a person cannot do the type.

    Work is for the employed, school for students; shape (N, 15).
    """
    mask = np.zeros((len(people), len(ACTIVITY_TYPES)))
    mask[~employed, WORK] = -np.inf
    mask[people[:, 1] == STUDENT.index("none"), SCHOOL] = -np.inf
    return mask


def _people(persons: pa.Table) -> tuple[IntArray, npt.NDArray[np.bool_]]:
    """Return the network's view of the persons, and who is employed."""
    group = persons.column("demographic_group").to_numpy().astype(np.int64)
    age = persons.column("age").to_numpy()
    employed = _codes(persons, "employment") == EMPLOYMENT.index("employed")
    if len(group) and (group.min() < 0 or group.max() >= CHILD_ROW):
        msg = f"persons.demographic_group: must be 0 to 11, got {group.min()} to {group.max()}"
        raise DataError(msg)
    wrong = np.flatnonzero((group < CHILD_ROW // 2) != employed)
    if len(wrong):
        msg = f"persons.demographic_group: {len(wrong)} of {len(group)} rows contradict "
        raise DataError(msg + f"employment, first row {wrong[0]}")
    student = _codes(persons, "student").astype(np.int64)
    return np.stack([group, student, (age < _CHILD_AGE).astype(np.int64)], axis=1), employed


def _codes(persons: pa.Table, name: str) -> npt.NDArray[np.int8]:
    """Return the codes of a dictionary column, whose dictionary is the taxonomy's tuple."""
    column = persons.column(name).combine_chunks()
    return column.indices.to_numpy(zero_copy_only=False).astype(np.int8)
