"""``raygen annotate``: from the command line's words to one call of ``annotate``."""

from pathlib import Path
from typing import get_args

from raygen.annotation.annotate import Method, Settings, annotate
from raygen.annotation.answers import Report
from raygen.errors import ConfigError

SHIPPED = Path(__file__).parent / "weights"
"""Directory of the adapter that comes with raygen, fitted to SmolLM2."""

_NAME = "pois.annotated.parquet"


def run(
    source: str, method: str, output: Path | None, weights: Path | None, report: Report
) -> Path:
    """Annotate the POIs of a city or a file.

    Parameters
    ----------
    source
        Directory or name of a city, or a POI file.
    method
        ``llm`` or ``tags``.
    output
        File to write; beside the POIs where it is not given.
    weights
        Directory with a fitted ``annotation`` folder; the shipped one where it is not given, and
        none, the language model as it comes, where it is ``none``.
    report
        See ``answers.answer``.

    Returns
    -------
    output
        The file that was written.

    Raises
    ------
    ConfigError
        If there is no such method, or an embedded city is annotated without an output.
    RaygenError, OSError
        See ``annotate``.
    """
    chosen: list[Method] = [name for name in get_args(Method) if name == method]
    if not chosen:
        msg = f"--method: must be one of {', '.join(get_args(Method))}, got {method!r}"
        raise ConfigError(msg)
    if weights is not None and method != "llm":
        msg = f"--weights: are for --method llm, got --method {method}"
        raise ConfigError(msg)
    path, target = _places(source, output)
    settings = Settings(method=chosen[0], weights=_weights(weights))
    return annotate(path, target, settings, report)


def _weights(given: Path | None) -> Path | None:
    if given == Path("none"):
        return None
    return SHIPPED if given is None else given


def _places(source: str, output: Path | None) -> tuple[Path, Path]:
    """Return where the POIs are, and the file to write."""
    from raygen.city import EMBEDDED, open_city  # geopandas and scipy, for an embedded city alone

    path = Path(source)
    if source in EMBEDDED:
        if output is None:
            msg = f"--output: needed for the embedded city {source!r}"
            raise ConfigError(msg)
        path = Path(open_city(source).path)
    if output is not None:
        return path, output
    return path, path / _NAME if path.is_dir() else path.with_suffix(".annotated.parquet")
