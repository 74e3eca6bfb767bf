"""Rows and tables of the mobility experiments: what was measured, beside real against real."""

import numpy as np
import numpy.typing as npt

from raygen.mobility import expand
from raygen.mobility_flows import common_part, flows_of, squares
from raygen.mobility_metrics import QUANTITIES, mobility_divergences
from raygen.results import PaperTable, Row
from training.mobility_cases import Case, Table
from training.mobility_data import CityDays

Clock = npt.NDArray[np.int32]

SPEED = "generated_days_per_cpu_second"
MEASURES = (*QUANTITIES[:5], "cpc")

_SQUARE_M = 2000.0


def rows_of(
    cities: dict[str, CityDays], found: dict[tuple[str, Case], dict[str, float]]
) -> list[Row]:
    """Return all that was measured as rows, beside real against real."""
    rows: list[Row] = []
    for (name, case), values in found.items():
        city = cities[name]
        real, train = expand(city.held_out), expand(city.train)
        floor = mobility_divergences(real, train, city.regions.xy)
        floor["cpc"] = common_flows(real, train, city.regions.xy)
        word = f"{_named(case.table)}, {case.name}" if case.table else "whole model"
        rows += [
            Row(
                case=f"{name}, {word}",
                metric="cpc_2km" if metric == "cpc" else f"{metric}_jsd",
                value=values[metric],
                n=len(real),
                floor=floor[metric],
                mode="free",
            )
            for metric in MEASURES
        ]
        if SPEED in values:
            last = rows[-1].case
            rows.append(Row(case=last, metric=SPEED, value=values[SPEED], mode="free"))
    return rows


def paper_tables(
    targets: tuple[str, ...],
    numbers: tuple[Table, ...],
    found: dict[tuple[str, Case], dict[str, float]],
) -> list[PaperTable]:
    """Return the tables of these numbers in the paper's form, for the cities ``targets``."""
    whole = next(case for _, case in found if not case.table)
    title = {"4": "less data", "5": "an unseen city", "6": "without parts of the plan"}
    title |= {"L": "plans by the language model", "S": "an entry for each slot, not each arrival"}
    tables: list[PaperTable] = []
    for number in numbers:
        words = title[number]
        lines: list[list[str]] = []
        for name in targets:
            mine = [case for city, case in found if city == name and case.table == number]
            for case in [*mine, whole]:
                values = found[name, case]
                word = "all of it" if case == whole else case.name
                lines.append([name, word, *(f"{values[metric]:.4f}" for metric in MEASURES)])
        note = "JSD, smaller is better; cpc: common part of commuters between squares of 2 km."
        columns = ["city", "case", *MEASURES]
        tables.append(PaperTable(f"UniMob, {_named(number)}: {words}", columns, lines, note))
    return tables


def common_flows(real: Clock, days: Clock, xy: npt.NDArray[np.float64]) -> float:
    """Return the common part of commuters between squares of 2 km; 0 where nobody moves."""
    flows = [flows_of(side, squares(xy, _SQUARE_M)) for side in (real, days)]
    return common_part(*flows) if min(part.trips.sum() for part in flows) > 0 else 0.0


def _named(table: str) -> str:
    return {"S": "sequences", "L": "planner"}.get(table, f"Table {table}")
