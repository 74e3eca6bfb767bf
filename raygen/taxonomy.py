"""The closed vocabularies of the field: every code that a column or a tensor can hold.

A tuple's order is its coding: column and tensor value ``i`` means entry ``i``.
"""

ACTIVITY_TYPES = (
    "home",
    "work",
    "school",
    "caregiving",
    "shop_goods",
    "shop_services",
    "meals_out",
    "errands",
    "leisure",
    "exercise",
    "social",
    "healthcare",
    "worship",
    "other",
    "pickup_drop",
)
"""The 15 activity types of DataFusion, Table 1; the paper's code is the index plus one."""

HOME, WORK, SCHOOL = 0, 1, 2
"""Indices of the mandatory (anchor) activity types in ``ACTIVITY_TYPES``."""

POI_CATEGORIES = (
    "transportation",
    "companies",
    "residential",
    "automotive",
    "education",
    "sports",
    "financial",
    "leisure",
    "healthcare",
    "tourism",
    "life_services",
    "shopping",
    "hotels",
    "dining",
)
"""UniMob's 14 POI categories, Table 2: left column top to bottom, then the right one."""

SEXES = ("male", "female")

EMPLOYMENT = ("employed", "unemployed", "not_in_labour_force")
"""Employment status; persons under 16 are never in the labour force."""

STUDENT = ("none", "school", "college")
"""Student status: ``school`` is kindergarten to grade 12."""

ROLES = (
    "worker",
    "college_student",
    "school_pupil",
    "retiree",
    "homemaker",
    "young_child",
)
"""Role of a person in the travel planner's prompt (UniMob Fig. 6, third template)."""

AGE_BANDS = ("young", "mid_aged", "elderly")
"""DataFusion's age bands: under 25, 25 to 64, 65 and over."""

DEMOGRAPHIC_GROUPS = tuple(
    f"{age}_{sex}_{work}" for work in ("worker", "non_worker") for age in AGE_BANDS for sex in SEXES
)
"""The 12 groups of DataFusion 6.2.3: index = 6 * non_worker + 2 * age band + sex."""

MODES = ("car_driver", "car_passenger", "transit", "walk", "bike")

JOB_KINDS = ("office", "retail", "industry", "education", "health", "leisure")
"""Kinds of job of a zone: columns ``jobs_<kind>`` of zones.parquet."""

SLOTS = 96
"""Slots of a day chain, 15 minutes each."""

SLOT_S = 900
"""Length of a slot of the day chain, in seconds."""

PLAN_SLOTS = 48
"""Slots of UniMob's temporal plan, 30 minutes each (Δt)."""

DAY_S = 86_400
"""Length of a day, in seconds."""

PROVENANCE = ("observed", "calibrated", "synthesised", "assumed")
"""Labels of tables and models: how a figure came to be known."""
