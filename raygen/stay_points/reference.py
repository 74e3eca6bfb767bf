"""Stay points of one trace in plain Python: what the compiled kernel must agree with.

DataFusion's Algorithm 4, stages 1 and 3, with the rules of ``raygen.stay_points.kernel``, written
for reading: one person, distances in metres, no arrays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from raygen.stay_points.settings import StayConfig

EARTH_RADIUS_M = 6_371_008.8


@dataclass(frozen=True)
class Fix:
    """Where a person was at one time."""

    time_ms: int
    lat: float
    lon: float


@dataclass(frozen=True)
class Stay:
    """Where a person stayed, and from when to when."""

    start_ms: int
    end_ms: int
    lat: float
    lon: float
    fixes: int


def haversine_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the distance of two points, latitude and longitude in degrees, in metres."""
    lat_a, lon_a, lat_b, lon_b = map(math.radians, (*a, *b))
    half = math.sin((lat_b - lat_a) / 2) ** 2
    half += math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, half)))


def stays_of(fixes: Sequence[Fix], config: StayConfig) -> list[Stay]:
    """Return the stays of one person.

    Parameters
    ----------
    fixes
        In the order of time.
    config
        Thresholds.
    """
    found: list[Stay] = []
    first = 0
    while first < len(fixes):
        cluster = _cluster(fixes, first, config)
        last = cluster[-1]
        centre = _centre([fixes[at] for at in cluster])
        stay = _stay([fixes[at] for at in cluster], centre, fixes[last + 1 : last + 2], config)
        if stay is not None and config.walking_kph > 0:
            stay = _without_walks(fixes[first : last + 1], stay, config)
        if stay is not None:
            found.append(stay)
        first = last + 1
    return found


def _cluster(fixes: Sequence[Fix], first: int, config: StayConfig) -> list[int]:
    """Return which fixes belong to the cluster that begins at ``first``."""
    members = [first]
    while True:
        last = fixes[members[-1]]
        centre = _centre([fixes[at] for at in members])
        after = members[-1] + 1
        if after == len(fixes) or fixes[after].time_ms - last.time_ms > 1000 * config.max_gap_s:
            return members
        until = last.time_ms + 1000 * config.excursion_s
        back = [at for at in range(after, len(fixes)) if at == after or fixes[at].time_ms <= until]
        inside = (at for at in back if _distance(fixes[at], centre) <= config.radius_m)
        joined = next(inside, None)
        if joined is None:
            return members
        members.append(joined)


def _stay(
    members: list[Fix], centre: tuple[float, float], after: Sequence[Fix], config: StayConfig
) -> Stay | None:
    """Return the stay that a cluster is, None where it is too short or passing."""
    start, seen = members[0].time_ms, members[-1].time_ms
    end = seen
    passing = config.passing_kph / 3600.0  # metres a millisecond
    for following in after:
        gap = following.time_ms - seen
        way = _distance(following, centre)
        short = seen - start < 1000 * config.min_stay_s
        if short and gap >= 1000 * config.min_stay_s and way > passing * gap:
            return None
        if gap <= 1000 * config.hold_gap_s:
            end = seen + int(max(gap - way / passing, 0.0))
    across = _distance(members[-1], (members[0].lat, members[0].lon))
    if end - start < 1000 * config.min_stay_s or across > passing * (end - start):
        return None
    return Stay(start, end, *centre, len(members))


def _without_walks(fixes: Sequence[Fix], stay: Stay, config: StayConfig) -> Stay | None:
    """Return the stay within its cluster's inner half; None where that was crossed at a walk."""
    crossing = config.radius_m / (config.walking_kph / 3600.0)
    centre = (stay.lat, stay.lon)
    core = [fix for fix in fixes if _distance(fix, centre) <= config.radius_m / 2] or [fixes[0]]
    start = core[0].time_ms
    end = stay.end_ms if core[-1] is fixes[-1] else core[-1].time_ms
    if end - start < crossing and stay.end_ms - stay.start_ms < 2 * crossing:
        return None
    if end - start < 1000 * config.min_stay_s:
        return stay
    return replace(stay, start_ms=start, end_ms=end)


def _centre(fixes: Sequence[Fix]) -> tuple[float, float]:
    """Return the centroid that the fixes moved to, one after the other: c ← c + (x − c)/n."""
    lat, lon = fixes[0].lat, fixes[0].lon
    for count, fix in enumerate(fixes[1:], start=2):
        lat += (fix.lat - lat) / count
        lon = _turn(lon + _turn(fix.lon - lon) / count)
    return lat, lon


def _turn(degrees: float) -> float:
    """Return a longitude, or a difference of two, between -180 and 180."""
    return degrees - 360.0 if degrees > 180.0 else degrees + 360.0 if degrees < -180.0 else degrees  # noqa: PLR2004


def _distance(fix: Fix, centre: tuple[float, float]) -> float:
    return haversine_m((fix.lat, fix.lon), centre)
