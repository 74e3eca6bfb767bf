"""Everything that the planner is fitted to: codebook, places, and states of each split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from raygen.config import Section
from raygen.geolife import read_mobility
from raygen.models import codebook
from raygen.models.codebook import Codebook, FloatArray
from raygen.models.prompts import PERSON
from raygen.survey import read_survey
from raygen.taxonomy import PLAN_SLOTS
from training.plan_places import code_shares, places
from training.plan_states import Smoothing, States, phone_states, survey_states
from training.plan_travellers import Emphasis, survey_travellers


class PlannerData(Section):
    """What the planner is fitted to."""

    survey: Path = Path("data/czechia_hts")
    """Folder of the household travel survey: roles, purposes, times of arrival."""

    phone: Path = Path("data/beijing_geolife")
    """Folder of Beijing's phone days."""

    phone_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Weight of the phone days beside the survey's 1."""

    cities: tuple[str, ...] = ("a city",)
    """Cities that the survey's prompts name in turn. Plans of one survey are alike whatever the
    name, and a planner that saw few names hangs on them: one name for all is the remedy."""

    names_per_place: Annotated[int, Field(ge=1)] = 1
    """Cities that the prompts of one place name."""

    phone_city: str = "a city"
    """City that the phone template names."""

    emphasis: Emphasis = Emphasis()
    """Weights of the travellers that are not roles."""

    smoothing: Smoothing = Smoothing()
    """Of the targets that are trained on."""

    coverage: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Share of the pairs' weight whose places are trained on; the rest are too rare to pay."""


@dataclass(frozen=True)
class Corpus:
    """The training's data."""

    codebook: Codebook
    code_error: FloatArray
    """JSD of places left out of the codebook's fit to their codes."""
    train: States
    validation: States
    floor_parts: tuple[States, States]
    """Validation and test persons of the survey; even and odd validation days of the phones."""
    counts: dict[str, int]
    """Pairs by source."""


def read_corpus(data: PlannerData, codes: int, seed: int) -> Corpus:
    """Read the data and count the states.

    Parameters
    ----------
    data
        Folders and shares.
    codes
        Codes of the codebook, K.
    seed
        Seed of the synthesised places and of the codebook.

    Raises
    ------
    DataError
        If a file is missing or malformed.
    """
    survey = read_survey(data.survey)
    members = survey_travellers(survey, data.survey)
    regions, days, days_held = read_mobility(data.phone, PLAN_SLOTS)
    drawn = places(seed)
    poi = regions.poi.astype(np.float64)
    samples = np.concatenate([drawn.ensemble, drawn.of_purpose.reshape(-1, poi.shape[1]), poi])
    left_out = np.arange(len(samples)) % 10 == 0
    book = codebook.fit(samples[~left_out], codes, seed)
    shares = code_shares(drawn.of_purpose, book)
    code = book.nearest(poi)
    survey_parts = {
        split: survey_states(survey, members, split, shares, drawn.mean)
        for split in ("train", "validation", "test")
    }
    even = np.arange(len(days_held.region)) % 2 == 0
    phone_parts = {
        name: phone_states(part, poi, code, codes)
        for name, part in {
            "train": days,
            "validation": days_held,
            "even": days_held.take(np.flatnonzero(even)),
            "odd": days_held.take(np.flatnonzero(~even)),
        }.items()
    }

    def joined(one: str, other: str) -> States:
        ours, theirs = survey_parts[one], phone_parts[other]
        everyone = ours.weight[PERSON].sum()
        return ours + theirs.scaled(data.phone_share * everyone / theirs.weight.sum())

    return Corpus(
        codebook=book,
        code_error=book.error(samples[left_out]),
        train=joined("train", "train"),
        validation=joined("validation", "validation"),
        floor_parts=(joined("validation", "even"), joined("test", "odd")),
        counts={
            "survey persons": members.shape[1],
            "survey pairs": members.shape[1] + len(survey.purpose),
            "phone days": len(days.region),
            "phone pairs": round(phone_parts["train"].weight.sum()),
        },
    )
