"""Flows between sub-regions: the target file, the figures, the rows beside their floors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import placing
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import smallpopulation
import tinycity

from raygen.city import City, open_city
from raygen.errors import DataError
from raygen.flow_target import Counted, FlowTarget, has_target, read_target, write_target
from raygen.flows import (
    activity_rows,
    activity_shares,
    attraction_shares,
    chosen,
    common_part,
    cosine,
    flow_rows,
    gravity,
    gravity_by_subregion,
    halves,
    od_rows,
    population_pairs,
    sample_floor,
)

GRID = placing.grid_city(8, 6, seed=2)
CITY = replace(
    GRID,
    subregion=(np.arange(48) % 8 // 2).astype(np.int16),
    subregion_names=("a", "b", "c", "d"),
)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    return open_city(str(tinycity.build(tmp_path_factory.mktemp("city"))))


def target_file(path: Path, **changes: object) -> Path:
    columns = {
        "origin": pa.array([11, 11, 22], pa.int32()),
        "destination": pa.array([12, 22, 22], pa.int32()),
        "flow": [3.0, 1.0, 4.0],
        "provenance": ["observed"] * 3,
        **changes,
    }
    pq.write_table(pa.table({k: v for k, v in columns.items() if v is not None}), path)
    return path


def test_cosine_is_of_the_cells_and_the_diagonal_can_be_left_out() -> None:
    a, b = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[3.0, 0.0], [0.0, 0.0]])
    assert cosine(a, b) == pytest.approx(3 * 3 / (5 * 3))
    assert np.isnan(cosine(a, b, diagonal=False))
    assert cosine(a, 7 * a) == pytest.approx(1.0)
    assert cosine(
        np.array([[9, 1], [2, 9.0]]), np.array([[0, 2], [4, 5.0]]), False
    ) == pytest.approx(1)
    turned = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert cosine(turned, turned.T) == 0.0


def test_common_part_is_of_shares() -> None:
    assert common_part(np.array([[1.0, 1.0]]), np.array([[30.0, 10.0]])) == pytest.approx(0.75)


def test_a_target_may_know_activity_types(tmp_path: Path, city: City) -> None:
    words = ["shop_goods", "shop_goods", "leisure"]
    target = read_target(target_file(tmp_path / "od.parquet", purpose=words), city)
    assert target.counted == Counted("by type", types=("shop_goods", "leisure"))
    assert str(target.counted) == "shop_goods, leisure trips, mode all"
    assert target.by_type is not None
    np.testing.assert_array_equal(target.by_type[4], [[3, 1], [0, 0]])
    np.testing.assert_array_equal(target.by_type[8], [[0, 0], [0, 4]])
    np.testing.assert_array_equal(target.by_type.sum(axis=0), target.subregion)
    trips = pa.table(
        {
            "depart_s": [0, 0, 0],
            "purpose": ["leisure", "work", "shop_goods"],
            "mode": ["walk"] * 3,
        }
    )
    np.testing.assert_array_equal(chosen(trips, target.counted), [True, False, True])


@pytest.mark.parametrize(("purpose", "kind"), [("commute", 1), ("worship", 12), ("all", None)])
def test_a_target_of_one_purpose_is_of_one_type(
    tmp_path: Path, city: City, purpose: str, kind: int | None
) -> None:
    target = read_target(target_file(tmp_path / "od.parquet", purpose=[purpose] * 3), city)
    if kind is None:
        assert target.by_type is None
    else:
        assert target.by_type is not None
        np.testing.assert_array_equal(target.by_type[kind], target.subregion)
        assert target.by_type.sum() == target.subregion.sum()


def test_a_target_of_types_can_be_written(tmp_path: Path, city: City) -> None:
    names, words = np.array(city.subregion_names), ["leisure", "errands"]
    path = tmp_path / "od.parquet"
    write_target(path, (names, names), np.ones(2), Counted(mode="walk"), "observed", words)
    again = read_target(path, city)
    assert again.counted == Counted("by type", mode="walk", types=("errands", "leisure"))


@pytest.mark.parametrize("words", [["leisure", "all", "all"], ["commute", "errands", "leisure"]])
def test_purposes_that_overlap_are_refused(tmp_path: Path, city: City, words: list[str]) -> None:
    with pytest.raises(DataError, match="several in one file must all be activity types, got"):
        read_target(target_file(tmp_path / "od.parquet", purpose=words), city)


def test_a_target_between_zones_is_added_up_by_subregion(tmp_path: Path, city: City) -> None:
    target = read_target(target_file(tmp_path / "od.parquet"), city)
    assert target.by_zone
    assert target.counted == Counted()
    np.testing.assert_array_equal(target.subregion, [[3, 1], [0, 4]])  # north, south
    zones = target.zones(6)
    assert (zones[0, 1], zones[0, 4], zones[4, 4], zones.sum()) == (3, 1, 4, 8)


def test_a_target_between_subregions_has_no_zones(tmp_path: Path, city: City) -> None:
    path = target_file(
        tmp_path / "od.parquet", origin=["south"] * 3, destination=["north", "south", "north"]
    )
    target = read_target(path, city)
    assert not target.by_zone
    np.testing.assert_array_equal(target.subregion, [[0, 0], [7, 1]])


def test_write_and_read_agree(tmp_path: Path, city: City) -> None:
    counted = Counted("work", "car_driver", 21_600, 43_200)
    ends = np.array([11, 23], np.int32), np.array([21, 11], np.int32)
    write_target(tmp_path / "od.parquet", ends, np.array([2.0, 5.0]), counted, "calibrated")
    target = read_target(tmp_path / "od.parquet", city)
    assert (target.counted, target.provenance) == (counted, "calibrated")
    np.testing.assert_array_equal(target.subregion, [[0, 2], [5, 0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow": None}, "columns flow are missing"),
        ({"flow": ["1", "2", "3"]}, "flow: must be a number, got string"),
        ({"flow": [1.0, -1.0, 0.0]}, "flow: must be finite and > 0, 2 of 3 rows are not"),
        ({"flow": [1.0, np.nan, 2.0]}, "flow: must be finite and > 0, 1 of 3"),
        ({"origin": pa.array([11, 99, 12])}, r"origin: must name zones .* unknown \[99\]"),
        ({"origin": ["north", "x", "y"]}, r"origin: must name .* unknown \['x', 'y'\]"),
        ({"destination": pa.array([11, None, 12])}, "destination: must name"),
        ({"provenance": None}, "provenance: must be one of observed, .* got None"),
        ({"provenance": ["observed", "assumed", "observed"]}, "provenance: must have one value"),
        ({"purpose": ["fun"] * 3}, "purpose: must be one of commute, all, home"),
        ({"mode": ["boat"] * 3}, "mode: must be one of all, car_driver"),
        ({"start_s": [5] * 3, "end_s": [5] * 3}, "start_s: must be >= 0 and before end_s"),
    ],
)
def test_a_wrong_target_is_named(
    tmp_path: Path, city: City, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_target(target_file(tmp_path / "od.parquet", **changes), city)


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path, city: City) -> None:
    (tmp_path / "od.parquet").write_text("origin,destination\n")
    with pytest.raises(DataError, match=r"od\.parquet: cannot be read as Parquet"):
        read_target(tmp_path / "od.parquet", city)


def random_target(seed: int) -> FlowTarget:
    rng = np.random.default_rng(seed)
    pairs = np.arange(48 * 48)
    flow = rng.gamma(0.4, 10.0, len(pairs)) * np.exp(-CITY.distance_m.ravel() / 4000)
    region = CITY.subregion.astype(np.int64)
    matrix = np.zeros((4, 4))
    np.add.at(matrix, (region[pairs // 48], region[pairs % 48]), flow)
    return FlowTarget(Counted(), "synthesised", matrix, None, pairs // 48, pairs % 48, flow, "")


def test_gravity_meets_sums_and_mean_cost() -> None:
    flow, cost = random_target(1).zones(48), CITY.distance_m.astype(float)
    found = gravity(flow, cost)
    np.testing.assert_allclose(found.sum(axis=0), flow.sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), flow.sum(axis=1), rtol=1e-3)
    means = [(matrix * cost).sum() / matrix.sum() for matrix in (found, flow)]
    assert means[0] == pytest.approx(means[1], rel=1e-4)


def test_gravity_by_subregion_of_either_kind_keeps_the_sums() -> None:
    target = random_target(2)
    pairs = replace(target, origin=np.empty(0, int), destination=np.empty(0, int), flow=np.empty(0))
    for kind in (target, pairs):
        found = gravity_by_subregion(kind, CITY)
        np.testing.assert_allclose(found.sum(axis=0), target.subregion.sum(axis=0), rtol=1e-3)


def test_a_sample_of_the_target_is_at_the_floor() -> None:
    target, trips = random_target(3), 3000
    rng = np.random.default_rng(0)
    drawn = rng.choice(48 * 48, trips, p=target.flow / target.flow.sum())
    rows = flow_rows(target, CITY, np.arange(trips), drawn // 48, drawn % 48)
    by_metric = {(row.case.split(", ")[-1].split(" ")[1], row.metric): row for row in rows}
    whole = by_metric["sub-regions", "od_cosine"]
    assert whole.value == pytest.approx(whole.floor, abs=2e-3)
    assert whole.baseline is not None
    assert whole.value is not None
    assert whole.value > whole.baseline
    assert by_metric["sub-regions", "od_cosine_without_diagonal"].paper is None
    assert 0.9 < (by_metric["sub-regions", "od_cosine_of_two_halves"].value or 0) < 1
    zones = by_metric["zones", "od_cosine"]
    assert zones.value == pytest.approx(zones.floor, abs=0.02)


def test_the_floor_rises_with_the_sample() -> None:
    share = random_target(4).subregion
    floors = [sample_floor(share, count, False) for count in (50, 500, 50_000)]
    assert floors[0] < floors[1] < floors[2] < 1.0


def test_halves_split_persons_and_not_trips() -> None:
    person = np.repeat(np.arange(400), 10)
    place = person % 4  # all ten trips of a person are alike
    few = halves(person, place, place, 4, True)
    many = halves(np.arange(4000), place, place, 4, True)
    assert few < many < 1.0


def population(tmp_path: Path) -> Path:
    return Path(smallpopulation.write(tmp_path / "population", [smallpopulation.tables()]))


def test_pairs_are_of_the_trips_that_the_target_counts(tmp_path: Path, city: City) -> None:
    directory = population(tmp_path)
    _, origin, destination = population_pairs(directory, city, Counted())
    assert (origin.tolist(), destination.tolist()) == ([0, 1], [1, 0])
    for counted in (Counted(end_s=40_000), Counted(purpose="work"), Counted(purpose="commute")):
        person, origin, destination = population_pairs(directory, city, counted)
        assert (person.tolist(), origin.tolist(), destination.tolist()) == ([0], [0], [1])
    assert len(population_pairs(directory, city, Counted(mode="walk"))[0]) == 0
    assert len(population_pairs(directory, city, Counted(start_s=28_000, end_s=28_001))[0]) == 1
    assert len(population_pairs(directory, city, Counted(start_s=28_001, end_s=61_000))[0]) == 0


def test_od_rows_of_a_population(tmp_path: Path) -> None:
    directory, home = population(tmp_path), tinycity.build(tmp_path / "city")
    assert not has_target(open_city(str(home)))
    assert od_rows(directory, open_city(str(home))) == []
    target_file(home / "od.parquet")
    rows = od_rows(directory, open_city(str(home)))
    assert rows[0].metric == "od_cosine"
    # Two trips within the north, T = [[3, 1], [0, 4]].
    assert rows[0].value == pytest.approx(3 / np.sqrt(9 + 1 + 16))
    target_file(home / "od.parquet", mode=["bike"] * 3)
    with pytest.raises(DataError, match=r"has no trips that od\.parquet counts \(all trips, mode"):
        od_rows(directory, open_city(str(home)))


def test_zones_of_another_city_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 zone ids are not of city Grid, the first is 11"):
        population_pairs(population(tmp_path), CITY, Counted())


def test_activity_shares_and_rows(tmp_path: Path, city: City) -> None:
    shares = activity_shares(np.array([1, 1, 1, 8]), np.array([0, 1, 1, 0]), 2)
    np.testing.assert_allclose(shares[[1, 8]], [[1 / 3, 2 / 3], [1, 0]])
    assert shares.sum() == 2
    rows = activity_rows(population(tmp_path), city)
    assert [row.metric for row in rows] == ["work_cosine"]
    north = attraction_shares(city)[1, 0]
    assert rows[0].value == pytest.approx(north / np.hypot(north, 1 - north))
