"""Rows of ``training.transfer_results`` as results, in the form of DataFusion's Tables 3 and 4."""

from raygen import paper_tables
from raygen.results import Results, Row
from training.transfer_paper import NOTES

_TABLE_3 = {
    "survey against target": "Survey vs target",
    "chain decoder, source survey, 70 % masked, no transfer (M^N)": "M^N on survey",
    "chain decoder, target, 70 % masked, no transfer (M^N)": "M^N on target",
    "chain decoder, target, 70 % masked, unfreezing (M^S)": "M^S on target",
    "chain decoder, target, 70 % masked, all at once": "All at once",
    "chain decoder, target, 70 % masked, scratch": "From scratch",
}


def results_of(rows: list[Row]) -> Results:
    """Return the rows as results, with the paper's tables."""
    return Results(
        name="data-fusion-transfer",
        command="python -m training.transfer_results raygen/weights data/activitysim",
        data="source: Česko v pohybu 2017–2019; targets: San Francisco Bay Area days of the "
        "package activitysim 1.6.0 (synthesised by a model, not observed) and Beijing days of "
        "MoveSim (places observed, types calibrated)",
        rows=rows,
        tables=[
            paper_tables.table_3(
                rows, _TABLE_3, "Česko v pohybu and the Bay Area's days, held-out persons"
            ),
            paper_tables.table_4(
                rows,
                {"beijing, source survey against A_raw": "Survey vs days of places"}
                | {
                    f"beijing, A_n against A_raw, iteration {number}": f"Iteration {number}"
                    for number in range(7)
                },
                "Česko v pohybu to Beijing's days, held-out days, three seeds",
            ),
        ],
        notes=NOTES,
    )
