"""Home, work and school, from all days of a person: the rules of DataFusion 4.1.1; compiled.

*Home* is the place where the person spends most of the night (22–6 h), over all days, two hours
at least. With no night seen there is no home, and stays may be at home by Bayes alone.

*Work* and *school* are places of weekday daytime (6–20 h). A place is a candidate where it recurs
(seen on two weekdays, and on a fifth of those observed, for two hours a day on average; a school
for an hour and a half) or was once seen for long (four hours; a school three), within reach of
home. School days end: a school's mean day is ten hours at most, and it has an education POI in
reach that makes P(x̄ | school) higher than without any. As the person's age is not known, a
candidate is work or school, or neither, by the same evidence as all other types: POIs, start hours
and durations of all its visits together, each visit with P(T): places that recur are of types that
recur. Of the candidates that are of a type, the one with the most weekday daytime is the person's;
others stay with Bayes.

*Sites*. All visits to an anchor have its type. A stay elsewhere within ``site_m`` of it, in which
stay points cannot be told apart (δs of Algorithm 4), has it too where it is long enough by the rule
itself: two hours of a night are spent at home, two of a weekday at work. Without this the rooms of
a campus that a drifting centroid shows as three places would be one work place and two of the
unknown.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from raygen.inference.settings import InferenceConfig
from raygen.taxonomy import DAY_S, HOME, SCHOOL, WORK

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_SATURDAY, _THURSDAY = 5, 3  # 1970-01-01 was a Thursday
_HOUR_S = 3600.0


class Use(NamedTuple):
    """When persons are at their places, in seconds on the city's clock; Q places, N persons."""

    night_s: FloatArray
    """In the night, all days, shape (Q,)."""
    day_s: FloatArray
    """In the daytime of weekdays, shape (Q,)."""
    days: IntArray
    """Weekdays with a daytime stay, shape (Q,)."""
    observed: IntArray
    """The same of the person's any place, shape (N,)."""


class Limits(NamedTuple):
    """Thresholds in seconds and metres, of work and of school."""

    often_s: tuple[float, float]
    once_s: tuple[float, float]
    longest_s: tuple[float, float]
    reach_m: tuple[float, float]
    night_s: float
    recurrence: int
    recurrence_share: float
    site_m: float
    night_share: float


def limits(config: InferenceConfig) -> Limits:
    """Return the thresholds in the kernel's units."""
    return Limits(
        often_s=(config.work_h * _HOUR_S, config.school_h * _HOUR_S),
        once_s=(config.work_once_h * _HOUR_S, config.school_once_h * _HOUR_S),
        longest_s=(float(DAY_S), config.school_longest_h * _HOUR_S),
        reach_m=(config.work_km * 1000, config.school_km * 1000),
        night_s=config.home_night_h * _HOUR_S,
        recurrence=config.recurrence,
        recurrence_share=config.recurrence_share,
        site_m=config.site_m,
        night_share=config.work_night_share,
    )


def use_of_places(
    span: tuple[IntArray, IntArray],
    of_stay: IntArray,
    starts: tuple[IntArray, IntArray],
    config: InferenceConfig,
) -> Use:
    """Return when persons are at their places.

    Parameters
    ----------
    span
        Start and end of each stay, seconds on the city's clock since 1970, shape (S,).
    of_stay
        Place of each stay, shape (S,).
    starts
        First stay and first place of each person, shape (N + 1,) each; stays in order of start.
    config
        Hours of night and day.
    """
    persons, places = len(starts[0]) - 1, int(starts[1][-1])
    use = Use(
        np.zeros(places), np.zeros(places), np.zeros(places, np.int64), np.zeros(persons, np.int64)
    )
    _measure(span, of_stay, starts, clock_hours(config), use)
    return use


def clock_hours(config: InferenceConfig) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return when night and day begin and end, in seconds after midnight."""
    night = (config.night[0] * _HOUR_S, config.night[1] * _HOUR_S)
    return night, (config.day[0] * _HOUR_S, config.day[1] * _HOUR_S)


@njit(cache=True, nogil=True)
def _measure(
    span: tuple[IntArray, IntArray],
    of_stay: IntArray,
    starts: tuple[IntArray, IntArray],
    hours: tuple[tuple[float, float], tuple[float, float]],
    use: Use,
) -> None:
    start, end = span
    night, day = hours
    last_day = np.full(len(use.days), -1, np.int64)
    for person in range(len(starts[0]) - 1):
        last_seen = -1
        for stay in range(starts[0][person], starts[0][person + 1]):
            place = of_stay[stay]
            for date in range(start[stay] // DAY_S, end[stay] // DAY_S + 1):
                since = max(start[stay] - date * DAY_S, 0)
                until = min(end[stay] - date * DAY_S, DAY_S)
                use.night_s[place] += _within(since, until, night[0], night[1])
                if (date + _THURSDAY) % 7 >= _SATURDAY:
                    continue
                seconds = _within(since, until, day[0], day[1])
                use.day_s[place] += seconds
                if seconds > 0 and last_day[place] < date:
                    last_day[place] = date
                    use.days[place] += 1
                if seconds > 0 and last_seen < date:
                    last_seen = date
                    use.observed[person] += 1


@njit(cache=True, nogil=True)
def _within(since: float, until: float, first: float, last: float) -> float:
    """Return the seconds of [since, until] within hours, which may go over midnight."""
    if first <= last:
        return max(min(until, last) - max(since, first), 0.0)
    return max(min(until, last) - since, 0.0) + max(until - max(since, first), 0.0)


@njit(cache=True, nogil=True)
def find_homes(use: Use, place_start: IntArray, night_s: float) -> IntArray:
    """Return the home of each person, a row of places, -1 where there is none; shape (N,)."""
    home = np.full(len(place_start) - 1, -1, np.int64)
    for person in range(len(home)):
        most = night_s
        for place in range(place_start[person], place_start[person + 1]):
            if use.night_s[place] >= most and (home[person] < 0 or use.night_s[place] > most):
                home[person], most = place, use.night_s[place]
    return home


@njit(cache=True, nogil=True)
def find_anchors(
    use: Use,
    where: tuple[FloatArray, IntArray, IntArray],
    scores: tuple[FloatArray, FloatArray],
    thresholds: Limits,
) -> IntArray:
    """Return the work place and the school of each person, shape (N, 2), -1 where there is none.

    Parameters
    ----------
    use
        See ``use_of_places``.
    where
        Points of places, first place of each person, home of each person.
    scores
        ``bayes.place_scores``; how much likelier each place is a school for the education POIs in
        reach, in natural logarithms, shape (Q,).
    thresholds
        See ``limits``.
    """
    xy, place_start, home = where
    found = np.full((len(home), 2), -1, np.int64)
    for person in range(len(home)):
        for place in range(place_start[person], place_start[person + 1]):
            if place == home[person] or use.days[place] == 0:
                continue
            kind = _best(scores[0][place])
            if kind not in (WORK, SCHOOL) or (kind == SCHOOL and scores[1][place] <= 0.0):
                continue
            which = 0 if kind == WORK else 1
            away = 0.0
            if home[person] >= 0:
                east, north = xy[place] - xy[home[person]]
                away = np.sqrt(east * east + north * north)
            if use.night_s[place] > thresholds.night_share * (
                use.night_s[place] + use.day_s[place]
            ):
                continue
            seen = (use.day_s[place], use.days[place], use.observed[person])
            if away > thresholds.reach_m[which] or not _recurs(seen, which, thresholds):
                continue
            best = found[person, which]
            if best < 0 or use.day_s[place] > use.day_s[best]:
                found[person, which] = place
    return found


@njit(cache=True, nogil=True)
def _best(score: FloatArray) -> int:
    """Return the most probable type but home."""
    best = HOME + 1
    for kind in range(len(score)):
        if kind != HOME and score[kind] > score[best]:
            best = kind
    return best


@njit(cache=True, nogil=True)
def _recurs(seen: tuple[float, int, int], which: int, thresholds: Limits) -> bool:
    """Say whether a place is seen as often and as long as work (0) or school (1) is."""
    day_s, days, observed = seen
    mean = day_s / days
    if mean > thresholds.longest_s[which]:
        return False
    often = days >= thresholds.recurrence and days >= thresholds.recurrence_share * observed
    return mean >= (thresholds.often_s[which] if often else thresholds.once_s[which])


@njit(cache=True, nogil=True)
def stay_anchors(
    span: tuple[IntArray, IntArray],
    of_stay: IntArray,
    where: tuple[FloatArray, IntArray, IntArray],
    hours: tuple[tuple[float, float], tuple[float, float]],
    thresholds: Limits,
) -> npt.NDArray[np.int8]:
    """Return which anchor each stay is at: HOME, WORK, SCHOOL, or -1 for none; shape (S,).

    Parameters
    ----------
    span
        Start and end of each stay, seconds on the city's clock, shape (S,).
    of_stay
        Place of each stay, shape (S,).
    where
        Points of places; first stay of each person, shape (N + 1,); home, work and school of each
        person, rows of places, -1 where there is none, shape (N, 3).
    hours
        Night and day, in seconds; see ``clock_hours``.
    thresholds
        See ``limits``.
    """
    xy, first, anchors = where
    out = np.full(len(of_stay), -1, np.int8)
    for person in range(len(anchors)):
        for stay in range(first[person], first[person + 1]):
            here = of_stay[stay]
            for kind in (HOME, WORK, SCHOOL):
                if anchors[person, kind] == here:
                    out[stay] = kind
                    break
            if out[stay] >= 0:
                continue
            night_s, day_s = _seconds(span[0][stay], span[1][stay], hours)
            for kind in (HOME, WORK, SCHOOL):
                place = anchors[person, kind]
                if place < 0:
                    continue
                long = night_s >= thresholds.night_s
                if kind != HOME:
                    asleep = night_s > thresholds.night_share * (night_s + day_s)
                    long = day_s >= thresholds.often_s[kind - WORK] and not asleep
                east, north = xy[here] - xy[place]
                if long and east * east + north * north <= thresholds.site_m**2:
                    out[stay] = kind
                    break
    return out


@njit(cache=True, nogil=True)
def _seconds(
    start: int, end: int, hours: tuple[tuple[float, float], tuple[float, float]]
) -> tuple[float, float]:
    """Return the seconds of a stay in nights, and in the daytime of weekdays."""
    night_s, day_s = 0.0, 0.0
    for date in range(start // DAY_S, end // DAY_S + 1):
        since = max(start - date * DAY_S, 0)
        until = min(end - date * DAY_S, DAY_S)
        night_s += _within(since, until, hours[0][0], hours[0][1])
        if (date + _THURSDAY) % 7 < _SATURDAY:
            day_s += _within(since, until, hours[1][0], hours[1][1])
    return night_s, day_s
