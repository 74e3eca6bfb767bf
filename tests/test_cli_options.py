"""The command line grows on purpose: a new option changes this list, in review."""

import typer.main

from raygen.cli import app

OPTIONS = {
    "annotate": ["--method", "--output", "--weights", "CITY|POI-FILE"],
    "city build": ["--output", "SPEC.toml"],
    "city check": ["DIR"],
    "estimate": ["RUN.toml"],
    "evaluate": ["--city", "--generated", "--json", "--reference", "--traces", "PRESET"],
    "generate": ["--address", "--agents", "--no-llm", "--output", "--resume", "--seed", "RUN.toml"],
    "report": ["--city", "--output", "--reference", "POPULATION"],
    "stays": ["--address", "--city", "--config", "--output", "--resume", "--until", "TRACES"],
    "train": ["--address", "--output", "--resume", "MODEL", "RUN.toml"],
    "validate": ["POPULATION"],
}


def options(command, path=""):
    found = {}
    for name, child in getattr(command, "commands", {}).items():
        found |= options(child, f"{path} {name}".strip())
    if not found:
        names = [
            parameter.opts[0]
            if parameter.opts[0].startswith("--")
            else parameter.metavar or parameter.name.upper()
            for parameter in command.params
            if "--help" not in parameter.opts
        ]
        found[path] = sorted(names)
    return found


def test_options_are_the_frozen_ones():
    assert options(typer.main.get_command(app)) == OPTIONS
