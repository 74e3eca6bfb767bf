"""Several routes for each trip, as unlike as the flavours make them."""

import numpy as np
import pyarrow as pa
from numba import njit

from raygen.errors import DataError
from raygen.network.graph import FloatArray, IntArray, RowArray
from raygen.network.routing import ROUTES, Paths, Router, ends_of
from raygen.network.taste import flavour_of

ALTERNATIVES = ROUTES.insert(1, pa.field("rank", pa.int8(), nullable=False))
"""ROUTES with a number: 0 is the fastest route at the speeds of the departure."""


def alternatives(router: Router, trips: pa.Table, k: int, overlap: float = 0.8) -> pa.Table:
    """Return up to k routes of each trip that differ from each other.

    The fastest comes first; then the fastest of other flavours, from the trip's own on, each kept
    if it shares at most ``overlap`` of its length with every one kept before it. All keep
    ``Taste.stretch``.

    Parameters
    ----------
    router
        Its taste has at least k flavours.
    trips
        As ``Router.route`` takes them.
    k
        At most so many; a trip has fewer where its flavours agree.
    overlap
        Share of a route's metres, 0 to 1.

    Returns
    -------
    routes
        ALTERNATIVES, by trip and rank. A trip without a way has one row, of nulls.

    Raises
    ------
    DataError
        If k is not from 1 to the number of flavours, or a trip is wrong.
    """
    flavours = router.taste.flavours
    if not 1 <= k <= flavours or not 0 <= overlap <= 1:
        msg = f"alternatives: k must be 1 to {flavours}, got {k}; overlap 0 to 1, got {overlap}"
        raise DataError(msg)
    ends = ends_of(trips, router.network)
    count = len(ends.trip_id)
    every = [router.paths(ends, np.full(count, f)) for f in range(flavours)]
    own = flavour_of(ends.trip_id, router.taste, router.seed)
    order = _order(own, flavours)
    route_at, segments = _stacked(every)
    length = router.network.length_m.astype(np.float64)
    rank = _choose(order, route_at, segments, length, k, overlap)
    tables = [
        router.told(ends, np.full(count, f), every[f]).add_column(
            1, ALTERNATIVES.field("rank"), pa.array(rank[:, f].astype(np.int8))
        )
        for f in range(flavours)
    ]
    flat = rank.T.ravel()
    trip = np.tile(np.arange(count), flavours)
    kept = np.flatnonzero(flat >= 0)
    kept = kept[np.lexsort((flat[kept], trip[kept]))]
    return pa.concat_tables(tables).take(pa.array(kept)).combine_chunks().cast(ALTERNATIVES)


def _order(own: IntArray, flavours: int) -> IntArray:
    """Return in which order a trip looks at flavours: 0, its own, those after it; (N, F)."""
    turn = (own[:, None] + np.arange(flavours)) % flavours
    zero_last = np.argsort(turn == 0, axis=1, kind="stable")
    return np.roll(np.take_along_axis(turn, zero_last, axis=1), 1, axis=1)


def _stacked(every: list[Paths]) -> tuple[IntArray, RowArray]:
    """Return all flavours' lists as one; list (f, i) begins at ``route_at[f, i]``."""
    shift = np.concatenate([[0], np.cumsum([len(paths.segments) for paths in every])])
    route_at = np.stack([p.route_at + s for p, s in zip(every, shift[:-1], strict=True)])
    return route_at, np.concatenate([paths.segments for paths in every])


@njit(cache=True, nogil=True)
def _choose(
    order: IntArray,
    route_at: IntArray,
    segments: RowArray,
    length: FloatArray,
    k: int,
    overlap: float,
) -> IntArray:
    """Return the rank of each trip's route by flavour, -1: left out; shape (N, F)."""
    trips, flavours = order.shape
    rank = np.full((trips, flavours), -1, np.int64)
    kept = np.empty(k, np.int64)
    mark = np.full(len(length), -1, np.int64)
    for trip in range(trips):
        count = 0
        for step in range(flavours):
            flavour = order[trip, step]
            way = segments[route_at[flavour, trip] : route_at[flavour, trip + 1]]
            if count == k or (step > 0 and len(way) == 0):
                break  # enough, no way, or no need of one
            alike = False
            for before in range(count):
                other = kept[before]
                known = segments[route_at[other, trip] : route_at[other, trip + 1]]
                stamp = (trip * flavours + flavour) * flavours + other
                alike = alike or _shared(way, known, length, mark, stamp) > overlap
            if not alike:
                rank[trip, flavour] = count
                kept[count] = flavour
                count += 1
    return rank


@njit(cache=True, nogil=True)
def _shared(
    way: RowArray, known: RowArray, length: FloatArray, mark: IntArray, stamp: int
) -> float:
    """Return the share of a way's metres that are in a known one; ``stamp`` is used once."""
    for segment in known:
        mark[segment] = stamp
    metres, shared = 0.0, 0.0
    for segment in way:
        metres += length[segment]
        if mark[segment] == stamp:
            shared += length[segment]
    return float(shared / metres)
