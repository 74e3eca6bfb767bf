"""The planner's prompts: UniMob's instruction templates (Fig. 6) and its context text (Fig. 3).

A prompt is three pieces, from shared to own, so that each is computed once: the instruction
(template, role and city), the POI distribution (a code of the codebook), and the departure time.
The LM's hidden state is read at the time's last digit.
"""

import hashlib

import numpy as np

from raygen.models.codebook import Codebook
from raygen.taxonomy import PLAN_SLOTS, ROLES

PHONE = len(ROLES)
"""Index of the mobile phone template, after the roles."""

TRAVELLERS = (
    *(role.replace("_", " ") for role in ROLES),
    "mobile phone user",
)
"""Who travels, as the template says it: the six roles, then UniMob's mobile phone data set."""

_INSTRUCTION = (
    "<Instruction> You are given a trajectory of a {traveller} that starts in {city}. Based on "
    "the POI distribution of the starting location and the departure time, predict: 1. The next "
    "arrival time (in 30-minute units from now); 2. The POI distribution of the destination "
    "location (over 14 categories).\n<Input> POI distribution:"
)

_WORDS = (
    "transportation",
    "companies",
    "residential",
    "automotive",
    "education",
    "sports",
    "finance",
    "entertainment",
    "healthcare",
    "tourism",
    "life services",
    "shopping",
    "hotels",
    "dining",
)
"""The 14 categories as the prompt says them, in the order of POI_CATEGORIES."""

_NAMED = 6  # categories that the prompt names, the largest
_LEAST = 0.03  # smallest share that it names


def instruction(traveller: int, city: str) -> str:
    """Return the instruction of a role (index into TRAVELLERS) in a city."""
    return _INSTRUCTION.format(traveller=TRAVELLERS[traveller], city=city)


def place(distribution: np.ndarray) -> str:
    """Return the text of a POI distribution of shape (14,): its largest shares, in percent."""
    order = np.argsort(-distribution, kind="stable")[:_NAMED]
    shares = [
        f" {round(100 * float(distribution[i]))}% {_WORDS[i]}"
        for i in order
        if distribution[i] >= _LEAST
    ]
    return ",".join(shares) + "\nDeparture time: "


def times() -> tuple[str, ...]:
    """Return the text of each half-hour slot, all of equal length in digits: ``07:30``."""
    return tuple(f"{slot // 2:02d}:{slot % 2 * 30:02d}" for slot in range(PLAN_SLOTS))


def digest(city: str, codebook: Codebook) -> str:
    """Return the SHA-256 of every text that the planner is asked with in a city."""
    texts = [instruction(role, city) for role in range(len(ROLES))]
    texts += [place(code) for code in codebook.codes]
    texts += times()
    return hashlib.sha256("\x00".join(texts).encode()).hexdigest()
