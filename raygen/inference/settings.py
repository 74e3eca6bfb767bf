"""Thresholds of activity inference: the paper gives none, so all defaults are assumed."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from raygen.config import Section
from raygen.errors import ConfigError
from raygen.stay_points.settings import StayConfig

Share = Annotated[float, Field(ge=0, le=1)]
Hour = Annotated[float, Field(ge=0, le=24)]

Until = Literal["stays", "activities", "chains"]
"""How far traces are followed: stay points, their activity types, completed day chains."""

STEPS: tuple[Until, ...] = ("stays", "activities", "chains")
"""The steps of ``Until``, in order."""


def last_step(word: str) -> Until:
    """Return the step of this name.

    Raises
    ------
    ConfigError
        If there is none.
    """
    for step in STEPS:
        if step == word:
            return step
    msg = f"until: must be {', '.join(STEPS)}, got {word!r}"
    raise ConfigError(msg)


class InferenceConfig(Section):
    """Rules for home, work and school, and the likelihoods of the rest."""

    gps_noise_m: Annotated[float, Field(gt=0, le=1000)] = 10.0
    """Standard deviation of a stay's position in each of two axes, in metres."""

    poi_extent_m: Annotated[float, Field(ge=0, le=1000)] = 15.0
    """The same of where people are about a POI's point, as a POI is a building, in metres."""

    reach_sigmas: Annotated[float, Field(ge=1, le=10)] = 4.0
    """POIs farther from a stay than this many standard deviations do not count."""

    neighbours: Annotated[int, Field(ge=1, le=1024)] = 64
    """Nearest POIs that count."""

    completeness: Share = 0.9
    """Share of the places that people visit, homes apart, that are among the POIs."""

    home_pois: Share = 0.1
    """Share of homes that are among the POIs."""

    place_m: Annotated[float, Field(gt=0, le=5000)] = 100.0
    """Stays of a person within this of a place's mean point are visits to it, in metres: five
    standard deviations of a GPS of 20 m, and about the size of an H3 cell of resolution 10."""

    consistency: Annotated[float, Field(ge=0, lt=1)] = 0.4
    """ρ: probability that a visit has the type that its place has for the person; 0 takes visits
    by themselves."""

    site_m: Annotated[float, Field(ge=0, le=5000)] = 300.0
    """Within this of home, work or school a stay that is long by the rule is there too, in metres;
    δs of the stay points."""

    night: tuple[Hour, Hour] = (22.0, 6.0)
    """Hours in which people are at home, on the city's clock."""

    home_night_h: Annotated[float, Field(ge=0)] = 2.0
    """Least hours at night, over all days, in the place that is a person's home."""

    day: tuple[Hour, Hour] = (6.0, 20.0)
    """Hours of weekdays in which people are at work or school."""

    work_h: Annotated[float, Field(gt=0, le=24)] = 2.0
    """Least mean hours a day, within ``day``, at a work place seen on ``recurrence`` days."""

    work_once_h: Annotated[float, Field(gt=0, le=24)] = 4.0
    """The same at a work place seen on fewer days."""

    school_h: Annotated[float, Field(gt=0, le=24)] = 1.5
    """As ``work_h``, of a school."""

    school_once_h: Annotated[float, Field(gt=0, le=24)] = 3.0
    """As ``work_once_h``, of a school."""

    school_longest_h: Annotated[float, Field(gt=0, le=24)] = 10.0
    """Longest mean hours of a day at school."""

    school_km: Annotated[float, Field(gt=0)] = 50.0
    """Farthest that a school is from home, in kilometres."""

    work_km: Annotated[float, Field(gt=0)] = 200.0
    """Farthest that a work place is from home, in kilometres."""

    work_night_share: Share = 0.25
    """Largest share of night in the hours, of the night and of weekday daytime, at work or school:
    who sleeps there lives there."""

    recurrence: Annotated[int, Field(ge=2)] = 2
    """Weekdays on which a place is visited to count as one that recurs."""

    recurrence_share: Share = 0.2
    """Least share of a person's observed weekdays on which a recurring place is visited."""

    rule_confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Probability of a type that a rule gave; the rest goes by Bayes."""

    second_home: Share = 0.02
    """Factor of P(home) away from the home that was found."""

    second_work: Share = 0.1
    """Factor of P(work) away from the work place that was found."""

    second_school: Share = 0.1
    """Factor of P(school) away from the school that was found."""

    travel_min: Annotated[int, Field(ge=0, le=240)] = 30
    """Gaps of a day up to this long between two stays are the way there, which a day chain counts
    to the activity that is left, in minutes; longer ones are for reconstruction to fill."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("work", "school"):
            often, once = getattr(self, f"{name}_h"), getattr(self, f"{name}_once_h")
            if once < often:
                msg = f"{name}_once_h must be at least {name}_h, {often}"
                raise ValueError(msg)
        if self.day[0] >= self.day[1]:
            msg = "day must begin before it ends"
            raise ValueError(msg)
        return self


class TraceConfig(StayConfig):
    """All settings of ``raygen stays``: the thresholds of stay points, and of what follows."""

    inference: InferenceConfig = InferenceConfig()

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Root of the draws of day chains and of unknown people's profiles."""

    weights: Path | None = None
    """Directory of model weights; the shipped ones where it is not given."""
