"""Stay points of many traces, compiled: stages 1 and 3 of DataFusion's Algorithm 4.

Fixes of a person are clustered in the order of time. A fix joins the cluster while it lies within
δs of the centroid, which moves with each fix: c ← c + (x − c)/n (haversine distances). The fix that
does not join begins the next cluster. A *temporal gap* is a silence of δt or more. In the same
place a silence belongs to the stay, for a phone at rest falls silent. Before a fix elsewhere it
belongs to the place left, but for the way at 30 km/h; where the way over a gap was faster than
that, the person was passing. A cluster that lasts δt or more, silences included, is a stay.

Two rules are ours, and can be switched off. Fixes outside are outliers of the stay where one
inside follows within ``excursion_s``: a reflected signal must not split a stay, and an absence
shorter than the shortest stay is no absence. And a moving centroid follows a walker: at 1.3 m/s
fixes stay within 300 m of the mean of the last ones for over seven minutes. Such a cluster is told
by its inner half, a circle of δs/2 round its final centroid, which a walker crosses in δs / speed.
A stay begins and ends with its first and last fix there, unless less than δt would be left, so that
a way on foot to a place does not count as staying.

``raygen.stay_points.reference`` is the same in plain Python, and tests compare them.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from raygen.stay_points.settings import StayConfig

FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius of the Earth (IUGG), for haversine distances."""

STAY, SHORT, PASSING, WALKED = 0, 1, 2, 3
"""What a cluster is: a stay, too short, passing (Algorithm 4, stage 3), or a walk through."""

KINDS = ("stays", "short", "passing", "walked_through")
"""Names of the kinds of a cluster, for counts."""

_RAD = math.pi / 180.0
_HALF_TURN, _TURN = 180.0, 360.0


class Track(NamedTuple):
    """Fixes of many persons; F fixes, each person's together and in the order of time."""

    time_ms: Int64Array
    """Shape (F,): Unix time."""
    lat: FloatArray
    """Shape (F,): degrees."""
    lon: FloatArray
    """Shape (F,): degrees."""


class Limits(NamedTuple):
    """Thresholds in the kernel's units: milliseconds, metres a millisecond, haversines."""

    least_ms: int
    max_gap_ms: int
    hold_ms: int
    excursion_ms: int
    near: float
    """sin²(δs / 2R)."""
    core: float
    """sin²(δs / 4R): of the inner half."""
    core_ms: float
    """Time that a walker takes through the inner half, 0 where walks are kept."""
    passing: float


class Stays(NamedTuple):
    """S stays, in the order of person and time."""

    person: Int64Array
    """Shape (S,): row of the person in ``person_start``."""
    start_ms: Int64Array
    end_ms: Int64Array
    lat: FloatArray
    """Shape (S,): of the centroid, degrees."""
    lon: FloatArray
    fixes: npt.NDArray[np.int32]
    """Shape (S,): fixes of the cluster, outliers not counted."""

    def take(self, rows: slice | npt.NDArray[np.bool_]) -> "Stays":
        """Return these rows of every column."""
        return Stays(
            self.person[rows],
            self.start_ms[rows],
            self.end_ms[rows],
            self.lat[rows],
            self.lon[rows],
            self.fixes[rows],
        )


def limits(config: StayConfig) -> Limits:
    """Return the thresholds in the kernel's units."""
    angle = config.radius_m / EARTH_RADIUS_M
    walk = config.walking_kph / 3600.0  # metres a millisecond
    return Limits(
        least_ms=1000 * config.min_stay_s,
        max_gap_ms=1000 * config.max_gap_s,
        hold_ms=1000 * config.hold_gap_s,
        excursion_ms=1000 * config.excursion_s,
        near=math.sin(angle / 2) ** 2,
        core=math.sin(angle / 4) ** 2,
        core_ms=config.radius_m / walk if walk > 0 else 0.0,
        passing=config.passing_kph / 3600.0,
    )


def detect(
    track: Track, person_start: Int64Array, thresholds: Limits
) -> tuple[Stays, dict[str, int]]:
    """Find the stays of many persons.

    Parameters
    ----------
    track
        Fixes; positions finite, times of a person not falling.
    person_start
        Shape (N + 1,): person n owns fixes person_start[n] … person_start[n + 1] - 1.
    thresholds
        From ``limits``.

    Returns
    -------
    stays, clusters
        The stays; how many clusters there were of each of KINDS.
    """
    rows = _capacity(track.time_ms, person_start, thresholds.least_ms)
    found = Stays(
        np.empty(rows, np.int64),
        np.empty(rows, np.int64),
        np.empty(rows, np.int64),
        np.empty(rows, np.float64),
        np.empty(rows, np.float64),
        np.empty(rows, np.int32),
    )
    counts = np.zeros(len(KINDS), np.int64)
    _detect(track, person_start, thresholds, found, counts)
    stays = found.take(slice(int(counts[STAY])))
    return stays, dict(zip(KINDS, counts.tolist(), strict=True))


@njit(cache=True, nogil=True)
def _capacity(time_ms: Int64Array, person_start: Int64Array, least_ms: int) -> int:
    """Return more stays than there can be: each has a fix and ends before the next begins."""
    rows = 0
    for person in range(len(person_start) - 1):
        first, stop = person_start[person], person_start[person + 1]
        if stop > first:
            span = time_ms[stop - 1] - time_ms[first]
            rows += min(stop - first, span // least_ms + 1)
    return rows


@njit(cache=True, nogil=True)
def _detect(
    track: Track,
    person_start: Int64Array,
    thresholds: Limits,
    found: Stays,
    counts: Int64Array,
) -> None:
    for person in range(len(person_start) - 1):
        first, stop = person_start[person], person_start[person + 1]
        while first < stop:
            last, members, lat, lon = _grow(track, first, stop, thresholds)
            start, end, kind = _judge(track, (first, last, stop), (lat, lon), thresholds)
            if kind == STAY:
                row = counts[STAY]
                found.person[row] = person
                found.start_ms[row] = start
                found.end_ms[row] = end
                found.lat[row] = lat
                found.lon[row] = lon
                found.fixes[row] = members
            counts[kind] += 1
            first = last + 1


@njit(cache=True, nogil=True)
def _grow(track: Track, first: int, stop: int, thresholds: Limits) -> tuple[int, int, float, float]:
    """Return the last fix of the cluster that begins at ``first``, its fixes and centroid."""
    lat, lon = track.lat[first], track.lon[first]
    members, last, at = 1, first, first + 1
    while at < stop and track.time_ms[at] - track.time_ms[last] <= thresholds.max_gap_ms:
        if _haversine(lat, lon, track.lat[at], track.lon[at]) > thresholds.near:
            at = _return(track, (last, stop), (lat, lon), thresholds)
            if at < 0:
                break
        members += 1
        lat += (track.lat[at] - lat) / members
        lon = _wrapped(lon + _wrapped(track.lon[at] - lon) / members)
        last = at
        at += 1
    return last, members, lat, lon


@njit(cache=True, nogil=True)
def _return(
    track: Track, span: tuple[int, int], centre: tuple[float, float], thresholds: Limits
) -> int:
    """Return the first fix inside again after an excursion, -1 where there is none in time."""
    last, stop = span
    until = track.time_ms[last] + thresholds.excursion_ms
    # The difference of latitudes alone is a lower bound of the distance, and cheap.
    reach = 2.0 * math.sqrt(thresholds.near) / _RAD * 1.001
    at = last + 2
    while at < stop and track.time_ms[at] <= until:
        if abs(track.lat[at] - centre[0]) <= reach and (
            _haversine(centre[0], centre[1], track.lat[at], track.lon[at]) <= thresholds.near
        ):
            return at
        at += 1
    return -1


@njit(cache=True, nogil=True)
def _judge(
    track: Track, span: tuple[int, int, int], centre: tuple[float, float], thresholds: Limits
) -> tuple[int, int, int]:
    """Return when the person came to a cluster and left it, and what kind it is."""
    first, last, stop = span
    start, seen = track.time_ms[first], track.time_ms[last]
    held = np.int64(0)
    if last + 1 < stop:
        gap = track.time_ms[last + 1] - seen
        way = _metres(centre[0], centre[1], track.lat[last + 1], track.lon[last + 1])
        short = seen - start < thresholds.least_ms
        if short and gap >= thresholds.least_ms and way > thresholds.passing * gap:
            return start, seen, PASSING
        if gap <= thresholds.hold_ms:
            held = np.int64(max(gap - way / thresholds.passing, 0.0))
    end = seen + held
    if end - start < thresholds.least_ms:
        return start, end, SHORT
    across = _metres(track.lat[first], track.lon[first], track.lat[last], track.lon[last])
    if across > thresholds.passing * (end - start):
        return start, end, PASSING
    if thresholds.core_ms > 0.0:
        return _without_walks(track, (first, last, end), centre, thresholds)
    return start, end, STAY


@njit(cache=True, nogil=True)
def _without_walks(
    track: Track, span: tuple[int, int, int], centre: tuple[float, float], thresholds: Limits
) -> tuple[int, int, int]:
    """Return when the person was in a stay's inner half, unless it is a walk through.

    ``span`` is the first fix, the last fix and the time when the person left.
    """
    first, last, end = span
    inner, outer = _core(track, (first, last), centre, thresholds.core)
    start, since = track.time_ms[first], track.time_ms[inner]
    until = end if outer == last else track.time_ms[outer]
    if until - since < thresholds.core_ms and end - start < 2.0 * thresholds.core_ms:
        return start, end, WALKED
    if until - since < thresholds.least_ms:
        return start, end, STAY
    return since, until, STAY


@njit(cache=True, nogil=True)
def _core(
    track: Track, span: tuple[int, int], centre: tuple[float, float], core: float
) -> tuple[int, int]:
    """Return the first and the last fix in a cluster's inner half; the first of all without any."""
    inner, outer = -1, span[0]
    for at in range(span[0], span[1] + 1):
        if _haversine(centre[0], centre[1], track.lat[at], track.lon[at]) <= core:
            inner = at if inner < 0 else inner
            outer = at
    return (inner, outer) if inner >= 0 else (outer, outer)


@njit(cache=True, nogil=True)
def _haversine(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Return sin²(angle / 2) of two points in degrees; it grows with their distance."""
    phi = math.sin((lat2 - lat1) * _RAD * 0.5)
    lam = math.sin((lon2 - lon1) * _RAD * 0.5)
    return phi * phi + math.cos(lat1 * _RAD) * math.cos(lat2 * _RAD) * lam * lam


@njit(cache=True, nogil=True)
def _metres(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    return 2.0 * EARTH_RADIUS_M * math.asin(math.sqrt(min(1.0, _haversine(lat1, lon1, lat2, lon2))))


@njit(cache=True, nogil=True)
def _wrapped(degrees: float) -> float:
    """Return a longitude, or a difference of two, between -180 and 180."""
    if degrees > _HALF_TURN:
        return degrees - _TURN
    if degrees < -_HALF_TURN:
        return degrees + _TURN
    return degrees
