"""``raygen train MODEL``: from the model's name to the function that fits it."""

from pathlib import Path

from raygen.config import load
from raygen.errors import ConfigError

MODELS = (
    "reconstruction",
    "adapters",
    "planner",
    "distilled",
    "spatial",
    "generator",
    "annotation",
    "transfer",
    "codec",
    "patterns",
    "trajectory",
)
"""Models that can be fitted, in the order in which they build on each other."""


def fit(model: str, recipe: Path, output: Path | None, resume: bool, address: str | None) -> Path:
    """Fit a model by its recipe.

    Parameters
    ----------
    model
        One of MODELS.
    recipe
        TOML of the model's recipe.
    output
        Directory of the weights; the recipe's where it is not given.
    resume
        Whether to go on from the last checkpoint.
    address
        Ray cluster, see ``cluster.session.connect``.

    Returns
    -------
    weights
        The directory that was written.

    Raises
    ------
    ConfigError
        If there is no such model, or the recipe is wrong.
    RaygenError
        As the training raises.
    """
    match model:
        case "reconstruction":
            from training import reconstruction

            settings = load(recipe, reconstruction.ReconstructionRecipe)
            weights = reconstruction.train(settings, output or settings.output, resume, address)
        case "adapters":
            from training import adapters

            settings = load(recipe, adapters.AdapterRecipe)
            weights = adapters.train(settings, output or settings.output, resume, address)
        case "planner" | "distilled":
            weights = _fit_planner(model, recipe, output, resume, address)
        case "spatial":
            from training import spatial

            settings = load(recipe, spatial.SpatialRecipe)
            weights = spatial.train(settings, output or settings.output, resume, address)
        case "generator":
            from training import generator

            settings = load(recipe, generator.GeneratorRecipe)
            weights = generator.train(settings, output or settings.output, resume, address)
        case "annotation":
            from training import annotation

            settings = load(recipe, annotation.AnnotationRecipe)
            weights = annotation.train(settings, output or settings.output, resume, address)
        case "transfer":
            from training import transfer

            settings = load(recipe, transfer.TransferRecipe)
            weights = transfer.train(settings, output or settings.output, resume, address)
        case "codec" | "patterns" | "trajectory":
            weights = _fit_trajectories(model, recipe, output, resume, address)
        case _:
            msg = f"model {model!r}: must be one of {', '.join(MODELS)}"
            raise ConfigError(msg)
    return weights


def _fit_planner(
    model: str, recipe: Path, output: Path | None, resume: bool, address: str | None
) -> Path:
    """Fit the planner, with a language model or without one."""
    if model == "planner":
        from training import planner

        settings = load(recipe, planner.PlannerRecipe)
        return planner.train(settings, output or settings.output, resume, address)
    from training import distilled

    settings = load(recipe, distilled.DistilledRecipe)
    return distilled.train(settings, output or settings.output, resume, address)


def _fit_trajectories(
    model: str, recipe: Path, output: Path | None, resume: bool, address: str | None
) -> Path:
    """Fit one of the models of trajectories."""
    if model == "codec":
        from training import codec

        settings = load(recipe, codec.CodecRecipe)
        return codec.train(settings, output or settings.output, resume, address)
    if model == "patterns":
        from training import patterns

        settings = load(recipe, patterns.PatternRecipe)
        return patterns.train(settings, output or settings.output, resume, address)
    from training import trajectory_language

    settings = load(recipe, trajectory_language.TrajectoryRecipe)
    return trajectory_language.train(settings, output or settings.output, resume, address)
