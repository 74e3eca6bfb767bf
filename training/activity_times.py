"""Make the temporal likelihoods of activity inference.

    raygen generate training/recipes/inference.toml --seed 11 --agents 2000 --output POPULATION
    python -m training.activity_times POPULATION

Writes ``raygen/inference/temporal.json`` from the train split of the travel survey: the start hour
and duration of every stop (observed) with the types that ``raygen.survey.expand`` draws for it
(calibrated to time use), weekends by the weights of ``training.chain_data`` (calibrated). A home
stay over night lasts from the day's last arrival to its first leaving (assumed: tomorrow is as
today). Counts are smoothed over neighbouring hours and durations, and mixed with the product
of the type's two marginals and with a flat one, so that rare types have no empty cell.

The survey does not know who takes whom along. Escorts' stops (``pickup_drop``) are therefore those
of generated people whose households' days are fitted to each other (synthesised; their minutes by
the youngest child at home are near time use, docs/results/households.md): how many of all stays
they are, when they begin and how long they last.
"""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raygen.city import open_city
from raygen.errors import DataError
from raygen.inference.pois import city_index
from raygen.inference.temporal import (
    DAY_KINDS,
    DURATIONS,
    FILE,
    HOURS,
    PROFILE_CLASSES,
    day_kind,
    duration_class,
)
from raygen.survey import Survey
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S, HOME, SCHOOL, SLOT_S, SLOTS, WORK
from training.chain_data import ChainData, DataSection, load_chains, people
from training.inference_truth import Truth, read_truth

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PICKUP = ACTIVITY_TYPES.index("pickup_drop")

_DRAWS, _SEED, _DAYS = 16, 0, 7
_PSEUDO_STOPS = 30.0  # weight of the product of the marginals, in stops
_FLAT = 0.01  # share of the flat distribution
_HOUR_KERNEL, _DURATION_KERNEL = (0.25, 0.5, 0.25), (0.15, 0.7, 0.15)


def stop_weights(data: ChainData) -> list[tuple[FloatArray, npt.NDArray[np.int8]]]:
    """Return for each kind of day the weight of each (draw, person) and its chains.

    Shapes (draws, N) and (draws, N, 96); persons outside the train split weigh 0.
    """
    pool = data.pool("train")
    rows = data.survey.take("train")
    draws = len(data.weekdays)
    found: list[tuple[FloatArray, npt.NDArray[np.int8]]] = []
    for kind, chains in enumerate((data.weekdays, data.weekends)):
        mine = pool.kind == kind
        day = pool.day[mine] - kind * draws * len(rows)
        weight = np.zeros((draws, len(data.survey.row)))
        np.add.at(weight, (day // len(rows), rows[day % len(rows)]), pool.probability[mine])
        found.append((weight, chains))
    return found


def likelihood(
    survey: Survey, weight: FloatArray, chains: npt.NDArray[np.int8]
) -> tuple[FloatArray, FloatArray]:
    """Return P(T), shape (15,), and P(S, d | T), shape (15, hours, durations)."""
    owner = np.repeat(np.arange(len(survey.row)), np.diff(survey.first_stop))
    hour = survey.arrival // 4
    length = duration_class(_stay_s(survey, owner, chains[0]))
    counts = np.zeros((len(ACTIVITY_TYPES), HOURS, DURATIONS))
    rows = np.zeros(len(ACTIVITY_TYPES))
    for draw, mass in zip(chains, weight, strict=True):
        kind = draw[owner, survey.arrival].astype(np.int64)
        np.add.at(counts, (kind, hour, length), mass[owner])
        rows += np.bincount(kind, mass[owner] > 0, minlength=len(rows))
    total = counts.sum(axis=(1, 2))
    # The stops that the weights are worth (Kish), so that the pseudo-counts mean the same.
    scale = rows / np.maximum(total, 1e-12) / len(chains)
    return total / total.sum(), _smooth(counts * scale[:, None, None])


def _stay_s(survey: Survey, owner: IntArray, chain: npt.NDArray[np.int8]) -> IntArray:
    """Return the seconds of each stop; the last one, home over night, until tomorrow's leaving."""
    first_away = survey.arrival[survey.first_stop[:-1]][owner]
    night = (SLOTS - survey.arrival + first_away) * SLOT_S
    known = ~np.isnan(survey.stay_min)
    return np.where(known, np.nan_to_num(survey.stay_min) * 60, night).astype(np.int64)


def _smooth(counts: FloatArray) -> FloatArray:
    left, middle, right = _HOUR_KERNEL
    spread = (
        left * np.roll(counts, -1, axis=1) + middle * counts + right * np.roll(counts, 1, axis=1)
    )
    low, mid, high = _DURATION_KERNEL
    padded = np.pad(spread, ((0, 0), (0, 0), (1, 1)), mode="edge")
    spread = low * padded[:, :, :-2] + mid * padded[:, :, 1:-1] + high * padded[:, :, 2:]
    size = spread.sum(axis=(1, 2), keepdims=True)
    marginals = spread.sum(axis=2, keepdims=True) * spread.sum(axis=1, keepdims=True) / size**2
    mixed = (spread + _PSEUDO_STOPS * marginals) / (size + _PSEUDO_STOPS)
    return (1 - _FLAT) * mixed + _FLAT / (HOURS * DURATIONS)


def profiles(data: ChainData) -> tuple[IntArray, FloatArray]:
    """Return the profiles of the train split and their shares in each class of persons."""
    survey = data.survey
    rows = survey.take("train")
    person = people(survey)[rows]
    chains = data.weekdays[0][rows]
    works, learns = (chains == WORK).any(axis=1), (chains == SCHOOL).any(axis=1)
    kind = np.where(learns, 1, np.where(works, 0, 2))
    distinct, back = np.unique(person, axis=0, return_inverse=True)
    shares = np.zeros((len(PROFILE_CLASSES), len(distinct)))
    np.add.at(shares, (kind, back.ravel()), survey.weight[rows])
    return distinct, shares / shares.sum(axis=1, keepdims=True)


def escort_tables(truth: Truth) -> tuple[FloatArray, FloatArray]:
    """Return the share of escorts' stops by kind of day, (2,), and P(S, d | escort), (2, H, D).

    Raises
    ------
    DataError
        If nobody escorts on a kind of day.
    """
    stays = truth.stays
    hour, length = stays.start_s % DAY_S // 3600, duration_class(stays.end_s - stays.start_s)
    kind, escorts = day_kind(stays.start_s), truth.kind == PICKUP
    counts = np.zeros((DAY_KINDS, HOURS, DURATIONS))
    np.add.at(counts, (kind[escorts], hour[escorts], length[escorts]), 1.0)
    found = counts.sum(axis=(1, 2))
    if (found == 0).any():
        msg = "population: needs escorts on weekdays and at weekends, got "
        raise DataError(msg + f"{found.astype(int).tolist()}")
    return found / np.bincount(kind, minlength=DAY_KINDS), _smooth(counts)


def main() -> None:
    """Read the surveys and a population, and write the file."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the population alone
        sys.exit("usage: python -m training.activity_times POPULATION")
    city = open_city("los_angeles")
    truth = read_truth(Path(sys.argv[1]), city_index(Path(city.path), city.crs), _DAYS)
    share, times = escort_tables(truth)
    section = DataSection(draws=_DRAWS)
    data = load_chains(section, _SEED)
    found = [likelihood(data.survey, weight, chains) for weight, chains in stop_weights(data)]
    for kind, (prior, table) in enumerate(found):
        prior *= (1 - share[kind]) / (1 - prior[PICKUP])
        prior[PICKUP], table[PICKUP] = share[kind], times[kind]
    people_of, shares = profiles(data)
    if len(found) != DAY_KINDS or any(prior[HOME] == 0 for prior, _ in found):
        msg = "activity times: the survey has no home stays"
        raise ValueError(msg)
    content = {
        "command": "python -m training.activity_times POPULATION",
        "sources": {
            "start hours and durations": "czechia_hts, train split: observed",
            "types within a purpose": "czechia_hts by time use of atus: calibrated",
            "escorts' stops": "2,000 generated people of los_angeles, 7 days, seed 11: synthesised",
            "weekends": "weekday survey weighted to weekend time use of atus: calibrated",
            "profiles": "czechia_hts, train split, persons who travelled: observed",
        },
        "prior": [_short(prior, 6) for prior, _ in found],
        "profiles": people_of.tolist(),
        "profile_shares": _short(shares, 5),
        "likelihood": [_short(table, 6) for _, table in found],
    }
    FILE.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    sys.stdout.write(f"{FILE}\n")


def _short(values: FloatArray, digits: int) -> list[float]:
    return np.round(values, digits).tolist()


if __name__ == "__main__":
    main()
