"""Next-arrival pairs as soft targets: what people did next, by state of the planner.

A pair is an arrival and the one after it: (slot of arrival, POI distribution there) → (slot of the
next arrival, POI distribution there). A day begins at home at slot 0; what follows its last
arrival is the first one of the same day, taken for tomorrow's (assumed), so that the planner also
knows when a day is over. Equal states are one training example: the distribution over next slots
and the mean POI distribution, with the pairs' weight.

Sources: the survey (``raygen.survey``: purposes; who travels by ``training.plan_travellers``; POIs
by ``training.plan_places``: synthesised), Beijing's phone days (``raygen.geolife``: slots
observed, by Beijing's clock; POIs calibrated) and New York's check-ins (``raygen.foursquare``).
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from raygen.config import Section
from raygen.mobility import Days
from raygen.models.prompts import PHONE, TRAVELLERS
from raygen.survey import PURPOSES, Survey
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_QUARTERS_PER_SLOT = 2


class Smoothing(Section):
    """How far the targets of training are smoothed; chosen by the held-out likelihood."""

    width: Annotated[float, Field(gt=0)] = 0.4
    """Slots over which a next arrival is spread, by exp(-|gap| / width)."""

    slot: Annotated[float, Field(ge=0)] = 20.0
    """Pairs that the marginal counts for in the distribution of a slot of arrival."""

    traveller: Annotated[float, Field(ge=0)] = 20.0
    """Pairs that the slot counts for in the distribution of a traveller and slot."""

    place: Annotated[float, Field(ge=0)] = 5.0
    """Pairs that the traveller and slot count for in the distribution of a state."""


@dataclass(frozen=True)
class States:
    """Weighted soft targets by state: traveller (index into TRAVELLERS), code, slot of arrival."""

    weight: FloatArray
    """Weight of the state's pairs, shape (V, K, 48); 0 where there are none."""

    slots: FloatArray
    """Weight by slot of the next arrival, shape (V, K, 48, 48)."""

    categories: FloatArray
    """Weighted sum of destination POI distributions, shape (V, K, 48, 14)."""

    def targets(self) -> tuple[FloatArray, FloatArray]:
        """Return slot (V, K, 48, 48) and POI (V, K, 48, 14) distributions; uniform without data."""
        total = np.where(self.weight > 0, self.weight, 1.0)[..., None]
        none = self.weight[..., None] == 0
        return (
            np.where(none, 1 / PLAN_SLOTS, self.slots / total),
            np.where(none, 1 / len(POI_CATEGORIES), self.categories / total),
        )

    def distributions(self, how: Smoothing) -> tuple[FloatArray, FloatArray]:
        """Return slot (V, K, 48, 48) and POI (V, K, 48, 14) distributions, shrunk to wider cells.

        A state's distribution is mixed with that of its traveller and slot, this with that of the
        slot, and this with the marginal; the wider cell counts as so many pairs more.
        """
        gap = np.abs(np.arange(PLAN_SLOTS)[:, None] - np.arange(PLAN_SLOTS))
        kernel = np.exp(-gap / how.width)
        near = self.slots @ (kernel / kernel.sum(axis=1, keepdims=True))
        return _shrunk(near, how), _shrunk(self.categories, how)

    def smoothed(self, how: Smoothing) -> "States":
        """Return the states with ``distributions`` in the place of what was seen.

        Most states are seen a few times, and a network that is fitted to what was seen there
        learns it by heart.
        """
        slots, categories = self.distributions(how)
        weight = self.weight[..., None]
        return States(self.weight, weight * slots, weight * categories)

    def scaled(self, factor: float) -> "States":
        """Return the states with all weights times a factor."""
        return States(factor * self.weight, factor * self.slots, factor * self.categories)

    def __add__(self, other: "States") -> "States":
        """Return the states of both sources."""
        return States(
            weight=self.weight + other.weight,
            slots=self.slots + other.slots,
            categories=self.categories + other.categories,
        )


def _shrunk(sums: FloatArray, how: Smoothing) -> FloatArray:
    """Return distributions of weighted sums (V, K, 48, ·), each shrunk to its wider cells."""
    marginal = _distribution(sums.sum(axis=(0, 1, 2)))
    by_slot = _distribution(sums.sum(axis=(0, 1)) + how.slot * marginal)
    by_traveller = _distribution(sums.sum(axis=1) + how.traveller * by_slot)
    return _distribution(sums + how.place * by_traveller[:, None])


def _distribution(sums: FloatArray) -> FloatArray:
    return sums / np.maximum(sums.sum(axis=-1, keepdims=True), 1e-12)


def survey_states(
    survey: Survey, members: BoolArray, split: str, codes: FloatArray, destination: FloatArray
) -> States:
    """Count the survey's pairs of one split.

    Parameters
    ----------
    survey, members
        N persons, and whether each is one of TRAVELLERS, shape (V, N): a person's day counts for
        all that they are.
    split
        One of ``raygen.survey.SPLITS``.
    codes
        P(code | purpose), shape (6, K): a stop counts for each code with its probability.
    destination
        POI target of a purpose, shape (6, 14).
    """
    people = members.shape[1]
    taken = np.zeros(people, dtype=np.bool_)
    taken[survey.take(split)] = True
    sizes = np.diff(survey.first_stop)
    owner = np.repeat(np.arange(people), sizes)
    last = survey.first_stop[1:] - 1
    first = survey.first_stop[:-1]
    after = np.arange(len(owner)) + 1
    after[last] = first  # tomorrow's first arrival
    slot = survey.arrival // _QUARTERS_PER_SLOT
    # A day's start at home, then every stop.
    who = np.concatenate([np.arange(people), owner])
    at = np.concatenate([np.zeros(people, dtype=np.int64), slot])
    purpose = np.concatenate([np.full(people, 1), survey.purpose])
    following = np.concatenate([first, after])
    kept = taken[who]
    who, at, purpose, following = who[kept], at[kept], purpose[kept], following[kept]
    kinds = len(PURPOSES)
    counts = np.zeros((len(TRAVELLERS), kinds, PLAN_SLOTS, PLAN_SLOTS))
    goals = np.zeros((len(TRAVELLERS), kinds, PLAN_SLOTS, kinds))
    traveller, pair = np.nonzero(members[:, who])
    weight = survey.weight[who[pair]]
    state = (traveller, purpose[pair] - 1, at[pair])
    np.add.at(counts, (*state, slot[following[pair]]), weight)
    np.add.at(goals, (*state, survey.purpose[following[pair]] - 1), weight)
    slots = np.einsum("pk,vpst->vkst", codes, counts)
    categories = np.einsum("pk,vpsq,qd->vksd", codes, goals, destination)
    return States(weight=slots.sum(axis=3), slots=slots, categories=categories)


def phone_states(
    days: Days, poi: FloatArray, code: IntArray, count: int, traveller: int = PHONE
) -> States:
    """Count the pairs of observed days under a phone template.

    After the last arrival comes tomorrow's first, taken from the same day; of a day with one
    arrival, and of a day with none, it comes a day later: in the slot of departure itself.

    Parameters
    ----------
    days
        Person-days.
    poi
        POI distributions of the regions, shape (R, 14).
    code
        Code of each region, shape (R,).
    count
        Codes of the codebook, K.
    traveller
        ``PHONE`` or ``CHECK_IN``.
    """
    length = days.length
    row, column = np.nonzero(np.arange(days.region.shape[1]) < length[:, None])
    first = np.minimum(1, length[row] - 1)
    following = np.where(column + 1 < length[row], column + 1, first)
    region = days.region[row, column]
    slot = days.clock[row, column].astype(np.int64)
    shape = (len(TRAVELLERS), count, PLAN_SLOTS)
    slots = np.zeros((*shape, PLAN_SLOTS))
    categories = np.zeros((*shape, len(POI_CATEGORIES)))
    state = (np.full(len(row), traveller), code[region], slot)
    np.add.at(slots, (*state, days.clock[row, following].astype(np.int64)), 1.0)
    np.add.at(categories, state, poi[days.region[row, following]])
    return States(weight=slots.sum(axis=3), slots=slots, categories=categories)
