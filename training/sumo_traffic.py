"""The traffic that taxis meet in ``training.sumo_trips``, and what becomes of them."""

from dataclasses import dataclass, fields

from assignment.times import CONGESTION


@dataclass(frozen=True)
class Traffic:
    """Other cars, and how SUMO is run. Assumed throughout."""

    cars: float = 3_000.0
    """Other cars that set off within the busiest hour."""
    least: float = 0.1
    """Share of them in an hour without congestion."""
    hours: tuple[int, ...] = (2, 8, 13, 18, 22)
    """Hours that stand for the day; a taxi drives in the one nearest to its own."""
    warm_s: int = 900
    """Seconds of other cars before the taxis."""
    after_s: int = 3000
    """Seconds after the hour until which taxis may arrive; other cars set off until a third."""
    teleport_s: int = 240
    """Seconds of standing after which SUMO lifts a car out of a jam."""
    speed: float = 0.85
    """Wanted speed over the allowed one, of a middling driver."""
    signals: float = 0.6
    """Share of the junctions of major roads that have signals."""
    cycle_s: int = 90
    """Seconds of a signal's programme; each is its own."""

    def volume(self, hour: int) -> float:
        """Return how many other cars set off in an hour."""
        busy = float(CONGESTION[hour % 24] / CONGESTION.max())
        return self.cars * (self.least + (1 - self.least) * busy)


@dataclass(frozen=True)
class Tally:
    """What became of the taxis that were asked for."""

    asked: int = 0
    no_way: int = 0
    """Without a route of two segments, or with a turn or a loop that SUMO does not have."""
    waiting: int = 0
    """Found no room to set off."""
    unfinished: int = 0
    """Still under way when the run ended."""
    teleported: int = 0
    """Lifted out of a jam by SUMO."""
    other_lengths: int = 0
    """Of too few or too many points."""
    cars: int = 0
    """Other cars that set off."""
    cars_teleported: int = 0
    """Times that one of them was."""

    def __add__(self, other: "Tally") -> "Tally":
        """Return the sum of two runs."""
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __str__(self) -> str:
        """Return the figures in a line."""
        return (
            f"{self.asked} taxis: {self.no_way} without a way, {self.waiting} never set off, "
            f"{self.unfinished} not finished, {self.teleported} teleported, {self.other_lengths} "
            f"of other lengths; {self.cars} other cars, {self.cars_teleported} teleports of them"
        )
