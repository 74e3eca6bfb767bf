"""Trace files: what is read, and what is refused by name."""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen import traces as module
from raygen.errors import DataError
from raygen.traces import open_traces, read_piece

HEAD = "person_id,time,lon,lat\n"
NOON = dt.datetime(2024, 6, 3, 12, tzinfo=dt.UTC)


def read(location):
    found = open_traces(str(location))
    parts = [part for piece in found.pieces for part in read_piece(found, piece)]
    return pa.concat_tables([found.schema.empty_table(), *parts])


def rows(**changes):
    columns = {
        "person_id": pa.array([4, 5], pa.int32()),
        "time": pa.array([NOON, NOON]),
        "lon": [-118.2, -118.1],
        "lat": [34.0, 34.1],
    }
    return pa.table(columns | changes)


@pytest.mark.parametrize(
    "text",
    [
        "2024-06-03T12:00:00Z",
        "2024-06-03 12:00:00",
        "2024-06-03 12:00:00.000",
        "2024-06-03T14:00:00+02:00",
        "1717416000",
        "1717416000.0",
    ],
)
def test_a_time_in_csv_is_utc(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_text(f"{HEAD}4,{text},-118.2,34.0\n")
    assert read(path).to_pylist() == [{"person_id": 4, "time": NOON, "lon": -118.2, "lat": 34.0}]


@pytest.mark.parametrize(
    "clock",
    [
        pa.array([NOON, NOON], pa.timestamp("us", "Europe/Paris")),
        pa.array([NOON, NOON]).cast(pa.timestamp("ns")),
        pa.array([1_717_416_000] * 2),
    ],
)
def test_a_time_in_parquet_is_utc(tmp_path, clock):
    pq.write_table(rows(time=clock), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").column("time").to_pylist() == [NOON, NOON]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
)
def test_ids_may_be_text(tmp_path, kind):
    pq.write_table(
        rows(person_id=pa.array(["a", "b"], pa.string()).cast(kind)), tmp_path / "t.parquet"
    )
    assert read(tmp_path / "t.parquet").column("person_id").to_pylist() == ["a", "b"]


def test_more_columns_and_another_order_do_not_matter(tmp_path):
    (tmp_path / "t.csv").write_text(
        'lat,note,lon,time,person_id\n34.0,"a, b",-118.2,1717416000,x\n'
    )
    assert read(tmp_path / "t.csv").to_pylist() == [
        {"person_id": "x", "time": NOON, "lon": -118.2, "lat": 34.0}
    ]


def test_a_directory_is_read_in_the_order_of_paths(tmp_path):
    (tmp_path / "b").mkdir()
    for name, person in (
        ("b/1.parquet", 3),
        ("a.parquet", 1),
        ("_log.parquet", 8),
        ("b/.x.csv", 9),
    ):
        pq.write_table(rows(person_id=[person, person]), tmp_path / name)
    (tmp_path / "a.csv").write_text(f"{HEAD}0,1717416000,1,2\n")
    (tmp_path / "notes.txt").write_text("no trace")
    assert read(tmp_path).column("person_id").to_pylist() == [0, 1, 1, 3, 3]


def test_a_uri_is_read(tmp_path):
    pq.write_table(rows(), tmp_path / "t.parquet")
    assert read(f"file://{tmp_path}/t.parquet").num_rows == 2


def test_a_compressed_csv_is_read(tmp_path):
    with pa.CompressedOutputStream(str(tmp_path / "t.csv.gz"), "gzip") as sink:
        sink.write(f"{HEAD}4,1717416000,1,2\n".encode())
    assert read(tmp_path / "t.csv.gz").num_rows == 1


def test_a_big_file_is_read_in_pieces_of_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_PIECE_ROWS", 4)
    monkeypatch.setattr(module, "CHUNK", 3)
    people = list(range(11))
    table = rows().take([0] * 11).set_column(0, "person_id", pa.array(people))
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    found = open_traces(str(tmp_path))
    assert [piece.row_groups for piece in found.pieces] == [(0, 2), (2, 4), (4, 6)]
    assert [piece.first_row for piece in found.pieces] == [0, 4, 8]
    assert found.rows == 11
    assert read(tmp_path).column("person_id").to_pylist() == people


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "person_id,time,lon\n1,2,3\n",
            r"columns lat: missing; a trace has person_id, time, lon, lat",
        ),
        (
            f"{HEAD}1,1717416000,1,2\n1,1717416000,1,95\n",
            r"column lat: row 2: must be in \[-90, 90\]",
        ),
        (f"{HEAD}1,1717416000,-200,2\n", r"column lon: row 1: must be in \[-180, 180\].* got -200"),
        (f"{HEAD}1,1717416000,1,2\n1,1717416000,1,x\n", r"column lat: row 2: .*invalid value 'x'"),
        (f"{HEAD}1,1717416000,1,nan\n", r"column lat: row 1: must be in"),
        (f"{HEAD}1,1717416000,1,2\n1,1717416000,,2\n", r"column lon: row 2: must not be empty"),
        (
            f"{HEAD}a,1717416000,1,2\n,1717416000,1,2\n",
            r"column person_id: row 2: must not be empty",
        ),
        (
            f"{HEAD}1,1717416000000,1,2\n",
            r"column time: row 1: must be in 1970 to 2100 \(numbers are",
        ),
        (f"{HEAD}1,2024-06-03,1,2\n1,noon,1,2\n", r"column time: row 2: .*invalid value 'noon'"),
        (f"{HEAD}1,1717416000,1,2\n1,1717416000\n", r"row 2: Expected 4 columns, got 2"),
        (f"{HEAD}1.5,1717416000,1,2\n", r"column person_id: must be integers or text, got double"),
        ("", r"columns person_id, time, lon, lat: missing"),
    ],
)
def test_a_fault_of_a_csv_names_file_column_and_row(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=r"bad\.csv: " + message):
        read(tmp_path)


def test_a_late_fault_of_a_csv_names_its_row(tmp_path):
    (tmp_path / "bad.csv").write_text(HEAD + "1,1717416000,1,2\n" * 80_000 + "a,1717416000,1,2\n")
    with pytest.raises(DataError, match=r"column person_id: row 80001: .*invalid value 'a'"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lat": [34.0, None]}, "column lat: row 2: must not be empty"),
        ({"lat": [float("nan"), 34.0]}, "column lat: row 1: must be in"),
        ({"lat": ["34", "35"]}, "column lat: must be degrees, got string"),
        ({"time": ["noon", "one"]}, r"column time: must be timestamps \(UTC\) or Unix seconds, got string"),
        ({"person_id": [1.0, 2.0]}, "column person_id: must be integers or text, got double"),
        ({"person_id": pa.array([1, 2**63], pa.uint64())}, r"column person_id: row 2: must be below 2\^63"),
    ],
)  # fmt: skip
def test_a_fault_of_a_parquet_file_names_file_column_and_row(tmp_path, changes, message):
    pq.write_table(rows(**changes), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=r"bad\.parquet: " + message):
        read(tmp_path)


def test_rows_are_counted_over_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    table = rows().take([0] * 7).set_column(3, "lat", pa.array([1.0] * 6 + [99.0]))
    pq.write_table(table, tmp_path / "bad.parquet", row_group_size=3)
    with pytest.raises(DataError, match="column lat: row 7: "):
        read(tmp_path)


def test_ids_are_of_one_kind(tmp_path):
    pq.write_table(rows(), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text(f"{HEAD}x,1717416000,1,2\n")
    with pytest.raises(
        DataError, match=r"a\.parquet: column person_id: is integers, but text in .*b\.csv"
    ):
        open_traces(str(tmp_path))


def test_integer_ids_of_csv_are_text_beside_text(tmp_path):
    (tmp_path / "a.csv").write_text(f"{HEAD}007,1717416000,1,2\n")
    (tmp_path / "b.csv").write_text(f"{HEAD}x,1717416000,1,2\n")
    assert read(tmp_path).column("person_id").to_pylist() == ["007", "x"]


def test_files_without_rows_are_no_fault(tmp_path):
    (tmp_path / "a.csv").write_text(HEAD)
    pq.write_table(rows().slice(0, 0), tmp_path / "b.parquet")
    assert read(tmp_path).num_rows == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file or directory of traces"),
        (lambda path: path.mkdir(), r"no trace file; its name must end in \.parquet"),
        (lambda path: path.with_suffix(".parquet").write_text("junk"), "not readable as Parquet"),
    ],
)
def test_a_place_without_traces_is_refused(tmp_path, make, message):
    make(tmp_path / "t")
    place = tmp_path / "t.parquet" if (tmp_path / "t.parquet").exists() else tmp_path / "t"
    with pytest.raises(DataError, match=message):
        open_traces(str(place))


def test_a_file_system_that_is_not_known_is_refused():
    with pytest.raises(DataError, match="foo://bucket/x: cannot be opened as a file system"):
        open_traces("foo://bucket/x")
