"""What days that are joined must keep, by plain loops; and days to join, made by code."""

import numpy as np

from raygen.households.state import CARER, CHILD, GUARD
from raygen.taxonomy import HOME, SCHOOL, SLOTS, WORK

LETTERS = "hwsvgSmelxochOp"


def day(text: str) -> list[int]:
    """Return a day of slots from words like ``30h 10w 56h``."""
    slots = [LETTERS.index(word[-1]) for word in text.split() for _ in range(int(word[:-1]))]
    assert len(slots) == SLOTS, len(slots)
    return slots


def random_days(age: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random day for each age: work for adults, school for pupils, errands, at any hour."""
    chains = np.zeros((len(age), SLOTS), np.int8)
    for row, years in enumerate(age):
        for _ in range(rng.integers(0, 5)):
            start = int(rng.integers(1, SLOTS - 1))
            stop = min(start + int(rng.geometric(1 / rng.choice([2, 6, 30]))), SLOTS - 1)
            kinds = [
                *range(3, 15),
                *[WORK] * (6 * int(years >= 16)),
                *[SCHOOL] * (6 * int(5 <= years < 18)),
            ]
            chains[row, start:stop] = rng.choice(kinds)
    return chains


def place_of(chain: np.ndarray, place: np.ndarray, member: int, slot: int) -> int:
    """Return where a member is: -1 at home, else whose place it is."""
    if chain[member, slot] == HOME:
        return -1
    return int(place[member, slot]) if place[member, slot] >= 0 else member


def faults(
    part: np.ndarray, chain: np.ndarray, place: np.ndarray, escort: np.ndarray, rows: range
) -> list[str]:
    """Return what is wrong with the days of the members of one household."""
    children = [row for row in rows if part[row] == CHILD]
    guards = [row for row in rows if part[row] in (CARER, GUARD)]
    carers = [row for row in rows if part[row] == CARER]
    found = [f"{row}: not from home to home" for row in rows if chain[row, 0] or chain[row, -1]]
    for row in rows:
        same = (chain[row, 1:] == chain[row, :-1]) & (chain[row, 1:] != HOME)
        if (same & (place[row, 1:] != place[row, :-1])).any():
            found.append(f"{row}: one activity at two places")
    for child in children if carers else []:
        for t in range(1, SLOTS):
            if chain[child, t - 1] == chain[child, t] == HOME:
                if not any(chain[g, t - 1] == chain[g, t] == HOME for g in guards):
                    found.append(f"{child}: alone at {t}")
            elif chain[child, t - 1] != chain[child, t]:
                carer = int(escort[child, t])
                if carer not in carers or chain[carer, t] == chain[carer, t - 1]:
                    found.append(f"{child}: no escort at {t}")
                elif any(
                    place_of(chain, place, carer, s) != place_of(chain, place, child, s)
                    for s in (t - 1, t)
                ):
                    found.append(f"{child}: escort {carer} is elsewhere at {t}")
    return found
