"""What the language model says of known days: the plan of each arrival, asked from the one before.

The generator is fitted to these plans too, so that it knows how little a planner's POI distribution
tells: the mean over all that people like this do next, and not the region that they went to.
"""

import numpy as np
import numpy.typing as npt

from raygen.mobility import Days, Regions
from raygen.models.planner import Planner
from raygen.models.prompts import CHECK_IN, PERSON, PHONE

FloatArray = npt.NDArray[np.float32]

_ASKED_AS = {"beijing": PHONE, "new_york": CHECK_IN}
CITY = "a city"
"""How prompts name the cities."""


def traveller(city: str) -> int:
    """Return who a city's people are in the prompts, an index into TRAVELLERS.

    Those of observed cities are phones or check-ins; people of other cities are persons.
    """
    return _ASKED_AS.get(city, PERSON)


def told_semantic(regions: Regions, days: Days, planner: Planner) -> FloatArray:
    """Return D̂ of each arrival, shape (N, K, 14); exact at entry 0, zero beyond a day's end.

    Parameters
    ----------
    regions
        Of the city.
    days
        N days of it.
    planner
        Answers the states: who travels, and slot and POI distribution of the entry before.
    """
    held = days.region >= 0
    poi = regions.poi.astype(np.float32)
    found = np.zeros((*days.region.shape, poi.shape[1]), dtype=np.float32)
    found[:, 0] = poi[days.region[:, 0]]
    row, entry = np.nonzero(held[:, 1:])
    before = days.region[row, entry]
    place = planner.places(poi)[before]
    slot = days.clock[row, entry].astype(np.int64)
    who = np.full(len(row), traveller(regions.name))
    found[row, entry + 1] = planner.answers(CITY, who, slot, place)[1]
    return found
