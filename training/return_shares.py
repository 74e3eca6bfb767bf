"""How many visits are to places where the person was before: generated beside observed.

    python -m training.return_shares POPULATION CHECKINS

Writes ``docs/results/returns.json`` and ``.md``. POPULATION: of seven days, as ``raygen generate
training/recipes/inference.toml`` makes it. CHECKINS: ``Foursquare_Sample.csv`` of the package
mat-data, or its folder (observed; see ``raygen.foursquare``). Both are looked at from the person's
first day on, without a memory, as a generated person has none.
"""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from raygen.city import open_city
from raygen.foursquare import CheckIns, read_check_ins
from raygen.inference.pois import city_index
from raygen.results import Results, Row
from raygen.taxonomy import ACTIVITY_TYPES, DAY_S, POI_CATEGORIES
from training.inference_truth import Truth, read_truth

IntArray = npt.NDArray[np.int64]

_DAYS = 7
_OUTPUT = Path("docs/results/returns.json")

SAME = {
    "meals_out": ("dining",),
    "shop_goods": ("shopping",),
    "exercise": ("sports",),
    "leisure": ("leisure", "tourism"),
}
"""POI categories of check-ins beside an activity type, near enough to be compared."""


def returned(person: IntArray, place: IntArray) -> npt.NDArray[np.bool_]:
    """Return which visits are to a place that the person was at before; visits in order of time."""
    _, first = np.unique(np.stack([person, place], axis=1), axis=0, return_index=True)
    again = np.ones(len(person), np.bool_)
    again[first] = False
    return again


def of_check_ins(found: CheckIns) -> tuple[IntArray, IntArray, npt.NDArray[np.bool_]]:
    """Return day since the person's first, category and return of check-ins of the first days.

    A check-in at the place of the one before is no other visit.
    """
    _, place = np.unique(found.point, axis=0, return_inverse=True)
    place = place.ravel().astype(np.int64)
    moved = np.append(True, (np.diff(found.person) != 0) | (np.diff(place) != 0))
    begins = np.append(True, np.diff(found.person) != 0)
    start = found.second[begins][np.cumsum(begins) - 1] // DAY_S
    day = found.second // DAY_S - start
    rows = np.flatnonzero(moved & (day < _DAYS))
    again = returned(found.person[rows], place[rows])
    return day[rows], found.category[rows], again


def of_truth(truth: Truth) -> tuple[IntArray, IntArray, npt.NDArray[np.bool_]]:
    """Return day of the run, activity type and return of a population's stays."""
    _, place = np.unique(truth.stays.xy, axis=0, return_inverse=True)
    again = returned(truth.person_id, place.ravel().astype(np.int64))
    day = truth.stays.start_s // DAY_S
    return day - day.min(), truth.kind.astype(np.int64), again


def rows_of(generated: Truth, observed: CheckIns) -> list[Row]:
    """Return the shares by type, over all of them, and by day."""
    day, kind, again = of_truth(generated)
    seen_day, category, seen_again = of_check_ins(observed)
    mine, theirs = np.zeros(len(kind), np.bool_), np.zeros(len(category), np.bool_)
    rows: list[Row] = []
    for word, names in SAME.items():
        here = kind == ACTIVITY_TYPES.index(word)
        there = np.isin(category, [POI_CATEGORIES.index(name) for name in names])
        rows.append(_row(word, again[here], seen_again[there]))
        mine |= here
        theirs |= there
    rows.insert(0, _row("all four types", again[mine], seen_again[theirs]))
    for number in range(_DAYS):
        here, there = mine & (day == number), theirs & (seen_day == number)
        rows.append(_row(f"day {number + 1}", again[here], seen_again[there]))
    return rows


def _row(case: str, again: npt.NDArray[np.bool_], seen: npt.NDArray[np.bool_]) -> Row:
    return Row(
        case=f"first {_DAYS} days, {case} ({len(seen):,} check-ins)",
        metric="share_at_a_place_known", value=float(again.mean()), n=len(again),
        baseline=float(seen.mean()), baseline_name="check-ins of New York",
    )  # fmt: skip


def main() -> None:
    """Measure and write the results."""
    if len(sys.argv) != 3:  # noqa: PLR2004 - the two paths
        sys.exit("usage: python -m training.return_shares POPULATION CHECKINS")
    city = open_city("los_angeles")
    truth = read_truth(Path(sys.argv[1]), city_index(Path(city.path), city.crs), _DAYS)
    results = Results(
        name="returns",
        command="raygen generate training/recipes/inference.toml && "
        "python -m training.return_shares runs/inference CHECKINS",
        data="5,000 generated people of Los Angeles County, 7 days, seed 407 (synthesised); "
        "191 persons of New York, Foursquare (observed, package mat-data)",
        rows=rows_of(truth, read_check_ins(Path(sys.argv[2]))),
        notes=[
            "No parameter was fitted to these check-ins: ρ and γ are those published by Song et "
            "al. (assignment/returns.py). The baseline is no rival here but what was observed.",
            "Check-ins are made where and when people like to, and their persons are put together "
            "from weekly pieces: they say of what size returns are, not more.",
            "A place is a POI, or a venue's point; a visit to one where the person did something "
            "else before counts as a return in both.",
        ],
    )
    sys.stdout.write(f"{results.write(_OUTPUT)}\n")


if __name__ == "__main__":
    main()
