"""Thresholds of stay points: the paper's, and those that it leaves open."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from raygen.config import Section


class StayConfig(Section):
    """Thresholds of DataFusion's Algorithm 4; the defaults are the paper's where it gives one."""

    min_stay_s: Annotated[int, Field(ge=1, le=86_400)] = 300
    """δt: shortest stay, and shortest silence that counts as a temporal gap, in seconds."""

    radius_m: Annotated[float, Field(gt=0, le=50_000)] = 300.0
    """δs: farthest that a fix of a stay lies from the stay's centroid so far, in metres."""

    passing_kph: Annotated[float, Field(gt=0)] = 30.0
    """A candidate that is left or crossed faster than this is passing, in km/h."""

    max_gap_s: Annotated[int, Field(ge=1)] = 43_200
    """Longest silence within a stay that goes on in the same place, in seconds: assumed."""

    hold_gap_s: Annotated[int, Field(ge=0)] = 3600
    """Longest silence of someone who is next seen elsewhere that counts for the place left, less
    the way at ``passing_kph``, in seconds; 0 counts none. Assumed."""

    excursion_s: Annotated[int, Field(ge=0)] = 300
    """Fixes outside a stay are outliers of it where the next one inside follows within this, in
    seconds; 0 keeps the paper's sequential clustering. At most ``min_stay_s``."""

    walking_kph: Annotated[float, Field(ge=0)] = 4.0
    """A cluster whose inner half is crossed at this or faster is a walk through, which a moving
    centroid takes for a stay, in km/h; stays begin and end in their inner half. 0 keeps clusters as
    they are, as the paper does."""

    bounds: tuple[float, float, float, float] | None = None
    """West, south, east, north of the study region, in degrees; the city's box if not given."""

    h3_resolution: Annotated[int, Field(ge=0, le=15)] = 10
    """Resolution of the H3 cell of a stay."""

    min_coverage: Annotated[float, Field(ge=0, le=1)] = 0.33
    """Least share of a day's slots that stays must tell."""

    min_activities: Annotated[int, Field(ge=1)] = 2
    """Fewest stays of a day that is kept ("more than one activity per day")."""

    bucket_fixes: Annotated[int, Field(ge=1000)] = 4_000_000
    """About how many fixes are held at once by a worker; no fewer than one person has."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.excursion_s > self.min_stay_s:
            msg = f"excursion_s must be at most min_stay_s, {self.min_stay_s}"
            raise ValueError(msg)
        if self.max_gap_s < self.min_stay_s:
            msg = f"max_gap_s must be at least min_stay_s, {self.min_stay_s}"
            raise ValueError(msg)
        if self.bounds is not None:
            west, south, east, north = self.bounds
            if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):  # noqa: PLR2004
                msg = "bounds must be west < east in [-180, 180] and south < north in [-90, 90]"
                raise ValueError(msg)
        return self
