"""What a trajectory language model is asked: a route, and then one drive on it.

The conditions are the paper's (HTP, A.1): road segments, main street names, travel distance; start
time, travel time, sampling interval. What drives of one route share comes first, so that it is read
once for all of them, in training and in answering. Three things are told that follow from the
others: the mean speed, beside that of free flow where the roads are told; the number of points; and
which length token that is.
"""

from dataclasses import dataclass

import numpy as np

from raygen.models.language import LanguageModel
from raygen.models.trajectory_planner import LEAST_POINTS, MOST_GROUPS, MOST_POINTS
from raygen.models.trajectory_tokens import Vocabulary, token_of
from raygen.network.graph import KPH, FloatArray, IntArray, RoadNetwork
from raygen.network.routing import summed
from raygen.taxonomy import DAY_S
from raygen.trajectories.conditions import Conditions, main_names

OPENING = (
    "Generate the sampling type and the travel pattern of the trajectory. The road segments are "
)
ROUTELESS_OPENING = "Generate the road segments, then the sampling type and the travel pattern."
"""Beginnings of all questions; that of HTP+ is its whole shared part."""

LEFT_GROUPS = MOST_GROUPS + 1
LEFT_ROADS = 32
"""Steps of the countdown of groups, and of that of metres, which is behind it."""

_STEP_M = 100.0  # of the countdown of metres


@dataclass(frozen=True)
class Question:
    """One question as tokens, and the figures that an answer is counted down by."""

    shared: IntArray
    """Of the route: the same for all drives on it. Never empty."""
    own: IntArray
    """Of this drive, behind the route. Never empty."""
    groups: int
    """Groups of eight points that are asked for."""
    metres: float
    """Travel distance."""

    @property
    def ids(self) -> IntArray:
        """All tokens, in order."""
        return np.concatenate([self.shared, self.own])

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.shared) + len(self.own)


def route_text(network: RoadNetwork, told: Conditions, row: int) -> str:
    """Return what is told of a route; where no street has a name, names are left out."""
    route = told.route[told.route_first[row] : told.route_first[row + 1]]
    names = main_names(network, route)
    roads = "".join(f"<road_{segment}>" for segment in route.tolist())
    streets = f" The main roads are {', '.join(names)}." if names else ""
    distance = f" The travel distance is {told.distance_m[row] / 1000:.2f} km."
    return f"{OPENING}{roads}.{streets}{distance}"


def drive_text(told: Conditions, row: int, points: int, free_s: float | None) -> str:
    """Return what is told of one drive, and what follows from it.

    Parameters
    ----------
    told, row
        Conditions, and which of them.
    points
        Points that are asked for.
    free_s
        Seconds that the route takes at free flow; None: nothing is known of the route, and its
        length is told here.
    """
    hour, minute = divmod(int(told.start_s[row] % DAY_S) // 60, 60)
    minutes, seconds = divmod(round(float(told.travel_s[row])), 60)
    metres = float(told.distance_m[row])
    distance = f" Travel distance {metres / 1000:.2f} km," if free_s is None else ""
    free = "" if free_s is None else f" of {_kph(metres, free_s)}"
    speed = f"{_kph(metres, float(told.travel_s[row]))}{free} km/h"
    return (
        f"{distance} start time {hour:02d}:{minute:02d}, travel time {minutes} min {seconds} s, "
        f"mean speed {speed}, sampling interval {told.interval_s[row]:g} s, "
        f"{points} points <t_{token_of(points)}>:"
    )


def _kph(metres: float, seconds: float) -> int:
    """Return a mean speed in whole km/h."""
    return round(metres / max(seconds, 1.0) * KPH)


def questions(
    speaks: tuple[LanguageModel, int, Vocabulary],
    network: RoadNetwork,
    told: Conditions,
    roads_first: bool,
    points: IntArray | None = None,
) -> list[Question]:
    """Return the questions about conditions.

    Parameters
    ----------
    speaks
        The language model, the number of its own words, and the new ones.
    network
        The roads.
    told
        Conditions of N trajectories.
    roads_first
        Whether no roads are told, since the answer begins with them (HTP+).
    points
        Points of each, (N,); None: as travel time and interval say.
    """
    asked = np.clip(told.points if points is None else points, LEAST_POINTS, MOST_POINTS)
    plain = encode(*speaks, ROUTELESS_OPENING) if roads_first else None
    free = summed(network.free_s[told.route].astype(np.float64), told.route_first).tolist()
    made: list[Question] = []
    for row, count in enumerate(asked.tolist()):
        shared = encode(*speaks, route_text(network, told, row)) if plain is None else plain
        own = encode(*speaks, drive_text(told, row, count, None if roads_first else free[row]))
        made.append(Question(shared, own, -(-count // 8), float(told.distance_m[row])))
    return made


def encode(language: LanguageModel, own: int, words: Vocabulary, text: str) -> IntArray:
    """Return the tokens of a text: the language model's own, and new ones from ``own`` on."""
    parts: list[IntArray] = []
    for piece in words.pieces(text):
        if isinstance(piece, int):
            parts.append(np.array([own + piece], dtype=np.int64))
        else:
            parts.append(language.tokens(piece)[0].numpy())
    return np.concatenate(parts)


def countdown(
    words: Vocabulary, question: Question, said: IntArray, length_m: FloatArray | None = None
) -> IntArray:
    """Return how much of what is asked for is to come after each word of an answer, (N,).

    Parameters
    ----------
    words, question
        The new words, and what was asked.
    said
        An answer as numbers of new words, or its beginning.
    length_m
        Lengths of the segments, where answers say roads.

    Returns
    -------
    left
        After a length token, ``<|p_begin|>`` and a code: whole groups to come, 0 to 25. After
        ``<|t_begin|>`` and a road: LEFT_GROUPS and hundreds of metres to come, 0 to 31. -1
        elsewhere.
    """
    left = np.full(len(said), -1, dtype=np.int64)
    code = (said >= words.roads) & (said < words.length_at)
    group = (np.cumsum(code) - 1) // len(words.codebooks)
    left[code] = question.groups - group[code] - 1
    begins = (said >= words.length_at) & (said < words.boundary_at) | (
        said == words.boundary_at + 2
    )
    left[begins] = question.groups
    left[code | begins] = left[code | begins].clip(0, LEFT_GROUPS - 1)
    if length_m is not None:
        road = said < words.roads
        driven = np.cumsum(np.where(road, length_m[np.where(road, said, 0)], 0.0))
        road |= said == words.boundary_at
        hundreds = ((question.metres - driven[road]) // _STEP_M).astype(np.int64)
        left[road] = LEFT_GROUPS + hundreds.clip(0, LEFT_ROADS - 1)
    return left
