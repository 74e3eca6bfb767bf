"""Traces made in code: persons who stay in places and drive or walk between them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raygen.stay_points.reference import Fix
from raygen.traces import TIME

LAT, LON = 34.02, -118.18
METRE = 1 / 111_195.0
"""Degrees of latitude."""

EPOCH_S = 1_717_398_000
"""2024-06-03 00:00 in Los Angeles, a Monday."""


def point(east_m: float, north_m: float) -> tuple[float, float]:
    """Return latitude and longitude of a point by its metres from (LAT, LON)."""
    return LAT + north_m * METRE, LON + east_m * METRE / np.cos(np.radians(LAT))


@dataclass
class Trail:
    """The fixes of one person, which grow as the person goes on; ``every_s`` a fix."""

    every_s: float = 30.0
    clock_s: float = EPOCH_S
    at: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        self.fixes: list[Fix] = []

    def see(self, east_m: float, north_m: float) -> None:
        """Add a fix now."""
        self.fixes.append(Fix(round(1000 * self.clock_s), *point(east_m, north_m)))

    def stay(self, seconds: float) -> "Trail":
        """Stay; the first fix is on arrival, the last when the person leaves."""
        steps = int(seconds // self.every_s)
        for step in range(steps + 1):
            self.see(*self.at)
            self.clock_s += self.every_s if step < steps else 0
        self.clock_s += self.every_s
        return self

    def go(self, east_m: float, north_m: float, kph: float) -> "Trail":
        """Go in a straight line to a point; the fixes are on the way."""
        start, end = np.array(self.at), np.array([east_m, north_m])
        seconds = np.hypot(*(end - start)) / (kph / 3.6)
        for share in np.arange(self.every_s, seconds, self.every_s) / seconds:
            self.see(*(start + share * (end - start)))
            self.clock_s += self.every_s
        self.at = (east_m, north_m)
        return self

    def silent(self, seconds: float) -> "Trail":
        """Let time go by without a fix."""
        self.clock_s += seconds
        return self


def table(people: dict) -> pa.Table:
    """Return trails by person as a table of fixes."""
    rows = [(person, fix) for person, trail in people.items() for fix in trail.fixes]
    columns = {
        "person_id": pa.array([person for person, _ in rows]),
        "time": pa.array([fix.time_ms for _, fix in rows], pa.int64()).cast(TIME),
        "lon": pa.array([fix.lon for _, fix in rows]),
        "lat": pa.array([fix.lat for _, fix in rows]),
    }
    return pa.table(columns)


def day(seed: int, places: int = 6) -> Trail:
    """Return a person's day: stays of 20 minutes to three hours, drives between them."""
    rng = np.random.default_rng(seed)
    trail = Trail(every_s=60.0)
    for _ in range(places):
        trail.stay(float(rng.uniform(1200, 10_800)))
        trail.go(*rng.uniform(-3000, 3000, 2), kph=40.0)
    return trail.stay(1800.0)
