"""Rows of the mobility experiments: quality, flows, privacy and utility of generators side by side.

Each takes a ``Comparison``: real days of one city and days of every generator.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from raygen import seeds
from raygen.mobility_flows import common_part_of_commuters
from raygen.mobility_metrics import QUANTITIES, mobility_divergences
from raygen.movesim_metrics import movesim_divergences
from raygen.results import Row
from training.generated_days import GENERATOR, Comparison
from training.movesim_days import locations_of, read_movesim
from training.privacy import CLASSIFIERS, NEAREST, membership, uniqueness
from training.utility import PREDICTORS, PredictorFit, accuracies, fit_predictor

Clock = npt.NDArray[np.int32]

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the real training days that predictors are fitted to."""

_TARGET_ATTACK = 0.55
_ALIKE = 0.8  # the paper finds few generated days more like a real one


def quality_rows(given: Comparison) -> list[Row]:
    """Return the divergences of every generator, preset ``unimob-like``."""
    xy = given.city.regions.xy
    floor = mobility_divergences(given.real, given.train, xy)
    return [
        Row(
            case=f"{given.city.regions.name}, {name}",
            metric=f"{metric}_jsd",
            value=value,
            n=len(given.real),
            floor=floor[metric],
            mode="free",
        )
        for name, days in given.generated.items()
        for metric, value in mobility_divergences(given.real, days, xy).items()
        if metric in QUANTITIES
    ]


def movesim_rows(given: Comparison, directory: Path, seed: int) -> list[Row]:
    """Return the divergences of every generator, preset of MoveSim, on Beijing's location ids."""
    movesim = read_movesim(directory)
    floor = movesim_divergences(movesim.validation, movesim.train, movesim.where)
    rows: list[Row] = []
    for name, days in given.generated.items():
        places = locations_of(days, given.city.regions.xy, movesim, seed)
        found = movesim_divergences(movesim.validation, places, movesim.where)
        rows += [
            Row(
                case=f"{given.city.regions.name}, {name}",
                metric=f"movesim_{metric}",
                value=value,
                n=len(movesim.validation),
                floor=floor[metric],
                mode="free",
            )
            for metric, value in found.items()
        ]
    return rows


def flow_rows(given: Comparison) -> list[Row]:
    """Return the common part of commuters of every generator with the held-out days."""
    xy = given.city.regions.xy
    floor = common_part_of_commuters(given.real, given.train, xy)
    return [
        Row(
            case=f"{given.city.regions.name}, {name}",
            metric=f"common_part_of_commuters, {unit}",
            value=value,
            n=len(given.real),
            floor=floor[unit],
            mode="free",
        )
        for name, days in given.generated.items()
        for unit, value in common_part_of_commuters(given.real, days, xy).items()
    ]


def similarities(given: Comparison, days: int) -> dict[str, npt.NDArray[np.float64]]:
    """Return the uniqueness of ``days`` days of every generator, and of held-out days, (D, 3)."""
    asked = {"held-out days": given.real, **given.generated}
    return {name: uniqueness(clock[:days], given.train) for name, clock in asked.items()}


def uniqueness_rows(given: Comparison, similar: dict[str, npt.NDArray[np.float64]]) -> list[Row]:
    """Return mean similarities to the nearest training days, and shares of copies."""
    floor = _uniqueness(similar["held-out days"])
    rows: list[Row] = []
    for name in given.generated:
        values = _uniqueness(similar[name])
        rows += [
            Row(
                case=f"{given.city.regions.name}, {name}",
                metric=metric,
                value=value,
                n=len(similar[name]),
                floor=floor[metric],
                mode="free",
            )
            for metric, value in values.items()
        ]
    return rows


def membership_rows(given: Comparison, seed: int) -> list[Row]:
    """Return the success of attacks on every generator, with floor and ceiling.

    Held-out days of the second half are candidates. What is attacked knows nothing of them: days
    from the start regions of the first half, and in the floor that half itself. Halves are
    contiguous, so that persons stay together where the days are ordered by person. The training
    days themselves are the ceiling.
    """
    half = len(given.real) // 2
    apart, candidates = given.real[:half], given.real[half:]
    floor = membership(given.train, candidates, apart, seed)
    seen = {
        name: days[np.arange(len(days)) % len(given.real) < half]
        for name, days in given.generated.items()
    }
    seen["the training days themselves"] = given.train
    rows: list[Row] = []
    for name, days in seen.items():
        found = membership(given.train, candidates, days, seed)
        case = f"{given.city.regions.name}, {name}"
        for kind in CLASSIFIERS:
            target = _TARGET_ATTACK if name == GENERATOR else None
            values = {"accuracy": found[kind].accuracy, "auc": found[kind].area}
            floors = {"accuracy": floor[kind].accuracy, "auc": floor[kind].area}
            rows += [
                Row(
                    case=case, metric=f"membership_{metric}, {kind}", value=value,
                    n=len(candidates), floor=floors[metric],
                    target=target if metric == "accuracy" else None, mode="free",
                )
                for metric, value in values.items()
            ]  # fmt: skip
    return rows


def utility_rows(
    given: Comparison, added: tuple[str, ...], how: PredictorFit, seed: int
) -> list[Row]:
    """Return the accuracy of next-region predictors on held-out days.

    Parameters
    ----------
    given
        Real and generated days.
    added
        Generators whose days are added to the real ones, one at a time.
    how
        How the predictors are fitted.
    seed
        Root of the draws.
    """
    order = seeds.stream(seed, "utility-share").permutation(len(given.train))
    regions = len(given.city.regions.xy)
    rows: list[Row] = []
    for kind in PREDICTORS:
        for share in SHARES:
            real = given.train[order[: round(share * len(order))]]
            alone = accuracies(fit_predictor(kind, real, regions, seed, how), given.real)
            case = f"{given.city.regions.name}, {kind}, {share:.0%} real"
            rows += _utility_rows(case, alone, None, len(given.real))
            for name in added:
                both = np.concatenate([real, given.generated[name]])
                found = accuracies(fit_predictor(kind, both, regions, seed, how), given.real)
                rows += _utility_rows(f"{case} + {name}", found, alone, len(given.real))
    return rows


def _utility_rows(
    case: str, found: dict[int, float], alone: dict[int, float] | None, count: int
) -> list[Row]:
    return [
        Row(
            case=case,
            metric=f"accuracy@{k}",
            value=value,
            n=count,
            baseline=None if alone is None else alone[k],
            baseline_name=None if alone is None else "real days alone",
        )
        for k, value in found.items()
    ]


def _uniqueness(similar: npt.NDArray[np.float64]) -> dict[str, float]:
    means = {f"similarity_top_{k}": float(similar[:, i].mean()) for i, k in enumerate(NEAREST)}
    return means | {
        "share_with_a_day_above_0.8": float((similar[:, 0] > _ALIKE).mean()),
        "share_of_copies": float((similar[:, 0] == 1.0).mean()),
    }
