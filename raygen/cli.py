"""Command line: parse, load the configuration, call one function of the library.

Bad input prints one line and exits with 2, Ctrl-C with 130; what is done of a run is kept.
"""

import logging
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from raygen.errors import RaygenError

if TYPE_CHECKING:
    from raygen.config import RunConfig

BAD_INPUT, BROKEN, INTERRUPTED = 2, 1, 130
"""Exit codes: wrong input, a population that breaks an invariant, Ctrl-C."""

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
city_app = typer.Typer(no_args_is_help=True)
app.add_typer(city_app, name="city", help="Build and check cities.")

_errors = Console(stderr=True, soft_wrap=True, highlight=False)
_out = Console(highlight=False, soft_wrap=True)

RunFile = Annotated[Path, typer.Argument(metavar="RUN.toml", help="Configuration of the run.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster: host:port of its head, or auto.", metavar="RAY")
]
Population = Annotated[str, typer.Argument(metavar="POPULATION", help="Directory or URI.")]


def main() -> None:
    """Run raygen with the process's arguments, and exit."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; every foreseen error is one line on stderr."""
    logging.basicConfig(
        level=logging.WARNING if _errors.is_terminal else logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=_errors, show_path=False, show_level=False)],
    )
    try:
        # typer turns Ctrl-C into this code where the command does not see it first.
        code = int(app(arguments, standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except typer.TyperException as error:
        return _fail(f"{error.format_message()} (see --help)")
    except RaygenError as error:
        return _fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    if code == INTERRUPTED:
        _errors.print("stopped; what is done is kept, and --resume continues from it")
    return code


def _fail(message: str) -> int:
    _errors.print("error: " + " ".join(message.split()), markup=False)
    return BAD_INPUT


@app.command()
def generate(  # noqa: PLR0913, PLR0917 - typer wants a parameter for each option
    config: RunFile,
    agents: Annotated[int | None, typer.Option(help="Persons; 0 is everyone.")] = None,
    output: Annotated[str | None, typer.Option(metavar="DIR", help="Where to write.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw.")] = None,
    address: Address = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep the shards that are done.")
    ] = False,
    no_llm: Annotated[
        bool, typer.Option("--no-llm", help="Plan without the language model.")
    ] = False,
) -> None:
    """Generate a population and its days."""
    from raygen import manifest, pipeline
    from raygen.progress import Bar
    from raygen.storage import Store

    settings = _run_config(config, agents, output, seed, no_llm)
    with Bar(_errors) as bar:
        population = pipeline.generate(settings, address, resume, bar.show, bar.begin)
    rows = manifest.load(Store(population)).rows
    counts = ", ".join(f"{count:,} {table}" for table, count in rows.items())
    _out.print(f"{population}: {counts}")


@app.command()
def estimate(config: RunFile) -> None:
    """Say what a run will cost: persons, shards, plan states, time and memory."""
    from raygen.estimate import estimate as cost_of

    for name, value in cost_of(_run_config(config, None, None, None)):
        _out.print(f"{name:<28}{value}")


@app.command()
def train(
    model: Annotated[
        str,
        typer.Argument(
            help="reconstruction, adapters, planner, distilled, spatial, generator, annotation, "
            "transfer, codec, patterns or trajectory."
        ),
    ],
    recipe: Annotated[Path, typer.Argument(metavar="RUN.toml", help="Recipe of the training.")],
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write.")] = None,
    address: Address = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
) -> None:
    """Fit a model and write its weights, card and curve."""
    from raygen.training_commands import fit

    _out.print(f"{fit(model, recipe, output, resume, address)}")


@app.command()
def stays(  # noqa: PLR0913, PLR0917 - typer wants a parameter for each option
    traces: Annotated[
        str, typer.Argument(metavar="TRACES", help="File or directory of Parquet or CSV, or URI.")
    ],
    city: Annotated[str, typer.Option(metavar="DIR", help="Directory or name of the city.")],
    output: Annotated[str, typer.Option(metavar="DIR", help="Where to write.")],
    config: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Thresholds, if not the paper's.")
    ] = None,
    until: Annotated[str, typer.Option(help="Last step: stays, activities or chains.")] = "chains",
    address: Address = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep the parts that are done.")] = False,
) -> None:
    """Find where people stayed in GPS traces, what they did there, and complete their days.

    Traces have person_id, time (UTC), lon, lat. Writes stay_points.parquet (every stay within the
    city's box), person_days.parquet (the days told well enough, 96 slots each),
    stay_activities.parquet (three likeliest activity types of every stay), day_chains.parquet
    (activity types of the days, gaps filled in) and stays.json.
    """
    from actors.stays import Session, follow_traces
    from raygen.config import load
    from raygen.inference.settings import TraceConfig, last_step
    from raygen.progress import Bar

    settings = load(config, TraceConfig) if config is not None else TraceConfig()
    last = last_step(until)
    with Bar(_errors) as bar:
        session = Session(address, resume, bar.count)
        found = follow_traces(traces, city, output, settings, last, session)
    names = ("fixes", "persons", "stays", "person_days", "kept_days")
    counts = ", ".join(f"{found.counts[name]:,} {name.replace('_', ' ')}" for name in names)
    _out.print(f"{found.output}: {counts}")


@app.command()
def evaluate(
    preset: Annotated[str, typer.Argument(help="Set of metrics: data-fusion.")],
    generated: Annotated[Path, typer.Option(metavar="PATH", help="Population to judge.")],
    reference: Annotated[Path, typer.Option(metavar="PATH", help="What was observed.")],
    city: Annotated[Path | None, typer.Option(metavar="DIR", help="The population's city.")] = None,
    traces: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Output of `raygen stays --until chains`.")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Results to write.")] = None,
) -> None:
    """Compare a population with what was observed, beside floors and baselines."""
    from raygen.evaluation import evaluate as results_of

    results = results_of(preset, generated, reference, city, traces)
    if json is None:
        today = datetime.now(UTC).date().isoformat()
        _out.print(results.markdown(platform.machine(), today), markup=False)
    else:
        _out.print(f"{results.write(json)}")


@app.command()
def validate(population: Population) -> None:
    """Check the invariants of a population, and the digests of its manifest."""
    from raygen.validation import Check
    from raygen.validation import validate as checks_of

    checks: list[Check] = checks_of(population)
    for check in checks:
        mark = "ok  " if check.violations == 0 else "FAIL"
        broken = f", {check.violations:,} break it" if check.violations else ""
        _out.print(f"{mark} {check.name} ({check.checked:,} checked{broken})")
        for example in check.examples:
            _out.print(f"       {example}", markup=False)
    broken = sum(check.violations > 0 for check in checks)
    _out.print(f"{population}: {len(checks) - broken} of {len(checks)} checks passed")
    if broken:
        raise typer.Exit(BROKEN)


@app.command()
def report(
    population: Population,
    output: Annotated[
        Path, typer.Option(metavar="FILE.html", help="Page to write, or picture (FILE.png).")
    ],
    reference: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Surveys to compare with, on a page.")
    ] = None,
    city: Annotated[
        str | None, typer.Option(metavar="DIR", help="The run's city, where it has moved.")
    ] = None,
) -> None:
    """Draw a population: its day, trips, places and flows beside what they were fitted to."""
    from raygen.report import report as draw

    _out.print(f"{draw(population, output, city, reference)}")


@app.command()
def annotate(
    source: Annotated[str, typer.Argument(metavar="CITY|POI-FILE", help="What to annotate.")],
    method: Annotated[
        str, typer.Option(help="llm: likelihoods of the language model; tags: OSM tags alone.")
    ] = "llm",
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.parquet", help="Where to write.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Weights with a fitted annotation, or none.")
    ] = None,
) -> None:
    """Say which activities people go to POIs for."""
    from rich.progress import Progress

    from raygen.annotation import command

    with Progress(console=_errors, transient=True, disable=not _errors.is_terminal) as bar:
        task = bar.add_task("loading the language model", total=None)

        def show(done: int, total: int, kept: int) -> None:
            words = "annotating" + (f" ({kept:,} kept)" if kept else "")
            bar.update(task, completed=done, total=total, description=words)

        written = command.run(source, method, output, weights, show)
    _out.print(f"{written}")


@city_app.command("build")
def city_build(
    spec: Annotated[Path, typer.Argument(metavar="SPEC.toml", help='E.g. city = "los_angeles".')],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the city.")],
) -> None:
    """Build a city from the sources that raygen carries."""
    from raygen.cities import los_angeles
    from raygen.cities.spec import CitySpec
    from raygen.config import load

    load(spec, CitySpec)
    los_angeles.build(output)
    _out.print(f"{output}")


@city_app.command("check")
def city_check(
    city: Annotated[str, typer.Argument(metavar="DIR", help="Directory or name of a city.")],
) -> None:
    """Open a city, with every check that a run makes."""
    from raygen.city import open_city

    found = open_city(city)
    _out.print(
        f"{found.name}: {len(found.zone_id):,} zones, {len(found.region_id):,} regions, "
        f"{int(found.population.sum()):,} people, digest {found.digest[:12]}"
    )


def _run_config(
    path: Path, agents: int | None, output: str | None, seed: int | None, no_llm: bool = False
) -> "RunConfig":
    """Load a run, with what the command line changes of it."""
    from raygen.config import RunConfig, load, parse

    given = {"agents": agents, "output": output, "seed": seed}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    settings = load(path, RunConfig)
    if no_llm:
        changes["planner"] = settings.planner.model_dump() | {"llm": False}
    return parse(settings.model_dump() | changes, RunConfig, "command line")
