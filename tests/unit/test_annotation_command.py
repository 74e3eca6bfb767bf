import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
import tinyannotation
import tinycity

from raygen import cli
from raygen.annotation import prompts
from raygen.annotation.annotate import ANNOTATED, METADATA, Settings, annotate
from raygen.annotation.answers import PART, answer
from raygen.annotation.command import run
from raygen.annotation.pois import read_pois
from raygen.config import PlannerConfig
from raygen.errors import ConfigError, DataError
from raygen.taxonomy import ACTIVITY_TYPES

COLUMNS = ["FID", "osm_id", "name", "other_tags", "fclass", "lon", "lat"]
ROWS = [
    [
        0,
        71,
        "Le Bistro, Paris",
        '"amenity"=>"restaurant","cuisine"=>"french"',
        "restaurant",
        2.35,
        48.85,
    ],
    [1, 72, "", '"amenity"=>"parking"', "parking", 2.36, 48.86],
    [2, 73, "中国银行", '"amenity"=>"bank"', "bank", 116.4, 39.9],
    [
        3,
        74,
        "Le Bistro, Paris",
        '"amenity"=>"restaurant","cuisine"=>"french"',
        "restaurant",
        2.4,
        48.8,
    ],
]


def silent(done, total, kept):
    pass


def write(path, rows=ROWS, columns=COLUMNS):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tinyannotation.language(tmp_path_factory.mktemp("language"))


@pytest.fixture
def settings(base, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(prompts, "instruction", lambda examples: f"Task {examples}:\n")
    return Settings(language=PlannerConfig(base_model=str(base), dtype="float32"))


def test_tags_annotate_a_file_of_the_three_shared_forms(tmp_path):
    output = run(str(write(tmp_path / "pois.csv")), "tags", None, None, silent)
    assert output == tmp_path / "pois.annotated.parquet"
    table = pq.read_table(output)
    assert table.schema.remove_metadata() == ANNOTATED
    rows = table.to_pylist()
    assert [row["poi_id"] for row in rows] == [71, 72, 73, 74]
    assert [row["category"] for row in rows] == ["dining", "transportation", "financial", "dining"]
    assert [ACTIVITY_TYPES[row["activity_types"][0]] for row in rows] == [
        "meals_out",
        "errands",
        "errands",
        "meals_out",
    ]
    np.testing.assert_allclose([sum(row["activity_probabilities"]) for row in rows], 1, atol=1e-6)
    assert {row["provenance"] for row in rows} == {"assumed"}
    assert json.loads(table.schema.metadata[METADATA])["method"] == "tags"
    assert shapely.from_wkb(rows[2]["geometry"]).coords[0] == (116.4, 39.9)
    bare = write(
        tmp_path / "bare.csv", [[1.0, 2.0, "hotel"], [1.5, 2.5, ""]], ["lon", "lat", "cat"]
    )
    rows = pq.read_table(run(str(bare), "tags", tmp_path / "o.parquet", None, silent)).to_pylist()
    assert rows[0]["category"] == "hotels"
    assert rows[1]["activity_probabilities"] == pytest.approx([1 / 3] * 3)


def test_columns_named_as_osm_keys_are_tags_and_parquet_is_read(tmp_path):
    table = pa.table(
        {"id": [5, 6], "name": ["A", None], "shop": ["books", None], "amenity": [None, "pub"]}
    )
    pq.write_table(table, tmp_path / "pois.parquet")
    pois = read_pois(tmp_path / "pois.parquet")
    assert pois.tags == [{"shop": "books"}, {"amenity": "pub"}]
    assert pois.name == ["A", ""]
    assert pois.geometry.null_count == 2


def test_a_city_keeps_its_zones_and_its_own_annotation(tmp_path):
    city = tinycity.build(tmp_path / "city")
    before = pq.read_table(city / "pois.parquet")
    output = run(str(city), "tags", None, None, silent)
    assert output == city / "pois.annotated.parquet"
    after = pq.read_table(output)
    assert b"geo" in after.schema.metadata
    assert after.column("zone_id").to_pylist() == before.column("zone_id").to_pylist()
    # Its POIs are of the tags that both tables have.
    assert after.column("category").to_pylist() == before.column("category").to_pylist()
    assert after.column("activity_types").to_pylist() == before.column("activity_types").to_pylist()
    assert pq.read_table(city / "pois.parquet").equals(before)


def test_the_model_answers_equal_texts_alike_and_once(settings, tmp_path):
    seen = []
    output = annotate(
        write(tmp_path / "pois.csv"),
        tmp_path / "out.parquet",
        settings,
        lambda *counts: seen.append(counts),
    )
    table = pq.read_table(output)
    types = table.column("activity_types").to_pylist()
    assert types[0] == types[3]
    assert table.column("category").to_pylist() == [
        "dining",
        "transportation",
        "financial",
        "dining",
    ]
    assert seen == [(3, 3, 0)]
    assert len({tuple(row) for row in table.column("activity_probabilities").to_pylist()}) == 3
    first = output.read_bytes()
    annotate(tmp_path / "pois.csv", output, settings, lambda *counts: seen.append(counts))
    assert seen[1] == (3, 3, 3)
    assert output.read_bytes() == first


class StopError(Exception):
    pass


def test_a_stopped_job_asks_only_what_is_missing_and_gives_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    texts = [f"poi {index % (2 * PART + 7)}" for index in range(1200)]
    asked = []

    def stopped(part):
        if len(asked) == 2:
            raise StopError
        return plain_ask(part, asked)

    with pytest.raises(StopError):
        answer(texts, "model", stopped, silent)
    (torn,) = (tmp_path / "raygen/annotation").glob("*/part-00001.npy")
    torn.write_bytes(torn.read_bytes()[:-3])
    del asked[1]
    found = answer(texts, "model", lambda part: plain_ask(part, asked), silent)
    assert [len(part) for part in asked] == [PART, PART, 7]
    assert len({text for part in asked for text in part}) == 2 * PART + 7
    np.testing.assert_array_equal(found, plain_ask(texts, []).astype(np.float32))
    answer(texts, "another model", lambda part: plain_ask(part, asked), silent)
    assert len(asked) == 6


def plain_ask(part, asked):
    asked.append(list(part))
    return np.array([np.full(15, len(text) / 100) + np.arange(15) for text in part])


def test_nothing_to_annotate_is_an_empty_file(tmp_path):
    source = write(tmp_path / "none.csv", [], ["lon", "lat", "cat"])
    assert pq.read_table(run(str(source), "tags", None, None, silent)).num_rows == 0


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([[1, 2]], ["lon", "lat"], r"has no column name, tags.*got \['lon', 'lat'\]"),
        ([[1, "a", "cafe"]], ["poi_id", "name", "tags"], r"row 0: tags: must be key=value"),
        ([[1, "a"], [1, "b"]], ["poi_id", "name"], "poi_id: must be distinct and not null"),
        ([["x", "a"]], ["osm_id", "name"], "osm_id: must be whole numbers"),
        ([[200, 2, "a"]], ["lon", "lat", "name"], "row 0: lon, lat must be degrees, got 200"),
        ([["w", 2, "a"]], ["lon", "lat", "name"], "lon, lat: must be numbers"),
    ],
)
def test_wrong_files_are_refused_by_column(tmp_path, rows, columns, message):
    with pytest.raises(DataError, match=message):
        read_pois(write(tmp_path / "pois.csv", rows, columns))


def test_wrong_places_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"not a city \(no city\.toml\)"):
        read_pois(tmp_path)
    with pytest.raises(DataError, match="must be a city or a file"):
        read_pois(tmp_path / "pois.xlsx")
    with pytest.raises(DataError, match="no such file"):
        read_pois(tmp_path / "pois.csv")
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="not readable"):
        read_pois(tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"must be a \.parquet file"):
        run(str(write(tmp_path / "p.csv")), "tags", tmp_path / "out.csv", None, silent)


def test_wrong_options_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--method: must be one of llm, tags, got 'gpt'"):
        run("x.csv", "gpt", None, None, silent)
    with pytest.raises(ConfigError, match="--weights: are for --method llm"):
        run("x.csv", "tags", None, tmp_path, silent)
    with pytest.raises(ConfigError, match="--output: needed for the embedded city"):
        run("los_angeles", "tags", None, None, silent)


def test_the_command_line(tmp_path, capsys):
    source = write(tmp_path / "pois.csv")
    assert cli.run(["annotate", str(source), "--method", "tags"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "pois.annotated.parquet")
    assert cli.run(["annotate", str(source), "--method", "no"]) == 2
    assert "error: --method: must be one of llm, tags" in capsys.readouterr().err
