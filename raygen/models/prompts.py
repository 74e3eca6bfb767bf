"""The planner's prompts: UniMob's instruction templates (Fig. 6) and its context text (Fig. 3).

A prompt is three pieces, from shared to own, so that each is computed once: the instruction
(template, profile and city), the POI distribution, and the departure time. The LM's hidden state is
read at the time's last digit. Who travels is an index into ``TRAVELLERS``: the person's own roles
first, then the paper's data sets (phone, car), a person without a profile, the profiles of Fig. 9,
the 12 demographic groups, and people who check in.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from raygen.taxonomy import DEMOGRAPHIC_GROUPS, PLAN_SLOTS, ROLES

IntArray = npt.NDArray[np.int64]

PHONE = len(ROLES)
"""Index of the mobile phone template, after the roles."""

CAR = PHONE + 1
"""Index of the private car template."""

PERSON = PHONE + 2
"""Index of the role template without a profile: "a person"."""

VISITOR, TEACHER, OFFICE_WORKER = PHONE + 3, PHONE + 4, PHONE + 5
"""Indices of Figure 9's profiles; its fourth is the role ``retiree``."""

GROUP = PHONE + 6
"""Index of the first demographic group."""

CHECK_IN = GROUP + len(DEMOGRAPHIC_GROUPS)
"""Index of the phone template's people who are known by where they check in."""

_AGES = {"young": "young", "mid": "middle-aged", "elderly": "elderly"}


def _group(name: str) -> str:
    """Return how the prompt says a demographic group, ``elderly_female_non_worker``."""
    age = _AGES[name.split("_")[0]]
    sex = "woman" if "female" in name else "man"
    return f"{age} {sex} who {'does not work' if name.endswith('non_worker') else 'works'}"


def _with_article(profile: str) -> str:
    return f"{'an' if profile[0] in 'aeio' else 'a'} {profile}"


_PROFILES = (
    *(role.replace("_", " ") for role in ROLES),
    "mobile phone user",
    "private car",
    "person",
    "visitor",
    "teacher",
    "office worker",
    *(_group(name) for name in DEMOGRAPHIC_GROUPS),
    "mobile phone user who checks in at places",
)

TRAVELLERS = tuple(
    {PHONE: "a trajectory of a mobile phone user", CAR: "a private car trip"}.get(
        index, f"a trajectory of {_with_article(profile)}"
    )
    for index, profile in enumerate(_PROFILES)
)
"""What the planner is given, as the templates say it."""

TEMPLATES: dict[str, int] = {
    "phone": PHONE,
    "check_in": CHECK_IN,
    "car": CAR,
    "person": PERSON,
    "visitor": VISITOR,
    "teacher": TEACHER,
    "office_worker": OFFICE_WORKER,
}
"""Templates (``PlannerConfig.template``) that are the same for all persons."""

_INSTRUCTION = (
    "<Instruction> You are given {traveller} that starts in {city}. Based on the POI distribution "
    "of the starting location and the departure time, predict: 1. Predict the next arrival time "
    "(in 30-minute units from now); 2. The POI distribution of the destination location (over 14 "
    "categories);\n<Input> POI distribution:"
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


def travellers(template: str, role: IntArray, group: IntArray) -> IntArray:
    """Return who each of N persons is in the prompt, an index into TRAVELLERS.

    Parameters
    ----------
    template
        ``role``, ``group`` or a key of TEMPLATES.
    role, group
        Shape (N,): index into ROLES and into DEMOGRAPHIC_GROUPS.
    """
    if template == "role":
        return role
    if template == "group":
        return GROUP + group
    return np.full(len(role), TEMPLATES[template], dtype=np.int64)


def asked_as(template: str) -> range:
    """Return the indices into TRAVELLERS that a template can ask as."""
    if template == "role":
        return range(len(ROLES))
    if template == "group":
        return range(GROUP, GROUP + len(DEMOGRAPHIC_GROUPS))
    return range(TEMPLATES[template], TEMPLATES[template] + 1)


def instruction(traveller: int, city: str) -> str:
    """Return the instruction of a template and profile (index into TRAVELLERS) in a city."""
    return _INSTRUCTION.format(traveller=TRAVELLERS[traveller], city=city)


def place(distribution: npt.NDArray[np.floating]) -> str:
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


def digest(city: str, codes: npt.NDArray[np.float64]) -> str:
    """Return the SHA-256 of every text that the planner is asked with in a city.

    Parameters
    ----------
    city
        The city's name, as prompts say it.
    codes
        POI distributions that prompts tell, shape (K, 14).
    """
    texts = [instruction(traveller, city) for traveller in range(len(TRAVELLERS))]
    texts += [place(code) for code in codes]
    texts += times()
    return hashlib.sha256("\x00".join(texts).encode()).hexdigest()
