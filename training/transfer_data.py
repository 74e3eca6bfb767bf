"""The populations that networks are transferred to: their days, by split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from raygen.config import Section
from raygen.errors import DataError
from raygen.stages.chains import UNKNOWN
from raygen.survey import expand
from raygen.taxonomy import SLOTS
from raygen.timeuse import read_time_use
from training.activitysim_days import PURPOSES, read_activitysim
from training.chain_data import WEEKDAY, ChainPool, group_rows, people
from training.geolife_days import counted_slots, read_beijing
from training.geolife_traces import of_split, read_trace_days

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SPLITS = ("train", "validation", "test")


class TargetSection(Section):
    """Where the target's days come from."""

    kind: Literal["activitysim", "geolife", "geolife_traces"] = "activitysim"
    """``activitysim``: ``training.activitysim_days``; ``geolife``: ``training.geolife_days``;
    ``geolife_traces``: ``training.geolife_traces``, days that are incomplete as they are."""

    directory: Path = Path("data/activitysim")
    """Folder of its files."""

    time_use: Path = Path("data/atus")
    """Folder of the time-use survey, which tells the types that a purpose can stand for."""

    state: str = "CA"

    draws: Annotated[int, Field(ge=1)] = 4
    """Expansions of purposes into types; ``geolife`` has one."""


@dataclass(frozen=True)
class Target:
    """Weekdays of one split, D of them."""

    chains: npt.NDArray[np.int8]
    """Activity types, ``UNKNOWN`` where not known, shape (D, 96)."""
    people: IntArray
    """Demographic group, student status, child, shape (D, 3)."""
    row: IntArray
    """Row of tables by group, shape (D,)."""
    persons: int
    """Whose days they are: days over expansions."""
    counted: BoolArray
    """Slots at which transitions count, shape (96,)."""

    @property
    def complete(self) -> bool:
        """Whether all slots of all days are known."""
        return bool((self.chains != UNKNOWN).all())

    def pool(self) -> ChainPool:
        """Return the days to draw from, all alike.

        Raises
        ------
        DataError
            If days are incomplete.
        """
        if not self.complete:
            msg = f"target: {(self.chains == UNKNOWN).any(1).sum()} of {len(self.chains)} days are "
            raise DataError(msg + 'incomplete; they need method = "iterative"')
        return pool_of(self.chains, self.people)

    def take(self, rows: IntArray) -> "Target":
        """Return some of the days, each as of a person of its own."""
        return Target(self.chains[rows], self.people[rows], self.row[rows], len(rows), self.counted)


def pool_of(chains: npt.NDArray[np.int8], who: IntArray) -> ChainPool:
    """Return whole weekdays of people to draw from, all alike."""
    size = len(chains)
    return ChainPool(
        chains=chains,
        day=np.arange(size),
        person=who,
        kind=np.full(size, WEEKDAY),
        probability=np.full(size, 1 / size),
    )


def load_target(section: TargetSection, seed: int) -> dict[str, Target]:
    """Read the target's days, by name of ``SPLITS``.

    Raises
    ------
    DataError
        If a file is missing or malformed, or a split has no days.
    """
    match section.kind:
        case "activitysim":
            found = _survey(section, seed)
        case "geolife":
            found = _beijing(section)
        case "geolife_traces":
            found = _traces(section)
    for split, target in found.items():
        if not target.persons:
            msg = f"{section.directory}: the {split} split holds no days"
            raise DataError(msg)
    return found


def _survey(section: TargetSection, seed: int) -> dict[str, Target]:
    survey = read_activitysim(section.directory)
    time_use = read_time_use(section.time_use, section.state)
    shares = group_rows(time_use.participation[WEEKDAY])
    days = np.stack(
        [
            expand(survey, shares, time_use.log_minutes, seed, f"target:{draw}", PURPOSES)
            for draw in range(section.draws)
        ]
    )
    found: dict[str, Target] = {}
    for split in SPLITS:
        rows = survey.take(split)
        found[split] = Target(
            chains=days[:, rows].reshape(-1, SLOTS),
            people=np.tile(people(survey)[rows], (section.draws, 1)),
            row=np.tile(survey.row[rows], section.draws),
            persons=len(rows),
            counted=np.ones(SLOTS, bool),
        )
    return found


def _beijing(section: TargetSection) -> dict[str, Target]:
    found: dict[str, Target] = {}
    for split in SPLITS:
        days = read_beijing(section.directory, split)
        # More than one activity a day (6.1.1); days at home alone are drawn apart in any case.
        moves = np.flatnonzero((days.chains > 0).any(1))
        who = days.people[moves]
        found[split] = Target(days.chains[moves], who, who[:, 0], len(moves), counted_slots())
    return found


def _traces(section: TargetSection) -> dict[str, Target]:
    days = read_trace_days(section.directory)
    found: dict[str, Target] = {}
    for split in SPLITS:
        rows = of_split(days, split)
        who = days.people[rows]
        every = np.ones(SLOTS, bool)
        found[split] = Target(days.chains[rows], who, who[:, 0], len(rows), every)
    return found
