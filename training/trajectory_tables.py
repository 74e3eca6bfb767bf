"""HTP's Table 1 in the paper's form, ours beside theirs."""

from raygen.results import PaperTable, Row
from raygen.trajectory_metrics import IDEAL

COLUMNS = ("t_dist", "s_dist", "radius", "g_den", "g_pat", "r_den", "r_pat", "pr_dist")
"""The table's order."""

HEADS = ("T-Dist↓", "S-Dist↓", "Radius↓", "G-Den↑", "G-Pat↑", "R-Den↑", "R-Pat↑", "PR-Dist↓")

CEILING = "driven again"
"""In the names of rows that are no models."""

SPREAD = ", spread over draws"
"""End of the metric of a row that has a standard deviation over a model's draws."""

PAPER_PORTO: dict[str, tuple[float, ...]] = {
    "TrajGAN": (0.07001, 0.02796, 0.06960, 0.70959, 0.24719, 0.65745, 0.23881, 0.36468),
    "TrajVAE": (0.03884, 0.06019, 0.00327, 0.73015, 0.25564, 0.71300, 0.38095, 0.40190),
    "DiffTraj": (0.00093, 0.00587, 0.00100, 0.96838, 0.58621, 0.97654, 0.73973, 0.13961),
    "ControlTraj": (0.00066, 0.00529, 0.00086, 0.97733, 0.62009, 0.98003, 0.83328, 0.06777),
    "Cardiff": (0.00279, 0.01365, 0.00019, 0.98196, 0.69058, 0.98641, 0.87081, 0.05993),
    "HTP": (0.00020, 0.00232, 0.00016, 0.99519, 0.83019, 0.99418, 0.92683, 0.01799),
}
"""Porto's half of the paper's Table 1, of 59,777 test trips."""

PAPER_HTP: dict[str, float] = dict(zip(COLUMNS, PAPER_PORTO["HTP"], strict=True))


def table_1(rows: list[Row], name: str, preset: str) -> PaperTable:
    """Return Table 1 of a set under a preset: a line a model, the floor, the paper's own lines."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        of, _, model = row.case.partition(": ")
        if of == name and row.metric.startswith(f"{preset}: "):
            found.setdefault(model, {})[row.metric.removeprefix(f"{preset}: ")] = row
    best: dict[str, float | None] = {}
    for column in COLUMNS:
        values = [
            v
            for v in (cells[column].value for of, cells in found.items() if CEILING not in of)
            if v is not None
        ]
        best[column] = (max if IDEAL[column] else min)(values, default=None)
    lines = [
        [model, *(_spread(cells, column, best[column]) for column in COLUMNS)]
        for model, cells in found.items()
    ]
    for cells in list(found.values())[:1]:
        floor = [cells[column].floor for column in COLUMNS]
        lines.insert(0, ["*real against real*", *(_cell(value, None) for value in floor)])
    if name == "porto" and preset == "htp":
        lines += [
            [f"paper: {model}", *(f"{value:.5f}" for value in values)]
            for model, values in PAPER_PORTO.items()
        ]
    count = next((cells["t_dist"].n for cells in found.values()), None)
    return PaperTable(
        f"Table 1, {name}, preset {preset}",
        ["", *HEADS],
        lines,
        f"Ours: {count} test trajectories. Bold: the best of ours, trips driven again aside. The "
        "paper's lines are of its own data, and no measure of these.",
    )


def _spread(cells: dict[str, Row], column: str, best: float | None) -> str:
    """Return a value with its standard deviation over draws, where it has one."""
    told = _cell(cells[column].value, best)
    spread = cells.get(column + SPREAD)
    return told if spread is None or spread.value is None else f"{told} ±{spread.value:.5f}"


def _cell(value: float | None, best: float | None) -> str:
    if value is None:
        return "–"
    return f"**{value:.5f}**" if value == best else f"{value:.5f}"
