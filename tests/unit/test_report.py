import html
from pathlib import Path

import matplotlib.image
import numpy as np
import pyarrow as pa
import pytest
import shapely
import tinycity
from smallpopulation import tables, write

from raygen import charts, schema
from raygen.city import open_city
from raygen.errors import ConfigError, DataError
from raygen.manifest import SourceEntry
from raygen.report import report
from raygen.report_page import _comparison
from raygen.results import PaperTable, Results, Row
from raygen.shards import columns
from raygen.taxonomy import ACTIVITY_TYPES, HOME, WORK
from raygen.trajectory_charts import Points


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))


def source(city):
    return SourceEntry(name=city.name, digest=city.digest, provenance=city.provenance)


def test_the_profile_counts_slots_by_their_middle():
    share = charts.profile(columns(tables()["activities"]), persons=2)
    assert share.shape == (96, len(ACTIVITY_TYPES) + 1)
    np.testing.assert_allclose(share.sum(axis=1), 1.0)
    home = share[:, HOME]
    # The worker is at home until 28,000 s: the middle of slot 30 is 27,450 s, of slot 31 28,350 s.
    assert (home[[0, 30, 31, 95]] == [1.0, 1.0, 0.5, 1.0]).all()
    assert share[31, -1] == 0.5  # on the way
    # At work from 28,800 s (slot 32) until 61,000 s: the middle of slot 67 is 60,750 s.
    np.testing.assert_array_equal(np.flatnonzero(share[:, WORK]), np.arange(32, 68))


def test_a_picture_is_drawn(city, tmp_path):
    population = write(tmp_path / "population", [tables()], source(city))
    picture = report(population, tmp_path / "new/picture.png", city.path)
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 50_000
    assert [path.name for path in picture.parent.iterdir()] == ["picture.png"]


def traced(city):
    """Two trajectories in the city's middle: 36 km/h to the north, and one that stands."""
    lon, lat = -118.2, 34.0
    lines = [[(lon, lat), (lon, lat + 0.0009016), (lon, lat + 0.0018032)], [(lon, lat)] * 2]
    seconds = [[0, 10, 20], [100, 130]]
    return pa.Table.from_arrays(
        [
            pa.array([1, 2]),
            pa.array([[1], [2]], pa.list_(pa.int64())),
            pa.array([[1000 * t for t in row] for row in seconds], pa.list_(pa.int64())).cast(
                schema.TRAJECTORIES.field("timestamps").type
            ),
            pa.array([0.0, 100.0]),
            pa.array([[0.0] * len(row) for row in seconds], pa.list_(pa.float32())),
            pa.array([shapely.to_wkb(shapely.LineString(line)) for line in lines]),
        ],
        schema=schema.TRAJECTORIES,
    )


def test_speeds_are_between_points_of_one_trajectory(city):
    points = Points(traced(city), city)
    np.testing.assert_allclose(points.speeds(), [36.0, 36.0, 0.0], rtol=2e-3)


def test_trajectories_have_panels_of_their_own(city, tmp_path):
    parts = tables() | {"trajectories": traced(city)}
    population = write(tmp_path / "traced", [parts], source(city), share=0.5)
    plain = write(tmp_path / "plain", [tables()], source(city))
    high, low = (
        matplotlib.image.imread(report(path, tmp_path / f"{name}.png", city.path)).shape[0]
        for name, path in (("traced", population), ("plain", plain))
    )
    assert high == low * 4 // 3


def test_a_page_has_the_picture_the_rows_and_every_label(city, tmp_path):
    population = write(tmp_path / "population", [tables()], source(city))
    text = report(population, tmp_path / "page.html", city.path).read_text()
    assert text.startswith("<!doctype html>")
    assert 'src="data:image/png;base64,iVBOR' in text
    assert "<td>trips</td>" in text
    for name, label in city.provenance.items():
        assert f"<td>city, {name}</td><td>{html.escape(label)}</td>" in text
    assert "Beside what was observed" not in text


def test_a_comparison_stands_on_the_page_and_is_escaped():
    row = Row(case="a < b", metric="m", value=0.25, n=3)
    shown = PaperTable("T & 3", ["x"], [["1 < 2"]], "note")
    results = Results("r", "c", "d", [row], notes=["n"], tables=[shown])
    parts = "".join(_comparison(results))
    assert "a &lt; b" in parts
    assert "T &amp; 3" in parts
    assert "<td>1 &lt; 2</td>" in parts
    assert "<td>0.25</td><td>3</td><td>–</td>" in parts


def test_a_picture_has_no_comparison(city, tmp_path):
    with pytest.raises(ConfigError, match="--reference: a comparison needs a page"):
        report(str(tmp_path), tmp_path / "x.png", city.path, tmp_path)


def test_the_caption_names_what_is_synthesised(city, tmp_path):
    from raygen import manifest
    from raygen import report as module
    from raygen.storage import Store

    write(tmp_path, [tables()], source(city))
    text = module.caption(manifest.load(Store(str(tmp_path))))
    assert "All persons and days are synthetic" in text
    assert "synthesised: " in text


def test_another_city_is_refused(city, tmp_path):
    population = write(tmp_path / "population", [tables()])
    with pytest.raises(DataError, match=r"is not the city of .*give it with --city"):
        report(population, tmp_path / "picture.png", city.path)


def test_only_png_is_written(tmp_path):
    with pytest.raises(ConfigError, match=r"--output x\.pdf: must end in \.html or \.png"):
        report(str(tmp_path), Path("x.pdf"))
