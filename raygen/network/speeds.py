"""Speeds by time of day."""

from dataclasses import dataclass

import numpy as np

from raygen.errors import DataError
from raygen.network.classes import MAX_KPH
from raygen.network.graph import FloatArray, IntArray, RoadNetwork, SpeedArray
from raygen.taxonomy import DAY_S

HOURS = 24


@dataclass(frozen=True)
class SpeedProfile:
    """Speeds of E segments over P periods of a day, in R different states."""

    start_s: IntArray
    """Seconds after midnight at which each period begins, increasing from 0; shape (P,)."""

    state: IntArray
    """Row of ``speed_kph`` that holds in each period; shape (P,)."""

    speed_kph: SpeedArray
    """Shape (R, E), > 0."""

    def period(self, depart_s: IntArray) -> IntArray:
        """Return the period of each departure; times after the first day wrap around."""
        return np.searchsorted(self.start_s, depart_s % DAY_S, side="right") - 1


def checked(profile: SpeedProfile, network: RoadNetwork) -> SpeedProfile:
    """Return the profile if it is one of this network.

    Raises
    ------
    DataError
        If periods, states or speeds break a rule of ``SpeedProfile``.
    """
    start, speed = profile.start_s, profile.speed_kph
    rules = {
        "start_s must increase from 0 and stay below 86400": len(start) > 0
        and start[0] == 0
        and bool((np.diff(start) > 0).all())
        and start[-1] < DAY_S,
        "state must name a row of speed_kph for each period": len(profile.state) == len(start)
        and bool(((profile.state >= 0) & (profile.state < len(speed))).all()),
        f"speed_kph must have a column for each of {network.segments} segments, "
        f"got shape {speed.shape}": speed.ndim == 2 and speed.shape[1] == network.segments,  # noqa: PLR2004
        "speed_kph must be > 0 and <= 250": bool(((speed > 0) & (speed <= MAX_KPH)).all()),
    }
    for rule, kept in rules.items():
        if not kept:
            msg = f"speeds: {rule}"
            raise DataError(msg)
    return profile


def free_flow(network: RoadNetwork) -> SpeedProfile:
    """Return one period of free flow."""
    zero = np.zeros(1, dtype=np.int64)
    return SpeedProfile(zero, zero, network.speed_kph[None, :])


def hourly(network: RoadNetwork, weight: FloatArray, slowdown: FloatArray | float) -> SpeedProfile:
    """Return speeds by hour between free flow and the peak.

    Parameters
    ----------
    network
        E segments with their speeds at free flow.
    weight
        How much of the peak there is in each hour, 0 to 1, shape (24,): of two skims this is the
        weight of the peak one. Hours of equal weight share one hierarchy.
    slowdown
        Time in the peak over time at free flow, >= 1: of each segment, shape (E,), or of all, as
        ``peak_slowdown`` tells it from skims.

    Raises
    ------
    DataError
        If a weight is outside of 0 to 1, or the peak is faster than free flow.
    """
    if weight.shape != (HOURS,) or not ((weight >= 0) & (weight <= 1)).all():
        msg = f"speeds: weight must be 24 figures from 0 to 1, got {weight.tolist()}"
        raise DataError(msg)
    slow = np.broadcast_to(np.asarray(slowdown, dtype=np.float64), network.segments)
    if not ((slow >= 1) & np.isfinite(slow)).all():
        msg = f"speeds: slowdown must be finite and >= 1, got {slow.min()}"
        raise DataError(msg)
    levels, of_hour = np.unique(weight, return_inverse=True)
    first = np.flatnonzero(np.diff(of_hour, prepend=-1) != 0)
    factor = 1 + levels[:, None] * (slow - 1)[None, :]
    speed = (network.speed_kph / factor).astype(np.float32)
    return SpeedProfile(first * 3600, of_hour[first].astype(np.int64), speed)


def peak_slowdown(free_s: SpeedArray, peak_s: SpeedArray) -> float:
    """Return the time in the peak over that at free flow, both summed over all pairs of zones.

    Parameters
    ----------
    free_s, peak_s
        Skims of a city, shape (Z, Z).

    Raises
    ------
    DataError
        If the peak is faster than free flow, or the skims hold no time.
    """
    free, peak = float(free_s.sum(dtype=np.float64)), float(peak_s.sum(dtype=np.float64))
    if not 0 < free <= peak < np.inf:
        msg = f"skims: time in the peak must be at least that at free flow, got {peak} and {free} s"
        raise DataError(msg)
    return peak / free
