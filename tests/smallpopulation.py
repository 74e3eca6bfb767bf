"""A sound population of one household, written by hand, for tests to break.

The worker (person 0) goes from zone 11 to work in zone 12 and back; the child stays at home.
"""

import numpy as np
import pyarrow as pa

from actors.parcels import Finished
from actors.writer import Writer
from raygen import manifest, schema
from raygen.config import RunConfig
from raygen.manifest import SourceEntry, identify
from raygen.storage import Store
from raygen.taxonomy import ACTIVITY_TYPES, EMPLOYMENT, MODES, ROLES, SEXES, STUDENT
from raygen.validation import validate

VOCABULARY = {
    "sex": SEXES, "employment": EMPLOYMENT, "student": STUDENT, "role": ROLES,
    "type": ACTIVITY_TYPES, "purpose": ACTIVITY_TYPES, "mode": MODES,
}  # fmt: skip

REGION = 0x8829A1D757FFFFF


def table(name, rows):
    """Return rows of plain values in the schema of a population's table."""
    fields = schema.POPULATION[name]
    columns = []
    for index, field in enumerate(fields):
        values = [row[index] for row in rows]
        words = VOCABULARY.get(field.name)
        if words:
            codes = pa.array([words.index(value) for value in values], pa.int8())
            columns.append(schema.category(codes, words))
        else:
            columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=fields)


def tables(household=0, person=0):
    """Return the four tables; ids count from the given ones."""
    worker, child = person, person + 1
    trip = worker * 7 * 128
    here, there = (REGION, -118.2, 34.0), (REGION, -118.1, 34.1)
    return {
        "households": table("households", [(household, 11, -118.2, 34.0, 2, 50_000.0, 1)]),
        "persons": table(
            "persons",
            [
                (worker, household, 40, "female", "employed", "none", "worker", 3, 12, -1),
                (child, household, 7, "male", "not_in_labour_force", "school", "school_pupil",
                 6, -1, 11),
            ],
        ),
        "activities": table(
            "activities",
            [
                (worker, 0, 0, "home", 0, 28_000, 11, *here),
                (worker, 0, 1, "work", 28_800, 61_000, 12, *there),
                (worker, 0, 2, "home", 62_000, 86_400, 11, *here),
                (child, 0, 0, "home", 0, 86_400, 11, *here),
            ],
        ),
        "trips": table(
            "trips",
            [
                (trip + 1, worker, 0, 1, 11, 12, 28_000, 28_800, "work", "car_driver", 9000.0),
                (trip + 2, worker, 0, 2, 12, 11, 61_000, 62_000, "home", "car_driver", 9500.0),
            ],
        ),
    }  # fmt: skip


def write(directory, shards, city=None, households=False, share=0.0):
    """Write shards of four tables each as a complete population, and return its path.

    Members go their own ways unless ``households``; with a ``share`` of trajectories the shards
    have a table of these too.
    """
    store = Store(str(directory))
    city = city or SourceEntry(name="c", digest="aa", provenance={"zones": "synthesised"})
    apart = {"chains": {"households": households}, "assignment": {"cars": households}}
    traced = {"trajectories": {"share": share}}
    config = RunConfig.model_validate({"city": "unused"} | apart | traced)
    run = identify(config, city, (), (11, 12, 13, 21, 22, 23), len(shards))
    writer = Writer(store, run.digest)
    receipts = {
        shard: writer.write(Finished(shard, parts, np.array([shard]), {}, ()))
        for shard, parts in enumerate(shards)
    }
    manifest.finish(store, run, receipts, {"config": config.model_dump(mode="json")})
    return str(directory)


def put(name, row, **values):
    """Return a breakage: set values of a row in a table of the shard."""

    def change(shard):
        table = shard[name]
        for column, value in values.items():
            at = table.schema.get_field_index(column)
            field = table.schema.field(column)
            array = table.column(column).combine_chunks()
            if pa.types.is_dictionary(field.type):
                codes = array.indices.to_pylist()
                codes[row] = array.dictionary.to_pylist().index(value)
                array = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), array.dictionary)
            else:
                cells = array.to_pylist()
                cells[row] = value
                array = pa.array(cells, field.type)
            table = table.set_column(at, field, array)
        return shard | {name: table}

    return change


def failed(population):
    return {check.name: check for check in validate(population) if check.violations}
