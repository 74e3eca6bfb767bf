"""What DataFusion prints of transfer, and what to know when reading it beside ours."""

from raygen.evaluation import PAPER_TABLE_3
from raygen.metrics import QUANTITIES
from raygen.paper_tables import PAPER_TABLE_4

PAPER: dict[str, tuple[float, ...]] = {
    "NHTS vs SCAG": (0.017, 0.009, 0.059, 0.018, 0.013),
    "M^N on NHTS": tuple(PAPER_TABLE_3[name] for name in QUANTITIES),
    "M^N on SCAG": (0.021, 0.003, 0.017, 0.004, 0.007),
    "M^S on SCAG": (0.011, 0.004, 0.004, 0.001, 0.001),
}
"""Rows of Table 3, in the order of ``QUANTITIES``."""

PAPER_LA = PAPER_TABLE_4
"""In the order of ``raygen.transitions.COMPARED``."""

NOTES = [
    "`paper`: Table 3 is NHTS and SCAG, Table 4 NHTS and GPS of Los Angeles, at the paper's own"
    " (unprinted) bins: other data, and beside ours for orientation alone. Rows of `beijing` "
    "stand beside Table 4; Table 7 (Egypt) has 0.0255, 0.0637, 0.0433 before and 0.0027, "
    "0.0025, 0.0021 at best.",
    "The Bay Area's days are no survey: the package's makers let a model draw them. Minutes and"
    " 15 minutes of travel are assumed on top, which alone make start and length differ from "
    "the Czech survey, so `survey against target` holds that too. Beijing's types are inferred.",
    "JSD base 2 over the bins of `raygen.metrics`, weekdays, no adapters, people who stay at "
    "home left out; no test household or day was trained on. MoveSim split days and not "
    "persons, so its persons may be on both sides.",
    "Table 3's form: floor is the target's training days against its test persons; `scratch` "
    "has the same 64 steps as the others. With 739 persons `unfreezing` and `all at once` "
    "cannot be told apart: each is better at some quantities by less than the floor.",
    "Table 4's form: 70 % of each day is hidden in periods of 8–20 slots to make A_raw, and "
    "only transitions between known slots count. Few are left on 382 days, so the floor of "
    "A_raw is high and the paper's figures, from far more days, cannot be reached by any model "
    "here. `A_n against the days before hiding` and `free generation` show what A_raw cannot. "
    "Observed slots are kept, which pulls `A_n` to A_raw by construction; free generation is "
    "not helped by it.",
    "`_sd` is over three seeds; `iteration_kept` is the least J on validation days, and "
    "`decays_from` the first iteration after it with a higher J (none: J fell to the last).",
    "The slot network draws each hidden slot apart from its neighbours, so that its days fall to "
    "pieces (length, duration) with and without transfer; unfreezing lowers type and end alone.",
]
"""Notes of the results."""
