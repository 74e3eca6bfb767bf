"""DataFusion's tables in the paper's form, ours beside theirs.

The paper's figures are of its own data (NHTS, SCAG, Veraset and time use of Los Angeles County);
each table names both, so that nobody takes them for the same.
"""

from collections.abc import Iterable

from raygen.metrics import QUANTITIES
from raygen.results import PaperTable, Row
from raygen.taxonomy import ACTIVITY_TYPES, DEMOGRAPHIC_GROUPS

PAPER_TABLE_4 = (
    (0.0508, 0.0289, 0.0367), (0.0131, 0.0018, 0.0044), (0.0041, 0.0015, 0.0042),
    (0.0028, 0.0010, 0.0030), (0.0030, 0.0008, 0.0022), (0.0052, 0.0027, 0.0054),
    (0.0081, 0.0050, 0.0085),
)  # fmt: skip
"""Survey against GPS of Los Angeles, iterations 1 to 6: type, start and end time."""

PAPER_TABLE_3 = {
    "length": 0.017, "duration": 0.002, "type": 0.001, "start_time": 0.001, "end_time": 0.005,
}  # fmt: skip
"""Row "M^N on NHTS" of DataFusion's Table 3: 70 % masked days reconstructed."""

PAPER_TYPES = (0, 1, 2, 4, 6, 8, 9, 10)
"""Activity types that Table 6 prints."""

PAPER_TABLE_6: dict[str, tuple[float, tuple[float, ...]]] = {
    "young_male_worker": (0.0085, (843.7, 209.5, 117.7, 19.6, 52.5, 100.7, 23.8, 61.5)),
    "young_female_worker": (0.0159, (820.2, 176.2, 131.5, 39.8, 57.3, 70.2, 23.5, 75.8)),
    "mid_aged_male_worker": (0.0189, (798.4, 380.8, 0.0, 37.9, 61.7, 76.2, 23.9, 42.4)),
    "mid_aged_female_worker": (0.0185, (839.0, 333.0, 0.0, 42.4, 57.0, 63.2, 16.8, 46.1)),
    "elderly_male_worker": (0.0157, (875.0, 295.6, 0.0, 34.8, 69.2, 83.2, 20.5, 35.6)),
    "elderly_female_worker": (0.0136, (913.2, 245.7, 0.0, 41.4, 62.3, 84.7, 15.0, 37.0)),
    "young_male_non_worker": (0.0090, (903.8, 0.0, 170.7, 21.3, 54.0, 97.7, 57.9, 52.1)),
    "young_female_non_worker": (0.0103, (899.9, 0.0, 170.5, 36.0, 59.9, 79.7, 31.5, 49.2)),
    "mid_aged_male_non_worker": (0.0064, (1013.8, 0.0, 18.5, 40.6, 57.2, 127.3, 27.0, 45.6)),
    "mid_aged_female_non_worker": (0.0078, (994.0, 0.0, 11.9, 44.2, 58.3, 90.6, 16.9, 54.4)),
    "elderly_male_non_worker": (0.0092, (1022.0, 0.0, 1.6, 42.1, 70.3, 144.4, 25.0, 41.6)),
    "elderly_female_non_worker": (0.0099, (1037.1, 0.0, 1.6, 37.4, 63.5, 120.8, 15.1, 46.9)),
}
"""DataFusion's Table 6: JSD of its output, and its time use in minutes by ``PAPER_TYPES``."""

PAPER_TABLE_5: dict[str, tuple[float, float, float]] = {
    "young_male_worker": (0.083, 0.008, 0.014),
    "young_male_non_worker": (0.086, 0.009, 0.014),
    "young_female_worker": (0.094, 0.015, 0.016),
    "young_female_non_worker": (0.085, 0.013, 0.011),
    "mid_aged_male_worker": (0.048, 0.018, 0.016),
    "mid_aged_male_non_worker": (0.067, 0.006, 0.054),
    "mid_aged_female_worker": (0.055, 0.018, 0.022),
    "mid_aged_female_non_worker": (0.066, 0.007, 0.059),
    "elderly_male_worker": (0.070, 0.015, 0.020),
    "elderly_male_non_worker": (0.066, 0.009, 0.055),
    "elderly_female_worker": (0.077, 0.013, 0.029),
    "elderly_female_non_worker": (0.071, 0.009, 0.063),
}
"""JSD of survey and output, time use and output, time use and survey."""

TABLE_5_METRICS = ("minutes_jsd_survey_output", "minutes_jsd", "minutes_jsd_time_use_survey")
"""Metrics of the rows that Table 5 is made of, in its order."""

_HEADS = ("Length", "Duration", "Type", "Start time", "End time")


def table_3(rows: Iterable[Row], cases: dict[str, str], data: str) -> PaperTable:
    """Return Table 3: five divergences of chains; ours / floor / paper.

    Parameters
    ----------
    rows
        Rows with metrics ``{quantity}_jsd``.
    cases
        Case of a row, and how the table calls it.
    data
        What ours were measured on.
    """
    found = _by_name(rows)
    lines: list[list[str]] = []
    for case, name in cases.items():
        cells = [found.get((case, f"{quantity}_jsd")) for quantity in QUANTITIES]
        lines.append([name, *(_three(cell) for cell in cells)])
    return PaperTable(
        "Table 3: JSD of reconstructed chains (ours / real against real / paper)",
        ["", *_HEADS],
        lines,
        f"Ours: {data}. Paper: NHTS and SCAG's model.",
    )


def table_4(rows: Iterable[Row], cases: dict[str, str], data: str) -> PaperTable:
    """Return Table 4: three divergences by iteration of Algorithm 1; ours ± sd / paper.

    Parameters
    ----------
    rows
        Rows with metrics ``{quantity}_jsd`` and, over seeds, ``{quantity}_jsd_sd``.
    cases
        Case of a row, and how the table calls it.
    data
        What ours were measured on.
    """
    found = _by_name(rows)
    lines: list[list[str]] = []
    for case, name in cases.items():
        cells: list[str] = []
        for quantity in ("type", "start_time", "end_time"):
            row = found.get((case, f"{quantity}_jsd"))
            spread = found.get((case, f"{quantity}_jsd_sd"))
            own = _cell(row) + ("" if spread is None else f" ± {_cell(spread)}")
            paper = "–" if row is None or row.paper is None else f"{row.paper:.4f}"
            cells.append(f"{own} / {paper}")
        lines.append([name, *cells])
    return PaperTable(
        "Table 4: JSD by iteration of semi-supervised transfer (ours / paper)",
        ["", "Activity type", "Start time", "End time"],
        lines,
        f"Ours: {data}. Paper: NHTS to GPS of Los Angeles.",
    )


def table_5(rows: Iterable[Row], day_kind: str, data: str) -> PaperTable:
    """Return Table 5: JSD of minutes by type in 12 groups; ours / paper."""
    found = _by_name(rows)
    lines: list[list[str]] = []
    for group in DEMOGRAPHIC_GROUPS:
        cells = [found.get((f"{group}, {day_kind}", metric)) for metric in TABLE_5_METRICS]
        pairs = zip(cells, PAPER_TABLE_5[group], strict=True)
        lines.append([_words(group), *(f"{_cell(c)} / {paper:.3f}" for c, paper in pairs)])
    return PaperTable(
        f"Table 5: JSD of minutes by activity in 12 groups, {day_kind} (ours / paper)",
        ["Group", "Survey vs output", "Time use vs output", "Time use vs survey"],
        lines,
        f"Ours: {data}; the survey knows travellers alone, and so do its two columns. Paper: NHTS, "
        "time use of Los Angeles County.",
    )


def table_6(rows: Iterable[Row], day_kind: str, data: str) -> PaperTable:
    """Return Table 6: minutes a day by type in 12 groups, time use / output, with the JSD."""
    found = _by_name(rows)
    types = [ACTIVITY_TYPES[kind] for kind in PAPER_TYPES]
    lines: list[list[str]] = []
    for group in DEMOGRAPHIC_GROUPS:
        case = f"{group}, {day_kind}"
        cells = [found.get((case, f"minutes_{kind}")) for kind in types]
        pairs = [f"{cell.target:.1f} / {cell.value:.1f}" if cell else "–" for cell in cells]
        jsd = _cell(found.get((case, "minutes_jsd")))
        lines.append([f"{_words(group)} ({jsd}; paper {PAPER_TABLE_6[group][0]:.4f})", *pairs])
    return PaperTable(
        f"Table 6: minutes a day, {day_kind} (time use / output)",
        ["Group (JSD)", *(kind.replace("_", " ") for kind in types)],
        lines,
        f"Ours: {data}, minutes away from home by type. The paper's own time use, which counts "
        "minutes wherever they were spent, is in the column `paper` of the rows.",
    )


def _by_name(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    return {(row.case, row.metric): row for row in rows}


def _words(group: str) -> str:
    return group.replace("_", " ").capitalize()


def _cell(row: Row | None) -> str:
    return "–" if row is None or row.value is None else f"{row.value:.4f}"


def _three(row: Row | None) -> str:
    if row is None:
        return "–"
    rest = [("–" if value is None else f"{value:.4f}") for value in (row.floor, row.paper)]
    return " / ".join([_cell(row), *rest])
