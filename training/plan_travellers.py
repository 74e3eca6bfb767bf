"""Which persons of the survey the planner is taught each of its travellers on.

Roles, car drivers, a person without a profile and the 12 demographic groups are observed. The
survey does not know occupations: an office worker is taken to be an employed person with a
university degree (assumed). Neither it nor time use (``occup_code`` has ten broad classes, and no
clock times) tells teachers or visitors: they are asked without having been taught (zero-shot).
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from pydantic import Field

from raygen.config import Section
from raygen.models.prompts import (
    CAR,
    CHECK_IN,
    GROUP,
    OFFICE_WORKER,
    PERSON,
    PHONE,
    TRAVELLERS,
)
from raygen.survey import Survey
from raygen.taxonomy import ROLES

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_MINOR_GROUPS = 2  # age groups 1 and 2 of the survey: to 18 years
_CAR_DRIVER = 6  # ``JourneyMainMode``
_EMPLOYED, _UNIVERSITY, _DEPENDENT = 1, 4, 13
_ROLE_OF_ACTIVITY = {
    1: "worker",
    2: "worker",
    3: "college_student",
    4: "homemaker",
    6: "retiree",
    7: "homemaker",
    11: "homemaker",
    12: "homemaker",
    13: "homemaker",
}
"""Role by ``ActivityCzechiaHTS``; minors are pupils, and young children where 13 (dependent)."""


class Emphasis(Section):
    """Weight in training of the travellers that are not roles; the roles together have 1."""

    groups: Annotated[float, Field(ge=0)] = 0.5
    """The 12 demographic groups together."""

    person: Annotated[float, Field(ge=0)] = 0.25
    """A person without a profile."""

    car: Annotated[float, Field(ge=0)] = 0.5
    """Car drivers, of their share among persons."""

    office_worker: Annotated[float, Field(ge=0)] = 1.0
    """Office workers, of their share among persons."""

    phone: Annotated[float, Field(ge=0)] = 1.0
    """Phone days, of ``PlannerData.phone_share``."""

    check_in: Annotated[float, Field(ge=0)] = 1.0
    """Check-ins, of ``PlannerData.check_in_share``."""

    def by_traveller(self) -> FloatArray:
        """Return the weights in order of TRAVELLERS."""
        weight = np.zeros(len(TRAVELLERS))
        weight[: len(ROLES)] = 1.0
        weight[PHONE], weight[CAR], weight[PERSON] = self.phone, self.car, self.person
        weight[OFFICE_WORKER] = self.office_worker
        weight[GROUP:CHECK_IN] = self.groups
        weight[CHECK_IN] = self.check_in
        return weight


def survey_roles(survey: Survey, directory: Path) -> IntArray:
    """Return each person's role, an index into ROLES, shape (N,)."""
    age, activity = _columns(survey, directory, ["AgeGroup", "ActivityCzechiaHTS"])
    known = np.array([ROLES.index(_ROLE_OF_ACTIVITY.get(a, "homemaker")) for a in range(14)])
    minor = np.where(
        (activity == _DEPENDENT) & (age == 1),
        ROLES.index("young_child"),
        ROLES.index("school_pupil"),
    )
    pupil = (age <= _MINOR_GROUPS) & (activity != _EMPLOYED)
    return np.where(pupil, minor, known[activity])


def survey_travellers(survey: Survey, directory: Path) -> BoolArray:
    """Return whether each person is one of the planner's travellers, shape (V, N).

    Parameters
    ----------
    survey
        N persons.
    directory
        Folder of the survey.
    """
    mode, education, activity = _columns(
        survey, directory, ["JourneyMainMode", "Education", "ActivityCzechiaHTS"]
    )
    everyone = np.arange(len(survey.group))
    found = np.zeros((len(TRAVELLERS), len(everyone)), dtype=np.bool_)
    found[survey_roles(survey, directory), everyone] = True
    found[CAR] = mode == _CAR_DRIVER
    found[PERSON] = True
    found[OFFICE_WORKER] = (activity == _EMPLOYED) & (education == _UNIVERSITY)
    found[GROUP + survey.group, everyone] = True
    return found


def _columns(survey: Survey, directory: Path, names: list[str]) -> list[IntArray]:
    table = pq.read_table(directory / "persons.parquet", columns=names).take(survey.person_id)
    return [table.column(name).to_numpy() for name in names]
