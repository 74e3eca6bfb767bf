import json
from pathlib import Path

import numpy as np
import pytest
import smallpopulation
import tinycity

from raygen.city import open_city
from raygen.errors import DataError
from raygen.manifest import SourceEntry
from raygen.mobility import check_regions
from raygen.population_days import open_population, population_days
from raygen.taxonomy import HOME, WORK
from training.mobility_data import MobilityData, population_city, read_cities


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))


def write(directory, city, shards=40):
    """Write a population whose activities lie in regions 3, 5, 3 (worker) and 3 (child)."""
    parts = []
    for number in range(shards):
        part = smallpopulation.tables(number, 2 * number)
        for row, region in enumerate((3, 5, 3, 3)):
            chosen = int(city.region_id[region])
            part = smallpopulation.put("activities", row, region_id=chosen)(part)
        parts.append(part)
    source = SourceEntry(name=city.name, digest=city.digest, provenance=city.provenance)
    location = smallpopulation.write(directory, parts, source)
    name_city(location, city.path)
    return location


def name_city(location, path):
    (Path(location) / "run.json").write_text(json.dumps({"config": {"city": str(path)}}))


@pytest.fixture(scope="module")
def location(city, tmp_path_factory):
    return write(tmp_path_factory.mktemp("population"), city)


def test_days_are_the_activities_by_half_hours_of_arrival(city, location):
    found = list(population_days(*open_population(location), 4))
    assert len(found) == 40
    days = found[7].days
    assert days.region.tolist() == [[3, 5, 3, -1], [3, -1, -1, -1]]
    assert days.slot.tolist() == [[0, 16, 34, -1], [0, -1, -1, -1]]
    assert days.kind.tolist() == [[HOME, WORK, HOME, -1], [HOME, -1, -1, -1]]
    assert days.cut == 0
    assert found[7].household.tolist() == [7, 7]
    assert found[7].persons == 2


def test_a_long_day_loses_its_end(city, location):
    days = next(iter(population_days(*open_population(location), 2))).days
    assert days.region.tolist() == [[3, 5], [3, -1]]
    assert days.cut == 1


def test_a_population_is_a_city_and_households_stay_together(city, location):
    held = population_city(location, MobilityData(), 1)
    assert held.regions.name == "Tiny City population"
    assert held.label == "synthesised"
    counts = [len(days.region) for days in (held.train, held.validation)]
    assert sum(counts) == 80
    assert 0 < counts[1] <= 16
    assert all(count % 2 == 0 for count in counts)
    assert held.typical_of(held.train).shape == (counts[0], 16, 14)
    again = population_city(location, MobilityData(), 1)
    assert (again.train.region == held.train.region).all()
    part = population_city(location, MobilityData(population_days=20), 1)
    assert 4 <= len(part.train.region) + len(part.validation.region) <= 40


def test_a_recipe_reads_populations(location):
    data = MobilityData(geolife=None, cities=(), populations=(location,))
    assert [held.regions.name for held in read_cities(data, 1)] == ["Tiny City population"]


def test_a_recipe_joins_regions_to_voronoi_cells(location):
    data = MobilityData(geolife=None, cities=(), populations=(location,), regions="voronoi")
    joined = read_cities(data.model_copy(update={"voronoi_cells": 4}), 1)[0]
    check_regions(joined.regions)
    assert len(joined.regions.region_id) == 4
    assert joined.train.region.max() < 4
    assert (
        joined.train.kind == read_cities(data.model_copy(update={"regions": "h3"}), 1)[0].train.kind
    ).all()
    with pytest.raises(DataError, match="voronoi: cells must be 1 to"):
        read_cities(data, 1)


def test_another_city_is_refused(city, location, tmp_path):
    other = SourceEntry(name="c", digest="aa" * 32, provenance={"zones": "synthesised"})
    place = smallpopulation.write(tmp_path / "other", [smallpopulation.tables()], other)
    with pytest.raises(DataError, match="was made with another version of its city"):
        open_population(place, str(city.path))
    (Path(place) / "run.json").write_text("{}")
    with pytest.raises(DataError, match="does not name the population's city"):
        open_population(place)


def test_a_region_outside_the_city_is_refused(city, tmp_path):
    part = smallpopulation.put("activities", 1, region_id=5)(smallpopulation.tables())
    source = SourceEntry(name=city.name, digest=city.digest, provenance=city.provenance)
    place = smallpopulation.write(tmp_path / "bad", [part], source)
    with pytest.raises(DataError, match="region_id must be a region of Tiny City, got"):
        next(population_days(*open_population(place, str(city.path)), 4))


def test_a_missing_file_is_named(city, tmp_path):
    place = write(tmp_path / "population", city, shards=1)
    next(Path(place, "persons").iterdir()).unlink()
    with pytest.raises(DataError, match="cannot be read"):
        next(population_days(*open_population(place), 4))


def test_every_day_starts_at_midnight(location):
    for shard in population_days(*open_population(location), 4):
        assert (shard.days.slot[:, 0] == 0).all()
        assert (np.diff(np.where(shard.days.slot < 0, 99, shard.days.slot)) >= 0).all()
