"""What the language model is asked about a POI (DataFusion 4.1.1).

The paper's prompt has a task description, an activity code illustration and the POI in natural
language. The first two are the same for every POI; they end before the POI's text, so that their
keys and values are computed once. Each type is answered by one word.
"""

import hashlib
import re

from raygen.annotation.tags import Tags
from raygen.taxonomy import ACTIVITY_TYPES

LABELS = (
    " home",
    " work",
    " school",
    " caregiving",
    " shopping",
    " services",
    " dining",
    " paperwork",
    " leisure",
    " exercise",
    " social",
    " healthcare",
    " worship",
    " other",
    " pickup",
)
"""The answer that stands for each activity type, in the order of ACTIVITY_TYPES. Each is one token
of SmolLM2, so that no type is at a disadvantage for its length; the paper numbers them 1 to 15."""

CONTENT_FREE = ("N/A", "unknown", "POI")
"""Names that say nothing, asked for calibration (Zhao et al., arXiv:2102.09690)."""

_TASK = (
    "Task: A point of interest (POI) of a map is described by its name and its tags, in any "
    "language. Say what people mainly do there. Answer with one activity code.\n\n"
    "Activity codes:\n"
)

_MEANING = (
    "houses, apartments, where people live",
    "offices, factories, warehouses, fire stations, police, companies",
    "schools, colleges, universities, courses",
    "care for children or old people: nursing homes, playgrounds",
    "buy things: supermarkets, clothes, bakeries, markets, malls, furniture",
    "hairdressers, beauty salons, repair, car repair, rental, travel agencies",
    "restaurants, fast food, pizza, burgers, cafes, food",
    "banks, post offices, fuel stations, parking, city hall, laundry",
    "cinemas, theatres, museums, libraries, sights, viewpoints, art",
    "gyms, fitness, sports clubs, swimming pools, parks",
    "bars, pubs, clubs, community centres",
    "hospitals, clinics, doctors, dentists",
    "churches, mosques, temples, synagogues",
    "hotels, hostels, airports, cemeteries, toilets",
    "kindergartens, childcare, taxi stands",
)

_EXAMPLES = (
    ("Sunset Gardens Apartments", 0),
    ("Siemens AG", 1),
    ("Lincoln High School", 2),
    ("Haus der Senioren", 3),
    ("Mercado Central", 4),
    ("Salon de Beleza Maria", 5),
    ("Pizzeria Napoli", 6),
    ("中国银行", 7),
    ("Museo de Arte Moderno", 8),
    ("Gold's Gym", 9),
    ("O'Malley's Pub", 10),
    ("Clínica San José", 11),
    ("St. Mary's Church", 12),
    ("Grand Hotel", 13),
    ("Little Stars Kindergarten", 14),
)

_SPOKEN = ("cuisine", "sport", "religion", "denomination", "healthcare:speciality")
"""Tags that say more of a POI than its main one."""

_LONGEST = 160  # characters of a POI's text; longer names are cut
_SPACE = re.compile(r"\s+")
_COUNTER = re.compile(r"[\s#]+(?:no\.?\s*)?\d+$", re.IGNORECASE)


def instruction(examples: bool) -> str:
    """Return the part that all prompts share: task description and activity code illustration.

    Parameters
    ----------
    examples
        Whether the illustration ends with one answered POI of each type.
    """
    codes = [f"{word.strip()}: {text}\n" for word, text in zip(LABELS, _MEANING, strict=True)]
    shown = [poi(name) + LABELS[kind] + "\n\n" for name, kind in _EXAMPLES] if examples else []
    return _TASK + "".join(codes) + "\n" + "".join(shown)


def describe(name: str, tags: Tags, keys: tuple[str, ...]) -> str:
    """Return a POI in natural language; POIs of equal text are asked once.

    Parameters
    ----------
    name
        In any language, may be empty. A number at its end (``Station 12``) is left out.
    tags
        Of OSM; none to hide them.
    keys
        Keys whose tags say what a POI is.
    """
    words = [f"{key} {tags[key]}" for key in (*keys, *_SPOKEN, "type") if key in tags]
    said = [_COUNTER.sub("", _SPACE.sub(" ", name).strip())]
    said += [word.replace("_", " ").replace(";", ", ") for word in words]
    return "; ".join(filter(None, said))[:_LONGEST]


def poi(text: str) -> str:
    """Return the end of a prompt: a POI's text, and the question that a label answers."""
    return f"POI: {text or CONTENT_FREE[0]}\nActivity:"


def digest(examples: bool) -> str:
    """Return the SHA-256 of every text that does not depend on a POI."""
    texts = [instruction(examples), poi(""), *LABELS, *CONTENT_FREE, *ACTIVITY_TYPES]
    return hashlib.sha256("\x00".join(texts).encode()).hexdigest()
