import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from smallpopulation import failed, put, tables, write

from raygen import schema
from raygen.errors import DataError
from raygen.invariants import CHECKS
from raygen.storage import Store
from raygen.validation import validate


def drop(name, row):
    """Return a breakage: take a row out of a table of the shard."""

    def change(shard):
        table = shard[name]
        rest = [table.slice(0, row), table.slice(row + 1)]
        return shard | {name: pa.concat_tables(rest)}

    return change


def double(name, row):
    """Return a breakage: repeat a row of a table of the shard."""

    def change(shard):
        table = shard[name]
        return shard | {name: pa.concat_tables([table.slice(0, row + 1), table.slice(row)])}

    return change


BREAKAGES = {
    "household ids are contiguous over the run": put("households", 0, household_id=5),
    "a household's size is the number of its persons": put("households", 0, size=3),
    "home zones are zones of the city": put("households", 0, home_zone_id=99),
    "homes have coordinates": put("households", 0, home_lat=float("nan")),
    "incomes and vehicles are 0 or more": put("households", 0, income=-1.0),
    "person ids are contiguous over the run": put("persons", 1, person_id=9),
    "every person's household exists": put("persons", 1, household_id=77),
    "ages are 0 to 120": put("persons", 0, age=121),
    "demographic groups follow from age, sex and employment": put("persons", 0, age=24),
    "work and school zones are zones of the city, or -1": put("persons", 0, school_zone_id=99),
    "every person has every day, once": drop("activities", 3),
    "every activity's person exists": put("activities", 3, person_id=400),
    "activities count 0, 1, 2 … within a person's day": put("activities", 1, sequence=3),
    "every person's days are covered from 0 s to their end": put("activities", 3, end_s=86_399),
    "activities end after they start": put("activities", 2, start_s=86_400),
    "activities do not overlap": put("activities", 1, start_s=27_999),
    "time between activities is travelled": drop("trips", 0),
    "activities in different zones are joined by a trip": drop("trips", 1),
    "activities are in zones of the city": put("activities", 1, zone_id=99),
    "activities have a region and coordinates": put("activities", 1, region_id=0),
    "home activities are in the home zone": put("activities", 3, zone_id=12),
    "a day that starts at home ends at home": put("activities", 2, type="social"),
    "trip ids rise over the run": double("trips", 1),
    "every trip leads to an activity after the first": put("trips", 1, sequence=5),
    "trips meet the activities at both ends": put("trips", 0, depart_s=28_001),
    "trips take time and have a length": put("trips", 0, distance_m=float("inf")),
    "car drivers are 16 or older": put("persons", 0, age=15),
}


def two_shards():
    return [tables(), tables(household=1, person=2)]


def test_a_sound_population_breaks_nothing(tmp_path):
    checks = validate(write(tmp_path, two_shards()))
    assert all(check.violations == 0 for check in checks)
    assert all(check.checked > 0 for check in checks)


def test_every_rule_has_a_breakage():
    assert set(BREAKAGES) == {rule.name for rule in CHECKS}


@pytest.mark.parametrize("rule", CHECKS, ids=lambda rule: rule.name)
def test_a_broken_row_is_found_and_shown(rule, tmp_path):
    first, second = two_shards()
    broken = BREAKAGES[rule.name](first)
    found = failed(write(tmp_path, [broken, second]))
    assert rule.name in found
    example = found[rule.name].examples[0]
    assert example.startswith(f"{rule.table}/part-00000.parquet row ")
    assert all(column in example for column in rule.show)


@pytest.mark.parametrize(
    ("row", "values"),
    [
        (1, {"end_s": 60_000}),  # the trip home departs later than the activity ends
        (2, {"start_s": 62_001}),
        (1, {"zone_id": 13}),
        (1, {"type": "other"}),
    ],
)
def test_each_end_of_a_trip_is_compared(row, values, tmp_path):
    broken = put("activities", row, **values)(tables())
    assert "trips meet the activities at both ends" in failed(write(tmp_path, [broken]))


def test_ids_are_checked_across_shards(tmp_path):
    found = failed(write(tmp_path, [tables(), tables()]))
    assert {
        "household ids are contiguous over the run",
        "person ids are contiguous over the run",
        "trip ids rise over the run",
    } <= set(found)


def test_later_rows_are_counted_and_only_the_first_are_shown(tmp_path):
    shards = [put("households", 0, home_zone_id=99)(tables(n, 2 * n)) for n in range(5)]
    check = failed(write(tmp_path, shards))["home zones are zones of the city"]
    assert (check.violations, len(check.examples)) == (5, 3)


def test_an_altered_file_is_found_by_its_digest_and_not_read_on(tmp_path):
    population = write(tmp_path, two_shards())
    path = tmp_path / "persons/part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    found = failed(population)
    assert set(found) == {"files have the manifest's bytes and SHA-256"}
    assert "persons/part-00000.parquet" in found.popitem()[1].examples[0]


def test_missing_and_foreign_files_are_found(tmp_path):
    population = write(tmp_path, two_shards())
    (tmp_path / "trips/part-00001.parquet").rename(tmp_path / "trips/extra.parquet")
    (check,) = failed(population).values()
    assert check.name == "every file is listed, and every listed file is there"
    assert check.examples == [
        "trips/part-00001.parquet: listed, not there",
        "trips/extra.parquet: there, not listed",
    ]


def test_a_wrong_row_count_is_found(tmp_path):
    population = write(tmp_path, [tables()])
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"trips": 2', '"trips": 3'))
    (check,) = failed(population).values()
    assert check.examples == ["trips: files have 2, total is 3"]


def test_a_wrong_vocabulary_is_found(tmp_path, monkeypatch):
    words = pa.array(["car", "bus", "tram", "walk", "bike"])

    def renamed(shard):
        trips = shard["trips"]
        codes = trips.column("mode").combine_chunks().indices
        array = pa.DictionaryArray.from_arrays(codes, words)
        at = trips.schema.get_field_index("mode")
        return shard | {"trips": trips.set_column(at, schema.TRIPS.field("mode"), array)}

    (check,) = failed(write(tmp_path, [renamed(tables())])).values()
    assert check.name == "tables have their schema and vocabularies"
    assert "mode: vocabulary is not ('car_driver'" in check.examples[0]


def test_a_directory_without_manifest_is_refused(tmp_path):
    pq.write_table(tables()["trips"], tmp_path / "x.parquet")
    with pytest.raises(DataError, match="the population is not complete"):
        validate(str(tmp_path))


def test_reading_works_by_uri(tmp_path):
    write(tmp_path, [tables()])
    assert all(check.violations == 0 for check in validate(tmp_path.as_uri()))
    assert Store(tmp_path.as_uri()).names()
