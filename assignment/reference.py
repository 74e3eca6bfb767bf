"""Reference distributions of the assignment: R of DataFusion's Algorithm 3, and the mode logit.

They are data, kept in ``reference.json`` and written by ``assignment.fitting``:

distances   P(D | type): crow-fly metres at evenly spaced probabilities, by activity type,
            calibrated to the trips of the Czech household travel survey (2017–2019)
groups      P(D | type, demographic group): as ranks among all; what differs between groups is
            observed in the survey, small groups are shrunk towards all
angles      P(Θ | type): radians at evenly spaced probabilities, one curve for all types,
            calibrated to GeoLife days of Beijing
commutes    mean crow-fly metres to school and college, calibrated to the same survey
clock       how much of the peak commutes meet, from the same survey's arrivals at work
modes       coefficients of the mode logit, calibrated to the same survey, and the shares of
            commuters by mode that its constants are moved to, assumed

DataFusion section 4.3: "A foundation model framework for universal human mobility patterns"; the
paper's own reference distributions (SCAG's model) are not public.
"""

import json
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from raygen.taxonomy import ACTIVITY_TYPES, MODES

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

MODE_FEATURES = ("constant", "log_km", "log_km_squared", "work", "school", "young", "old", "no_car")
"""Columns of the mode logit: network kilometres; purpose of the tour; age under 18; age of 65 and
over; no car at hand."""


@dataclass(frozen=True)
class Reference:
    """Distributions that the assignment reproduces."""

    distance_m: Float32Array
    """Quantiles of the crow-fly distance, shape (15, Q), evenly spaced in probability."""

    group_rank: FloatArray
    """Ranks, among all trips, of a group's distances at evenly spaced probabilities, by group and
    activity type, shape (12, 15, Q''): a group's distance at u is the pooled one at its rank."""

    angle_rad: Float32Array
    """Quantiles of the angle at the previous place between the place and the next anchor, (Q',)."""

    school_m: float
    """Mean crow-fly distance of a school pupil, metres."""

    college_m: float
    """Mean crow-fly distance of a college student, metres."""

    commute_peak_weight: float
    """Mean weight of the peak skim over arrivals at work."""

    mode_coefficients: FloatArray
    """Shape (5, 8): MODES by MODE_FEATURES; car_driver is the base, all zero."""

    commute_shares: FloatArray
    """Shares of commuters by mode, shape (5,), that the constants are moved to."""


def load_reference() -> Reference:
    """Read the shipped ``reference.json``."""
    text = resources.files("assignment").joinpath("reference.json").read_text()
    table = json.loads(text)
    by_purpose = table["distances_m"]["quantiles"]
    purpose_of = table["distances_m"]["purpose_of_type"]
    by_group = table["group_ranks"]["ranks"]
    coefficients = table["modes"]["coefficients"]
    return Reference(
        distance_m=np.array([by_purpose[purpose_of[t]] for t in ACTIVITY_TYPES], np.float32),
        group_rank=np.array([by_group[purpose_of[t]] for t in ACTIVITY_TYPES]).transpose(1, 0, 2),
        angle_rad=np.array(table["angles_rad"]["quantiles"], np.float32),
        school_m=float(table["commutes_m"]["school"]),
        college_m=float(table["commutes_m"]["college"]),
        commute_peak_weight=float(table["clock"]["commute_peak_weight"]),
        mode_coefficients=np.array(
            [[coefficients[m].get(f, 0.0) for f in MODE_FEATURES] for m in MODES]
        ),
        commute_shares=np.array([table["modes"]["commute_shares"][m] for m in MODES]),
    )
