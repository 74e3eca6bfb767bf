"""The clock of a household: who waits for whom."""

import numpy as np
import pytest

from assignment.clock import Moves, schedule
from assignment.company import Homes
from assignment.times import Plan
from raygen.taxonomy import HOME

OUT, STAY = 8, 300
Day = list[tuple[int, int, int]]  # (type, planned arrival, travel) of each activity after the first


def clock(days: list[Day], child: int = -1, cars: int = 0, escort=None, car=None):
    """Return start and end by person of one household's day."""
    rows = [(*row, k) for day in days for k, row in enumerate([(HOME, 0, 0), *day])]
    kind, planned, travel, sequence = (np.array(column) for column in zip(*rows, strict=True))
    start = np.concatenate([[0], np.cumsum([len(day) + 1 for day in days])])
    plan = Plan(start, np.zeros(len(kind), int), sequence, kind, planned)
    none = np.full(len(kind), -1)
    companions, out = none.copy(), none.copy()
    for row, other in (escort or {}).items():
        companions[row] = other
    for row, number in (car or {}).items():
        out[row] = number
    people = np.arange(len(days))
    homes = Homes(
        np.array([0, len(days)]), people, np.array([cars]), people == child, people != child
    )
    begins, ends, *late = schedule(plan, Moves(travel, companions, out), homes, STAY)
    cut = lambda a: [part.tolist() for part in np.split(a, start[1:-1])]  # noqa: E731
    return cut(begins), cut(ends), late


EARLY: Day = [(OUT, 20_000, 600), (HOME, 40_000, 5000)]
LATE: Day = [(OUT, 41_000, 3000), (HOME, 60_000, 600)]  # leaves at 38,000 unless it waits


def test_members_go_their_own_ways_without_a_child() -> None:
    start, end, late = clock([EARLY, LATE])
    assert start == [[0, 20_000, 40_000], [0, 41_000, 60_000]]
    assert end == [[19_400, 35_000, 86_400], [38_000, 59_400, 86_400]]
    assert late == [0, 0]


def test_a_guard_waits_for_the_next_one() -> None:
    start, end, late = clock([EARLY, LATE, []], child=2)
    assert end[1][0] == start[0][2] == 40_000
    assert start[1][1] == 43_000
    assert late == [1, 2000]


def test_nobody_waits_for_a_child_that_goes_out_itself() -> None:
    # The child leaves with the second at 37,000 and comes back with it at 60,000.
    start, end, _ = clock(
        [
            EARLY,
            [(OUT, 37_600, 600), (HOME, 60_000, 600)],
            [(OUT, 37_600, 600), (HOME, 60_000, 600)],
        ],
        child=2,
        escort={7: 4, 8: 5},
    )
    assert start[2] == start[1] == [0, 37_600, 60_000]
    assert end[2] == end[1]


def test_who_makes_a_trip_together_waits_for_the_last() -> None:
    late_back: Day = [
        (OUT, 30_000, 900),
        (HOME, 36_000, 5900),
        (OUT, 37_000, 600),
        (HOME, 50_000, 600),
    ]
    start, end, _ = clock(
        [late_back, [(OUT, 37_000, 600), (HOME, 50_000, 600)]], child=1, escort={6: 3, 7: 4}
    )
    assert start[0][2] == 36_200  # 30,000 + least stay + 5,900
    assert start[0][3] == start[1][1] == 36_200 + STAY + 600
    assert end[0][2] == end[1][0] == 36_200 + STAY


@pytest.mark.parametrize(("cars", "leaves"), [(1, 40_000), (2, 38_000)])
def test_a_tour_waits_for_its_car(cars: int, leaves: int) -> None:
    _, end, _ = clock([EARLY, LATE], cars=cars, car={1: 0, 4: cars - 1})
    assert end[1][0] == leaves


def test_a_leaving_guard_waits_for_the_escort_of_a_child_still_at_home() -> None:
    # The child goes out with the second at 40,500 planned; the first's arrival comes after that,
    # but its long trip would have it leave at 30,000, before the second is back at 36,000.
    first: Day = [(OUT, 42_000, 12_000), (HOME, 60_000, 600)]
    second: Day = [(OUT, 20_000, 600), (HOME, 36_000, 600), (OUT, 41_000, 500), (HOME, 59_000, 500)]
    child: Day = [(OUT, 41_000, 500), (HOME, 59_000, 500)]
    start, end, _ = clock([first, second, child], child=2, escort={9: 6, 10: 7})
    assert end[0][0] == 36_000
    assert start[0][1] == 48_000
    assert start[2][1] == 41_000
