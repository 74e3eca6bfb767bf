"""A run whose assignment is refined to the city's flows first."""

import json
from pathlib import Path

import numpy as np
import pytest
import tinyrun

from cluster.session import connect
from raygen import pipeline
from raygen.city import open_city
from raygen.errors import ConfigError
from raygen.flow_target import OD_FILE, Counted, write_target


@pytest.fixture(scope="module")
def cluster():
    with connect("local", workers=2):
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    directory = tmp_path_factory.mktemp("refined")
    cache, pipeline.CACHE = pipeline.CACHE, directory / "cache"
    made = tinyrun.configure(directory)
    settings = made.assignment.refinement.model_copy(update={"persons": 200, "rounds": 3})
    assignment = made.assignment.model_copy(update={"refinement": settings})
    yield made.model_copy(update={"assignment": assignment})
    pipeline.CACHE = cache


def test_a_run_without_flows_is_refused_before_it_starts(config, tmp_path):
    run = tinyrun.variant(config, tmp_path / "none")
    with pytest.raises(ConfigError, match=r"refinement needs flows, there is no .*od\.parquet"):
        pipeline.generate(run)
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("cluster")
def test_a_run_is_refined_to_flows_whatever_the_workers(config, tmp_path):
    city = open_city(str(config.city))
    names = np.array(city.subregion_names)
    origin, destination = np.repeat(names, len(names)), np.tile(names, len(names))
    flow = np.where(origin == destination, 1.0, 9.0)
    write_target(Path(city.path) / OD_FILE, (origin, destination), flow, Counted(), "assumed")
    one, two = (tinyrun.variant(config, tmp_path / f"{n}", workers=n) for n in (1, 2))
    for run in (one, two):
        pipeline.generate(run)
    assert tinyrun.digests(one.output) == tinyrun.digests(two.output)
    report = json.loads((Path(one.output) / "refinement.json").read_text())
    assert report["rounds"][report["best_round"]]["cosine"] > report["rounds"][0]["cosine"]
    assert report["target"]["provenance"] == "assumed"
    plain = tinyrun.variant(
        config.model_copy(update={"assignment": type(config.assignment)()}), tmp_path / "plain"
    )
    pipeline.generate(plain)
    assert tinyrun.digests(plain.output) != tinyrun.digests(one.output)
