"""Day chains to train and test on: the survey's weekdays, and weekends made of them.

The survey has no weekend. A weekend day of group g is a survey day of the same sex and age band,
drawn with weights w_i ∝ q_i · exp(λ_g · m_i): m_i are the day's minutes by type, and λ_g is such
that the mean minutes are those of people of the group who travel on a weekend (entropy balancing,
Hainmueller, Political Analysis 20, 2012; λ is damped by a small ridge). Children under 15 are not
in time use: their weekend is drawn from their days without school.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from raygen.config import Section
from raygen.survey import CHILD_ROW, GROUP_ROWS, Survey, expand, read_survey
from raygen.taxonomy import ACTIVITY_TYPES, HOME, SCHOOL, WORK
from raygen.timeuse import DAY_KINDS, TimeUse, read_time_use

WEEKDAY, WEEKEND = 0, 1
_RIDGE = 0.01
_DAY_MIN = 1440.0
_SLOT_MIN = 15.0


class DataSection(Section):
    """Where the chains come from."""

    survey: Path = Path("data/czechia_hts")
    """Folder of the travel survey; see ``raygen.survey``."""

    time_use: Path = Path("data/atus")
    """Folder of the time-use survey; see ``raygen.timeuse``."""

    state: str = "CA"
    """State whose time use is the target."""

    draws: int = 4
    """Expansions of the survey's purposes into types."""


@dataclass(frozen=True)
class ChainPool:
    """Days to draw from: D days, P entries of (day, person, kind of day), with probabilities."""

    chains: npt.NDArray[np.int8]
    """Shape (D, 96)."""
    day: npt.NDArray[np.int64]
    """Row of ``chains`` (P)."""
    person: npt.NDArray[np.int64]
    """Demographic group, student status, child (P, 3)."""
    kind: npt.NDArray[np.int64]
    """``WEEKDAY`` or ``WEEKEND`` (P)."""
    probability: npt.NDArray[np.float64]
    """Sums to 1 (P)."""

    def sample(self, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw entries by their probability (systematic, then shuffled), shape (size,)."""
        edges = np.cumsum(self.probability)
        points = (np.arange(size) + rng.random()) / size * edges[-1]
        return rng.permutation(np.minimum(np.searchsorted(edges, points), len(edges) - 1))

    def week_days(
        self, entries: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """Draw a day of the week for entries: Monday to Friday, or Saturday and Sunday."""
        uniform = rng.random(len(entries))
        return np.where(
            self.kind[entries] == WEEKEND, 5 + (uniform * 2).astype(int), (uniform * 5).astype(int)
        )


@dataclass(frozen=True)
class ChainData:
    """The survey, the time use, and the survey's days in slots."""

    survey: Survey
    time_use: TimeUse
    weekdays: npt.NDArray[np.int8]
    """Expansions with weekday shares, (draws, N, 96)."""
    weekends: npt.NDArray[np.int8]
    """Expansions of the same days with weekend shares, (draws, N, 96)."""

    def pool(self, split: str, weekend_share: float = 0.35) -> ChainPool:
        """Return the days of a split, weekends with the given share of the probability."""
        rows = self.survey.take(split)
        person = people(self.survey)[rows]
        draws = len(self.weekdays)
        weight = np.tile(self.survey.weight[rows], draws)
        day = np.arange(draws * len(rows))
        kept = _weekend_entries(self, rows)
        share = np.concatenate(
            [(1 - weekend_share) * weight / weight.sum(), weekend_share * kept.probability]
        )
        return ChainPool(
            chains=np.concatenate(
                [c[:, rows].reshape(-1, c.shape[2]) for c in (self.weekdays, self.weekends)]
            ),
            day=np.concatenate([day, len(day) + kept.day]),
            person=np.concatenate([np.tile(person, (draws, 1)), kept.person]),
            kind=np.concatenate([np.full(len(day), WEEKDAY), kept.kind]),
            probability=share / share.sum(),
        )


def load_chains(data: DataSection, seed: int) -> ChainData:
    """Read both surveys and expand the travel survey's purposes, ``data.draws`` times."""
    survey = read_survey(data.survey)
    time_use = read_time_use(data.time_use, data.state)
    days: list[npt.NDArray[np.int8]] = []
    for kind, word in enumerate(DAY_KINDS):
        shares = group_rows(time_use.participation[kind])
        days.append(
            np.stack(
                [
                    expand(survey, shares, time_use.log_minutes, seed, f"{word}:{draw}")
                    for draw in range(data.draws)
                ]
            )
        )
    return ChainData(survey, time_use, days[WEEKDAY], days[WEEKEND])


def group_rows(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Append the children's row to a table by group: the mean of the young who do not work."""
    return np.concatenate([table, table[6:8].mean(0, keepdims=True)])


def people(survey: Survey) -> npt.NDArray[np.int64]:
    """Return what the network knows of each person: group, student status, child; (N, 3)."""
    child = (survey.row == CHILD_ROW).astype(np.int64)
    return np.stack([survey.group, survey.student, child], axis=1)


def type_minutes(chains: npt.NDArray[np.int8]) -> npt.NDArray[np.float64]:
    """Return minutes by activity type, shape (N, 15), of chains (N, 96)."""
    types = len(ACTIVITY_TYPES)
    flat = np.arange(len(chains))[:, None] * types + chains
    counts = np.bincount(flat.ravel(), minlength=len(chains) * types)
    return (counts.reshape(-1, types) * _SLOT_MIN).astype(np.float64)


def travellers_minutes(time_use: TimeUse, kind: int) -> npt.NDArray[np.float64]:
    """Return D_g of those who leave home that day, (12, 15) minutes."""
    home = time_use.stay_home[kind][:, None]
    stay = np.zeros_like(time_use.minutes[kind])
    stay[:, HOME] = _DAY_MIN
    left = (time_use.minutes[kind] - home * stay) / (1 - home)
    return left.astype(np.float64)


def _weekend_entries(data: ChainData, rows: npt.NDArray[np.int64]) -> ChainPool:
    survey = data.survey
    chains = data.weekends[:, rows].reshape(-1, data.weekends.shape[2])
    weight = np.tile(survey.weight[rows], len(data.weekends))
    row = np.tile(survey.row[rows], len(data.weekends))
    person = np.tile(people(survey)[rows], (len(data.weekends), 1))
    minutes = type_minutes(chains)
    target = travellers_minutes(data.time_use, WEEKEND)
    days: list[npt.NDArray[np.int64]] = []
    whos: list[npt.NDArray[np.int64]] = []
    shares: list[npt.NDArray[np.float64]] = []
    for group in range(GROUP_ROWS):
        size = weight[row == group].sum()
        if group == CHILD_ROW:
            donors = np.flatnonzero((row == CHILD_ROW) & (minutes[:, SCHOOL] == 0))
            tilted = weight[donors] / weight[donors].sum()
            who = person[donors]
        else:
            donors = np.flatnonzero((row % 6 == group % 6) & (row < CHILD_ROW))
            if group >= CHILD_ROW // 2:
                donors = donors[minutes[donors, WORK] == 0]
            tilted = balance(minutes[donors], weight[donors], target[group])
            who = person[donors].copy()
            who[:, 0] = group
        days.append(donors)
        whos.append(who)
        shares.append(size * tilted)
    probability = np.concatenate(shares)
    return ChainPool(
        chains=chains, day=np.concatenate(days), person=np.concatenate(whos),
        kind=np.full(len(probability), WEEKEND), probability=probability / probability.sum(),
    )  # fmt: skip


def balance(
    minutes: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Tilt weights until the mean minutes are the target's.

    Parameters
    ----------
    minutes
        By day and type, shape (D, 15).
    weight
        Of the days, > 0 (D).
    target
        Mean minutes wanted (15); home is what is left, and types that no day has are skipped.

    Returns
    -------
    tilted
        Probabilities (D). The ridge leaves the means a little short of the target.
    """
    used = minutes.max(0) > 0
    used[HOME] = False
    hours = (minutes[:, used] - target[used]) / 60
    base = np.log(weight / weight.sum())

    def dual(value: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        score = base + hours @ value
        top = score.max()
        mass = np.exp(score - top)
        share = mass / mass.sum()
        loss = top + np.log(mass.sum()) + 0.5 * _RIDGE * value @ value
        return float(loss), share @ hours + _RIDGE * value

    fitted = minimize(dual, np.zeros(int(used.sum())), jac=True, method="L-BFGS-B")
    score = base + hours @ fitted.x
    mass = np.exp(score - score.max())
    return mass / mass.sum()
