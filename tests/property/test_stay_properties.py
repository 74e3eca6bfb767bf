"""Stays of any trace: the kernel is the reference, and what holds of every stay."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raygen.stay_points.kernel import Track, detect, limits
from raygen.stay_points.reference import Fix, Stay, haversine_m, stays_of
from raygen.stay_points.settings import StayConfig

# Steps that often stay within the radius, and silences of all the lengths that count.
STEP = st.tuples(
    st.one_of(st.integers(0, 120), st.sampled_from([299, 300, 301, 900, 3600, 3601, 50_000])),
    st.one_of(st.just(0.0), st.floats(-120, 120), st.floats(-4000, 4000)),
    st.floats(-120, 120),
    st.booleans(),
)
TRACE = st.lists(STEP, max_size=60)
CONFIG = st.builds(
    StayConfig,
    radius_m=st.sampled_from([50.0, 300.0]),
    excursion_s=st.sampled_from([0, 120, 300]),
    hold_gap_s=st.sampled_from([0, 3600]),
    walking_kph=st.sampled_from([0.0, 4.0]),
    passing_kph=st.sampled_from([3.0, 30.0]),
    max_gap_s=st.sampled_from([400, 43_200]),
)


def trace(steps):
    """Return fixes; a step that comes back is an excursion from where the person was."""
    fixes, clock, east, north = [], 0, 0.0, 0.0
    for seconds, x, y, comes_back in steps:
        clock += seconds
        fixes.append(Fix(1000 * clock, 34 + (north + y) / 111_195, -118 + (east + x) / 92_000))
        if not comes_back:
            east, north = east + x, north + y
    return fixes


def kernel(traces, config):
    """Return the kernel's stays of each trace."""
    fixes = [fix for one in traces for fix in one]
    columns = (np.array([getattr(f, n) for f in fixes], d) for n, d in (("time_ms", np.int64), ("lat", float), ("lon", float)))  # fmt: skip
    start = np.cumsum([0, *map(len, traces)])
    found, counts = detect(Track(*columns), start, limits(config))
    assert counts["stays"] == len(found.person)
    every = [
        (int(p), Stay(int(s), int(e), float(la), float(lo), int(n)))
        for p, s, e, la, lo, n in zip(*found, strict=True)
    ]
    return [[stay for owner, stay in every if owner == person] for person in range(len(traces))]


@settings(max_examples=200, deadline=None)
@given(st.lists(TRACE, max_size=3), CONFIG)
def test_the_kernel_finds_the_stays_of_the_reference(steps, config):
    traces = [trace(one) for one in steps]
    assert kernel(traces, config) == [stays_of(one, config) for one in traces]


@settings(max_examples=100, deadline=None)
@given(TRACE, CONFIG)
def test_every_stay_is_long_enough_apart_and_of_its_fixes(steps, config):
    fixes = trace(steps)
    (found,) = kernel([fixes], config)
    for stay in found:
        assert stay.end_ms - stay.start_ms >= 1000 * config.min_stay_s
        near = [f for f in fixes if stay.start_ms <= f.time_ms <= stay.end_ms]
        assert 1 <= len(near) <= len(fixes) >= stay.fixes >= 1
        assert (
            min(haversine_m((f.lat, f.lon), (stay.lat, stay.lon)) for f in near) <= config.radius_m
        )
    for one, following in pairwise(found):
        assert one.end_ms <= following.start_ms


@settings(max_examples=50, deadline=None)
@given(TRACE, st.integers(0, 10**9))
def test_a_later_trace_has_the_same_stays_later(steps, shift):
    config = StayConfig()
    (found,) = kernel([trace(steps)], config)
    (later,) = kernel([[Fix(f.time_ms + shift, f.lat, f.lon) for f in trace(steps)]], config)
    assert [(s.start_ms + shift, s.end_ms + shift, s.fixes) for s in found] == [
        (s.start_ms, s.end_ms, s.fixes) for s in later
    ]
