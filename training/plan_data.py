"""Everything that the planner is fitted to: codebook, places, and states of each split."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from raygen import foursquare
from raygen.config import Section
from raygen.geolife import read_mobility
from raygen.mobility import Days
from raygen.models import codebook
from raygen.models.codebook import Codebook, FloatArray
from raygen.models.prompts import CHECK_IN, PERSON, PHONE
from raygen.survey import read_survey
from raygen.taxonomy import PLAN_SLOTS, POI_CATEGORIES
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

    check_in: Path | None = None
    """File of New York's check-ins, or its folder (``raygen.foursquare``)."""

    check_in_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Weight of the check-ins beside the survey's 1."""

    cities: tuple[str, ...] = ("a city",)
    """Cities that the survey's prompts name in turn. Plans of one survey are alike whatever the
    name, and a planner that saw few names hangs on them: one name for all is the remedy."""

    names_per_place: Annotated[int, Field(ge=1)] = 1
    """Cities that the prompts of one place name."""

    phone_city: str = "a city"
    """City that the phone templates name."""

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
    """Validation and test persons of the survey and of the check-ins; even and odd validation days
    of the phones."""
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
    phones = observed_days(data)
    regions = [source.poi for source in phones]
    drawn = places(seed)
    samples = np.concatenate(
        [drawn.ensemble, drawn.of_purpose.reshape(-1, len(POI_CATEGORIES)), *regions]
    )
    left_out = np.arange(len(samples)) % 10 == 0
    book = codebook.fit(samples[~left_out], codes, seed)
    shares = code_shares(drawn.of_purpose, book)
    states = {
        split: survey_states(survey, members, split, shares, drawn.mean)
        for split in ("train", "validation", "test")
    }
    parts = states | {"one": states["validation"], "other": states["test"]}
    everyone = {name: float(part.weight[PERSON].sum()) for name, part in parts.items()}
    counts = {
        "survey persons": members.shape[1],
        "survey pairs": members.shape[1] + len(survey.purpose),
    }
    for source in phones:
        code = book.nearest(source.poi)
        for name, days in source.parts.items():
            theirs = phone_states(days, source.poi, code, codes, source.traveller)
            share = source.share * everyone[name] / theirs.weight.sum()
            parts[name] = parts[name] + theirs.scaled(share)
        counts[f"{source.name} days"] = len(source.parts["train"].region)
    return Corpus(
        codebook=book,
        code_error=book.error(samples[left_out]),
        train=parts["train"],
        validation=parts["validation"],
        floor_parts=(parts["one"], parts["other"]),
        counts=counts,
    )


@dataclass(frozen=True)
class ObservedDays:
    """Days of phones or check-ins."""

    name: str
    traveller: int
    poi: FloatArray
    """POI distributions of the regions, shape (R, 14)."""
    parts: dict[str, Days]
    """``train``, ``validation``, and two parts that no model was fitted to: ``one``, ``other``."""
    share: float
    """Weight beside the survey's 1."""


def observed_days(data: PlannerData) -> list[ObservedDays]:
    """Read the phone days and, where given, the check-ins.

    Raises
    ------
    DataError
        If a file is missing or malformed.
    """
    regions, train, held = read_mobility(data.phone, PLAN_SLOTS)
    even = np.arange(len(held.region)) % 2 == 0
    parts = {
        "train": train,
        "validation": held,
        "one": held.take(np.flatnonzero(even)),
        "other": held.take(np.flatnonzero(~even)),
    }
    poi = regions.poi.astype(np.float64)
    found = [ObservedDays("phone", PHONE, poi, parts, data.phone_share)]
    if data.check_in is not None:
        regions, train, held, test = foursquare.read_mobility(data.check_in, PLAN_SLOTS)
        parts = {"train": train, "validation": held, "one": held, "other": test}
        poi = regions.poi.astype(np.float64)
        found.append(ObservedDays("check-in", CHECK_IN, poi, parts, data.check_in_share))
    return found
